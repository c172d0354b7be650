"""Plots by their content: the right values at the right places, labels from the Dataset."""

import io

import holoviews as hv
import numpy as np
import pytest
import torch
import xarray as xr
from elements import columns
from PIL import Image

import gandask as gd
from gandask import plots
from gandask.plots import pictures
from gandask.plots.style import stroke
from gandask.plots.timeline import LOOKS

FID = [[[9.0, 8.0, 7.0], [6.0, 5.0, 4.0]], [[3.0, 1.5, np.nan], [2.0, np.inf, 5.0]]]


def dataset(**variables):
    """Two rounds of 2x3 units, one of them not scored and one diverged."""
    unit = ("round", "row", "col")
    made = {
        "fid": (unit, FID, {"long_name": "FID", "units": "px²", "better": "lower"}),
        "inception_score": (unit, FID, {"long_name": "inception score", "better": "higher"}),
        "generator_learning_rate": (unit, FID, {"long_name": "learning rate", "units": "1"}),
        "final_tvd": (unit[1:], FID[0], {"long_name": "final distance", "better": "lower"}),
        "loss": (unit, np.full((2, 2, 3), "bce")),
        "seconds": (("round", "routine"), [[1, 2], [2, 5]], {"long_name": "time", "units": "s"}),
        "event_round": ("event", [2, 1, 1], {"long_name": "round of the event"}),
        "event_kind": ("event", ["regrouped", "non_finite", "regrouped"], {"long_name": "kind"}),
        "event_slot": ("event", ["cell/10", "cell/9", "cell/9"], {"long_name": "where"}),
        "event_detail": ("event", ["a", "b", "c"], {"long_name": "more"}),
    }
    coords = {"round": [1, 2], "row": [0, 1], "col": [0, 1, 2], "routine": ["gather", "train"]}
    return xr.Dataset(made | variables, coords, {"score": "fid"})


def figure(element):
    return hv.render(element, backend="bokeh")


def text(element):
    assert isinstance(element, hv.Text)
    return element.data[2]


def test_a_heat_map_has_each_value_in_its_cell():
    overlay = plots.map(dataset())
    cells = {(row, col): value for row, col, value in columns(overlay.get(0), "row", "col", "fid")}
    assert {k: v for k, v in cells.items() if np.isfinite(v)} == {
        (0, 0): 3.0,
        (0, 1): 1.5,
        (1, 0): 2.0,
        (1, 2): 5.0,
    }
    printed = {(row, col): text for row, col, text in columns(overlay.get(1), "row", "col", "text")}
    assert printed == {
        (0, 0): "3",
        (0, 1): "1.5",
        (0, 2): "–",
        (1, 0): "2",
        (1, 1): "∞",
        (1, 2): "5",
    }


def test_a_heat_map_is_square_and_labelled_by_the_dataset():
    drawn = figure(plots.map(dataset()))
    assert drawn.frame_width / 3 == drawn.frame_height / 2
    assert drawn.y_range.start > drawn.y_range.end, "the first row is on top"
    (bar,) = drawn.select({"type": hv.plotting.bokeh.element.ColorBar})
    assert bar.title == "FID (px²)"
    assert drawn.title.text == "round 2"
    (hover,) = [tool for tool in drawn.tools if type(tool).__name__ == "HoverTool"]
    assert [name for name, _ in hover.tooltips] == ["col", "row", "FID (px²)"]


@pytest.mark.parametrize(
    ("values", "ends", "kind"),
    [
        (FID, (1.5, 9.0), "LinearColorMapper"),
        (np.array(FID) ** 3, (1.5**3, 729.0), "LogColorMapper"),
        (np.full((2, 2, 3), 2e-4), (1.8e-4, 2.2e-4), "LinearColorMapper"),
        (np.zeros((2, 2, 3)), (-1.0, 1.0), "LinearColorMapper"),
        (np.full((2, 2, 3), np.nan), (0.0, 1.0), "LinearColorMapper"),
    ],
)
def test_colours_mean_the_same_in_every_round(values, ends, kind):
    ds = dataset()
    ds["fid"].values = values
    for round in (1, 2):
        mapper = figure(plots.map(ds, round=round)).renderers[0].glyph.fill_color.transform
        assert (mapper.low, mapper.high) == pytest.approx(ends)
        assert type(mapper).__name__ == kind


