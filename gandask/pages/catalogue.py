"""The runs under one folder, by name; nothing outside it can be reached, but by links in it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from pathlib import Path

from gandask.checks import spelt_out
from gandask.config import RUN_FILE, SETTINGS_FILE
from gandask.core import StoreError
from gandask.pages.pace import SHARE
from gandask.store import LIVE, Store, about, listing
from gandask.store.listing import Broken, Listed

VARIABLE = "GANDASK_RUNS"
"""Environment variable that names the folder of the runs; ``runs`` by default."""
SEEN = (RUN_FILE, SETTINGS_FILE, about.FILE)
"""What lists of runs are made from."""

_known: dict[str, tuple[object, Listed | Broken]] = {}
"""Runs as they were read last, and of which files."""
_last: dict[Path, tuple[float, tuple[list[Listed], list[Broken]]]] = {}
"""What a folder held at the last look, and until when that is told."""
_lock = threading.Lock()


def folder() -> Path:
    """Give the folder of the runs that pages show."""
    return Path(spelt_out(os.environ.get(VARIABLE, "runs"))).resolve()


def names(root: Path) -> list[str]:
    """List the runs under a folder, the one written last first, as `gandask list` finds them."""
    found = sorted(listing.folders(root), key=_written, reverse=True)
    return [name for path in found if _is_text(name := listing.named(root, path))]


def path(root: Path, name: str) -> Path:
    """Give the folder of a run.

    Raises
    ------
    StoreError
        If there is none of this name under `root`.
    """
    found = listing.within(root, name)
    if found is None:
        raise StoreError(f"there is no run {name!r} in {root}")
    return found


def listed(root: Path, anew: bool = False) -> tuple[list[Listed], list[Broken]]:
    """Tell how the runs under a folder stand; what has not changed is not read again.

    One look serves all who watch, the longer the more it took.

    Parameters
    ----------
    root : Path
    anew : bool
        Look, though others just did.
    """
    with _lock:
        until, found = _last.get(root, (0.0, ([], [])))
        if anew or time.monotonic() >= until:
            begun = time.monotonic()
            found = _look(root)
            now = time.monotonic()
            _last[root] = now + (now - begun) / SHARE, found
        return found


def _look(root: Path) -> tuple[list[Listed], list[Broken]]:
    runs = {str(folder): _read(root, folder) for folder in listing.folders(root)}
    within = f"{root}{os.sep}"
    for gone in [path for path in _known if path.startswith(within) and path not in runs]:
        del _known[gone]
    return listing.ordered(run for run in runs.values() if _is_text(run.name))


def _read(root: Path, folder: Path) -> Listed | Broken:
    key = str(folder)
    stamp = (root, *(_stamp(folder / name) for name in SEEN))
    known = _known.get(key)
    if known is None or known[0] != stamp:
        known = _known[key] = stamp, listing.read(root, folder)
    found = known[1]
    if isinstance(found, Broken):
        del _known[key]  # what it lacks may come without a word in these files
    elif found.state in LIVE:  # whether somebody is at work on a run is told by no time of a file
        with contextlib.suppress(StoreError):
            found = dataclasses.replace(found, state=Store(folder).state)
    return found


def _stamp(path: Path) -> object:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size, told.st_ino


def _is_text(name: str) -> bool:
    """Tell whether a browser can be told a name: of bytes that are no text it cannot."""
    return name == name.encode(errors="ignore").decode()


def _written(path: Path) -> float:
    try:
        return max((path / name).stat().st_mtime for name in (SETTINGS_FILE, RUN_FILE))
    except OSError:
        return 0.0
