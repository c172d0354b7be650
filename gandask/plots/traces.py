"""Plots of one variable over rounds: all units, the median, the best, and a marked one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import HoverTool

from gandask import display
from gandask.core import Array
from gandask.plots import selection
from gandask.plots.style import (
    AUTO,
    BEST,
    MARKED,
    MEDIAN,
    MUTED,
    STILL,
    WIDE,
    dimension,
    legend,
    line,
    message,
    upright,
    whole_numbers,
    wrapped,
)

if TYPE_CHECKING:
    import xarray as xr

LINES = 64  # units: more lines cannot be told apart
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # the quantiles of the bands, the median in the middle


def trace(
    ds: xr.Dataset,
    variable: str | None = None,
    along: str = "round",
    marked: Mapping[str, Any] | None = None,
    scale: str = AUTO,
) -> hv.Element:
    """Draw one line per unit, the best and the median standing out.

    Many units are drawn as bands instead, from the smallest to the largest value and between the
    quartiles. The best is the one whose last value is best; where no direction is better, as of a
    learning rate, only the median stands out. What spans more than a decade is drawn on a
    logarithmic axis, unless another is asked for.

    Parameters
    ----------
    ds : Dataset
    variable : str, optional
        Numbers along `along` and the unit of a role, whatever that is; the run's score by default.
    along : str
        Dimension of the horizontal axis.
    marked : mapping, optional
        The place of a unit to draw besides, such as ``{"row": 0, "col": 1}``.
    scale : str
        "log", "linear", or "auto", which follows from the values.

    Raises
    ------
    ValueError
        If there is no such variable, unit or scale, or the variable lacks that dimension.
    """
    variable = selection.scored(ds, variable)
    values = selection.numbers(ds, variable)
    if along not in values.dims:
        raise ValueError(f"{variable!r} has dimensions {values.dims}: a trace needs {along!r}")
    units = [str(dim) for dim in values.dims if dim != along]
    if marked is not None:
        selection.check_place(values, marked, along)
    # not every round need be scored
    values = values.where(np.isfinite(values)).dropna(along, how="all")
    if not values.size:
        return message(f"no {dimension(values).label} yet")
    place = selection.best(values, along)
    shown = selection.thinned(values, along).transpose(along, *units)
    layers = _all(shown, along, units)
    if place and place != marked:
        # beside a marked unit there is no room for two long names
        label = "best" if marked else f"best: {display.place(place)}"
        layers.append(_line(shown.sel(place), along, label, BEST))
    if marked:
        label = f"{display.place(marked)}{', the best' if place == marked else ''}"
        layers.append(_line(shown.sel(marked), along, label, MARKED))
    return _framed(layers, values, scale)


def _all(values: xr.DataArray, along: str, units: Sequence[str]) -> list[hv.Element]:
    """Draw all units, as lines or as bands, and their median."""
    number = values[0].size
    rows = values.values.reshape(len(values), -1)
    # that which leaves out what is not a number goes row by row
    quantile = np.nanquantile if np.isnan(rows).any() else np.quantile
    quantiles = quantile(rows, SHARES, axis=1)
    many = number > LINES and len(values) > 1
    layers = _bands(values, along, quantiles) if many else [_lines(values, along, units)]
    if number > 1:
        middle = values.isel(dict.fromkeys(units, 0)).copy(data=quantiles[2])
        layers.append(_line(middle, along, "median", MEDIAN))
    return layers


def _framed(layers: Sequence[hv.Element], values: xr.DataArray, scale: str) -> hv.Overlay:
    """Lay the axes around the values."""
    labels = [layer.label for layer in layers if layer.label]
    options = hv.opts.Overlay(
        **legend(labels),
        **upright(float(values.min()), float(values.max()), scale),
        xticks=whole_numbers(),
        ylabel=wrapped(dimension(values), WIDE["height"] - 100),
    )
    return hv.Overlay(layers).opts(options)


def _lines(values: xr.DataArray, along: str, units: Sequence[str]) -> hv.Element:
    """Draw every unit's line in a muted colour; a single value is a dot."""
    variable = str(values.name)
    ordered = values.transpose(*units, along)
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
    if len(values) > 1:
        return hv.Contours(lines, axes, others).opts(**STILL, color=MUTED, alpha=0.7, tools=[hover])
    dots = [tuple(np.ravel(value)[0] for value in line.values()) for line in lines]
    return hv.Points(dots, axes, others).opts(**STILL, color=MUTED, alpha=0.7, tools=[hover])


def _bands(values: xr.DataArray, along: str, quantiles: Array) -> list[hv.Element]:
    """Draw where all units lie, and the middle half of them."""
    axis, measured = dimension(values[along]), dimension(values)
    return [
        hv.Area(
            (values[along].values, quantiles[low], quantiles[-1 - low]),
            axis,
            [measured, "upper"],
            label=label,
        ).opts(**STILL, color=MUTED, alpha=alpha, line_alpha=0)
        for low, label, alpha in ((0, "all", 0.25), (1, "middle half", 0.45))
    ]


def _line(values: xr.DataArray, along: str, label: str, colour: str) -> hv.Element:
    axes = dimension(values[along]), dimension(values)
    return line((values[along].values, values.values), axes, label, colour)
