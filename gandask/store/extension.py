"""A run that goes on as a longer one: its log, checkpoint and settings are replaced, or none is.

All is written beside the run first, in a folder of its own. The run is the longer one from the
moment on in which its ``config.toml`` is: whoever finds it after a crash, on either side of that
moment, completes what is left to do, or forgets it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gandask import config
from gandask.config import SETTINGS_FILE
from gandask.core import Event, Layout, Method, View
from gandask.core.files import digest, sync, write_whole
from gandask.core.journal import Journal
from gandask.store import layouts
from gandask.store.checkpoint import Checkpoints
from gandask.store.folder import Store, stamped

FOLDER = "extending"
"""In the run's folder, as long as there is something to complete."""

Taken = Sequence[set[tuple[str, int, str]] | None]
"""By step of the log, which tasks the longer run takes reports of; None: not even the step."""


@dataclass(frozen=True)
class Extension:
    """What a run goes on with as a longer one.

    Parameters
    ----------
    method : Method
        Its settings.
    facts : mapping
        What is known of it.
    begun_with : Method, optional
        What it would have begun with, if it was changed while it ran.
    taken : sequence
        What is taken of the log.
    folder, told : Path, mapping
        The checkpoint that its states are taken from, and what describes it.
    files : mapping of str to sequence of str
        States that are taken of it, by file.
    view : View
        What its method knows then.
    event : Event
        What is told of it.
    """

    method: Method[Any]
    facts: Mapping[str, Any]
    begun_with: Method[Any] | None
    taken: Taken
    folder: Path
    told: Mapping[str, Any]
    files: Mapping[str, Sequence[str]]
    view: View
    event: Event


def extend(store: Store, extension: Extension) -> None:
    """Make a run, which this process has claimed, the longer one: whole or not at all.

    Raises
    ------
    OSError, StoreError
        If it cannot be written: then it is as it was.
    """
    before = store.laid_out()
    text = config.to_toml(extension.method)
    after = extension.method.layout()
    gone = set(before[0].slots) - set(after.slots) if before else set()
    try:
        _stage(store, extension, gone, after)
    except BaseException:
        shutil.rmtree(store.path / FOLDER, ignore_errors=True)
        raise
    begun = extension.begun_with and config.to_toml(extension.begun_with)
    asked: dict[str, Any] = {"settings": digest(text), "begun_with": begun, "erases": bool(gone)}
    asked["facts"] = dict(extension.facts)
    # either is the right one, until it is known which
    both = f"{digest(store.settings)} {digest(text)}"
    store.describe("running", extension.view.round, settings=both, extending=asked)
    write_whole(store.path / SETTINGS_FILE, text)
    settle(store)


def is_open(store: Store) -> bool:
    """Tell whether a crash has left something to complete."""
    return bool(store.description.get("extending"))


def settle(store: Store) -> None:
    """Complete an extension, or forget one that had not come to be, of a run that was claimed."""
    asked = store.description["extending"]
    settings, round = digest(store.settings), store.description["round"]
    if settings == asked["settings"]:
        _replace(store, erases=asked["erases"])
        begun = {"begun_with": asked["begun_with"]} if asked["begun_with"] else {}
        told = {"settings": settings, "facts": asked["facts"], "extending": None}
        store.describe("running", round, **told, **begun)
    else:
        store.describe("running", round, settings=settings, extending=None)
    shutil.rmtree(store.path / FOLDER, ignore_errors=True)


def _stage(store: Store, extension: Extension, gone: set[str], layout: Layout) -> None:
    """Write all that will be replaced, beside it."""
    staged = store.path / FOLDER
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    log, happened = (Journal(staged / one.path.name) for one in (store.log, store.happened))
    log.fence = happened.fence = store.described.fence
    with log.replaced() as write:
        for step in _shared(store.log, extension.taken):
            write(step)
    with happened.replaced() as write:
        for told in store.happened.read(dict):
            if told["event"]["slot"] not in gone:
                write(told)
    happened.append(stamped(event=asdict(extension.event)))
    checkpoints = Checkpoints(staged / store.checkpoints.path.name)
    checkpoints.fence = store.described.fence
    parts = extension.told, extension.view, extension.files, log
    checkpoints.take_over(extension.folder, *parts)
    text = layouts.written(layout, extension.method.rounds)
    write_whole(staged / store.layout_file.name, text)
    sync(log.path)
    sync(staged)


def _shared(log: Journal, taken: Taken) -> Iterator[dict[str, Any]]:
    """Give the steps of the longer run, with the reports that it takes of each."""
    for keys, step in zip(taken, log.read(dict), strict=False):
        if keys is not None:
            reports = [
                told
                for told in step["reports"]
                if (told["slot"], told["round"], told["task"]) in keys
            ]
            yield {"elapsed": step["elapsed"], "reports": reports}


def _replace(store: Store, erases: bool) -> None:
    """Put what was staged in its place: as often as it takes."""
    staged = store.path / FOLDER
    shutil.rmtree(store.path / "dataset.zarr", ignore_errors=True)
    checkpoints = staged / store.checkpoints.path.name
    if checkpoints.is_dir():
        shutil.rmtree(store.checkpoints.path, ignore_errors=True)
        checkpoints.replace(store.checkpoints.path)
    for journal in (store.log, store.happened):
        if (staged / journal.path.name).is_file():
            journal.take(staged / journal.path.name)
    if (staged / store.layout_file.name).is_file():
        (staged / store.layout_file.name).replace(store.layout_file)
    write_whole(store.columns.path, "")  # made anew from the log
    if erases:  # pictures may show what is gone
        laid_out = store.laid_out()
        store.shown.keep(laid_out[0].slots if laid_out else ())
        for picture in (store.path / "samples").glob("*"):
            picture.unlink()
        (store.path / "report.html").unlink(missing_ok=True)
    sync(store.path)
