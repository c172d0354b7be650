"""Tasks in this process: the debugger's friend, and the oracle of every other executor.

The same tasks on the same states give the same numbers.
"""

from __future__ import annotations

import collections
import functools
import itertools
from collections.abc import Iterable, Sequence

from gandask.core import Event, Report, Signal, Stage, State, Task
from gandask.execution.executor import Listener, read
from gandask.execution.perform import AROUND, Around, perform_all
from gandask.execution.worker import signal_of


class Serial:
    """Perform tasks one after the other in this process, in the order they were submitted."""

    def __init__(
        self, seed: int, tell: Listener = lambda signal: None, around: Around = AROUND
    ) -> None:
        self.seed, self.tell, self.around = seed, tell, around
        self.states: dict[str, list[State]] = {}  # a list of one, empty until it is written
        self.queue: collections.deque[tuple[int, Task, list[list[State]], list[list[State]]]]
        self.queue = collections.deque()
        self.numbers = itertools.count()
        self.better_together = False

    def submit(self, *plan: Stage) -> list[int]:
        """Queue the tasks of a plan, stage by stage, on the states as they are; number them."""
        return [number for stage in plan for number in self._queued(stage)]

    def _queued(self, stage: Stage) -> list[int]:
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
        """Perform the next task, or all that had better be performed with it at once."""
        queued = [self.queue.popleft()]
        first = queued[0][1]
        at_once = self.better_together and first.together is not None
        # of the same stage: what a later one reads may not be written yet
        while (
            at_once and self.queue and self.queue[0][1].kind == first.kind and all(self.queue[0][2])
        ):
            queued.append(self.queue.popleft())
        numbers, tasks, reads, places = zip(*queued, strict=True)
        performed = perform_all(
            tasks,
            [[state for place in each for state in place] for each in reads],
            functools.partial(self._progress, numbers, tasks),
            seed=self.seed,
            at_once=at_once,
            around=self.around,
        )
        reports = {}
        for number, task, written, (states, report) in zip(
            numbers, tasks, places, performed, strict=True
        ):
            for place, state in zip(written, states, strict=True):
                place.append(state)
            self._tell("reported", number, task)
            reports[number] = report
            self.better_together |= report.together
        return reports

    def keep(self, names: Iterable[str]) -> None:
        """Drop every state but these."""
        self.states = {name: self.states[name] for name in names}

    def drop(self) -> None:
        """Drop tasks that wait, and what they would write."""
        self.queue.clear()
        self.states = {name: place for name, place in self.states.items() if place}

    def cancel(self) -> None:
        """Drop everything."""
        self.states.clear()
        self.queue.clear()

    def hear(self) -> None:
        """There are no workers."""

    def happened(self) -> list[Event]:
        """Every place is here."""
        return []

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
