"""Many runs at a glance: what `run.json` and `config.toml` say, and no Dataset."""

from __future__ import annotations

import collections
import datetime
import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gandask.config import SETTINGS_FILE
from gandask.core import StoreError
from gandask.core.files import DAMAGED
from gandask.store import about
from gandask.store.about import About
from gandask.store.description import LIVE
from gandask.store.folder import Store

DEPTH = 4  # folders down
OWN_COLUMNS = ("method", "data", "rounds")
"""Settings that are not told among those that differ."""
LONG = 30  # characters of a value
NAMED = 5  # broken runs that are named
SPANS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


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
    about : About
        What people say of it.
    """

    name: str
    path: Path
    state: str
    round: int
    best: dict[str, Any]
    updated: str
    settings: dict[str, Any]
    about: About


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
    return ordered(read(root, folder) for folder in folders(root))


def ordered(runs: Iterable[Listed | Broken]) -> tuple[list[Listed], list[Broken]]:
    """Put runs in order, the one written last first, and apart what cannot be read."""
    known = list(runs)
    found = [one for one in known if isinstance(one, Listed)]
    found.sort(key=lambda one: (one.updated, one.name), reverse=True)
    return found, sorted((one for one in known if isinstance(one, Broken)), key=lambda b: b.name)


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


def within(root: Path, name: str) -> Path | None:
    """Give the folder of one run by its name, without a look at the others: None if there is none.

    Nothing is reached that `folders` would not find, but for links to runs that have another name.

    Parameters
    ----------
    root : Path
    name : str
        Its folder, below `root`.
    """
    if name == str(root):
        return root if (root / SETTINGS_FILE).is_file() else None
    parts = name.split("/")
    if len(parts) > DEPTH or any(not part or part.startswith(".") for part in parts):
        return None
    try:
        around = [root.joinpath(*parts[:depth]) for depth in range(len(parts))]
        if any((folder / SETTINGS_FILE).is_file() for folder in around):
            return None  # it lies in a run
        found = root / name
        return found if (found / SETTINGS_FILE).is_file() else None
    except (OSError, ValueError):  # a name that no file can have
        return None


def named(root: Path, folder: Path) -> str:
    """Name a run by its folder, below the one that is listed; that one by itself."""
    return folder.relative_to(root).as_posix() if folder != root else str(root)


def read(root: Path, folder: Path) -> Listed | Broken:
    """Read how one run stands.

    Parameters
    ----------
    root : Path
        What its name is told below.
    folder : Path
    """
    name = named(root, folder)
    try:
        store = Store.open(folder)
        description = store.description
        state, settings = description["state"], tomllib.loads(store.settings)
        if state in LIVE:  # as long as somebody is at work on it
            state = store.state
    except (StoreError, OSError, *DAMAGED) as error:
        return Broken(name, str(error))
    try:
        said = about.read(store.path)
    except StoreError:  # a run is none the worse for it
        said = About()
    best = description.get("best")
    if not (isinstance(best, dict) and isinstance(best.get("value"), int | float)):
        best = {}
    updated = description["updated"]
    return Listed(name, store.path, state, description["round"], best, updated, settings, said)


def differing(runs: Sequence[Listed]) -> list[dict[str, str]]:
    """Give, for each run, the settings in which those of its method differ, in few characters."""
    values: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    counts = collections.Counter(str(run.settings.get("method")) for run in runs)
    having: collections.Counter[tuple[str, str]] = collections.Counter()
    for run in runs:
        for key, value in run.settings.items():
            place = str(run.settings.get("method")), key
            values[place].add(repr(value))
            having[place] += 1

    def differs(method: str, key: str) -> bool:
        # what is None is left out of a table
        alike = len(values[method, key]) == 1 and having[method, key] == counts[method]
        return not (alike or key in OWN_COLUMNS)

    return [
        {
            key: short(value)
            for key, value in run.settings.items()
            if differs(str(run.settings.get("method")), key)
        }
        for run in runs
    ]


def short(value: Any) -> str:
    """Write a value in few characters.

    Examples
    --------
    >>> short("a" * 100)
    'aaaaaaaaaaaaaaaaaaaaaaaaaaaaa…'
    """
    text = str(value)
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"


def told(broken: Sequence[Broken]) -> str:
    """Say on one line what cannot be read, and what to do."""
    if len(broken) == 1:
        return f"{broken[0].name} cannot be shown: {broken[0].why}"
    names = ", ".join(one.name for one in broken[:NAMED])
    more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    return (
        f"{len(broken)} runs cannot be shown: {names}{more}; gandask show RUN says why; take them "
        "from a copy, or remove their folders"
    )


def age(updated: str, now: datetime.datetime) -> str:
    """Say how long ago a time was.

    Examples
    --------
    >>> at = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
    >>> [age(f"2026-01-0{day}T11:58:30+00:00", at) for day in (1, 2, 3)]
    ['1 d ago', '1 min ago', '0 s ago']
    >>> age("yesterday", at)
    '–'
    """
    try:
        seconds = (now - datetime.datetime.fromisoformat(updated)).total_seconds()
    except (ValueError, TypeError):  # a run may be a stranger's
        return "–"
    unit, size = next(((unit, size) for unit, size in SPANS if seconds >= size), SPANS[-1])
    return f"{max(0, int(seconds // size))} {unit} ago"
