"""A run on disk: one folder that can be read while it is being written.

``config.toml`` (exact, re-runnable), ``run.json`` (format, state, facts), ``layout.json`` (how the
result is laid out: who reads it needs no data and no networks), ``reports.jsonl`` (one line per
step of the method, appended durably), ``steps.jsonl`` (the same as columns, with what the method
made of them: for readers), ``events.jsonl`` (what the machine did), ``commands.jsonl`` (what was
asked of the run from outside), ``heartbeat.json`` (what every slot is doing),
``checkpoints/round-000010/*.safetensors``, ``shown/`` (samples of every round, to look at:
`shown.py`), ``dataset.zarr``, ``samples/`` and ``run.lock``, which
is empty, and locked as long as the run is written; for a moment ``extending/``, while it becomes a
longer run (`extension.py`). Nothing in it is a pickle, and nothing in it is
executed. A function that ``config.toml`` names as ``module:function`` is imported if the user names
it too, or trusts the run. Nothing is written through a link in it.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandask import config, results
from gandask.checks import is_address
from gandask.config import ELSEWHERE, SETTINGS_FILE, Methods
from gandask.core import Event, Layout, Method, Report, SettingError, StoreError
from gandask.core.files import (
    DAMAGED,
    digest,
    parsed,
    read_whole,
    refuse_deep,
    replacing,
    write_whole,
)
from gandask.core.journal import Bookmark, Journal
from gandask.store import layouts
from gandask.store.checkpoint import Checkpoints
from gandask.store.description import FORMAT, Description
from gandask.store.shown import Shown
from gandask.store.steering import Command

if TYPE_CHECKING:
    import xarray as xr

COMMAND = 1 << 16
"""Bytes of a command that is read."""

EVENT = 1 << 22
"""Bytes of an event that is read."""


class Store:
    """One run's folder.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    StoreError
        For an address, since a run is kept in a folder, and for a home that is not known.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if is_address(os.fspath(path)):
            raise StoreError(
                f"store={os.fspath(path)!r}: expected a folder, got an address; keep the run in a "
                "folder, and copy that"
            )
        try:
            self.path = Path(path).expanduser().resolve()
        except RuntimeError as error:
            raise StoreError(
                f"store={os.fspath(path)!r}: there is no such home folder; give the whole path"
            ) from error
        self.log = Journal(self.path / "reports.jsonl")
        self.columns = Journal(self.path / "steps.jsonl")
        self.commands = Journal(self.path / "commands.jsonl", COMMAND)
        self.happened = Journal(self.path / "events.jsonl", EVENT)
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.shown = Shown(self.path / "shown")
        self.described = Description(self.path)
        self.heartbeat = self.described.heartbeat
        self.layout_file = self.path / "layout.json"
        self.beats = itertools.count(1)

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r})"

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open a store that is there.

        Raises
        ------
        StoreError
            If there is none, or it was written by a newer version.
        """
        store = cls(path)
        if not (store.path / SETTINGS_FILE).is_file():
            raise StoreError(f"{str(path)!r} is not a run: expected a folder with a config.toml")
        written = store.description["format"]
        if written > FORMAT:
            raise StoreError(
                f"{str(path)!r} was written by a newer gandask (store format {written}, this one "
                f"reads up to {FORMAT}): upgrade gandask to read it"
            )
        return store

    @property
    def description(self) -> dict[str, Any]:
        """What ``run.json`` says: format, state, round, facts."""
        return self.described.read()

    def claim(self, force: bool = False) -> None:
        """Become the one who writes the run; with `force` whoever else seems to write it.

        Raises
        ------
        StoreError
            If another process is writing it, it is of an older format, or holds links.
        """
        self.refuse_links()
        self.described.claim(force)
        self.own()
        for left in self.path.glob("*.partial"):
            if not left.is_dir():
                left.unlink(missing_ok=True)

    def release(self) -> None:
        """Let others claim the run."""
        self.described.release()

    def refuse_links(self) -> None:
        """Raise StoreError if the run has links where it is written: they may lead anywhere."""
        journals = (self.log, self.columns, self.commands, self.happened)
        dataset = self.path / "dataset.zarr"
        written = [*(journal.path for journal in journals), self.checkpoints.path, dataset]
        written += [self.described.lock_file, dataset.with_name("dataset.zarr.partial")]
        written += [self.path / "extending", self.path / "samples", self.shown.path]
        for path in (*written, *self.checkpoints.path.glob("*")):
            if path.is_symlink():
                raise StoreError(
                    f"{path} is a link, and nothing outside a run's folder is written: put what it "
                    "leads to in its place, or remove it"
                )

    def own(self) -> None:
        """Mark what is written from now on as this writer's."""
        for journal in (self.log, self.columns, self.happened):
            journal.fence = self.described.fence
        self.checkpoints.fence = self.described.fence

    @property
    def state(self) -> str:
        """One of running, paused, finished, failed, stopped, interrupted."""
        return self.described.state

    def describe(self, state: str, round: int, **more: Any) -> None:
        """Write the run's state, unless another process has continued the run: StoreError."""
        self.described.write(state, round, **more)

    @property
    def settings(self) -> str:
        """What ``config.toml`` says.

        Raises
        ------
        StoreError
            If it cannot be read, or is not as the run left it.
        """
        path = self.path / SETTINGS_FILE
        try:
            text = read_whole(path).decode()
            if not self._left(text):  # unless it was changed between two looks
                text = read_whole(path).decode()
                if not self._left(text):
                    raise ValueError("it is not as the run left it")
            refuse_deep(tomllib.loads(text))
        except DAMAGED as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        return text

    def method(self, methods: Methods) -> Method[Any]:
        """Make the method from ``config.toml``, ready to be run.

        Raises
        ------
        StoreError
            If that cannot be read, or names what is not known here.
        """
        table = tomllib.loads(self.settings)
        # what the shell reads of a file beside a method: where to train is no part of a run
        own = {key: value for key, value in table.items() if key not in ELSEWHERE}
        try:
            return config.from_dict(own, methods)
        except SettingError as error:
            raise StoreError(
                f"{self.path / SETTINGS_FILE} cannot be read: {error} (methods, networks and "
                "losses of your own are registered before their run is used: import the module "
                "that does, in the shell by --import FILE.py)"
            ) from error

    def laid_out(self) -> tuple[Layout, int] | None:
        """Read how the result is laid out, and how many rounds there can be.

        None in a store of the first format, which its method alone could tell.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        if self.description["format"] < FORMAT:
            return None
        try:
            return layouts.read(read_whole(self.layout_file).decode())
        except DAMAGED as error:
            told = f"{type(error).__name__}: {error}"
            raise StoreError(f"{self.layout_file} cannot be read: {told}") from error

    def lay_out(self, method: Method[Any]) -> None:
        """Write how the result is laid out."""
        write_whole(self.layout_file, layouts.written(method.layout(), method.rounds))

    def _left(self, settings: str) -> bool:
        """Tell whether settings are those that the run wrote."""
        known = digest(settings)
        return known in str(self.description.get("settings", known)).split()

    def change(self, method: Method[Any], **more: Any) -> None:
        """Give the run other settings; those it began with are kept in ``run.json``."""
        told, path = self.description, self.path / SETTINGS_FILE
        text, before = config.to_toml(method), path.read_text(encoding="utf-8")
        begun_with = told.get("begun_with", before)
        # for a moment, either is the right one: a crash between two files harms nothing
        both = f"{digest(before)} {digest(text)}"
        self.describe(told["state"], told["round"], settings=both, begun_with=begun_with)
        write_whole(path, text)
        self.lay_out(method)
        self.describe(told["state"], told["round"], settings=digest(text), **more)

    def begun_with(self, methods: Methods) -> Method[Any]:
        """Make the method as it was when the run began, before any change.

        Raises
        ------
        StoreError
            If that cannot be read.
        """
        text = self.description.get("begun_with")
        if not text:
            return self.method(methods)
        try:
            return config.from_toml(text, methods)
        except (SettingError, *DAMAGED) as error:
            told = f"{self.described.file} cannot be read: begun_with: {error}"
            raise StoreError(told) from error

    def ask(self, command: Command) -> None:
        """Ask something of the run, which looks there after every step."""
        self.commands.append(stamped(**asdict(command)))

    def heard(self) -> Bookmark:
        """Give the bookmark after the last command that the run has heeded: of a new one, none."""
        told = self.description.get("heard")
        try:
            byte, line = map(int, told or (0, 0))
            if byte < 0 or line < 0:
                raise ValueError(f"expected a byte and a line, got {told}")
        except DAMAGED as error:
            raise StoreError(f"{self.described.file} cannot be read: heard: {error}") from error
        end = self.commands.end()
        return Bookmark(0, byte, line) if told and byte <= end.byte else end

    def asked(self, begin: Bookmark) -> Iterator[Command]:
        """Read what was asked since `begin`."""
        if self.commands.path.exists():
            yield from self.commands.read(
                lambda told: Command(told["name"], dict(told["changes"])), begin
            )

    def append(self, reports: Sequence[Report], elapsed: float) -> None:
        """Append the reports of one step, durably.

        Raises
        ------
        StoreError
            If another process has continued the run.
        """
        self.described.refuse_stranger()
        self.log.append({"elapsed": elapsed, "reports": [asdict(report) for report in reports]})

    def note(self, event: Event) -> None:
        """Append something the machine did; unlike reports, it stays when rounds are cut off."""
        self.happened.append(stamped(event=asdict(event)))

    def noted(self, begin: Bookmark | None = None) -> list[Event]:
        """Read what the machine did, since `begin` if there is one."""
        return list(self.happened.read(lambda told: results.event_of(**told["event"]), begin))

    def beat(self, told: Mapping[str, Any]) -> None:
        """Write what every slot is doing: for readers only, so that a full disk is no harm."""
        # another machine knows by it that the run is written: not by one that lost it
        with contextlib.suppress(OSError, StoreError):
            self.described.refuse_stranger()
            with replacing(self.heartbeat) as file:
                file.write(json.dumps({**told, "beat": next(self.beats)}).encode())

    def slots(self) -> dict[str, dict[str, Any]]:
        """Read what every slot was doing at the last heartbeat: state, round, fraction, worker."""
        try:
            found = dict(parsed(read_whole(self.heartbeat))["slots"])
            return {str(slot): dict(told) for slot, told in found.items()}
        except DAMAGED:
            return {}

    def steps(self, begin: Bookmark | None = None) -> Iterator[tuple[float, list[Report]]]:
        """Read the log: time and reports of each step, since `begin` if there is one."""
        return self.log.read(
            lambda step: (float(step["elapsed"]), [_report(**told) for told in step["reports"]]),
            begin,
        )

    def truncate(self, size: int) -> int:
        """Forget the log from byte `size` on: rounds that are to be computed again.

        Returns
        -------
        int
            How many rounds of one slot that is.

        Raises
        ------
        StoreError
            If the log is shorter: rounds that the checkpoint stands on are gone.
        """
        if self.log.size < size:
            raise StoreError(
                f"{self.log.path} is shorter than when the last checkpoint was written: "
                "the run cannot be continued; begin another one"
            )
        self.described.refuse_stranger()
        lines = self.log.truncate(size)
        self.log.append({})  # what another writer appends from now on is left out
        self.happened.mend()
        if self.commands.path.exists():
            self.commands.mend()
        cut = set()
        for line in lines:
            with contextlib.suppress(*DAMAGED):
                cut |= {(told["slot"], told["round"]) for told in parsed(line)["reports"]}
        return len(cut)

    def write_dataset(self, dataset: xr.Dataset) -> str:
        """Write the Dataset as zarr, whole or not at all; give its digest."""
        results.write(dataset, self.path / "dataset.zarr")
        return results.digest(self.path / "dataset.zarr")

    def read_dataset(self) -> xr.Dataset | None:
        """Read the Dataset, if it was written.

        Raises
        ------
        StoreError
            If it cannot be read, or is not the one that the run wrote.
        """
        path = self.path / "dataset.zarr"
        if not path.exists():
            return None
        found = results.read(path)
        written = self.description.get("dataset")
        if written is not None and results.digest(path) != written:
            raise StoreError(
                f"{path} cannot be read: it is not as the run wrote it; delete it, and the "
                "Dataset is made from the log"
            )
        return found


def stamped(**told: Any) -> dict[str, Any]:
    """Give a line of a journal the time, for people."""
    return {"time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), **told}


def _report(sizes: Sequence[int] = (), **told: Any) -> Report:
    return Report(**told, sizes=tuple(sizes))
