"""From what tasks report to one labelled Dataset, and what can be read off it."""

from gandask.results.dataset import (
    Results,
    attributes,
    described,
    labelled,
    versions,
    without_timings,
)
from gandask.results.storage import fixed, read, write
from gandask.results.tables import (
    best,
    latest,
    of_all,
    outcome,
    place,
    place_of_best,
    profile,
    speedup,
    summary,
    title,
    workers,
)

__all__ = [
    "Results",
    "attributes",
    "best",
    "described",
    "fixed",
    "labelled",
    "latest",
    "of_all",
    "outcome",
    "place",
    "place_of_best",
    "profile",
    "read",
    "speedup",
    "summary",
    "title",
    "versions",
    "without_timings",
    "workers",
    "write",
]
