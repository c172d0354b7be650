"""What a task's function tells while it runs, and what it is told of where it runs."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Told:
    """What the function of one task has told.

    Parameters
    ----------
    seconds : dict
        Time by routine.
    listener : callable, optional
        Called with the fraction done.
    together : bool
        Whether it found that several like it had better be performed at once.
    reach : optional
        What the run keeps up for its tasks (`gandask.core.hosting`).
    apart : callable
        Makes the block in which it waits for others, so that its worker may do other work.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    listener: Callable[[float], None] | None = None
    together: bool = False
    reach: Any = None
    apart: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext


_told: contextvars.ContextVar[Told | None] = contextvars.ContextVar("gandask_told", default=None)


@contextlib.contextmanager
def listening(told: Told) -> Iterator[None]:
    """Take down what the block tells."""
    token = _told.set(told)
    try:
        yield
    finally:
        _told.reset(token)


@contextlib.contextmanager
def routine(name: str) -> Iterator[None]:
    """Count the time of a block under `name` in the report of the task that runs it."""
    told = _told.get()
    if told is None:
        yield
        return
    begun = time.perf_counter()
    try:
        yield
    finally:
        told.seconds[name] = told.seconds.get(name, 0.0) + time.perf_counter() - begun


def progress(fraction: float) -> None:
    """Tell the heartbeat how much of the task that calls this is done, from 0 to 1."""
    told = _told.get()
    if told is not None and told.listener is not None:
        told.listener(fraction)


def better_together() -> None:
    """Tell that on this device several such tasks had better be performed at once."""
    told = _told.get()
    if told is not None:
        told.together = True


def reach() -> Any:
    """Give what the run keeps up for its tasks: None if that is nothing."""
    told = _told.get()
    return told.reach if told else None


def apart() -> contextlib.AbstractContextManager[None]:
    """Wait, in a block, for what others compute: this worker may do other work meanwhile."""
    told = _told.get()
    return told.apart() if told else contextlib.nullcontext()
