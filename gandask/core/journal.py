"""Journals: files of lines that survive a crash, and a writer that a run was taken from.

Each line carries the number of its writer. Who takes a run over has the next one, so that a line
of a smaller number that comes after it is left out: its writer was frozen while it lost the run.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from gandask.core import StoreError
from gandask.core.files import DAMAGED, opened, parsed, replacing

T = TypeVar("T")
LONGEST = 1 << 30
"""Bytes of a line that is read: many times those of the largest population's reports."""
BLOCK = 1 << 20


@dataclass
class Bookmark:
    """Where reading of a journal is: its file, byte and line, and the last writer's number."""

    file: int = 0
    byte: int = 0
    line: int = 0
    fence: int = 0


class Journal:
    """A file of JSON lines, appended durably; arrays are kept exactly.

    Parameters
    ----------
    path : Path
    longest : int
        Bytes of a line that is read.
    """

    def __init__(self, path: Path, longest: int = LONGEST) -> None:
        self.path, self.longest = path, longest
        self.fence: int | None = None
        self.hashed = _nothing()

    @property
    def size(self) -> int:
        """Bytes written so far."""
        with self._opened() as file:
            return os.fstat(file.fileno()).st_size

    def append(self, line: Mapping[str, Any], *, durable: bool = True) -> None:
        """Append a line, or nothing; not `durable` is what can be made again."""
        text = self._line(line)
        # unbuffered: what a buffer holds back would be written on closing, after all
        with opened(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                while text:
                    text = text[file.write(text) :]
                if durable:
                    os.fsync(file.fileno())
            except OSError:
                os.ftruncate(file.fileno(), size)
                raise

    @contextlib.contextmanager
    def replaced(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Write all lines anew: those given to the function that comes, once the block is done."""
        with replacing(self.path) as file:

            def write(line: Mapping[str, Any]) -> None:
                file.write(self._line(line))

            yield write

    def read(self, understood: Callable[[Any], T], begin: Bookmark | None = None) -> Iterator[T]:
        """Read line by line. One that is still being written is left out.

        Parameters
        ----------
        understood : callable
            What to make of a line.
        begin : Bookmark, optional
            Where to begin. It moves along, to where the next reading begins.

        Raises
        ------
        StoreError
            If a line is not JSON, is too long or too deep, or is not `understood`; or the bookmark
            is of no journal.
        """
        bookmark = begin or Bookmark()
        if bookmark.byte < 0:
            raise StoreError(f"{self.path} cannot be read: it has no byte {bookmark.byte}")
        with self._opened() as file:
            bookmark.file = os.fstat(file.fileno()).st_ino
            file.seek(bookmark.byte)
            for line in self._lines(file):
                bookmark.byte, bookmark.line = file.tell(), bookmark.line + 1
                try:
                    if len(line) > self.longest:
                        raise ValueError(f"it is longer than {self.longest} bytes")
                    told = parsed(line, decoded)
                    if not self._is_late(told, bookmark):
                        yield understood(told)
                except DAMAGED as error:
                    spoken = f"{type(error).__name__}: {error}"
                    raise StoreError(
                        f"{self.path}, line {bookmark.line} is damaged: {spoken}"
                    ) from error

    def _lines(self, file: IO[bytes]) -> Iterator[bytes]:
        """Give whole lines; of one that is too long, no more than tells that it is.

        After one that does not end, there is nothing more to be read.
        """
        while line := file.readline(self.longest + 1):
            rest, size = line, len(line)
            while rest and not rest.endswith(b"\n"):
                if size > LONGEST:
                    file.seek(0, os.SEEK_END)
                    break
                rest = file.readline(BLOCK)
                size += len(rest)
            if not rest:
                return
            yield line

    @staticmethod
    def _is_late(told: Any, bookmark: Bookmark) -> bool:
        """Tell whether a line is of a writer that had lost the run, or says no more than its own.

        Its number is taken off.
        """
        fence = told.pop("fence", None) if isinstance(told, dict) else None
        if fence is None:
            return False
        before, bookmark.fence = bookmark.fence, max(bookmark.fence, int(fence))
        return int(fence) < before or not told

    def goes_on(self, bookmark: Bookmark) -> bool:
        """Tell whether the file is still the one that was read up to `bookmark`."""
        with self._opened() as file:
            told = os.fstat(file.fileno())
            return bookmark.file in (0, told.st_ino) and 0 <= bookmark.byte <= told.st_size

    def truncate(self, size: int) -> list[bytes]:
        """Cut everything from byte `size` on, and give the whole lines among it."""
        with self._opened(os.O_RDWR) as file:
            file.seek(size)
            cut = [*self._lines(file)]
            file.truncate(size)
        if size < self.hashed[1]:
            self.hashed = _nothing()
        return cut

    def take(self, path: Path) -> None:
        """Have another file for this one, which is replaced."""
        path.replace(self.path)
        self.hashed = _nothing()

    def mend(self) -> None:
        """Cut off a last line that is not whole."""
        with self._opened(os.O_RDWR) as file:
            file.truncate(_whole(file)[0])

    def digest(self, size: int) -> str:
        """Give a digest of the first bytes; what was read for it before is not read again.

        Raises
        ------
        StoreError
            If there are fewer.
        """
        known, done = self.hashed if self.hashed[1] <= size else _nothing()
        with self._opened() as file:
            file.seek(done)
            while done < size and (block := file.read(min(BLOCK, size - done))):
                known.update(block)
                done += len(block)
        self.hashed = known, done
        if done < size:
            raise StoreError(f"{self.path} is shorter than it was: {done} bytes of {size}")
        return str(known.hexdigest())

    def end(self) -> Bookmark:
        """Give the bookmark after the last line, whatever the lines are."""
        if not self.path.exists():
            return Bookmark()
        with self._opened() as file:
            return Bookmark(os.fstat(file.fileno()).st_ino, *_whole(file))

    def _opened(self, flags: int = os.O_RDONLY) -> IO[bytes]:
        try:
            return opened(self.path, flags)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error

    def _line(self, told: Mapping[str, Any]) -> bytes:
        fenced = told if self.fence is None else {"fence": self.fence, **told}
        return json.dumps(fenced, default=encoded).encode() + b"\n"


def _whole(file: IO[bytes]) -> tuple[int, int]:
    """Tell how many bytes and how many lines are whole, a block at a time."""
    byte, line = 0, 0
    while block := file.read(BLOCK):
        line += block.count(b"\n")
        if b"\n" in block:
            byte = file.tell() - len(block) + block.rfind(b"\n") + 1
    return byte, line


def _nothing() -> tuple[Any, int]:
    """Give the digest of nothing, and how many bytes that is."""
    return hashlib.blake2b(digest_size=16), 0


def encoded(value: Any) -> Any:
    """Give the JSON form of an array, exact and compact, as base64 of its bytes; or of a scalar."""
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufcSUmM":
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
        raise StoreError(f"{kind} in a report: expected numbers or text")
    data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
    return {"dtype": value.dtype.str, "shape": value.shape, "base64": data}


def decoded(table: dict[str, Any]) -> Any:
    """Give back what `encoded` made of an array; other tables stay as they are."""
    if table.keys() != {"dtype", "shape", "base64"}:
        return table
    data = base64.b64decode(table["base64"])  # frombuffer refuses objects
    return np.frombuffer(data, np.dtype(table["dtype"])).reshape(table["shape"])
