"""What a client keeps of its own: secret, states, answers, ledger and private scores.

All of it stays where the data are. One process holds the folder; what it writes is there whole or
not at all.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Collection, Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from gandask import config
from gandask.checks import refuse_address, spelt_out
from gandask.clients.spending import HOLDER, LOCK, PrivacyLedger
from gandask.core import Array, SettingError, State, StoreError
from gandask.core.files import DAMAGED, parsed, read_whole, replacing, sync
from gandask.core.journal import Journal
from gandask.training import stored

KEPT = 16
"""States, and answers, of which none is given up however many come after it."""

SECRET, LEDGER, SCORES = "secret", "ledger.jsonl", "scores.jsonl"
STATES, ANSWERS = "states", "answers"
OWN = frozenset(
    {LOCK, HOLDER, *(Path(name).stem for name in (SECRET, LEDGER, SCORES, STATES, ANSWERS))}
)
SECRET_BYTES = 32
LONGEST_LINE = 1 << 20
KEY = re.compile(r"[0-9a-f]{16,128}")
"""A digest: what states and answers are kept under, and all that names a file."""


class PrivateStore:
    """A client's own folder, or the same in memory for a simulation.

    Parameters
    ----------
    folder : Path, optional
        Made if it is not there, for its owner's eyes alone. None keeps all in memory.
    secret : bytes, optional
        Of 32 bytes, for a simulation that is to be repeated; drawn once if not given. Whoever knows
        it can take the noise off again.

    Attributes
    ----------
    secret : bytes
    ledger : PrivacyLedger

    Raises
    ------
    SettingError
        For a folder within a run's, one that holds other things or that others may read, or
        another secret than it has.
    DataError
        If its ledger is damaged.
    StoreError
        If another process holds it, a part of it is lost, or it cannot be read or written.
    """

    def __init__(self, folder: Path | None = None, secret: bytes | None = None) -> None:
        if secret is not None and len(secret) != SECRET_BYTES:
            raise SettingError(f"secret: expected {SECRET_BYTES} bytes, got {len(secret)}")
        self.folder = folder
        self._scores: list[Mapping[str, Any]] = []
        self._journal: Journal | None = None
        self._states: MutableMapping[str, bytes] = _Memory()
        self._answers: MutableMapping[str, bytes] = _Memory()
        if folder is None:
            self.ledger = PrivacyLedger()
            self.secret = secret or secrets.token_bytes(SECRET_BYTES)
            return
        with _told(folder):
            _prepare(folder)
            self.ledger = PrivacyLedger(folder / LEDGER)
            try:
                self._open(folder, secret)
            except BaseException:
                self.close()
                raise

    def _open(self, folder: Path, given: bytes | None) -> None:
        """Read what is there, once the folder is this process's."""
        for parent in (folder, folder / STATES, folder / ANSWERS):
            for path in parent.glob("*.partial"):
                path.unlink()
        own = _Files(folder)
        if SECRET not in own:
            own[SECRET] = given or secrets.token_bytes(SECRET_BYTES)
        self.secret = own[SECRET]
        if len(self.secret) != SECRET_BYTES:
            raise StoreError(
                f"{folder / SECRET} is damaged: expected {SECRET_BYTES} bytes, got "
                f"{len(self.secret)}; put a whole copy of the folder in its place"
            )
        if given not in (None, self.secret):
            raise SettingError(f"secret: {folder} has another; leave it out, or choose a folder")
        self._states, self._answers = _Files(folder / STATES), _Files(folder / ANSWERS)
        self._journal = Journal(folder / SCORES, LONGEST_LINE)
        if self._journal.path.exists():
            self._journal.mend()
            self._scores = [*self._journal.read(dict)]

    def put(self, digest: str, state: State) -> None:
        """Keep a state; where it is kept already, it becomes the newest.

        Raises
        ------
        ValueError
            If `digest` is none.
        StoreError
            If it cannot be written.
        """
        # safetensors writes the bytes as they lie
        arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
        told = {"digest": stored.digest_of(arrays)}
        with _told(self.folder):
            self._states[_checked(digest)] = safetensors.numpy.save(arrays, told)

    def get(self, digest: str) -> dict[str, Array] | None:
        """Give a state, or None if it is not kept.

        Raises
        ------
        ValueError
            If `digest` is none.
        StoreError
            If it cannot be read, or is damaged.
        """
        with _told(self.folder):
            data = self._states.get(_checked(digest))
            return None if data is None else _unpacked(data)

    @property
    def digests(self) -> tuple[str, ...]:
        """What states are kept under, oldest first."""
        with _told(self.folder):
            return tuple(self._states)

    def keep(self, digests: Collection[str]) -> None:
        """Give up older states and answers: all but the newest `KEPT`, and states that count still.

        An answer that was given up is computed again from its state, and comes to the same.

        Parameters
        ----------
        digests : collection of str
            States that must not be given up: those that a checkpoint of the run builds on.
        """
        with _told(self.folder):
            for kept, named in ((self._states, digests), (self._answers, ())):
                for key in [*kept][:-KEPT]:
                    if key not in named:
                        del kept[key]

    def answer(self, key: str) -> bytes | None:
        """Give the answer that a request was given, or None if it is not kept."""
        with _told(self.folder):
            return self._answers.get(_checked(key))

    def remember(self, key: str, frame: bytes) -> None:
        """Keep the answer to a request."""
        with _told(self.folder):
            self._answers[_checked(key)] = frame

    def note(self, scores: Mapping[str, Any]) -> None:
        """Keep scores that were computed from private data, for the client's own page."""
        with _told(self.folder):
            if self._journal is not None:
                self._journal.append(scores)
        self._scores.append(dict(scores))

    @property
    def scores(self) -> tuple[Mapping[str, Any], ...]:
        """What was noted, oldest first."""
        return tuple(self._scores)

    def close(self) -> None:
        """Let another process have the folder."""
        self.ledger.close()

    def __enter__(self) -> PrivateStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def is_private(folder: Path) -> bool:
    """Tell whether a folder is a client's own."""
    return all(os.path.lexists(folder / name) for name in (LOCK, LEDGER))


