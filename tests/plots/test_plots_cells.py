"""Plots of cells by their content: marks, names, mixtures, and where individuals came from."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from gandask import plots
from gandask.plots.style import BEST, COLOURS, MARKED, MUTED

UNIT = ("round", "row", "col")
RING = [[[[0, 1, 2], [1, 0, 3]], [[2, 3, 0], [3, 2, 1]]]]


def dataset(rounds=2, **variables):
    """A 2x2 grid of cells with two neighbours each, the second of which is none in round 2."""
    ring = np.repeat(RING, 2, 0)
    ring[1, :, :, 2] = -1
    weights = np.where(ring < 0, np.nan, np.arange(1.0, 4) / 6)
    made = {
        "fid": (UNIT, np.arange(8.0).reshape(2, 2, 2), {"long_name": "distance", "units": "1"}),
        "loss": (UNIT, [[["bce", "lsq"], ["", "bce"]], [["hinge"] * 2] * 2]),
        "generator_replaced": (UNIT, [[[True, False], [False, True]]] * 2),
        "generator_parent": (UNIT, [[[3, -1], [0, 1]]] * 2, {"units": "cell"}),
        "neighbour_cell": ((*UNIT, "neighbour"), ring),
        "mixture_weight": ((*UNIT, "neighbour"), weights, {"long_name": "share", "units": "1"}),
    }
    coords = {"round": [1, 2], "row": [0, 1], "col": [0, 1], "neighbour": range(3)}
    return xr.Dataset(made | variables, coords).isel(round=slice(rounds))


def columns(element, *names):
    return list(zip(*(element.dimension_values(name).tolist() for name in names), strict=True))


def outlined(overlay):
    """Give (row, col) and width of each outline."""
    boxes = columns(overlay.get(2), 0, 1, 2, 3, "width")
    return {((y0 + y1) / 2, (x0 + x1) / 2): width for x0, y0, x1, y1, width in boxes}


# --- Heat maps ------------------------------------------------------------------------------------


def test_a_marked_cell_and_its_neighbourhood_of_then_are_outlined():
    drawn = plots.grid(dataset(), round=1, marked=(0, 1))
    assert outlined(drawn) == pytest.approx({(0, 0): 2, (1, 1): 2, (0, 1): 4})
    assert outlined(plots.grid(dataset(), marked=(0, 1))) == pytest.approx({(0, 0): 2, (0, 1): 4})
    glyph = hv.render(drawn).renderers[2].glyph
    assert (glyph.line_color, glyph.fill_alpha) == (MARKED, 0)
    left = min(x0 for (x0,) in columns(drawn.get(2), 0))
    assert left > -0.5, "the line is not cut off at the frame"


def test_a_heat_map_has_the_same_layers_whatever_is_marked_or_done():
    none = dataset(rounds=0)
    for overlay in (plots.grid(dataset()), plots.grid(none), plots.grid(none, marked=(0, 0))):
        assert [type(layer) for layer in overlay] == [hv.HeatMap, hv.Labels, hv.Rectangles]
        hv.render(overlay)
    assert outlined(plots.grid(dataset())) == {}
    assert outlined(plots.grid(none, marked=(0, 0))) == {(0, 0): 4}
    assert hv.render(plots.grid(none)).title.text == "no round is done yet"
    assert np.isnan(plots.grid(none).get(0).dimension_values("fid")).all()


def test_a_heat_map_goes_through_rounds_and_marks_in_a_dynamic_map():
    stream = hv.streams.Stream.define("Choice", round=1, marked=None)()
    dynamic = hv.DynamicMap(lambda **chosen: plots.grid(dataset(), **chosen), streams=[stream])
    plot = hv.renderer("bokeh").get_plot(dynamic)
    stream.event(round=2, marked=(1, 0))
    heat, _, outlines = (renderer.data_source.data for renderer in plot.state.renderers)
    assert plot.state.title.text == "round 2"
    assert sorted(heat["zvalues"]) == [4, 5, 6, 7]
    assert sorted(outlines["line_width"]) == [2, 4]
    stream.event(marked=None)
    assert len(plot.state.renderers[2].data_source.data["left"]) == 0


def test_a_heat_map_can_be_tapped_and_a_tap_changes_no_colour():
    drawn = hv.render(plots.grid(dataset()))
    assert "TapTool" in [type(tool).__name__ for tool in drawn.tools]
    assert drawn.toolbar_location is None
    assert drawn.renderers[0].nonselection_glyph.fill_alpha == 1


def legend(drawn):
    (shown,) = hv.render(drawn).legend
    # of values, not of a column
    return {item.label.value: item.renderers[0].glyph.fill_color for item in shown.items}


def test_names_have_colours_that_are_the_same_in_every_round():
    first, second = (plots.grid(dataset(), "loss", round) for round in (1, 2))
    mappers = [hv.render(one).renderers[0].glyph.fill_color.transform for one in (first, second)]
    for mapper in mappers:
        told = dict(zip(mapper.factors, mapper.palette, strict=False))
        assert told == dict(zip(("bce", "hinge", "lsq"), COLOURS, strict=False))
    assert columns(first.get(0), "row", "col", "loss") == [
        (0, 0, "bce"),
        (0, 1, "lsq"),
        (1, 0, ""),
        (1, 1, "bce"),
    ]
    assert [text for (text,) in columns(first.get(1), "text")] == ["bce", "lsq", "", "bce"]
    assert legend(first) == dict(zip(("bce", "hinge", "lsq"), COLOURS, strict=False))


def test_names_are_printed_where_they_fit_only():
    long = dataset(loss=(UNIT, np.full((2, 2, 2), "x" * 30)))
    assert len(plots.grid(long, "loss").get(1)) == 0


def test_truth_values_are_named_and_none_is_no_number():
    drawn = plots.grid(dataset(), "generator_replaced")
    assert [text for (text,) in columns(drawn.get(1), "text")] == ["yes", "no", "no", "yes"]
    assert list(legend(drawn)) == ["no", "yes"]
    hv.render(drawn)
    drawn = plots.grid(dataset(), "generator_parent")
    assert [text for (text,) in columns(drawn.get(1), "text")] == ["3", "–", "0", "1"]
    hv.render(drawn)


def test_what_is_not_finite_is_printed_in_an_ink_for_any_background():
    ds = dataset(fid=(UNIT, np.full((2, 2, 2), np.nan)))
    drawn = plots.grid(ds)
    assert set(columns(drawn.get(1), "text", "ink")) == {("–", MUTED)}
    assert hv.render(drawn).renderers[0].glyph.fill_color.transform.nan_color == "rgba(0, 0, 0, 0)"


def test_cells_that_are_not_there_are_refused():
    for draw in (plots.grid, plots.lineage, plots.mixture):
        with pytest.raises(ValueError, match=r"no cell \(0, 2\): expected a row from 0 to 1 and a"):
            draw(dataset(), marked=(0, 2))


# --- Mixtures -------------------------------------------------------------------------------------


def test_a_mixture_has_a_bar_for_each_neighbour():
    bars = plots.mixture(dataset(), (0, 1), round=1)
    assert columns(bars, "name", "colour") == [("0, 1", BEST), ("0, 0", MUTED), ("1, 1", MUTED)]
    assert bars.dimension_values(2).tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    drawn = hv.render(bars)
    assert drawn.yaxis[0].major_label_overrides == {0: "0, 1", 1: "0, 0", 2: "1, 1"}
    assert drawn.title.text == "row 0, col 1 in round 1"
    assert drawn.xaxis[0].axis_label == "share"
    assert drawn.y_range.start > drawn.y_range.end, "its own is on top"


def test_the_frame_of_a_mixture_is_the_same_with_fewer_neighbours_and_without_rounds():
    drawn = [hv.render(plots.mixture(ds, (0, 0))) for ds in (dataset(1), dataset(2), dataset(0))]
    assert [len(one.renderers[0].data_source.data["left"]) for one in drawn] == [3, 2, 0]
    assert len({(one.height, one.y_range.start, one.x_range.end) for one in drawn}) == 1
    assert drawn[2].title.text == "no round is done yet"


def test_several_generators_of_a_cell_are_counted():
    ring = np.repeat([[[[0, 0, 1]] * 2] * 2], 2, 0)
    ds = dataset(neighbour_cell=((*UNIT, "neighbour"), ring))
    names = [name for (name,) in columns(plots.mixture(ds, (0, 0), round=1), "name")]
    assert names == ["0, 0 · 1", "0, 0 · 2", "0, 1 · 1"]


def test_a_mixture_needs_weights_and_a_cell():
    with pytest.raises(ValueError, match="marked=None: expected the"):
        plots.mixture(dataset())
    with pytest.raises(ValueError, match="no variable 'mixture_weight'"):
        plots.mixture(dataset().drop_vars("mixture_weight"), (0, 0))
    unknown = dataset()
    unknown["mixture_weight"] = unknown["mixture_weight"] * np.nan
    hv.render(plots.mixture(unknown, (0, 0)))


# --- Lineages -------------------------------------------------------------------------------------


def bred(parents, replaced, shape=(1, 3), kind="generator"):
    """Give a grid of which only parents and replacements are known: one list per round."""
    size = (len(parents), *shape)
    made = {
        f"{kind}_parent": (UNIT, np.reshape(parents, size)),
        f"{kind}_replaced": (UNIT, np.reshape(replaced, size).astype(bool)),
    }
    coords = {"round": range(1, len(parents) + 1), "row": range(shape[0]), "col": range(shape[1])}
    return xr.Dataset(made, coords)


LINES = bred(
    parents=[[1, 1, 0], [0, 2, 1], [2, 0, -1]],
    replaced=[[1, 0, 0], [0, 1, 1], [1, 0, 1]],
)
PLACES = [[2, 2, 1], [2, 2, 1], [2, 1, 2], [0, 1, 2]]
"""Of LINES, cells down to rounds back. Round 3: cell 0 took that of cell 2, cell 2's parent is not
known; round 2: cells 1 and 2 took each other's; round 1: cell 0 took that of cell 1."""


