"""Tasks on the workers of a Dask cluster."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import logging
import queue
import statistics
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dask

from gandask import extensions
from gandask.core import ClusterError, Event, Report, Signal, Stage, TaskError
from gandask.execution.dask_internals import (
    forget_worker,
    keep_copies,
    reaching_the_scheduler,
    span_of,
    tend,
)
from gandask.execution.executor import Listener, read
from gandask.execution.heartbeat import Heard
from gandask.execution.parcels import Copy, Parcel, Sent
from gandask.execution.perform import Outcomes
from gandask.execution.placement import Bundle, bundled, place, spent
from gandask.execution.places import Places
from gandask.execution.worker import Work, signal_of

if TYPE_CHECKING:
    from distributed import Client, Future

logger = logging.getLogger("gandask")


class Distributed:
    """Perform tasks on a Dask cluster; states stay on the worker that made them.

    A task becomes one Dask task that returns states and report together, and small ones that pick
    them apart beside it, if it writes any, so that each travels only where it is read. Short tasks
    of one worker share one Dask task.

    Parameters
    ----------
    client : Client
    seed : int
    tell : callable
        Takes signals.
    places : Places, optional
        Of slots that have one.
    reach : optional
        What the run keeps up for its tasks.
    """

    def __init__(
        self,
        client: Client,
        seed: int,
        tell: Listener = lambda signal: None,
        places: Places | None = None,
        reach: Any = None,
    ) -> None:
        self.client, self.seed, self.tell, self.reach = client, seed, tell, reach
        self.places = places or Places({})
        self.placing = threading.Lock()  # the heartbeat's thread looks after places too
        self.moved: dict[str, str] = {}  # by the address of a worker that is gone, its successor
        self.events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self.failure: ClusterError | None = None
        self.warned = False
        self.better_together: set[str] = set()  # addresses of workers
        self.states: dict[str, Future] = {}
        self.homes: dict[str, str] = {}
        self.addresses: dict[str, str] = {}  # of workers, by name
        self.token = uuid.uuid4().hex[:8]
        self.topic = f"gandask-{self.token}"
        self.numbers, self.keys = itertools.count(), itertools.count()
        self.under_way: dict[int, Sent] = {}
        # numbers with the future of their reports, and None after a nudge
        self.arriving: queue.SimpleQueue[tuple[Bundle, Future] | None] = queue.SimpleQueue()
        self.seconds: dict[str, float] = {}  # by name, what a task took of late
        self.last_seen: dict[str, tuple[float, float]] = {}
        self.stuck: dict[str, float] = {}  # by address, since when
        self.anchors: dict[str, Future] = {}
        for file in extensions.files():
            # not loaded: the scheduler may be in this very process
            client.upload_file(str(file), load=False)
        client.subscribe_topic(self.topic, self._heard_of_progress)
        self.span = span_of(self.topic)
        with reaching_the_scheduler(client):
            client.run_on_scheduler(keep_copies, "state-")
        self.hear()

    def submit(self, *plan: Stage) -> list[int]:
        """Send the tasks of a plan to the workers that hold their slots; number them."""
        if not any(plan):
            return []
        with reaching_the_scheduler(self.client):
            workers = self._workers()
        self._find_homes([task.slot for stage in plan for task in stage], workers)
        threads = {address: told["nthreads"] for address, told in workers.items()}
        return [number for stage in plan if stage for number in self._begun(stage, threads)]

    def _begun(self, stage: Stage, threads: Mapping[str, int]) -> list[int]:
        """Send independent tasks in one graph."""
        reads = [[read(self.states, name, task) for name in task.reads] for task in stage]
        sent = {
            next(self.numbers): Sent(task, futures)
            for task, futures in zip(stage, reads, strict=True)
        }
        homes = {number: self._home(s.task.slot) for number, s in sent.items()}
        tasks = {number: one.task for number, one in sent.items()}
        together = bundled(
            tasks, homes, threads, self.seconds, self.better_together, self.places.labels
        )
        with reaching_the_scheduler(self.client):
            self._send(sent, homes, together)
        for one in sent.values():
            self.states |= one.copies[0].states
        self.under_way |= sent
        return list(sent)

    def next_reports(self) -> dict[int, Report]:
        """Wait for at least one report or a nudge, and fetch all that have arrived."""
        arrived = [self.arriving.get()]
        if self.failure is not None:
            raise self.failure
        while not self.arriving.empty():
            arrived.append(self.arriving.get())
        # of two copies of a task, the first counts
        first: dict[int, Future] = {}
        for bundle, future in filter(None, arrived):
            for number in self.under_way.keys() & bundle:
                first.setdefault(number, future)
        fetched = self._fetched(first)
        reports: dict[int, Report] = {}
        taken: dict[str, list[float]] = {}
        dropped: dict[Future, Future] = {}
        for number, future in first.items():
            sent = self.under_way.pop(number)
            counted = self._settle(sent, future)
            states, hedged = sent.copies[0].states, counted is not sent.copies[0]
            if hedged:
                dropped |= {states[name]: made for name, made in counted.states.items()}
            report = reports[number] = fetched[future][counted.position][1]
            # Dask may have let a worker that had nothing to do take it: its states are there now
            if report.worker in self.addresses and (sent.task.writes or hedged):
                self.homes[sent.task.slot] = self.addresses[report.worker]
            taken.setdefault(sent.task.name, []).append(spent(report))
            if report.together:
                self.better_together.add(counted.worker)
        self.seconds |= {name: statistics.fmean(each) for name, each in taken.items()}
        self._send_behind(dropped)
        return reports

    def keep(self, names: Iterable[str]) -> None:
        """Drop every state but these."""
        self.states = {name: self.states[name] for name in names}

    def drop(self) -> None:
        """Drop tasks under way, and what they would write; one that runs comes to its end."""
        unmade = {id(f) for sent in self.under_way.values() for f in sent.copies[0].states.values()}
        self.states = {name: f for name, f in self.states.items() if id(f) not in unmade}
        self.under_way.clear()

    def cancel(self) -> None:
        """Drop everything, states and tasks under way."""
        self.under_way.clear()
        self.states.clear()
        self.anchors.clear()
        with contextlib.suppress(ClusterError), reaching_the_scheduler(self.client):
            self.client.unsubscribe_topic(self.topic)

    def hear(self) -> Mapping[str, Heard]:
        """Give the workers by address: for how long each was silent, and its memory full."""
        with reaching_the_scheduler(self.client):
            told = self.client.run_on_scheduler(tend, dict(self.moved))
        now = time.monotonic()
        self._settle_places({address: name for address, (name, _, _) in told.items()})
        self.stuck = {a: self.stuck.get(a, now) for a, (_, _, stuck) in told.items() if stuck}
        heard = {}
        for address, (name, last_seen, stuck) in told.items():
            # the scheduler's clock may differ from ours: only whether it has moved on counts
            if self.last_seen.get(address, (None, 0.0))[0] != last_seen:
                self.last_seen[address] = (last_seen, now)
            silence = now - self.last_seen[address][1]
            heard[address] = Heard(name, silence, now - self.stuck[address] if stuck else None)
        return heard

    def happened(self) -> list[Event]:
        """Give what became of places since the last time."""
        found = []
        while not self.events.empty():
            found.append(self.events.get())
        return found

    def nudge(self) -> None:
        """Let `next_reports` return, from another thread."""
        self.arriving.put(None)

    def give_up(self, worker: str) -> None:
        """Make the scheduler forget a worker: what it was doing begins again elsewhere."""
        with reaching_the_scheduler(self.client):
            self.client.run_on_scheduler(forget_worker, worker)

    def hedge(self, delayed: Signal) -> str:
        """Perform a task under way once more on the worker with least to do; name that worker.

        So are the tasks that were sent together with it: some may wait behind it.
        """
        copies = {copy.key: sent for sent in self.under_way.values() for copy in sent.copies}
        slow = copies.get(delayed.key)
        if slow is None or len(slow.copies) > 1 or slow.task.slot in self.places.labels:
            return ""
        first = slow.copies[0]
        with reaching_the_scheduler(self.client):
            workers = self._workers()
            processing = self.client.processing()
        # it may have run elsewhere than where it was sent to, and wait there to be picked apart
        keys = {first.key, first.reports.key, *(future.key for future in first.states.values())}
        stuck = {address for address, held in processing.items() if not keys.isdisjoint(held)}
        threads = self.places.free({address: told["nthreads"] for address, told in workers.items()})
        elsewhere = threads.keys() - (stuck or {first.worker, delayed.worker})
        if not elsewhere:
            return ""
        busy = collections.Counter(one.copies[0].worker for one in self.under_way.values())
        chosen = min(sorted(elsewhere), key=lambda address: busy[address])
        bundle = {n: s for n, s in self.under_way.items() if s.copies[0].reports is first.reports}
        with reaching_the_scheduler(self.client):
            # not there, whoever has nothing to do: a copy taken back would wait behind the first
            homes = dict.fromkeys(bundle, chosen)
            self._send(bundle, homes, [list(bundle)], only=sorted(elsewhere))
        return str(workers[chosen]["name"])

    def _send(
        self,
        tasks: Mapping[int, Sent],
        homes: Mapping[int, str],
        together: Iterable[Bundle],
        only: Sequence[str] = (),
    ) -> None:
        """Submit tasks as one graph in one message, each to its worker; note the copies.

        They go to `only` some workers where that is said.
        """
        parcels = [
            self._parcel(bundle, tasks, homes[bundle[0]] in self.better_together)
            for bundle in together
        ]
        graph = self._anchors({sent.task.name for sent in tasks.values()})
        anchors = list(graph)
        where: dict[str, tuple[list[str], bool]] = dict.fromkeys(anchors, ([], True))
        for parcel in parcels:
            home = homes[parcel.numbers[0]]
            anywhere = parcel.works[0].task.slot not in self.places.labels
            made = parcel.graph([f for number in parcel.numbers for f in tasks[number].reads])
            graph |= made
            workers = [*only] or ([home] if home else [])
            where |= dict.fromkeys(made, (workers, anywhere and not only))
            for number, work in zip(parcel.numbers, parcel.works, strict=True):
                self.tell(signal_of(work.task, "sent", work.key, homes[number]))
        wanted = [key for parcel in parcels for key in parcel.keys]
        futures = self._submitted(graph, where, [*anchors, *wanted])
        self.anchors |= {key: futures[key] for key in anchors}
        for parcel in parcels:
            reports = futures[parcel.reports]
            for position, number in enumerate(parcel.numbers):
                states = {name: futures[key] for name, key in parcel.states[position].items()}
                key, home = parcel.works[position].key, homes[number]
                tasks[number].copies.append(Copy(key, reports, position, states, home))
            reports.add_done_callback(functools.partial(self._arrive, parcel.numbers))

    def _submitted(
        self,
        graph: Mapping[str, Any],
        where: Mapping[str, tuple[list[str], bool]],
        wanted: Sequence[str],
    ) -> dict[str, Future]:
        """Hand a graph to Dask, and give the futures that are wanted of it."""
        # picking apart goes first, so that reports do not wait for the worker's other tasks
        with dask.annotate(
            workers=lambda key: where[key][0],
            allow_other_workers=lambda key: where[key][1],
            priority=lambda key: int(key.startswith(("report-", "state-"))),
            span=self.span,
        ):
            return dict(zip(wanted, self.client.get(graph, wanted, sync=False), strict=True))

    def _anchors(self, names: set[str]) -> dict[str, Any]:
        """Make a task to be kept for each name that is new.

        The scheduler groups tasks by name, and remembers a group more whenever all tasks of the
        last one are gone: it would grow with every round.
        """
        keys = [f"{name}-{self.token}-anchor" for name in {"report", "state", *names}]
        return {key: (tuple,) for key in keys if key not in self.anchors}

    def _parcel(self, bundle: Bundle, tasks: Mapping[int, Sent], at_once: bool) -> Parcel:
        """Make the keys of tasks, of their reports and of the states they write."""
        works, states = [], []
        for number in bundle:
            task, key = tasks[number].task, next(self.keys)
            reads = tuple(future.key for future in tasks[number].reads)
            name = f"{task.name}-{self.token}-{key}"
            works.append(Work(task, self.seed, name, self.topic, reads, self.reach))
            keys = (f"state-{self.token}-{key}-{index}" for index in range(len(task.writes)))
            states.append(dict(zip(task.writes, keys, strict=True)))
        # without states to pick, what performs the tasks gives their reports alone
        reports = f"report-{self.token}-{next(self.keys)}" if any(states) else works[0].key
        at_once = at_once and works[0].task.together is not None
        return Parcel(bundle, works, states, reports, at_once)

    def _arrive(self, bundle: Bundle, future: Future) -> None:
        self.arriving.put((bundle, future))

    def _fetched(self, reporting: Mapping[int, Future]) -> dict[Future, Outcomes]:
        """Fetch reports, by the numbers of the tasks."""
        from distributed import KilledWorker

        futures = list(set(reporting.values()))
        try:
            with reaching_the_scheduler(self.client):
                return dict(zip(futures, self.client.gather(futures), strict=True))
        except KilledWorker as error:
            failed = [self.under_way[n].task for n, f in reporting.items() if f.status == "error"]
            slots = ", ".join(task.slot for task in failed)
            raise TaskError(
                f"{failed[0].name} failed in {slots}, round {failed[0].round}, seed "
                f"{self.seed}: it, or what it reads, took down every worker that tried it, which "
                f"is what running out of memory looks like; see the workers' logs ({error})"
            ) from error

    def _send_behind(self, dropped: Mapping[Future, Future]) -> None:
        """Send what waits for states that were dropped once more, for those that count instead."""
        behind = {
            number: sent
            for number, sent in self.under_way.items()
            if any(future in dropped for future in sent.reads)
        }
        for sent in behind.values():
            sent.reads = [dropped.get(future, future) for future in sent.reads]
        homes = {number: self._home(sent.task.slot) for number, sent in behind.items()}
        if behind:
            with reaching_the_scheduler(self.client):
                self._send(behind, homes, [[number] for number in behind])

    def _settle(self, sent: Sent, reported: Future) -> Copy:
        """Take the states of the copy that reported, and forget the other."""
        for copy in sent.copies:
            first = copy.reports is reported
            self.tell(signal_of(sent.task, "reported" if first else "dropped", copy.key, ""))
            if first:
                counted = copy
        if counted is not sent.copies[0]:
            for name, future in counted.states.items():
                if self.states.get(name) is sent.copies[0].states[name]:
                    self.states[name] = future
        return counted

    def _heard_of_progress(self, event: tuple[float, list[dict[str, Any]]]) -> None:
        for signal in event[1]:
            self.tell(Signal(**signal))

    def _workers(self) -> dict[str, Any]:
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])

    def _home(self, slot: str) -> str:
        """Give the address of a slot's worker; without any, the first to come takes what waits."""
        return self.places.home(slot) or self.homes.get(slot, "")

    def _find_homes(self, slots: Sequence[str], workers: Mapping[str, Any]) -> None:
        """Give every slot a living worker, where there is one."""
        names = {address: str(told["name"]) for address, told in workers.items()}
        self.addresses = {name: address for address, name in names.items()}
        self._settle_places(names)
        if self.failure is not None:
            raise self.failure
        if self.places.homes and self.places.unclaimed and not self.warned:
            self.warned = True
            logger.warning(
                "no worker is named %s: these places share the other workers",
                ", ".join(map(repr, self.places.unclaimed)),
            )
        threads = self.places.free({address: told["nthreads"] for address, told in workers.items()})
        anywhere = [s for s in [*self.homes, *slots] if s not in self.places.labels]
        self.homes = place(anywhere, threads, self.homes) if threads else {}

    def _settle_places(self, workers: Mapping[str, str]) -> None:
        """Take up which workers there are, by address: labels follow."""
        with self.placing:
            try:
                moved, events = self.places.meet(workers, time.monotonic())
            except ClusterError as error:
                self.failure = error
                self.nudge()
                return
            # what waits for a worker is bound to the first address that it had
            self.moved = {old: moved.get(new, new) for old, new in self.moved.items()} | moved
        for event in events:
            self.events.put(event)
