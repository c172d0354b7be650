"""What is drawn of groups alone: losses and regroupings, who met whom, samples over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import HoverTool

from gandask import plots
from gandask.core import Figure
from gandask.methods.mggan.braid import braid
from gandask.methods.mggan.density import density
from gandask.methods.mggan.meetings import END, MET, reached, regrouped_at, stretches
from gandask.plots import strip
from gandask.plots.selection import at_round, numbers
from gandask.plots.style import (
    COLOURS,
    INKS,
    MUTED,
    STILL,
    WIDE,
    dimension,
    legend,
    message,
    stroke,
    upright,
    whole_numbers,
    wrapped,
)
from gandask.results.modes import MIXTURE, SHARE

if TYPE_CHECKING:
    import xarray as xr

POINTS = 1500  # of a line: more cannot be seen apart
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
    marks = hv.VLines(regrouped_at(ds), kdims=["iteration"]).opts(color=MUTED, line_width=0.8)
    label = wrapped(dimension(values), WIDE["height"] - 100)
    scale = upright(float(thin.min()), float(thin.max()))
    options = hv.opts.Overlay(
        **legend([line.label for line in lines]), **scale, ylabel=label, xlim=reached(ds)
    )
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
    rows = stretches(ds)
    if not rows:
        return message("no iterations yet")
    groups, (_, last) = ds["group"].values, reached(ds)
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


def modes(ds: xr.Dataset, marked: Mapping[str, Any] | None = None) -> hv.Element:
    """Draw how many samples are on each mode, by iteration.

    Parameters
    ----------
    ds : Dataset
        Of a method with groups.
    marked : mapping, optional
        The group, such as ``{"group": 1}``; by default the one that scores best in each round.

    Raises
    ------
    ValueError
        If the run does not tell, or there is no such group.
    """
    return strip.modes(ds, marked, END)


def mixture_modes(ds: xr.Dataset) -> hv.Element:
    """Draw how many samples of the mixture of all are on each mode, by iteration; see `modes`."""
    return strip.mixture_modes(ds, END)


FIGURES = {
    "braid": Figure(
        "Discriminators across generators",
        braid,
        (*MET, "discriminator_loss"),
        along=END,
        wide=True,
    ),
    "partners": Figure("Who met whom", partners, MET, along=END),
    "mixture": Figure("Mixture of all", mixture, ("mixture_weight",), takes=("round",)),
    "regroupings": Figure("Generator loss", regroupings, ("generator_loss", END), along=END),
    "discriminator_losses": Figure(
        "Discriminator loss", discriminator_losses, ("discriminator_loss", END), along=END
    ),
    "learning_rates": Figure("Learning rate", learning_rates, ("learning_rate", END), along=END),
    "density": Figure("Samples over time", density, ("samples", "snapshot_iteration")),
    "modes": Figure(strip.MODES.title, modes, (SHARE, END), takes=("marked",), along=END),
    "mixture_modes": Figure(strip.MIXTURE_MODES.title, mixture_modes, (MIXTURE, END), along=END),
}
"""What pages and reports show of groups beside what they show of every run."""