def test_ancestors_are_followed_back_through_replacements():
    found = plots.ancestors(LINES)
    assert found.dims == ("round", "cell")
    assert found["round"].values.tolist() == [0, 1, 2, 3]
    assert found.values.tolist() == [[1, 2, 1], [1, 2, 1], [2, 1, 2], [0, 1, 2]]


def test_an_ancestor_is_taken_as_it_was_before_the_round():
    # cell 0 clones cell 1 in the round in which cell 1 clones cell 2
    found = plots.ancestors(bred([[1, 2, 2]], [[1, 1, 0]]))
    assert found.values.tolist() == [[1, 2, 2], [0, 1, 2]]


def test_the_ancestors_of_one_cell_and_of_discriminators():
    one = plots.ancestors(LINES, cell=(0, 1))
    assert one["cell"].values.tolist() == [1]
    assert one.values.ravel().tolist() == plots.ancestors(LINES).sel(cell=1).values.tolist()
    other = bred([[2, 1, 0]], [[1, 0, 0]], kind="discriminator")
    assert plots.ancestors(other, kind="discriminator").values[0].tolist() == [2, 1, 2]


def test_without_replacement_everyone_is_their_own_ancestor():
    found = plots.ancestors(bred([[1, 2, 0]] * 2, [[0] * 3] * 2))
    assert (found.values == [0, 1, 2]).all()
    assert plots.ancestors(LINES.isel(round=[])).values.tolist() == [[0, 1, 2]]


