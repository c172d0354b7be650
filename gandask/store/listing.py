"""Many runs at a glance: what `run.json` and `config.toml` say, and no Dataset."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gandask.config import SETTINGS_FILE
from gandask.core import StoreError
from gandask.core.files import DAMAGED
from gandask.store.folder import Store

DEPTH = 4  # folders down


@dataclass(frozen=True)
class Listed:
    """How one run stands.

    Parameters
    ----------
    name : str
        Its folder, below the one that was listed.
    path : Path
    state : str
    round : int
        The last one that is done.
    best : mapping
        Its ``score``, the ``value``, and whether that is ``final``; empty where nothing is known.
    updated : str
        When its ``run.json`` was written.
    settings : mapping
        As its ``config.toml`` has them.
    """

    name: str
    path: Path
    state: str
    round: int
    best: dict[str, Any]
    updated: str
    settings: dict[str, Any]


@dataclass(frozen=True)
class Broken:
    """A run that cannot be read.

    Parameters
    ----------
    name : str
        Its folder, below the one that was listed.
    why : str
    """

    name: str
    why: str


def listed(root: Path) -> tuple[list[Listed], list[Broken]]:
    """List the runs under a folder, the one written last first, and what cannot be read.

    Parameters
    ----------
    root : Path
        A run's own folder is a list of one.
    """
    read = [_read(root, folder) for folder in folders(root)]
    found = [one for one in read if isinstance(one, Listed)]
    found.sort(key=lambda one: (one.updated, one.name), reverse=True)
    return found, sorted((one for one in read if isinstance(one, Broken)), key=lambda b: b.name)


def folders(root: Path) -> Iterator[Path]:
    """Find the runs under a folder, four levels down at most, each once.

    Links are followed, as far as they lead to what was not seen yet.
    """
    seen: set[Path] = set()
    waiting = [(root, 0)]
    for folder, depth in waiting:  # those nearer to the root first
        real = folder.resolve()
        if real in seen:
            continue
        seen.add(real)
        if (folder / SETTINGS_FILE).is_file():
            yield folder
        elif depth < DEPTH:
            waiting += [(inside, depth + 1) for inside in _inside(folder)]


def _inside(folder: Path) -> list[Path]:
    try:
        items = [item for item in os.scandir(folder) if item.is_dir()]
    except OSError:  # not ours to read, or gone
        return []
    # what is no link first: a run and a link to it are one, under its own name
    items.sort(key=lambda item: (item.is_symlink(), item.name))
    return [folder / item.name for item in items if not item.name.startswith(".")]


def _read(root: Path, folder: Path) -> Listed | Broken:
    name = folder.relative_to(root).as_posix() if folder != root else str(root)
    try:
        store = Store.open(folder)
        told = store.description
        state, settings = store.state, tomllib.loads(store.settings)
    except (StoreError, OSError, *DAMAGED) as error:
        return Broken(name, str(error))
    best = told.get("best")
    if not (isinstance(best, dict) and isinstance(best.get("value"), int | float)):
        best = {}
    return Listed(name, store.path, state, told["round"], best, told["updated"], settings)
