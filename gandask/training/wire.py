"""Messages between nodes in fewer bits: arrays scaled to [-1, 1], as float16 or as int8.

Of weights only a copy is rounded, which is read for one exchange: who holds them keeps them whole.
What rounding takes from a gradient is remembered by its sender and added to the next one: error
feedback, after Seide et al. (2014) and Karimireddy et al. (2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gandask.core import Array, State

WIRES = ("float32", "float16", "int8")
LEVELS = 127
"""Of an int8 on each side of 0."""
SCALE = "."
"""Before the name of an array, that of its scale: no array of a network begins so."""


def coarser(wire: str) -> str:
    """Give what weights travel as: of 256 levels too many would be the same.

    Examples
    --------
    >>> coarser("int8"), coarser("float32")
    ('float16', 'float32')
    """
    return "float16" if wire == "int8" else wire


def remembers(wire: str) -> bool:
    """Tell whether rounding takes so much of gradients that their sender adds it to the next."""
    return wire == "int8"


def packed(state: State, wire: str, by_sample: bool = False) -> State:
    """Turn the float32 arrays of a state into fewer bits, each with its scale; others stay.

    Parameters
    ----------
    wire : {"float32", "float16", "int8"}
    by_sample : bool
        Whether each index of the first axis has a scale of its own.

    Examples
    --------
    >>> found = packed({"slope": np.array([0.5, -1.0, 0.1], np.float32)}, "int8")
    >>> found["slope"], found[".slope"]
    (array([  64, -127,   13], dtype=int8), array(1., dtype=float32))
    """
    if wire == "float32":
        return state
    made: dict[str, Array] = {}
    for name, array in state.items():
        if array.dtype != np.float32:
            made[name] = array
            continue
        axes = tuple(range(1 if by_sample else 0, array.ndim))
        scale = np.max(np.abs(array), axis=axes, keepdims=by_sample, initial=0.0)
        known = np.isfinite(scale) & (scale > 0)
        unit = np.where(known, array / np.where(known, scale, 1), 0)
        made[name] = _rounded(unit, wire)
        made[f"{SCALE}{name}"] = np.asarray(scale, np.float32)
    return made


def _rounded(unit: Array, wire: str) -> Array:
    if wire == "float16":
        return np.asarray(unit, np.float16)
    return np.asarray(np.rint(unit * LEVELS), np.int8)


def unpacked(state: State) -> State:
    """Turn arrays with a scale into float32 again; what has none is given as it is.

    A scale that is not finite gives numbers that are not.
    """
    made: dict[str, Array] = {}
    for name, array in state.items():
        if name.startswith(SCALE):
            continue
        scale = state.get(f"{SCALE}{name}")
        if scale is None:
            made[name] = array
        else:
            level = scale / np.float32(LEVELS if array.dtype == np.int8 else 1)
            with np.errstate(invalid="ignore"):
                made[name] = np.asarray(array.astype(np.float32) * level, np.float32)
    return made


def remembered(state: State, left: State, wire: str) -> tuple[State, State]:
    """Pack what is to be sent, with what was left of the last time, and give what is left now.

    Parameters
    ----------
    left : State
        Of the last time; empty at first.
    """
    whole = {name: array + left[name] if left else array for name, array in state.items()}
    sent = packed(whole, wire)
    came = unpacked(sent)
    with np.errstate(invalid="ignore"):
        rest = {name: whole[name] - came[name] for name in whole}
    # a step that is discarded leaves what was there
    if not all(bool(np.isfinite(array).all()) for array in rest.values()):
        return sent, left or {name: np.zeros_like(array) for name, array in whole.items()}
    return sent, rest


def size(
    shapes: Mapping[str, tuple[Sequence[int], str]], wire: str, by_sample: bool = False
) -> int:
    """Give the bytes of a packed state, by the shapes and types of its arrays.

    Examples
    --------
    >>> shapes = {"weight": ((3, 2), "float32"), "seen": ((), "int64")}
    >>> size(shapes, "float32"), size(shapes, "float16"), size(shapes, "int8")
    (32, 24, 18)
    """
    total = 0
    for shape, kind in shapes.values():
        count = math.prod(shape)
        if kind != "float32" or wire == "float32":
            total += count * np.dtype(kind).itemsize
        else:
            scales = shape[0] if by_sample else 1
            total += count * np.dtype(wire).itemsize + 4 * scales
    return total
