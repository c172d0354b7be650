"""What is drawn of students and their clients: quality on both sides, what leaks, what travels.

All is read off the Dataset, of one run or of several that were joined.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np
from bokeh.models import HoverTool

from gandask.core import Array, Figure
from gandask.display import number
from gandask.plots.rows import BYTES, bar, bars, in_rows, unit_of
from gandask.plots.selection import numbers, thinned
from gandask.plots.strip import MODES
from gandask.plots.style import (
    BEST,
    COLOURS,
    DASHES,
    MEDIAN,
    MUTED,
    STILL,
    WIDE,
    dimension,
    legend,
    line,
    message,
    upright,
    wrapped,
)

if TYPE_CHECKING:
    import xarray as xr

VIEWS: Mapping[str, str] = {"fid": "server", "fid_local": "client"}
"""Who sees a score: one against all data, and one against the client's own."""
EXCHANGED = ("fakes", "feedback")
"""Terms of what goes down to a client and comes up again in every round."""
GUESSING = 0.5
INTERVAL = 1.96  # standard errors to either side of an area: 95 %
LARGEST = 1e18  # bytes of a network that are believed
MOST = 8  # clients whose lines can be told apart
HEIGHT = WIDE["height"] - 100  # pixels for a vertical axis's label


# ---- quality


def quality(ds: xr.Dataset) -> hv.Element:
    """Draw every student's score by round: solid against all data, dashed against its client's own.

    Parameters
    ----------
    ds : Dataset
    """
    lines, ends = [], []
    along = dimension(ds["round"])
    label = hv.Dimension("score", label="Fréchet distance")
    for name, view in VIEWS.items():
        for place, (client, (known,)) in enumerate(_by_client(numbers(ds, name))):
            columns = (known["round"].values, known.values)
            look = COLOURS[place], DASHES[view == "client"]
            lines.append(line(columns, (along, label), f"{client}, {view}'s view", *look))
            ends += [float(known.min()), float(known.max())]
    return _lines(lines, ends, label, "no student is scored yet")


def quality_by_alpha(ds: xr.Dataset) -> hv.Element:
    """Draw the final score of every student by the share that its client had: both views of it.

    Clients of a run may differ in their share, and so may runs that were joined.

    Parameters
    ----------
    ds : Dataset
    """
    share = numbers(ds, "alpha").mean("round", keep_attrs=True)
    along = hv.Dimension("share", label="α, mean over the rounds")
    label = hv.Dimension("score", label="Fréchet distance at the end")
    layers, ends = [], []
    for place, (name, view) in enumerate(VIEWS.items()):
        values, shares = _side_by_side(numbers(ds, f"final_{name}"), share)
        known = np.isfinite(values) & np.isfinite(shares)
        if not known.any():
            continue
        ends += [float(values[known].min()), float(values[known].max())]
        dots = hv.Scatter((shares[known], values[known]), along, label, label=f"{view}'s view")
        told = HoverTool(tooltips=[("α", "@share{0.00}"), (f"{view}'s view", "@score{0.0}")])
        look = {"color": COLOURS[place], "marker": ("circle", "triangle")[place], "size": 9}
        layers.append(dots.opts(**STILL | {"tools": [told]}, **look))
    return _lines(layers, ends, label, "no student is scored at the end yet", xlim=(0, 1.05))


def quality_by_epsilon(ds: xr.Dataset) -> hv.Element:
    """Draw every student's score against all data by the epsilon that its client had spent by then.

    Parameters
    ----------
    ds : Dataset
    """
    scores, spent = numbers(ds, "fid"), numbers(ds, "epsilon")
    along, label = dimension(spent), dimension(scores)
    lines, ends = [], []
    for place, (client, (known, at)) in enumerate(_by_client(scores, spent)):
        columns = (at.values, known.values)
        lines.append(line(columns, (along, label), client, COLOURS[place]))
        ends += [float(known.min()), float(known.max())]
    return _lines(lines, ends, label, "no epsilon was spent on what is scored")


