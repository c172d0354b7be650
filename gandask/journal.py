"""Files that survive a crash: whole or not at all, and line by line."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from gandask.core import StoreError

T = TypeVar("T")


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

    def append(self, line: Mapping[str, Any]) -> None:
        """Append a line, or nothing."""
        text = json.dumps(line, default=encoded).encode() + b"\n"
        # unbuffered: what a buffer holds back would be written on closing, after all
        with self.path.open("ab", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            try:
                while text:
                    text = text[file.write(text) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(self.path, size)
                raise

    def read(self, understood: Callable[[Any], T]) -> Iterator[T]:
        """Read line by line. One that is still being written is left out.

        Raises
        ------
        StoreError
            If a line is not JSON, or is not `understood`.
        """
        with self._opened("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield understood(json.loads(line, object_hook=decoded))
                except (ValueError, TypeError, KeyError) as error:
                    raise StoreError(f"{self.path}, line {number} is damaged: {error}") from error

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

    def _opened(self, mode: str) -> IO[bytes]:
        try:
            return self.path.open(mode)
        except OSError as error:
            raise StoreError(f"{self.path} cannot be read: {error}") from error


def write_whole(path: Path, text: str) -> None:
    """Replace a file by another text, durably."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
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
