"""Read what a run has stored: its checkpoints, the states in them, and networks to start from.

Every file says of which checkpoint it is and what it holds, and so does what describes them: one
that is damaged, or of another run, is not used.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from gandask.core import Array, State, StoreError
from gandask.core.files import DAMAGED, LARGEST, digest, opened, parsed, read_whole
from gandask.training.weights import average_of

CHECKPOINTS = "checkpoints"  # folder of a run's folder
ENDING = ".safetensors"
SEPARATOR = "::"  # between the name of a state and of an array
NUMBERED = re.compile(
    r"round-(\d+)(?:\.(\d+))?"
)  # the round, and the writer's number after the first
LONGEST = 255  # bytes of a file's name
STATES = 1 << 33
"""Bytes of a file of states that is read: those of one slot."""


def read_states(path: Path | str, names: Sequence[str], token: str = "") -> dict[str, State]:
    """Read states from a safetensors file, by name.

    Parameters
    ----------
    path : path-like
    names : sequence of str
    token : str
        Of the checkpoint that it is a part of; a file without one is as older versions wrote it.

    Raises
    ------
    StoreError
        If it cannot be read, is damaged, or is one of other states or of another checkpoint.
    """
    import safetensors
    import safetensors.numpy

    try:
        data, told = _checked(Path(path))
        arrays = safetensors.numpy.load(data)
        if token and told.get("token") != token:
            raise ValueError("it is of another checkpoint")
        if token and told.get("digest") != digest_of(arrays):
            raise ValueError("it is damaged: what it holds is not what was written")
    except (*DAMAGED, safetensors.SafetensorError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    states: dict[str, dict[str, Array]] = {name: {} for name in names}
    for key, array in arrays.items():
        name, _, part = key.partition(SEPARATOR)
        if name in states:
            states[name][part] = array
    if names and not any(states.values()):
        raise StoreError(f"{path} does not hold {', '.join(names)}")
    return dict(states)


def read_checkpoint(
    folder: Path, told: Mapping[str, Any], names: Collection[str] | None = None
) -> dict[str, State]:
    """Read states of a checkpoint, by name: those that it holds of `names`, or all.

    Parameters
    ----------
    folder, told
        As `last_checkpoint` gives them.

    Raises
    ------
    StoreError
        If a file cannot be read, or is not the one that was written.
    """
    found: dict[str, State] = {}
    for file, held in told["files"].items():
        wanted = [name for name in held if names is None or name in names]
        found |= read_states(folder / file, wanted, told["tokens"][file]) if wanted else {}
    return found


def read_arrays(path: Path) -> State:
    """Read the arrays of a safetensors file, whoever made it.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    import safetensors
    import safetensors.numpy

    try:
        return dict(safetensors.numpy.load(_checked(path)[0]))
    except (*DAMAGED, safetensors.SafetensorError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error


def _checked(path: Path) -> tuple[bytes, Mapping[str, Any]]:
    """Read a safetensors file that is as long as it says, and what its writer says of it."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        begin = 8 + int.from_bytes(file.read(8), "little")
        if begin > LARGEST:
            raise ValueError(f"its header is larger than {LARGEST} bytes")
        header = parsed(file.read(begin - 8))
        told: Mapping[str, Any] = header.pop("__metadata__", {})
        whole = begin + max((array["data_offsets"][1] for array in header.values()), default=0)
        if size != whole or size > STATES:
            raise ValueError(f"it has {size} bytes: expected {whole}, and at most {STATES}")
        file.seek(0)
        return file.read(size), told


def digest_of(arrays: Mapping[str, Array]) -> str:
    """Give a digest of arrays: their names, types, shapes and bytes."""
    known = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), copy=False)
        known.update(repr((name, array.dtype.str, array.shape)).encode())
        known.update(array.tobytes())
    return known.hexdigest()


def checkpoints(path: Path) -> list[Path]:
    """List the valid checkpoints in a folder of them, oldest first.

    Those of a writer that took the run over come after those of the one before.
    """
    found = [(NUMBERED.fullmatch(folder.name), folder) for folder in path.glob("round-*")]
    numbers = [
        (int(number[2] or 1), int(number[1]), folder)
        for number, folder in found
        if number and (folder / "checkpoint.json").is_file()
    ]
    return [folder for _, _, folder in sorted(numbers)]


def last_checkpoint(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """Give folder and description of the newest checkpoint that has all its files.

    Raises
    ------
    StoreError
        If a description cannot be read.
    """
    for folder in reversed(checkpoints(path)):
        told = described(folder)
        if is_whole(folder, told):
            return folder, told
    return None


def round_of(folder: Path) -> int:
    """Give the round after which a checkpoint was written, by the name of its folder."""
    found = NUMBERED.fullmatch(folder.name)
    return int(found[1]) if found else 0


def is_whole(folder: Path, told: Mapping[str, Any]) -> bool:
    """Tell whether a checkpoint has all its files."""
    return all((folder / file).is_file() for file in told["files"])


def description(told: Mapping[str, Any]) -> str:
    """Write what describes a checkpoint, with a digest of it."""
    return json.dumps({**told, "digest": digest(json.dumps(told, sort_keys=True))})


def described(folder: Path) -> dict[str, Any]:
    """Read what `description` wrote in a checkpoint's folder.

    ``tokens`` tells of each file of which checkpoint it is: one of retired states may be of an
    earlier one.

    Raises
    ------
    StoreError
        If it cannot be read, or is damaged.
    """
    path = folder / "checkpoint.json"
    try:
        found = parsed(read_whole(path))
        told = {"log_bytes": int(found["log_bytes"]), "best": found["best"]}
        told["files"] = {str(file): list(names) for file, names in found["files"].items()}
        told["mixtures"] = {slot: _weights(of) for slot, of in found["mixtures"].items()}
        # what older versions wrote has neither
        told |= {"token": found.get("token", ""), "log": found.get("log", "")}
        written = {key: value for key, value in found.items() if key != "digest"}
        older = found.keys() <= {"round", *told} - {"token", "log"}
        known = dict(found.get("tokens", {}))
        told["tokens"] = {file: str(known.get(file, told["token"])) for file in told["files"]}
        if not older and found.get("digest") != digest(json.dumps(written, sort_keys=True)):
            raise ValueError("it is damaged: it is not as it was written")
        if any("/" in file or len(os.fsencode(file)) > LONGEST for file in told["files"]):
            raise ValueError("it names files elsewhere, or such as cannot be")
    except DAMAGED as error:
        spoken = f"{type(error).__name__}: {error}"
        raise StoreError(f"{path} cannot be read: {spoken}") from error
    return told


def _weights(of: Mapping[str, Any]) -> dict[str, float]:
    """Read the weights of a mixture, or of none.

    Raises
    ------
    ValueError, TypeError
        If nothing can be drawn by them.
    """
    weights = dict(of)
    total = math.fsum(weights.values())
    if weights and not (math.isfinite(total) and total > 0 <= min(weights.values())):
        raise ValueError(f"weights of a mixture: {weights}")
    return weights


def best_pair(run: Path | str) -> dict[str, State]:
    """Read the networks of a run that another may start from, or a generator that was exported.

    Parameters
    ----------
    run : path-like
        Folder of a run, or a safetensors file of the arrays of a generator.

    Returns
    -------
    mapping of str to State
        Of a file, ``generator`` alone. Of a run, ``generator``: the heaviest in the mixture that
        scores best, as of the last checkpoint, or its average where one is kept;
        ``discriminator``: the one that was trained with it, or else the newest of its slot, where
        the checkpoint holds one.

    Raises
    ------
    StoreError
        If there is no run, no checkpoint, or no generator in it; or the file cannot be read.
    """
    if Path(run).suffix.lower() == ENDING:
        return {"generator": read_arrays(Path(run))}
    found = last_checkpoint(Path(run) / CHECKPOINTS)
    if found is None:
        raise StoreError(f"{run} holds no run with a checkpoint; give the folder of a stored run")
    folder, told = found
    weights = told["mixtures"].get(told["best"])
    if not weights:
        raise StoreError(f"{folder}: no mixture was scored before this checkpoint")
    held = {name for names in told["files"].values() for name in names}
    chosen = {"generator": max(weights, key=weights.__getitem__)}
    chosen |= _opponent(chosen["generator"], held)
    if chosen["generator"] not in held:
        raise StoreError(f"{folder} does not hold {chosen['generator']}")
    states = read_checkpoint(folder, told, chosen.values())
    return {kind: average_of(states[name]) for kind, name in chosen.items()}


def _opponent(generator: str, known: Collection[str]) -> dict[str, str]:
    """Name the discriminator that a generator was trained with, or the newest of its slot."""
    slot, _, serial = generator.rpartition("/generator/")
    beside = f"{slot}/discriminator/{serial}"
    found = beside if serial.isdecimal() and beside in known else newest(slot, known)
    return {"discriminator": found} if found else {}


def newest(slot: str, known: Collection[str]) -> str:
    """Name the newest discriminator of a slot among the names of states; "" if there is none.

    Examples
    --------
    >>> newest("cell/1", ["cell/1/discriminator/9", "cell/1/discriminator/10"])
    'cell/1/discriminator/10'
    """
    beside = f"{slot}/discriminator/"
    serials = [name.removeprefix(beside) for name in known if name.startswith(beside)]
    numbers = [number for number in serials if number.isdecimal()]
    return beside + max(numbers, key=int) if numbers else ""
