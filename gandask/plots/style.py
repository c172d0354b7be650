"""What all plots share: colours, sizes, labels from a Dataset's own attributes.

Importing this module makes Bokeh the backend of HoloViews.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
import panel as pn
from bokeh.models import BasicTicker

from gandask import display
from gandask.core import Array

if TYPE_CHECKING:
    import xarray as xr

display.settle_resources()
hv.extension("bokeh", logo=False, inline=pn.config.inline)

# Okabe and Ito's colours, which the colour-blind can tell apart
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
INKS = ["white", "black", "black", "black", "black", "black"]  # that can be read on them
BEST, MEDIAN, MARKED, MUTED = COLOURS[0], COLOURS[1], COLOURS[3], "#8a8a8a"
SEQUENTIAL = "cividis"
GRID_SIZE = 280  # pixels of a heat map's longer side: fits a phone
CELL_SIZES = (9, 110)  # pixels, smallest and largest
SMALLEST_PRINTED = 28  # pixels of a cell that a value fits into
CHARACTER = 7  # pixels, about, of a label's width
DECADES = 100.0  # largest over smallest score, from which on the axis is logarithmic
# no tools: a wheel over a plot scrolls the page
STILL: dict[str, Any] = {"toolbar": None, "default_tools": [], "show_frame": False}
WIDE: dict[str, Any] = STILL | {"responsive": True, "height": 260}
ON_TOP: dict[str, Any] = {
    "legend_position": "top",
    "legend_opts": {"orientation": "horizontal", "border_line_width": 0, "margin": 0, "padding": 4},
}


def dimension(values: xr.DataArray, name: str | None = None) -> hv.Dimension:
    """Describe an axis by a variable's attributes; a pure number's unit is not worth a label."""
    title = values.attrs.get("long_name", str(values.name))
    unit = values.attrs.get("units", "")
    unit = None if unit in ("", "1") else unit
    return hv.Dimension(name or str(values.name), label=title, unit=unit)


def wrapped(dimension: hv.Dimension, pixels: int) -> str:
    """Break a label into lines of at most so many pixels."""
    return textwrap.fill(dimension.pprint_label, max(12, pixels // CHARACTER))


def whole_numbers() -> BasicTicker:
    """Make an axis that marks whole numbers alone."""
    return BasicTicker(min_interval=1, num_minor_ticks=0)


def logarithmic(low: float, high: float) -> bool:
    """Tell whether values from `low` to `high` span decades, and call for such an axis."""
    return low > 0 and high / low > DECADES


def limits(low: float, high: float) -> tuple[float | None, float | None]:
    """Give the ends of an axis: around a constant a tenth to either side, else as values ask."""
    constant = high - low <= 1e-6 * abs(low) and low != 0
    return (low - abs(low) / 10, high + abs(high) / 10) if constant else (None, None)


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


def as_large_as_its_frame(plot: Any, element: hv.Element) -> None:
    """Let the frame and its labels make the size, not other plots of the same layout: a hook."""
    plot.state.update(sizing_mode="fixed", frame_align=False)


def line(columns: Sequence[Array], axes: Sequence[Any], label: str, colour: str) -> hv.Element:
    """Draw a line; a single value is a dot.

    Parameters
    ----------
    columns : pair of (n,) array
    axes : pair of Dimension
    label, colour : str
    """
    element = hv.Curve if len(columns[0]) > 1 else hv.Scatter
    return element(tuple(columns), *axes, label=label).opts(**STILL, color=colour)


def message(text: str) -> hv.Text:
    """Say in the place of a plot why there is none."""
    return hv.Text(0.5, 0.5, text).opts(
        **WIDE | {"height": 80}, xaxis=None, yaxis=None, text_color=MUTED
    )
