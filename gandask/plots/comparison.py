"""Plots of several runs side by side: quality, time by routine, speedup."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np

from gandask import results
from gandask.core import Array
from gandask.plots import selection
from gandask.plots.style import (
    CHARACTER,
    COLOURS,
    MUTED,
    ON_TOP,
    STILL,
    WIDE,
    dimension,
    line,
    logarithmic,
    message,
    whole_numbers,
)
from gandask.results import published

if TYPE_CHECKING:
    import xarray as xr

ALONG = ("round", "elapsed", "batches")
OTHER = "other"
ROUTINES = 6  # told apart; the others, the shortest, are one


def compare(
    runs: Mapping[str, Sequence[xr.Dataset]], variable: str | None = None, along: str = "round"
) -> hv.Element:
    """Draw the quality of several runs: the mean of their seeds, and a band from least to most.

    Of each Dataset the best unit's value in each round counts; where no direction is better, the
    median. Between rounds that are known it is interpolated; from its last one on, a run keeps its
    value.

    Parameters
    ----------
    runs : mapping of str to sequence of Dataset
        By label, a Dataset for each seed.
    variable : str, optional
        Numbers along round and the unit of a role; the first run's score by default.
    along : str
        "round", "elapsed" (wall time), or "batches" (generator steps of all units so far).

    Raises
    ------
    ValueError
        If there is no such variable or axis, or the runs have no batches.
    """
    if along not in ALONG:
        raise ValueError(f"along={along!r}: expected one of {', '.join(ALONG)}")
    every = [ds for datasets in runs.values() for ds in datasets]
    if not every:
        return message("nothing to compare yet")
    name = selection.scored(every[0], variable)
    bands, lines, extremes = [], [], []
    for place, (label, datasets) in enumerate(runs.items()):
        seeds = [_quality(ds, name, along) for ds in datasets]
        x, values = _together([seed for seed in seeds if len(seed[0])])
        if not len(x):
            continue
        axes = _axis(datasets[0], along)[1], dimension(datasets[0][name])
        colour = COLOURS[place % len(COLOURS)]
        band = hv.Area((x, values.min(0), values.max(0)), axes[0], [axes[1], "upper"])
        bands.append(band.opts(**STILL, color=colour, alpha=0.2, line_alpha=0))
        lines.append(line((x, values.mean(0)), axes, label, colour))
        extremes += [float(values.min()), float(values.max())]
    if not lines:
        return message("nothing to compare yet")
    told = f"{_counting(every[0][name])} {lines[0].vdims[0].pprint_label}"
    options = hv.opts.Overlay(
        **WIDE,
        **ON_TOP,
        logy=logarithmic(min(extremes), max(extremes)),
        ylabel=textwrap.fill(told, (WIDE["height"] - 100) // CHARACTER),
        xticks=whole_numbers(),
    )
    return hv.Overlay([*bands, *lines]).opts(options)


def routines(runs: Mapping[str, xr.Dataset]) -> hv.Element:
    """Draw the time spent by routine, one bar per run; the shortest routines are one, "other".

    Parameters
    ----------
    runs : mapping of str to Dataset
        By label.
    """
    profiles = {label: results.profile(ds) for label, ds in runs.items()}
    totals: dict[str, float] = defaultdict(float)
    for seconds in profiles.values():
        for name, spent in zip(seconds["routine"].values.tolist(), seconds.values, strict=True):
            totals[name] += spent
    names = sorted((name for name in totals if totals[name] > 0), key=totals.__getitem__)[::-1]
    if not names:
        return message("no timings yet")
    told = [name for name in names if name != OTHER][:ROUTINES]
    rows: dict[tuple[str, str], float] = defaultdict(float)
    for label in reversed(profiles):  # a categorical axis begins at the bottom
        seconds = profiles[label]
        for name in [*told, *(name for name in names if name not in told)]:
            spent = float(seconds.sel(routine=name)) if name in seconds["routine"] else 0.0
            rows[label, name if name in told else OTHER] += spent
    colours = dict(zip(told, COLOURS, strict=False)) | {OTHER: MUTED}
    time = dimension(next(iter(profiles.values())), "seconds")
    bars = hv.Bars([(*key, spent) for key, spent in rows.items()], ["run", "routine"], time)
    return bars.opts(
        **WIDE | {"height": 110 + 34 * len(profiles)},
        **ON_TOP,
        stacked=True,
        invert_axes=True,
        cmap=colours,
        color="routine",
        line_color=None,
        bar_width=0.7,
        xlabel="",
        tools=["hover"],
    )


def speedup(table: xr.Dataset, efficiency: bool = False) -> hv.Element:
    """Draw the speedup over the number of workers, a line for each shape of the population.

    Beside them the figures of Table III of Pérez et al. (2020), and the ideal: as many times the
    speed of the fewest workers as there are more of them.

    Parameters
    ----------
    table : Dataset
        As `gandask.results.scaling.scaling` gives it.
    efficiency : bool
        Draw the share of the ideal speedup instead.
    """
    name = "efficiency" if efficiency else "speedup"
    known = table.isel(run=np.isfinite(table[name].values.astype(float)))
    if not known.sizes["run"]:
        return message(f"no {name} yet")
    axes = dimension(table["workers"]), dimension(table[name])
    printed = published.execution_times()
    reach = max(int(known["workers"].max()), int(printed["workers"].max()))
    fewest = int(known["serial_workers"].min())
    ideal = np.array([fewest, reach])
    even = ideal / ideal if efficiency else ideal / fewest
    layers = [line((ideal, even), axes, "ideal", MUTED).opts(line_dash="dashed")]
    for place, shape in enumerate(sorted(np.unique(known["shape"]), key=_size)):
        runs = known.isel(run=known["shape"].values == shape)
        workers, which = np.unique(runs["workers"].values, return_inverse=True)
        columns = workers, np.bincount(which, runs[name].values) / np.bincount(which)
        colour = COLOURS[place % len(COLOURS)]
        dots = hv.Scatter(columns, *axes).opts(**STILL, color=colour, size=7, tools=["hover"])
        layers += [line(columns, axes, str(shape), colour), dots]
    rings = hv.Scatter(
        (printed["workers"].values, printed[name].values), *axes, label="Pérez et al. (2020)"
    )
    layers.append(rings.opts(**STILL, fill_alpha=0, line_color=MUTED, line_width=2, size=9))
    options = hv.opts.Overlay(
        **WIDE, **ON_TOP, xlim=(0, 1.06 * reach), ylim=(0, None), xticks=whole_numbers()
    )
    return hv.Overlay(layers).opts(options)


def _size(shape: str) -> tuple[int, str]:
    """Sort 2×2 before 10×10."""
    return len(shape), shape


def _counting(values: xr.DataArray) -> str:
    """Tell which unit's value counts for a run."""
    return "best" if values.attrs.get("better") else "median"


