"""Runs that are stored: opened, or followed as they are written."""

from gandask.runs.joined import open_runs
from gandask.runs.opened import Run, open_run

__all__ = ["Run", "open_run", "open_runs"]
