"""Where tasks are performed: in this process, or on the workers of a Dask cluster.

Both keep the states by name as futures, and give reports back. The serial one is the debugger's
friend and the oracle of the other: the same tasks on the same states give the same numbers.
"""

from __future__ import annotations

import collections
import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import dask

from gandask.core import Report, Stage, State, Task, TaskError, perform

if TYPE_CHECKING:
    from distributed import Client, Future


class Executor(Protocol):
    """What `run` asks of the place where tasks are performed."""

    def submit(self, stage: Stage) -> list[int]:
        """Begin independent tasks, on the states as they are now; give a number for each."""

    def next_reports(self) -> dict[int, Report]:
        """Wait for at least one report, and give all that have arrived by number."""

    def keep(self, names: Iterable[str]) -> None:
        """Drop every state but these."""

    def cancel(self) -> None:
        """Drop everything, states and tasks under way."""


class Serial:
    """Perform tasks one after the other in this process, in the order they were submitted."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
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
        return numbers

    def next_reports(self) -> dict[int, Report]:
        """Perform the next task."""
        number, task, reads, places = self.queue.popleft()
        states, report = perform(
            task.function,
            task.slot,
            task.round,
            task.writes,
            task.arguments,
            *(state for place in reads for state in place),
            seed=self.seed,
        )
        for place, state in zip(places, states, strict=True):
            place.append(state)
        return {number: report}

    def keep(self, names: Iterable[str]) -> None:
        """Drop every state but these."""
        self.states = {name: self.states[name] for name in names}

    def cancel(self) -> None:
        """Drop everything."""
        self.states.clear()
        self.queue.clear()


@dataclass(frozen=True)
class Work:
    """A task as it travels to a worker; `keys` are those of the states it reads."""

    task: Task
    seed: int
    keys: tuple[str, ...]


class Distributed:
    """Perform tasks on a Dask cluster; states stay on the worker that made them.

    A task becomes one Dask task that returns states and report together, and small ones that pick
    them apart beside it, so that each travels only where it is read.
    """

    def __init__(self, client: Client, seed: int) -> None:
        from distributed import as_completed

        self.client, self.seed = client, seed
        self.states: dict[str, Future] = {}
        self.homes: dict[str, str] = {}
        self.token = uuid.uuid4().hex[:8]
        self.numbers = itertools.count()
        self.under_way: dict[Future, int] = {}
        self.arriving = as_completed(loop=client.loop)

    def submit(self, stage: Stage) -> list[int]:
        """Send independent tasks to the workers that hold their slots, in one graph."""
        if not stage:
            return []
        self._find_homes([task.slot for task in stage])
        graph: dict[str, Any] = {}
        where: dict[str, tuple[str, bool]] = {}
        written: dict[str, str] = {}
        reports = []
        for task in stage:
            part, report, states = self._graph(task)
            graph |= part
            where |= dict.fromkeys(part, (task.pin or self.homes[task.slot], task.pin is None))
            written |= states
            reports.append(report)
        futures = self._send(graph, where, [*reports, *written.values()])
        self.states |= {name: futures[key] for name, key in written.items()}
        begun = {futures[key]: number_of(key) for key in reports}
        self.under_way |= begun
        self.arriving.update(begun)
        return list(begun.values())

    def next_reports(self) -> dict[int, Report]:
        """Wait for at least one report, and fetch all that have arrived."""
        from distributed import KilledWorker

        done = self.arriving.next_batch()
        try:
            reports = self.client.gather(done)
        except KilledWorker as error:
            raise TaskError(
                f"a task took down every worker that tried it, which is what running out of "
                f"memory looks like; see the workers' logs ({error})"
            ) from error
        return {self.under_way.pop(f): r for f, r in zip(done, reports, strict=True)}

    def keep(self, names: Iterable[str]) -> None:
        """Drop every state but these."""
        self.states = {name: self.states[name] for name in names}

    def cancel(self) -> None:
        """Drop everything, states and tasks under way."""
        self.arriving.clear()
        self.under_way.clear()
        self.states.clear()

    def _graph(self, task: Task) -> tuple[dict[str, Any], str, dict[str, str]]:
        """Write a task as Dask tasks; give the keys of its report and of the states it writes."""
        number = next(self.numbers)
        key = f"{name_of(task)}-{self.token}-{number}"
        report = f"report-{self.token}-{number}"
        written = {name: f"state-{self.token}-{number}-{i}" for i, name in enumerate(task.writes)}
        futures = [read(self.states, name, task) for name in task.reads]
        work = Work(task, self.seed, tuple(future.key for future in futures))
        graph: dict[str, Any] = {key: (perform_on_worker, work, *futures)}
        graph[report] = (pick_report, key)
        graph |= {state: (pick_state, key, i) for i, state in enumerate(written.values())}
        return graph, report, written

    def _send(
        self, graph: dict[str, Any], where: Mapping[str, tuple[str, bool]], keys: list[str]
    ) -> dict[str, Future]:
        """Submit a graph in one message, each key to its worker."""
        # picking apart goes first, so that reports do not wait for the worker's other tasks
        with dask.annotate(
            workers=lambda key: where[key][0],
            allow_other_workers=lambda key: where[key][1],
            priority=lambda key: int(key.startswith(("report-", "state-"))),
        ):
            return dict(zip(keys, self.client.get(graph, keys, sync=False), strict=True))

    def _find_homes(self, slots: Sequence[str]) -> None:
        """Give every slot a living worker."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        while not workers:
            self.client.wait_for_workers(1)
            workers = self.client.scheduler_info(n_workers=-1)["workers"]
        threads = {address: info["nthreads"] for address, info in workers.items()}
        self.homes = place([*self.homes, *slots], threads, self.homes)


