"""What is drawn of groups alone: losses and regroupings, who met whom, samples over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np
from bokeh.models import HoverTool

from gandask import plots
from gandask.core import Array, Figure
from gandask.data import Plane
from gandask.plots.selection import at_round, numbers
from gandask.plots.strip import MIXTURE_MODES, MODES
from gandask.plots.style import (
    COLOURS,
    INKS,
    MUTED,
    STILL,
    WIDE,
    as_large_as_its_frame,
    dimension,
    legend,
    message,
    stroke,
    upright,
    whole_numbers,
    wrapped,
)

if TYPE_CHECKING:
    import xarray as xr

COORDINATES = 2  # of a point
BINS = 36  # of a density plot, along each axis
PANEL = 92  # pixels of a density plot's side
POINTS = 1500  # of a line: more cannot be seen apart
MET = ("partner", "last_iteration")
HALF = 0.4  # of a rectangle's height; 1 is from group to group
NARROW, PRINTED = 400, 12  # pixels: of a narrow plot's width, and of a digit with its margins


def regroupings(ds: xr.Dataset, variable: str = "generator_loss") -> hv.Element:
    """Draw a quantity of every group by iteration, with the regroupings as vertical lines.

    Parameters
    ----------
    ds : Dataset
        Of a method with groups.
    variable : str
        Along ``group`` and ``iteration``: a loss, ``learning_rate`` or ``loss_variation``. Long
        traces are averaged over short spans.
    """
    if "iteration" not in numbers(ds, variable).dims:
        raise ValueError(
            f"{variable!r} has dimensions {ds[variable].dims}: expected group and iteration, as "
            "the generator_loss of MGGAN has"
        )
    known = ds[variable].dropna("iteration", how="all")
    values = known.where(np.isfinite(known))
    if not values.notnull().any():
        return message(f"no {ds[variable].attrs['long_name']} yet")
    span = max(1, values.sizes["iteration"] // POINTS)
    thin = values.coarsen(iteration=span, boundary="trim").mean(keep_attrs=True)
    lines = [
        hv.Curve(
            (thin["iteration"].values, thin.sel(group=group).values),
            dimension(values["iteration"]),
            dimension(values),
            label=f"group {group}",
        ).opts(**stroke(place), line_width=1, **STILL)
        for place, group in enumerate(values["group"].values)
    ]
    marks = hv.VLines(_regrouped_at(ds), kdims=["iteration"]).opts(color=MUTED, line_width=0.8)
    label = wrapped(dimension(values), WIDE["height"] - 100)
    scale = upright(float(thin.min()), float(thin.max()))
    options = hv.opts.Overlay(**legend([line.label for line in lines]), **scale, ylabel=label)
    return hv.Overlay([marks, *lines]).opts(options)


def discriminator_losses(ds: xr.Dataset) -> hv.Element:
    """Draw the loss of every discriminator by iteration; see `regroupings`."""
    return regroupings(ds, "discriminator_loss")


def learning_rates(ds: xr.Dataset) -> hv.Element:
    """Draw the learning rate of every group by iteration; see `regroupings`."""
    return regroupings(ds, "learning_rate")


def mixture(ds: xr.Dataset, round: int = -1) -> hv.Element:
    """Draw as bars the shares of all groups' generators in the mixture of all.

    Parameters
    ----------
    ds : Dataset
        Of a method with groups.
    round : int
        Its number; a negative one counts from the last.
    """
    weights = numbers(ds, "mixture_weight")
    names = [f"group {group}" for group in ds["group"].values]
    share = dimension(weights)
    if not weights.sizes["round"]:
        return plots.mixture([], [], rows=len(names), share=share, title="no round is done yet")
    weights = at_round(weights, round)
    title = f"round {int(weights['round'])}"
    return plots.mixture(names, weights.values.tolist(), share=share, title=title)


def density(ds: xr.Dataset, iterations: int = 10) -> hv.Overlay | hv.Text:
    """Draw where each group's samples lie in the plane, over time: groups down, iterations across.

    Every panel shows the plane of the data, with rings around the true modes; the share of the
    samples that is on one of them is printed in its corner.

    Parameters
    ----------
    ds : Dataset
        Of a run on points, with ``kept_samples``.
    iterations : int
        How many of the times at which samples were kept, evenly spread.

    Raises
    ------
    ValueError
        If the Dataset holds no samples.
    """
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: expected at least 1")
    if "samples" not in ds:
        raise ValueError("there are no samples: expected a run with kept_samples above 0")
    if ds.sizes["value"] != COORDINATES:
        return message("the samples are no points in the plane")
    kept = ds["samples"].dropna("snapshot", how="all")
    if not kept.sizes["snapshot"]:
        return message("no samples yet")
    chosen = np.unique(np.linspace(0, kept.sizes["snapshot"] - 1, iterations).astype(int))
    shown = kept.isel(snapshot=chosen).transpose("snapshot", ...)
    last = shown.isel(snapshot=-1).values.reshape(-1, COORDINATES)
    plane = Plane.of(ds.attrs) or Plane.around(last)
    rows = [
        np.hstack([_counts(one.sel(group=group).values, plane) for one in shown])
        for group in shown["group"].values
    ]
    wide, high = shown.sizes["snapshot"], shown.sizes["group"]
    # each panel is one unit wide and high, and centred on its tick
    ends = ds["snapshot_iteration"].max("group").sel(snapshot=shown["snapshot"]).values
    counts = hv.Image(
        np.vstack(rows),
        bounds=(-0.5, -0.5, wide - 0.5, high - 0.5),
        kdims=[hv.Dimension("iteration"), hv.Dimension("group")],
        vdims=hv.Dimension("samples"),
    ).opts(
        **STILL,
        cmap=hv.plotting.util.process_cmap("Blues", 64),
        clim=(0, max(1.0, float(np.nanquantile(rows, 0.995)))),
        frame_width=PANEL * wide,
        frame_height=PANEL * high,
        xticks=[(place, f"{end:,}") for place, end in enumerate(ends)],
        yticks=[(high - 1 - place, str(g)) for place, g in enumerate(shown["group"].values)],
    )
    (left, right), (low, top) = plane.ends
    title = f"each panel from {left:.3g} to {right:.3g} across, {low:.3g} to {top:.3g} up"
    return hv.Overlay([counts, *_over_modes(shown, plane)]).opts(
        hv.opts.Overlay(title=title, hooks=[as_large_as_its_frame])
    )


def _over_modes(shown: xr.DataArray, plane: Plane) -> list[hv.Element]:
    """Draw a ring around every mode of each panel, and the share of its samples on them."""
    wide, high = shown.sizes["snapshot"], shown.sizes["group"]
    places = (plane.modes - plane.centre) / plane.reach / 2
    rings, told = [], []
    for x, y in np.ndindex(wide, high):
        samples = shown.isel(snapshot=x, group=high - 1 - y).values
        rings += [(x + across, y + up) for across, up in places]
        if len(places) and np.isfinite(samples).any():
            told.append((x - 0.48, y + 0.48, f"{plane.shares(samples).sum():.0%} on modes"))
    size = PANEL * plane.radius / plane.reach
    return [
        hv.Points(rings, ["iteration", "group"]).opts(
            **STILL, size=size, fill_alpha=0, line_color=MUTED, line_width=0.8
        ),
        hv.Labels(told, ["iteration", "group"], "share").opts(
            **STILL,
            text_color="black",
            text_font_size="7pt",
            text_align="left",
            text_baseline="top",
        ),
    ]


def partners(ds: xr.Dataset) -> hv.Element:
    """Draw which discriminator each generator trained against, over the iterations.

    Parameters
    ----------
    ds : Dataset
        Of a method with groups, with ``partner`` and ``last_iteration``.

    Raises
    ------
    ValueError
        If there are no partners.
    """
    partner, ends = (numbers(ds, name).transpose("round", "group") for name in MET)
    rows = _stretches(partner.values, ends.values)
    if not rows:
        return message("no iterations yet")
    groups, last = ds["group"].values, float(ends.max())
    places = [int(met) % len(COLOURS) for *_, met in rows]
    boxes = [
        (begin, group - HALF, end, group + HALF, groups[group], met, COLOURS[place])
        for (group, begin, end, met), place in zip(rows, places, strict=True)
    ]
    texts = [
        ((begin + end) / 2, group, str(met), INKS[place])
        for (group, begin, end, met), place in zip(rows, places, strict=True)
        if (end - begin) / last * NARROW >= PRINTED * len(str(met))
    ]
    tooltips = [("generator", "@generator"), ("discriminator", "@discriminator")]
    tooltips += [("iterations", "@begin to @end")]
    drawn = hv.Rectangles(
        boxes, ["begin", "low", "end", "high"], ["generator", "discriminator", "colour"]
    ).opts(**STILL, color="colour", line_color=None, tools=[HoverTool(tooltips=tooltips)])
    printed = hv.Labels(texts, ["begin", "low"], ["text", "ink"]).opts(
        **STILL, text_color="ink", text_font_size="9pt"
    )
    options = hv.opts.Overlay(
        **WIDE | {"height": 90 + 26 * len(groups)},
        title="discriminator that each generator met",
        xlabel="iteration",
        ylabel="generator",
        xlim=(0, last),
        ylim=(-0.5, len(groups) - 0.5),
        xticks=whole_numbers(),
        yticks=[(place, str(group)) for place, group in enumerate(groups)],
        invert_yaxis=True,
    )
    return hv.Overlay([drawn, printed]).opts(options)


def _stretches(partner: Array, ends: Array) -> list[tuple[int, float, float, int]]:
    """Give group, first and last iteration, and partner, of the rounds with the same partner."""
    rows: list[tuple[int, float, float, int]] = []
    for group, (met, last) in enumerate(zip(partner.T, ends.T, strict=True)):
        known = np.isfinite(met) & np.isfinite(last)
        met, last = met[known].astype(int), last[known]
        changes = np.flatnonzero(np.diff(met)) + 1
        for part, reached in zip(np.split(met, changes), np.split(last, changes), strict=True):
            if len(part):
                begin = rows[-1][2] if rows and rows[-1][0] == group else 0.0
                rows.append((group, begin, float(reached[-1]), int(part[0])))
    return rows


def _counts(samples: Array, plane: Plane) -> Array:
    """Count the samples in each square of the plane, the top row first."""
    across, up = (np.linspace(*ends, BINS + 1) for ends in plane.ends)
    counts, _, _ = np.histogram2d(samples[:, 1], samples[:, 0], (up, across))
    counts[:, -1] = counts[0] = np.nan  # a line between panels
    return np.asarray(counts[::-1])


def _regrouped_at(ds: xr.Dataset) -> Array:
    """Give the iterations after which regroupings took place."""
    ends = ds["last_iteration"].max("group")
    rounds = ds["event_round"].values[ds["event_kind"].values == "regrouped"]
    return np.asarray(ends.sel(round=np.unique(rounds)).values)


FIGURES = {
    "partners": Figure("Who met whom", partners, MET),
    "mixture": Figure("Mixture of all", mixture, ("mixture_weight",), takes=("round",)),
    "regroupings": Figure("Generator loss", regroupings, ("generator_loss", "last_iteration")),
    "discriminator_losses": Figure(
        "Discriminator loss", discriminator_losses, ("discriminator_loss", "last_iteration")
    ),
    "learning_rates": Figure("Learning rate", learning_rates, ("learning_rate", "last_iteration")),
    "density": Figure("Samples over time", density, ("samples", "snapshot_iteration")),
    "modes": MODES,
    "mixture_modes": MIXTURE_MODES,
}
"""What pages and reports show of groups beside what they show of every run."""
