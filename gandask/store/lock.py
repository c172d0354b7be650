"""Whether a run's writer lives: the lock that it holds, and the process that it is.

Neither asks a clock. A lock says for certain that somebody writes; that nobody holds it says so
only where the file system has locks, and the same ones for all who look.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
import weakref
from pathlib import Path

TRIES, PAUSE = 10, 0.02  # who looks at a lock holds it for an instant
_held: weakref.WeakValueDictionary[tuple[int, Path], Lock] = weakref.WeakValueDictionary()


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
    """
    known = _held.get((os.getpid(), path))
    # to open the file once more and close it would end a lock of this process
    if known is not None and known.close.alive:
        return known
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    for _ in range(TRIES):
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                os.close(handle)
                return None
            time.sleep(PAUSE)
        else:
            made = _held[os.getpid(), path] = Lock(handle)
            return made
    os.close(handle)
    raise BlockingIOError(errno.EAGAIN, "another process holds it", str(path))


def is_held(path: Path) -> bool:
    """Tell whether somebody is seen to hold a lock."""
    known = _held.get((os.getpid(), path))
    if known is not None and known.close.alive:
        return True
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EACCES)
    finally:
        os.close(handle)
    return False


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
