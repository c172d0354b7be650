"""Plots of any method's Dataset: scores over the grid and over rounds, time, events, samples."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import BasicTicker, HoverTool

from gandask import pictures, results
from gandask.core import Array
from gandask.metrics import METRICS
from gandask.plots.style import (
    BEST,
    CELL_SIZES,
    COLOURS,
    DECADES,
    GRID_SIZE,
    MEDIAN,
    MUTED,
    ON_TOP,
    SEQUENTIAL,
    SMALLEST_PRINTED,
    STILL,
    WIDE,
    dimension,
    message,
    numbers,
    whole_numbers,
    wrapped,
)

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor


def grid(ds: xr.Dataset, variable: str = "fid", round: int = -1) -> hv.Overlay:
    """Draw one variable over the grid as a heat map, first row on top.

    Parameters
    ----------
    ds : Dataset
        With dimensions row and col.
    variable : str
        One number per cell, and perhaps round.
    round : int
        Its number; a negative one counts from the last. Of no effect on a variable without rounds.

    Raises
    ------
    ValueError
        If `ds` is no grid, or has no such variable or round.
    """
    values = numbers(ds, variable)
    title = "after the last round"
    if not set(values.dims) - {"round"} == {"row", "col"}:
        raise ValueError(
            f"{variable!r} has dimensions {values.dims}: a heat map of the grid needs row and col, "
            "and at most round besides"
        )
    if "round" in values.dims:
        values = _at_round(values, round)
        title = f"round {int(values['round'])}"
    values = values.transpose("row", "col")
    rows, cols = values.shape
    smallest, largest = CELL_SIZES
    side = min(largest, max(smallest, GRID_SIZE // max(rows, cols)))
    shown = _heat_map(values, side * cols).opts(
        title=title,
        frame_width=side * cols,
        frame_height=side * rows,
        xlim=(-0.5, cols - 0.5),
        ylim=(-0.5, rows - 0.5),
        xticks=whole_numbers(),
        yticks=whole_numbers(),
        invert_yaxis=True,
        hooks=[_as_large_as_its_frame],
    )
    return shown * _printed(values, side)


def trace(ds: xr.Dataset, variable: str = "fid", along: str = "round") -> hv.Element:
    """Draw one line per cell (or group, or client), the best and the median standing out.

    The best is the one whose last value is best; where no direction is better, as of a learning
    rate, only the median stands out. Scores that span decades are drawn on a logarithmic axis.

    Parameters
    ----------
    ds : Dataset
    variable : str
        Numbers along `along` and the method's unit, whatever that is.
    along : str
        Dimension of the horizontal axis.

    Raises
    ------
    ValueError
        If there is no such variable, or it lacks that dimension.
    """
    values = numbers(ds, variable)
    if along not in values.dims:
        raise ValueError(f"{variable!r} has dimensions {values.dims}: a trace needs {along!r}")
    # not every round need be scored
    values = values.where(np.isfinite(values)).dropna(along, how="all")
    if not values.size:
        return message(f"no {dimension(values).label} yet")
    units = [str(dim) for dim in values.dims if dim != along]
    layers = [_lines(values, along, units)]
    if values.size > len(values[along]):
        middle = values.median(units, keep_attrs=True)
        layers.append(_line(middle, along, "median", MEDIAN))
    place = best(values, along)
    if place:
        told = ", ".join(f"{dim} {value}" for dim, value in place.items())
        layers.append(_line(values.sel(place), along, f"best: {told}", BEST))
    logarithmic = bool(values.min() > 0 and values.max() / values.min() > DECADES)
    options = hv.opts.Overlay(
        **WIDE,
        **ON_TOP,
        logy=logarithmic,
        xticks=whole_numbers(),
        yticks=None if logarithmic else BasicTicker(num_minor_ticks=0),
        ylabel=wrapped(dimension(values), WIDE["height"] - 100),
    )
    return hv.Overlay(layers).opts(options)


def profile(ds: xr.Dataset) -> hv.Element:
    """Draw the time spent by routine as bars, the longest on top, with their shares."""
    seconds = results.profile(ds)[::-1]  # a categorical axis begins at the bottom
    total = float(seconds.sum())
    if not total:
        return message("no timings yet")
    shares = (100 * seconds / total).values
    names = [str(name) for name in seconds["routine"].values]
    labels = [f"{name}  {share:.1f} %" for name, share in zip(names, shares, strict=True)]
    time = dimension(seconds, "seconds")
    hover = HoverTool(
        tooltips=[
            ("routine", "@name"),
            (time.pprint_label, "@seconds{0.00}"),
            ("share", "@share{0.0} %"),
        ]
    )
    bars = hv.Bars((labels, seconds.values, names, shares), "routine", [time, "name", "share"])
    return bars.opts(
        **WIDE | {"height": 80 + 24 * len(names)},
        invert_axes=True,
        color=BEST,
        line_color=None,
        bar_width=0.7,
        xlabel="",
        tools=[hover],
    )


def events(ds: xr.Dataset) -> hv.Element:
    """Draw events by round and slot, coloured by kind."""
    if not ds.sizes.get("event"):
        return message("no events")
    round, slot, kind, detail = (
        dimension(ds[f"event_{key}"], key) for key in ("round", "slot", "kind", "detail")
    )
    rows = sorted(
        zip(*(ds[f"event_{d.name}"].values for d in (round, slot, kind, detail)), strict=True),
        key=lambda row: _natural(str(row[1])),
        reverse=True,  # a categorical axis begins at the bottom
    )
    slots = len({row[1] for row in rows})
    tooltips = [(d.label, f"@{{{d.name}}}") for d in (round, slot, kind, detail)]
    return hv.Points(rows, [round, slot], [kind, detail]).opts(
        **WIDE | {"height": min(600, 110 + 20 * slots)},
        **ON_TOP,
        color=kind.name,
        cmap=COLOURS,
        size=8,
        xticks=whole_numbers(),
        tools=[HoverTool(tooltips=tooltips)],
    )


def image_grid(images: Tensor | Array, columns: int = 8) -> hv.Element:
    """Draw samples: images side by side in one picture, or points as a scatter.

    Parameters
    ----------
    images : (n, C, H, W) or (n, 2) tensor or array
        Images in [-1, 1] of 1 or 3 channels, or points.
    columns : int
        Images per row.

    Raises
    ------
    ValueError
        If `images` are neither images nor points.
    """
    samples = pictures.to_array(images)
    if pictures.is_points(samples):
        finite = samples[np.isfinite(samples).all(1)]
        return hv.Points(finite).opts(
            **STILL, color=BEST, alpha=0.6, size=3, data_aspect=1, xlabel="", ylabel=""
        )
    picture = pictures.tiles(samples, columns)
    height, width = picture.shape[:2]
    element = hv.Image if picture.ndim == 2 else hv.RGB
    drawn = element(picture, bounds=(0, 0, width, height)).opts(
        **STILL,
        frame_width=width,
        frame_height=height,
        hooks=[_as_large_as_its_frame],
        xaxis=None,
        yaxis=None,
    )
    return drawn.opts(cmap="gray", clim=(0, 255)) if picture.ndim == 2 else drawn


def best(values: xr.DataArray, along: str = "round") -> dict[str, Any] | None:
    """Tell whose latest value is best.

    Parameters
    ----------
    values : DataArray
        Of a metric or a fitness, as its name tells.
    along : str
        Dimension to take the latest values along, if it is there.

    Returns
    -------
    dict, optional
        The place along every other dimension, such as ``{"row": 0, "col": 1}``. None where no
        value is finite, or none can be better than another, as of a learning rate.
    """
    better = _better(str(values.name))
    last = latest(values, along)
    places = np.argwhere(np.isfinite(last.values))
    if better is None or not len(places):
        return None

    def winner(one: Array, other: Array) -> Array:  # the first of equals
        return other if better(last.values[*other], last.values[*one]) else one

    won = functools.reduce(winner, places)
    return {str(dim): last[dim].values[i].item() for dim, i in zip(last.dims, won, strict=True)}


def latest(values: xr.DataArray, along: str = "round") -> xr.DataArray:
    """Give the values of the last round that has any: the very last may be under way."""
    if along not in values.dims:
        return values
    others = [dim for dim in values.dims if dim != along]
    done = np.flatnonzero(values.where(np.isfinite(values)).notnull().any(others))
    return values.isel({along: done[-1] if len(done) else -1})


def number(value: float) -> str:
    """Write a number with three significant digits, and without exponents below a million.

    Examples
    --------
    >>> [number(v) for v in (0.01234, 12.0, 4567.8, 2.5e7, float("inf"), float("nan"))]
    ['0.0123', '12', '4,568', '2.5e+07', '∞', '–']
    """
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"


def _better(variable: str) -> Callable[[float, float], bool] | None:
    """Give the order of a variable's values: that of its metric, or that of losses."""
    metric = METRICS.get(variable.removeprefix("final_").removeprefix("generator_"))
    if metric is not None:
        return metric.better
    return operator.lt if variable.endswith("_fitness") else None