def _by_client(*values: xr.DataArray) -> Iterator[tuple[str, list[xr.DataArray]]]:
    """Give what is known of each client, by round; of many clients the median of all."""
    clients = values[0]["client"].values.tolist()
    every = {f"client {client}": [each.sel(client=client) for each in values] for client in clients}
    if len(clients) > MOST:
        every = {f"median of {len(clients)} clients": [each.median("client") for each in values]}
    for name, own in every.items():
        known = np.logical_and.reduce([np.isfinite(each.values) for each in own])
        if known.any():
            yield name, [thinned(each.isel(round=known), "round") for each in own]


def _side_by_side(values: xr.DataArray, shares: xr.DataArray) -> tuple[Array, Array]:
    """Give the values of all clients, of all runs, and the share of each."""
    import xarray as xr

    one, other = xr.broadcast(values, shares)
    return one.values.ravel(), other.transpose(*one.dims).values.ravel()


def _lines(
    layers: list[hv.Element],
    ends: list[float],
    label: hv.Dimension,
    nothing: str,
    **options: object,
) -> hv.Element:
    """Lay axes around lines or dots, with a legend."""
    if not layers:
        return message(nothing)
    frame = legend([layer.label for layer in layers]) | upright(min(ends), max(ends))
    return hv.Overlay(layers).opts(
        hv.opts.Overlay(**frame, ylabel=wrapped(label, HEIGHT), **options)
    )


# ---- what leaks


def audit(ds: xr.Dataset) -> hv.Element:
    """Draw how well attackers tell members from others, with 95 % intervals; half is guessing.

    It is the audit at the end, or the latest before it.

    Parameters
    ----------
    ds : Dataset
        Of one run.
    """
    areas, errors, when = _audited(ds)
    rows = [
        (f"client {client}: {attack}", *told, COLOURS[place])
        for client, at_client in zip(ds["client"].values, _pairs(areas, errors), strict=True)
        for place, (attack, told) in enumerate(zip(ds["attack"].values, at_client, strict=True))
        if np.isfinite(told[0])
    ]
    if not rows:
        return message("no audit has been told yet")
    along = hv.Dimension("area", label="area under the attacker's curve")
    reaches = [
        (area, row, INTERVAL * np.nan_to_num(error)) for row, (_, area, error, _) in enumerate(rows)
    ]
    segments = [(max(0, at - off), row, min(1, at + off), row) for at, row, off in reaches]
    dots = [
        (area, row, name, error, colour) for row, (name, area, error, colour) in enumerate(rows)
    ]
    told = [("", "@attacker"), ("area", "@area{0.000} ± @error{0.000}")]
    layers = [
        hv.Segments(segments, [along, "place", "x1", "y1"]).opts(
            **STILL, color=MUTED, line_width=2
        ),
        hv.Points(dots, [along, "place"], ["attacker", "error", "colour"]).opts(
            **STILL | {"tools": [HoverTool(tooltips=told)]}, color="colour", size=9
        ),
        hv.VLines([GUESSING], [along]).opts(color=MUTED, line_width=1, line_dash="dashed"),
    ]
    names = [name for name, *_ in rows]
    return in_rows(layers, names, 1.0, f"{when}; the dashed line is guessing")


def _audited(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray, str]:
    """Give areas and errors by client and attack of the last audit, and when it was."""
    order = "client", "attack"
    final = numbers(ds, "final_audit_auc").transpose(*order)
    if np.isfinite(final.values).any() or not ds.sizes["round"]:
        return final, numbers(ds, "final_audit_auc_error").transpose(*order), "at the end"
    areas = numbers(ds, "audit_auc").transpose("round", *order)
    done = np.flatnonzero(np.isfinite(areas.values).any((1, 2)))
    last = done[-1] if len(done) else -1
    errors = numbers(ds, "audit_auc_error").transpose("round", *order)
    when = f"round {ds['round'].values[last]}"
    return areas.isel(round=last), errors.isel(round=last), when


