"""How a run stands, and who writes it: ``run.json`` in its folder.

One process writes a run. Who continues it claims it first, and gets the next number: whoever wrote
it before is refused from then on, and what it still writes is left out. A writer that lives is
known by the lock that it holds, by its process, or, on another machine, by a heartbeat that moves.
No clock is compared with another.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from gandask.config import RUN_FILE
from gandask.core import StoreError, lock
from gandask.core.files import DAMAGED, parsed, read_whole, write_whole
from gandask.display import printable

logger = logging.getLogger("gandask")

FORMAT = 2
"""Of the folder. One of a newer format is refused; one of an older is read, but not continued."""

LIVE = ("running", "paused")
"""States of a run that a process is at work on."""
STATES = (*LIVE, "finished", "failed", "stopped", "interrupted")

MOST = 2**31
"""Writers that a run can have, one after another."""

QUIET = 60.0
"""Seconds in which nothing of a run was seen to move after which its writer, on another machine,
counts as gone."""
LOOK = 0.5  # seconds between two looks at what may move


def scored(best: tuple[str, float] | None, final: bool = False) -> dict[str, Any] | None:
    """Write down a score's name and best value: what lists of runs show without a Dataset.

    None where there is none, or it is no number that JSON has.

    Examples
    --------
    >>> scored(("fid", 7.5))
    {'score': 'fid', 'value': 7.5, 'final': False}
    """
    if best is None or not math.isfinite(best[1]):
        return None
    return {"score": best[0], "value": best[1], "final": final}


class Description:
    """What ``run.json`` says of a run.

    Parameters
    ----------
    folder : Path
        Of the run.
    """

    busy: ClassVar[dict[Path, str]] = {}
    """Folders that runs of this process are writing, as long as they do, and by which writer."""
    watched: ClassVar[dict[Path, tuple[bytes, float]]] = {}
    """What was last seen of runs of other machines, and since when, by this process's own clock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / RUN_FILE
        self.heartbeat = folder / "heartbeat.json"
        self.lock_file = folder / "run.lock"
        self.writer = uuid.uuid4().hex
        self.fence = 0
        self.signed: dict[str, Any] = {}
        self.copy_of = ""
        self.lock: lock.Lock | None = None

    def read(self) -> dict[str, Any]:
        """Read it: format, state, round, facts.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        try:
            found = parsed(read_whole(self.file))
            known: dict[str, Any] = {"format": int(found["format"])}
            if known["format"] <= FORMAT:
                known |= {key: int(found[key]) for key in ("round", "process")}
                known |= {key: str(found[key]) for key in ("state", "writer")}
                if known["state"] not in STATES:
                    raise ValueError(f"state = {known['state']!r}: expected one of {STATES}")
                known["facts"] = dict(found["facts"])
                if "" in known["facts"]:
                    raise ValueError("a fact without a name")
                noted = {"updated": "", **found}
                known |= {key: str(noted[key]) for key in ("updated", "error") if key in noted}
                known["fence"] = int(found.get("fence", 0))
                if not 0 <= known["fence"] <= MOST:
                    raise ValueError(f"fence = {known['fence']}: expected the number of a writer")
                # of a writer that lost the run, and did not know yet
                if known["fence"] < self.fence:
                    return dict(self.signed)
            return dict(found) | known
        except DAMAGED as error:
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

    def take(self) -> None:
        """Take the run's lock, where there are locks: BlockingIOError if another process has it."""
        self.lock = lock.take(self.lock_file)

    def begin(self, round: int, **more: Any) -> None:
        """Write it for the first time, as the one who writes the run."""
        before = 0
        with contextlib.suppress(StoreError):  # of a run that came to nothing, there is one
            before = self.read()["fence"]
        self.fence = before + 1
        self._sign({"format": FORMAT, "state": "running", "round": round, **more})

    def write(self, state: str, round: int, **more: Any) -> None:
        """Write the run's state.

        Raises
        ------
        StoreError
            If another process has continued the run.
        """
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

        A run whose process is gone is interrupted; on another machine, one of which this process
        has seen nothing move for `QUIET` seconds.
        """
        told = self.read()
        state = str(told["state"])
        if state not in LIVE:
            return state
        lives = self._lives(told)
        if lives is None:
            lives = self._quiet() < QUIET
        return state if lives else "interrupted"

    def claim(self, force: bool = False) -> None:
        """Become the one who writes the run.

        Where its writer was on another machine, this waits until nothing of the run has moved for
        `QUIET` seconds.

        Parameters
        ----------
        force : bool
            Whether to take it from a writer that seems to live; that one is refused from then on.

        Raises
        ------
        StoreError
            If another process is writing it, or its format is an older one.
        """
        self.refuse_older()
        told = self.read()
        here = told.get("machine") == lock.machine() and told["process"] == os.getpid()
        try:
            self.take()
        except BlockingIOError:
            if not force:
                raise StoreError(self._written_by(told, "another")) from None
        told = self.read()
        ours = here and self.folder not in self.busy
        if told["state"] in LIVE and not ours and not force and not self._is_left(told):
            self.release()
            raise StoreError(self._written_by(told, "this" if here else "another"))
        self.copy_of = self._copied_from(told)
        self.fence = int(told["fence"]) + 1
        self._sign(told | {"state": "running"})

    def release(self) -> None:
        """Let others claim the run, unless another part of this process writes it too."""
        self.lock = None  # ends with whoever is the last to have it
        if self.busy.get(self.folder) == self.writer:
            del self.busy[self.folder]

    def _written_by(self, told: Mapping[str, Any], whose: str) -> str:
        return (
            f"{str(self.folder)!r} is being written by {whose} process ({told['process']} on "
            f"{told.get('host')}): wait for it, or stop it; if you know that it is gone: "
            "gandask resume --force DIR, or gd.run(..., resume=True, force=True)"
        )

    def _is_left(self, told: Mapping[str, Any]) -> bool:
        """Tell whether the writer is gone; of one on another machine after watching for a while."""
        lives = self._lives(told)
        if lives is not None:
            return not lives
        first = self._pulse()
        logger.warning(
            "%s was written on %s: watching for %.0f s whether it still is (--force: at once)",
            self.folder,
            printable(str(told.get("host"))),
            QUIET,
        )
        while self._quiet() < QUIET:
            time.sleep(LOOK)
            if self._pulse() != first:
                return False
        return True

    def _lives(self, told: Mapping[str, Any]) -> bool | None:
        """Tell whether the writer lives; None if it cannot be told from here."""
        if self.lock is None and lock.is_held(self.lock_file):
            return True
        if told.get("machine") != lock.machine():
            return None
        alive = lock.lives(told["process"], told.get("born"))
        # it may be at work on what this is a copy of
        return None if alive and self._copied_from(told) else alive

    def _copied_from(self, told: Mapping[str, Any]) -> str:
        """Name the folder that this one is a copy of; of one that was moved or restored, none."""
        home, here = told.get("home"), self._home()
        if not isinstance(home, dict) or home.get("inode") == here["inode"]:
            return ""
        moved = [home.get(key) != here[key] for key in ("path", "host")]
        return f"{home.get('path')} on {home.get('host')}" if any(moved) else ""

    def _home(self) -> dict[str, Any]:
        """Say which folder this is."""
        host, inode = socket.gethostname(), self.folder.stat().st_ino
        return {"path": str(self.folder), "host": host, "inode": inode}

    def _quiet(self) -> float:
        """Give the seconds for which this process has seen nothing of the run move."""
        seen, now = self._pulse(), time.monotonic()
        known = self.watched.get(self.folder)
        if known is None or known[0] != seen:
            self.watched[self.folder] = seen, now
            return 0.0
        return now - known[1]

    def _pulse(self) -> bytes:
        """Give what moves as long as a run is written."""
        found = b""
        for file in (self.heartbeat, self.file):
            try:
                found += read_whole(file)
            except (OSError, ValueError):
                found += b"-"
        return found

    def _sign(self, told: Mapping[str, Any]) -> None:
        """Write ``run.json`` in the name of this process."""
        signed = {
            "updated": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "machine": lock.machine(),
            "process": os.getpid(),
            "born": lock.born(os.getpid()),
            "writer": self.writer,
            "fence": self.fence,
            "home": self._home(),
        }
        self.signed = {**told, **signed}
        write_whole(self.file, json.dumps(self.signed, indent=1))
