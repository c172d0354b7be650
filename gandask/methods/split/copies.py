"""What nodes perform that hold copies of both networks: gradients, averages, steps."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Made, State, routine
from gandask.methods.split.draws import Inputs, Rules, inputs
from gandask.methods.split.judges import judged_gradients, told
from gandask.methods.split.servers import stepped
from gandask.methods.split.states import (
    DISCRIMINATOR,
    GENERATOR,
    all_finite,
    averaged,
    buffers_of,
    by_name,
    counted_by,
    joined,
    learner_of,
    mean_of,
    taken,
)
from gandask.methods.split.wire import coarser, packed, unpacked
from gandask.training.learner import Learner, gradients, load_module, trainable
from gandask.training.pair import forged
from gandask.training.settings import Training


def differentiate(
    *states: State,
    training: Training,
    rules: Rules,
    slot: str,
    round: int,
    node: int,
    counted: Sequence[bool],
    asked: Sequence[str],
    step: int = 1,
    left: bool = False,
) -> Made:
    """Compute gradients of networks of which a node has copies, on its own data.

    Parameters
    ----------
    *states
        Discriminator, and generator, each followed by newer buffers if it is `counted`; then, for
        each that is asked, what the wire has `left` of its last gradients.
    asked : sequence of {"discriminator", "generator"}
        Whose gradients.
    step : int
        Of the discriminator in the exchange, counted from 1.

    Returns
    -------
    states
        For each that is asked its gradients, whole or in slices, and what the wire leaves of
        them if that is kept; then the buffers of discriminator and generator, if they have some.
    values
        ``discriminator_loss`` and ``generator_loss``, as far as asked.
    """
    held, rest = joined(states, counted[0])
    made, last = joined(rest, counted[1])
    written: list[State] = []
    values: dict[str, Any] = {}
    with training.settled() as device:
        with routine("load"):
            discriminator = load_module(training.build_discriminator, held, device).train()
            generator = load_module(training.build_generator, made, device).train()
        first, second = inputs(training, rules, device, slot, round, node)
        with routine("train"):
            for index, kind in enumerate(asked):
                if kind == DISCRIMINATOR:
                    mine = first[(step - 1) * rules.batches : step * rules.batches]
                    fakes = [forged(generator, batch) for batch in mine]
                    given = training, rules, slot, round, node, step
                    found, value = judged_gradients(discriminator, *given, fakes)
                    module = discriminator
                else:
                    found, value = generator_gradients(generator, discriminator, training, second)
                    module = generator
                values[f"{kind}_loss"] = value
                sent = by_name(module, found)
                written += _parts(sent, last[index] if left else {}, rules)
        return (*written, *counted_by(discriminator, generator)), values


def generator_gradients(
    generator: nn.Module, discriminator: nn.Module, training: Training, batches: Inputs
) -> tuple[list[Tensor], float]:
    """Compute a generator's gradients for one step: their mean over batches, and the loss's."""
    parts, values = [], []
    for batch in batches:
        logits = discriminator(generator(*batch), *batch[1:])
        loss = training.losses[0].generator(logits)
        parts.append(gradients(loss, [*trainable(generator).values()]))
        values.append(float(loss.detach()))
    return mean_of(parts), statistics.fmean(values)


def _parts(found: State, last: State, rules: Rules) -> list[State]:
    """Give gradients as they travel, whole by name, or as slices of all their numbers."""
    if not rules.sliced:
        return told(found, last, rules.wire)
    flat = np.concatenate([part.reshape(-1) for part in found.values()])
    kept = last["slice"] if last else np.zeros_like(flat)
    cuts = (np.array_split(whole, rules.nodes) for whole in (flat, kept))
    parts = [
        told({"slice": part}, {"slice": one}, rules.wire) for part, one in zip(*cuts, strict=True)
    ]
    sent = [part[0] for part in parts]
    left = [part[1]["slice"] for part in parts if len(part) > 1]
    return [*sent, {"slice": np.concatenate(left)}] if left else sent


def reduce(*slices: State, wire: str) -> Made:
    """Average one slice of all nodes' gradients."""
    return (packed(averaged([*map(unpacked, slices)]), coarser(wire)),), {}


