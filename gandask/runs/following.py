"""Following runs as they are written: each look reads what was added, for all who watch."""

from __future__ import annotations

import functools
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandask.core import StoreError
from gandask.runs.collecting import Collected
from gandask.runs.opened import Run

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
        self.collected: Collected | None = None
        self.attributes: dict[str, Any] = {}

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
        return self.collected.dataset(self.attributes)

    @property
    def rounds(self) -> int:
        """Number of rounds in the end, or the most there can be."""
        return self.collected.results.rounds if self.collected else int(self.ds.sizes["round"])

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
        anew = anew or done or self.collected is None or not self.collected.goes_on
        self.run, self.told, self.state = run, told, state
        if anew:
            self.attributes = run.attributes
            # the rounds of a finished run are in its Dataset
            self.collected = None if done else run.collected()
        if self.collected is not None:
            self.collected.read()
        self.__dict__.pop("ds", None)
        self.seen = seen
        self.version += 1


_followed: weakref.WeakValueDictionary[Path, Followed] = weakref.WeakValueDictionary()


def follow(path: Path) -> Followed:
    """Give the one follower of a run in this process, however many watch it."""
    resolved = path.resolve()
    found = _followed.get(resolved)
    if found is None:
        found = _followed[resolved] = Followed(resolved)
    return found
