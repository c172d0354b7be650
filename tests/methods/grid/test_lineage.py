"""Where weights came from: ancestors, founders, how various they are; and the river of them."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from conftest import tiny

import gandask as gd
from gandask.methods.grid import river as drawing
from gandask.methods.grid.lineage import ancestors, founders, variety
from gandask.methods.grid.river import Streams, river, told_apart
from gandask.plots.style import COLOURS, MUTED

UNIT = ("round", "row", "col")


def at(row, col):
    return {"row": row, "col": col}


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
    found = ancestors(LINES)
    assert found.dims == ("round", "cell")
    assert found["round"].values.tolist() == [0, 1, 2, 3]
    assert found.values.tolist() == [[1, 2, 1], [1, 2, 1], [2, 1, 2], [0, 1, 2]]


def test_an_ancestor_is_taken_as_it_was_before_the_round():
    # cell 0 clones cell 1 in the round in which cell 1 clones cell 2
    found = ancestors(bred([[1, 2, 2]], [[1, 1, 0]]))
    assert found.values.tolist() == [[1, 2, 2], [0, 1, 2]]


def test_the_ancestors_of_one_cell_and_of_discriminators():
    one = ancestors(LINES, marked=at(0, 1))
    assert one["cell"].values.tolist() == [1]
    assert one.values.ravel().tolist() == ancestors(LINES).sel(cell=1).values.tolist()
    other = bred([[2, 1, 0]], [[1, 0, 0]], kind="discriminator")
    assert ancestors(other, kind="discriminator").values[0].tolist() == [2, 1, 2]


def test_without_replacement_everyone_is_their_own_ancestor():
    found = ancestors(bred([[1, 2, 0]] * 2, [[0] * 3] * 2))
    assert (found.values == [0, 1, 2]).all()
    assert ancestors(LINES.isel(round=[])).values.tolist() == [[0, 1, 2]]


def test_ancestors_are_those_of_a_walk_in_plain_python():
    chance = np.random.default_rng(0)
    parents = chance.integers(0, 12, (20, 12))
    replaced = chance.random((20, 12)) < 0.4
    found = ancestors(bred(parents, replaced, shape=(3, 4)))
    for cell in range(12):
        at, walk = cell, [cell]
        for round in reversed(range(20)):
            at = int(parents[round, at]) if replaced[round, at] else at
            walk.insert(0, at)
        assert found.sel(cell=cell).values.tolist() == walk


# --- Founders -------------------------------------------------------------------------------------


def test_founders_are_followed_through_replacements():
    found = founders(LINES)
    assert found.dims == ("round", "cell")
    assert found["round"].values.tolist() == [0, 1, 2, 3]
    # round 1: cell 0 took that of cell 1; 2: cells 1 and 2 took each other's; 3: cell 0 cell 2's
    assert found.values.tolist() == [[0, 1, 2], [1, 1, 2], [1, 2, 1], [1, 2, 1]]


def test_the_founders_of_the_last_are_where_their_ancestors_began():
    chance = np.random.default_rng(1)
    ds = bred(chance.integers(0, 12, (20, 12)), chance.random((20, 12)) < 0.3, shape=(3, 4))
    assert founders(ds).values[-1].tolist() == ancestors(ds).values[0].tolist()
    # and every line stays with its founder
    lines = np.take_along_axis(founders(ds).values, ancestors(ds).values, 1)
    assert (lines == lines[0]).all()


def test_variety_counts_cells_founders_and_how_many_equal_ones_would_be_as_various():
    ds = bred([[0, 0, 0, 3], [0, 0, 0, 0]], [[0, 1, 1, 0], [0, 0, 0, 1]], shape=(2, 2))
    found = variety(ds)
    assert found["cells"].values.tolist() == [[1, 1, 1, 1], [3, 0, 0, 1], [4, 0, 0, 0]]
    assert found["left"].values.tolist() == [4, 2, 1]
    assert found["effective"].values.tolist() == pytest.approx([4, 16 / 10, 1])
    assert found["effective"].attrs["long_name"] == "effective number of founders"


def test_discriminators_have_founders_of_their_own():
    other = bred([[2, 1, 0]], [[1, 0, 0]], kind="discriminator")
    assert variety(other, kind="discriminator")["cells"].values[-1].tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="no generator_parent by row and col"):
        founders(other)


# --- The river ------------------------------------------------------------------------------------


def test_streams_are_as_wide_as_their_cells_and_end_with_them():
    cells = np.array([[1, 1, 1], [2, 0, 1], [2, 0, 1]])
    streams = Streams.of(cells, np.arange(3))
    assert streams.edges.tolist() == [[0, 1, 2, 3], [0, 2, 2, 3], [0, 2, 2, 3]]
    x, y = streams.outline(1, 1)
    half = len(x) // 2
    assert x.min() == 0 and x.max() == 1, "it ends where the last cell went"
    widths = dict(zip(x[:half], y[half:][::-1] - y[:half], strict=True))
    assert widths[0] == 1 and widths[0.5] == pytest.approx(0.5) and widths[1] == 0
    together = streams.outline(0, 2)
    assert set(together[1]) == {0.0, 3.0}, "several streams are as wide as all of their cells"


def test_a_line_runs_inside_the_stream_of_its_founder():
    held = np.array([[0, 1, 2], [0, 0, 2], [0, 0, 2]])
    streams = Streams.of(np.array([[1, 1, 1], [2, 0, 1], [2, 0, 1]]), np.arange(3))
    assert streams.strand(held, np.array([0, 1, 0])).tolist() == [0.5, 1.5, 0.5]
    assert streams.strand(held, np.array([2, 2, 2])).tolist() == [2.5, 2.5, 2.5]


def test_of_many_founders_those_that_held_the_most_have_their_own_stream(monkeypatch):
    monkeypatch.setattr(drawing, "STREAMS", 2)
    cells = np.array([[1, 1, 1, 1, 1, 1], [0, 3, 1, 0, 0, 2]])
    assert told_apart(cells) == [
        (0, 0, MUTED),
        (1, 1, COLOURS[0]),
        (2, 4, MUTED),
        (5, 5, COLOURS[1]),
    ]
    ds = bred([[0, 1, 1, 1, 5, 5]], [[0, 0, 1, 1, 1, 0]], shape=(2, 3))
    drawn = river(ds).get(0)
    told = drawn.data
    assert [one["founder"] for one in told] == ["0, 0", "0, 1", "3 from 0, 2 to 1, 1", "1, 2"]
    assert [one["colour"] for one in told] == [MUTED, COLOURS[0], MUTED, COLOURS[1]]


def test_a_river_tells_of_each_founder_and_what_is_left():
    drawn = river(LINES)
    told = [(one["founder"], one["most"], one["end"]) for one in drawn.get(0).data]
    assert told == [
        ("0, 0", "1 in round 0", "after round 0"),
        ("0, 1", "2 in round 1", "still there"),
        ("0, 2", "1 in round 0", "still there"),
    ]
    below = {curve.label: curve.dimension_values("value").tolist() for curve in list(drawn)[1:3]}
    assert below == {
        "founders left": [3, 2, 2, 2],
        "effective number": pytest.approx([3, 9 / 5, 9 / 5, 9 / 5]),
    }
    shown = hv.render(drawn)
    assert shown.title.text == "2 of 3 founders left"
    assert shown.yaxis[0].major_label_overrides[0.5] == "0, 0"
    assert shown.y_range.start > shown.y_range.end, "the first cell is on top"
    assert (shown.x_range.start, shown.x_range.end) == (0, 3)


def test_the_lower_part_is_below_the_river_and_grows_upwards():
    heights = [drawing._below(9, value) for value in (9, 4.5, 0)]
    assert heights == sorted(heights) and heights[0] > 9


def test_the_line_of_the_marked_cell_goes_through_its_ancestors():
    drawn = river(LINES, marked=at(0, 0))
    dots = next(layer for layer in drawn if isinstance(layer, hv.Points))
    assert dots.dimension_values("cell").tolist() == ["0, 1", "0, 1", "0, 2", "0, 0"]
    # of founder 1: its stream is below founder 0's at first, and then on top
    assert dots.dimension_values("depth").tolist() == [1.5, 1.5, 1.5, 0.5]
    labels = [layer.label for layer in drawn if layer.label]
    other = [layer.label for layer in river(LINES, marked=at(0, 1)) if layer.label]
    assert labels == other, "a page draws another cell into the same figure"


def test_the_legend_of_that_line_can_be_seen_on_any_ground():
    drawn = hv.render(river(LINES, marked=at(0, 0)))
    whole = next(it for it in drawn.legend[0].items if it.label.value == "line of the cell")
    assert [one.glyph.line_color for one in whole.renderers] == ["white", "black"]


@pytest.mark.parametrize(("marked", "height"), [((0, 1), 2.75), ((0, 3), 1.75), ((0, 5), 2.0)])
def test_a_name_lies_in_its_stream_and_beside_the_line(marked, height):
    # the founder in cell 1 holds the upper four of six cells, from the first of nine rounds on
    replaced = [[1, 0, 1, 1, 0, 0], *[[0] * 6] * 8]
    ds = bred([[1, 1, 1, 1, 4, 5]] * 9, replaced, shape=(1, 6))
    named = [one for one in river(ds, marked=at(*marked)) if isinstance(one, hv.Labels)]
    heights = {text.strip(): y for one in named for _, y, text in one.array().tolist()}
    assert heights["from 0, 1"] == height
    assert ("from 0, 5" in heights) == (marked != (0, 5)), "there is no room beside its own line"


def test_the_axis_of_a_large_river_names_some_founders():
    ds = bred(np.zeros((2, 900), int), np.zeros((2, 900)), shape=(30, 30))
    labels = [*hv.render(river(ds)).yaxis[0].major_label_overrides.values()]
    assert labels[:3] == ["0, 0", "2, 0", "4, 0"] and labels[-1] == "900"


def test_a_long_river_keeps_its_ends(monkeypatch):
    monkeypatch.setattr(drawing, "POINTS", 3)
    ds = bred([[0, 1, 2]] * 9, [[0, 0, 0]] * 9)
    drawn = river(ds)
    assert list(drawn)[1].dimension_values("round").tolist() == [0, 4, 9]


def test_a_river_needs_a_grid_and_a_round():
    grouped = xr.Dataset({"generator_parent": (("round", "group"), [[0, 1]])})
    for ds in (grouped, LINES.drop_vars("generator_parent")):
        with pytest.raises(ValueError, match="no generator_parent by row and col"):
            river(ds)
    with pytest.raises(ValueError, match="kind='loss': expected one of generator, discriminator"):
        ancestors(LINES, kind="loss")
    with pytest.raises(ValueError, match="expected row from 0 to 0, col from 0 to 2"):
        river(LINES, marked=at(1, 0))
    assert river(LINES.isel(round=[])).data[2] == "no round is done yet"


def test_a_river_is_drawn_of_a_run():
    ds = gd.run(tiny(rounds=2))
    assert variety(ds)["cells"].sum("founder").values.tolist() == [4, 4, 4]
    hv.render(river(ds, at(1, 1)))
