"""Settings: one validated, immutable description per method, the same in Python, TOML and --set.

A method is a frozen dataclass decorated with `settings`; each field says its bounds through
`setting`. Unknown keys are refused with a suggestion, values are checked by type and bound.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import importlib
import math
import numbers
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import tomli_w
from markupsafe import Markup

from gandask import display, schedule
from gandask.core import Method, SettingError

T = TypeVar("T")
Methods = Mapping[str, type[Method[Any]]]
"""Methods by the name that TOML gives them; the first is meant where none is named."""


def setting(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Declare a setting: its default, one line of help, and its bounds.

    `minimum` and `maximum` are allowed values, `above` and `below` are not; for tuples they bound
    each item.
    """
    bounds = {
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "below": below,
        "choices": choices,
    }
    metadata = {"help": help, **{key: b for key, b in bounds.items() if b is not None}}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@typing.dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that checks its fields when made."""
    made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    initialise = made.__init__

    @functools.wraps(initialise)
    def checked(self: Any, /, *positional: Any, **given: Any) -> None:
        if positional:
            raise SettingError(f"{cls.__name__} takes settings by name only, such as seed=1")
        known = [f.name for f in fields(made)]
        for key, value in given.items():
            if key not in known:
                raise SettingError(
                    f"{key}={value!r}: {cls.__name__} has no setting {key!r}; "
                    + suggestion(key, known)
                )
        initialise(self, **given)

    made.__init__ = checked
    made.__repr__ = _spoken_short
    made._repr_html_ = _drawn
    made.__doc__ = f"{cls.__doc__}\n\n{described(made)}"
    return typing.cast("type[T]", made)


def fields(method: Any) -> list[dataclasses.Field[Any]]:
    """List the settings of a method, or of its class: its own first, then those it shares."""
    cls = method if isinstance(method, type) else type(method)
    return sorted(dataclasses.fields(method), key=lambda f: f.name not in cls.__annotations__)


def changed(method: Any) -> dict[str, Any]:
    """Give the settings that are not at their defaults."""
    made = {f.name: getattr(method, f.name) for f in fields(method)}
    usual = {f.name: _default(f) for f in fields(method)}
    return {name: value for name, value in made.items() if value != usual[name]}


def _default(f: dataclasses.Field[Any]) -> Any:
    return f.default if f.default_factory is dataclasses.MISSING else f.default_factory()


def _spoken_short(self: Any) -> str:
    """Write settings as the call that makes them, without what is at its default."""
    given = ", ".join(f"{name}={value!r}" for name, value in changed(self).items())
    return f"{type(self).__name__}({given})"


def _drawn(self: Any) -> str:
    """Show settings in a notebook: those that were chosen, the others folded away."""
    chosen = changed(self)
    usual = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in chosen}
    title = f"{len(usual)} settings at their defaults"
    heading = Markup("<b>{}</b>").format(type(self).__name__)
    return str(heading + display.table(chosen) + display.folded(title, usual))


def described(cls: Any) -> str:
    """List the settings of a method: name, default, what it is, and its bounds or choices."""
    lines = ["Parameters", "----------"]
    for f in fields(cls):
        lines.append(f"{f.name} : default {_default(f)!r}")
        bounds = [f"{BOUNDS[word][0]} {f.metadata[word]}" for word in BOUNDS if word in f.metadata]
        choices = ["one of " + ", ".join(f.metadata["choices"])] if "choices" in f.metadata else []
        lines.append("    " + "; ".join([f.metadata["help"], *bounds, *choices]) + ".")
    return "\n".join(lines)


def validate(method: Any) -> None:
    """Check every field by type and bound, and store the coerced value (lists become tuples).

    Raises
    ------
    SettingError
        Naming key, value and what was expected.
    """
    hints = typing.get_type_hints(type(method))
    for f in fields(method):
        value = _coerced(f.name, getattr(method, f.name), hints[f.name])
        _check_bounds(f.name, value, f.metadata)
        object.__setattr__(method, f.name, value)


def in_force(method: Method[Any], key: str, round: int) -> Any:
    """Give the value that a setting with a schedule has in a round."""
    return schedule.in_force(getattr(method, key), getattr(method, method.schedules[key]), round)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Propose the nearest known word, or list them all.

    Examples
    --------
    >>> suggestion("batchsize", ["batch_size", "seed"])
    "did you mean 'batch_size'?"
    >>> suggestion("zzz", ["batch_size", "seed"])
    'known are: batch_size, seed'
    """
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names)}"


def lookup(key: str, name: str, registry: Mapping[str, Any]) -> Any:
    """Find a name in a registry.

    Raises
    ------
    SettingError
        Naming the key, the name and the nearest one.
    """
    if name not in registry:
        raise SettingError(f"{key}={name!r}: there is no such {key}; {suggestion(name, registry)}")
    return registry[name]


def load_object(reference: str) -> Any:
    """Import ``"package.module:name"``: how TOML names a function.

    Raises
    ------
    SettingError
        If it cannot be imported.
    """
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SettingError(
            f"{reference!r}: expected 'package.module:name' of something that can be imported "
            f"({error})"
        ) from error


