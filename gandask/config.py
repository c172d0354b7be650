"""Settings: one validated, immutable description per method, the same in Python, TOML and --set.

A method is a frozen dataclass decorated with `settings`; each field says its bounds through
`setting`. Unknown keys are refused with a suggestion, values are checked by pydantic: strictly, but
that whole numbers may stand for numbers, lists for tuples, paths for text, NumPy's numbers for
Python's and tables for settings within settings.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import os
import sys
import tomllib
import typing
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tomli_w
from markupsafe import Markup

from gandask import display, schedule
from gandask.checks import check, spelt_out, spoken_bounds
from gandask.core import Method, MethodError, SettingError

T = TypeVar("T")
M = TypeVar("M", bound=Method[Any])
RUN_FILE, SETTINGS_FILE = "run.json", "config.toml"
"""What lies in the folder of every run (`gandask.store` writes it)."""
ELSEWHERE = ("cluster", "heartbeat")
"""Tables that may lie beside settings in a file, and are none of a method."""
_SETTINGS: weakref.WeakSet[type] = weakref.WeakSet()  # every class that `settings` made
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
    suggested: Sequence[str] | None = None,
    function: bool = False,
) -> Any:
    """Declare a setting: its default, one line of help, and its bounds.

    `minimum` and `maximum` are allowed values, `above` and `below` are not; for tuples they bound
    each item. Of names, `choices` are all there are; `suggested` are offered where others may do.
    `function` says that it may name a function, as `load_object` takes it.
    """
    bounds = {
        "minimum": minimum,
        "above": above,
        "maximum": maximum,
        "below": below,
        "choices": choices,
        "suggested": suggested,
        "function": function or None,
    }
    metadata = {"help": help, **{key: b for key, b in bounds.items() if b is not None}}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@typing.dataclass_transform(kw_only_default=True, frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make `cls` a frozen, keyword-only dataclass that checks its fields when made.

    They are checked before ``__post_init__``, which finds each of its type and within its bounds,
    and what `cls.schedules` names with rounds as text, as TOML writes them.

    Raises
    ------
    MethodError
        If `cls.schedules` names what is no setting.
    """
    made: Any = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
    _SETTINGS.add(made)
    _check_schedules(made)
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
                    + display.suggestion(key, known)
                )
        initialise(self, **_checked(type(self), given))

    made.__init__ = checked
    made.__hash__ = _hash
    made.__repr__ = _spoken_short
    made._repr_html_ = _drawn
    made.__doc__ = f"{cls.__doc__}\n\n{described(made)}"
    return typing.cast("type[T]", made)


def _hash(self: Any) -> int:
    """Hash settings, the same for equal ones: tables among them count as their items."""
    return hash((type(self), *(_hashable(getattr(self, f.name)) for f in fields(self))))


