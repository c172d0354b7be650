"""A network alone, for those who go on without gandask: nothing of it is pickled.

As named arrays in one file, or as a graph that says how they are computed with (ONNX).
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import SettingError, State, StoreError
from gandask.core.files import replacing

ENDING, GRAPH = ".safetensors", ".onnx"
NEEDED = ("onnx", "onnxscript")
"""Packages of the extra ``onnx``."""


def body(state: State) -> State:
    """Name the weights of a discriminator that tells classes as its body does, without the sum.

    Examples
    --------
    >>> body({"body.1.weight": np.zeros(1)})
    {'1.weight': array([0.])}
    """
    return {name.removeprefix("body."): array for name, array in state.items()}


def is_graph(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is to be an ONNX graph, by its name."""
    return Path(path).suffix.lower() == GRAPH


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
        For a name that ends in neither ``.safetensors`` nor ``.onnx``.
    StoreError
        If it cannot be written.
    """
    import safetensors.numpy

    target = Path(path)
    if target.suffix.lower() != ENDING:
        raise SettingError(f"{target}: expected a name that ends in {ENDING} or {GRAPH}")
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    _put(target, safetensors.numpy.save(arrays, _text(told)))
    return target


def write_graph(
    module: nn.Module,
    inputs: Mapping[str, Tensor],
    told: Mapping[str, object],
    path: str | os.PathLike[str],
) -> Path:
    """Write a generator as an ONNX graph of its weights, whole or not at all.

    Parameters
    ----------
    module : Module
    inputs : mapping of str to Tensor
        By name, what it takes, for a few samples; the graph takes any number.
    told : mapping
        What the file says of it, as of `write`.
    path : path-like
        Its name ends in ``.onnx``.

    Raises
    ------
    SettingError
        If a package is missing, or ONNX cannot express the network.
    StoreError
        If it cannot be written.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise SettingError(
            f"{path}: needs the package {missing[0]}: pip install 'gandask[onnx]'; or choose a "
            f"name that ends in {ENDING}"
        )
    count = torch.export.Dim("samples")
    quiet = logging.getLogger("torch.onnx")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(
                module.eval(),
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=["samples"],
                dynamic_shapes=tuple({0: count} for _ in inputs),
                dynamo=True,
                # whoever runs a graph makes it faster for where it runs; to do so here took
                # minutes for an LSTM, whose every step is a part of the graph
                optimize=False,
                verbose=False,
            )
        assert made is not None  # what it gives where it writes no file itself
        made.model.metadata_props.update(_text(told))
        whole = made.model_proto.SerializeToString()
    except Exception as error:  # whatever a user's network, or the exporter, raises
        raise SettingError(
            f"{path}: ONNX cannot express the network ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else ''}); choose a name that ends in "
            f"{ENDING}"
        ) from error
    finally:
        quiet.setLevel(before)
    _put(Path(path), whole)
    return Path(path)


def _text(told: Mapping[str, object]) -> dict[str, str]:
    """Write facts as text, as files hold them."""
    return {key: one if isinstance(one, str) else json.dumps(one) for key, one in told.items()}


def _put(target: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    try:
        with replacing(target) as file:
            file.write(data)
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error.strerror or error}") from error