def to_dict(method: Method[Any], *, strict: bool = True) -> dict[str, Any]:
    """Give the settings of a method as plain TOML values, in the order of its fields.

    What is None is left out: TOML has no word for it.

    Raises
    ------
    SettingError
        If `strict`, and a value has no TOML form, such as a function made in a notebook; its
        ``repr`` stands for it otherwise.
    """
    values = {f.name: getattr(method, f.name) for f in fields(method)}
    return {key: _plain(key, value, strict) for key, value in values.items() if value is not None}


def to_toml(method: Method[Any], *, strict: bool = True) -> str:
    """Write a method as TOML: its name and every setting, exact and re-runnable if `strict`."""
    return tomli_w.dumps({"method": method.name, **to_dict(method, strict=strict)})


def from_toml(text: str, methods: Methods) -> Method[Any]:
    """Read a method from TOML.

    Parameters
    ----------
    text : str
        ``method = "grid"`` followed by settings.
    methods : mapping of str to class
        The registry of methods.

    Raises
    ------
    SettingError
        For text that is not TOML, an unknown method, an unknown key or a bad value.
    """
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingError(f"expected TOML such as 'seed = 1' on each line: {error}") from error
    return from_dict(table, methods)


def from_dict(table: Mapping[str, Any], methods: Methods) -> Method[Any]:
    """Make a method from its name under ``method`` and its settings."""
    given = dict(table)
    name = str(given.pop("method", next(iter(methods))))
    made: Method[Any] = lookup("method", name, methods)(**given)
    return made


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read ``key=value`` as --set gives it: a TOML value, or else a bare word.

    Examples
    --------
    >>> parse_assignment("shape=[3, 3]"), parse_assignment("network=mlp")
    (('shape', [3, 3]), ('network', 'mlp'))
    """
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise SettingError(f"--set {text}: expected key=value, such as --set rounds=20")
    try:
        table = tomllib.loads(f"value = {value}")
    except (tomllib.TOMLDecodeError, RecursionError):
        table = {}
    return key.strip(), table["value"] if len(table) == 1 else value.strip()


def _plain(key: str, value: Any, strict: bool) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(key, v, strict) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(key, item, strict) for item in value]
    if isinstance(value, bool | int | float | str):
        return value
    if not strict:
        return repr(value)
    raise SettingError(
        f"{key}={value!r}: cannot be written to a store; name it as 'package.module:name', "
        "or run without a store"
    )


def _coerced(key: str, value: Any, hint: Any) -> Any:
    """Fit a value to a type hint: ints may stand for floats, lists for tuples."""
    if hint is Any:
        return value
    if isinstance(hint, types.UnionType):
        for option in typing.get_args(hint):
            try:
                return _coerced(key, value, option)
            except SettingError:
                continue
        raise SettingError(f"{key}={value!r}: expected {_spoken(hint)}")
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):
        if inner[-1] is Ellipsis:
            return tuple(_coerced(key, item, inner[0]) for item in value)
        if len(value) == len(inner):
            return tuple(_coerced(key, v, h) for v, h in zip(value, inner, strict=True))
    elif origin is Mapping and isinstance(value, Mapping):
        return {item: _coerced(key, v, inner[1]) for item, v in value.items()}
    elif origin is Callable and callable(value):
        return value
    elif hint in (int, float) and not isinstance(value, bool):
        kind = numbers.Integral if hint is int else numbers.Real
        if isinstance(value, kind):  # NumPy's too
            with contextlib.suppress(OverflowError):
                return hint(value)
    elif isinstance(hint, type) and isinstance(value, hint) and hint not in (int, float):
        return value
    elif hint is type(None) and value is None:
        return None
    raise SettingError(f"{key}={value!r}: expected {_spoken(hint)}")


def _spoken(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a name"}
    if isinstance(hint, types.UnionType):
        return " or ".join(_spoken(h) for h in typing.get_args(hint) if h is not type(None))
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)
        count = "a list" if inner[-1] is Ellipsis else f"a list of {len(inner)}"
        return f"{count}, each {_spoken(inner[0])}"
    return names.get(hint, "a table" if typing.get_origin(hint) is Mapping else str(hint))


BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "minimum": ("at least", lambda value, bound: bound is None or value >= bound),
    "above": ("more than", lambda value, bound: bound is None or value > bound),
    "maximum": ("at most", lambda value, bound: bound is None or value <= bound),
    "below": ("less than", lambda value, bound: bound is None or value < bound),
}
"""How each kind of bound is spoken of, and when a value keeps it."""


def _check_bounds(key: str, value: Any, bounds: Mapping[str, Any]) -> None:
    items = value.values() if isinstance(value, dict) else value
    for item in items if isinstance(value, tuple | dict) else (value,):
        if isinstance(item, str) and "choices" in bounds and item not in bounds["choices"]:
            raise SettingError(
                f"{key}={item!r}: expected one of {', '.join(bounds['choices'])}; "
                + suggestion(item, bounds["choices"])
            )
        if isinstance(item, bool) or not isinstance(item, int | float):
            continue
        if item != item or abs(item) == math.inf:
            raise SettingError(f"{key}={value!r}: expected a finite number")
        broken = [word for word, (_, holds) in BOUNDS.items() if not holds(item, bounds.get(word))]
        if broken:
            spoken = [f"{BOUNDS[word][0]} {bounds[word]}" for word in BOUNDS if word in bounds]
            raise SettingError(f"{key}={value!r}: expected {' and '.join(spoken)}")
