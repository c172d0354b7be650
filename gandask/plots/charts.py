"""Plots of any method's run: time by routine, events, shares of a mixture, samples."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import BasicTicker, HoverTool

from gandask import results
from gandask.core import Array
from gandask.plots import pictures
from gandask.plots.style import (
    BEST,
    COLOURS,
    MUTED,
    ON_TOP,
    STILL,
    WIDE,
    as_large_as_its_frame,
    dimension,
    message,
    whole_numbers,
)

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

EVENTS, SLOTS = 2000, 30  # more are drawn by kind: they would hide each other
SPANS = 40  # of rounds, with a dot each
SIZES = (3.0, 12.0)  # pixels of the smallest and the largest number of events
BAR = 24  # pixels of a bar of a mixture, with its gap
KEYS = ("round", "slot", "kind", "detail")


def profile(ds: xr.Dataset) -> hv.Element:
    """Draw the time spent by routine as bars, the longest on top, with their shares."""
    seconds = results.profile(ds)[::-1]  # a categorical axis begins at the bottom
    total = float(seconds.sum())
    if not total:
        return message("no timings yet")
    shares = (100 * seconds / total).values
    names = [str(name) for name in seconds["routine"].values]
    labels = [f"{name}  {share:.1f} %" for name, share in zip(names, shares, strict=True)]
    time = dimension(seconds, "seconds")
    hover = HoverTool(
        tooltips=[
            ("routine", "@name"),
            (time.pprint_label, "@seconds{0.00}"),
            ("share", "@share{0.0} %"),
        ]
    )
    bars = hv.Bars((labels, seconds.values, names, shares), "routine", [time, "name", "share"])
    return bars.opts(
        **WIDE | {"height": 80 + 24 * len(names)},
        invert_axes=True,
        color=BEST,
        line_color=None,
        bar_width=0.7,
        xlabel="",
        tools=[hover],
    )


def events(
    ds: xr.Dataset, kinds: Sequence[str] | None = None, round: int | None = None
) -> hv.Element:
    """Draw events by round and slot, coloured by kind.

    Of many events, or many slots, the number per round and kind is drawn, as the size of a dot.

    Parameters
    ----------
    ds : Dataset
    kinds : sequence of str, optional
        Those to draw; all by default.
    round : int, optional
        The last to draw events of; all by default.
    """
    everything = ds[[f"event_{key}" for key in KEYS]].reset_coords(drop=True)
    if not everything.sizes["event"]:
        return message("no events")
    chosen = np.ones(everything.sizes["event"], bool)
    if kinds is not None:
        chosen &= np.isin(everything["event_kind"].values, list(kinds))
    if round is not None:
        chosen &= everything["event_round"].values <= round
    if not chosen.any():
        return message("no such events")
    found = everything.isel(event=chosen)
    slots = len(np.unique(found["event_slot"].values))
    many = found.sizes["event"] > EVENTS or slots > SLOTS
    # of all kinds, so that a kind's colour does not depend on which are drawn
    names = np.unique(everything["event_kind"].values).tolist()
    colours = {kind: COLOURS[place % len(COLOURS)] for place, kind in enumerate(names)}
    drawn = _counted(found, colours) if many else _single(found, colours)
    last = max(ds.sizes["round"], int(everything["event_round"].max()))
    return drawn.opts(
        **WIDE | {"height": 110 + 20 * (len(names) if many else slots)},
        xlim=(0, last + 1),
        xticks=whole_numbers(),
    )


def mixture(
    names: Sequence[str],
    weights: Sequence[float],
    highlighted: Collection[str] = (),
    rows: int | None = None,
    share: hv.Dimension | str = "share",
    title: str = "",
) -> hv.Rectangles:
    """Draw as bars what a mixture is made of, the first on top.

    Parameters
    ----------
    names : sequence of str
        Of its members, each once.
    weights : sequence of float
        Their shares.
    highlighted : collection of str
        Members in colour.
    rows : int, optional
        For how many members there is room: the frame is then the same for mixtures of fewer.
    share : Dimension or str
        What the axis of the weights says.
    title : str
    """
    rows = len(names) if rows is None else rows
    share = hv.Dimension(share)
    # rectangles on an axis of numbers: the categories of hv.Bars cannot change once drawn
    boxes = [
        (0.0, y - 0.35, weight, y + 0.35, name, BEST if name in highlighted else MUTED)
        for y, (name, weight) in enumerate(zip(names, weights, strict=True))
    ]
    hover = HoverTool(tooltips=[("", "@name"), (share.pprint_label, "@x1{0.0%}")])
    return hv.Rectangles(boxes, vdims=["name", "colour"]).opts(
        **WIDE | {"height": 90 + BAR * rows},
        title=title,
        color="colour",
        line_color=None,
        xlim=(0, 1),
        ylim=(-0.5, rows - 0.5),
        xlabel=share.pprint_label,
        ylabel="",
        xticks=BasicTicker(num_minor_ticks=0),
        yticks=[*enumerate(names)] or [(0, "")],
        invert_yaxis=True,
        tools=[hover],
    )


def image_grid(images: Tensor | Array, columns: int = 8) -> hv.Element:
    """Draw samples: images side by side in one picture, or points as a scatter.

    Parameters
    ----------
    images : (n, C, H, W) or (n, 2) tensor or array
        Images in [-1, 1], or points.
    columns : int
        Images per row.

    Raises
    ------
    ValueError
        If `images` are neither images nor points.
    """
    samples = pictures.to_array(images)
    if pictures.is_points(samples):
        finite = samples[np.isfinite(samples).all(1)]
        return hv.Points(finite).opts(
            **STILL, color=BEST, alpha=0.6, size=3, data_aspect=1, xlabel="", ylabel=""
        )
    picture = pictures.tiles(samples, columns)
    height, width = picture.shape[:2]
    element = hv.Image if picture.ndim == 2 else hv.RGB
    drawn = element(picture, bounds=(0, 0, width, height)).opts(
        **STILL,
        frame_width=width,
        frame_height=height,
        hooks=[as_large_as_its_frame],
        xaxis=None,
        yaxis=None,
    )
    return drawn.opts(cmap="gray", clim=(0, 255)) if picture.ndim == 2 else drawn


def _single(found: xr.Dataset, colours: Mapping[str, str]) -> hv.Overlay:
    """Draw each event by its round and slot, in a layer for each kind."""
    round, slot, kind, detail = (dimension(found[f"event_{key}"], key) for key in KEYS)
    # what happened to the whole population is of no slot
    slots = [name or "all" for name in found["event_slot"].values.tolist()]
    # a categorical axis begins at the bottom
    slot = slot.clone(values=sorted(set(slots), key=_natural, reverse=True))
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for when, where, what, more in zip(
        found["event_round"].values.tolist(),
        slots,
        found["event_kind"].values.tolist(),
        found["event_detail"].values.tolist(),
        strict=True,
    ):
        rows.setdefault(what, []).append((when, where, what, more))
    tooltips = [(d.label, f"@{{{d.name}}}") for d in (round, slot, kind, detail)]
    layers = [
        hv.Points(rows[name], [round, slot], [kind, detail], label=name).opts(
            size=8, color=colours[name], tools=[HoverTool(tooltips=tooltips)]
        )
        for name in sorted(rows)
    ]
    return hv.Overlay(layers).opts(**ON_TOP)


def _counted(found: xr.Dataset, colours: Mapping[str, str]) -> hv.Points:
    """Draw the number of events by kind and span of rounds, as a dot whose area tells it."""
    round, kind = (dimension(found[f"event_{key}"], key) for key in ("round", "kind"))
    when = found["event_round"].values
    span = 1 + int(np.ptp(when)) // SPANS
    begins = when.min() + (when - when.min()) // span * span
    numbers = Counter(zip(found["event_kind"].values, begins, strict=True))
    # the largest has the largest area, and one event can still be seen
    smallest, largest = SIZES
    scale = largest / np.sqrt(max(numbers.values()))
    rows = [
        (
            begin + (span - 1) / 2,
            str(what),
            count,
            f"{begin} to {begin + span - 1}",
            max(smallest, scale * np.sqrt(count)),
        )
        for (what, begin), count in sorted(numbers.items(), reverse=True)
    ]
    tooltips = [("rounds", "@rounds"), (kind.label, "@kind"), ("events", "@events")]
    return hv.Points(rows, [round, kind], ["events", "rounds", "size"]).opts(
        size="size",
        alpha=0.7,
        color="kind",
        cmap=dict(colours),
        show_legend=False,  # the axis names them
        tools=[HoverTool(tooltips=tooltips)],
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort ``cell/10`` after ``cell/9``."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]
