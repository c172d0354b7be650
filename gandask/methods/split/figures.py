"""What is drawn of one GAN on several nodes: bytes and seconds of an exchange, what they bought.

All is read off the Dataset: of a run's settings nothing is looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np

from gandask.core import Array, Figure
from gandask.display import number
from gandask.plots.rows import BYTES, SECONDS, bar, bars, in_rows, unit_of
from gandask.plots.selection import numbers, scored, thinned
from gandask.plots.strip import MIXTURE_MODES, MODES
from gandask.plots.style import (
    BEST,
    COLOURS,
    MEDIAN,
    MUTED,
    STILL,
    WIDE,
    dimension,
    message,
    upright,
    wrapped,
)

if TYPE_CHECKING:
    import xarray as xr

PARTS = {"computing": (BEST, 1.0), "fetching": (MEDIAN, 1.0), "waiting": (MUTED, 0.3)}
"""Of the time of an exchange, with their colours and how dense these are."""
GATHER = "gather"
MARGIN, BESIDE = 1.03, 0.02  # of the longest bar: room for bars, and from a bar to what is written
ONE, BOTH = 1.25, 1.9  # of the longest bar: room for bars with one size beside them, and with two
MOST, LARGEST = 20, 1e18  # terms, and bytes of each, that are believed
NO_EXCHANGE, NO_OTHER = "no exchange is done yet", "the second exchange is not done yet"


# ---- bytes


def bytes_by_term(ds: xr.Dataset, predicted: xr.Dataset | None = None) -> hv.Element:
    """Draw what travels in an exchange, by term: bars as measured, marks as predicted.

    Measured is the median over exchanges after the first. What does not travel in all of them, such
    as discriminators that are swapped, is averaged from the first time to the last.

    Parameters
    ----------
    ds : Dataset
    predicted : Dataset, optional
        As `gandask.cost` gives it. By default what was predicted when the run began, as its
        attribute ``predicted_bytes`` tells it, if it does.

    Raises
    ------
    ValueError
        If `predicted` has no bytes.
    """
    if not ds.sizes["round"]:
        return message(NO_EXCHANGE)
    rows = _sizes(ds, predicted)
    if not rows:
        return message("nothing travelled")
    terms = [term for term, *_ in rows]
    largest = float(np.nanmax([sizes for _, *sizes in rows]))
    unit, scale = unit_of(largest, BYTES)
    along = hv.Dimension(f"sent_{unit}", label="sent in an exchange", unit=unit)
    measured, marks, written = [], [], []
    for row, (term, size, expected) in enumerate(rows):
        measured.append((*bar(row, 0.0, size / scale), term))
        if np.isfinite(expected):
            marks.append(bar(row, expected / scale, expected / scale))
        beside = (np.fmax(size, expected) + BESIDE * largest) / scale
        written.append((beside, row, *_told(size, expected)))
    told = [("", "@term"), (f"sent ({unit})", "@x1{0.[000]}")]
    layers = [
        bars(measured, along, ["term"], "measured", BEST, told),
        hv.Segments(marks, [along, "place", "x1", "y1"], label="predicted").opts(
            **STILL, color=MEDIAN, line_width=3
        ),
        hv.Labels(written, [along, "place"], ["told", "colour"]).opts(
            **STILL, text_align="left", text_font_size="9pt", text_color="colour"
        ),
    ]
    labels = ["measured", "predicted"] if marks else []
    alike = all(colour == MUTED for *_, colour in written)
    room = (ONE if alike else BOTH) * largest / scale
    return in_rows(layers, terms, room, labels=labels)


def _sizes(ds: xr.Dataset, predicted: xr.Dataset | None) -> list[tuple[str, float, float]]:
    """Give by term what is sent in an exchange, measured and predicted: NaN if nothing is."""
    sent = _sent(ds)
    measured = {str(term): _typical(sent.sel(term=term).values) for term in sent["term"].values}
    expected = _noted(ds) if predicted is None else _by_term(predicted, "bytes")
    other = 0.0 if expected else np.nan
    rows = [
        (term, measured.get(term, 0.0), expected.get(term, other))
        for term in dict.fromkeys([*measured, *expected])
    ]
    return [row for row in rows if np.fmax(*row[1:]) > 0]


def _typical(sizes: Array) -> float:
    """Give what travels in an exchange, from what travelled in each.

    Examples
    --------
    >>> _typical(np.array([1.0, 3.0, 3.0, 4.0]))
    3.0
    >>> _typical(np.array([0.0, 0.0, 6.0, 0.0, 0.0, 6.0, 0.0]))
    2.0
    """
    # in the first, nobody has anything yet
    steady = sizes[1:] if len(sizes) > 1 else sizes
    times = np.flatnonzero(steady)
    if len(times) == len(steady):
        return float(np.median(steady))
    if len(times) > 1:
        return float(steady[times[0] : times[-1]].sum() / (times[-1] - times[0]))
    return float(steady.mean())


def _noted(ds: xr.Dataset) -> dict[str, float]:
    """Read what was predicted when a run began; whoever wrote it, only a few sizes are taken."""
    try:
        told = json.loads(ds.attrs.get("predicted_bytes", "{}"))
    except (TypeError, ValueError, RecursionError):
        return {}
    if not isinstance(told, dict) or len(told) > MOST:
        return {}
    sizes = told.values()
    known = all(type(size) in (int, float) and 0 <= size <= LARGEST for size in sizes)
    return {term: float(size) for term, size in told.items()} if known else {}


def _by_term(predicted: xr.Dataset, name: str) -> dict[str, float]:
    values = numbers(predicted, name)
    return dict(zip(values["term"].values.tolist(), values.values.tolist(), strict=True))


def _told(measured: float, predicted: float) -> tuple[str, str]:
    """Write a size, and what was predicted if that is another, with the colour that it has then.

    Examples
    --------
    >>> _told(12800.0, 12800.0)[0], _told(12800.0, 16000.0)[0], _told(12800.0, 12801.0)[0]
    ('12.8 kB', '12.8 kB, predicted 16 kB', '12,800 B, predicted 12,801 B')
    """
    if np.isnan(predicted) or math.isclose(measured, predicted):
        return _size(measured), MUTED
    one, other = _size(measured), _size(predicted)
    if one == other:
        one, other = f"{measured:,.0f} B", f"{predicted:,.0f} B"
    return f"{one}, predicted {other}", MEDIAN


def _size(value: float) -> str:
    unit, scale = unit_of(value, BYTES)
    return f"{number(value / scale)} {unit}"


# ---- seconds


def schedule(ds: xr.Dataset) -> hv.Element:
    """Draw who computes when in an exchange: in one of those that took as long as the median.

    A bar begins where the slot's first task did, by the clock of its worker, and is as long as all
    that the slot computed in the exchange. When its other tasks began is not in the Dataset: pauses
    between them are left out. What a slot fetches comes before its bar.

    Parameters
    ----------
    ds : Dataset
    """
    steady = ds.isel(round=slice(1, None))  # what the first prepares is no part of the others
    names, begun = _by_slot(numbers(steady, "started"))
    whole = np.isfinite(begun).all(1)
    if not whole.any():
        return message(NO_OTHER)
    _, computing = _by_slot(_computing(steady))
    begins = begun[whole] - begun[whole].min(1, keepdims=True)
    ends = begins + computing[whole]
    lengths = ends.max(1)
    chosen = np.argsort(lengths, kind="stable")[(len(lengths) - 1) // 2]
    unit, scale = unit_of(float(lengths[chosen]), SECONDS)
    along = hv.Dimension(f"time_{unit}", label="since the exchange began", unit=unit)
    boxes = [
        (*bar(row, begin / scale, end / scale), name, _colour(name, names))
        for row, (name, begin, end) in enumerate(
            zip(names, begins[chosen], ends[chosen], strict=True)
        )
    ]
    told = [("", "@slot"), (f"begins ({unit})", f"@{along.name}{{0.0}}")]
    told.append((f"ends ({unit})", "@x1{0.0}"))
    layers = [bars(boxes, along, ["slot", "colour"], "", "colour", told)]
    title = f"exchange {steady['round'].values[whole][chosen]}; pauses are left out"
    return in_rows(layers, names, MARGIN * float(lengths[chosen]) / scale, title)


def seconds(ds: xr.Dataset, predicted: xr.Dataset | None = None) -> hv.Element:
    """Draw what an exchange takes, and what slots do in that time: medians over exchanges.

    Parameters
    ----------
    ds : Dataset
    predicted : Dataset, optional
        As `gandask.cost` gives it for the link that was used: it gets a bar.

    Raises
    ------
    ValueError
        If `predicted` has no seconds.
    """
    _, ends = _by_slot(numbers(ds, "elapsed"))
    lengths = np.diff(np.fmax.reduce(ends, 1))
    if not np.isfinite(lengths).any():
        return message(NO_OTHER)
    length = float(np.nanmedian(lengths))
    names, computing = _by_slot(_computing(ds))
    _, fetching = _by_slot(_fetching(ds))
    rows = [
        (name, own, fetched, max(0.0, length - own - fetched))
        for name, own, fetched in zip(
            names, np.median(computing[1:], 0), np.median(fetching[1:], 0), strict=True
        )
    ]
    if predicted is not None:
        expected = _by_term(predicted, "seconds")
        own = expected.pop("computing", 0.0)
        rows.insert(0, ("predicted", own, sum(expected.values()), 0.0))
    longest = max(sum(taken) for _, *taken in rows)
    unit, scale = unit_of(longest, SECONDS)
    along = hv.Dimension(f"time_{unit}", label="in an exchange", unit=unit)
    told = [("", "@slot: @part"), (f"takes ({unit})", "@taken{0.00}")]
    layers = []
    for place, (part, (colour, alpha)) in enumerate(PARTS.items()):
        boxes = [
            (
                *bar(row, sum(taken[:place]) / scale, sum(taken[: place + 1]) / scale),
                name,
                part,
                taken[place] / scale,
            )
            for row, (name, *taken) in enumerate(rows)
        ]
        drawn = bars(boxes, along, ["slot", "part", "taken"], part, colour, told)
        layers.append(drawn.opts(alpha=alpha))
    title = f"an exchange takes {number(length / scale)} {unit}"
    names = [name for name, *_ in rows]
    return in_rows(layers, names, MARGIN * longest / scale, title, [*PARTS])


def _computing(ds: xr.Dataset) -> xr.DataArray:
    """Add up what slots computed in each exchange: all but waiting for what they read."""
    spent = numbers(ds, "seconds")
    return spent.sel(routine=spent["routine"].values != GATHER).sum("routine")


def _fetching(ds: xr.Dataset) -> xr.DataArray:
    spent = numbers(ds, "seconds")
    return spent.sel(routine=spent["routine"].values == GATHER).sum("routine")


def _by_slot(values: xr.DataArray) -> tuple[list[str], Array]:
    """Give the names of all slots, and their values by round and slot."""
    (dim,) = (str(dim) for dim in values.dims if dim != "round")
    labels = values[dim].values.tolist()
    names = labels if dim == "slot" else [f"{dim}/{label}" for label in labels]
    return names, values.transpose("round", dim).values


def _colour(slot: str, slots: Sequence[str]) -> str:
    """Give the slots of a role its colour."""
    roles = [*dict.fromkeys(name.split("/")[0] for name in slots)]
    return COLOURS[roles.index(slot.split("/")[0]) % len(COLOURS)]


# ---- what they bought


def quality_by_bytes(ds: xr.Dataset) -> hv.Element:
    """Draw the best generator's score against all bytes that had travelled by then."""
    travelled = _sent(ds).sum("term").cumsum("round").values
    unit, scale = unit_of(max(travelled, default=0.0), BYTES)
    along = hv.Dimension(f"sent_{unit}", label="sent by then", unit=unit)
    return _quality(ds, travelled / scale, along)


