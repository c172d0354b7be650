"""The mode strip: how many samples each mode has in each round, to see collapse happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import BasicTicker, HoverTool
from bokeh.palettes import interp_palette

from gandask import display
from gandask.core import Array, Figure
from gandask.plots import selection
from gandask.plots.style import COLOURS, WIDE, dimension, message, whole_numbers
from gandask.results import modes as shares

if TYPE_CHECKING:
    import xarray as xr

LOST, ALIKE, CROWDED = COLOURS[1], "#f4f3ef", COLOURS[0]
MANY = 2.0  # times as many as of real samples, from which on the colour is the same
AROUND, TALLEST = 90, 340  # pixels: of axes and title, of all modes
ROWS = (3, 20)  # pixels: smallest and largest of a mode


def modes(ds: xr.Dataset, marked: Mapping[str, Any] | None = None) -> hv.Element:
    """Draw how many samples are on each mode, by round, beside real ones.

    A mode that no sample is on has the colour of the lost; one that as many are on as of real
    samples is pale; one that too many are on has another colour.

    Parameters
    ----------
    ds : Dataset
    marked : mapping, optional
        The place of the unit whose samples count, such as ``{"row": 0, "col": 1}``; by default the
        unit that scores best in each round.

    Raises
    ------
    ValueError
        If the run does not tell, or there is no such unit.
    """
    own = set(ds[shares.SHARE].dims) - {"round", "class"} if shares.SHARE in ds else set()
    taken = marked is not None and own == set(marked) and bool(own)
    whose = display.place(marked) if taken and marked else "the best of each round" if own else ""
    return _strip(shares.covered(ds, marked), whose)


def mixture_modes(ds: xr.Dataset) -> hv.Element:
    """Draw how many samples of the mixture of all are on each mode; see `modes`."""
    return _strip(shares.covered(ds, variable=shares.MIXTURE), "the mixture of all")


def _strip(values: xr.DataArray, whose: str) -> hv.Element:
    if not values.sizes["round"]:
        return message("nothing was scored yet")
    values = selection.thinned(values, "round")
    rounds, count = values["round"].values.astype(float), values.sizes["class"]
    smallest, largest = ROWS
    row = min(largest, max(smallest, TALLEST // count))
    measured = dimension(values)
    tooltips = [("round", "@round"), ("mode", "@class"), (measured.label, f"@{measured.name}")]
    held = int((values[-1] > 0).sum())
    title = f"{held:,} of {count:,} modes have samples in round {rounds[-1]:,.0f}"
    return hv.QuadMesh(
        (_edges(rounds), _edges(values["class"].values.astype(float)), values.values.T),
        [dimension(values["round"]), hv.Dimension("class", label="mode")],
        measured,
    ).opts(
        **WIDE | {"height": AROUND + row * count},
        cmap=[*interp_palette([LOST, ALIKE, CROWDED], 65)],
        clim=(0, MANY),
        colorbar=True,
        clabel="times real",
        colorbar_opts={"ticker": BasicTicker(desired_num_ticks=2)},
        title=f"{title} · {whose}" if whose else title,
        xticks=whole_numbers(),
        yticks=whole_numbers(),
        invert_yaxis=True,
        tools=[HoverTool(tooltips=tooltips)],
    )


def _edges(centres: Array) -> Array:
    """Give the edges between positions, and beyond the outer ones as far.

    Examples
    --------
    >>> _edges(np.array([1.0, 2.0, 4.0])).tolist(), _edges(np.array([3.0])).tolist()
    ([0.5, 1.5, 3.0, 5.0], [2.5, 3.5])
    """
    between = (centres[:-1] + centres[1:]) / 2
    first = centres[0] - (between[0] - centres[0] if len(between) else 0.5)
    last = centres[-1] + (centres[-1] - between[-1] if len(between) else 0.5)
    return np.concatenate([[first], between, [last]])


MODES = Figure("Modes", modes, (shares.SHARE,), takes=("marked",), along_rounds=True)
MIXTURE_MODES = Figure("Modes of the mixture", mixture_modes, (shares.MIXTURE,), along_rounds=True)
"""What methods show of their modes."""
