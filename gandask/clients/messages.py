"""Messages between a process that holds private data and the others, as frames of bytes.

A frame is one safetensors blob: the arrays, and in its metadata the message's name and values as
JSON. Every size in it is bounded, and nothing in it is ever carried out: whoever sends it may be
anyone.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from gandask.core import Array
from gandask.core.files import DAMAGED, refuse_deep

MOST = 256 << 20
"""Bytes of a frame."""
HEADER = 1 << 20
"""Bytes of a frame's header: names, types and shapes of the arrays, and all values."""
ARRAYS = 10_000
"""Arrays in a frame."""
NAME = re.compile(r"[a-z_]{1,32}")
TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
"""Types of numbers that travel, as safetensors and NumPy call them."""
METADATA = "__metadata__"  # safetensors' own key, which no array can have
WHY = ("unreadable", "unknown", "unfit", "unready", "spent", "lost", "failed")
"""Why a request may be refused: whoever asked hears one of these words, and no more."""


class MessageError(ValueError):
    """A message that cannot travel, or a frame that is none; the text says what is wrong."""


@dataclass(frozen=True, eq=False)
class Message:
    """Say something to another process, by name.

    Parameters
    ----------
    name : str
        Which request or answer it is: 1 to 32 lower-case letters and underscores.
    values : mapping
        What JSON holds: texts, whole numbers, finite numbers, true, false, None, and lists and
        dicts of them, with texts as keys.
    arrays : mapping of str to Array
        Of one of `TYPES` each; NaN and infinities travel.
    """

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


def refused(why: str) -> Message:
    """Give the answer to a request that is refused, for one of the reasons in `WHY`."""
    if why not in WHY:
        raise ValueError(f"why={why!r}: expected one of {', '.join(WHY)}")
    return Message("refused", {"why": why})


class RefusedError(Exception):
    """A request that is not answered.

    Parameters
    ----------
    why : str
        One of `WHY`, for whoever asked.
    told : str
        What is said where the data are, and nowhere else.

    Attributes
    ----------
    answer : Message
        What whoever asked gets.
    """

    def __init__(self, why: str, told: str) -> None:
        super().__init__(told)
        self.answer = refused(why)


def packed(message: Message) -> bytes:
    """Write a message as a frame.

    Raises
    ------
    MessageError
        If it is larger than what `unpacked` takes, or holds what a frame cannot.
    """
    arrays = {name: _plain(name, array) for name, array in message.arrays.items()}
    told = {"name": message.name, "values": _json(message.values)}
    try:
        frame: bytes = safetensors.numpy.save(arrays, told)
    except (*DAMAGED, safetensors.SafetensorError) as error:
        raise MessageError(f"a message that cannot be written: {error}") from error
    _described(frame)
    return frame


def unpacked(frame: bytes) -> Message:
    """Read the message of a frame; its arrays own their memory.

    Raises
    ------
    MessageError
        If it is no frame, is damaged, or exceeds a bound.

    Examples
    --------
    >>> frame = packed(Message("probe", {"round": 3}, {"fakes": np.zeros((2, 1))}))
    >>> message = unpacked(frame)
    >>> message.name, message.values, message.arrays["fakes"].shape
    ('probe', {'round': 3}, (2, 1))
    >>> unpacked(frame[:-1])
    Traceback (most recent call last):
    ...
    gandask.clients.messages.MessageError: a frame that is damaged: ...
    """
    name, values = _described(frame)
    try:
        found = safetensors.numpy.load(frame)
        arrays = {key: np.array(array) for key, array in found.items()}
    except (*DAMAGED, safetensors.SafetensorError) as error:
        raise MessageError(f"a frame that is damaged: {error}") from error
    for key, array in arrays.items():
        if array.dtype == bool and (array.view(np.uint8) > 1).any():
            raise MessageError(f"array {key!r}: expected truth values, bytes of 0 and 1")
    return Message(name, values, arrays)


def _plain(name: str, array: Array) -> Array:
    """Give an array as it travels, little-endian and in rows, or refuse it."""
    if name == METADATA or not isinstance(name, str):
        raise MessageError(f"an array called {name!r}: expected another name, a text")
    kind = np.asarray(array).dtype.newbyteorder("<")
    if kind.str not in TYPES.values():
        raise MessageError(f"array {name!r} is of type {kind}: expected one of {', '.join(TYPES)}")
    return np.asarray(array, dtype=kind, order="C")


def _json(values: Mapping[str, Any]) -> str:
    """Write values as JSON that says exactly them."""
    try:
        refuse_deep(values)
        text = json.dumps(dict(values), allow_nan=False, separators=(",", ":"))
        same = json.loads(text) == dict(values)  # not so for tuples, and keys that are no texts
    except DAMAGED as error:
        raise MessageError(f"values that JSON does not hold: {error}") from error
    if not same:
        raise MessageError("values that JSON changes: expected lists, and dicts with texts as keys")
    return text


def _described(frame: bytes) -> tuple[str, dict[str, Any]]:
    """Read name and values of a frame, and hold its header to the bounds."""
    if len(frame) > MOST:
        raise MessageError(f"a frame of {len(frame)} bytes: expected at most {MOST}")
    size = int.from_bytes(frame[:8], "little")
    if len(frame) < 8 or size > min(HEADER, len(frame) - 8):
        raise MessageError(
            f"a frame of {len(frame)} bytes with a header of {size}: expected a header that it "
            f"holds, of at most {HEADER}"
        )
    header = _parsed(frame[8 : 8 + size], "header")
    told = header.pop(METADATA, None)
    if not isinstance(told, dict) or told.keys() != {"name", "values"}:
        raise MessageError("a frame without a message: expected its name and values")
    name, text = told["name"], told["values"]
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise MessageError("a message's name: expected 1 to 32 lower-case letters and underscores")
    if not isinstance(text, str):
        raise MessageError("a message's values: expected the text of a JSON object")
    if len(header) > ARRAYS:
        raise MessageError(f"a frame of {len(header)} arrays: expected at most {ARRAYS}")
    kinds = [one.get("dtype") if isinstance(one, dict) else None for one in header.values()]
    for kind in kinds:
        if not isinstance(kind, str) or kind not in TYPES:
            raise MessageError(f"an array of a foreign type: expected one of {', '.join(TYPES)}")
    return name, _parsed(text, "values")


def _parsed(text: str | bytes, what: str) -> dict[str, Any]:
    """Read a JSON object strictly: UTF-8, finite numbers, no key twice, of a bounded depth."""
    try:
        found = json.loads(
            text.decode() if isinstance(text, bytes) else text,
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_finite,
        )
        refuse_deep(found)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except DAMAGED as error:
        raise MessageError(f"a frame's {what}: expected JSON ({error})") from error
    if not isinstance(found, dict):
        raise MessageError(f"a frame's {what}: expected a JSON object")
    return found


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key that comes twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that is not finite")
    return number
