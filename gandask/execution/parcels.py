"""How tasks travel: what is under way, in which copies, and which of Dask's tasks that makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gandask.core import Task
from gandask.execution.placement import Bundle
from gandask.execution.worker import Work, perform_on_worker, pick_reports, pick_state

if TYPE_CHECKING:
    from distributed import Future


@dataclass
class Sent:
    """A task under way: what it reads, and its copies: usually one, two when hedged."""

    task: Task
    reads: list[Future]
    copies: list[Copy] = field(default_factory=list)


@dataclass(frozen=True)
class Copy:
    """One copy of a task: its key, its futures, and the worker it was sent to, not always runs on.

    `reports` holds those of all tasks that were sent together, its own at `position`.
    """

    key: str
    reports: Future
    position: int
    states: Mapping[str, Future]
    worker: str


@dataclass(frozen=True)
class Parcel:
    """Tasks as they travel together, with the keys of their reports and of the states of each."""

    numbers: Bundle
    works: Sequence[Work]
    states: Sequence[Mapping[str, str]]
    reports: str
    at_once: bool

    @property
    def keys(self) -> list[str]:
        """Keys of what is picked apart."""
        return [self.reports, *(key for states in self.states for key in states.values())]

    def graph(self, inputs: Sequence[Future]) -> dict[str, Any]:
        """Make Dask's tasks: one that performs all, and those that pick its results apart."""
        whole = self.works[0].key
        made: dict[str, Any] = {whole: (perform_on_worker, list(self.works), self.at_once, *inputs)}
        if self.reports != whole:
            made[self.reports] = (pick_reports, whole)
        for position, states in enumerate(self.states):
            for index, key in enumerate(states.values()):
                made[key] = (pick_state, whole, position, index)
        return made