def _at_round(values: xr.DataArray, round: int) -> xr.DataArray:
    numbers = values["round"].values.tolist()
    if not numbers:
        raise ValueError("no round is done yet")
    if -len(numbers) <= round < 0:
        round = numbers[round]
    if round not in numbers:
        raise ValueError(f"round={round}: expected {numbers[0]} to {numbers[-1]}, or -1, the last")
    return values.sel(round=round)


def _cells(values: xr.DataArray) -> Iterator[tuple[Any, Any, float]]:
    """Go through (col, row, value); what is infinite has no place on a colour scale."""
    for row, line in zip(values["row"].values, values.values, strict=True):
        for col, value in zip(values["col"].values, line, strict=True):
            yield col, row, float(value)


def _limits(values: xr.DataArray) -> tuple[float, float]:
    """Give the ends of the colour scale, apart even where all values are the same."""
    finite = values.values[np.isfinite(values.values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return (low, high) if low < high else (low - 1, high + 1)


def _heat_map(values: xr.DataArray, width: int) -> hv.HeatMap:
    measured = dimension(values)
    cells = list(_cells(values.where(np.isfinite(values))))
    axes = [dimension(values["col"]), dimension(values["row"])]
    return hv.HeatMap(cells, axes, measured).opts(
        **STILL,
        cmap=SEQUENTIAL,
        clim=_limits(values),
        colorbar=True,
        colorbar_position="bottom",
        clabel=wrapped(measured, width - 20),
        tools=["hover"],
    )


def _printed(values: xr.DataArray, side: int) -> hv.Labels:
    """Print values in their cells, where they fit, in an ink that can be read on the colour."""
    middle = sum(_limits(values)) / 2
    labels = [
        (col, row, number(value), "white" if value < middle else "black")
        for col, row, value in _cells(values)
        if side >= SMALLEST_PRINTED
    ]
    size = "9pt" if side >= 45 else "7pt"
    return hv.Labels(labels, ["col", "row"], ["text", "ink"]).opts(
        **STILL, text_color="ink", text_font_size=size
    )


def _lines(values: xr.DataArray, along: str, units: list[str]) -> hv.Element:
    """Draw every unit's line in a muted colour; a single value is a dot."""
    ordered = values.transpose(*units, along)
    variable = str(values.name)
    lines = [
        {along: values[along].values, variable: ordered.values[place]}
        | {dim: values[dim].values[i] for dim, i in zip(units, place, strict=True)}
        for place in np.ndindex(*ordered.shape[:-1])
    ]
    axes = [dimension(values[along]), dimension(values)]
    others = [dimension(values[dim]) for dim in units]
    tooltips = [(dim, f"@{{{dim}}}") for dim in units]
    tooltips += [(along, "$x{0}"), (axes[1].pprint_label, "$y{%.4g}")]
    hover = HoverTool(tooltips=tooltips, formatters={"$y": "printf"})
    if len(values[along]) > 1:
        return hv.Contours(lines, axes, others).opts(**STILL, color=MUTED, alpha=0.7, tools=[hover])
    dots = [tuple(np.ravel(value)[0] for value in line.values()) for line in lines]
    return hv.Points(dots, axes, others).opts(**STILL, color=MUTED, alpha=0.7, tools=[hover])


def _line(values: xr.DataArray, along: str, label: str, colour: str) -> hv.Element:
    element = hv.Curve if len(values) > 1 else hv.Scatter
    columns = (values[along].values, values.values)
    drawn = element(columns, dimension(values[along]), dimension(values), label=label)
    return drawn.opts(**STILL, color=colour)


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort ``cell/10`` after ``cell/9``."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]


def _as_large_as_its_frame(plot: Any, element: hv.Element) -> None:
    """Let the frame and its labels make the size, not other plots of the same layout."""
    plot.state.update(sizing_mode=None, frame_align=False)
