"""What is computed once for many runs, kept as files of arrays that say what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.numpy

from gandask.core import Array, DataError
from gandask.core.files import DAMAGED, replacing
from gandask.training import stored


def recall(path: Path) -> dict[str, Array] | None:
    """Read a cache file; None if it is not there, or not as it was written."""
    try:
        with safetensors.safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in list(file.keys())}
            return arrays if file.metadata() == _note(path, arrays) else None
    except (*DAMAGED, safetensors.SafetensorError):
        return None


def keep(path: Path, arrays: dict[str, Array]) -> dict[str, Array]:
    """Write a cache file whole or not at all, however many processes try at once.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(safetensors.numpy.save(arrays, _note(path, arrays)))
    except OSError as error:
        raise DataError(
            f"cannot write the cache {path.parent} ({error}); set GANDASK_CACHE to a folder with "
            "room"
        ) from error
    return arrays


def _note(path: Path, arrays: Mapping[str, Array]) -> dict[str, str]:
    """Say which file it is, and what it holds."""
    return {"name": path.stem, "digest": stored.digest_of(arrays)}
