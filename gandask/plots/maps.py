"""The map: one variable over the units of a role, at one round."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import CustomJSHover, HoverTool

from gandask.display import number
from gandask.plots import selection
from gandask.plots.style import (
    AUTO,
    CELL_SIZES,
    CHARACTER,
    COLOURS,
    GRID_SIZE,
    INKS,
    MARKED,
    MUTED,
    ON_TOP,
    SEQUENTIAL,
    SMALLEST_PRINTED,
    STILL,
    as_large_as_its_frame,
    dimension,
    limits,
    logarithmic,
    whole_numbers,
    wrapped,
)

if TYPE_CHECKING:
    import xarray as xr

NO_ROUND = "no round is done yet"
TRUTH = ("yes", "no")
LOOKED_THROUGH = 20_000  # values, for the names that a variable holds
STRONG, THIN = 4.0, 2.0  # pixels of an outline
LINE = 14  # pixels of a label's height
ALONE = "line"  # the vertical dimension of a map that has none
MOST = 2  # dimensions


def map(
    ds: xr.Dataset,
    variable: str | None = None,
    round: int = -1,
    marked: Mapping[str, Any] | None = None,
    outlined: Iterable[Mapping[str, Any]] = (),
    scale: str = AUTO,
) -> hv.Overlay:
    """Draw one variable over the units of a role as a heat map.

    Units along two dimensions make rows and columns, the first row on top; along one dimension, one
    row. Numbers are drawn on a scale of colours, which is the same in every round of the run, and
    logarithmic where they span more than a decade, unless another is asked for; names and truth
    values each in a colour of its own.

    Parameters
    ----------
    ds : Dataset
    variable : str, optional
        One value per unit, and perhaps round; the run's score by default.
    round : int
        Its number; a negative one counts from the last. Of no effect on a variable without rounds.
    marked : mapping, optional
        The place of a unit to outline, such as ``{"row": 0, "col": 1}``.
    outlined : iterable of mapping
        Places of further units, to outline thinly.
    scale : str
        "log", "linear", or "auto", which follows from the values; of no effect on names.

    Returns
    -------
    Overlay
        A HeatMap, whose units can be tapped, on axes of positions; Labels; Rectangles, which are
        the outlines; and a legend of names. The layers are the same in every round and for every
        mark.

    Raises
    ------
    ValueError
        If there is no such variable, round, unit or scale, or the variable has other dimensions.
    """
    variable = selection.scored(ds, variable)
    values, title = _over_units(ds, variable, round)
    smallest, largest = CELL_SIZES
    side = min(largest, max(smallest, GRID_SIZE // max(values.shape)))
    if values.dtype.kind == "f":
        heat, printed, *legend = _scaled(values, ends(ds[variable]), side, scale)
    else:
        heat, printed, *legend = _named(values, _names(ds[variable]), side)
    outlines = _outlines(values, marked, outlined, side)
    layers = [heat.opts(title=title), printed, outlines, *legend]
    # a hook of the whole: those of a layer do not have the last word
    options = ON_TOP | {"legend_position": "bottom", "hooks": [as_large_as_its_frame]}
    return hv.Overlay(layers).opts(**options)


def _over_units(ds: xr.Dataset, name: str, round: int) -> tuple[xr.DataArray, str]:
    """Give the values to draw, as numbers or as names, and a title that tells their round."""
    values = selection.variable(ds, name)
    unit = [dim for dim in values.dims if dim != "round"]
    if not 1 <= len(unit) <= MOST:
        raise ValueError(
            f"{name!r} has dimensions {values.dims}: a map needs one or two, and at most round "
            "besides"
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
    return (values if len(unit) == MOST else values.expand_dims(ALONE)), title


def _ticks(labels: Sequence[Any], side: int, *, across: bool) -> Any:
    """Mark positions along an axis by their labels, as many as can be told apart."""
    if _plain(labels):
        return whole_numbers()
    told = [str(label) for label in labels]
    wide = max((len(label) for label in told), default=0) * CHARACTER if across else LINE
    every = math.ceil(wide / side)
    return [*enumerate(told)][:: max(1, every)]


def _heat_map(values: xr.DataArray, side: int) -> hv.HeatMap:
    rows, cols = values.shape
    down, across = (str(dim) for dim in values.dims)
    # one rectangle per unit, which a tap can select: from a matrix it would make an image
    x, y = np.meshgrid(np.arange(cols), np.arange(rows))
    axes, measured = [dimension(values[dim]) for dim in (across, down)], dimension(values)
    columns = {across: x.ravel(), down: y.ravel(), measured.name: values.values.ravel()}
    return hv.HeatMap(columns, axes, measured).opts(
        **STILL,
        tools=[_hover(values, measured), "tap"],
        nonselection_alpha=1.0,
        clipping_colors={"NaN": "transparent"},
        frame_width=side * cols,
        frame_height=side * rows,
        xlim=(-0.5, cols - 0.5),
        ylim=(-0.5, rows - 0.5),
        xticks=_ticks(values[across].values.tolist(), side, across=True),
        yticks=_ticks(values[down].values.tolist(), side, across=False),
        yaxis=None if down == ALONE else "left",
        invert_yaxis=True,
    )


def _hover(values: xr.DataArray, measured: hv.Dimension) -> HoverTool:
    """Tell the unit under the pointer by its labels: the axes are of positions."""
    tooltips, formatters = [], {}
    for dim in values.dims[::-1]:
        labels, column = values[dim].values.tolist(), f"@{{{dim}}}"
        plain = _plain(labels)
        if dim != ALONE:
            tooltips.append((str(dim), column if plain else f"{column}{{custom}}"))
        if not plain:
            told = [str(label) for label in labels]
            formatters[column] = CustomJSHover(args={"labels": told}, code="return labels[value]")
    tooltips.append((measured.pprint_label, "@{zvalues}"))
    return HoverTool(tooltips=tooltips, formatters=formatters)


def _plain(labels: Sequence[Any]) -> bool:
    """Tell whether labels are positions."""
    return [*labels] == [*range(len(labels))]


def _print(values: xr.DataArray, texts: Sequence[str], inks: Sequence[str], side: int) -> hv.Labels:
    """Print a text in each unit, row by row, where it fits."""
    size, character = (9, 7) if side >= 45 else (7, 5)
    places = itertools.product(*(range(length) for length in values.shape))
    labels = [
        (x, y, text, ink)
        for (y, x), text, ink in zip(places, texts, inks, strict=True)
        if side >= SMALLEST_PRINTED and len(text) * character <= side
    ]
    return hv.Labels(labels, [*values.dims[::-1]], ["text", "ink"]).opts(
        **STILL, text_color="ink", text_font_size=f"{size}pt"
    )


def ends(values: xr.DataArray) -> tuple[float, float]:
    """Give the ends of the scale of a variable over all rounds."""
    known = selection.floating(values).values
    known = known[np.isfinite(known)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    return limits(low, high) or (low, high)  # the ends of a scale are apart


def _scaled(
    values: xr.DataArray, ends: tuple[float, float], side: int, scale: str
) -> list[hv.Element]:
    """Colour and print numbers; what is infinite has no place on a scale."""
    finite = values.where(np.isfinite(values))
    low, high = ends
    decades = logarithmic(low, high, scale)
    heat = _heat_map(finite, side).opts(
        cmap=SEQUENTIAL,
        clim=(low, high),
        logz=decades,
        colorbar=True,
        colorbar_position="bottom",
        clabel=wrapped(dimension(values), side * values.shape[1] - 20),
    )
    middle = np.sqrt(low * high) if decades else (low + high) / 2
    inks = np.where(finite < middle, "white", "black")
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
        hv.Points([(np.nan, np.nan)], [*values.dims[::-1]], label=name).opts(
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
    values: xr.DataArray,
    marked: Mapping[str, Any] | None,
    others: Iterable[Mapping[str, Any]],
    side: int,
) -> hv.Rectangles:
    """Outline a unit, and others thinly."""
    thin = [place for place in others if place != marked]
    boxes = []
    for place, width in [*((one, THIN) for one in thin), (marked, STRONG)]:
        if place is not None:
            y, x = _position(values, place)
            reach = 0.5 - width / 2 / side  # the line is inside, also at the frame
            boxes.append((x - reach, y - reach, x + reach, y + reach, width))
    return hv.Rectangles(boxes, vdims="width").opts(
        **STILL, fill_alpha=0, line_color=MARKED, line_width="width"
    )


def _position(values: xr.DataArray, place: Mapping[str, Any]) -> tuple[int, int]:
    """Give the position of a unit on the map, from the top and from the left."""
    selection.check_place(values, place, along=ALONE)
    y, x = (
        0 if dim == ALONE else values[dim].values.tolist().index(place[str(dim)])
        for dim in values.dims
    )
    return y, x
