"""What all plots share: colours, sizes, labels from a Dataset's own attributes.

Importing this module makes Bokeh the backend of HoloViews.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import holoviews as hv
from bokeh.models import BasicTicker

from gandask.config import suggestion

if TYPE_CHECKING:
    import xarray as xr

hv.extension("bokeh", logo=False)

# Okabe and Ito's colours, which the colour-blind can tell apart
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
BEST, MEDIAN, MUTED = COLOURS[0], COLOURS[1], "#8a8a8a"
SEQUENTIAL = "cividis"
GRID_SIZE = 280  # pixels of a heat map's longer side: fits a phone
CELL_SIZES = (14, 110)  # pixels, smallest and largest
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


def numbers(ds: xr.Dataset, variable: str) -> xr.DataArray:
    """Give a variable as floating-point numbers.

    Raises
    ------
    ValueError
        If there is no such variable, or it holds no numbers.
    """
    if variable not in ds:
        names = [str(name) for name in ds.data_vars]
        raise ValueError(f"there is no variable {variable!r}; {suggestion(variable, names)}")
    values = ds[variable]
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{variable!r} holds {values.dtype}: expected numbers")
    return values.astype(float)


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


def message(text: str) -> hv.Text:
    """Say in the place of a plot why there is none."""
    return hv.Text(0.5, 0.5, text).opts(
        **WIDE | {"height": 80}, xaxis=None, yaxis=None, text_color="#555555"
    )
