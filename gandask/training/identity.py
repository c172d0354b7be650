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

    Examples
    --------
    >>> source(functools.partial(nn.LeakyReLU, 0.2))
    'torch.nn.modules.activation.LeakyReLU 0.2'
    """
    if isinstance(thing, functools.partial):
        keywords = [f"{key}={source(value)}" for key, value in sorted(thing.keywords.items())]
        return " ".join([source(thing.func), *map(source, thing.args), *keywords])
    if not callable(thing):
        return repr(thing)
    named = getattr(thing, "__qualname__", None)
    if named is None:  # an object that can be called
        return source(type(thing))
    module = str(getattr(thing, "__module__", ""))
    if module.partition(".")[0] in PACKAGES:
        return f"{module}.{named}"
    # of a class made in a notebook, only its functions have a source
    functions = (
        list(filter(inspect.isfunction, vars(thing).values())) if inspect.isclass(thing) else []
    )
    for parts in ([thing], functions):
        try:
            return "\n".join(map(inspect.getsource, parts)) or str(named)
        except (OSError, TypeError):
            continue
    return str(named)
