"""What networks and losses are beyond their names: digests, which tell when a name means others.

Of code that is not part of gandask or torch, whose versions a run tells, the source text counts
where there is one. What no text tells, `gandask.training.behaviour` does.
"""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from types import CodeType
from typing import Any

from torch import nn

from gandask.core.files import digest
from gandask.training.losses import Loss

PACKAGES = ("gandask", "torch")


def of_modules(builders: Sequence[Any], modules: Sequence[nn.Module]) -> str:
    """Give a digest of networks: names and shapes of what they hold, and how they compute.

    Parameters
    ----------
    builders : sequence of callable
        What made them.
    modules : sequence of nn.Module
    """
    held = [
        [(name, tuple(part.shape)) for name, part in module.state_dict().items()]
        for module in modules
    ]
    kinds = {type(part) for module in modules for part in module.modules()}
    shown = [re.sub(r" at 0x[0-9a-f]+", "", repr(module)) for module in modules]
    code = [*map(source, builders), *sorted(map(source, kinds))]
    return digest(repr((held, shown, code)))


def of_losses(losses: Sequence[Loss]) -> str:
    """Give a digest of losses."""
    parts = [
        (source(loss.generator), source(loss.discriminator), loss.gradient_penalty, loss.clip)
        # of those without, the digest is the one that older runs have
        + ((loss.r1, loss.r1_every, loss.dragan) if loss.r1 or loss.dragan else ())
        for loss in losses
    ]
    return digest(repr(parts))


def of_functions(functions: Sequence[Callable[..., Any]]) -> str:
    """Give a digest of functions that settings name."""
    return digest(repr([*map(source, functions)]))


def is_imported(thing: Any) -> bool:
    """Tell whether a function or class is found where it says that it is: in a module.

    Examples
    --------
    >>> is_imported(nn.Linear), is_imported(functools.partial(nn.Linear, 2)), is_imported(lambda: 0)
    (True, True, False)
    """
    while isinstance(thing, functools.partial):
        thing = thing.func
    found: Any = sys.modules.get(str(getattr(thing, "__module__", "")))
    if found is None or getattr(found, "__file__", None) is None:
        return False
    if found.__name__ == "__main__":
        return False
    for name in str(getattr(thing, "__qualname__", "?")).split("."):
        found = getattr(found, name, None)
    return found is thing


def source(thing: Any, seen: set[int] | None = None) -> str:
    """Give the source text of a function or class, or its name where that says as much.

    What it stands on counts too: values that it holds or names, functions and classes of the same
    package that it uses, each once.

    Examples
    --------
    >>> source(functools.partial(nn.LeakyReLU, 0.2))
    'torch.nn.modules.activation.LeakyReLU(0.2)'
    """
    seen = set() if seen is None else seen
    if isinstance(thing, functools.partial):
        return f"{source(thing.func, seen)}{_spoken(thing.args, thing.keywords, seen)}"
    if inspect.ismethod(thing):
        return source(thing.__func__, seen)
    if isinstance(thing, functools._lru_cache_wrapper):
        return source(thing.__wrapped__, seen)
    named = getattr(thing, "__qualname__", None)
    if named is None:  # an object
        return f"{source(type(thing), seen)}{_spoken((), getattr(thing, '__dict__', {}), seen)}"
    module = _package(thing)
    if module in PACKAGES or id(thing) in seen:
        return f"{thing.__module__}.{named}"
    seen.add(id(thing))
    if inspect.isclass(thing):
        bases = [base for base in thing.__bases__ if _package(base) == module]
        own = {key: value for key, value in vars(thing).items() if _counts(key, value)}
        return f"{named}{_spoken(bases, own, seen)}"
    return _function(thing, seen) if inspect.isfunction(thing) else str(named)


def _package(thing: Any) -> str:
    return str(getattr(thing, "__module__", "")).partition(".")[0]


def _counts(key: str, value: Any) -> bool:
    return inspect.isfunction(value) or not key.startswith("__")


def _function(function: Any, seen: set[int]) -> str:
    """Give the text of a function, or what it does if it was typed into a shell, and its values."""
    code = function.__code__
    try:
        text = inspect.getsource(function)
    except (OSError, TypeError):
        text = f"{function.__qualname__} {code.co_code.hex()} {code.co_names}"
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    held = {name: cell.cell_contents for name, cell in cells}
    names = [name for name in _names(code) if name in function.__globals__]
    used = {name: function.__globals__[name] for name in names}
    ours = {
        name: value
        for name, value in used.items()
        if _is_plain(value) or (callable(value) and _package(value) == _package(function))
    }
    given = [*(function.__defaults__ or ()), function.__kwdefaults__ or {}]
    constants = [value for value in code.co_consts if _is_plain(value)]
    return f"{text}{_spoken([*given, constants], held | ours, seen)}"


def _names(code: CodeType) -> set[str]:
    """Name what a function uses, inner ones included."""
    inner = [part for part in code.co_consts if isinstance(part, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | complex | str | bytes)


def _spoken(values: Sequence[Any], named: Mapping[str, Any], seen: set[int]) -> str:
    """Write values down, without addresses of memory."""
    parts = [_value(value, seen) for value in values]
    parts += [f"{key}={_value(value, seen)}" for key, value in sorted(named.items())]
    return f"({', '.join(parts)})" if parts else ""


def _value(value: Any, seen: set[int]) -> str:
    if _is_plain(value):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item, seen) for item in value)}]"
    if isinstance(value, Mapping):
        return _spoken((), {str(key): item for key, item in value.items()}, seen)
    if isinstance(value, staticmethod | classmethod):
        return _value(value.__func__, seen)
    if isinstance(value, property):
        return _value([value.fget, value.fset], seen)
    if callable(value):
        return source(value, seen)
    return type(value).__qualname__
