"""How a run stands, and who writes it: ``run.json`` in its folder.

One process writes a run. Who continues it claims it first, and whoever wrote it before is refused
from then on.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from filelock import FileLock

from gandask.core import StoreError
from gandask.store.journal import write_whole

FORMAT = 2
"""Of the folder. One of a newer format is refused; one of an older is read, but not continued."""

LIVE = ("running", "paused")
"""States of a run that a process is at work on."""

QUIET = 60.0
"""Seconds without a heartbeat after which a run on another host counts as interrupted."""


class Description:
    """What ``run.json`` says of a run.

    Parameters
    ----------
    folder : Path
        Of the run.
    """

    busy: ClassVar[set[Path]] = set()
    """Folders that runs of this process are writing, as long as they do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "run.json"
        self.heartbeat = folder / "heartbeat.json"
        self.writer = uuid.uuid4().hex

    def read(self) -> dict[str, Any]:
        """Read it: format, state, round, facts.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        try:
            found = json.loads(self.file.read_bytes())
            known: dict[str, Any] = {"format": int(found["format"])}
            if known["format"] <= FORMAT:
                known |= {key: int(found[key]) for key in ("round", "process")}
                known |= {key: str(found[key]) for key in ("state", "writer")}
                known["facts"] = dict(found["facts"])
            return dict(found) | known
        except (OSError, ValueError, TypeError, KeyError) as error:
            told = f"{type(error).__name__}: {error}"
            raise StoreError(f"{self.file} cannot be read: {told}") from error

    def refuse_older(self) -> None:
        """Raise StoreError if the run was written in a format that cannot be continued.

        Its reports do not say which task they are of.
        """
        written = self.read()["format"]
        if written < FORMAT:
            raise StoreError(
                f"{str(self.folder)!r} was written by an older gandask (store format {written}; "
                f"this one continues format {FORMAT}): it can be read, but not continued; finish "
                "it with the gandask that began it, or train its settings anew: "
                "gandask train DIR/config.toml --store OTHER"
            )

    def write(self, state: str, round: int, **more: Any) -> None:
        """Write the run's state.

        Raises
        ------
        StoreError
            If another process has continued the run.
        """
        known = {"format": FORMAT}
        if self.file.exists():
            known = self.read()
            self._refuse_other(known)
        known.pop("error", None)  # of a run that failed and was continued
        self._sign(known | {"state": state, "round": round, **more})

    def refuse_stranger(self) -> None:
        """Raise StoreError if another process has continued the run."""
        self._refuse_other(self.read())

    def _refuse_other(self, told: Mapping[str, Any]) -> None:
        if told["writer"] != self.writer:
            raise StoreError(
                f"{str(self.folder)!r} was continued by another process: leave it to it"
            )

    @property
    def state(self) -> str:
        """One of ``running``, ``paused``, ``finished``, ``failed``, ``stopped``, ``interrupted``.

        A run whose process is gone is interrupted; on another host, one without a heartbeat.
        """
        told = self.read()
        state = str(told["state"])
        if state not in LIVE:
            return state
        here = told.get("host") == socket.gethostname()
        if here:
            return state if _alive(int(told["process"])) else "interrupted"
        quiet = min(_age(self.heartbeat), _age(self.file))
        return state if quiet < QUIET else "interrupted"

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
                held.enter_context(FileLock(self.folder / "claim.lock"))
            yield

    def _claim(self) -> None:
        told = self.read()
        here = told.get("host") == socket.gethostname() and int(told["process"]) == os.getpid()
        ours = here and self.folder not in self.busy
        if self.state in LIVE and not ours:
            raise StoreError(
                f"{str(self.folder)!r} is being written by {'this' if here else 'another'} process "
                f"({told['process']} on {told.get('host')}): wait for it, or stop it; one that was "
                f"killed on another host counts as stopped after {QUIET:.0f} s"
            )
        self._sign(told | {"state": "running"})

    def _sign(self, told: Mapping[str, Any]) -> None:
        """Write ``run.json`` in the name of this process."""
        signed = {
            "updated": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "process": os.getpid(),
            "writer": self.writer,
        }
        write_whole(self.file, json.dumps({**told, **signed}, indent=1))


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
