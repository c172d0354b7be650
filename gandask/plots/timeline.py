"""Plot of a run's events by round: each where it happened, or their numbers where they are many."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import HoverTool

from gandask.core import NON_FINITE
from gandask.plots.style import (
    COLOURS,
    MUTED,
    STILL,
    WIDE,
    dimension,
    legend,
    message,
    whole_numbers,
)

if TYPE_CHECKING:
    import xarray as xr

EVENTS, SLOTS, LANES = 2000, 30, 60  # more are drawn by kind: they would hide each other
SPANS = 40  # of rounds, with a dot each
SIZES = (6.0, 14.0)  # pixels of the smallest and the largest number of events
DOT, STEERED = 8, 12  # pixels of an event, and of one that somebody asked for
LANE, APART = 14, 0.5  # pixels of a lane, and lanes between two slots
AROUND = 110  # pixels of axis and legend
KEYS = ("round", "slot", "kind", "detail")
Lane = tuple[str, str, int]
EVERYWHERE = "all"
"""Where what happened to the whole population is drawn: it is of no slot."""


@dataclass(frozen=True)
class Look:
    """How one kind of events is drawn, in every run."""

    colour: str
    marker: str = "circle"

    @property
    def size(self) -> int:
        """Pixels: what somebody asked of the run stands out."""
        return STEERED if self.marker == "diamond" else DOT


LOOKS = {
    "changed": Look(COLOURS[9], "diamond"),
    "paused": Look(COLOURS[4], "diamond"),
    "resumed": Look(COLOURS[2], "diamond"),
    "refused": Look("#FF0033", "diamond"),
    "stopped": Look("#994400", "diamond"),
    NON_FINITE: Look("#FF33FF", "x"),
    "lost": Look(COLOURS[1]),
    "moved": Look(COLOURS[0]),
    "recomputed": Look("#5500FF"),
    "delayed": Look(COLOURS[11]),
    "hedged": Look(COLOURS[3]),
    "waiting": Look(COLOURS[6]),
    "back": Look(COLOURS[5]),
    "worker joined": Look(COLOURS[7]),
    "worker left": Look(COLOURS[10]),
    "worker silent": Look(COLOURS[8]),
    "worker paused": Look("#886688"),
    "versions": Look("#00DD00", "square"),
    "forked": Look("#0088FF", "square"),
    "passed over": Look("#BB2222", "square"),
    "checkpoint": Look(MUTED, "square"),
}
"""By kind, in the order that they are drawn from the top; a method's own are between."""


def events(
    ds: xr.Dataset, kinds: Sequence[str] | None = None, round: int | None = None
) -> hv.Overlay | hv.Points | hv.Text:
    """Draw events by round and slot, each kind in a lane and a colour of its own.

    A kind has the same colour and marker in every run; what somebody asked of the run is drawn as
    diamonds. Of many events, or many slots, the number per round and kind is drawn, as the size of
    a dot.

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
    # of all kinds, so that a kind's look does not depend on which are drawn
    looks = looks_of(everything["event_kind"].values.tolist())
    lanes = [] if found.sizes["event"] > EVENTS else _lanes(found)
    if 0 < len(set(lanes)) <= LANES and len({slot for slot, *_ in lanes}) <= SLOTS:
        drawn = _single(found, looks, lanes)
    else:
        drawn = _counted(found, looks)
    last = max(ds.sizes["round"], int(everything["event_round"].max()))
    return drawn.opts(xlim=(0, last + 1), xticks=whole_numbers())


def looks_of(kinds: Iterable[str]) -> dict[str, Look]:
    """Give every kind its look, from the top: those of a method's own follow from their names."""
    known = set(kinds)
    taken: dict[str, Look] = {}
    for kind in sorted(known - LOOKS.keys()):
        colour = zlib.crc32(kind.encode()) % len(COLOURS)
        free = (COLOURS[(colour + more) % len(COLOURS)] for more in range(len(COLOURS)))
        used = {look.colour for look in taken.values()}
        taken[kind] = Look(next((c for c in free if c not in used), COLOURS[colour]), "triangle")
    named = [(kind, look) for kind, look in LOOKS.items() if kind in known]
    first = [(kind, look) for kind, look in named if look.marker == "diamond"]
    others = [(kind, look) for kind, look in named if look.marker != "diamond"]
    return dict([*first, *taken.items(), *others])


