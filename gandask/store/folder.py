"""A run on disk: one folder that can be read while it is being written.

``config.toml`` (exact, re-runnable), ``run.json`` (format, state, facts), ``layout.json`` (how the
result is laid out: who reads it needs no data and no networks), ``reports.jsonl`` (one line per
step of the method, appended durably), ``steps.jsonl`` (the same as columns, with what the method
made of them: for readers), ``events.jsonl`` (what the machine did), ``commands.jsonl`` (what was
asked of the run from outside), ``heartbeat.json`` (what every slot is doing),
``checkpoints/round-000010/*.safetensors``, ``dataset.zarr``, ``samples/`` and, once it was
continued, an empty ``claim.lock``. Nothing in it is a pickle, and nothing in it is executed; a
function that ``config.toml`` names as ``module:function`` is imported by who continues the run, as
in any settings.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import socket
import time
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from filelock import FileLock

from gandask import config, results
from gandask.config import Methods
from gandask.core import Event, Layout, Method, Report, SettingError, StoreError
from gandask.store import layouts
from gandask.store.checkpoint import Checkpoints
from gandask.store.journal import Journal, Place, write_whole
from gandask.store.steering import Command

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 2
"""Of the folder. One of a newer format is refused; one of an older is read, but not continued."""

LIVE = ("running", "paused")
"""States of a run that a process is at work on."""

QUIET = 60.0
"""Seconds without a heartbeat after which a run on another host counts as interrupted."""


class Store:
    """One run's folder.

    Parameters
    ----------
    path : path-like
    """

    busy: ClassVar[set[Path]] = set()
    """Folders that runs of this process are writing, as long as they do."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().resolve()
        self.log = Journal(self.path / "reports.jsonl")
        self.columns = Journal(self.path / "steps.jsonl")
        self.commands = Journal(self.path / "commands.jsonl")
        self.happened = Journal(self.path / "events.jsonl")
        self.checkpoints = Checkpoints(self.path / "checkpoints")
        self.heartbeat = self.path / "heartbeat.json"
        self.description_file = self.path / "run.json"
        self.layout_file = self.path / "layout.json"
        self.writer = uuid.uuid4().hex

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], method: Method[Any], facts: Mapping[str, Any]
    ) -> Store:
        """Begin a new store.

        Raises
        ------
        StoreError
            If something is there already, or the folder cannot be written.
        """
        store = cls(path)
        settings = config.to_toml(method)
        store.refuse_existing()
        try:
            store.checkpoints.path.mkdir(parents=True)
            (store.path / "samples").mkdir()
            write_whole(store.path / "config.toml", settings)
            store._lay_out(method)
            for journal in (store.log, store.columns, store.happened, store.commands):
                journal.path.touch()
            store.describe("running", 0, facts=dict(facts), settings=_digest(settings))
        except OSError as error:
            raise StoreError(f"store={str(path)!r} cannot be created: {error}") from error
        return store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open a store that is there.

        Raises
        ------
        StoreError
            If there is none, or it was written by a newer version.
        """
        store = cls(path)
        if not (store.path / "config.toml").is_file():
            raise StoreError(f"{str(path)!r} is not a run: expected a folder with a config.toml")
        written = store.description["format"]
        if written > FORMAT:
            raise StoreError(
                f"{str(path)!r} was written by a newer gandask (store format {written}, this one "
                f"reads up to {FORMAT}): upgrade gandask to read it"
            )
        return store

    def refuse_existing(self) -> None:
        """Raise StoreError if something is there already."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise StoreError(
                f"store={str(self.path)!r} exists already: continue that run with resume=True "
                "(gandask resume DIR), or choose another name"
            )

    def refuse_older(self) -> None:
        """Raise StoreError if the run was written in a format that cannot be continued.

        Its reports do not say which task they are of.
        """
        written = self.description["format"]
        if written < FORMAT:
            raise StoreError(
                f"{str(self.path)!r} was written by an older gandask (store format {written}; this "
                f"one continues format {FORMAT}): it can be read, but not continued; finish it "
                "with the gandask that began it (gandask_version in its Dataset), or train its "
                "settings anew: gandask train DIR/config.toml --store OTHER"
            )

    @property
    def description(self) -> dict[str, Any]:
        """What ``run.json`` says: format, state, round, facts."""
        try:
            found = json.loads(self.description_file.read_bytes())
            known: dict[str, Any] = {"format": int(found["format"])}
            if known["format"] <= FORMAT:
                known |= {key: int(found[key]) for key in ("round", "process")}
                known |= {key: str(found[key]) for key in ("state", "writer")}
                known["facts"] = dict(found["facts"])
            return dict(found) | known
        except (OSError, ValueError, TypeError, KeyError) as error:
            told = f"{type(error).__name__}: {error}"
            raise StoreError(f"{self.description_file} cannot be read: {told}") from error

    def describe(self, state: str, round: int, **more: Any) -> None:
        """Write the run's state.

        Raises
        ------
        StoreError
            If another process has continued the run.
        """
        known = {"format": FORMAT}
        if self.description_file.exists():
            known = self.description
            self._refuse_stranger(known)
        known.pop("error", None)  # of a run that failed and was continued
        self._sign(known | {"state": state, "round": round, **more})

    def _sign(self, told: Mapping[str, Any]) -> None:
        """Write ``run.json`` in the name of this process."""
        signed = {
            "updated": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "writer": self.writer,
        }
        write_whole(self.description_file, json.dumps({**told, **signed}, indent=1))

    def _refuse_stranger(self, told: Mapping[str, Any]) -> None:
        if told["writer"] != self.writer:
            raise StoreError(f"{str(self.path)!r} was continued by another process: leave it to it")

    def claim(self) -> None:
        """Become the one who writes the run.

        Raises
        ------
        StoreError
            If another process is writing it, or its format is an older one.
        """
        self.refuse_older()
        with self._alone():
            self._claim()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep out others who look at the same moment whether the run is being written."""
        with contextlib.ExitStack() as held:
            # the lock is gone with the process; a file system may have none
            with contextlib.suppress(OSError, NotImplementedError):
                held.enter_context(FileLock(self.path / "claim.lock"))
            yield

    def _claim(self) -> None:
        told = self.description
        here = told.get("host") == socket.gethostname() and int(told["process"]) == os.getpid()
        ours = here and self.path not in self.busy
        if self.state in LIVE and not ours:
            raise StoreError(
                f"{str(self.path)!r} is being written by {'this' if here else 'another'} process "
                f"({told['process']} on {told.get('host')}): wait for it, or stop it; one that was "
                f"killed on another host counts as stopped after {QUIET:.0f} s"
            )
        self._sign(told | {"state": "running"})

    @property
    def state(self) -> str:
        """One of ``running``, ``paused``, ``finished``, ``failed``, ``stopped``, ``interrupted``.

        A run whose process is gone is interrupted; on another host, one without a heartbeat.
        """
        told = self.description
        state = str(told["state"])
        if state not in LIVE:
            return state
        here = told.get("host") == socket.gethostname()
        if here:
            return state if _alive(int(told["process"])) else "interrupted"
        quiet = min(_age(self.heartbeat), _age(self.description_file))
        return state if quiet < QUIET else "interrupted"

    @property
    def settings(self) -> str:
        """What ``config.toml`` says.

        Raises
        ------
        StoreError
            If it cannot be read, or is not as the run left it.
        """
        path = self.path / "config.toml"
        try:
            text = path.read_text(encoding="utf-8")
            if not self._left(text):  # unless it was changed between two looks
                text = path.read_text(encoding="utf-8")
                if not self._left(text):
                    raise ValueError("it is not as the run left it")
            tomllib.loads(text)
        except (OSError, ValueError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        return text

    def method(self, methods: Methods) -> Method[Any]:
        """Make the method from ``config.toml``, ready to be run.

        Raises
        ------
        StoreError
            If that cannot be read, or names what is not known here.
        """
        try:
            return config.from_toml(self.settings, methods)
        except SettingError as error:
            raise StoreError(
                f"{self.path / 'config.toml'} cannot be read: {error} (methods, networks and "
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
            return layouts.read(self.layout_file.read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            told = f"{type(error).__name__}: {error}"
            raise StoreError(f"{self.layout_file} cannot be read: {told}") from error

    def _lay_out(self, method: Method[Any]) -> None:
        write_whole(self.layout_file, layouts.written(method.layout(), method.rounds))

    def _left(self, settings: str) -> bool:
        """Tell whether settings are those that the run wrote."""
        digest = _digest(settings)
        return digest in str(self.description.get("settings", digest)).split()

    def change(self, method: Method[Any]) -> None:
        """Give the run other settings; those it began with are kept in ``run.json``."""
        told, path = self.description, self.path / "config.toml"
        text, before = config.to_toml(method), path.read_text(encoding="utf-8")
        begun_with = told.get("begun_with", before)
        # for a moment, either is the right one: a crash between two files harms nothing
        both = f"{_digest(before)} {_digest(text)}"
        self.describe(told["state"], told["round"], settings=both, begun_with=begun_with)
        write_whole(path, text)
        self._lay_out(method)
        self.describe(told["state"], told["round"], settings=_digest(text))

    def begun_with(self, methods: Methods) -> Method[Any]:
        """Make the method as it was when the run began, before any change."""
        text = self.description.get("begun_with")
        return config.from_toml(text, methods) if text else self.method(methods)

    def ask(self, command: Command) -> None:
        """Ask something of the run, which looks there after every step."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.commands.append({"time": now, **asdict(command)})

    def asked(self, place: Place) -> Iterator[Command]:
        """Read what was asked since `place`."""
        if self.commands.path.exists():
            yield from self.commands.read(
                lambda told: Command(told["name"], dict(told["changes"])), place
            )

    def append(self, reports: Sequence[Report], elapsed: float) -> None:
        """Append the reports of one step, durably.

        Raises
        ------
        StoreError
            If another process has continued the run.
        """
        self._refuse_stranger(self.description)
        self.log.append({"elapsed": elapsed, "reports": [asdict(report) for report in reports]})

    def note(self, event: Event) -> None:
        """Append something the machine did; unlike reports, it stays when rounds are cut off."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        self.happened.append({"time": now, "event": asdict(event)})

    def noted(self, place: Place | None = None) -> list[Event]:
        """Read what the machine did, since `place` if there is one."""
        return list(self.happened.read(lambda told: _event(**told["event"]), place))

    def beat(self, told: Mapping[str, Any]) -> None:
        """Write what every slot is doing: for readers only, so that a full disk is no harm."""
        with contextlib.suppress(OSError):
            partial = self.heartbeat.with_name("heartbeat.json.partial")
            partial.write_text(json.dumps(told))
            partial.replace(self.heartbeat)

    def slots(self) -> dict[str, dict[str, Any]]:
        """Read what every slot was doing at the last heartbeat: state, round, fraction, worker."""
        try:
            found = dict(json.loads(self.heartbeat.read_bytes())["slots"])
            return {str(slot): dict(told) for slot, told in found.items()}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def steps(self) -> Iterator[tuple[float, list[Report]]]:
        """Read the log: time and reports of each step."""
        return self.log.read(
            lambda step: (float(step["elapsed"]), [_report(**told) for told in step["reports"]])
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
        lines = self.log.truncate(size)
        self.happened.mend()
        if self.commands.path.exists():
            self.commands.mend()
        cut = set()
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):  # whatever was damaged
                cut |= {(told["slot"], told["round"]) for told in json.loads(line)["reports"]}
        return len(cut)

    def write_dataset(self, dataset: xr.Dataset) -> None:
        """Write the Dataset as zarr, whole or not at all."""
        results.write(dataset, self.path / "dataset.zarr")

    def read_dataset(self) -> xr.Dataset | None:
        """Read the Dataset, if it was written.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        path = self.path / "dataset.zarr"
        return results.read(path) if path.exists() else None


def _report(sizes: Sequence[int] = (), **told: Any) -> Report:
    return Report(**told, sizes=tuple(sizes))


def _event(round: int, **told: Any) -> Event:
    return Event(int(round), **told)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _age(path: Path) -> float:
    """Give the seconds since a file was written; infinity without one."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
