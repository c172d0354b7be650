"""Following runs as they are written: each look reads what was added, for all who watch."""

from __future__ import annotations

import functools
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandask import results
from gandask.core import Event, StoreError
from gandask.results import Results
from gandask.runs import Run
from gandask.store.journal import Place

if TYPE_CHECKING:
    import xarray as xr

PATIENCE = 0.4  # seconds within which one look serves all who watch


class Followed:
    """A run that is watched, finished or being written; `look` before reading anything else.

    Parameters
    ----------
    path : Path
        Its store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version = 0
        self.looked = -PATIENCE
        self.seen: Any = None
        self.failure: StoreError | None = None
        self.run: Run
        self.told: dict[str, Any] = {}
        self.state = ""
        self.collected: Results | None = None
        self.steps, self.happened = Place(), Place()
        self.noted: list[Event] = []

    def look(self) -> int:
        """Read what was added since the last look.

        Returns
        -------
        int
            The version of what is known: another one when something has changed.

        Raises
        ------
        StoreError
            If there is no run, or it cannot be read.
        """
        if time.monotonic() - self.looked >= PATIENCE:
            self.looked = time.monotonic()
            try:
                self._look()
                self.failure = None
            except StoreError as error:
                self.seen, self.failure = None, error
        if self.failure is not None:
            raise self.failure
        return self.version

    @functools.cached_property
    def ds(self) -> xr.Dataset:
        """The rounds known at the last look."""
        if self.collected is None:
            return self.run.ds
        told = results.attributes(self.run.method, self.told["facts"])
        return self.collected.dataset(told, self.noted)

    @property
    def rounds(self) -> int:
        """Number of rounds in the end, or the most there can be."""
        return self.collected.rounds if self.collected else int(self.ds.sizes["round"])

    def _look(self) -> None:
        # a run begun anew under the same name is another one
        run = self.run if self.seen is not None else Run(self.path)
        told, state = run.store.description, run.state
        done = state == "finished"
        sizes = () if done else (run.store.columns.size, run.store.happened.size)
        seen = (told["writer"], told.get("settings"), state, told["round"], sizes)
        if seen == self.seen:
            return
        anew = self.seen is None or self.seen[:2] != seen[:2]
        anew = anew or not (done or run.store.columns.goes_on(self.steps))
        self.run, self.told, self.state = run, told, state
        if anew:
            self._begin()
        if self.collected is not None:
            for _ in run.store.columns.read(self.collected.take, self.steps):
                pass
            self.noted += run.store.noted(self.happened)
        self.__dict__.pop("ds", None)
        self.seen = seen
        self.version += 1

    def _begin(self) -> None:
        """Forget all rounds; those of a finished run are in its Dataset."""
        self.steps, self.happened, self.noted = Place(), Place(), []
        method = self.run.method
        done = self.state == "finished"
        self.collected = None if done else Results(method.layout(), method.rounds)


_followed: weakref.WeakValueDictionary[Path, Followed] = weakref.WeakValueDictionary()


def follow(path: Path) -> Followed:
    """Give the one follower of a run in this process, however many watch it."""
    resolved = path.resolve()
    found = _followed.get(resolved)
    if found is None:
        found = _followed[resolved] = Followed(resolved)
    return found
