"""What servers perform: they average what nodes send, and take the steps of what they hold."""

from __future__ import annotations

from typing import Any

import torch

from gandask.core import Made, State, routine
from gandask.methods.split.draws import Rules
from gandask.methods.split.states import (
    DISCRIMINATOR,
    all_finite,
    averaged,
    copies,
)
from gandask.methods.tasks import observed
from gandask.training.learner import load_module, trainable
from gandask.training.pair import learner_of
from gandask.training.settings import Training
from gandask.training.weights import average_of
from gandask.training.wire import unpacked


def combine(
    *states: State,
    training: Training,
    rules: Rules,
    slot: str,
    round: int,
    kind: str,
    count: int,
    scored: bool = False,
) -> Made:
    """Average gradients of nodes, and take one step of the network that the server holds.

    Gradients that are not finite are discarded with the step.

    Parameters
    ----------
    *states
        The network, moments, gradients of `count` nodes, and the buffers that nodes have sent.
    kind : {"discriminator", "generator"}
    scored : bool
        Whether the generator is to be scored.

    Returns
    -------
    states
        The network with averaged buffers, moments, and a copy of the first for nodes, where it
        travels in fewer bits.
    values
        ``finite``; ``statistics`` of the generator, where asked for.
    """
    held, moments, *sent = states
    mean = averaged([*map(unpacked, sent[:count])])
    buffers = averaged(sent[count:]) if sent[count:] else {}
    given: Any = {"training": training, "slot": slot, "round": round, "kind": kind}
    (weights, kept), values = stepped(held, moments, mean, buffers, scored=scored, **given)
    return (weights, kept, *copies(weights, rules.wire)), values


def stepped(
    held: State,
    moments: State,
    mean: State,
    buffers: State,
    *,
    training: Training,
    slot: str,
    round: int,
    kind: str,
    scored: bool,
) -> tuple[tuple[State, State], dict[str, Any]]:
    """Take one step down averaged gradients, with averaged buffers, if all of these are finite.

    The generator is scored where asked for.
    """
    finite = all_finite(mean) and all_finite(buffers)
    with training.settled() as device:
        with routine("load"):
            known = {**held, **buffers} if finite else held
            learner = learner_of(training, kind, known, moments, device)
        with routine("train"):
            if finite:
                named = trainable(learner.module)
                found = [torch.tensor(mean[name], device=device) for name in named]
                learner.apply(found, training.losses[0].clip if kind == DISCRIMINATOR else None)
        values: dict[str, Any] = {"finite": finite}
        written = learner.states()
        if scored:
            values |= observed(training, learner.sampled(), device, round, slot)
        return written, values


def average(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    kind: str,
    scored: bool = False,
) -> Made:
    """Average the weights of networks that nodes have trained, and what these have counted.

    Returns
    -------
    states
        The network.
    values
        ``statistics`` of the generator, where asked for.
    """
    weights = averaged(states)
    values: dict[str, Any] = {}
    if scored:
        with training.settled() as device:
            with routine("load"):
                module = load_module(training.builder(kind), average_of(weights), device)
            values = observed(training, module, device, round, slot)
    return (weights,), values
