"""The mode strip: how many samples each mode has in each round, to see collapse happen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import BasicTicker, HoverTool
from bokeh.palettes import interp_palette

from gandask import display, results
from gandask.core import Array, Figure
from gandask.plots import selection
from gandask.plots.style import COLOURS, WIDE, dimension, message, whole_numbers
from gandask.results import modes as shares

if TYPE_CHECKING:
    import xarray as xr

ROUND = "round"
LOST, ALIKE, CROWDED = COLOURS[1], "#f4f3ef", COLOURS[0]
MANY = 2.0  # times as many as of real samples, from which on the colour is the same
AROUND, TALLEST = 108, 340  # pixels: of axes and title, of all modes
ROWS = (3, 20)  # pixels: smallest and largest of a mode


def modes(
    ds: xr.Dataset, marked: Mapping[str, Any] | None = None, along: str = ROUND
) -> hv.Element:
    """Draw how many samples are on each mode, by round, beside real ones.

    A mode that no sample is on has the colour of the lost; one that as many are on as of real
    samples is pale; one that too many are on has another colour.

    Parameters
    ----------
    ds : Dataset
    marked : mapping, optional
        The place of the unit whose samples count, such as ``{"row": 0, "col": 1}``; by default the
        unit that scores best in each round.
    along : str
        The horizontal axis: ``"round"``, or a variable that tells where on it each round ends.

    Raises
    ------
    ValueError
        If the run does not tell, or there is no such unit.
    """
    own = set(ds[shares.SHARE].dims) - {"round", "class"} if shares.SHARE in ds else set()
    taken = marked is not None and own == set(marked) and bool(own)
    whose = display.place(marked) if taken and marked else "the best of each round" if own else ""
    return _strip(ds, shares.covered(ds, marked), whose, along)


def mixture_modes(ds: xr.Dataset, along: str = ROUND) -> hv.Element:
    """Draw how many samples of the mixture of all are on each mode; see `modes`."""
    return _strip(ds, shares.covered(ds, variable=shares.MIXTURE), "the mixture of all", along)


def _strip(ds: xr.Dataset, values: xr.DataArray, whose: str, along: str) -> hv.Element:
    if not values.sizes["round"]:
        return message("nothing was scored yet")
    values = selection.thinned(values, "round")
    count, last = values.sizes["class"], int(values["round"][-1])
    axis = ds[along]
    ends = axis.max([dim for dim in axis.dims if dim != "round"]).sel(round=values["round"]).values
    # rounds are counted, and lie around their numbers; what else is counted is done within them
    across = _edges(ends.astype(float)) if along == ROUND else np.append(0.0, ends)
    smallest, largest = ROWS
    row = min(largest, max(smallest, TALLEST // count))
    measured = dimension(values)
    tooltips = [(results.label(axis), f"@{along}"), ("mode", "@class")]
    tooltips += [(measured.label, f"@{measured.name}")]
    held = int((values[-1] > 0).sum())
    # in two lines: the card of a unit is narrow, also on a wide screen
    title = f"{held:,} of {count:,} modes sampled\nin round {last:,}"
    return hv.QuadMesh(
        (across, _edges(values["class"].values.astype(float)), values.values.T),
        [dimension(axis), hv.Dimension("class", label="mode")],
        measured,
    ).opts(
        **WIDE | {"height": AROUND + row * count},
        xlim=(None, None) if along == ROUND else (0, float(axis.max())),
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


MODES = Figure("Modes", modes, (shares.SHARE,), takes=("marked",), along=ROUND)
MIXTURE_MODES = Figure("Modes of the mixture", mixture_modes, (shares.MIXTURE,), along=ROUND)
"""What methods show of their modes."""
