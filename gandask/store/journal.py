"""Files that survive a crash: whole or not at all, and line by line."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from gandask.core import StoreError

T = TypeVar("T")


@dataclass
class Bookmark:
    """Where reading of a journal is: its file, the byte, and how many lines that was."""

    file: int = 0
    byte: int = 0
    line: int = 0


class Journal:
    """A file of JSON lines, appended durably; arrays are kept exactly.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes written so far."""
        with self._opened("rb") as file:
            return os.fstat(file.fileno()).st_size

    def append(self, line: Mapping[str, Any], *, durable: bool = True) -> None:
        """Append a line, or nothing; not `durable` is what can be made again."""
        text = _line(line)
        # unbuffered: what a buffer holds back would be written on closing, after all
        with self.path.open("ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                while text:
                    text = text[file.write(text) :]
                if durable:
                    os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, size)
                raise

    @contextlib.contextmanager
    def replaced(self) -> Iterator[Callable[[Mapping[str, Any]], None]]:
        """Write all lines anew: those given to the function that comes, once the block is done."""
        partial = self.path.with_name(self.path.name + ".partial")
        with partial.open("wb") as file:

            def write(line: Mapping[str, Any]) -> None:
                file.write(_line(line))

            yield write
        partial.replace(self.path)

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
            If a line is not JSON, or is not `understood`.
        """
        bookmark = begin or Bookmark()
        with self._opened("rb") as file:
            bookmark.file = os.fstat(file.fileno()).st_ino
            file.seek(bookmark.byte)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                bookmark.byte, bookmark.line = bookmark.byte + len(line), bookmark.line + 1
                try:
                    yield understood(json.loads(line, object_hook=decoded))
                except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
                    told = f"{type(error).__name__}: {error}"
                    raise StoreError(
                        f"{self.path}, line {bookmark.line} is damaged: {told}"
                    ) from error

    def goes_on(self, bookmark: Bookmark) -> bool:
        """Tell whether the file is still the one that was read up to `bookmark`."""
        with self._opened("rb") as file:
            told = os.fstat(file.fileno())
            return bookmark.file in (0, told.st_ino) and bookmark.byte <= told.st_size

    def truncate(self, size: int) -> list[bytes]:
        """Cut everything from byte `size` on, and give the whole lines among it."""
        with self._opened("r+b") as file:
            file.seek(size)
            cut = [line for line in file if line.endswith(b"\n")]
            file.truncate(size)
            return cut

    def mend(self) -> None:
        """Cut off a last line that is not whole."""
        with self._opened("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)

    def end(self) -> Bookmark:
        """Give the bookmark after the last line, whatever the lines are."""
        if not self.path.exists():
            return Bookmark()
        with self._opened("rb") as file:
            whole = file.read()
            file_number = os.fstat(file.fileno()).st_ino
        return Bookmark(file_number, whole.rfind(b"\n") + 1, whole.count(b"\n"))

    def _opened(self, mode: str) -> IO[bytes]:
        try:
            return self.path.open(mode)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error


def _line(told: Mapping[str, Any]) -> bytes:
    return json.dumps(told, default=encoded).encode() + b"\n"


def write_whole(path: Path, text: str) -> None:
    """Replace a file by another text, durably."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


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