def lies_in_private(path: Path) -> bool:
    """Tell whether a path is that of a client's folder, or leads below one, be it by a link."""
    ways = (Path(spelt_out(str(path))), path.resolve())
    return any(is_private(folder) for way in ways for folder in (way, *way.parents))


class _Memory(dict[str, bytes]):
    """Bytes by name, oldest first."""

    def __setitem__(self, name: str, data: bytes) -> None:
        self.pop(name, None)
        super().__setitem__(name, data)


class _Files(MutableMapping[str, bytes]):
    """Files of a folder by name, oldest first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)

    def __getitem__(self, name: str) -> bytes:
        try:
            return read_whole(self.folder / name, stored.STATES)
        except FileNotFoundError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, data: bytes) -> None:
        with replacing(self.folder / name) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            # finer than most file systems take it from their clock
            os.utime(file.fileno(), ns=(time.time_ns(),) * 2)
            os.fsync(file.fileno())
        sync(self.folder)

    def __delitem__(self, name: str) -> None:
        (self.folder / name).unlink()

    def __iter__(self) -> Iterator[str]:
        found = [path for path in self.folder.iterdir() if KEY.fullmatch(path.name)]
        return iter([path.name for path in sorted(found, key=lambda p: p.stat().st_mtime_ns)])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _checked(key: str) -> str:
    """Give a key, if it is a digest: it may come from elsewhere, and is a file's name."""
    if not KEY.fullmatch(key):
        raise ValueError(f"{key!r}: expected a digest, 16 to 128 hexadecimal digits")
    return key


def _unpacked(data: bytes) -> dict[str, Array]:
    """Read the arrays that `PrivateStore.put` packed.

    Raises
    ------
    StoreError
        If they are damaged.
    """
    try:
        header = parsed(data[8 : 8 + int.from_bytes(data[:8], "little")])
        arrays = safetensors.numpy.load(data)
        if header["__metadata__"]["digest"] != stored.digest_of(arrays):
            raise ValueError("it is not what was written")
    except (*DAMAGED, safetensors.SafetensorError) as error:
        raise StoreError(
            f"a state is damaged ({type(error).__name__}: {error}): put a whole copy of the "
            "client's folder in its place, or begin anew with another"
        ) from error
    return arrays


def _prepare(folder: Path) -> None:
    """Make a client's folder, or look whether one that is there may be one.

    Raises
    ------
    SettingError
    StoreError
        If what every such folder has is lost.
    """
    refuse_address("private store", str(folder))
    told = f"private store {str(folder)!r}"
    if config.lies_in_a_run(folder):
        raise SettingError(
            f"{told} lies within a run, which its server reads: choose a folder beside the data"
        )
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
    if not folder.is_dir():
        raise SettingError(f"{told}: expected a folder, or none yet, got a file")
    if folder.stat().st_mode & 0o077:
        raise SettingError(f"{told}: others may read it; chmod 700 it, or choose another folder")
    foreign = [path.name for path in folder.iterdir() if path.name.split(".")[0] not in OWN]
    if foreign:
        raise SettingError(
            f"{told} holds other things, such as {min(foreign)!r}: choose a folder of its own"
        )
    # made in this order: ledger, secret, the others
    for name, others in ((LEDGER, (SECRET, STATES)), (SECRET, (STATES,))):
        if not (folder / name).exists() and any((folder / other).exists() for other in others):
            raise StoreError(
                f"{folder / name} is lost: what was spent cannot be told, or no answer repeated; "
                "put a whole copy of the folder in its place, or answer no more with these data"
            )


@contextlib.contextmanager
def _told(folder: Path | None) -> Iterator[None]:
    """Say of which folder it is that something could not be read or written.

    Raises
    ------
    StoreError
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder} cannot be read or written ({error}): see that it is there, that its disk "
            "has space left, and that it may be written; a whole copy may take its place"
        ) from error
