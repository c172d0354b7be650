"""What lies between the tasks of an exchange: networks, their buffers, gradients, fakes."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, State
from gandask.methods.split.draws import cut
from gandask.training.learner import Learner, buffer_names, save_module, trainable
from gandask.training.pair import Samples
from gandask.training.settings import Training
from gandask.training.weights import trained_of
from gandask.training.wire import coarser, packed, unpacked

DISCRIMINATOR, GENERATOR = "discriminator", "generator"


def weights(slot: str, kind: str, round: int) -> tuple[str, str]:
    """Name the weights and the moments of a slot's network after an exchange."""
    return f"{slot}/{kind}/{round}", f"{slot}/{kind}/{round}/moments"


# ---- networks


def copies(weights: State, wire: str) -> list[State]:
    """Give the copy of weights that others read, where they travel in fewer bits."""
    return [] if wire == "float32" else [packed(trained_of(weights), coarser(wire))]


def joined(states: Sequence[State], counted: bool) -> tuple[State, Sequence[State]]:
    """Put a network and newer buffers of it together, apart from what follows."""
    held = unpacked(states[0])
    return ({**held, **states[1]}, states[2:]) if counted else (held, states[1:])


def buffers_of(module: nn.Module) -> dict[str, Array]:
    """Give the buffers of a network: what batch normalisation counts, say."""
    saved = save_module(module)
    return {name: saved[name] for name in buffer_names(module)}


def counted_by(*modules: nn.Module) -> list[State]:
    """Give the buffers of each network that has some."""
    return [found for found in map(buffers_of, modules) if found]


# ---- gradients


def by_name(module: nn.Module, found: Sequence[Tensor]) -> dict[str, Array]:
    """Give the gradients of a network's trainable parameters as named arrays."""
    return {
        name: part.detach().cpu().numpy()
        for name, part in zip(trainable(module), found, strict=True)
    }


def mean_of(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Average the gradients of several batches, in the order given."""
    return [functools.reduce(torch.add, each) / len(parts) for each in zip(*parts, strict=True)]


def averaged(states: Sequence[State]) -> dict[str, Array]:
    """Average named arrays, in the order given."""
    sums = {name: functools.reduce(np.add, [state[name] for state in states]) for name in states[0]}
    return {name: (sums[name] / len(states)).astype(sums[name].dtype) for name in sums}


def taken(learner: Learner, found: Sequence[Tensor], clip: float | None = None) -> bool:
    """Take a step down gradients, if all of them are finite."""
    finite = all(bool(torch.isfinite(part).all()) for part in found)
    if finite:
        learner.apply(found, clip)
    return finite


def all_finite(arrays: State) -> bool:
    """Tell whether all numbers of some arrays are finite."""
    return all(bool(np.isfinite(array).all()) for array in arrays.values())


# ---- fakes


def batches_of(
    states: Iterable[State], training: Training, device: torch.device
) -> list[list[Samples]]:
    """Take the fakes that came in each state apart into batches, with labels if there are some."""
    found = []
    for state in map(unpacked, states):
        names = ("samples", "labels") if "labels" in state else ("samples",)
        parts = [
            cut(torch.tensor(state[name], device=device), training.batch_size) for name in names
        ]
        found.append([*zip(*parts, strict=True)])
    return found


def together(batches: Sequence[Samples], wire: str) -> State:
    """Put batches of fakes into one state."""
    parts = [torch.cat(each).cpu().numpy() for each in zip(*batches, strict=True)]
    return packed(dict(zip(("samples", "labels"), parts, strict=False)), wire, by_sample=True)
