"""Begin a run's folder: under its lock, and only where there is nothing to keep."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from gandask import config, results
from gandask.clients.keeping import lies_in_private
from gandask.config import SETTINGS_FILE
from gandask.core import Method, SettingError, StoreError
from gandask.core.files import digest, write_whole
from gandask.store import layouts
from gandask.store.folder import Store


def create(path: str | os.PathLike[str], method: Method[Any], facts: Mapping[str, Any]) -> Store:
    """Begin a new store, in the place of a run that came to nothing if there is one.

    Raises
    ------
    SettingError
        If the result would be too large to be read again, or it lies in a client's own folder.
    StoreError
        If something is there already, or the folder cannot be written.
    """
    store = Store(path)
    settings = config.to_toml(method)
    layouts.refuse_larger(method.layout(), method.rounds)
    refuse_existing(store)
    made = _take(store)
    try:
        _write(store, method, settings, facts)
    except OSError as error:
        store.release()
        if made:
            shutil.rmtree(store.path, ignore_errors=True)
        raise _failed(store, error) from error
    return store


def refuse_existing(store: Store) -> None:
    """Refuse a folder where no run may begin.

    Raises
    ------
    SettingError
        If it lies within a client's own, which a run's side is not to see.
    StoreError
        If something is there already, but for a run that came to nothing.
    """
    if lies_in_private(store.path):
        raise SettingError(
            f"store={str(store.path)!r} lies within the folder in which a client keeps what is "
            "private, and a run is read by others: choose a folder elsewhere"
        )
    if store.path.is_dir():
        inside = {item.name for item in store.path.iterdir()} - {store.described.lock_file.name}
        if not inside or _came_to_nothing(store):
            return
    if store.path.exists():
        raise StoreError(
            f"store={str(store.path)!r} exists already: continue that run with resume=True "
            "(gandask resume DIR), or choose another name"
        )


def _came_to_nothing(store: Store) -> bool:
    """Tell whether a run ended here before its first step: there is nothing to keep of it."""
    if not (store.described.file.is_file() and store.log.path.is_file()):
        return False
    if store.state not in ("failed", "stopped", "interrupted"):
        return False
    return next(store.steps(), None) is None


def _take(store: Store) -> bool:
    """Become the only one who begins a run there; tell whether the folder was made for it."""
    try:
        made = not store.path.exists()
        store.path.mkdir(parents=True, exist_ok=not made)
        store.described.take()
    except (BlockingIOError, FileExistsError) as error:
        raise StoreError(
            f"store={str(store.path)!r}: another process begins a run there; choose another name"
        ) from error
    except OSError as error:
        raise _failed(store, error) from error
    try:
        refuse_existing(store)  # somebody may have been first
        store.refuse_links()
    except StoreError:
        store.release()
        raise
    return made


def _write(store: Store, method: Method[Any], settings: str, facts: Mapping[str, Any]) -> None:
    """Write all files of a run that has done nothing yet, in the place of whatever lies there."""
    shutil.rmtree(store.checkpoints.path, ignore_errors=True)
    store.shown.clear()
    store.heartbeat.unlink(missing_ok=True)
    for folder in (store.checkpoints.path, store.path / "samples"):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(store.path / SETTINGS_FILE, settings)
    store.lay_out(method)
    for journal in (store.log, store.columns, store.happened, store.commands):
        write_whole(journal.path, "")  # anew: what lay there may have another name
    told = results.versions() | dict(facts)
    store.described.begin(0, facts=told, settings=digest(settings), heard=[0, 0])
    store.own()
    if store.described.fence > 1:  # what the one before still appends is left out
        for journal in (store.log, store.columns, store.happened):
            journal.append({})


def _failed(store: Store, error: OSError) -> StoreError:
    return StoreError(f"store={str(store.path)!r} cannot be created: {error}")
