"""Read what a run has stored: its checkpoints, the states in them, and networks to start from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gandask.core import Array, State, StoreError

CHECKPOINTS = "checkpoints"  # folder of a run's folder
SEPARATOR = "::"  # between the name of a state and of an array


def read_states(path: Path | str, names: Sequence[str]) -> dict[str, State]:
    """Read states from a safetensors file, by name.

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
    states: dict[str, dict[str, Array]] = {name: {} for name in names}
    for key, array in arrays.items():
        name, _, part = key.partition(SEPARATOR)
        if name in states:
            states[name][part] = array
    if names and not any(states.values()):
        raise StoreError(f"{path} does not hold {', '.join(names)}")
    return dict(states)


def checkpoints(path: Path) -> list[Path]:
    """List the valid checkpoints in a folder of them, oldest first."""
    found = sorted(path.glob("round-*"))
    return [folder for folder in found if (folder / "checkpoint.json").is_file()]


def last_checkpoint(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """Give folder and description of the newest checkpoint that has all its files.

    Raises
    ------
    StoreError
        If a description cannot be read.
    """
    for folder in reversed(checkpoints(path)):
        told = _described(folder / "checkpoint.json")
        if all((folder / file).is_file() for file in told["files"]):
            return folder, told
    return None


def _described(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
        told = {"log_bytes": int(found["log_bytes"]), "best": found["best"]}
        told["files"] = {str(file): list(names) for file, names in found["files"].items()}
        told["mixtures"] = {slot: dict(of) for slot, of in found["mixtures"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        spoken = f"{type(error).__name__}: {error}"
        raise StoreError(f"{path} cannot be read: {spoken}") from error
    return told


def best_pair(run: Path | str) -> dict[str, State]:
    """Read the networks of a run that another may start from.

    Returns
    -------
    mapping of str to State
        ``generator``: the heaviest in the mixture that scores best, as of the last checkpoint;
        ``discriminator``: the one that was trained with it, or else the newest of its slot, where
        the checkpoint holds one.

    Raises
    ------
    StoreError
        If there is no run, no checkpoint, or no generator in it.
    """
    found = last_checkpoint(Path(run) / CHECKPOINTS)
    if found is None:
        raise StoreError(f"{run} holds no run with a checkpoint; give the folder of a stored run")
    folder, told = found
    weights = told["mixtures"].get(told["best"])
    if not weights:
        raise StoreError(f"{folder}: no mixture was scored before this checkpoint")
    files = {name: folder / file for file, names in told["files"].items() for name in names}
    chosen = {"generator": max(weights, key=weights.__getitem__)}
    chosen |= _opponent(chosen["generator"], files)
    if chosen["generator"] not in files:
        raise StoreError(f"{folder} does not hold {chosen['generator']}")
    return {kind: read_states(files[name], [name])[name] for kind, name in chosen.items()}


def _opponent(generator: str, known: Mapping[str, Path]) -> dict[str, str]:
    """Name the discriminator that a generator was trained with, or the newest of its slot."""
    slot, _, serial = generator.rpartition("/generator/")
    beside = f"{slot}/discriminator/"
    serials = [name.removeprefix(beside) for name in known if name.startswith(beside)]
    numbers = [number for number in serials if number.isdecimal()]
    if not numbers:
        return {}
    newest = serial if serial in numbers else max(numbers, key=int)
    return {"discriminator": beside + newest}
