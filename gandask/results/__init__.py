"""From what tasks report to one labelled Dataset, and what can be read off it."""

from gandask.results.dataset import (
    Results,
    attributes,
    described,
    labelled,
    versions,
    without_timings,
)
from gandask.results.joined import joined
from gandask.results.storage import fixed, read, write
from gandask.results.tables import (
    best,
    differing,
    label,
    latest,
    of_all,
    outcome,
    place,
    place_of_best,
    profile,
    seeds,
    settings,
    speedup,
    summary,
    title,
    to_dataframe,
    workers,
)

__all__ = [
    "Results",
    "attributes",
    "best",
    "described",
    "differing",
    "fixed",
    "joined",
    "label",
    "labelled",
    "latest",
    "of_all",
    "outcome",
    "place",
    "place_of_best",
    "profile",
    "read",
    "seeds",
    "settings",
    "speedup",
    "summary",
    "title",
    "to_dataframe",
    "versions",
    "without_timings",
    "workers",
    "write",
]
