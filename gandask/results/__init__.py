"""From what tasks report to one labelled Dataset, and what can be read off it."""

from gandask.results.dataset import (
    Results,
    attributes,
    best,
    fixed,
    latest,
    profile,
    read,
    speedup,
    without_timings,
    write,
)

__all__ = [
    "Results",
    "attributes",
    "best",
    "fixed",
    "latest",
    "profile",
    "read",
    "speedup",
    "without_timings",
    "write",
]
