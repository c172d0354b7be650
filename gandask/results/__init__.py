"""From what tasks report to one labelled Dataset, and what can be read off it."""

from gandask.results.dataset import Results, attributes, without_timings
from gandask.results.storage import fixed, read, write
from gandask.results.tables import best, latest, of_all, profile, speedup

__all__ = [
    "Results",
    "attributes",
    "best",
    "fixed",
    "latest",
    "of_all",
    "profile",
    "read",
    "speedup",
    "without_timings",
    "write",
]
