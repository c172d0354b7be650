"""Plots of a grid's cells: a variable over the grid, and the mixture of a cell (or of groups)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np
from bokeh.models import BasicTicker, HoverTool

from gandask.core import Array
from gandask.plots import selection
from gandask.plots.style import (
    BEST,
    CELL_SIZES,
    COLOURS,
    GRID_SIZE,
    INKS,
    MARKED,
    MUTED,
    ON_TOP,
    SEQUENTIAL,
    SMALLEST_PRINTED,
    STILL,
    WIDE,
    as_large_as_its_frame,
    dimension,
    number,
    whole_numbers,
    wrapped,
)

if TYPE_CHECKING:
    import xarray as xr

NO_ROUND = "no round is done yet"
TRUTH = ("yes", "no")
LOOKED_THROUGH = 20_000  # values, for the names that a variable holds
STRONG, THIN = 4.0, 2.0  # pixels of an outline
ROW = 24  # pixels of a bar


def grid(
    ds: xr.Dataset,
    variable: str = "fid",
    round: int = -1,
    marked: tuple[int, int] | None = None,
) -> hv.Overlay:
    """Draw one variable over the grid as a heat map, first row on top.

    Numbers are drawn on a scale of colours; names and truth values each in a colour of its own.

    Parameters
    ----------
    ds : Dataset
        With dimensions row and col.
    variable : str
        One value per cell, and perhaps round.
    round : int
        Its number; a negative one counts from the last. Of no effect on a variable without rounds,
        but for the neighbourhood that is outlined.
    marked : (row, col), optional
        A cell to outline, thinly with it the others of its neighbourhood in that round.

    Returns
    -------
    Overlay
        A HeatMap, whose cells can be tapped; Labels; Rectangles, which are the outlines; and a
        legend of names. The layers are the same in every round and for every mark.

    Raises
    ------
    ValueError
        If `ds` is no grid, or has no such variable, round or cell.
    """
    values, title = _over_grid(ds, variable, round)
    smallest, largest = CELL_SIZES
    side = min(largest, max(smallest, GRID_SIZE // max(values.shape)))
    if values.dtype.kind == "f":
        heat, printed, *legend = _scaled(values, side)
    else:
        heat, printed, *legend = _named(values, _names(ds[variable]), side)
    layers = [heat.opts(title=title), printed, _outlines(ds, round, marked, side), *legend]
    return hv.Overlay(layers).opts(**ON_TOP | {"legend_position": "bottom"})


def mixture(
    ds: xr.Dataset, marked: tuple[int, int] | None = None, round: int = -1
) -> hv.Rectangles:
    """Draw as bars whose generators a mixture is made of.

    Parameters
    ----------
    ds : Dataset
        With ``mixture_weight``: of each cell's neighbourhood, or of all groups.
    marked : (row, col), optional
        The cell of a grid whose mixture it is; its own generators are in colour, several of one
        cell are counted from 1. Of no effect on groups.
    round : int
        Its number; a negative one counts from the last.

    Returns
    -------
    Rectangles
        On a frame that is the same in every round and for every cell.

    Raises
    ------
    ValueError
        If there are no weights, no such round or cell, or a grid of which no cell is given.
    """
    weights = selection.numbers(ds, "mixture_weight")
    rows, share = weights.shape[-1], dimension(weights)
    if not weights.sizes["round"]:
        return _bars([], rows, share, NO_ROUND)
    weights = selection.at_round(weights, round)
    title = f"round {int(weights['round'])}"
    if "row" not in weights.dims:
        return _bars(_groups(weights), rows, share, title)
    if marked is None:
        raise ValueError("marked=None: expected the (row, col) of the cell whose mixture to draw")
    title = "row {}, col {} in {}".format(*marked, title)
    return _bars(_neighbours(ds, weights, marked), rows, share, title)


def _bars(
    bars: Sequence[tuple[str, float, str]], rows: int, share: hv.Dimension, title: str
) -> hv.Rectangles:
    """Draw names, weights and colours as bars, the first on top, with room for so many rows.

    These are rectangles on an axis of numbers: the categories of hv.Bars cannot change once drawn.
    """
    boxes = [
        (0.0, row - 0.35, weight, row + 0.35, name, colour)
        for row, (name, weight, colour) in enumerate(bars)
    ]
    hover = HoverTool(tooltips=[("", "@name"), (share.pprint_label, "@x1{0.0%}")])
    return hv.Rectangles(boxes, vdims=["name", "colour"]).opts(
        **WIDE | {"height": 90 + ROW * rows},
        title=title,
        color="colour",
        line_color=None,
        xlim=(0, 1),
        ylim=(-0.5, rows - 0.5),
        xlabel=share.pprint_label,
        ylabel="",
        xticks=BasicTicker(num_minor_ticks=0),
        yticks=[(row, name) for row, (name, _, _) in enumerate(bars)] or [(0, "")],
        invert_yaxis=True,
        tools=[hover],
    )


def _over_grid(ds: xr.Dataset, name: str, round: int) -> tuple[xr.DataArray, str]:
    """Give the values to draw, as numbers or as names, and a title that tells their round."""
    values = selection.variable(ds, name)
    if set(values.dims) - {"round"} != {"row", "col"}:
        raise ValueError(
            f"{name!r} has dimensions {values.dims}: a heat map of the grid needs row and col, "
            "and at most round besides"
        )
    title = "after the last round"
    if "round" in values.dims and not values.sizes["round"]:
        values, title = values.astype(float).reindex(round=[0]).isel(round=0), NO_ROUND
    elif "round" in values.dims:
        values = selection.at_round(values, round)
        title = f"round {int(values['round'])}"
    if values.dtype.kind == "b":
        values = values.copy(data=np.where(values, *TRUTH))
    elif values.dtype.kind in "iu":
        values = selection.floating(values)
    return values.transpose("row", "col"), title


def _heat_map(values: xr.DataArray, side: int) -> hv.HeatMap:
    rows, cols = values.shape
    # one rectangle per cell, which a tap can select: from a matrix it would make an image
    col, row = np.meshgrid(values["col"], values["row"])
    axes, measured = [dimension(values[dim]) for dim in ("col", "row")], dimension(values)
    columns = {"col": col.ravel(), "row": row.ravel(), measured.name: values.values.ravel()}
    return hv.HeatMap(columns, axes, measured).opts(
        **STILL,
        tools=["hover", "tap"],
        nonselection_alpha=1.0,
        clipping_colors={"NaN": "transparent"},
        frame_width=side * cols,
        frame_height=side * rows,
        xlim=(-0.5, cols - 0.5),
        ylim=(-0.5, rows - 0.5),
        xticks=whole_numbers(),
        yticks=whole_numbers(),
        invert_yaxis=True,
        hooks=[as_large_as_its_frame],
    )


def _print(values: xr.DataArray, texts: Sequence[str], inks: Sequence[str], side: int) -> hv.Labels:
    """Print a text in each cell, row by row, where it fits."""
    size, character = (9, 7) if side >= 45 else (7, 5)
    places = itertools.product(values["row"].values, values["col"].values)
    labels = [
        (col, row, text, ink)
        for (row, col), text, ink in zip(places, texts, inks, strict=True)
        if side >= SMALLEST_PRINTED and len(text) * character <= side
    ]
    return hv.Labels(labels, ["col", "row"], ["text", "ink"]).opts(
        **STILL, text_color="ink", text_font_size=f"{size}pt"
    )


def _scaled(values: xr.DataArray, side: int) -> list[hv.Element]:
    """Colour and print numbers; what is infinite has no place on a scale."""
    finite = values.where(np.isfinite(values))
    known = finite.values[finite.notnull()]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if low == high:  # the ends of a scale are apart
        low, high = low - 1, high + 1
    heat = _heat_map(finite, side).opts(
        cmap=SEQUENTIAL,
        clim=(low, high),
        colorbar=True,
        colorbar_position="bottom",
        clabel=wrapped(dimension(values), side * values.sizes["col"] - 20),
    )
    inks = np.where(finite < (low + high) / 2, "white", "black")
    inks = np.where(finite.isnull(), MUTED, inks)
    texts = [number(value) for value in values.values.ravel()]
    return [heat, _print(values, texts, inks.ravel().tolist(), side)]


def _named(values: xr.DataArray, names: Sequence[str], side: int) -> list[hv.Element]:
    """Colour and print names; a legend tells those that do not fit."""
    places = {name: place % len(COLOURS) for place, name in enumerate(names)}
    colours = {name: COLOURS[place] for name, place in places.items()}
    heat = _heat_map(values, side).opts(cmap=colours)
    texts = values.values.ravel().astype(str).tolist()
    inks = [INKS[places[name]] if name in places else MUTED for name in texts]
    # dots without a place, each of one colour: a legend by a column of colours is drawn wrongly
    # by Bokeh while another variable, of more names, takes the place of this one
    legend = [
        hv.Points([(np.nan, np.nan)], ["col", "row"], label=name).opts(
            **STILL, color=colour, marker="square", size=10
        )
        for name, colour in colours.items()
    ]
    return [heat, _print(values, texts, inks, side), *legend]


def _names(values: xr.DataArray) -> list[str]:
    """List the names that a variable holds in any round: a name's colour is then always the same.

    Of long runs a part is looked through.
    """
    if values.dtype.kind == "b":
        return sorted(TRUTH)
    found = values.values.ravel()[:: max(1, values.size // LOOKED_THROUGH)]
    return sorted({str(name) for name in np.unique(found)} - {""})


def _outlines(
    ds: xr.Dataset, round: int, marked: tuple[int, int] | None, side: int
) -> hv.Rectangles:
    """Outline a cell, and thinly its neighbours in that round."""
    boxes = []
    if marked is not None:
        own = selection.cell(ds, marked)
        others = sorted({*_members(ds, marked, round)} - {own})
        for cell, width in [*((cell, THIN) for cell in others), (own, STRONG)]:
            row, col = divmod(cell, ds.sizes["col"])
            reach = 0.5 - width / 2 / side  # the line is inside, also at the frame
            boxes.append((col - reach, row - reach, col + reach, row + reach, width))
    return hv.Rectangles(boxes, vdims="width").opts(
        **STILL, fill_alpha=0, line_color=MARKED, line_width="width"
    )


def _members(ds: xr.Dataset, marked: tuple[int, int], round: int) -> list[int]:
    """Give the cells of a neighbourhood, as often as they have individuals in it."""
    known = ds.get("neighbour_cell")
    if known is None or not known.sizes["round"]:
        return []
    row, col = marked
    found: Array = selection.at_round(known, round).isel(row=row, col=col).values
    return [int(cell) for cell in found if cell >= 0]


def _neighbours(
    ds: xr.Dataset, weights: xr.DataArray, marked: tuple[int, int]
) -> list[tuple[str, float, str]]:
    """Give name, weight and colour of the individuals in a cell's neighbourhood."""
    own = selection.cell(ds, marked)
    row, col = marked
    members = _members(ds, marked, int(weights["round"]))
    shares = weights.isel(row=row, col=col).values.tolist()
    several = len(set(members)) < len(members)
    bars = []
    for place, (cell, share) in enumerate(zip(members, shares, strict=False)):
        name = "{}, {}".format(*divmod(cell, ds.sizes["col"]))
        if several:
            name += f" · {members[: place + 1].count(cell)}"
        bars.append((name, share, BEST if cell == own else MUTED))
    return bars


def _groups(weights: xr.DataArray) -> list[tuple[str, float, str]]:
    """Give name, weight and colour of every group."""
    shares = zip(weights["group"].values, weights.values.tolist(), strict=True)
    return [(f"group {group}", share, MUTED) for group, share in shares]
