"""Whether who writes lives: the lock that a process holds, and the process that it is.

Neither asks a clock. A lock says for certain that somebody writes; that nobody holds it says so
only where the file system has locks, and the same ones for all who look.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import threading
import time
import weakref
from pathlib import Path

from gandask.core import StoreError

TRIES, PAUSE = 10, 0.02  # who looks at a lock holds it for an instant
TAKEN = (errno.EAGAIN, errno.EACCES)  # what systems say of a lock that another process holds
_held: weakref.WeakValueDictionary[tuple[int, int, int | str], Lock] = weakref.WeakValueDictionary()
# to open a file once more and close it ends this process's lock of it: one thread at a time does
_looking = threading.Lock()
os.register_at_fork(
    before=_looking.acquire, after_in_parent=_looking.release, after_in_child=_looking.release
)


class Lock:
    """A lock that this process holds, as long as this object is there.

    It ends with the process, however that ends.
    """

    def __init__(self, handle: int) -> None:
        self.close = weakref.finalize(self, os.close, handle)


def take(path: Path) -> Lock | None:
    """Take a lock, or give the one that this process has; None where there are no locks.

    Raises
    ------
    BlockingIOError
        If another process holds it.
    StoreError
        If its file may not be written.
    """
    for _ in range(TRIES):
        with _looking:
            known = _known(path)
            if known is not None:
                return known
            with contextlib.suppress(BlockingIOError):
                return _taken(path)
        time.sleep(PAUSE)
    raise BlockingIOError(errno.EAGAIN, "another process holds it", str(path))


def is_held(path: Path) -> bool:
    """Tell whether somebody is seen to hold a lock."""
    with _looking:
        if _known(path) is not None:
            return True
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in TAKEN
        finally:
            os.close(handle)
        return False


def _taken(path: Path) -> Lock | None:
    """Take a lock that this process does not have, at once."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise StoreError(
            f"{path} cannot be written ({error.strerror}): it is read-only here; work on a "
            "copy, or have its files made writable"
        ) from error
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in TAKEN:
            raise BlockingIOError(*error.args) from error
        return None
    made = _held[_key(path, os.fstat(handle))] = Lock(handle)
    return made


def _known(path: Path) -> Lock | None:
    """Give the lock of a file that this process has."""
    try:
        known = _held.get(_key(path, path.lstat()))
    except OSError:
        return None
    return known if known is not None and known.close.alive else None


def _key(path: Path, told: os.stat_result) -> tuple[int, int, int | str]:
    """Tell a file of this process from others, whatever it is called; some mounts number none."""
    return os.getpid(), told.st_dev, told.st_ino or str(path)


def machine() -> str:
    """Name what numbers of processes are unique in: this system since it was started.

    Two hosts may have one name, and containers of one host the same numbers.
    """
    with contextlib.suppress(OSError):
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{started} {Path('/proc/self/ns/pid').readlink()}"
    return socket.gethostname()


def born(process: int) -> str | None:
    """Give when a process of this machine was started, in ticks; None where that is not told."""
    return _told(process)[1]


def lives(process: int, began: str | None) -> bool:
    """Tell whether a process of this machine is there: no zombie, and no later one of its number.

    Parameters
    ----------
    process : int
    began : str, optional
        What `born` said of it.
    """
    if process <= 0:
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    state, now = _told(process)
    return state not in ("Z", "X") and (None in (now, began) or now == began)


def _told(process: int) -> tuple[str, str | None]:
    """Give state and start of a process as the system tells them."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        told = text.rpartition(")")[2].split()  # its name, before that, may hold anything
        return told[0], told[19]
    except (OSError, IndexError):
        return "", None