def _pairs(areas: xr.DataArray, errors: xr.DataArray) -> Array:
    return np.stack([areas.values, errors.values], -1)


# ---- bytes


def bytes_by_term(ds: xr.Dataset) -> hv.Element:
    """Draw what a client and its student send each other in a round, beside what others would.

    Beside it stand a discriminator that is sent up in its place, and federated averaging, which
    sends both networks down and up. Their weights are counted in float32.

    Parameters
    ----------
    ds : Dataset
        With the sizes of its networks as attribute ``network_bytes``.
    """
    if not ds.sizes["round"]:
        return message("no round is done yet")
    rows = [(name, size, BEST) for name, size in _exchanged(ds).items()]
    if not rows:
        return message("nothing travelled")
    rows.append(("together", sum(size for _, size, _ in rows), BEST))
    rows += [(name, size, MEDIAN) for name, size in _others(ds).items()]
    largest = max(size for _, size, _ in rows)
    unit, scale = unit_of(largest, BYTES)
    along = hv.Dimension(f"sent_{unit}", label="between a client and its student", unit=unit)
    boxes = [
        (*bar(row, 0.0, size / scale), name, colour)
        for row, (name, size, colour) in enumerate(rows)
    ]
    written = [(size / scale, row, f" {_size(size)}") for row, (_, size, _) in enumerate(rows)]
    told = [("", "@term"), (f"sent ({unit})", "@x1{0.[000]}")]
    layers = [
        bars(boxes, along, ["term", "colour"], "", "colour", told),
        hv.Labels(written, [along, "place"], "told").opts(
            **STILL, text_align="left", text_font_size="9pt", text_color=MUTED
        ),
    ]
    return in_rows(layers, [name for name, *_ in rows], 1.25 * largest / scale, "in a round")


def _exchanged(ds: xr.Dataset) -> dict[str, float]:
    """Give the bytes of a round by term, of a couple: the median over all."""
    sent = numbers(ds, "sent_bytes")
    found = {}
    for term in EXCHANGED:
        if term in sent["term"].values:
            sizes = sent.sel(term=term).values
            if (sizes > 0).any():
                found[term] = float(np.median(sizes[sizes > 0]))
    return found


def _others(ds: xr.Dataset) -> dict[str, float]:
    """Give what other ways would send, if sizes of networks are told; whoever wrote them."""
    try:
        told = json.loads(ds.attrs.get("network_bytes", "{}"))
        sizes = [told[name] for name in ("generator", "discriminator")]
    except (TypeError, ValueError, KeyError, RecursionError):
        return {}
    if not all(type(size) in (int, float) and 0 <= size <= LARGEST for size in sizes):
        return {}
    generator, discriminator = map(float, sizes)
    return {
        "instead: the discriminator": discriminator,
        "instead: federated averaging": 2 * (generator + discriminator),
    }


def _size(value: float) -> str:
    unit, scale = unit_of(value, BYTES)
    return f"{number(value / scale)} {unit}"


FIGURES: Mapping[str, Figure] = {
    "quality": Figure(
        "Score as the server and the clients see it",
        quality,
        ("fid", "fid_local"),
        along="round",
    ),
    "quality_by_alpha": Figure(
        "Score by the client's share", quality_by_alpha, ("alpha", "final_fid", "final_fid_local")
    ),
    "audit": Figure(
        "What attackers find out",
        audit,
        ("audit_auc", "audit_auc_error", "final_audit_auc", "final_audit_auc_error"),
    ),
    "quality_by_epsilon": Figure("Score by epsilon", quality_by_epsilon, ("epsilon", "fid")),
    "bytes": Figure("What travels in a round", bytes_by_term, ("sent_bytes",)),
    "modes": MODES,
}
"""What pages and reports show of PrivacyGAN beside what they show of every run."""
