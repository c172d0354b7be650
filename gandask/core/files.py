"""Files that a stranger may have made: read within bounds, never written through a link.

What is read is a regular file of a bounded size, and its JSON is of a bounded depth. What is
written is new, or has no name elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
"""What comes of making sense of a file that is not as it was written."""

LARGEST = 64 << 20
"""Bytes of a file that is read whole."""

DEEPEST = 100
"""Tables and lists within each other that are read; more would end whoever walks down them."""

WRITABLE = stat.S_IWGRP | stat.S_IWOTH
READABLE = stat.S_IRGRP | stat.S_IROTH
ENTERED = stat.S_IXGRP | stat.S_IXOTH


def opened(path: Path, flags: int = os.O_RDONLY) -> IO[bytes]:
    """Open a regular file, unbuffered where it is written.

    Raises
    ------
    OSError
        If it cannot be opened, or is none; to be written, also if it is a link, or has another
        name too.
    """
    writing = flags & (os.O_WRONLY | os.O_RDWR)
    # a pipe would keep its reader waiting for ever
    guarded = flags | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if writing else 0)
    if writing and path.is_symlink():
        raise OSError(f"{path} is a link: put what it leads to in its place")
    handle = os.open(path, guarded, 0o666)
    try:
        told = os.fstat(handle)
        if not stat.S_ISREG(told.st_mode):
            raise OSError(f"{path} is not a regular file")
        if writing and told.st_nlink > 1:
            raise OSError(f"{path} has another name too (a hard link): put a copy in its place")
        if writing == os.O_WRONLY:
            return os.fdopen(handle, "wb", buffering=0)
        return os.fdopen(handle, "r+b" if writing else "rb")
    except BaseException:
        os.close(handle)
        raise


def read_whole(path: Path, most: int = LARGEST) -> bytes:
    """Read a regular file of a bounded size.

    Raises
    ------
    OSError, ValueError
        If it cannot be read, or is larger.
    """
    with opened(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ValueError(f"it is larger than {most} bytes")
        return file.read()


def others(path: Path, found: os.stat_result) -> str:
    """Say how other users could read or write a file, or replace it; nothing if they cannot.

    Parameters
    ----------
    path : Path
        Without links.
    found : os.stat_result
        Of the file that was opened.
    """
    if not hasattr(os, "getuid"):  # Windows has other ways to say so
        return ""
    above = {folder: folder.stat() for folder in path.parents}
    if found.st_uid not in (0, os.getuid()):
        return "it belongs to another user; give a file of your own"
    if found.st_mode & WRITABLE:
        return f"others may write it; chmod 600 {path}"
    for folder, its in above.items():
        kept = its.st_mode & stat.S_ISVTX  # where each renames what is his own
        if its.st_uid not in (0, os.getuid()) or (its.st_mode & WRITABLE and not kept):
            return f"others may replace it in {folder}; put it into a folder of your own"
    if found.st_mode & READABLE and all(its.st_mode & ENTERED for its in above.values()):
        return f"others may read it; chmod 600 {path}"
    return ""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file anew, whole or not at all: beside it first, under a name that nobody knows."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    file = partial.open("xb")
    try:
        with file:
            yield file
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Replace a file by another text, durably."""
    with replacing(path) as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk, where its file system can."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def digest(text: str) -> str:
    """Give a digest of text."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def parsed(text: str | bytes, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read JSON of a bounded depth.

    Raises
    ------
    ValueError
        If it is none, or deeper.

    Examples
    --------
    >>> parsed('{"a": [1, 2]}')
    {'a': [1, 2]}
    >>> parsed("[" * 1000 + "]" * 1000)
    Traceback (most recent call last):
    ...
    ValueError: it has lists and tables more than 100 deep
    """
    try:
        found = json.loads(text, object_hook=hook)
    except RecursionError:
        raise ValueError(f"it has lists and tables more than {DEEPEST} deep") from None
    refuse_deep(found)
    return found


def refuse_deep(value: Any) -> None:
    """Raise ValueError for tables and lists that are more than `DEEPEST` within each other."""
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"it has lists and tables more than {DEEPEST} deep")
        inner = (
            one.values() if isinstance(one, Mapping) else one
            for one in level
            if isinstance(one, Mapping | list)
        )
        level = [one for items in inner for one in items if isinstance(one, Mapping | list)]
        depth += 1
