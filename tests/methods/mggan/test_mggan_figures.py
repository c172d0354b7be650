"""What is drawn of groups, by its content."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from conftest import tiny

import gandask as gd
from gandask.methods.mggan import figures
from gandask.plots.style import COLOURS


def dataset(kept=2, value=2):
    """Two groups, three rounds that end at 10, 20 and 40; samples were kept at the last of them."""
    iterations, rounds = 40, 3
    samples = np.full((2, rounds, 4, value), np.nan, "float32")
    samples[0, 3 - kept :], samples[1, 3 - kept :] = 1.0, -1.0
    trace = np.arange(2 * iterations, dtype=float).reshape(2, iterations)
    labels = {"long_name": "generator loss", "units": "1"}
    return xr.Dataset(
        {
            "generator_loss": (("group", "iteration"), trace, labels),
            "last_iteration": (("round", "group"), [[10, 10], [20, 20], [40, 40]]),
            "samples": (("group", "snapshot", "sample", "value"), samples),
            "snapshot_iteration": (("group", "snapshot"), [[10, 20, 40]] * 2),
            "event_round": ("event", [1, 1, 2]),
            "event_kind": ("event", ["regrouped", "checkpoint", "regrouped"]),
        },
        {
            "group": [0, 1],
            "iteration": range(1, iterations + 1),
            "round": [1, 2, 3],
            "snapshot": range(3),
        },
    )


def test_a_line_for_each_group_and_a_mark_for_each_regrouping():
    drawn = figures.regroupings(dataset())
    marks, *lines = drawn
    assert isinstance(marks, hv.VLines)
    assert marks.dimension_values(0).tolist() == [10, 20]
    assert [line.label for line in lines] == ["group 0", "group 1"]
    assert lines[1].dimension_values(1).tolist() == list(range(40, 80))
    assert lines[1].dimension_values(0).tolist() == list(range(1, 41))
    hv.render(drawn)


def test_long_traces_are_averaged_over_spans(monkeypatch):
    monkeypatch.setattr("gandask.methods.mggan.figures.POINTS", 10)
    _, first, _ = figures.regroupings(dataset())
    assert first.dimension_values(1).tolist() == [1.5 + 4 * i for i in range(10)]


def test_iterations_that_are_not_done_are_left_out():
    ds = dataset()
    ds["generator_loss"][:, 20:] = np.nan
    _, first, _ = figures.regroupings(ds)
    assert first.dimension_values(0).max() == 20
    ds["generator_loss"][:] = np.nan
    assert isinstance(figures.regroupings(ds), hv.Text)


def test_densities_lie_where_the_samples_do():
    drawn = figures.density(dataset())
    image = drawn.get(0).dimension_values(2, flat=False)
    bins = image.shape[0] // 2
    assert image.shape == (2 * bins, 2 * bins)  # two groups, two times
    low, high = image[:bins, :bins], image[bins:, :bins]  # the first group is on top
    at = np.unravel_index(np.nanargmax(high), high.shape)
    assert all(place > bins / 2 for place in at), "up and to the right"
    at = np.unravel_index(np.nanargmax(low), low.shape)
    assert all(place < bins / 2 for place in at)
    assert np.nansum(image) == 16
    shown = hv.render(drawn)
    assert list(shown.xaxis[0].major_label_overrides.values()) == ["20", "40"]
    assert shown.yaxis[0].major_label_overrides == {1: "0", 0: "1"}
    palette = shown.renderers[0].glyph.color_mapper.palette
    assert (palette[0][-2:], palette[-1][-2:]) == ("00", "ff"), "nothing hides the ground"


def test_densities_are_on_the_scale_of_the_data_over_its_modes():
    """Whatever the samples: those of the data set's plane, with rings around its modes."""
    ring = gd.data.load("ring8")
    facts = gd.data.Plane.around(ring.samples, ring.modes, ring.mode_std).facts
    ds = dataset().assign_attrs(facts)
    ds["samples"][0, 1:, :3] = ring.modes[2]  # most of the first group's are on a mode, at (0, 2)
    drawn = figures.density(ds)
    image, edges, rings, told = drawn
    at = np.unravel_index(np.nanargmax(image.dimension_values(2, flat=False)[36:, :36]), (36, 36))
    assert at[0] == pytest.approx(18 + 18 * 2 / facts["plane_reach"], abs=1)
    assert len(rings) == len(edges) * 8 == 2 * 2 * 8
    places = rings.array()[:8] - rings.array()[:8].mean(0)
    np.testing.assert_allclose(places * 2 * facts["plane_reach"], ring.modes, atol=1e-6)
    shares = sorted(told.dimension_values("share"))
    assert shares == ["0% on modes"] * 2 + ["75% on modes"] * 2
    assert hv.render(drawn).title.text.startswith("each panel from -3.09 to 3.04")


