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
    STILL,
    WIDE,
    dimension,
    legend,
    line,
    message,
    stroke,
    upright,
    whole_numbers,
)
from gandask.results import published

if TYPE_CHECKING:
    import xarray as xr

ALONG = ("round", "elapsed", "batches", "sent_bytes")
OTHER = "other"
LEGEND = 800  # pixels: pages show comparisons in all their width
MANY = 24  # lines, above which the best alone have names
THIN = 0.8  # pixels of the line of a seed alone
ROUTINES = 6  # told apart; the others, the shortest, are one


def compare(
    runs: Mapping[str, Sequence[xr.Dataset]], variable: str | None = None, along: str = "round"
) -> hv.Overlay | hv.Text:
    """Draw the quality of several runs: the mean of their seeds, and a band from least to most.

    Of each Dataset the best unit's value in each round counts; where no direction is better, the
    median. Between rounds that are known it is interpolated. Repetitions of one seed, and copies,
    count once. Where not all seeds of a line are known, as some began later or ended earlier, each
    of the others is a thin line of its own. Of more than 24 lines the twelve that end best have a
    colour and a name; the others are thin and grey.

    Parameters
    ----------
    runs : mapping of str to sequence of Dataset
        By label, a Dataset for each seed.
    variable : str, optional
        Numbers along round and the unit of a role; the first run's score by default.
    along : str
        "round", "elapsed" (wall time), "batches" (generator steps of all units so far), or
        "sent_bytes" (that slots have read from each other so far).

    Raises
    ------
    ValueError
        If there is no such variable or axis, or the runs have no batches or bytes.
    """
    if along not in ALONG:
        raise ValueError(f"along={along!r}: expected one of {', '.join(ALONG)}")
    every = [ds for datasets in runs.values() for ds in datasets]
    if not every:
        return message("nothing to compare yet")
    name = selection.scored(every[0], variable)
    layers: list[hv.Element] = []
    known: list[Array] = []
    found = {}
    for label, datasets in runs.items():
        courses = [_quality(ds, name, along) for ds in results.seeds(datasets)]
        courses = [course for course in courses if len(course[0])]
        if courses:
            found[label] = courses
            known += [y for _, y in courses]
    if not found:
        return message("nothing to compare yet")
    better = every[0][name].attrs.get("better", "")
    told_apart, which = _told_apart(found, better), "best" if better else "first"
    for label, courses in found.items():
        axes = _axis(runs[label][0], along)[1], dimension(runs[label][0][name])
        if label in told_apart:
            layers += _line(courses, axes, label, stroke(told_apart.index(label)))
        else:
            layers += [line(course, axes, "", MUTED, width=THIN) for course in courses]
    # bands lie below all lines, and lines without a name below the others
    layers.sort(key=lambda layer: 0 if isinstance(layer, hv.Area) else 2 if layer.label else 1)
    told = f"{_counting(every[0][name])} {layers[-1].vdims[0].pprint_label}"
    names = [layer.label for layer in layers if layer.label]
    options = hv.opts.Overlay(
        **legend(names, LEGEND),
        title=f"the {which} {len(told_apart)} of {len(found)}" if len(found) > MANY else "",
        legend_limit=len(layers) + 1,  # else HoloViews leaves it out of many
        **upright(float(min(map(np.min, known))), float(max(map(np.max, known)))),
        ylabel=textwrap.fill(told, (WIDE["height"] - 100) // CHARACTER),
        xticks=whole_numbers(),
    )
    return hv.Overlay(layers).opts(options)


def _told_apart(found: Mapping[str, Sequence[tuple[Array, Array]]], better: str) -> list[str]:
    """Name the lines that have a colour and a name: of very many, the best or else the first."""
    if len(found) <= MANY:
        return [*found]
    if not better:
        return [*found][: len(COLOURS)]
    ends = {label: np.mean([y[-1] for _, y in courses]) for label, courses in found.items()}
    return sorted(ends, key=ends.__getitem__, reverse=better == "higher")[: len(COLOURS)]


def _line(
    courses: Sequence[tuple[Array, Array]],
    axes: Sequence[hv.Dimension],
    label: str,
    look: Mapping[str, str],
) -> list[hv.Element]:
    """Draw the seeds of one line, which says what it is of."""
    colour, dash = look["color"], look["line_dash"]
    if len(courses) == 1:
        return [line(courses[0], axes, label, colour, dash)]
    told = f"{label}: mean and range of {len(courses)} seeds"
    x, values = _together(courses)
    # without a common part, an empty line still names them
    mean = line((x, values.mean(0)), axes, told, colour, dash)
    band = hv.Area((x, values.min(0), values.max(0)), axes[0], [axes[1], "upper"])
    parts = [part for course in courses for part in _beyond(course, x)]
    alone = [line(part, axes, "", colour, dash, THIN) for part in parts]
    return [band.opts(**STILL, color=colour, alpha=0.2, line_alpha=0), *alone, mean]


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
        **legend(
            [name for name in colours if name in names or name == OTHER],
            height=110 + 34 * len(profiles),
        ),
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
    layers = [line((ideal, even), axes, "ideal", MUTED, "dashed")]
    for place, shape in enumerate(sorted(np.unique(known["shape"]), key=_size)):
        runs = known.isel(run=known["shape"].values == shape)
        workers, which = np.unique(runs["workers"].values, return_inverse=True)
        columns = workers, np.bincount(which, runs[name].values) / np.bincount(which)
        look = stroke(place)
        dots = hv.Scatter(columns, *axes).opts(
            **STILL, color=look["color"], size=7, tools=["hover"]
        )
        layers += [line(columns, axes, str(shape), look["color"], look["line_dash"]), dots]
    rings = hv.Scatter(
        (printed["workers"].values, printed[name].values), *axes, label="Pérez et al. (2020)"
    )
    layers.append(rings.opts(**STILL, fill_alpha=0, line_color=MUTED, line_width=2, size=9))
    options = hv.opts.Overlay(
        **legend([layer.label for layer in layers if layer.label]),
        xlim=(0, 1.06 * reach),
        ylim=(0, None),
        xticks=whole_numbers(),
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
    few = _few(x[known])
    return few, np.interp(few, x[known], y[known]) if len(few) else few


def _axis(ds: xr.Dataset, along: str) -> tuple[Array, hv.Dimension]:
    """Give the position of each round's end along an axis, and the axis."""
    if along == "round":
        return ds["round"].values.astype(float), dimension(ds["round"])
    if along == "elapsed":
        elapsed = ds["elapsed"]
        units = [dim for dim in elapsed.dims if dim != "round"]
        return elapsed.max(units).values, hv.Dimension("elapsed", label="wall time", unit="s")
    if along not in ds:
        raise ValueError(f"the Dataset has no {along}: compare along round or elapsed")
    counted = selection.numbers(ds, along)
    steps = counted.sum([dim for dim in counted.dims if dim != "round"]).cumsum("round")
    told = {
        "batches": "generator steps of all, so far",
        "sent_bytes": "bytes that slots have read from each other, so far",
    }
    return steps.values, hv.Dimension(along, label=told[along], unit=counted.attrs.get("units"))


def _together(courses: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Bring seeds to the same positions, from where all have begun to where the first one ends.

    Returns
    -------
    (n,) array
        Positions, which are those of the seeds.
    (seeds, n) array
        Values there.
    """
    x = np.unique(np.concatenate([course[0] for course in courses]))
    begin, end = max(course[0][0] for course in courses), min(course[0][-1] for course in courses)
    x = _few(x[(begin <= x) & (x <= end)])
    return x, np.stack([np.interp(x, *course) for course in courses])


def _beyond(course: tuple[Array, Array], known: Array) -> list[tuple[Array, Array]]:
    """Give the parts of a seed's course before and after the positions where all are known."""
    x = course[0]
    if not len(known):
        return [course]
    parts = x[x < known[0]], x[x > known[-1]]
    # up to the positions of all, so that nothing is between
    joined = [np.union1d(part, end) for part, end in zip(parts, known[[0, -1]], strict=True)]
    return [(part, np.interp(part, *course)) for part in joined if len(part) > 1]


def _few(positions: Array) -> Array:
    """Keep as many positions as can be seen apart, the first and last of them."""
    if len(positions) <= selection.POINTS:
        return positions
    chosen = np.linspace(0, len(positions) - 1, selection.POINTS).round().astype(int)
    return np.asarray(positions[chosen])
