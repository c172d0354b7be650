"""What is drawn of ensembles: what more members bring, one objective against another, shares."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import HoverTool

from gandask.core import Array, Figure
from gandask.display import printable
from gandask.plots.rows import HALF, bars, in_rows
from gandask.plots.selection import numbers
from gandask.plots.style import (
    BEST,
    COLOURS,
    GRID_SIZE,
    MEDIAN,
    MUTED,
    STILL,
    WIDE,
    dimension,
    legend,
    message,
    upright,
    wrapped,
)
from gandask.scores.metrics import METRICS

if TYPE_CHECKING:
    import xarray as xr

DOT, SMALL = 9, 5
ROOM = 0.5  # beside the first and the last
SAID = 24  # letters of an ensemble's name on an axis
MOST, NAMED = 30, 12  # bars of ensembles; ensembles that are named side by side


def sizes(ds: xr.Dataset) -> hv.Element:
    """Draw the score of each ensemble, by both halves of the samples, beside the optimum.

    Parameters
    ----------
    ds : Dataset
    """
    score, names = _score(ds), _names(ds)
    if not score:
        return message("the score that ensembles improve is not known")
    place = np.arange(len(names), dtype=float)
    drawn = {
        "half that chose": (_of_last(ds, score), MUTED, DOT),
        "half that judges": (_of_last(ds, f"final_{score}"), BEST, DOT),
    }
    if score == "tvd" and np.isfinite(ds["optimum"]).any():
        drawn["optimum"] = (_of_last(ds, "optimum"), MEDIAN, SMALL)
    across = hv.Dimension("place", label="ensemble")
    up = hv.Dimension("score", label=METRICS[score].long_name)
    hover = HoverTool(tooltips=[("", "@ensemble"), (up.pprint_label, "@score")])
    layers = [
        hv.Scatter((place, values, names), across, [up, "ensemble"], label=label).opts(
            **STILL, color=colour, size=size, marker="circle", tools=[hover]
        )
        for label, (values, colour, size) in drawn.items()
    ]
    known = np.concatenate([values[np.isfinite(values)] for values, *_ in drawn.values()])
    if not len(known):
        return message("nothing was scored")
    return hv.Overlay(layers).opts(
        hv.opts.Overlay(
            **legend([*drawn]),
            **upright(float(known.min()), float(known.max())),
            xticks=[*enumerate(names)][:: math.ceil(len(names) / NAMED)],
            ylabel=wrapped(up, WIDE["height"] - 100),
            xrotation=30,
            xlim=(-ROOM, len(names) - 1 + ROOM),
            show_legend=True,
        )
    )


def front(ds: xr.Dataset) -> hv.Element:
    """Draw ensembles and single generators by both objectives: nearer to the corner is better.

    Parameters
    ----------
    ds : Dataset
    """
    across, up = dimension(ds["final_tvd"]), dimension(ds["final_fid"])
    known = {
        "one generator": (_of_last(ds, "member_tvd"), _of_last(ds, "member_fid"), MUTED, SMALL),
        "ensemble": (_of_last(ds, "final_tvd"), _of_last(ds, "final_fid"), BEST, DOT),
    }
    layers = []
    for label, (first, second, colour, size) in known.items():
        finite = np.isfinite(first) & np.isfinite(second)
        layers.append(
            hv.Scatter((first[finite], second[finite]), across, up, label=label).opts(
                **STILL, color=colour, size=size
            )
        )
    values = np.concatenate([layer.dimension_values(1) for layer in layers])
    if not len(values):
        return message("nothing was scored")
    return hv.Overlay(layers).opts(
        hv.opts.Overlay(
            **legend([*known]),
            **upright(float(values.min()), float(values.max())),
            xlabel=wrapped(across, GRID_SIZE),
            ylabel=wrapped(up, WIDE["height"] - 100),
            show_legend=True,
        )
    )


def weights(ds: xr.Dataset) -> hv.Element:
    """Draw the members of each ensemble as the parts of a bar, as long as they weigh.

    Of more than 30 ensembles, 30 that are evenly spread, the first and the last among them.

    Parameters
    ----------
    ds : Dataset
    """
    count = ds.sizes["ensemble"]
    shown = np.linspace(0, count - 1, min(count, MOST)).round().astype(int)
    title = f"{MOST} of {count} ensembles" if count > MOST else ""
    ds = ds.isel(ensemble=shown)
    names = _names(ds)
    shares = numbers(ds, "weight").transpose("ensemble", "member")
    members = [printable(str(label)) for label in shares["member"].values]
    used = np.flatnonzero((shares.values > 0).any(0))
    colours = {int(member): COLOURS[at % len(COLOURS)] for at, member in enumerate(used)}
    boxes: list[tuple[Any, ...]] = []
    for row, values in enumerate(shares.values):
        begin = 0.0
        for member in np.flatnonzero(values > 0):
            end = begin + float(values[member])
            told = members[member], float(values[member]), colours[int(member)]
            boxes.append((begin, row - HALF, end, row + HALF, *told))
            begin = end
    if not boxes:
        return message("no ensemble has members")
    along = hv.Dimension("share", label=dimension(ds["weight"]).label)
    tooltips = [("", "@member"), ("share", "@weight{0.0%}")]
    drawn = bars(boxes, along, ["member", "weight", "colour"], "", "colour", tooltips)
    # of many members two may have one colour: lines part them
    return in_rows([drawn.opts(line_color="white")], names, 1.0, title)


def _score(ds: xr.Dataset) -> str:
    score = str(ds.attrs.get("score", ""))
    return score if score in ds and f"final_{score}" in ds else ""


def _names(ds: xr.Dataset) -> list[str]:
    labels = [printable(str(label)) for label in ds["ensemble"].values]
    return [label if len(label) <= SAID else f"{label[: SAID - 1]}…" for label in labels]


def _of_last(ds: xr.Dataset, name: str) -> Array:
    """Give values of the last round, or those of all."""
    values = numbers(ds, name)
    return np.asarray(values.isel(round=-1).values if "round" in values.dims else values.values)


SCORED = ("tvd", "fid", "final_tvd", "final_fid", "member_tvd", "member_fid")
FIGURES = {
    "sizes": Figure("Ensembles by size", sizes, (*SCORED, "optimum")),
    "front": Figure("One objective against the other", front, SCORED),
    "weights": Figure("Members of each ensemble", weights, ("weight",)),
}
"""By the names that ``found.plot`` and a stored ensemble know them by."""
