"""What a run asks of the place where tasks are performed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from gandask.core import Report, Signal, Stage, Task, TaskError
from gandask.execution.heartbeat import Watchable

Listener = Callable[[Signal], None]
T = TypeVar("T")


class Executor(Watchable, Protocol):
    """Keeps states by name, performs tasks on them, and gives reports back."""

    def submit(self, *plan: Stage) -> list[int]:
        """Begin the tasks of a plan, stage by stage, on the states as they are; number them."""

    def next_reports(self) -> dict[int, Report]:
        """Wait for reports, and give all that have arrived by number; none after a nudge."""

    def keep(self, names: Iterable[str]) -> None:
        """Drop every state but these."""

    def drop(self) -> None:
        """Drop tasks under way, and what they would write; the other states stay."""

    def cancel(self) -> None:
        """Drop everything, states and tasks under way."""

    def hedge(self, delayed: Signal) -> str:
        """Perform a task under way once more, elsewhere; name that worker, or nothing."""


def read(states: Mapping[str, T], name: str, task: Task) -> T:
    """Find a state by name.

    Raises
    ------
    TaskError
        If no task has written it.
    """
    if name not in states:
        raise TaskError(
            f"{task.name} of {task.slot}, round {task.round}, reads the state {name!r}, which "
            f"no task has written; there are: {', '.join(sorted(states))}"
        )
    return states[name]