def test_a_score_says_of_how_many_samples_it_is():
    ds = dataset()
    ds["fid"].attrs["samples"] = 1000
    assert figure(plots.trace(ds)).yaxis.axis_label == "FID, 1,000 samples\n(px²)"
    (bar,) = figure(plots.map(ds)).select({"type": hv.plotting.bokeh.element.ColorBar})
    assert bar.title == "FID, 1,000 samples (px²)"


def test_a_heat_map_is_of_the_round_asked_for():
    for round in (1, -2):
        assert plots.map(dataset(), round=round).get(0).dimension_values("fid").max() == 9
    final = plots.map(dataset(), "final_tvd")
    assert figure(final).title.text == "after the last round"
    with pytest.raises(ValueError, match="round=3: expected 1 to 2"):
        plots.map(dataset(), round=3)


def test_a_heat_map_of_one_value_can_be_drawn():
    ds = dataset().isel(row=[0], col=[0], round=[0])
    assert figure(plots.map(ds)).renderers


def test_a_heat_map_prints_no_values_that_do_not_fit():
    values = np.arange(400.0).reshape(1, 20, 20)
    ds = xr.Dataset({"fid": (("round", "row", "col"), values)}, {"round": [1]}, {"score": "fid"})
    ds = ds.assign_coords(row=range(20), col=range(20))
    assert len(plots.map(ds).get(0)) == 400
    assert len(plots.map(ds).get(1)) == 0


def test_plots_say_what_they_need():
    with pytest.raises(ValueError, match="a trace needs 'round'"):
        plots.trace(dataset(), "final_tvd")
    with pytest.raises(ValueError, match="no variable 'fidd'; did you mean 'fid'"):
        plots.trace(dataset(), "fidd")
    with pytest.raises(ValueError, match=r"'loss' holds .*: expected numbers"):
        plots.trace(dataset(), "loss")


def test_a_trace_has_one_line_per_cell_the_median_and_the_best():
    overlay = plots.trace(dataset())
    lines = overlay.get(0).split(datatype="dictionary")
    assert [(line["row"], line["col"]) for line in lines] == [
        (row, col) for row in (0, 1) for col in (0, 1, 2)
    ]
    np.testing.assert_array_equal(lines[1]["fid"], [8, 1.5])
    by_label = {element.label: element for element in overlay}
    assert by_label["best: row 0, col 1"].dimension_values("fid").tolist() == [8, 1.5]
    assert by_label["median"].dimension_values("fid").tolist() == [6.5, 2.5]
    drawn = figure(overlay)
    assert drawn.xaxis.axis_label == "round"
    assert drawn.yaxis.axis_label == "FID (px²)"


def test_long_labels_are_broken_into_lines():
    long = dataset()
    long["fid"].attrs["long_name"] = "total variation distance of classes of the mixture"
    assert figure(plots.trace(long)).yaxis.axis_label.count("\n") == 2


def test_the_best_follows_the_direction_of_the_variable():
    ds = dataset()
    assert plots.best(ds["fid"]) == {"row": 0, "col": 1}
    assert plots.best(ds["inception_score"]) == {"row": 1, "col": 2}
    assert plots.best(ds["final_tvd"]) == {"row": 1, "col": 2}
    assert plots.best(ds["fid"].rename("whatever")) == {"row": 0, "col": 1}
    assert plots.best(ds["generator_learning_rate"]) is None
    assert plots.best(ds["fid"] * np.nan) is None
    labels = {element.label for element in plots.trace(ds, "generator_learning_rate")}
    assert "median" in labels
    assert not any(label.startswith("best") for label in labels)


