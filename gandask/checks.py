"""Checking one value against a type hint and bounds, by pydantic, with messages of our own."""

from __future__ import annotations

import functools
import operator
import os
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gandask.core import SettingError
from gandask.display import suggestion

NO_TEXT = (
    "it is no UTF-8, in which a run writes down its settings: rename it, or, where the shell's "
    "locale is another one, set PYTHONUTF8=1"
)
UNIONS = (types.UnionType, typing.Union)

BOUNDS = {
    "minimum": ("ge", "at least"),
    "above": ("gt", "more than"),
    "maximum": ("le", "at most"),
    "below": ("lt", "less than"),
}
"""What pydantic calls each kind of bound, and how it is spoken of."""


def check(key: str, hint: Any, bounds: Mapping[str, Any]) -> Callable[[Any], Any]:
    """Make the check of a value by its type hint and bounds, such as ``minimum`` and ``choices``.

    It gives the value as a setting holds it, and raises SettingError for what does not fit.

    Examples
    --------
    >>> check("rate", float, {"above": 0})(np.float32(0.5))
    0.5
    """
    # not at the top: workers, which make no settings, start without it
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    strict = ConfigDict(strict=True, allow_inf_nan=False)
    adapter = TypeAdapter[Any](_strict(hint, bounds), config=strict)

    def checked(value: Any) -> Any:
        try:
            made = adapter.validate_python(value)
        except ValidationError as error:
            told = [f"{key}={value!r}: expected {_spoken(hint, bounds)}"]
            for found in error.errors(include_url=False):
                if isinstance(found.get("ctx", {}).get("error"), UnicodeEncodeError):
                    told[1:] = [NO_TEXT]
                if "choices" in bounds and isinstance(found["input"], str):
                    told[1:] = [suggestion(found["input"], bounds["choices"])]
            raise SettingError("; ".join(told)) from None
        if isinstance(made, str) and not is_text(made):
            raise SettingError(
                f"{key}={made!r}: expected text, got bytes that are no UTF-8, which a run cannot "
                "write down; rename that file or folder"
            )
        return made

    return checked


def _strict(hint: Any, bounds: Mapping[str, Any]) -> Any:
    """Put a type hint into pydantic's words, with the bounds at every number and name in it."""
    from pydantic import AfterValidator, BeforeValidator, Field

    ordinary = BeforeValidator(_ordinary)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in UNIONS:
        return functools.reduce(operator.or_, [_strict(option, bounds) for option in inner])
    if origin in (tuple, Mapping):
        items = tuple(item if item is ... else _strict(item, bounds) for item in inner)
        return typing.Annotated[types.GenericAlias(origin, items), ordinary]
    if hint in (int, float):
        limits = {BOUNDS[word][0]: bounds[word] for word in BOUNDS if word in bounds}
        return typing.Annotated[hint, ordinary, Field(**limits)]
    if hint is str:
        named: Any = typing.Literal[tuple(bounds["choices"])] if "choices" in bounds else str
        return typing.Annotated[named, ordinary]
    if isinstance(hint, type) and hint not in (bool, types.NoneType, Any):
        return typing.Annotated[Any, AfterValidator(functools.partial(_instance, hint))]
    return hint


def _instance(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise ValueError(kind)
    return value


def _ordinary(value: Any) -> Any:
    """Give the tuple, text or number of Python's own that a value stands for."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, os.PathLike):
        value = spelt(value)
    if isinstance(value, str):
        value.encode("utf-8")  # as it is written down
    return value.item() if isinstance(value, np.generic) else value


def _spoken(hint: Any, bounds: Mapping[str, Any]) -> str:
    """Say what a setting may be."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in UNIONS:
        return " or ".join(_spoken(h, bounds) for h in inner if h is not types.NoneType)
    if origin is tuple:
        count = "a list" if inner[-1] is ... else f"a list of {len(inner)}"
        return f"{count}, each {_spoken(inner[0], bounds)}"
    if origin is Mapping:
        return "a table" if inner[1] is Any else f"a table, each {_spoken(inner[1], bounds)}"
    if hint in (int, float):
        kind = "a whole number" if hint is int else "a finite number"
        return " of ".join(filter(None, [kind, spoken_bounds(bounds)]))
    if origin is typing.Literal or (hint is str and "choices" in bounds):
        return "one of " + ", ".join(map(str, inner or bounds["choices"]))
    names = {str: "a name", bool: "true or false"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def spoken_bounds(bounds: Mapping[str, Any]) -> str:
    """Say what numbers may be."""
    return " and ".join(f"{BOUNDS[word][1]} {bounds[word]}" for word in BOUNDS if word in bounds)


def spelt(path: str | os.PathLike[str]) -> str:
    """Give a path as text that is still one: ``Path("./digits")`` is no name of a data set.

    Examples
    --------
    >>> spelt(Path("./digits")), spelt(Path("a") / "b"), spelt("digits")
    ('./digits', 'a/b', 'digits')
    """
    text = os.fspath(path)
    bare = not isinstance(path, str) and text == Path(text).name
    return f"./{text}" if bare else text


def spelt_out(path: str) -> str:
    """Give the full path, which means the same from any folder; nothing need be there."""
    # those of os.path: an unknown ~user, or what can be no path, is a name like any other
    return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111


def is_text(name: str) -> bool:
    r"""Tell what can be written as UTF-8: names of files may hold any bytes.

    Examples
    --------
    >>> is_text("grün"), is_text("gr\udcfcn")
    (True, False)
    """
    return not any("\ud800" <= character <= "\udfff" for character in name)


def is_address(path: str) -> bool:
    """Tell an address from a path, though `Path` may have taken one of its slashes.

    Examples
    --------
    >>> [is_address(path) for path in ("s3://bucket/run", "https:/a.org/x.zip", "C:/runs", "a:b")]
    [True, True, False, False]
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", path) is not None


def refuse_address(key: str, path: str) -> None:
    """Refuse an address where a path is meant: nothing is fetched.

    Raises
    ------
    SettingError
    """
    if is_address(path):
        raise SettingError(
            f"{key}={path!r}: expected a path, got an address; download it, and give the path"
        )
