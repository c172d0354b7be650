"""Samples to look at, of every round of every slot: one file for each slot, beside the log.

``shown/form.json`` tells kind and shape of what a slot shows at a time; ``shown/cell-0.rounds`` is
a row of such records, each behind the number of its round. A round that was computed again has two:
the later one counts. They are for the eye alone: a full disk, or their loss, harms nothing else.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gandask.core import Array, StoreError
from gandask.core.files import DAMAGED, opened, parsed, read_whole, write_whole
from gandask.core.shown import CHANNELS, STEPS, unpacked

ENDING = ".rounds"
REAL = "real"  # in the place of a slot
KINDS = ("uint8", "float16")
LARGEST = 1 << 24
"""Bytes of a record that is read."""
MOST = 1 << 16
"""Records of a slot that are looked at."""
ROUND = 4  # bytes


class Shown:
    """What every slot showed after each of its rounds.

    Parameters
    ----------
    path : Path
        Folder of the files.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.form_file = path / "form.json"
        self.form: Any = None  # of what this process has appended
        self.kinds: dict[Any, np.dtype[Any]] = {}  # by the file that tells, as it was when read
        self.known: dict[str, list[int]] = {}  # by slot, rounds that were read

    def append(self, slot: str, round: int, samples: Array) -> None:
        """Keep what a slot shows after a round, if the disk has room.

        Parameters
        ----------
        slot : str
        round : int
        samples : array
            As `gandask.core.shown.packed` makes them, of the same kind and shape each time.

        Raises
        ------
        StoreError
            If they are of another.
        """
        with contextlib.suppress(OSError):
            self._write(slot, np.array([(round, samples)], self._begun(samples)))

    def slots(self, known: Iterable[str]) -> list[str]:
        """Name those of the known slots that have shown anything."""
        there = {file.name for file in self.path.glob("*" + ENDING)}
        return [slot for slot in known if _name(slot) in there]

    def rounds(self, slot: str) -> list[int]:
        """Give the rounds that a slot has shown samples of, in order."""
        with self._opened(slot) as records:
            return sorted({*records.rounds})

    def at(
        self, slot: str, round: int, counts: Callable[[int], bool] | None = None
    ) -> Array | None:
        """Give what a slot showed last up to a round, if it had shown anything.

        Parameters
        ----------
        slot : str
        round : int
        counts : callable, optional
            Tells of a round whether what was shown then counts: all do by default.

        Returns
        -------
        array of float32
            Images (n, channels, height, width) in [-1, 1], points (n, 2), or sequences
            (n, steps, channels).

        Raises
        ------
        StoreError
            If the form of what is stored cannot be read.
        """
        with self._opened(slot) as records:
            known = [
                (of, place)
                for place, of in enumerate(records.rounds)
                if of <= round and (counts is None or counts(of))
            ]
            return unpacked(records.read(max(known)[1])) if known else None

    def real(self) -> Array | None:
        """Give real samples, where the run keeps any; see `at`."""
        return self.at(REAL, 0)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.path.glob("*" + ENDING))

    def keep(self, slots: Collection[str]) -> None:
        """Remove what all others have shown."""
        names = {_name(slot) for slot in slots}
        for file in self.path.glob("*" + ENDING):
            if file.name not in names:
                file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _begun(self, samples: Array) -> np.dtype[Any]:
        """Write the form of what is shown when the first comes; give the type of a record."""
        form = {"kind": samples.dtype.name, "shape": list(samples.shape)}
        if self.form is None:
            if not self.form_file.exists():
                self.path.mkdir(exist_ok=True)
                write_whole(self.form_file, json.dumps(form))
            self.form = self._read_form()
        if form != self.form:
            raise StoreError(f"{self.path}: expected samples of the form {self.form}, got {form}")
        return _record(form)

    def _kind(self) -> np.dtype[Any]:
        """Give the type of a record, as the form tells it now."""
        told = self.form_file.stat()
        seen = told.st_ino, told.st_mtime_ns, told.st_size
        if seen not in self.kinds:
            self.kinds = {seen: _record(self._read_form())}
        return self.kinds[seen]

    def _read_form(self) -> Any:
        try:
            return parsed(read_whole(self.form_file))
        except FileNotFoundError:
            raise
        except DAMAGED as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error

    def _write(self, slot: str, record: Array) -> None:
        with opened(self.path / _name(slot), os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            size = os.fstat(file.fileno()).st_size
            if size % record.nbytes:  # a crash cut the last one short
                os.ftruncate(file.fileno(), size - size % record.nbytes)
            file.write(record.tobytes())

    @contextlib.contextmanager
    def _opened(self, slot: str) -> Iterator[Records]:
        try:
            kind = self._kind()
            with opened(self.path / _name(slot)) as file:
                found = Records(file.fileno(), kind, self.known.get(slot, []))
                self.known[slot] = found.rounds
                yield found
        except FileNotFoundError:
            yield Records(-1, np.dtype("<u4"), [])
        except DAMAGED as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error


class Records:
    """The whole records of one open file, the first ones where there are very many.

    Each is read by itself when it is asked for: a file is mapped into memory at the risk of this
    process, should somebody cut it short.

    Parameters
    ----------
    handle : int
        Of the open file; -1 if there is none.
    kind : dtype
        Of a record.
    rounds : list of int
        Those of its first records, as they were read before.
    """

    def __init__(self, handle: int, kind: np.dtype[Any], rounds: Sequence[int]) -> None:
        self.handle, self.kind = handle, kind
        count = os.fstat(handle).st_size // kind.itemsize if handle >= 0 else 0
        known = list(rounds[:count])
        if known and known[-1] != self._round(len(known) - 1):  # it was begun anew
            known = []
        self.rounds = known + [self._round(place) for place in range(len(known), min(count, MOST))]

    def _round(self, place: int) -> int:
        return int.from_bytes(os.pread(self.handle, ROUND, place * self.kind.itemsize), "little")

    def read(self, place: int) -> Array:
        """Give the samples of a record."""
        size = self.kind.itemsize
        data = os.pread(self.handle, size, place * size)
        return np.asarray(np.frombuffer(data, self.kind)["samples"][0])


def _record(form: Mapping[str, Any]) -> np.dtype[Any]:
    """Give the type of a record; a stranger's run may tell of any."""
    kind, shape = form["kind"], form["shape"]
    sides = shape if isinstance(shape, list) else []
    whole = all(type(side) is int and side > 0 for side in sides)
    points = len(sides) == 2 and sides[1:] == [2]
    sequences = len(sides) == 3 and whole and sides[1] <= STEPS and sides[2] <= CHANNELS
    fitting = points or sequences if kind == "float16" else len(sides) == 4
    if not (whole and kind in KINDS and fitting):
        raise ValueError(
            f"expected images of uint8, or points or sequences of float16, got {kind!r} {shape!r}"
        )
    if math.prod(sides) * np.dtype(kind).itemsize > LARGEST:
        raise ValueError(f"{shape!r} is more than {LARGEST} bytes")
    return np.dtype([("round", "<u4"), ("samples", kind, tuple(sides))])


def _name(slot: str) -> str:
    """Name the file of a slot.

    Examples
    --------
    >>> _name("cell/0")
    'cell-0.rounds'
    """
    return slot.replace("/", "-") + ENDING