def test_the_latest_values_are_those_of_the_last_round_that_has_any():
    under_way = dataset()["fid"].where(dataset()["round"] < 2)
    assert int(plots.latest(under_way)["round"]) == 1
    assert plots.best(under_way) == {"row": 1, "col": 2}


@pytest.mark.parametrize("unit", ["group", "client"])
def test_a_trace_knows_no_unit(unit):
    ds = dataset().isel(col=0, drop=True).rename(row=unit)
    labels = [element.label for element in plots.trace(ds)]
    assert f"best: {unit} 1" in labels


def test_a_trace_of_one_round_shows_dots():
    drawn = figure(plots.trace(dataset().isel(round=[0])))
    assert {type(renderer.glyph).__name__ for renderer in drawn.renderers} <= {"Scatter", "Circle"}


def test_a_trace_is_logarithmic_where_scores_span_a_decade():
    assert type(figure(plots.trace(dataset())).y_scale).__name__ == "LinearScale"
    wide = dataset().assign(fid=dataset()["fid"] ** 2)
    assert type(figure(plots.trace(wide)).y_scale).__name__ == "LogScale"
    with_zero = wide.assign(fid=wide["fid"] - 1.5**2)
    assert type(figure(plots.trace(with_zero)).y_scale).__name__ == "LinearScale"


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize(("scale", "kind"), [("linear", "LinearScale"), ("log", "LogScale")])
def test_a_scale_that_is_asked_for_is_drawn_whatever_the_values(power, scale, kind):
    ds = dataset().assign(fid=dataset()["fid"] ** power)
    assert type(figure(plots.trace(ds, scale=scale)).y_scale).__name__ == kind
    bar = figure(plots.map(ds, scale=scale)).select_one(
        {"type": hv.plotting.bokeh.element.ColorBar}
    )
    assert type(bar.color_mapper).__name__ == kind.replace("Scale", "ColorMapper")


@pytest.mark.parametrize(
    ("scale", "words"),
    [("cubic", "expected one of auto, linear, log"), ("log", "expected values above 0, got 0")],
)
def test_a_scale_that_cannot_be_is_refused(scale, words):
    ds = dataset().assign(fid=dataset()["fid"] - dataset()["fid"].min())
    for draw in (plots.trace, plots.map):
        with pytest.raises(ValueError, match=words):
            draw(ds, scale=scale)


def test_a_trace_without_values_says_so():
    nothing = dataset()
    nothing["fid"] = nothing["fid"].where(False)
    assert text(plots.trace(nothing)) == "no FID yet"


def many(values):
    """Give rounds of a variable over a grid of 9x9 cells, which are too many for lines."""
    ds = xr.Dataset(
        {"fid": (("round", "row", "col"), values, {"long_name": "distance", "better": "lower"})}
    )
    ds.attrs["score"] = "fid"
    return ds.assign_coords(round=range(1, len(values) + 1), row=range(9), col=range(9))


def test_many_units_are_drawn_as_bands():
    values = np.arange(2 * 81.0).reshape(2, 9, 9)
    values[1, 0, :2] = np.nan, np.inf
    by_label = {element.label: element for element in plots.trace(many(values))}
    assert list(by_label) == ["all", "middle half", "median", "best: row 0, col 2"]
    assert columns(by_label["all"], "round", "fid", "upper") == [(1, 0, 80), (2, 83, 161)]
    assert columns(by_label["middle half"], "round", "fid", "upper") == [
        (1, 20, 60),
        (2, 102.5, 141.5),
    ]
    assert by_label["median"].dimension_values("fid").tolist() == [40, 122]
    assert figure(plots.trace(many(values))).yaxis.axis_label == "distance"


