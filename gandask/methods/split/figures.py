"""Drawings of methods that train on several nodes at once: what travelled, and what it bought."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gandask.core import Figure

MEGA = 1e6


def bytes_by_term(ds: Any) -> Any:
    """Draw the bytes that travel in an exchange, by term: the median over exchanges."""
    import holoviews as hv

    sent = _sent(ds)
    found = sent.median("round") / MEGA
    bars = [(str(term), float(found.sel(term=term))) for term in found.term.values]
    told = [(term, size) for term, size in bars if size > 0]
    return hv.Bars(told, "term", hv.Dimension("sent", label="sent in an exchange", unit="MB")).opts(
        responsive=True, height=260, toolbar=None
    )


def quality_by_bytes(ds: Any) -> Any:
    """Draw the best generator's score against all bytes that had travelled by then."""
    import holoviews as hv

    score = str(ds.attrs["score"])
    values = ds[score]
    others = [dim for dim in values.dims if dim != "round"]
    better = values.attrs.get("better", "lower")
    best = values.max(others) if better == "higher" else values.min(others)
    travelled = _sent(ds).sum("term").cumsum("round") / MEGA
    known = np.isfinite(best.values)
    label = str(values.attrs.get("long_name", score))
    along = hv.Dimension("sent", label="sent by then", unit="MB")
    of_score = hv.Dimension(score, label=label)
    points = (travelled.values[known], best.values[known])
    curve = hv.Curve(points, along, of_score) * hv.Scatter(points, along, of_score)
    return curve.opts(responsive=True, height=260, toolbar=None)


def _sent(ds: Any) -> Any:
    """Add up what all slots were sent, by exchange and term."""
    sent = ds["sent_bytes"]
    return sent.sum([dim for dim in sent.dims if dim not in ("round", "term")])


FIGURES: Mapping[str, Figure] = {
    "bytes": Figure("What travels in an exchange", bytes_by_term, ("sent_bytes",)),
    "quality_by_bytes": Figure("Score by what had travelled", quality_by_bytes, ("sent_bytes",)),
}
