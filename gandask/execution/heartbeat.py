"""The heartbeat: what every slot is doing, from what tasks and workers tell.

`Monitor` concludes, without a clock, a thread or I/O of its own; `Watch` is the thread in the
client that feeds it, writes down what each slot is doing, and hands over what was noticed.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from gandask import config
from gandask.config import setting
from gandask.core import ClusterError, Event, Signal

logger = logging.getLogger("gandask")


@config.settings
class Heartbeat:
    """How the client watches over slots and workers."""

    interval: float = setting(1.0, "seconds between two looks", minimum=0.001, maximum=30)
    delay_factor: float = setting(
        3.0,
        "a slot is delayed when its task takes this many times the median of its peers",
        above=1,
    )
    delay_minimum: float = setting(10.0, "seconds before which no slot is delayed", minimum=0)
    lost_after: float = setting(
        60.0,
        "seconds of silence, or of full memory, after which a worker is given up: its slots move",
        above=0,
    )
    hedge: bool = setting(
        False, "perform a delayed task a second time on another worker; the first to report counts"
    )


@dataclass(frozen=True)
class Heard:
    """What the scheduler knows of a worker: its name, and for how many seconds it was silent.

    `stuck` tells for how many seconds it did nothing as its memory was full.
    """

    name: str
    silence: float
    stuck: float | None = None


@dataclass
class Noticed:
    """What one look came to: events, workers to give up, and delayed tasks."""

    events: list[Event] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    delayed: list[Signal] = field(default_factory=list)


@dataclass
class Watched:
    """A task that has not reported, with its last signal, and when it was sent and began to run."""

    signal: Signal
    sent: float
    state: str = "inactive"
    begun: float | None = None


LONGEST = 15.0  # seconds: readers take a run without a heartbeat for dead
PEERS = 101  # durations remembered for each name of tasks, to take the median of


class Monitor:
    """Conclude from signals and silence what every slot is doing.

    A slot is *inactive* while its task waits for a worker, *processing*, *finished* when its task
    has reported, *delayed* well past the median of its peers, be it that the task takes so long or
    that its worker begins nothing, and *lost* with its worker.
    """

    def __init__(self, settings: Heartbeat) -> None:
        self.settings = settings
        self.tasks: dict[str, Watched] = {}
        self.reported: set[str] = set()
        self.finished: dict[str, Signal] = {}  # by slot, its last report
        self.places: dict[str, str] = {}  # by slot, the worker it was last seen on
        self.active: dict[str, float] = {}  # by worker, when a task was last seen to run there
        self.workers: dict[str, Heard] = {}
        self.names: dict[str, str] = {}  # of workers that are gone, too
        self.given_up: set[str] = set()
        self.paused: dict[str, int] = {}  # by worker's name, the round in which that was told
        self.waiting = False
        self.durations: dict[str, collections.deque[float]] = {}
        self.noticed = Noticed()
        self.round = 0

    def take(self, signal: Signal, now: float) -> None:
        """Take up one signal, at a time in seconds."""
        if signal.state == "sent":
            self.tasks[signal.key] = Watched(signal, now)
            self.round = max(self.round, signal.round)
        elif signal.state == "running":
            self._running(signal, now)
        elif signal.state == "ended":
            self._ended(self.tasks.get(signal.key), signal, now)
        elif signal.state == "saved":  # what a checkpoint holds never runs again
            self.reported.clear()
        else:
            watched = self.tasks.pop(signal.key, None)
            if signal.state == "reported" and watched is not None:
                self.reported.add(signal.key)
                if signal.round or signal.slot not in self.finished:  # 0: checkpoints, preparation
                    self.finished[signal.slot] = watched.signal
                self._ended(watched, watched.signal, now)

    def meet(self, workers: Mapping[str, Heard]) -> None:
        """Take up what the scheduler knows of its workers, by address."""
        known, self.workers = self.workers, dict(workers)
        self.names |= {address: heard.name for address, heard in workers.items()}
        for address in workers.keys() - known.keys():
            self._event("worker joined", self.names[address])
        for address in known.keys() - workers.keys():
            self._event("worker left", self.names[address])
        for address, heard in workers.items():
            self._tell_stuck(known.get(address), heard)
            if address in self.given_up:
                continue
            if heard.silence > self.settings.lost_after:
                self._give_up(address, "worker silent", f"{heard.name}: {heard.silence:.0f} s")
            elif self.tasks and (heard.stuck or 0.0) > self.settings.lost_after:
                self._give_up(address, "worker paused", f"{heard.name}: {heard.stuck:.0f} s")
        waiting = bool(self.tasks) and not workers
        if waiting and not self.waiting:
            self._event("waiting", "there is no worker")
        self.waiting = waiting

    def _tell_stuck(self, before: Heard | None, heard: Heard) -> None:
        """Notice that a worker's memory is full, once a round: at its limit it comes and goes."""
        begun = heard.stuck is not None and (before is None or before.stuck is None)
        if begun and self.paused.get(heard.name) != self.round:
            self.paused[heard.name] = self.round
            detail = f"{heard.name}: its memory is all but full, and it begins no task"
            self._event("worker paused", detail)

    def _give_up(self, address: str, kind: str, detail: str) -> None:
        self.given_up.add(address)
        self.noticed.silent.append(address)
        self._event(kind, f"{detail}, given up")

    def note(self, events: Iterable[Event]) -> None:
        """Take up what others have noticed, in the round that is under way."""
        self.noticed.events += [replace(event, round=self.round) for event in events]

    def look(self, now: float) -> Noticed:
        """Say what has happened since the last look."""
        busy = {one.signal.worker for one in self.tasks.values() if one.begun is not None}
        for watched in self.tasks.values():
            self._lose(watched)
            reason = None
            if watched.state == "processing":
                reason = self._slow(watched, now)
            elif watched.state == "inactive" and watched.signal.worker not in busy:
                reason = self._held_up(watched, now)
            if reason:
                watched.state = "delayed"
                self.noticed.delayed.append(watched.signal)
                self._note("delayed", watched.signal, reason)
        noticed, self.noticed = self.noticed, Noticed()
        return noticed

    def states(self) -> dict[str, dict[str, Any]]:
        """Tell, by slot, its state, round and task, the fraction done and the worker."""
        told = {slot: ("finished", signal) for slot, signal in self.finished.items()}
        # of several tasks of a slot, the one that runs
        tasks = sorted(self.tasks.values(), key=lambda watched: watched.begun is not None)
        told |= {watched.signal.slot: (watched.state, watched.signal) for watched in tasks}
        return {
            slot: {
                "state": state,
                "round": signal.round,
                "task": signal.task,
                "fraction": 1.0 if state == "finished" else round(signal.fraction, 3),
                "worker": self._name(signal.worker),
            }
            for slot, (state, signal) in sorted(told.items())
        }

    def _running(self, signal: Signal, now: float) -> None:
        watched = self.tasks.get(signal.key)
        if signal.fraction == 0:
            before = self.places.get(signal.slot, signal.worker)
            if watched is not None and watched.signal.worker != signal.worker:
                self._lose(watched)
            self.places[signal.slot] = signal.worker
            # a worker that had nothing to do may have taken it: nothing has happened then
            if before != signal.worker and before not in self.workers:
                self._note("moved", signal, f"{self._name(before)} to {self._name(signal.worker)}")
        if watched is None:
            # its report is here already, so it runs for the sake of a state that was lost
            if signal.key in self.reported and signal.fraction == 0 and signal.round > 0:
                self._note("recomputed", signal, signal.task)
            return
        self.active[signal.worker] = now
        if watched.begun is None or watched.signal.worker != signal.worker:
            watched.begun, watched.state = now, "processing"
        watched.signal = signal

    def _ended(self, watched: Watched | None, signal: Signal, now: float) -> None:
        """Take up that a task runs no more: its report may wait for those of others."""
        if watched is not None and watched.begun is not None:
            self.active[signal.worker] = now
            recent = collections.deque[float](maxlen=PEERS)
            self.durations.setdefault(signal.task, recent).append(now - watched.begun)
            watched.signal, watched.begun = signal, None

    def _lose(self, watched: Watched) -> None:
        """Notice that the worker of a task is gone, once."""
        worker = watched.signal.worker
        if worker in self.names and worker not in self.workers and watched.state != "lost":
            watched.state, watched.begun = "lost", None
            self._note("lost", watched.signal, f"worker {self._name(worker)}")

    def _slow(self, watched: Watched, now: float) -> str | None:
        """Give the reason why a running task is delayed, if it is."""
        heard = self.workers.get(watched.signal.worker)
        if heard and heard.silence > self.settings.lost_after / 2:
            return f"worker {heard.name} was not heard from for {heard.silence:.0f} s"
        taken = now - (watched.begun if watched.begun is not None else now)
        median = self._exceeded(watched.signal.task, taken)
        if median is None:
            return None
        return f"{watched.signal.task} has run for {taken:.0f} s, its peers' median {median:.1f}"

    def _held_up(self, watched: Watched, now: float) -> str | None:
        """Give the reason why a waiting task is delayed, if it is: its worker runs none.

        What blocks a worker may be a copy that was dropped, which is not watched any more.
        """
        worker, task = watched.signal.worker, watched.signal.task
        if worker not in self.active or worker not in self.workers:
            return None
        waited = now - max(self.active[worker], watched.sent)
        if self._exceeded(task, waited) is None:
            return None
        return f"{task} has waited {waited:.0f} s for worker {self._name(worker)}, idle or stuck"

    def _exceeded(self, task: str, taken: float) -> float | None:
        """Give the median time of tasks of a name, if this was too long by it."""
        peers = self.durations.get(task, ())
        if len(peers) < 2 or taken < self.settings.delay_minimum:
            return None
        median = statistics.median(peers)
        return median if taken > self.settings.delay_factor * median else None

    def _name(self, address: str) -> str:
        return self.names.get(address, address)

    def _note(self, kind: str, signal: Signal, detail: str) -> None:
        # checkpoints belong to no round of their own
        round = signal.round or self.round
        self.noticed.events.append(Event(round, kind, signal.slot, detail, machine=True))

    def _event(self, kind: str, detail: str) -> None:
        self.noticed.events.append(Event(self.round, kind, "", detail, machine=True))


