"""What a Dask worker is sent: tasks and how to perform them there."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import weakref
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gandask.core import Array, Signal, State, Task
from gandask.execution.dask_internals import incoming
from gandask.execution.perform import Around, Outcomes, perform_all

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
    reach : optional
        What the run keeps up for its tasks.
    """

    task: Task
    seed: int
    key: str
    topic: str
    reads: tuple[str, ...]
    reach: Any = None

    def __dask_tokenize__(self) -> str:
        """Stand for the work by its key: Dask would look into every argument of every task."""
        return self.key


def perform_on_worker(works: Sequence[Work], at_once: bool, *states: State) -> Outcomes:
    """Perform tasks on a Dask worker.

    Parameters
    ----------
    works : sequence of Work
        Usually one; several where they take less time than Dask takes to hand them out, or can be
        performed together.
    at_once : bool
        Whether to perform them at once, by the form that they have for that.
    *states
        Those that the first reads, then those that the next one reads, and so on.
    """
    from distributed import get_worker

    worker, given = get_worker(), iter(states)
    log, held = incoming(worker)
    fetched = _fetched.setdefault(worker, Fetched())
    telling = Telling(worker, works)
    try:
        return perform_all(
            [work.task for work in works],
            [tuple(itertools.islice(given, len(work.reads))) for work in works],
            telling.tell,
            seed=works[0].seed,
            worker=str(worker.name),
            gather=[fetched.take(log, work.reads, held) for work in works],
            at_once=at_once,
            around=Around(works[0].reach, apart_from_others),
        )
    finally:
        telling.send()


@contextlib.contextmanager
def apart_from_others() -> Iterator[None]:
    """Leave the worker's thread to other tasks while this one waits."""
    from distributed import rejoin, secede

    secede()
    try:
        yield
    finally:
        rejoin()


class Fetched:
    """What a worker has fetched from others: each time and size is told once.

    The first task that reads a state waited for it; those after it find it there.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()  # a worker may have several threads
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
        with self.lock:
            return self._taken(log, reads, held)

    def _taken(
        self, log: Sequence[Mapping[str, Any]], reads: Sequence[str], held: Container[str]
    ) -> tuple[float, int]:
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
    """Tell the client how far tasks are, now and then: at once when the first begins."""

    def __init__(self, worker: Any, works: Sequence[Work]) -> None:
        self.worker, self.works = worker, works
        self.last = float("-inf")
        self.untold: list[tuple[float, Signal]] = []  # with their times

    def tell(self, part: slice, state: str, fraction: float) -> None:
        """Tell how far tasks are, if it is time to; when they begin and end is never left out."""
        now = time.monotonic()
        due = now - self.last > EVERY
        if due or fraction == 0 or state == "ended":
            address = self.worker.address
            self.untold += [
                (now, signal_of(work.task, state, work.key, address, fraction))
                for work in self.works[part]
            ]
        if due:
            self.send()

    def send(self) -> None:
        """Send what was not told."""
        now = self.last = time.monotonic()
        if self.untold:
            told = [vars(signal) | {"age": now - then} for then, signal in self.untold]
            self.worker.log_event(self.works[0].topic, told)
        self.untold = []


def signal_of(task: Task, state: str, key: str, worker: str, fraction: float = 0.0) -> Signal:
    """Make a signal of a task."""
    return Signal(state, key, task.slot, task.round, task.name, worker, fraction)


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


def pick_reports(performed: Outcomes) -> Outcomes:
    """Give what tasks came to without their states."""
    return [((), report) for _, report in performed]


class Whole(dict[str, Array]):
    """A state that Dask sends as a whole: of a dict, each array would get a header of its own."""


def pick_state(performed: Outcomes, position: int, index: int) -> State:
    """Give one of the states of one task alone."""
    return Whole(performed[position][0][index])
