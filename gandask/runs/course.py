"""What lists of many runs tell of each by round: its best score, and what its first slot accepted.

Both are read without a Dataset.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gandask import results
from gandask.core.journal import Bookmark
from gandask.runs.opened import Run

Taker = Callable[[int, str, Any], None]
"""Takes what there is of a round: the first slot it is of, and values."""


class ScoreCourse:
    """What a run came to by round; `look` reads what was added.

    Parameters
    ----------
    path : Path
        Of the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = ""
        self.points: dict[int, float] = {}
        self.first = ""  # the slot that samples are shown of: those of all would take much memory
        self.accepted: set[int] = set()
        self._read_until = Bookmark()
        self._seen: Any = None

    def look(self) -> dict[int, float]:
        """Read what was added since the last look, and give the best score by round.

        Rounds that nothing was scored in are left out.

        Raises
        ------
        StoreError
            If the run cannot be read.
        """
        run = Run(self.path)
        told = run.store.description
        seen = told["writer"], told.get("settings"), told["state"] == "finished"
        if seen != self._seen or not (seen[2] or run.store.columns.goes_on(self._read_until)):
            self.points, self.accepted, self._read_until = {}, set(), Bookmark()
        self.name = str(told["facts"].get("score", ""))
        takers = self._takers(run)
        if not seen[2]:
            self._read_steps(run, takers)
        elif seen != self._seen:
            self._read_dataset(run, takers)
        self._seen = seen
        return self.points

    def accepts(self, slot: str, round: int) -> bool:
        """Tell whether what the first slot made in a round was its own from then on.

        So is what it began with, and everything where a method refuses nothing.
        """
        return round == 0 or slot != self.first or round in self.accepted

    def _takers(self, run: Run) -> dict[str, Taker]:
        """Say what becomes of what slots came to in a round, by the variables that are read."""
        layout = run.layout
        takers: dict[str, Taker] = {}
        score = layout.variables.get(self.name)
        if score is not None and score.better and score.by_round:
            takers[self.name] = functools.partial(self._take, score.better)
        self.first = ""
        for name, variable in layout.variables.items():
            if "accepted" in variable.shown and variable.by_round and variable.role:
                self.first = layout.roles[variable.role].slots[0]
                takers[name] = self._accept
        return takers

    def _read_steps(self, run: Run, takers: Mapping[str, Taker]) -> None:
        """Read the steps of a run that is not finished."""

        def take(told: Mapping[str, Any]) -> None:
            for table in told["records"]:
                for name, taken in takers.items():
                    rows = table["values"].get(name, ())
                    for slot, round, row in zip(table["slot"], table["round"], rows, strict=False):
                        taken(int(round), slot, row)

        for _ in run.store.columns.read(take, self._read_until):
            pass

    def _read_dataset(self, run: Run, takers: Mapping[str, Taker]) -> None:
        """Read the variables alone from the Dataset of a finished run."""
        for name, taken in takers.items():
            values = results.read_values(run.store.path / "dataset.zarr", name)
            for round, row in enumerate(values, start=1):
                taken(round, self.first, row)

    def _accept(self, round: int, slot: str, values: Any) -> None:
        if slot == self.first and np.ravel(values)[0]:
            self.accepted.add(round)

    def _take(self, better: str, round: int, slot: str, values: Any) -> None:
        known = [self.points.get(round, math.nan), *np.ravel(values)]
        best = results.best_of(np.array(known, float), better)
        if best is not None:
            self.points[round] = best