def _hashable(value: Any) -> Any:
    """Give what may be hashed in the place of a value, the same for equal ones."""
    if isinstance(value, Mapping):
        return frozenset((key, _hashable(item)) for key, item in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def fields(method: Any) -> tuple[dataclasses.Field[Any], ...]:
    """List the settings of a method, or of its class: its own first, then those of each base."""
    return _fields(method if isinstance(method, type) else type(method))


@functools.cache
def _fields(cls: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    written = [inspect.get_annotations(base) for base in cls.__mro__]

    def nearest(field: dataclasses.Field[Any]) -> int:
        return next(place for place, names in enumerate(written) if field.name in names)

    return tuple(sorted(dataclasses.fields(cls), key=nearest))


def changed(method: Any) -> dict[str, Any]:
    """Give the settings that are not at their defaults."""
    made = {f.name: getattr(method, f.name) for f in fields(method)}
    usual = {f.name: _default(f) for f in fields(method)}
    return {name: value for name, value in made.items() if value != usual[name]}


def replace(method: M, changes: Mapping[str, Any]) -> M:
    """Give the same settings, some of them changed, checked and made anew."""
    given = {f.name: getattr(method, f.name) for f in fields(method)}
    return type(method)(**given | dict(changes))


def _default(f: dataclasses.Field[Any]) -> Any:
    return f.default_factory() if callable(f.default_factory) else f.default


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
        choices = ["one of " + ", ".join(f.metadata["choices"])] if "choices" in f.metadata else []
        told = [f.metadata["help"], spoken_bounds(f.metadata), *choices]
        lines.append("    " + "; ".join(filter(None, told)) + ".")
    return "\n".join(lines)


def in_force(method: Method[Any], key: str, round: int) -> Any:
    """Give the value in a round of a setting that may change while running.

    Examples
    --------
    >>> from gandask.methods.grid import Grid
    >>> grid = Grid(mutation_scale=0.1, mutation_scale_schedule={3: 0.2})
    >>> [in_force(grid, "mutation_scale", round) for round in (2, 3, 4)]
    [0.1, 0.2, 0.2]
    """
    later = getattr(method, method.schedules[key])
    return schedule.in_force(getattr(method, key), later, round)


def lookup(key: str, name: str, registry: Mapping[str, Any]) -> Any:
    """Find a name in a registry.

    Raises
    ------
    SettingError
        Naming the key, the name and the nearest one.
    """
    if name not in registry:
        raise SettingError(
            f"{key}={name!r}: there is no such {key}; {display.suggestion(name, registry)}"
        )
    return registry[name]


def functions(method: Method[Any]) -> set[str]:
    """Name the functions that settings name, which training would import.

    Examples
    --------
    >>> from gandask.methods.grid import Grid
    >>> functions(Grid(neighbourhood="my_module:nearest"))
    {'my_module:nearest'}
    """
    values = (getattr(method, f.name) for f in fields(method) if "function" in f.metadata)
    return {value for value in values if isinstance(value, str) and ":" in value}


def is_run(folder: Path) -> bool:
    """Tell whether a folder is a run's."""
    return all(os.path.lexists(folder / name) for name in (RUN_FILE, SETTINGS_FILE))


def lies_in_a_run(path: Path) -> bool:
    """Tell whether a path is that of a run's folder, or leads below one, be it by a link."""
    ways = (Path(spelt_out(str(path))), path.resolve())
    return any(is_run(folder) for way in ways for folder in (way, *way.parents))


def load_object(reference: str) -> Any:
    """Import ``"package.module:name"``: how TOML names a function.

    Raises
    ------
    SettingError
        If it cannot be imported, or lies in a run's folder: whoever made that may be a stranger.
    """
    module, _, name = reference.partition(":")
    try:
        for folder in folders_of(module):
            if lies_in_a_run(folder):
                raise ImportError(f"{folder} is within a run, and nothing there is imported")
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise SettingError(
            f"{reference!r}: expected 'package.module:name' of something that can be imported "
            f"({error})"
        ) from error


def folders_of(module: str) -> Iterator[Path]:
    """Find the folders that importing a module would run something in; nothing is imported."""
    first, *others = module.split(".")
    if module in sys.modules or first == __package__:
        return
    spec = importlib.util.find_spec(first) if first else None
    if spec is None or not (spec.submodule_search_locations or spec.has_location):
        return
    for location in spec.submodule_search_locations or [str(Path(spec.origin or "").parent)]:
        folder = Path(location).resolve()
        yield folder
        for name in others:
            folder /= name
            yield folder.resolve()


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
    except (ValueError, RecursionError) as error:
        raise SettingError(f"expected TOML such as 'seed = 1' on each line: {error}") from error
    return from_dict(table, methods)


def from_dict(table: Mapping[str, Any], methods: Methods) -> Method[Any]:
    """Make a method from its name under ``method`` and its settings."""
    given = dict(table)
    name = str(given.pop("method", next(iter(methods))))
    made: Method[Any] = lookup("method", name, methods)(**given)
    return made


def unchecked(table: Mapping[str, Any], method: type[Method[Any]]) -> Method[Any]:
    """Make a method of settings that were checked when they were written, to look at.

    Nothing is looked up, so that a user's networks and losses need not be there. It is not fit to
    be run: see `from_dict`.

    Parameters
    ----------
    table : mapping
        As TOML reads it. What the method has no setting for is left out.
    method : class
    """
    made: Method[Any] = object.__new__(method)
    inner = _inner(method)
    for f in fields(method):
        value = table.get(f.name, _default(f))
        if f.name in inner and isinstance(value, Mapping):
            value = unchecked(value, inner[f.name])
        value = tuple(value) if isinstance(value, list) else value
        object.__setattr__(made, f.name, value)
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
    except (ValueError, RecursionError):
        table = {}
    return key.strip(), table["value"] if len(table) == 1 else value.strip()


def _plain(key: str, value: Any, strict: bool) -> Any:
    if _are_settings(type(value)):
        return to_dict(value, strict=strict)
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


def _check_schedules(cls: Any) -> None:
    """Raise MethodError unless both sides of `cls.schedules` are settings."""
    known = [f.name for f in fields(cls)]
    for pair in getattr(cls, "schedules", {}).items():
        for key in pair:
            if key not in known:
                raise MethodError(
                    f"{cls.__name__}.schedules names {key!r}, which is no setting; "
                    + display.suggestion(key, known)
                )


def _checked(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give every setting its type, and refuse what does not fit."""
    values = {f.name: _default(f) for f in fields(cls)} | dict(given)
    for key in getattr(cls, "schedules", {}).values():
        if isinstance(values[key], Mapping):
            values[key] = schedule.read(key, values[key])
    for key, kind in _inner(cls).items():
        if isinstance(values[key], Mapping):
            values[key] = _within(key, values[key], kind)
    return {key: checked(values[key]) for key, checked in _checks(cls).items()}


def _within(key: str, table: Mapping[Any, Any], kind: type) -> Any:
    """Make settings within settings of their table; what is refused is named from outside."""
    try:
        return kind(**{str(name): value for name, value in table.items()})
    except SettingError as error:
        raise SettingError(f"{key}.{error}") from None


def _are_settings(kind: Any) -> bool:
    """Tell whether a class is made by `settings`, or below one that is."""
    return isinstance(kind, type) and any(base in _SETTINGS for base in kind.__mro__)


@functools.cache
def _inner(cls: type) -> dict[str, type]:
    """Give the class of each setting that holds settings itself."""
    hints = typing.get_type_hints(cls)
    options = {f.name: (hints[f.name], *typing.get_args(hints[f.name])) for f in fields(cls)}
    known = {name: [one for one in of if _are_settings(one)] for name, of in options.items()}
    return {name: kinds[0] for name, kinds in known.items() if kinds}


@functools.cache
def _checks(cls: type) -> dict[str, Callable[[Any], Any]]:
    """Make the check of each setting."""
    hints = typing.get_type_hints(cls)
    return {f.name: check(f.name, hints[f.name], f.metadata) for f in fields(cls)}