def _lanes(found: xr.Dataset) -> list[Lane]:
    """Give each event its lane: slot, kind, and how many of them were there in the round before."""
    columns = (found[f"event_{key}"].values.tolist() for key in ("round", "slot", "kind"))
    before: Counter[tuple[int, str, str]] = Counter()
    lanes = []
    for when, slot, kind in zip(*columns, strict=True):
        lanes.append((slot or EVERYWHERE, kind, before[when, slot, kind]))
        before[when, slot, kind] += 1
    return lanes


def _single(found: xr.Dataset, looks: Mapping[str, Look], lanes: Sequence[Lane]) -> hv.Overlay:
    """Draw each event by its round and lane, in a layer for each kind."""
    order = {kind: place for place, kind in enumerate(looks)}
    places: dict[Lane, float] = {}
    rows: dict[str, list[float]] = {}
    for lane in sorted(
        set(lanes), key=lambda at: (at[0] != EVERYWHERE, _natural(at[0]), order[at[1]], at[2])
    ):
        places[lane] = len(places) + APART * len(rows.keys() | {lane[0]})
        rows.setdefault(lane[0], []).append(places[lane])
    round, slot, kind, detail = (dimension(found[f"event_{key}"], key) for key in KEYS)
    layers: dict[str, list[tuple[Any, ...]]] = {name: [] for name in looks}
    columns = (found[f"event_{key}"].values.tolist() for key in ("round", "detail"))
    for lane, when, more in zip(lanes, *columns, strict=True):
        layers[lane[1]].append((when, places[lane], lane[0], lane[1], more))
    tooltips = [(d.label, f"@{{{d.name}}}") for d in (round, slot, kind, detail)]
    end = max(places.values())
    return hv.Overlay(
        [
            hv.Points(layers[name], [round, "lane"], [slot, kind, detail], label=name).opts(
                **STILL,
                size=look.size,
                marker=look.marker,
                color=look.colour,
                tools=[HoverTool(tooltips=tooltips)],
            )
            for name, look in looks.items()
            if layers[name]
        ]
    ).opts(
        **legend([name for name in looks if layers[name]], height=AROUND + int(LANE * end)),
        ylim=(0, end + APART),
        yticks=[(float(np.mean(heights)), name) for name, heights in rows.items()],
        ylabel=slot.label,
        invert_yaxis=True,
    )


def _counted(found: xr.Dataset, looks: Mapping[str, Look]) -> hv.Points:
    """Draw the number of events by kind and span of rounds, as a dot whose area tells it."""
    round, kind = (dimension(found[f"event_{key}"], key) for key in ("round", "kind"))
    when = found["event_round"].values
    span = 1 + int(np.ptp(when)) // SPANS
    begins = when.min() + (when - when.min()) // span * span
    numbers = Counter(zip(found["event_kind"].values.tolist(), begins.tolist(), strict=True))
    # the largest has the largest area, and one event can still be seen
    smallest, largest = SIZES
    scale = largest / np.sqrt(max(numbers.values()))
    # a categorical axis begins at the bottom
    order = [*looks][::-1]
    rows = [
        (
            begin + (span - 1) / 2,
            what,
            count,
            f"{begin} to {begin + span - 1}",
            max(smallest, scale * np.sqrt(count)),
        )
        for (what, begin), count in sorted(
            numbers.items(), key=lambda one: (order.index(one[0][0]), -one[0][1])
        )
    ]
    tooltips = [("rounds", "@rounds"), (kind.label, "@kind"), ("events", "@events")]
    return hv.Points(rows, [round, kind], ["events", "rounds", "size"]).opts(
        **WIDE | {"height": AROUND + 20 * len(looks)},
        size="size",
        alpha=0.7,
        color="kind",
        cmap={name: look.colour for name, look in looks.items()},
        show_legend=False,  # the axis names them
        tools=[HoverTool(tooltips=tooltips)],
    )


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort ``cell/10`` after ``cell/9``."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]
