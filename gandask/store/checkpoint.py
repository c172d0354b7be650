"""Checkpoints: the tasks that write states to safetensors files and read them, and the folders."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gandask.core import Made, State, StoreError, Task, View, slot_of
from gandask.store.journal import write_whole
from gandask.training.stored import SEPARATOR, checkpoints, last_checkpoint, read_states

SAFE = "what was written before is safe: once there is room, continue with gandask resume DIR"


def saving(path: Path, names: Sequence[str]) -> Task:
    """Make the task that saves states of one slot."""
    arguments = {"names": tuple(names), "path": str(path)}
    return Task(slot_of(names[0]), 0, save_states, tuple(names), arguments=arguments)


def loading(path: Path, names: Sequence[str]) -> Task:
    """Make the task that loads states of one slot."""
    arguments = {"names": tuple(names), "path": str(path)}
    return Task(slot_of(names[0]), 0, load_states, writes=tuple(names), arguments=arguments)


def save_states(*states: State, names: Sequence[str], path: str) -> Made:
    """Write states to one safetensors file, durably and whole.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    import safetensors
    import safetensors.numpy

    arrays = {
        f"{name}{SEPARATOR}{key}": np.asarray(array, order="C")
        for name, state in zip(names, states, strict=True)
        for key, array in state.items()
    }
    # a task may run twice at once, when its worker was given up too early
    partial = Path(f"{path}.{uuid.uuid4().hex[:8]}")
    try:
        safetensors.numpy.save_file(arrays, partial)
        sync(partial)
        partial.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error}; {SAFE}") from error
    return (), {}


def load_states(*, names: Sequence[str], path: str) -> Made:
    """Read states from a safetensors file.

    Raises
    ------
    StoreError
        If it cannot be read, or is one of other states.
    """
    return tuple(read_states(path, names).values()), {}


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    path : Path
        Their folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, token: str) -> Path:
        """Make the folder that a checkpoint's files go to first; drop what is left of others."""
        for left in self.path.glob("partial*"):
            shutil.rmtree(left, ignore_errors=True)
        partial = self.path / f"partial-{token}"
        partial.mkdir(parents=True)
        return partial

    def seal(
        self, partial: Path, view: View, files: Mapping[str, Sequence[str]], log_bytes: int
    ) -> Path:
        """Make a checkpoint valid, once all its files are written, and drop those before the last.

        Parameters
        ----------
        partial : Path
            Its folder, as `begin` gave it.
        view : View
            What the method knew then.
        files : mapping of str to sequence of str
            The states in each file, by name.
        log_bytes : int
            Size of the log of reports that it stands on.

        Raises
        ------
        StoreError
            If a file is missing: the workers write elsewhere.
        """
        missing = [name for name in files if not (partial / name).is_file()]
        if missing:
            raise StoreError(
                f"the workers did not write {partial / missing[0]} where the client reads it: "
                "store must be a folder that they share"
            )
        told = {
            "round": view.round,
            "log_bytes": log_bytes,
            "files": {name: list(states) for name, states in files.items()},
            "mixtures": {slot: dict(weights) for slot, weights in view.mixtures.items()},
            "best": view.best,
        }
        write_whole(partial / "checkpoint.json", json.dumps(told))
        folder = self.path / f"round-{view.round:06d}"
        replaced = folder.with_name("replaced")
        if folder.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            folder.replace(replaced)
        partial.replace(folder)
        sync(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
        for old in self.all()[:-2]:
            shutil.rmtree(old)
        return folder

    def all(self) -> list[Path]:
        """List the valid checkpoints, oldest first."""
        return checkpoints(self.path)

    def last(self) -> tuple[Path, dict[str, Any]] | None:
        """Give folder and description of the newest checkpoint that has all its files."""
        return last_checkpoint(self.path)


def sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
