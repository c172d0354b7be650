"""What nodes perform that hold copies of both networks: gradients, averages, steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Made, State, routine
from gandask.methods.split.tasks import (
    DISCRIMINATOR,
    GENERATOR,
    averaged,
    by_name,
    counted_by,
    inputs,
    joined,
    judged,
    stepped,
)
from gandask.training.learner import gradients, load_module, trainable
from gandask.training.pair import forged
from gandask.training.settings import Training


def differentiate(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    node: int,
    nodes: int,
    counted: Sequence[bool],
    asked: Sequence[str],
    slices: int = 0,
) -> Made:
    """Compute gradients of networks of which a node has copies, on its own data.

    Parameters
    ----------
    *states
        Discriminator, and generator, each followed by newer buffers if it is `counted`.
    asked : sequence of {"discriminator", "generator"}
        Whose gradients.
    slices : int
        Into how many parts, as equal as can be, gradients are cut; 0: they stay whole, by name.

    Returns
    -------
    states
        Gradients as asked, in slices; then the buffers of discriminator and generator, if they
        have some.
    values
        ``discriminator_loss`` and ``generator_loss``, as far as asked.
    """
    held, rest = joined(states, counted[0])
    made, _ = joined(rest, counted[1])
    written: list[State] = []
    values: dict[str, Any] = {}
    with training.settled() as device:
        with routine("load"):
            discriminator = load_module(training.build_discriminator, held, device).train()
            generator = load_module(training.build_generator, made, device).train()
        first, second = inputs(training, device, slot, round, node, fresh=True)
        with routine("train"):
            if DISCRIMINATOR in asked:
                fakes = forged(generator, first)
                loss = judged(discriminator, training, device, slot, round, node, nodes, fakes)
                written += _sliced(discriminator, loss, slices)
                values["discriminator_loss"] = float(loss.detach())
            if GENERATOR in asked:
                logits = discriminator(generator(*second), *second[1:])
                loss = training.losses[0].generator(logits)
                written += _sliced(generator, loss, slices)
                values["generator_loss"] = float(loss.detach())
        return (*written, *counted_by(discriminator, generator)), values


def _sliced(module: nn.Module, loss: Tensor, slices: int) -> list[State]:
    """Compute gradients, whole by name, or as slices of all their numbers."""
    found = gradients(loss, [*trainable(module).values()])
    if not slices:
        return [by_name(module, found)]
    flat = torch.cat([part.reshape(-1) for part in found]).cpu().numpy()
    return [{"slice": part} for part in np.array_split(flat, slices)]


def reduce(*slices: State) -> Made:
    """Average one slice of all nodes' gradients."""
    return (averaged(slices),), {}


def apply(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    kind: str,
    nodes: int,
    scored: bool = False,
) -> Made:
    """Take the step of a node's own copy of a network, from the averages that all nodes made.

    Parameters
    ----------
    *states
        The network, moments, each node's slice of the mean, and each node's buffers, if there are
        some.

    Returns
    -------
    states, values
        As of `combine`.
    """
    held, moments, *sent = states
    flat = np.concatenate([part["slice"] for part in sent[:nodes]])
    named = {name: held[name] for name in trainable(_bare(training, kind))}
    cuts = np.cumsum([array.size for array in named.values()])[:-1]
    parts = zip(named.items(), np.split(flat, cuts), strict=True)
    mean = {name: part.reshape(array.shape) for (name, array), part in parts}
    buffers = averaged(sent[nodes:]) if sent[nodes:] else {}
    return stepped(held, moments, mean, buffers, training, kind, slot, round, scored)


def _bare(training: Training, kind: str) -> nn.Module:
    with torch.device("meta"):
        return training.builder(kind)()
