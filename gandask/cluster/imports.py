"""Where workers import from: where the client does, and not from wherever they are started.

Python begins its path with the current folder for ``python -m`` and ``python -c``, by which workers
are started. That may be the folder of a stranger's run, with a ``multiprocessing.py`` in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import site
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distributed import Nanny

SAFE = "PYTHONSAFEPATH"
"""Python's environment variable that keeps the current folder out of its path."""

_lock = threading.Lock()
_starting = 0  # processes
_before: str | None = None  # what the variable was


def folders() -> list[str]:
    """List the folders that the client imports from besides its environment's: a user's own.

    Workers elsewhere may have another environment, with packages of its own.
    """
    environment = [sys.prefix, sys.base_prefix, site.getusersitepackages()]
    found = (Path(entry).absolute() for entry in sys.path)
    own = (
        folder
        for folder in found
        if folder.is_dir() and not any(folder.is_relative_to(there) for there in environment)
    )
    return list(dict.fromkeys(map(str, own)))


@contextlib.contextmanager
def safely() -> Iterator[None]:
    """Keep the current folder out of the paths of processes that are started meanwhile.

    Only meanwhile: scripts that a notebook starts do import from their folder.
    """
    global _starting, _before
    with _lock:
        if not _starting:
            _before = os.environ.get(SAFE)
        _starting += 1
        os.environ[SAFE] = "1"
    try:
        yield
    finally:
        with _lock:
            _starting -= 1
            if not _starting:
                os.environ.pop(SAFE)
                os.environ.update({} if _before is None else {SAFE: _before})


class SafeNanny(Nanny):
    """A nanny whose workers, spawned anew or for the first time, begin with the client's path.

    Until they have been told it they import from their environment alone.
    """

    async def instantiate(self) -> Any:
        """Start the worker's process, and multiprocessing's own beside it."""
        with contextlib.ExitStack() as starting:
            starting.enter_context(safely())
            watch = asyncio.create_task(self._end_once_started(starting.close))
            try:
                return await super().instantiate()
            finally:
                watch.cancel()

    async def _end_once_started(self, end: Callable[[], None]) -> None:
        while not self.pid:
            await asyncio.sleep(0.01)
        end()