def test_a_marked_unit_stands_out():
    by_label = {e.label: e for e in plots.trace(dataset(), marked={"row": 1, "col": 2})}
    assert by_label["row 1, col 2"].dimension_values("fid").tolist() == [4, 5]
    by_label = {
        e.label: e for e in plots.trace(many(np.ones((2, 9, 9))), marked={"row": 0, "col": 3})
    }
    assert by_label["row 0, col 3"].dimension_values("fid").tolist() == [1, 1]
    for wrong in ({"row": 2, "col": 0}, {"row": 1}, {"group": 1}):
        with pytest.raises(ValueError, match="expected row from 0 to 1, col from 0 to 2"):
            plots.trace(dataset(), marked=wrong)


def test_long_traces_are_thinned_but_for_their_ends(monkeypatch):
    monkeypatch.setattr("gandask.plots.selection.POINTS", 4)
    values = np.arange(10.0)[:, None, None] + np.zeros((10, 9, 9))
    for element in plots.trace(many(values)):
        assert element.dimension_values("round").tolist() == [1, 4, 7, 10]
    assert len(plots.trace(many(values).isel(row=[0], col=[0, 1])).get(0).split()[0].array()) == 4


@pytest.mark.parametrize(
    ("constant", "ends"), [(2e-4, (1.8e-4, 2.2e-4)), (-5.0, (-5.5, -4.5)), (0.0, (-1.0, 1.0))]
)
@pytest.mark.parametrize("draw", [plots.trace, lambda ds: plots.compare({"a": [ds]}, "fid")])
def test_the_axis_of_a_constant_is_tight(constant, ends, draw):
    drawn = figure(draw(dataset(fid=dataset()["fid"] * 0 + constant)))
    assert (drawn.y_range.start, drawn.y_range.end) == pytest.approx(ends)


def test_lines_and_colours_can_be_told_apart():
    strokes = [tuple(stroke(place).values()) for place in range(24)]
    assert len(set(strokes)) == 24
    assert len({colour for colour, _ in strokes[:12]}) == 12
    assert len({look.colour for look in LOOKS.values()}) == len(LOOKS)


def test_whole_numbers_of_minus_one_are_none():
    batches = (("round", "row", "col"), [[[3, -1, 3]] * 2, [[4, 4, 4]] * 2], {"long_name": "steps"})
    lines = plots.trace(dataset(batches=batches), "batches").get(0).split(datatype="dictionary")
    np.testing.assert_array_equal(lines[1]["batches"], [np.nan, 4])


def test_plots_of_a_run_without_rounds_say_so():
    empty = dataset().isel(round=[], event=[])
    assert text(plots.trace(empty)) == "no FID yet"
    assert text(plots.profile(empty)) == "no timings yet"
    assert plots.best(empty["fid"]) is None


def test_a_profile_has_seconds_and_shares_with_the_longest_on_top():
    bars = plots.profile(dataset())
    assert columns(bars, "name", "seconds", "share") == [("gather", 3, 30), ("train", 7, 70)]
    drawn = figure(bars)
    assert drawn.y_range.factors == ["gather  30.0 %", "train  70.0 %"]
    assert drawn.xaxis.axis_label == "time (s)"
    idle = dataset().assign(seconds=dataset()["seconds"] * 0)
    assert text(plots.profile(idle)) == "no timings yet"


def test_plots_leave_the_dataset_as_it_was():
    ds, before = dataset(), dataset()
    for draw in (plots.map, plots.trace, plots.profile, plots.events):
        figure(draw(ds))
    xr.testing.assert_identical(ds, before)


# --- Samples --------------------------------------------------------------------------------------


def read(picture):
    return np.asarray(Image.open(io.BytesIO(picture)))


def images(channels=1, count=3, side=16):
    made = np.full((count, channels, side, side), -1.0, np.float32)
    made[1, 0] = 1.0
    return made


