"""The best score of a run by round: read without a Dataset, for lists of many runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gandask import results
from gandask.core import Variable
from gandask.core.journal import Bookmark
from gandask.runs.opened import Run


class ScoreCourse:
    """The best score of a run by round; `look` reads what was added.

    Parameters
    ----------
    path : Path
        Of the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = ""
        self.points: dict[int, float] = {}
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
            self.points, self._read_until = {}, Bookmark()
        self.name = str(told["facts"].get("score", ""))
        variable = run.layout.variables.get(self.name)
        if variable is None or not (variable.better and variable.by_round):
            return self.points
        if not seen[2]:
            self._read_steps(run, variable)
        elif seen != self._seen:
            self._read_dataset(run, variable)
        self._seen = seen
        return self.points

    def _read_steps(self, run: Run, variable: Variable) -> None:
        """Read the steps of a run that is not finished."""

        def take(told: Mapping[str, Any]) -> None:
            for table in told["records"]:
                values = table["values"].get(self.name, ())
                for round, value in zip(table["round"], values, strict=False):
                    self._take(int(round), value, variable.better)

        for _ in run.store.columns.read(take, self._read_until):
            pass

    def _read_dataset(self, run: Run, variable: Variable) -> None:
        """Read the variable alone from the Dataset of a finished run."""
        values = results.read_values(run.store.path / "dataset.zarr", self.name)
        for round, row in enumerate(values, start=1):
            self._take(round, row, variable.better)

    def _take(self, round: int, values: Any, better: str) -> None:
        known = [self.points.get(round, math.nan), *np.ravel(values)]
        best = results.best_of(np.array(known, float), better)
        if best is not None:
            self.points[round] = best
