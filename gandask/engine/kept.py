"""A run that is kept: its log, its checkpoints, and what is asked of it from outside."""

from __future__ import annotations

import collections
import contextlib
import shutil
import signal
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gandask.core import (
    SHOWN,
    DataError,
    Event,
    Method,
    Plan,
    Report,
    SettingError,
    Signal,
    StoreError,
    View,
    slot_of,
)
from gandask.engine import resuming
from gandask.engine.options import Options
from gandask.engine.progress import Progress
from gandask.engine.replay import replay
from gandask.engine.session import Ended, Session
from gandask.store import Store, scored, steering
from gandask.store.checkpoint import loading, saving
from gandask.store.shown import REAL
from gandask.store.steering import Command

PARTED = 1 << 26  # bytes of retired states on workers that are worth a checkpoint of their own
LOOK = 0.2  # seconds between two looks at what is asked of a paused run
MOST = 20  # commands heeded at once: each change is decided, and written to disk, by itself


class KeptSession(Session):
    """A run under way that is kept in a store.

    Parameters
    ----------
    method, facts, options
        Those of any session.
    store : Store
    resumed : bool
        Whether the store holds a run to take up.
    """

    def __init__(
        self,
        method: Method[Any],
        facts: Mapping[str, Any],
        options: Options,
        store: Store,
        resumed: bool = False,
    ) -> None:
        super().__init__(method, facts, options)
        self.store, self.resumed = store, resumed
        self.saved = 0
        self.sealed: tuple[Path, Mapping[str, Any]] = (store.path, {"files": {}, "tokens": {}})
        self.safe: frozenset[str] = frozenset()  # states in files of it that hold retired ones
        self.heard = store.heard()
        self.left: list[Command] = []  # by a process that was killed
        self.stopping = False

    def begin(self) -> None:
        """Start, or take up a stored run where its last checkpoint left it."""
        super().begin()
        if self.resumed:
            self._take_up()
        self._show_real()

    def _show_real(self) -> None:
        """Keep real samples to look at beside those of slots, if the store has none yet."""
        with contextlib.suppress(StoreError):  # what pages say of it: a run needs none of them
            if self.store.shown.real() is None:
                samples = self.method.real_samples()
                if samples is not None:
                    self.store.shown.append(REAL, 0, samples)

    def exhibited(self, reports: Sequence[Report]) -> list[Report]:
        """Keep the samples to look at in files of their own, and give reports without them."""
        self.store.described.refuse_stranger()
        for one in reports:
            if SHOWN in one.values:
                self.store.shown.append(one.slot, one.round, one.values[SHOWN])
        return super().exhibited(reports)

    def step(self, reports: Sequence[Report], elapsed: float) -> bool:
        """Log reports, let the method decide, and do what is asked from outside."""
        self.store.append(reports, elapsed)
        before = self.view
        told = self.decide(reports, elapsed)
        # made anew from the log when the run is continued
        self.store.columns.append(told, durable=False)
        self.end_early(before, reports, elapsed)
        stopped = self.heed(before, reports)
        done = self.view.round > before.round
        if done:
            self._describe("running")
        return stopped and (done or not self.synchronous)

    def work(self, progress: Progress) -> bool:
        """Carry plans out as any session does; a signal to end it leaves a checkpoint."""
        try:
            return super().work(progress)
        except Ended:
            self.executor.drop()  # what is under way is computed again
            self.rest(last=True)
            self._tell("stopped", f"by {signal.Signals(self.ending).name}, after a checkpoint")
            raise

    def rest(self, last: bool) -> None:
        """Write a checkpoint, if it is time, or worth it for the states that workers can drop."""
        if last or self.view.round >= self.saved + self.options.checkpoint_every or self._laden():
            self.checkpoint(last)

    def parted(self) -> frozenset[str]:
        """Name the states, of those that its view keeps, that the last checkpoint alone holds."""
        return self.view.keeps & self.method.retired(self.view) & self.safe

    def _laden(self) -> bool:
        """Tell whether workers hold more retired states than others, and many bytes of them.

        What such checkpoints write is thereby at most twice what retires, however often they are.
        """
        idle = super().parted() - self.safe
        sizes = self.ledger.sizes
        dropped = sum(sizes.get(name, 0) for name in idle)
        return dropped > PARTED and 2 * dropped > sum(sizes.values())

    def note(self, events: Sequence[Event]) -> None:
        """Keep what the machine did in the store too."""
        super().note(events)
        if events:
            self.store.described.refuse_stranger()
        for event in events:
            self.store.note(event)

    def heed(self, before: View, reports: Sequence[Report]) -> bool:
        """Do what is asked from outside, and wait while paused; tell whether to stop."""
        paused: float | None = None
        while True:
            for command in self._asked():
                if command.name == steering.CHANGE:
                    self._change(command, before, reports)
                elif command.name == steering.STOP:
                    self.stopping = True
                elif command.name == steering.PAUSE and paused is None:
                    paused = time.monotonic()
                    # the event first: who sees the state is to find it
                    self._tell("paused", "until it is resumed or stopped")
                    self._describe("paused")
                elif command.name == steering.RESUME and paused is not None:
                    self._go_on(paused)
                    paused = None
            if paused is None:
                return self.stopping
            if self.stopping or self.ending:
                self._go_on(paused)
                return True
            self.attend()
            time.sleep(LOOK)

    def checkpoint(self, last: bool) -> None:
        """Save every state, and go on from what was saved, if the run goes on.

        Retired states that the last checkpoint holds are no worker's any more: their files go on.
        """
        begun, checkpoints = time.monotonic(), self.store.checkpoints
        self.store.described.refuse_stranger()  # whose files `begin` would take for remains
        # a name of its own: a worker given up during an earlier one may still come back and write
        token = uuid.uuid4().hex[:8]
        carried, tokens = self._carried()
        left = self.needed().difference(*carried.values())
        written = _files(left, super().parted(), token)
        partial = checkpoints.begin(token)
        try:
            self.perform([saving(partial / file, names, token) for file, names in written.items()])
            self.store.described.refuse_stranger()
            checkpoints.carry(self.sealed[0], partial, carried)
            files = written | carried
            folder = checkpoints.seal(partial, self.view, files, self.store.log, tokens)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self.saved = self.view.round
        told = {"files": files, "tokens": dict.fromkeys(written, token) | tokens}
        self._go_on_from(folder, told, last)
        self.watch.tell(Signal("saved"))
        self.hosted.saved(self.needed())
        self._tell("checkpoint", f"{folder.name} in {time.monotonic() - begun:.1f} s", self.saved)

    def _carried(self) -> tuple[dict[str, list[str]], dict[str, str]]:
        """Give the files of the last checkpoint that the next one has too, and their tokens."""
        _, told = self.sealed
        safe = self.parted()
        files = {
            file: left
            for file, names in told["files"].items()
            if (left := [name for name in names if name in safe])
        }
        return files, {file: told["tokens"][file] for file in files}

    def _go_on_from(self, folder: Path, told: Mapping[str, Any], last: bool = False) -> None:
        """Let workers read the states of a checkpoint, unless all of a file are retired.

        A task that loads a file depends on nothing, so Dask forgets the tasks before it: memory
        stays bounded, and so does what a lost worker costs.
        """
        retired, files, tokens = super().parted(), told["files"], told["tokens"]
        parted = {
            file
            for file, names in files.items()
            # under a slot's own name, as older versions wrote them, the next ones would be written
            if file == _file(names[0], tokens[file]) and retired.issuperset(names)
        }
        self.sealed = folder, told
        self.safe = frozenset(name for file in parted for name in files[file])
        self.ledger.part(self.safe)
        if not last:
            read = [
                loading(folder / file, names, tokens[file])
                for file, names in files.items()
                if file not in parted
            ]
            self.perform(read)

    def _asked(self) -> list[Command]:
        """Give what was asked since the last look; what cannot be read is told, once."""
        last, count = collections.deque(self.left, maxlen=MOST), len(self.left)
        self.left = []
        try:
            for command in self.store.asked(self.heard):
                last.append(command)
                count += 1
        except StoreError as error:
            self._tell("refused", str(error))
        if count > MOST:
            self._tell("refused", f"{count} commands at once: the last {MOST} are heeded")
        return [*last]

    def _describe(self, state: str) -> None:
        """Write the run's state, which commands were heeded, and the score so far."""
        told = {"heard": self._heeded, "best": scored(self.score)}
        self.store.describe(state, self.view.round, **told)

    @property
    def _heeded(self) -> list[int]:
        """Where in the file of commands the last one ends that was heeded."""
        return [self.heard.byte, self.heard.line]

    def _go_on(self, paused: float) -> None:
        """End a pause, whose time is none of the run's."""
        taken = time.monotonic() - paused
        self.origin += taken
        self._tell("resumed", f"after a pause of {taken:.0f} s")
        self._describe("running")

    def _change(self, command: Command, before: View, reports: Sequence[Report]) -> None:
        """Go on with other settings from the next round on.

        What follows from the last step is decided again, with them.
        """
        begun = self.begun(before, reports)
        try:
            method = steering.steered(self.method, command.changes, begun)
            others = resuming.other_facts(self.facts, {**self.facts, **method.identity()}, True)
            if others:  # registered anew, or retouched, by who goes on in the same process
                raise DataError(others)
            decided = method.advance(before, reports)
        except (SettingError, DataError, StoreError) as error:
            self._tell("refused", str(error), begun)
            return
        self.go_on_with(method, *decided)
        self._tell("changed", steering.told(method, command.changes, begun + 1), begun)

    def go_on_with(self, method: Method[Any], view: View, plan: Plan) -> None:
        """Go on with other settings, and keep them."""
        self.store.change(method, heard=self._heeded)
        super().go_on_with(method, view, plan)

    def _tell(self, kind: str, detail: str, round: int | None = None) -> None:
        now = self.view.round if round is None else round
        self.note([Event(now, kind, "", detail, machine=True)])

    def _take_up(self) -> None:
        """Go on where the last checkpoint that is sound left the run."""
        store = self.store
        self.results.events += store.noted()
        found, wrong = self._sound()
        cut = store.truncate(found[1]["log_bytes"] if found else 0)
        elapsed = replay(self, store)
        self.origin, self.saved = time.monotonic() - elapsed, self.view.round
        for folder, error in wrong:
            self._tell("passed over", f"{folder.name}: {error}")
            shutil.rmtree(folder, ignore_errors=True)
        if found:
            folder, told = found
            lacking = self.needed().difference(*told["files"].values())
            if lacking:
                raise StoreError(f"{folder} does not hold {', '.join(sorted(lacking))}")
            self._go_on_from(folder, told)
        others = resuming.other_versions(store)
        if others:
            self._tell("versions", f"{others}: from here on, bits may differ")
        if store.described.copy_of:
            self._tell("forked", f"from a copy of {store.described.copy_of}")
        again = f"{cut} turns of slots are" if cut > 1 else "one turn of a slot is"
        lost = f"{again} computed again" if cut else "nothing is computed again"
        self._tell("resumed", f"after round {self.saved}; {lost}")
        asked = self._asked()
        # what is to be true of later rounds still is; the rest was asked of a process that is gone
        self.left = [command for command in asked if command.name == steering.CHANGE]
        for command in asked:
            if command not in self.left:
                self._tell("refused", f"{command.name}, asked for before the run was interrupted")

    def _sound(self) -> tuple[tuple[Path, dict[str, Any]] | None, list[tuple[Path, StoreError]]]:
        """Give the newest checkpoint that is sound, if any, and what is wrong with later ones.

        Raises
        ------
        StoreError
            If there are some, and none of them is.
        """
        wrong: list[tuple[Path, StoreError]] = []
        for folder, told in self.store.checkpoints.sound(self.store.log):
            if not isinstance(told, StoreError):
                return (folder, told), wrong
            wrong.append((folder, told))
        if wrong:
            raise StoreError(
                f"no checkpoint can be gone on from: {wrong[0][1]}; remove "
                f"{self.store.checkpoints.path} to have the run computed again from its start"
            )
        return None, wrong


def _files(names: Collection[str], retired: Collection[str], token: str) -> dict[str, list[str]]:
    """Give the files that a checkpoint writes, with the states in each: one for each slot.

    Retired states have files of their own, under names that no other checkpoint's have.

    Examples
    --------
    >>> _files({"cell/0/a/1", "cell/0/b/1"}, {"cell/0/b/1"}, "1f")
    {'cell-0.safetensors': ['cell/0/a/1'], 'cell-0-1f.safetensors': ['cell/0/b/1']}
    """
    files: dict[str, list[str]] = {}
    for name in sorted(names):
        files.setdefault(_file(name, token if name in retired else ""), []).append(name)
    return files


def _file(name: str, token: str = "") -> str:
    """Name the file of a state: by its slot, and by a checkpoint's token if it is retired."""
    return slot_of(name).replace("/", "-") + (f"-{token}" if token else "") + ".safetensors"
