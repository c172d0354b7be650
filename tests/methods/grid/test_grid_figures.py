"""What is drawn of cells, by its content: neighbours, mixtures, replacements."""

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
    for draw in (figures.neighbourhood, figures.river, figures.mixture):
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
