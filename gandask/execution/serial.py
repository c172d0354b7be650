"""Where tasks are performed: in this process, or on the workers of a Dask cluster.

Both keep the states by name as futures, and give reports back. The serial one is the debugger's
friend and the oracle of the other: the same tasks on the same states give the same numbers.
"""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from gandask.core import Report, Signal, Stage, State, Task, TaskError
from gandask.execution.heartbeat import Watchable
from gandask.execution.together import perform_all
from gandask.execution.worker import name_of, signal_of

Tell = Callable[[Signal], None]


class Executor(Watchable, Protocol):
    """What `run` asks of the place where tasks are performed."""

    def submit(self, stage: Stage) -> list[int]:
        """Begin independent tasks, on the states as they are now; give a number for each."""

    def next_reports(self) -> dict[int, Report]:
        """Wait for reports, and give all that have arrived by number; none after a nudge."""

    def keep(self, names: Iterable[str]) -> None:
        """Drop every state but these."""

    def cancel(self) -> None:
        """Drop everything, states and tasks under way."""

    def hedge(self, delayed: Signal) -> str:
        """Perform a task under way once more, elsewhere; name that worker, or nothing."""


class Serial:
    """Perform tasks one after the other in this process, in the order they were submitted."""

    def __init__(self, seed: int, tell: Tell = lambda signal: None) -> None:
        self.seed, self.tell = seed, tell
        self.states: dict[str, list[State]] = {}  # a list of one, empty until it is written
        self.queue: collections.deque[tuple[int, Task, list[list[State]], list[list[State]]]]
        self.queue = collections.deque()
        self.numbers = itertools.count()

    def submit(self, stage: Stage) -> list[int]:
        """Queue independent tasks, on the states as they are now; give a number for each."""
        numbers = []
        reads = [[read(self.states, name, task) for name in task.reads] for task in stage]
        for task, states in zip(stage, reads, strict=True):
            places: list[list[State]] = [[] for _ in task.writes]
            self.states |= dict(zip(task.writes, places, strict=True))
            numbers.append(next(self.numbers))
            self.queue.append((numbers[-1], task, states, places))
            self._tell("sent", numbers[-1], task)
        return numbers

    def next_reports(self) -> dict[int, Report]:
        """Perform the next task, or all that can be performed with it at once."""
        queued = [self.queue.popleft()]
        first = queued[0][1]
        # of the same stage: what a later one reads may not be written yet
        while (
            first.together
            and self.queue
            and self.queue[0][1].kind == first.kind
            and all(self.queue[0][2])
        ):
            queued.append(self.queue.popleft())
        numbers, tasks, reads, places = zip(*queued, strict=True)
        performed = perform_all(
            tasks,
            [[state for place in each for state in place] for each in reads],
            functools.partial(self._progress, numbers, tasks),
            seed=self.seed,
        )
        reports = {}
        for number, task, written, (states, report) in zip(
            numbers, tasks, places, performed, strict=True
        ):
            for place, state in zip(written, states, strict=True):
                place.append(state)
            self._tell("reported", number, task)
            reports[number] = report
        return reports

    def keep(self, names: Iterable[str]) -> None:
        """Drop every state but these."""
        self.states = {name: self.states[name] for name in names}

    def cancel(self) -> None:
        """Drop everything."""
        self.states.clear()
        self.queue.clear()

    def hear(self) -> None:
        """There are no workers."""

    def nudge(self) -> None:
        """Nothing waits here."""

    def give_up(self, worker: str) -> None:
        """There is no worker to do without."""

    def hedge(self, delayed: Signal) -> str:
        """There is nowhere else."""
        return ""

    def _progress(
        self, numbers: Sequence[int], tasks: Sequence[Task], part: slice, state: str, done: float
    ) -> None:
        for number, task in zip(numbers[part], tasks[part], strict=True):
            self._tell(state, number, task, done)

    def _tell(self, state: str, number: int, task: Task, fraction: float = 0.0) -> None:
        self.tell(signal_of(task, state, str(number), "client", fraction))


T = TypeVar("T")


def read(states: Mapping[str, T], name: str, task: Task) -> T:
    """Find a state by name.

    Raises
    ------
    TaskError
        If no task has written it: the method's plan is wrong.
    """
    if name not in states:
        raise TaskError(
            f"{name_of(task)} of {task.slot}, round {task.round}, reads the state {name!r}, which "
            f"no task has written; there are: {', '.join(sorted(states))}"
        )
    return states[name]
