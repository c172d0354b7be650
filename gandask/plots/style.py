"""What all plots share: colours, sizes, labels from a Dataset's own attributes.

Importing this module makes Bokeh the backend of HoloViews.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import panel as pn
from bokeh.models import BasicTicker, CustomJS, LogTicker

from gandask import display, results
from gandask.core import Array

if TYPE_CHECKING:
    import xarray as xr

display.settle_resources()
hv.extension("bokeh", logo=False, inline=pn.config.inline)

# Okabe and Ito's colours, which the colour-blind can tell apart, and six that lie far from them
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
COLOURS += ["#C2B280", "#66A61E", "#6A3D9A", "#E7298A", "#8C564B", "#FB8072"]
INKS = ["white" if place in (0, 8, 10) else "black" for place in range(len(COLOURS))]
"""What can be read on them."""
DASHES = ("solid", "dashed", "dotted", "dotdash")
ALIKE = 6  # lines that colours alone tell apart
BEST, MEDIAN, MARKED, MUTED = COLOURS[0], COLOURS[1], COLOURS[3], "#8a8a8a"
SEQUENTIAL = "cividis"
GRID_SIZE = 280  # pixels of a heat map's longer side: fits a phone
CELL_SIZES = (9, 110)  # pixels, smallest and largest
SMALLEST_PRINTED = 28  # pixels of a cell that a value fits into
CHARACTER = 7  # pixels, about, of a label's width
NARROW, SYMBOL, ROW = 320, 45, 22  # pixels: of a legend, of a symbol in it, and of a row's height
DECADE = 10.0  # largest over smallest value, from which on the scale is logarithmic
AUTO, LINEAR, LOG = SCALES = ("auto", "linear", "log")
"""Scales: the first follows from the values."""
# no tools: a wheel over a plot scrolls the page
STILL: dict[str, Any] = {"toolbar": None, "default_tools": [], "show_frame": False}
WIDE: dict[str, Any] = STILL | {"responsive": True, "height": 260}
FIT = """
if (!(figure.inner_width > 0)) return
const columns = Math.max(1, Math.min(labels, Math.floor(figure.inner_width / longest)))
legend.ncols = columns
figure.height = height + each * (Math.ceil(labels / columns) - 1)
"""
ON_TOP: dict[str, Any] = {
    "legend_position": "top",
    "legend_opts": {"orientation": "horizontal", "border_line_width": 0, "margin": 0, "padding": 4},
}


def legend(
    labels: Sequence[str], width: int = NARROW, height: int = WIDE["height"]
) -> dict[str, Any]:
    """Give options for a plot with a legend on top, in as many rows as its labels need.

    In a browser it has as many columns as there is room for; elsewhere those that fit a width.

    Parameters
    ----------
    labels : sequence of str
    width : int
        Pixels that there are for it, where nothing else is known.
    height : int
        Pixels of the plot with one row of labels.
    """
    longest = _longest(labels)
    columns = max(1, min(len(labels), width // longest))
    rows = -(-len(labels) // columns)
    own = {
        "legend_opts": ON_TOP["legend_opts"] | {"ncols": columns},
        "height": height + ROW * max(0, rows - 1),
        "hooks": [_fitted(labels, height)],
    }
    return WIDE | ON_TOP | own


def _fitted(labels: Sequence[str], height: int) -> Any:
    """Make a hook that gives a legend as many columns as its figure has room for, on any screen.

    Bokeh's own does not wrap: what is longer than a phone is wide would stick out.
    """
    known = {"labels": len(labels), "longest": _longest(labels), "each": ROW, "height": height}

    def fit(plot: Any, element: hv.Element) -> None:
        figure = plot.state
        if figure.legend and not figure.js_property_callbacks:
            args = {"figure": figure, "legend": figure.legend[0], **known}
            laid = CustomJS(args=args, code=FIT)
            figure.js_on_change("inner_width", laid)
            figure.js_on_change("height", laid)
            # what is drawn anew in the same figure begins with those that fit a phone
            figure.legend[0].js_on_change("ncols", laid)

    return fit


def _longest(labels: Sequence[str]) -> int:
    """Give the pixels that the longest label takes in a legend."""
    return SYMBOL + CHARACTER * max((len(label) for label in labels), default=0)


def dimension(values: xr.DataArray, name: str | None = None) -> hv.Dimension:
    """Describe an axis by a variable's attributes; a pure number's unit is not worth a label."""
    unit = values.attrs.get("units", "")
    unit = None if unit in ("", "1") else unit
    return hv.Dimension(name or str(values.name), label=results.label(values), unit=unit)


def wrapped(dimension: hv.Dimension, pixels: int) -> str:
    """Break a label into lines of at most so many pixels."""
    return textwrap.fill(dimension.pprint_label, max(12, pixels // CHARACTER))


def whole_numbers() -> BasicTicker:
    """Make an axis that marks whole numbers alone."""
    return BasicTicker(min_interval=1, num_minor_ticks=0)


def logarithmic(low: float, high: float, scale: str = AUTO) -> bool:
    """Tell whether values are drawn on a logarithmic scale.

    Parameters
    ----------
    low, high : float
        The smallest and the largest.
    scale : str
        "log", "linear", or "auto": then it is logarithmic if positive values span a decade.

    Raises
    ------
    ValueError
        If there is no such scale, or the values have no logarithm.

    Examples
    --------
    >>> logarithmic(1.0, 20.0), logarithmic(1.0, 2.0), logarithmic(1.0, 2.0, "log")
    (True, False, True)
    """
    if scale not in SCALES:
        raise ValueError(f"scale={scale!r}: expected one of {', '.join(SCALES)}")
    if scale == LOG and low <= 0:
        raise ValueError(f"scale='log': expected values above 0, got {low:g}; take 'linear'")
    return scale == LOG or (scale == AUTO and low > 0 and high / low > DECADE)


def limits(low: float, high: float) -> tuple[float, float] | None:
    """Give the ends of a scale around a constant, a tenth to either side; None for other values.

    Examples
    --------
    >>> limits(2.0, 2.0), limits(0.0, 0.0), limits(1.0, 2.0)
    ((1.8, 2.2), (-1.0, 1.0), None)
    """
    if not high - low <= 1e-6 * abs(low):
        return None
    return (low - abs(low) / 10, high + abs(high) / 10) if low else (-1.0, 1.0)


def upright(low: float, high: float, scale: str = AUTO) -> dict[str, Any]:
    """Give options for a vertical axis of values from `low` to `high`; see `logarithmic`."""
    decades = logarithmic(low, high, scale)
    return {
        "logy": decades,
        "ylim": limits(low, high) or (None, None),
        "yticks": (LogTicker if decades else BasicTicker)(num_minor_ticks=0),
    }


def stroke(place: int) -> dict[str, str]:
    """Give colour and dash of one of several lines: those of 24 lines differ."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "line_dash": DASHES[place // ALIKE % len(DASHES)],
    }


def as_large_as_its_frame(plot: Any, element: hv.Element) -> None:
    """Let the frame and its labels make the size, not other plots of the same layout: a hook."""
    plot.state.update(sizing_mode=None, frame_align=False)


def line(
    columns: Sequence[Array],
    axes: Sequence[Any],
    label: str,
    colour: str,
    dash: str = DASHES[0],
    width: float = 2.0,
) -> hv.Element:
    """Draw a line; a single value is a dot.

    Parameters
    ----------
    columns : pair of (n,) array
    axes : pair of Dimension
    label, colour, dash : str
    width : float
        In pixels.
    """
    if len(columns[0]) == 1:
        return hv.Scatter(tuple(columns), *axes, label=label).opts(**STILL, color=colour)
    drawn = hv.Curve(tuple(columns), *axes, label=label)
    return drawn.opts(**STILL, color=colour, line_dash=dash, line_width=width)


def message(text: str) -> hv.Text:
    """Say in the place of a plot why there is none."""
    return hv.Text(0.5, 0.5, text).opts(
        **WIDE | {"height": 80}, xaxis=None, yaxis=None, text_color=MUTED
    )
