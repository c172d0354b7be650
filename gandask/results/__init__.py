"""From what tasks report to one labelled Dataset, and what can be read off it."""

from gandask.results.columns import event_of
from gandask.results.dataset import (
    Results,
    attributes,
    best_of,
    described,
    labelled,
    versions,
    without_timings,
)
from gandask.results.effects import Compared, Effect, compared, effects
from gandask.results.joined import joined
from gandask.results.modes import covered
from gandask.results.storage import LARGEST, digest, fixed, read, read_values, write
from gandask.results.story import story
from gandask.results.tables import (
    best,
    differing,
    kept,
    label,
    latest,
    of_all,
    outcome,
    place,
    place_of_best,
    profile,
    seeds,
    settings,
    setup,
    speedup,
    summary,
    title,
    to_dataframe,
    workers,
)

__all__ = [
    "LARGEST",
    "Compared",
    "Effect",
    "Results",
    "attributes",
    "best",
    "best_of",
    "compared",
    "covered",
    "described",
    "differing",
    "digest",
    "effects",
    "event_of",
    "fixed",
    "joined",
    "kept",
    "label",
    "labelled",
    "latest",
    "of_all",
    "outcome",
    "place",
    "place_of_best",
    "profile",
    "read",
    "read_values",
    "seeds",
    "settings",
    "setup",
    "speedup",
    "story",
    "summary",
    "title",
    "to_dataframe",
    "versions",
    "without_timings",
    "workers",
    "write",
]
