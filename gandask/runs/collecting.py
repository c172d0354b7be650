"""The Dataset of a run that is being written, or broke off: collected from its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gandask.core import Event, Layout
from gandask.core.journal import Bookmark
from gandask.results import Results
from gandask.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr


class Collected:
    """What is known of an unfinished run; `read` adds what was written since.

    Parameters
    ----------
    store : Store
    layout : Layout
        Of its result.
    rounds : int
        Number of rounds in the end, or the most there can be.
    """

    def __init__(self, store: Store, layout: Layout, rounds: int) -> None:
        self.store = store
        self.results = Results(layout, rounds)
        self.steps, self.happened = Bookmark(), Bookmark()
        self.noted: list[Event] = []

    @property
    def goes_on(self) -> bool:
        """Whether the steps are still those that were read, and perhaps more."""
        return self.store.columns.goes_on(self.steps)

    def read(self) -> None:
        """Read what was added.

        Raises
        ------
        StoreError
            If a line is damaged.
        """
        for _ in self.store.columns.read(self.results.take, self.steps):
            pass
        self.noted += self.store.noted(self.happened)

    def dataset(self, attributes: Mapping[str, Any]) -> xr.Dataset:
        """Give the rounds read so far."""
        return self.results.dataset(attributes, self.noted)
