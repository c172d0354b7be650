"""What a Dask worker is sent: a task and how to perform it there."""

from __future__ import annotations

import itertools
import time
import weakref
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gandask.core import Report, Signal, State, Task, perform

EVERY = 0.5  # seconds between two signals of a task's progress


@dataclass(frozen=True)
class Work:
    """A task as it travels to a worker.

    Parameters
    ----------
    task : Task
    seed : int
    key : str
        Its own, which its signals carry.
    topic : str
        Dask's topic that the signals are sent on.
    reads : tuple of str
        Keys of the states it reads.
    """

    task: Task
    seed: int
    key: str
    topic: str
    reads: tuple[str, ...]


def perform_on_worker(work: Work, *states: State) -> tuple[tuple[State, ...], Report]:
    """Perform a task on a Dask worker, and tell what fetching its states took."""
    from distributed import get_worker

    worker, task = get_worker(), work.task
    telling = Telling(worker, work)
    telling.tell(0.0)
    fetched = _fetched.setdefault(worker, Fetched())
    gather = fetched.take(list(worker.transfer_incoming_log), work.reads, worker.data)
    return perform(
        task.function,
        task.slot,
        task.round,
        task.writes,
        task.arguments,
        *states,
        seed=work.seed,
        worker=str(worker.name),
        gather=gather,
        listener=telling,
    )


class Fetched:
    """What a worker has fetched from others: each time and size is told once.

    The first task that reads a state waited for it; those after it find it there.
    """

    def __init__(self) -> None:
        self.last: Mapping[str, Any] | None = None
        self.untold: dict[str, tuple[float, float, int]] = {}

    def take(
        self, log: Sequence[Mapping[str, Any]], reads: Sequence[str], held: Container[str]
    ) -> tuple[float, int]:
        """Give seconds and bytes that fetching `reads` took, as far as nobody was told.

        Parameters
        ----------
        log : sequence of mapping
            Dask's log of what came in, the last at the end.
        reads : sequence of str
            Keys that a task reads.
        held : container of str
            Keys that the worker has; what is gone will not be asked for.
        """
        # of a long run, the log is long
        new = list(itertools.takewhile(lambda entry: entry is not self.last, reversed(log)))
        self.last = new[0] if new else self.last
        for entry in reversed(new):
            for key, size in entry["keys"].items():
                self.untold[key] = entry["start"], entry["stop"], size
        found = [self.untold.pop(key) for key in reads if key in self.untold]
        self.untold = {key: told for key, told in self.untold.items() if key in held}
        return union_length([(start, stop) for start, stop, _ in found]), sum(f[2] for f in found)


_fetched: weakref.WeakKeyDictionary[Any, Fetched] = weakref.WeakKeyDictionary()


class Telling:
    """Tell the client how far a task is, now and then."""

    def __init__(self, worker: Any, work: Work) -> None:
        self.worker, self.work = worker, work
        self.last = 0.0

    def __call__(self, fraction: float) -> None:
        """Tell the fraction done, if it is time to."""
        if time.monotonic() - self.last > EVERY:
            self.tell(fraction)

    def tell(self, fraction: float) -> None:
        """Tell the fraction done."""
        self.last = time.monotonic()
        signal = signal_of(self.work.task, "running", self.work.key, self.worker.address, fraction)
        self.worker.log_event(self.work.topic, asdict(signal))


def signal_of(task: Task, state: str, key: str, worker: str, fraction: float = 0.0) -> Signal:
    """Make a signal of a task."""
    return Signal(state, key, task.slot, task.round, name_of(task), worker, fraction)


def union_length(intervals: Sequence[tuple[float, float]]) -> float:
    """Measure the time that intervals cover, counting overlaps once.

    Examples
    --------
    >>> union_length([(0, 2), (1, 3), (5, 6)])
    4.0
    """
    covered, end = 0.0, float("-inf")
    for start, stop in sorted(intervals):
        covered += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return covered


def pick_report(performed: tuple[tuple[State, ...], Report]) -> Report:
    """Give a task's report alone."""
    return performed[1]


def pick_state(performed: tuple[tuple[State, ...], Report], index: int) -> State:
    """Give one of a task's states alone."""
    return performed[0][index]


def name_of(task: Task) -> str:
    """Name a task by its function, as Dask's dashboard will."""
    return str(getattr(task.function, "__name__", type(task.function).__name__))