def quality_by_seconds(ds: xr.Dataset) -> hv.Element:
    """Draw the best generator's score against the time since the run's start."""
    _, ends = _by_slot(numbers(ds, "elapsed"))
    along = hv.Dimension("elapsed", label="since the run's start", unit="s")
    return _quality(ds, np.fmax.reduce(ends, 1), along)


def _quality(ds: xr.Dataset, amounts: Array, along: hv.Dimension) -> hv.Element:
    """Draw the best generator's score against amounts by exchange."""
    values = numbers(ds, scored(ds, None))
    others = [dim for dim in values.dims if dim != "round"]
    better = values.max if values.attrs.get("better") == "higher" else values.min
    best = better(others, keep_attrs=True).assign_coords(amount=("round", amounts))
    known = np.isfinite(best.values) & np.isfinite(amounts)
    if not known.any():
        return message(f"no {dimension(values).label} yet")
    shown = thinned(best.isel(round=known), "round")
    columns, axes = (shown["amount"].values, shown.values), (along, dimension(values))
    drawn = hv.Curve(columns, *axes).opts(**STILL, color=BEST)
    dots = hv.Scatter(columns, *axes).opts(**STILL, color=BEST, size=6)
    options = hv.opts.Overlay(
        **WIDE,
        **upright(float(shown.min()), float(shown.max())),
        xlim=(0, MARGIN * float(columns[0].max())),
        ylabel=wrapped(axes[1], WIDE["height"] - 100),
    )
    return hv.Overlay([drawn, dots]).opts(options)


def _sent(ds: xr.Dataset) -> xr.DataArray:
    """Add up what all slots were sent, by exchange and term."""
    sent = numbers(ds, "sent_bytes")
    return sent.sum([dim for dim in sent.dims if dim not in ("round", "term")])


FIGURES: Mapping[str, Figure] = {
    "bytes": Figure("What travels in an exchange", bytes_by_term, ("sent_bytes",)),
    "schedule": Figure("Who computes when", schedule, ("started", "seconds")),
    "seconds": Figure("What an exchange takes", seconds, ("elapsed", "seconds")),
    "quality_by_bytes": Figure("Score by what had travelled", quality_by_bytes, ("sent_bytes",)),
    "quality_by_seconds": Figure("Score by time", quality_by_seconds, ("elapsed",)),
    "modes": MODES,
    "mixture_modes": MIXTURE_MODES,
}
"""What pages and reports show of these methods beside what they show of every run."""
