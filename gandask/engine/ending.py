"""Signals to end: a run writes a checkpoint first."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Iterator
from typing import Any

from gandask.engine.session import Ended, Session

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""What Slurm sends some time before a job's end, and a terminal when it is closed."""
GRACE = 60.0
"""Seconds after which a run that could not write its checkpoint ends without: its workers may have
ended of the same signal."""


@contextlib.contextmanager
def heeded(session: Session) -> Iterator[None]:
    """Let a signal end a session after a checkpoint, and a second one at once.

    Only where the process has no answer of its own, and in its main thread, which hears signals.

    Raises
    ------
    Ended
        If there was a signal, and the session came to an end of its own meanwhile.
    """
    here, owner = threading.current_thread() is threading.main_thread(), os.getpid()
    heard = [one for one in SIGNALS if here and signal.getsignal(one) is signal.SIG_DFL]
    # the main thread may be anywhere when a signal comes, with a lock in its hands: this has none
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    over = threading.Event()

    def heed(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != owner:  # it was forked from the run, and is no part of it
            os.kill(os.getpid(), number)
            return
        session.ending = number
        arrived.put(number)

    def end() -> None:
        number = arrived.get()
        if number:
            session.executor.nudge()
            if not over.wait(GRACE):
                os.kill(owner, number)

    if heard:
        threading.Thread(target=end, name="gandask-ending", daemon=True).start()
    for number in heard:
        signal.signal(number, heed)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_DFL)
        over.set()
        arrived.put(0)
    if session.ending:
        raise Ended(128 + session.ending)