def test_ancestors_are_those_of_a_walk_in_plain_python():
    chance = np.random.default_rng(0)
    parents = chance.integers(0, 12, (20, 12))
    replaced = chance.random((20, 12)) < 0.4
    found = plots.ancestors(bred(parents, replaced, shape=(3, 4)))
    for cell in range(12):
        at, walk = cell, [cell]
        for round in reversed(range(20)):
            at = int(parents[round, at]) if replaced[round, at] else at
            walk.insert(0, at)
        assert found.sel(cell=cell).values.tolist() == walk


def covered(segments):
    """Give the (round, cell) that level segments reach over, and the moves between cells."""
    stays, moves = set(), set()
    for begin, cell, end, other in segments:
        if cell == other:
            stays |= {(round, cell) for round in range(int(np.ceil(begin)), int(end) + 1)}
        else:
            moves.add((begin, cell, other))
    return stays, moves


def test_a_lineage_draws_every_place_and_move_of_the_ancestors():
    drawn = plots.lineage(LINES)
    stays, moves = covered(columns(drawn.get(0), 0, 1, 2, 3))
    places = plots.ancestors(LINES).values
    assert stays == {(round, cell) for round, row in enumerate(places) for cell in row}
    assert moves == {(1.5, 1, 2), (1.5, 2, 1), (2.5, 2, 0)}
    assert len(drawn.get(1)) == 0
    figure = hv.render(drawn)
    assert figure.title.text == "2 of 3 founders left"
    assert figure.yaxis[0].major_label_overrides == {0: "0, 0", 1: "0, 1", 2: "0, 2"}


def test_the_line_of_the_marked_cell_stands_out():
    line = plots.lineage(LINES, marked=(0, 0)).get(1)
    assert columns(line, 0, 1) == [(0, 1), (1, 1), (2, 2), (3, 0)]
    assert hv.render(plots.lineage(LINES, marked=(0, 0))).renderers[1].glyph.line_color == BEST


def test_the_axis_of_a_large_lineage_names_some_cells():
    ds = bred(np.zeros((2, 900), int), np.zeros((2, 900)), shape=(30, 30))
    labels = hv.render(plots.lineage(ds)).yaxis[0].major_label_overrides
    assert list(labels.values())[:3] == ["0, 0", "2, 0", "4, 0"]
    assert len(plots.lineage(ds).get(0)) == 900, "one segment each, where none moves"


def test_a_lineage_needs_a_grid_and_a_round():
    grouped = xr.Dataset({"generator_parent": (("round", "group"), [[0, 1]])})
    for ds in (grouped, LINES.drop_vars("generator_parent")):
        with pytest.raises(ValueError, match="no generator_parent by row and col"):
            plots.lineage(ds)
    with pytest.raises(ValueError, match="kind='loss': expected one of generator, discriminator"):
        plots.ancestors(LINES, kind="loss")
    assert plots.lineage(LINES.isel(round=[])).data[2] == "no round is done yet"
