"""Signals to end: a run writes a checkpoint first."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

from gandask.engine.session import Session

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""What Slurm sends some time before a job's end, and a terminal when it is closed."""
GRACE = 60.0
"""Seconds after which a run that could not write its checkpoint ends without: its workers may have
ended of the same signal."""


@contextlib.contextmanager
def heeded(session: Session) -> Iterator[None]:
    """Let a signal end a session after a checkpoint, and a second one at once.

    Only where the process has no answer of its own, and in its main thread, which hears signals.
    """
    timers: list[threading.Timer] = []

    def heed(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        session.ending = number
        session.executor.nudge()
        timer = threading.Timer(GRACE, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()
        timers.append(timer)

    here = threading.current_thread() is threading.main_thread()
    heard = [one for one in SIGNALS if here and signal.getsignal(one) is signal.SIG_DFL]
    for number in heard:
        signal.signal(number, heed)
    try:
        yield
    finally:
        for timer in timers:
            timer.cancel()
        for number in heard:
            signal.signal(number, signal.SIG_DFL)