def apply(
    *states: State,
    training: Training,
    rules: Rules,
    slot: str,
    round: int,
    kind: str,
    scored: bool = False,
) -> Made:
    """Take the step of a node's own copy of a network, from the averages that all nodes made.

    Parameters
    ----------
    *states
        The network, moments, slices of the mean from all nodes, and the buffers that were sent.

    Returns
    -------
    states, values
        As of `combine`.
    """
    held, moments, *sent = states
    flat = np.concatenate([unpacked(part)["slice"] for part in sent[: rules.nodes]])
    named = {name: held[name] for name in trainable(_bare(training, kind))}
    cuts = np.cumsum([array.size for array in named.values()])[:-1]
    parts = zip(named.items(), np.split(flat, cuts), strict=True)
    mean = {name: part.reshape(array.shape) for (name, array), part in parts}
    buffers = averaged(sent[rules.nodes :]) if sent[rules.nodes :] else {}
    given: Any = {"training": training, "slot": slot, "round": round, "kind": kind}
    return stepped(held, moments, mean, buffers, scored=scored, **given)


def _bare(training: Training, kind: str) -> nn.Module:
    with torch.device("meta"):
        return training.builder(kind)()


def train_both(
    *states: State, training: Training, rules: Rules, slot: str, round: int, node: int
) -> Made:
    """Train a node's copies of both networks, as an ordinary loop does: one step for each batch.

    Parameters
    ----------
    *states
        Discriminator, and its moments; generator, and its moments.

    Returns
    -------
    states
        As they came.
    values
        Means of ``discriminator_loss`` and ``generator_loss``; ``finite``: if not, nothing was
        learnt.
    """
    losses: dict[str, list[float]] = {DISCRIMINATOR: [], GENERATOR: []}
    held = dict(zip((DISCRIMINATOR, GENERATOR), (states[:2], states[2:]), strict=True))
    finite = True
    alone = dataclasses.replace(rules, batches=1)
    with training.settled() as device:
        with routine("load"):
            pair = {
                kind: learner_of(training, kind, weights, moments, device)
                for kind, (weights, moments) in held.items()
            }
        with routine("train"):
            for number in range(rules.batches):
                at = (round - 1) * rules.batches + number + 1
                drawn = inputs(training, alone, device, slot, at, node)
                finite = finite and _stepped(pair, training, alone, slot, at, node, drawn, losses)
            finite = finite and all(all_finite(buffers_of(one.module)) for one in pair.values())
        written: list[State] = []
        for kind, before in held.items():
            written += pair[kind].states() if finite else before
        told = {f"{kind}_loss": statistics.fmean(found) for kind, found in losses.items()}
        return tuple(written), told | {"finite": finite}


def _stepped(
    pair: dict[str, Learner],
    training: Training,
    rules: Rules,
    slot: str,
    number: int,
    node: int,
    drawn: tuple[Inputs, Inputs],
    losses: dict[str, list[float]],
) -> bool:
    """Take the steps of both networks on the batches of one number, and add their losses."""
    discriminator, generator = pair[DISCRIMINATOR], pair[GENERATOR]
    both = generator.module, discriminator.module
    finite, asked = True, None
    for step, batch in enumerate(drawn[0], 1):
        fakes = [forged(generator.module, batch)]
        given = training, rules, slot, number, node, step
        found, value = judged_gradients(discriminator.module, *given, fakes)
        losses[DISCRIMINATOR].append(value)
        if rules.simultaneous and step == 1:
            asked = generator_gradients(*both, training, drawn[1])
        finite = taken(discriminator, found, training.losses[0].clip) and finite
    found, value = asked or generator_gradients(*both, training, drawn[1])
    losses[GENERATOR].append(value)
    return taken(generator, found) and finite
