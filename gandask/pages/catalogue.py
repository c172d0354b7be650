"""The runs under one folder, by name; nothing outside it can be reached."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from gandask.checks import spelt_out
from gandask.config import RUN_FILE, SETTINGS_FILE
from gandask.core import StoreError

VARIABLE = "GANDASK_RUNS"
"""Environment variable that names the folder of the runs; ``runs`` by default."""
DEPTH = 3  # folders down


def folder() -> Path:
    """Give the folder of the runs that pages show."""
    return Path(spelt_out(os.environ.get(VARIABLE, "runs"))).resolve()


def names(root: Path) -> list[str]:
    """List the runs under a folder, the one written last first.

    A run is a folder with a ``config.toml``, three levels down at most. Links are not followed.
    """
    found = sorted(_runs(root, DEPTH), key=_written, reverse=True)
    listed = [path.relative_to(root).as_posix() for path in found]
    # no browser can be told of bytes that are no text
    return [name for name in listed if name == name.encode(errors="ignore").decode()]


def path(root: Path, name: str) -> Path:
    """Give the folder of a run.

    Raises
    ------
    StoreError
        If there is none of this name under `root`.
    """
    if name not in names(root):
        raise StoreError(f"there is no run {name!r} in {root}")
    return root / name


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inside = [item for item in os.scandir(folder) if item.is_dir(follow_symlinks=False)]
    except OSError:  # not ours to read, or gone
        return
    for item in inside:
        if (Path(item.path) / SETTINGS_FILE).is_file():
            yield Path(item.path)
        elif depth > 1:
            yield from _runs(Path(item.path), depth - 1)


def _written(path: Path) -> float:
    try:
        return max((path / name).stat().st_mtime for name in (SETTINGS_FILE, RUN_FILE))
    except OSError:
        return 0.0