def test_few_times_are_spread_evenly():
    drawn = figures.density(dataset(kept=3), iterations=2)
    labels = hv.render(drawn).xaxis[0].major_label_overrides
    assert list(labels.values()) == ["10", "40"]


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="iterations=0: expected at least 1"):
        figures.density(dataset(), 0)
    with pytest.raises(ValueError, match="expected group and iteration"):
        figures.regroupings(dataset(), "last_iteration")
    with pytest.raises(ValueError, match="did you mean 'generator_loss'"):
        figures.regroupings(dataset(), "generator_los")


def test_without_samples_it_says_so():
    assert isinstance(figures.density(dataset(kept=0)), hv.Text)
    with pytest.raises(ValueError, match="kept_samples above 0"):
        figures.density(dataset().drop_vars("samples"))
    assert figures.density(dataset(value=3)).data[2].startswith("these samples are no points")


# --- Partners ------------------------------------------------------------------------------------


def met(partner, ends):
    coords = {"round": range(1, len(partner) + 1), "group": range(len(partner[0]))}
    dims = ("round", "group")
    return xr.Dataset({"partner": (dims, partner), "last_iteration": (dims, ends)}, coords)


def stretches(overlay):
    names = ("begin", "end", "generator", "discriminator", "colour")
    return list(zip(*(overlay.get(0).dimension_values(name) for name in names), strict=True))


def test_a_rectangle_for_each_stretch_with_the_same_partner():
    drawn = figures.partners(met([[0, 1], [0, 1], [1, 0]], [[10, 10], [20, 20], [35, 35]]))
    blue, red = COLOURS[:2]
    assert stretches(drawn) == [
        (0, 20, 0, 0, blue),
        (20, 35, 0, 1, red),
        (0, 20, 1, 1, red),
        (20, 35, 1, 0, blue),
    ]
    assert drawn.get(0).dimension_values("low").tolist() == [-0.4, -0.4, 0.6, 0.6]
    labels = [drawn.get(1).dimension_values(name).tolist() for name in ("begin", "low", "text")]
    assert list(zip(*labels, strict=True)) == [
        (10, 0, "0"),
        (27.5, 0, "1"),
        (10, 1, "1"),
        (27.5, 1, "0"),
    ]
    shown = hv.render(drawn)
    assert (shown.x_range.start, shown.x_range.end) == (0, 35)
    assert shown.y_range.start > shown.y_range.end, "the first group is on top"
    assert shown.yaxis[0].major_label_overrides == {0: "0", 1: "1"}


def test_rounds_that_a_group_has_not_done_are_left_out():
    drawn = figures.partners(met([[7, 1], [-1, 0]], [[10, 10], [-1, 20]]))
    assert [row[:4] for row in stretches(drawn)] == [(0, 10, 0, 7), (0, 10, 1, 1), (10, 20, 1, 0)]
    assert stretches(drawn)[0][4] == COLOURS[7], "no two of twelve are alike"


def test_numbers_of_partners_are_printed_where_they_fit():
    drawn = figures.partners(met([[0], [1]], [[1], [1000]]))
    assert drawn.get(1).dimension_values("text").tolist() == ["1"]
    hv.render(drawn)


def test_without_rounds_there_are_no_partners():
    nothing = met([[0, 1]], [[10, 10]]).isel(round=[])
    assert figures.partners(nothing).data[2] == "no iterations yet"
    with pytest.raises(ValueError, match="no variable 'partner'"):
        figures.partners(dataset())


def test_the_mixture_of_all_groups_is_drawn_by_group():
    share = {"long_name": "share in the mixture of all", "units": "1"}
    ds = met([[0, 1], [1, 0]], [[5, 5], [9, 9]])
    ds["mixture_weight"] = ("round", "group"), [[0.5, 0.5], [0.2, 0.8]], share
    bars = figures.mixture(ds)
    assert bars.dimension_values("name").tolist() == ["group 0", "group 1"]
    assert bars.dimension_values(2).tolist() == [0.2, 0.8]
    assert figures.mixture(ds, round=1).dimension_values(2).tolist() == [0.5, 0.5]
    assert hv.render(bars).xaxis[0].axis_label == "share in the mixture of all"


# --- What a method says of its figures ------------------------------------------------------------


def test_every_figure_is_drawn_of_a_run_and_needs_what_it_says():
    ds = gd.run(tiny("mggan"))
    for name, figure in gd.METHODS["mggan"]().figures().items():
        assert set(figure.needs) <= set(ds), name
        given = {"round": 1} if "round" in figure.takes else {}
        hv.render(figure.draw(ds, **given))
        with pytest.raises(ValueError, match="there"):
            figure.draw(ds.drop_vars(figure.needs[0]), **given)


def test_losses_and_rates_are_drawn_with_the_regroupings():
    ds = dataset()
    ds = ds.assign(learning_rate=ds["generator_loss"], discriminator_loss=-ds["generator_loss"])
    for draw, sign in ((figures.learning_rates, 1), (figures.discriminator_losses, -1)):
        marks, first, _ = draw(ds)
        assert marks.dimension_values(0).tolist() == [10, 20]
        assert first.dimension_values(1).tolist() == [sign * value for value in range(40)]
