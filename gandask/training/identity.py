"""What networks and losses are beyond their names: digests, which tell when a name means others.

Of code that is not part of gandask or torch, whose versions a run tells, the source text counts
where there is one.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from gandask.core import State
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
    return _digest([repr(held), *map(source, builders), *sorted(map(source, kinds))])


def of_losses(losses: Sequence[Loss]) -> str:
    """Give a digest of losses."""
    parts = [
        (source(loss.generator), source(loss.discriminator), loss.gradient_penalty, loss.clip)
        for loss in losses
    ]
    return _digest([repr(parts)])


def of_states(states: Mapping[str, State]) -> str:
    """Give a digest of weights, by kind."""
    made = hashlib.blake2b(digest_size=8)
    for kind, state in sorted(states.items()):
        for name, part in sorted(state.items()):
            made.update(f"{kind} {name} {part.dtype} {part.shape} ".encode())
            made.update(np.ascontiguousarray(part).data)
    return made.hexdigest()


def _digest(texts: Iterable[str]) -> str:
    made = hashlib.blake2b(digest_size=8)
    for text in texts:
        made.update(f"{len(text)}:{text}".encode())
    return made.hexdigest()


def source(thing: Any) -> str:
    """Give the source text of a function or class, or its name where that says as much.

    Values that it holds (of a partial function, a closure, an object that can be called) count too.

    Examples
    --------
    >>> source(functools.partial(nn.LeakyReLU, 0.2))
    'torch.nn.modules.activation.LeakyReLU(0.2)'
    """
    if isinstance(thing, functools.partial):
        return f"{source(thing.func)}{_spoken(thing.args, thing.keywords)}"
    named = getattr(thing, "__qualname__", None)
    if named is None:  # an object
        return f"{source(type(thing))}{_spoken((), getattr(thing, '__dict__', {}))}"
    module = str(getattr(thing, "__module__", ""))
    if module.partition(".")[0] in PACKAGES:
        return f"{module}.{named}"
    if inspect.isclass(thing):
        # of a class made in a notebook, only its functions have a source
        parts = map(_text, filter(inspect.isfunction, vars(thing).values()))
        return "\n".join([named, *parts])
    if not inspect.isfunction(thing):
        return str(named)
    held = [cell.cell_contents for cell in thing.__closure__ or ()]
    return f"{_text(thing)}{_spoken(held, {})}"


def _text(function: Any) -> str:
    """Give the source text of a function, or what it does where it was typed into a shell."""
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code = function.__code__
        return f"{function.__qualname__} {code.co_code.hex()} {code.co_names}"


def _spoken(values: Sequence[Any], named: Mapping[str, Any]) -> str:
    """Write values down, without addresses of memory."""
    parts = [_value(value) for value in values]
    parts += [f"{key}={_value(value)}" for key, value in sorted(named.items())]
    return f"({', '.join(parts)})" if parts else ""


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return _spoken((), {str(key): item for key, item in value.items()})
    if inspect.isfunction(value):
        return _text(value)  # it may hold itself
    if inspect.isclass(value) or isinstance(value, functools.partial):
        return source(value)
    return type(value).__qualname__
