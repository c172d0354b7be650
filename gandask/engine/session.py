"""A run under way: plans out, reports in, checkpoints, and what the heartbeat noticed."""

from __future__ import annotations

import itertools
import logging
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gandask.core import (
    NON_FINITE,
    Event,
    Report,
    SettingError,
    Signal,
    Stage,
    StoreError,
    Task,
    View,
)
from gandask.execution.heartbeat import Watch
from gandask.execution.serial import Executor
from gandask.results import Results
from gandask.store import Store, steering
from gandask.store.checkpoint import loading, saving, slot_of
from gandask.store.journal import Place
from gandask.store.steering import Command

logger = logging.getLogger("gandask")

PAUSE = 0.2  # seconds between two looks at what is asked of a paused run


class Session:
    """One run under way: the view, the plan, and what to do with each report.

    Parameters
    ----------
    method : Method
    store : Store, optional
    facts : mapping
        What the method's preparation found.
    checkpoint_every : int
    synchronous : bool
    resumed : bool
        Whether the store holds a run to take up.
    """

    executor: Executor
    watch: Watch

    def __init__(
        self,
        method: Any,
        store: Store | None,
        facts: Mapping[str, Any],
        checkpoint_every: int,
        synchronous: bool,
        resumed: bool = False,
    ) -> None:
        self.method, self.store, self.facts = method, store, facts
        self.checkpoint_every, self.synchronous = checkpoint_every, synchronous
        self.results = Results(method.layout(), method.rounds)
        self.view: View
        self.view, self.plan = method.start()
        self.under_way: dict[int, Task] = {}
        self.early: dict[int, Report] = {}  # arrived while a checkpoint was being written
        self.saved = 0
        self.heard = store.commands.end() if store else Place()
        self.stopping = False
        self.resumed = resumed
        self.origin = time.monotonic()

    def begin(self) -> None:
        """Start, or take up a stored run where its last checkpoint left it."""
        if not self.store or not self.resumed:
            return
        self.results.events += self.store.noted()
        found = self.store.checkpoints.last()
        cut = self.store.truncate(found[1]["log_bytes"] if found else 0)
        self._replay(self.store)
        if found:
            folder, told = found
            files = told["files"].items()
            lacking = self.view.keeps.difference(*told["files"].values())
            if lacking:
                raise StoreError(f"{folder} does not hold {', '.join(sorted(lacking))}")
            self.perform([loading(folder / file, names) for file, names in files])
        detail = f"after round {self.saved}; {cut} rounds of one slot are computed again"
        self.note([Event(self.saved, "resumed", "", detail, machine=True)])

    def _replay(self, store: Store) -> None:
        """Let the method decide anew what it decided before the last checkpoint."""
        elapsed = 0.0
        outstanding = [task for stage in self.plan for task in stage]
        with store.columns.replaced() as write:
            for view, plan, reports, elapsed in store.replay(self.method):
                done = {(report.slot, report.round) for report in reports}
                outstanding = [task for task in outstanding if (task.slot, task.round) not in done]
                self.view, self.plan = view, plan
                write(self.results.add(view, reports, elapsed))
                outstanding += [task for stage in self.plan for task in stage]
        self.origin = time.monotonic() - elapsed
        self.saved = self.view.round
        if len(outstanding) > sum(len(stage) for stage in self.plan):
            # slots went on at their own pace: others than those of the last step have work left
            self.plan = [outstanding]

    def work(self, bar: Any) -> bool:
        """Carry plans out until there is none, or until asked to stop.

        Returns
        -------
        bool
            Whether the run is finished.
        """
        stopped = False
        while not stopped and (self.plan or self.under_way):
            for stage in self.plan:
                numbers = self.executor.submit(stage)
                self.under_way |= dict(zip(numbers, stage, strict=True))
            reports = self.collect()
            elapsed = time.monotonic() - self.origin
            if self.store:
                self.store.append(reports, elapsed)
            before = self.view
            self.step(reports, elapsed)
            done = self.view.round > before.round
            if self.store:
                stopped = self.heed(self.store, before, reports) and (done or not self.synchronous)
                if done:
                    self.store.describe("running", self.view.round)
            promised = [name for task in self.under_way.values() for name in task.writes]
            self.executor.keep(self.view.keeps.union(promised))
            over = not (self.plan or self.under_way)
            if over:
                bar.total = bar.n  # there may have been fewer rounds than at most
            turns = {(record.slot, record.round) for record in self.view.records if record.slot}
            bar.update(0 if over else len(turns))
            due = self.view.round >= self.saved + self.checkpoint_every
            if self.store and (over or stopped or due):
                self.checkpoint(self.store, last=over or stopped)
        return not stopped or over

    def collect(self) -> list[Report]:
        """Wait for the reports of the whole plan, or for the next few, in order of submission."""
        arrived, self.early = self.early, {}
        while not arrived or (self.synchronous and len(arrived) < len(self.under_way)):
            arrived |= self.executor.next_reports()
            self.attend()
        for number in arrived:
            self.under_way.pop(number)
        return [arrived[number] for number in sorted(arrived)]

    def heed(self, store: Store, before: View, reports: Sequence[Report]) -> bool:
        """Do what is asked from outside, and wait while paused; tell whether to stop."""
        paused: float | None = None
        while True:
            for command in self._asked(store):
                if command.name == steering.CHANGE:
                    self._change(store, command, before, reports)
                elif command.name == steering.STOP:
                    self.stopping = True
                elif command.name == steering.PAUSE and paused is None:
                    paused = time.monotonic()
                    # the event first: who sees the state is to find it
                    told = "until it is resumed or stopped"
                    self.note([Event(self.view.round, "paused", "", told, machine=True)])
                    store.describe("paused", self.view.round)
                elif command.name == steering.RESUME and paused is not None:
                    self._go_on(store, paused)
                    paused = None
            if paused is None:
                return self.stopping
            if self.stopping:
                self._go_on(store, paused)
                return True
            self.attend()
            time.sleep(PAUSE)

    def _asked(self, store: Store) -> Iterator[Command]:
        """Give what was asked since the last look; what cannot be read is told, once."""
        try:
            yield from store.asked(self.heard)
        except StoreError as error:
            self.note([Event(self.view.round, "refused", "", str(error), machine=True)])

    def _go_on(self, store: Store, paused: float) -> None:
        """End a pause, whose time is none of the run's."""
        taken = time.monotonic() - paused
        self.origin += taken
        detail = f"after a pause of {taken:.0f} s"
        self.note([Event(self.view.round, "resumed", "", detail, machine=True)])
        store.describe("running", self.view.round)

    def _change(
        self, store: Store, command: Command, before: View, reports: Sequence[Report]
    ) -> None:
        """Go on with other settings from the next round on.

        What follows from the last step is decided again, with them.
        """
        rounds = [report.round for report in reports]
        begun = max(rounds + [task.round for task in self.under_way.values()])
        try:
            method = steering.steered(self.method, command.changes, begun)
            view, plan = method.advance(before, reports)
        except SettingError as error:
            self.note([Event(begun, "refused", "", str(error), machine=True)])
            return
        store.change(method)
        self.method, self.view, self.plan = method, view, plan
        self.results.relay(method.layout())
        detail = steering.told(method, command.changes, begun + 1)
        self.note([Event(begun, "changed", "", detail, machine=True)])

    def step(self, reports: Sequence[Report], elapsed: float) -> None:
        """Let the method decide, and note what it decided."""
        self.view, self.plan = self.method.advance(self.view, reports)
        told = self.results.add(self.view, reports, elapsed)
        if self.store:
            # made anew from the log when the run is continued
            self.store.columns.append(told, durable=False)
        for line in lines(event for event in self.view.events if event.kind == NON_FINITE):
            logger.warning(line)

    def perform(self, stage: Stage) -> None:
        """Carry out tasks beside the method's own, and wait for them alone."""
        numbers = set(self.executor.submit(stage))
        while not numbers <= self.early.keys():
            self.early |= self.executor.next_reports()
            self.attend()
        self.early = {n: report for n, report in self.early.items() if n not in numbers}

    def attend(self) -> None:
        """Note what the heartbeat noticed, and hedge delayed tasks."""
        while not self.watch.noticed.empty():
            noticed = self.watch.noticed.get()
            self.note(noticed.events)
            for signal in noticed.delayed if self.watch.settings.hedge else ():
                elsewhere = self.executor.hedge(signal)
                if elsewhere:
                    detail = f"{signal.function} a second time, on worker {elsewhere}"
                    event = Event(signal.round, "hedged", signal.slot, detail, machine=True)
                    self.note([event])

    def note(self, events: Sequence[Event]) -> None:
        """Keep what the machine did, in the result, the store and on the console."""
        self.results.events += events
        if self.store:
            for event in events:
                self.store.note(event)
        for line in lines(events):
            logger.info(line)

    def checkpoint(self, store: Store, last: bool) -> None:
        """Save every state, and go on from what was saved, if the run goes on.

        A task that loads a file depends on nothing, so Dask forgets the tasks before it: memory
        stays bounded, and so does what a lost worker costs.
        """
        begun = time.monotonic()
        files: dict[str, list[str]] = {}
        for name in sorted(self.view.keeps):
            files.setdefault(slot_of(name).replace("/", "-") + ".safetensors", []).append(name)
        # a name of its own: a worker given up during an earlier one may still come back and write
        partial = store.checkpoints.begin(uuid.uuid4().hex[:8])
        try:
            self.perform([saving(partial / file, names) for file, names in files.items()])
            folder = store.checkpoints.seal(partial, self.view, files, store.log.size)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self.saved = self.view.round
        if not last:
            self.perform([loading(folder / file, names) for file, names in files.items()])
        self.watch.tell(Signal("saved"))
        detail = f"{folder.name} in {time.monotonic() - begun:.1f} s"
        self.note([Event(self.saved, "checkpoint", "", detail, machine=True)])


def lines(events: Iterable[Event], most: int = 3) -> list[str]:
    """Say on one line each what happened, or on one for all of a kind when there are many.

    Examples
    --------
    >>> lines([Event(7, "moved", "cell/1", "a to b"), Event(7, "checkpoint", "", "round-000007")])
    ['round 7: cell/1 moved: a to b', 'round 7: checkpoint: round-000007']
    >>> lines([Event(round, "recomputed", "cell/1", "train") for round in (3, 4, 5, 6)])
    ['round 6: 4 × recomputed, since round 3']
    """
    said = []
    for kind, found in itertools.groupby(events, key=lambda event: event.kind):
        same = list(found)
        if len(same) > most:
            rounds = [event.round for event in same]
            since = f", since round {min(rounds)}" if min(rounds) < max(rounds) else ""
            said.append(f"round {max(rounds)}: {len(same)} × {kind}{since}")
        else:
            said += [
                f"round {e.round}: {e.slot + ' ' if e.slot else ''}{kind}: {e.detail}" for e in same
            ]
    return said
