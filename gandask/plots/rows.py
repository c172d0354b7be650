"""Rows of bars on an axis of numbers, with units that suit their lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import holoviews as hv
from bokeh.models import BasicTicker, HoverTool

from gandask.plots.style import STILL, WIDE, legend

BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
SECONDS = {"ms": 1e-3, "s": 1.0}
BAR, AROUND, TALLEST = 26, 90, 620  # pixels: of a bar with its gap, of axes, of a plot
HALF = 0.35  # of a bar's height; 1 is from row to row
NAMED = 40  # rows whose names can be read


def bar(row: int, begin: float, end: float) -> tuple[float, float, float, float]:
    """Give the corners of a bar."""
    return begin, row - HALF, end, row + HALF


def bars(
    bars: Sequence[tuple[Any, ...]],
    along: hv.Dimension,
    told: Sequence[str],
    label: str,
    colour: str,
    tooltips: Sequence[tuple[str, str]],
) -> hv.Rectangles:
    """Draw bars: rectangles, since the categories of `hv.Bars` cannot change on a live page."""
    return hv.Rectangles(bars, [along, "place", "x1", "y1"], [*told], label=label).opts(
        **STILL, color=colour, line_color=None, tools=[HoverTool(tooltips=[*tooltips])]
    )


def in_rows(
    layers: Sequence[hv.Element],
    names: Sequence[str],
    end: float,
    title: str = "",
    labels: Sequence[str] = (),
) -> hv.Overlay:
    """Lay axes around rows of bars, the first on top, with a legend of `labels` if there are any.

    Parameters
    ----------
    layers : sequence of Element
    names : sequence of str
        Of the rows.
    end : float
        Of the horizontal axis.
    title : str
    labels : sequence of str
    """
    height = min(TALLEST, AROUND + BAR * len(names))
    frame = legend(labels, height=height + BAR) if labels else WIDE | {"height": height}
    options = hv.opts.Overlay(
        **frame,
        show_legend=bool(labels),
        title=title,
        ylabel="",
        xlim=(0, end),
        ylim=(-0.6, len(names) - 0.4),
        xticks=BasicTicker(num_minor_ticks=0),
        yticks=[*enumerate(names)] if len(names) <= NAMED else [(0, "")],
        invert_yaxis=True,
    )
    return hv.Overlay([*layers]).opts(options)


def unit_of(largest: float, units: Mapping[str, float]) -> tuple[str, float]:
    """Give the largest unit of which a value has at least one, or else the smallest unit.

    Examples
    --------
    >>> unit_of(12800.0, BYTES), unit_of(0.02, SECONDS), unit_of(0.0, BYTES)
    (('kB', 1000.0), ('ms', 0.001), ('B', 1.0))
    """
    smallest, *_ = units.items()
    return [smallest, *(one for one in units.items() if one[1] <= largest)][-1]
