"""What is drawn of cells, by its content: neighbours, mixtures, replacements, ancestors."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from conftest import tiny

import gandask as gd
from gandask.methods.grid import figures
from gandask.plots.style import BEST, MUTED

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
    return xr.Dataset(made | variables, coords, {"score": "fid"}).isel(round=slice(rounds))


def at(row, col):
    return {"row": row, "col": col}


def columns(element, *names):
    return list(zip(*(element.dimension_values(name).tolist() for name in names), strict=True))


def outlined(overlay):
    """Give (row, col) and width of each outline."""
    boxes = columns(overlay.get(2), 0, 1, 2, 3, "width")
    return {((y0 + y1) / 2, (x0 + x1) / 2): width for x0, y0, x1, y1, width in boxes}


# --- Neighbourhoods -------------------------------------------------------------------------------


def test_a_marked_cell_and_its_neighbourhood_of_then_are_outlined():
    drawn = figures.neighbourhood(dataset(), at(0, 1), round=1)
    assert outlined(drawn) == pytest.approx({(0, 0): 2, (1, 1): 2, (0, 1): 4})
    drawn = figures.neighbourhood(dataset(), at(0, 1), variable="loss")
    assert outlined(drawn) == pytest.approx({(0, 0): 2, (0, 1): 4})
    none = figures.neighbourhood(dataset(rounds=0), at(0, 0))
    assert outlined(none) == {(0, 0): 4}


def test_cells_that_are_not_there_are_refused():
    for draw in (figures.neighbourhood, figures.lineage, figures.mixture):
        for wrong in (at(0, 2), {"row": 0}, {"group": 1}):
            with pytest.raises(ValueError, match="expected row from 0 to 1, col from 0 to 1"):
                draw(dataset(), marked=wrong)


# --- Mixtures ------------------------------------------------------------------------------------


def test_a_mixture_has_a_bar_for_each_neighbour():
    bars = figures.mixture(dataset(), at(0, 1), round=1)
    assert columns(bars, "name", "colour") == [("0, 1", BEST), ("0, 0", MUTED), ("1, 1", MUTED)]
    assert bars.dimension_values(2).tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    drawn = hv.render(bars)
    assert drawn.yaxis[0].major_label_overrides == {0: "0, 1", 1: "0, 0", 2: "1, 1"}
    assert drawn.title.text == "row 0, col 1 in round 1"
    assert drawn.xaxis[0].axis_label == "share"
    assert drawn.y_range.start > drawn.y_range.end, "its own is on top"


def test_the_frame_of_a_mixture_is_the_same_with_fewer_neighbours_and_without_rounds():
    drawn = [
        hv.render(figures.mixture(ds, at(0, 0))) for ds in (dataset(1), dataset(2), dataset(0))
    ]
    assert [len(one.renderers[0].data_source.data["left"]) for one in drawn] == [3, 2, 0]
    assert len({(one.height, one.y_range.start, one.x_range.end) for one in drawn}) == 1
    assert drawn[2].title.text == "no round is done yet"


def test_several_generators_of_a_cell_are_counted():
    ring = np.repeat([[[[0, 0, 1]] * 2] * 2], 2, 0)
    ds = dataset(neighbour_cell=((*UNIT, "neighbour"), ring))
    names = [name for (name,) in columns(figures.mixture(ds, at(0, 0), round=1), "name")]
    assert names == ["0, 0 · 1", "0, 0 · 2", "0, 1 · 1"]


def test_a_mixture_needs_weights_and_a_cell():
    with pytest.raises(ValueError, match="no variable 'mixture_weight'"):
        figures.mixture(dataset().drop_vars("mixture_weight"), (0, 0))
    unknown = dataset()
    unknown["mixture_weight"] = unknown["mixture_weight"] * np.nan
    hv.render(figures.mixture(unknown, at(0, 0)))


# --- Lineages ------------------------------------------------------------------------------------


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
    found = figures.ancestors(LINES)
    assert found.dims == ("round", "cell")
    assert found["round"].values.tolist() == [0, 1, 2, 3]
    assert found.values.tolist() == [[1, 2, 1], [1, 2, 1], [2, 1, 2], [0, 1, 2]]


def test_an_ancestor_is_taken_as_it_was_before_the_round():
    # cell 0 clones cell 1 in the round in which cell 1 clones cell 2
    found = figures.ancestors(bred([[1, 2, 2]], [[1, 1, 0]]))
    assert found.values.tolist() == [[1, 2, 2], [0, 1, 2]]


def test_the_ancestors_of_one_cell_and_of_discriminators():
    one = figures.ancestors(LINES, marked=at(0, 1))
    assert one["cell"].values.tolist() == [1]
    assert one.values.ravel().tolist() == figures.ancestors(LINES).sel(cell=1).values.tolist()
    other = bred([[2, 1, 0]], [[1, 0, 0]], kind="discriminator")
    assert figures.ancestors(other, kind="discriminator").values[0].tolist() == [2, 1, 2]


def test_without_replacement_everyone_is_their_own_ancestor():
    found = figures.ancestors(bred([[1, 2, 0]] * 2, [[0] * 3] * 2))
    assert (found.values == [0, 1, 2]).all()
    assert figures.ancestors(LINES.isel(round=[])).values.tolist() == [[0, 1, 2]]


def test_ancestors_are_those_of_a_walk_in_plain_python():
    chance = np.random.default_rng(0)
    parents = chance.integers(0, 12, (20, 12))
    replaced = chance.random((20, 12)) < 0.4
    found = figures.ancestors(bred(parents, replaced, shape=(3, 4)))
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
    drawn = figures.lineage(LINES)
    stays, moves = covered(columns(drawn.get(0), 0, 1, 2, 3))
    places = figures.ancestors(LINES).values
    assert stays == {(round, cell) for round, row in enumerate(places) for cell in row}
    assert moves == {(1.5, 1, 2), (1.5, 2, 1), (2.5, 2, 0)}
    assert len(drawn.get(1)) == 0
    shown = hv.render(drawn)
    assert shown.title.text == "2 of 3 founders left"
    assert shown.yaxis[0].major_label_overrides == {0: "0, 0", 1: "0, 1", 2: "0, 2"}


def test_the_line_of_the_marked_cell_stands_out():
    line = figures.lineage(LINES, marked=at(0, 0)).get(1)
    assert columns(line, 0, 1) == [(0, 1), (1, 1), (2, 2), (3, 0)]
    assert hv.render(figures.lineage(LINES, marked=at(0, 0))).renderers[1].glyph.line_color == BEST


def test_the_axis_of_a_large_lineage_names_some_cells():
    ds = bred(np.zeros((2, 900), int), np.zeros((2, 900)), shape=(30, 30))
    labels = hv.render(figures.lineage(ds)).yaxis[0].major_label_overrides
    assert list(labels.values())[:3] == ["0, 0", "2, 0", "4, 0"]
    assert len(figures.lineage(ds).get(0)) == 900, "one segment each, where none moves"


def test_a_lineage_needs_a_grid_and_a_round():
    grouped = xr.Dataset({"generator_parent": (("round", "group"), [[0, 1]])})
    for ds in (grouped, LINES.drop_vars("generator_parent")):
        with pytest.raises(ValueError, match="no generator_parent by row and col"):
            figures.lineage(ds)
    with pytest.raises(ValueError, match="kind='loss': expected one of generator, discriminator"):
        figures.ancestors(LINES, kind="loss")
    assert figures.lineage(LINES.isel(round=[])).data[2] == "no round is done yet"


# --- Replacements ---------------------------------------------------------------------------------


def test_replacements_are_counted_by_round():
    generators = np.zeros((3, 1, 2), bool)
    generators[1] = generators[2, 0, 0] = True
    made = {"generator_replaced": (UNIT, generators), "discriminator_replaced": (UNIT, ~generators)}
    drawn = figures.replacements(xr.Dataset(made, {"round": [1, 2, 3]}))
    told = {line.label: columns(line, 0, 1) for line in drawn}
    assert told == {
        "generator": [(1, 0), (2, 2), (3, 1)],
        "discriminator": [(1, 2), (2, 0), (3, 1)],
    }
    hv.render(drawn)
    nothing = xr.Dataset(made, {"round": [1, 2, 3]}).isel(round=[])
    assert figures.replacements(nothing).data[2] == "no round is done yet"


# --- What a method says of its figures ------------------------------------------------------------


def test_every_figure_is_drawn_of_a_run_and_needs_what_it_says():
    ds = gd.run(tiny())
    given = {"marked": at(0, 1), "round": 1}
    for name, figure in gd.Grid().figures().items():
        assert set(figure.needs) <= set(ds), name
        hv.render(figure.draw(ds, **{key: given[key] for key in figure.takes}))