def test_images_become_tiles_with_a_gap():
    made = read(pictures.png_bytes(torch.from_numpy(images()), columns=2))
    assert made.shape == (130, 130), "16 pixels become 64, twice, with 2 between"
    assert (made[:64, :64] == 0).all()
    assert (made[:64, 66:] == 255).all()
    assert (made[66:, :64] == 0).all()
    assert (made[64:66] == 255).all()


def test_colours_stay_colours_and_large_images_their_size():
    made = read(pictures.png_bytes(images(channels=3, side=70)))
    assert made.shape == (70, 3 * 70 + 4, 3)
    assert made[0, 72].tolist() == [255, 0, 0]


@pytest.mark.parametrize("channels", [2, 4])
def test_channels_without_colours_lie_side_by_side(channels):
    made = pictures.tiles(images(channels, side=64), 1)
    assert made.shape == (3 * 64 + 4, channels * 64)
    assert (made[66:130, :64] == 255).all() and (made[66:130, 64:] == 0).all()
    assert isinstance(plots.image_grid(images(channels)), hv.Image)


def test_what_a_diverged_generator_makes_can_be_drawn():
    broken = images()
    broken[0], broken[2] = np.nan, np.inf
    made = pictures.tiles(broken)
    assert (made[:, :64] == 0).all()
    assert (made[:, 132:] == 255).all()


RING = gd.data.load("ring8")
FACTS = gd.data.Plane.around(RING.samples, RING.modes, RING.mode_std).facts
BLOB = np.random.default_rng(0).normal(size=(200, 2)) * 0.1 + RING.modes[0]


def test_points_are_drawn_on_the_scale_of_their_data_over_its_modes():
    """One blob looks like one, whatever is drawn: not scaled to itself."""
    far = np.array([[9.0, 0.0], [np.nan, 0.0]])
    for points in (RING.samples[:500], BLOB, np.concatenate([BLOB, far])):
        drawn = plots.image_grid(points, facts=FACTS)
        shown = figure(drawn)
        reach = FACTS["plane_reach"]
        assert 2.4 < reach < 3.2, "the data, and some room"
        ends = [shown.x_range.start, shown.x_range.end, shown.y_range.start, shown.y_range.end]
        assert np.abs(ends) == pytest.approx([reach] * 4, abs=0.05)
        assert all(axis.visible for axis in (shown.xaxis[0], shown.yaxis[0]))
        rings, dots, _ = drawn
        assert [type(layer) for layer in drawn] == [hv.Polygons, hv.Points, hv.Labels], "below"
        assert len(rings.split()) == 8
        edges = [ring.array()[:, :2] for ring in rings.split()]
        centres = [(edge.min(0) + edge.max(0)) / 2 for edge in edges]
        np.testing.assert_allclose(centres, RING.modes, atol=0.01)
        assert len(dots) == np.isfinite(points).all(1).sum()
    assert shown.title.text == "2 of 202 lie outside"


def test_the_share_of_the_samples_on_each_mode_is_told():
    shares = [row[0] for row in columns(plots.image_grid(BLOB, facts=FACTS).get(2), "share")]
    assert shares == ["100%", *["0%"] * 7]
    half = np.concatenate([BLOB, 0 * BLOB])
    told = [row[0] for row in columns(plots.image_grid(half, facts=FACTS).get(2), "share")]
    assert told == ["50%", *["0%"] * 7], "what is on no mode counts for none"


def test_a_point_has_its_place_in_a_picture_whatever_else_is_drawn():
    plane = gd.data.Plane.of(FACTS)
    one, other = (
        np.asarray(pictures.scatter(np.array([[1.0, 1.0], [x, -1.0]]), plane)) for x in (-1.0, 0.5)
    )
    assert one.shape == (512, 512)
    np.testing.assert_array_equal(one[:200], other[:200])
    assert (one != other).any()
    corner = plane.centre + np.array([plane.reach, plane.reach / 2])
    assert pictures.placed(corner[None], plane).tolist() == [pytest.approx([1.0, 0.25])]


