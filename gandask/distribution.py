"""Tasks on the workers of a Dask cluster: the executor that knows Dask."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import operator
import queue
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dask

from gandask.core import ClusterError, Report, Signal, Stage, Task, TaskError
from gandask.executors import Tell, read
from gandask.heartbeat import Heard
from gandask.worker import Work, name_of, perform_on_worker, pick_report, pick_state, signal_of

if TYPE_CHECKING:
    from distributed import Client, Future


@dataclass
class Sent:
    """A task under way: what it reads, and its copies: usually one, two when hedged."""

    task: Task
    reads: list[Future]
    copies: list[Copy] = field(default_factory=list)


@dataclass(frozen=True)
class Copy:
    """One copy of a task: its key, its futures, and the worker it was sent to."""

    key: str
    report: Future
    states: Mapping[str, Future]
    worker: str


class Distributed:
    """Perform tasks on a Dask cluster; states stay on the worker that made them.

    A task becomes one Dask task that returns states and report together, and small ones that pick
    them apart beside it, so that each travels only where it is read.
    """

    def __init__(self, client: Client, seed: int, tell: Tell = lambda signal: None) -> None:
        self.client, self.seed, self.tell = client, seed, tell
        self.states: dict[str, Future] = {}
        self.homes: dict[str, str] = {}
        self.token = uuid.uuid4().hex[:8]
        self.topic = f"gandask-{self.token}"
        self.numbers, self.keys = itertools.count(), itertools.count()
        self.under_way: dict[int, Sent] = {}
        # numbers with the future of their report, and None after a nudge
        self.arriving: queue.SimpleQueue[tuple[int, Future] | None] = queue.SimpleQueue()
        self.last_seen: dict[str, tuple[float, float]] = {}
        self.anchors: dict[str, Future] = {}
        from distributed import span

        client.subscribe_topic(self.topic, self._heard_of_progress)
        # one span for the whole run: otherwise the scheduler remembers one for every graph
        with span(self.topic):
            self.span = dask.get_annotations()["span"]
        self.hear()

    def submit(self, stage: Stage) -> list[int]:
        """Send independent tasks to the workers that hold their slots, in one graph."""
        if not stage:
            return []
        reads = [[read(self.states, name, task) for name in task.reads] for task in stage]
        sent = {
            next(self.numbers): Sent(task, futures)
            for task, futures in zip(stage, reads, strict=True)
        }
        with reaching_the_scheduler(self.client):
            self._find_homes([task.slot for task in stage])
            self._send(
                sent, {number: self.homes.get(s.task.slot, "") for number, s in sent.items()}
            )
        for one in sent.values():
            self.states |= one.copies[0].states
        self.under_way |= sent
        return list(sent)

    def next_reports(self) -> dict[int, Report]:
        """Wait for at least one report or a nudge, and fetch all that have arrived."""
        arrived = [self.arriving.get()]
        while not self.arriving.empty():
            arrived.append(self.arriving.get())
        # of two copies of a task, the first counts
        done: dict[int, Future] = {}
        for number, future in filter(None, arrived):
            if number in self.under_way:
                done.setdefault(number, future)
        with reaching_the_scheduler(self.client):
            reports = self.client.gather(list(done.values()))
        for number, future in done.items():
            self._settle(self.under_way.pop(number), future)
        return dict(zip(done, reports, strict=True))

    def keep(self, names: Iterable[str]) -> None:
        """Drop every state but these."""
        self.states = {name: self.states[name] for name in names}

    def cancel(self) -> None:
        """Drop everything, states and tasks under way."""
        self.under_way.clear()
        self.states.clear()
        self.anchors.clear()
        with contextlib.suppress(ClusterError), reaching_the_scheduler(self.client):
            self.client.unsubscribe_topic(self.topic)

    def hear(self) -> Mapping[str, Heard]:
        """Give the workers by address, with the seconds since each last spoke to the scheduler."""
        with reaching_the_scheduler(self.client):
            told = self.client.run_on_scheduler(tend)
        now = time.monotonic()
        heard = {}
        for address, (name, last_seen) in told.items():
            # the scheduler's clock may differ from ours: only whether it has moved on counts
            if self.last_seen.get(address, (None, 0.0))[0] != last_seen:
                self.last_seen[address] = (last_seen, now)
            heard[address] = Heard(name, now - self.last_seen[address][1])
        return heard

    def nudge(self) -> None:
        """Let `next_reports` return, from another thread."""
        self.arriving.put(None)

    def give_up(self, worker: str) -> None:
        """Make the scheduler forget a worker: what it was doing begins again elsewhere."""
        with reaching_the_scheduler(self.client):
            self.client.run_on_scheduler(forget_worker, worker)

    def hedge(self, key: str) -> str:
        """Perform a task under way once more on the worker with least to do; name that worker."""
        found = [n for n, s in self.under_way.items() if key in [copy.key for copy in s.copies]]
        with reaching_the_scheduler(self.client):
            workers = self._workers()
        if not found or len(self.under_way[found[0]].copies) > 1:
            return ""
        sent = self.under_way[found[0]]
        elsewhere = workers.keys() - {sent.copies[0].worker}
        if not elsewhere or sent.task.pin is not None:
            return ""
        busy = collections.Counter(one.copies[0].worker for one in self.under_way.values())
        chosen = min(sorted(elsewhere), key=lambda address: busy[address])
        with reaching_the_scheduler(self.client):
            self._send({found[0]: sent}, {found[0]: chosen})
        return str(workers[chosen]["name"])

    def _send(self, tasks: Mapping[int, Sent], homes: Mapping[int, str]) -> None:
        """Submit tasks as one graph in one message, each to its worker; note the copies."""
        graph: dict[str, Any] = {}
        where: dict[str, tuple[list[str], bool]] = {}
        parts: dict[int, tuple[str, str, dict[str, str]]] = {}
        for number, sent in tasks.items():
            key, report, states = self._keys(sent.task)
            reads = tuple(future.key for future in sent.reads)
            work = Work(sent.task, self.seed, key, self.topic, reads)
            part: dict[str, Any] = {key: (perform_on_worker, work, *sent.reads)}
            part[report] = (pick_report, key)
            part |= {state: (pick_state, key, i) for i, state in enumerate(states.values())}
            graph |= part
            home = sent.task.pin or homes[number]
            where |= dict.fromkeys(part, ([home] if home else [], sent.task.pin is None))
            parts[number] = key, report, states
            self.tell(signal_of(sent.task, "sent", key, homes[number]))
        wanted = [k for _, report, states in parts.values() for k in (report, *states.values())]
        anchors = self._anchors({name_of(sent.task) for sent in tasks.values()})
        graph |= anchors
        where |= dict.fromkeys(anchors, ([], True))
        wanted += anchors
        # picking apart goes first, so that reports do not wait for the worker's other tasks
        with dask.annotate(
            workers=lambda key: where[key][0],
            allow_other_workers=lambda key: where[key][1],
            priority=lambda key: int(key.startswith(("report-", "state-"))),
            span=self.span,
        ):
            futures = dict(zip(wanted, self.client.get(graph, wanted, sync=False), strict=True))
        self.anchors |= {key: futures[key] for key in anchors}
        for number, (key, report, states) in parts.items():
            made = {name: futures[state] for name, state in states.items()}
            tasks[number].copies.append(Copy(key, futures[report], made, homes[number]))
            arrive = functools.partial(self._arrive, number)
            futures[report].add_done_callback(arrive)

    def _anchors(self, names: set[str]) -> dict[str, Any]:
        """Make a task to be kept for each name that is new.

        The scheduler groups tasks by name, and remembers a group more whenever all tasks of the
        last one are gone: it would grow with every round.
        """
        keys = [f"{name}-{self.token}-anchor" for name in {"report", "state", *names}]
        return {key: (tuple,) for key in keys if key not in self.anchors}

    def _keys(self, task: Task) -> tuple[str, str, dict[str, str]]:
        """Make the keys of a task, of its report, and of the states it writes."""
        number = next(self.keys)
        states = {name: f"state-{self.token}-{number}-{i}" for i, name in enumerate(task.writes)}
        return f"{name_of(task)}-{self.token}-{number}", f"report-{self.token}-{number}", states

    def _arrive(self, number: int, future: Future) -> None:
        self.arriving.put((number, future))

    def _settle(self, sent: Sent, reported: Future) -> None:
        """Take the states of the copy that reported, and forget the other."""
        for copy in sent.copies:
            first = copy.report is reported
            self.tell(signal_of(sent.task, "reported" if first else "dropped", copy.key, ""))
            if first and copy is not sent.copies[0]:
                self.homes[sent.task.slot] = copy.worker
                for name, future in copy.states.items():
                    if self.states.get(name) is sent.copies[0].states[name]:
                        self.states[name] = future

    def _heard_of_progress(self, event: tuple[float, dict[str, Any]]) -> None:
        self.tell(Signal(**event[1]))

    def _workers(self) -> dict[str, Any]:
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def _find_homes(self, slots: Sequence[str]) -> None:
        """Give every slot a living worker; without any, the first to come takes what waits."""
        threads = {address: info["nthreads"] for address, info in self._workers().items()}
        self.homes = place([*self.homes, *slots], threads, self.homes) if threads else {}


@contextlib.contextmanager
def reaching_the_scheduler(client: Client) -> Iterator[None]:
    """Say in our own words what Dask raises when scheduler or workers are lost.

    Raises
    ------
    ClusterError
        If the scheduler cannot be reached, or has no gandask.
    TaskError
        If a task took its workers down with it.
    """
    from concurrent.futures import CancelledError

    from distributed import KilledWorker
    from distributed.client import ClosedClientError

    try:
        yield
    except KilledWorker as error:
        raise TaskError(
            f"a task took down every worker that tried it, which is what running out of "
            f"memory looks like; see the workers' logs ({error})"
        ) from error
    except ModuleNotFoundError as error:
        raise ClusterError(
            f"the scheduler lacks what the client has ({error}): start it from the same environment"
        ) from error
    except (CancelledError, ClosedClientError, OSError) as error:
        raise ClusterError(
            f"the scheduler cannot be reached any more ({type(error).__name__}: {error}); a run "
            "with a store continues from its last checkpoint: gandask resume DIR"
        ) from error


def tend(dask_scheduler: Any) -> dict[str, tuple[str, float]]:
    """Give a scheduler's workers by address: name, and when each was last heard from.

    On the way, free waiting tasks of workers that are gone, where others would do. Dask does so as
    long as there is a worker; a task that came to wait without any stays bound to the address it
    was sent to, for ever.
    """
    bound = [
        task
        for task in dask_scheduler.unrunnable
        if task.loose_restrictions and not dask_scheduler.valid_workers(task)
    ]
    for task in bound:
        task.worker_restrictions = set()
    # taken up from the last to the first
    bound.sort(key=operator.attrgetter("priority"), reverse=True)
    freed = {task.key: "processing" for task in bound}
    dask_scheduler.transitions(freed, stimulus_id="gandask-heartbeat")
    return {
        address: (str(worker.name), worker.last_seen)
        for address, worker in dask_scheduler.workers.items()
    }


async def forget_worker(worker: str, dask_scheduler: Any) -> None:
    """Make a scheduler forget a worker that does not answer, as its own time-out would."""
    await dask_scheduler.remove_worker(worker, stimulus_id="gandask-heartbeat")


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