class Watchable(Protocol):
    """What the heartbeat asks of the place where tasks are performed."""

    def hear(self) -> Mapping[str, Heard] | None:
        """Give the workers by address, or None in process; free what waits for one that is gone."""

    def happened(self) -> Sequence[Event]:
        """Give what became of places since the last time."""

    def nudge(self) -> None:
        """Let whoever waits for reports look at what was noticed."""

    def give_up(self, worker: str) -> None:
        """Do without a worker from now on."""


class Watch:
    """Watch over a run from a thread, never in its way."""

    def __init__(self, settings: Heartbeat) -> None:
        self.settings = settings
        self.monitor = Monitor(settings)
        self.signals: queue.SimpleQueue[tuple[Signal, float]] = queue.SimpleQueue()
        self.noticed: queue.SimpleQueue[Noticed] = queue.SimpleQueue()
        self.outside: queue.SimpleQueue[Event] = queue.SimpleQueue()

    def tell(self, signal: Signal) -> None:
        """Take a signal, from any thread."""
        self.signals.put((signal, time.monotonic() - signal.age))

    def happened(self, event: Event) -> None:
        """Take what happened outside of all workers, from any thread."""
        self.outside.put(event)

    @contextlib.contextmanager
    def over(
        self, place: Watchable, write: Callable[[dict[str, Any]], None] | None
    ) -> Iterator[None]:
        """Watch over a place while the block runs.

        Parameters
        ----------
        place : Watchable
            The executor.
        write : callable, optional
            Given a table of what every slot is doing.
        """
        ending = threading.Event()

        def beat() -> None:
            pause = 0.0
            while not ending.wait(pause):
                begun = time.perf_counter()
                try:
                    # first: a scheduler may be silent for long, and another host would take the run
                    self._write(write)
                    self._look(place)
                except Exception:  # whatever it is: unwatched, a run may wait for ever
                    logger.exception("the heartbeat could not look after the run; it goes on")
                # a look at thousands of slots takes time: no more than a twentieth of it
                costly = min(20 * (time.perf_counter() - begun), LONGEST)
                pause = max(self.settings.interval, costly)

        thread = threading.Thread(target=beat, name="gandask-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ending.set()
            thread.join(5.0)  # it may be waiting for a scheduler that is gone
        if not thread.is_alive():
            self._look(place)
            self._write(write)

    def _write(self, write: Callable[[dict[str, Any]], None] | None) -> None:
        """Tell what every slot is doing, as far as it is known."""
        if write:
            write({"round": self.monitor.round, "slots": self.monitor.states()})

    def _look(self, place: Watchable) -> None:
        """Take up all signals, look at the workers, act on what cannot wait, and tell the rest."""
        monitor = self.monitor
        # without a scheduler there is nothing to hear, and the run itself will say so
        with contextlib.suppress(OSError, ClusterError):
            workers = place.hear()
            if workers is not None:
                monitor.meet(workers)
        while not self.signals.empty():
            monitor.take(*self.signals.get())
        monitor.note(place.happened())
        while not self.outside.empty():
            monitor.note([self.outside.get()])
        noticed = monitor.look(time.monotonic())
        with contextlib.suppress(OSError, ClusterError):
            # here, not in the main thread: that may be waiting for this very worker
            for worker in noticed.silent:
                place.give_up(worker)
        if noticed.events or noticed.delayed:
            self.noticed.put(noticed)
            place.nudge()