def test_points_of_no_known_plane_are_drawn_at_equal_scale(tmp_path):
    corners = np.array([[-2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [np.nan, 1.0]])
    pictures.save_png(corners, tmp_path / "points.png")
    assert Image.open(tmp_path / "points.png").size == (512, 512)
    shown = figure(plots.image_grid(corners))
    assert (shown.x_range.start, shown.x_range.end) == pytest.approx((-2.4, 2.4))
    assert (shown.y_range.start, shown.y_range.end) == pytest.approx((-1.9, 2.9))


def test_sequences_are_lines_over_the_bands_of_real_ones():
    flat = np.stack([np.full((9, 2), value) for value in (-0.5, 0.5)])
    bands = gd.data.Bands(np.linspace(-1, 1, 5)[:, None, None] * np.ones((1, 9, 2)))
    bare, over = (read(pictures.png_bytes(flat, facts=f)) for f in ({}, bands.facts))
    assert bare.shape == (2 * 150 + 3 * 28, 512, 3)
    column = bare[28:178, 300]
    coloured = np.flatnonzero(np.ptp(column.astype(int), axis=1) > 60)
    assert {37, 112} <= {*coloured.tolist()} <= {36, 37, 38, 111, 112, 113}
    assert (over[30:176, 300].mean(1) < 255).all(), "bands lie behind"
    assert over[40, 300].mean() > over[100, 300].mean(), "and half of the real ones in the darker"
    broken = np.full((1, 9, 2), np.nan)
    assert (read(pictures.png_bytes(broken))[30:176, 60:500] == 255).all()
    assert isinstance(plots.image_grid(flat, facts=bands.facts), hv.RGB)


@pytest.mark.parametrize("samples", [np.zeros((9, 2)), np.zeros((1, 9, 2))])
def test_samples_on_a_dark_ground_are_light(samples):
    light, dark = (
        read(pictures.png_bytes(samples, facts=FACTS, dark=dark)).astype(int) for dark in (0, 1)
    )
    assert light.shape == dark.shape
    assert dark.mean() < 60 < 200 < light.mean()
    for made in (light, dark):  # axes, numbers and samples can be told from the ground
        assert np.ptp(made) > 150


@pytest.mark.parametrize("shape", [(3, 0, 8, 8), (3, 5), (0, 1, 8, 8), (8, 8), (3, 5, 0)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected images"):
        pictures.png_bytes(np.zeros(shape))


def test_an_image_grid_shows_the_same_tiles():
    grey, colour = plots.image_grid(images(), 2), plots.image_grid(images(channels=3))
    np.testing.assert_array_equal(
        grey.dimension_values(2, flat=False)[::-1], pictures.tiles(images(), 2)
    )
    assert isinstance(colour, hv.RGB)
    assert not figure(grey).xaxis[0].visible
    points = plots.image_grid(torch.tensor([[0.0, 1.0], [2.0, 3.0]]))
    assert columns(points.get(1), 0, 1) == [(0, 1), (2, 3)]


@pytest.mark.parametrize("side", [3, 9])
def test_a_legend_has_as_many_columns_as_there_is_room_for(side):
    values = np.random.default_rng(0).random((3, side, side))
    told = {"long_name": "distance", "units": "1", "better": "lower"}
    coords = {"round": [1, 2, 3], "row": range(side), "col": range(side)}
    ds = xr.Dataset({"fid": (("round", "row", "col"), values, told)}, coords, {"score": "fid"})
    drawn = hv.renderer("bokeh").get_plot(plots.trace(ds, marked={"row": 0, "col": 1})).state
    (laid,) = drawn.js_property_callbacks["change:inner_width"]
    assert drawn.legend[0].js_property_callbacks["change:ncols"] == [laid], "also drawn anew"
    assert laid.args["labels"] == len(drawn.legend[0].items)
    assert laid.args["height"] == 260, "of one row"
