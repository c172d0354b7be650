"""Checkpoints: the tasks that write states to safetensors files, and read them back."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gandask.core import State, StoreError, Task, Values

SEPARATOR = "::"  # between the name of a state and of an array

SAFE = "what was written before is safe: once there is room, continue with gandask resume DIR"


def saving(path: Path, names: Sequence[str]) -> Task:
    """Make the task that saves states of one slot."""
    arguments = {"names": tuple(names), "path": str(path)}
    return Task(slot_of(names[0]), 0, save_states, tuple(names), arguments=arguments)


def loading(path: Path, names: Sequence[str]) -> Task:
    """Make the task that loads states of one slot."""
    arguments = {"names": tuple(names), "path": str(path)}
    return Task(slot_of(names[0]), 0, load_states, writes=tuple(names), arguments=arguments)


def slot_of(name: str) -> str:
    """Give the slot of a state: the first two parts of its name.

    Examples
    --------
    >>> slot_of("cell/3/generator/17/moments")
    'cell/3'
    """
    return "/".join(name.split("/")[:2])


def save_states(
    *states: State, names: Sequence[str], path: str
) -> tuple[tuple[State, ...], Values]:
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


def load_states(*, names: Sequence[str], path: str) -> tuple[tuple[State, ...], Values]:
    """Read states from a safetensors file.

    Raises
    ------
    StoreError
        If it cannot be read, or is one of other states.
    """
    import safetensors
    import safetensors.numpy

    try:
        arrays = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    states: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, array in arrays.items():
        name, _, part = key.partition(SEPARATOR)
        if name in states:
            states[name][part] = array
    if names and not any(states.values()):
        raise StoreError(f"{path} does not hold {', '.join(names)}")
    return tuple(states.values()), {}


def sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
