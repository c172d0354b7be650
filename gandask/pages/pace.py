"""The pace of drawing anew: watching runs may not cost them much."""

from __future__ import annotations

import contextlib
import time
import weakref
from collections.abc import Iterator
from typing import ClassVar

SHARE = 0.1  # of one core, at most, for all who watch in this process


class Pace:
    """Rests after each drawing, the longer the more it took, and the more there are who follow."""

    following: ClassVar[weakref.WeakSet[Pace]] = weakref.WeakSet()

    def __init__(self) -> None:
        self.rests = 0.0

    @property
    def rested(self) -> bool:
        """Whether it is time to draw again."""
        return time.monotonic() >= self.rests

    @contextlib.contextmanager
    def drawing(self, again: bool) -> Iterator[None]:
        """Measure what is done within, if it is done `again` and again."""
        if not again:
            self.leave()
            yield
            return
        self.following.add(self)
        begun = time.thread_time()
        try:
            yield
        finally:
            taken = time.thread_time() - begun
            self.rests = time.monotonic() + taken * len(self.following) / SHARE

    def leave(self) -> None:
        """Follow no longer."""
        self.following.discard(self)
