"""A network alone, for those who go on without gandask: named arrays in one file, no pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from gandask.core import SettingError, State, StoreError
from gandask.core.files import replacing

ENDING = ".safetensors"


def body(state: State) -> State:
    """Name the weights of a discriminator that tells classes as its body does, without the sum.

    Examples
    --------
    >>> body({"body.1.weight": np.zeros(1)})
    {'1.weight': array([0.])}
    """
    return {name.removeprefix("body."): array for name, array in state.items()}


def write(state: State, told: Mapping[str, object], path: str | os.PathLike[str]) -> Path:
    """Write the weights of a network, whole or not at all.

    Parameters
    ----------
    state : State
        Its arrays, by the names that its module knows them by.
    told : mapping
        What the file says of it: text as it is, anything else as JSON.
    path : path-like

    Raises
    ------
    SettingError
        For a name that does not end in ``.safetensors``.
    StoreError
        If it cannot be written.
    """
    import safetensors.numpy

    target = Path(path)
    if target.suffix.lower() != ENDING:
        raise SettingError(f"{target}: expected a name that ends in {ENDING}")
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    text = {key: one if isinstance(one, str) else json.dumps(one) for key, one in told.items()}
    try:
        with replacing(target) as file:
            file.write(safetensors.numpy.save(arrays, text))
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}") from error
    return target