def place(
    slots: Sequence[str], threads: Mapping[str, int], homes: Mapping[str, str]
) -> dict[str, str]:
    """Give each slot a worker: the one it had, unless that is gone or has more than its share.

    Slots without one fill up workers in order, so that neighbours tend to share a worker.

    Examples
    --------
    >>> place(["a", "b", "c"], {"w": 1, "v": 1}, {})
    {'a': 'w', 'b': 'w', 'c': 'v'}
    >>> place(["a", "b", "c"], {"v": 1}, {"c": "v"})
    {'c': 'v', 'a': 'v', 'b': 'v'}
    """
    distinct = list(dict.fromkeys(slots))
    total = sum(threads.values())
    room = {worker: -(-len(distinct) * count // total) for worker, count in threads.items()}
    placed: dict[str, str] = {}
    for slot in distinct:
        home = homes.get(slot)
        if home is not None and room.get(home, 0) > 0:
            placed[slot] = home
            room[home] -= 1
    for slot in distinct:
        if slot not in placed:
            placed[slot] = next(worker for worker, left in room.items() if left > 0)
            room[placed[slot]] -= 1
    return placed


def perform_on_worker(work: Work, *states: State) -> tuple[tuple[State, ...], Report]:
    """Perform a task on a Dask worker, and tell what fetching its states took."""
    from distributed import get_worker

    worker, task = get_worker(), work.task
    keys = frozenset(work.keys)
    # the log is in order of time, and holds a few entries per task
    fetched = [entry for entry in list(worker.transfer_incoming_log) if keys & entry["keys"].keys()]
    seconds = union_length([(entry["start"], entry["stop"]) for entry in fetched])
    size = sum(entry["keys"][key] for entry in fetched for key in keys & entry["keys"].keys())
    return perform(
        task.function,
        task.slot,
        task.round,
        task.writes,
        task.arguments,
        *states,
        seed=work.seed,
        worker=str(worker.name),
        gather=(seconds, size),
    )


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


def number_of(key: str) -> int:
    """Give the number of the task that a report's key belongs to."""
    return int(key.rpartition("-")[2])


def name_of(task: Task) -> str:
    """Name a task by its function, as Dask's dashboard will."""
    return str(getattr(task.function, "__name__", type(task.function).__name__))


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