def _quality(ds: xr.Dataset, variable: str, along: str) -> tuple[Array, Array]:
    """Give where a run is along the axis, and its quality there."""
    values = selection.numbers(ds, variable)
    if "round" not in values.dims:
        raise ValueError(f"{variable!r} has dimensions {values.dims}: a comparison needs 'round'")
    units = [dim for dim in values.dims if dim != "round"]
    finite = values.where(np.isfinite(values))
    reduced = {"lower": finite.min, "higher": finite.max}.get(
        values.attrs.get("better", ""), finite.median
    )
    x, y = _axis(ds, along)[0], reduced(units).values
    known = np.isfinite(x) & np.isfinite(y)
    return x[known], y[known]


def _axis(ds: xr.Dataset, along: str) -> tuple[Array, hv.Dimension]:
    """Give the position of each round's end along an axis, and the axis."""
    if along == "round":
        return ds["round"].values.astype(float), dimension(ds["round"])
    if along == "elapsed":
        elapsed = ds["elapsed"]
        units = [dim for dim in elapsed.dims if dim != "round"]
        return elapsed.max(units).values, hv.Dimension("elapsed", label="wall time", unit="s")
    if "batches" not in ds:
        raise ValueError("the Dataset has no batches: compare along round or elapsed")
    counted = selection.numbers(ds, "batches")
    steps = counted.sum([dim for dim in counted.dims if dim != "round"]).cumsum("round")
    told = "generator steps of all, so far"
    return steps.values, hv.Dimension("batches", label=told, unit=counted.attrs.get("units"))


def _together(seeds: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Bring runs to the same positions, from where all are known to where the last one ends.

    Returns
    -------
    (n,) array
        Positions, which are those of the runs.
    (runs, n) array
        Values there.
    """
    if not seeds:
        return np.empty(0), np.empty((0, 0))
    x = np.unique(np.concatenate([seed[0] for seed in seeds]))
    x = x[x >= max(seed[0][0] for seed in seeds)]
    if len(x) > selection.POINTS:
        x = x[np.linspace(0, len(x) - 1, selection.POINTS).round().astype(int)]
    return x, np.stack([np.interp(x, *seed) for seed in seeds])
