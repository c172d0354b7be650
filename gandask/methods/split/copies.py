"""What nodes perform that hold copies of both networks: gradients, averages, steps."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, Made, State, routine
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
    mean_of,
    taken,
)
from gandask.training.augmenting import Judge
from gandask.training.learner import Learner, gradients, load_module, trainable
from gandask.training.pair import forged, learner_of
from gandask.training.settings import Training
from gandask.training.wire import coarser, packed, unpacked


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
) -> Made:
    """Compute gradients of networks of which a node has copies, on its own data.

    Parameters
    ----------
    *states
        Discriminator, and generator, each followed by newer buffers if it is `counted`; then, for
        each that is asked, what the wire has left of its last gradients, if anything.
    asked : sequence of {"discriminator", "generator"}
        Whose gradients.
    step : int
        Of the discriminator in the exchange, counted from 1.

    Returns
    -------
    states
        The gradients of each that is asked, or for each node a slice of them all; for each that is
        asked what the wire leaves of them, if that is kept; then the buffers of discriminator and
        generator, if they have some.
    values
        ``discriminator_loss`` and ``generator_loss``, as far as asked.
    """
    held, rest = joined(states, counted[0])
    made, rest = joined(rest, counted[1])
    last = dict(zip(asked, rest, strict=bool(rest)))
    found: dict[str, State] = {}
    values: dict[str, Any] = {}
    with training.settled() as device:
        with routine("load"):
            discriminator = load_module(training.build_discriminator, held, device).train()
            generator = load_module(training.build_generator, made, device).train()
        first, second = inputs(training, rules, device, slot, round, node)
        seen = training.seen(discriminator, training.changes(device, round, slot, "feedback"))
        with routine("train"):
            for kind in asked:
                if kind == DISCRIMINATOR:
                    mine = first[(step - 1) * rules.batches : step * rules.batches]
                    fakes = [forged(generator, batch) for batch in mine]
                    given = training, rules, slot, round, node, step
                    slopes, value = judged_gradients(discriminator, *given, fakes)
                    module = discriminator
                else:
                    slopes, value = generator_gradients(generator, seen, training, second)
                    module = generator
                values[f"{kind}_loss"] = value
                found[kind] = by_name(module, slopes)
        return (*_parts(found, last, rules), *counted_by(discriminator, generator)), values


def generator_gradients(
    generator: nn.Module, discriminator: Judge, training: Training, batches: Inputs
) -> tuple[list[Tensor], float]:
    """Compute a generator's gradients for one step: their mean over batches, and the loss's."""
    parts, values = [], []
    for batch in batches:
        logits = discriminator(generator(*batch), *batch[1:])
        loss = training.losses[0].generator(logits)
        parts.append(gradients(loss, [*trainable(generator).values()]))
        values.append(float(loss.detach()))
    return mean_of(parts), statistics.fmean(values)


def _parts(found: Mapping[str, State], last: Mapping[str, State], rules: Rules) -> list[State]:
    """Give gradients as they travel, whole or in slices, and then what the wire leaves of each."""
    if rules.sliced:
        return _slices(found, last, rules)
    parts = [told(state, last.get(kind, {}), rules.wire) for kind, state in found.items()]
    return [state for each in zip(*parts, strict=True) for state in each]


def _slices(found: Mapping[str, State], last: Mapping[str, State], rules: Rules) -> list[State]:
    """Give a slice for each node: of each network's numbers, which keep a scale of their own."""
    sent: list[dict[str, Array]] = [{} for _ in range(rules.nodes)]
    left: list[State] = []
    for kind, state in found.items():
        flat = np.concatenate([part.reshape(-1) for part in state.values()])
        kept = last[kind][kind] if last else np.zeros_like(flat)
        cuts = (np.array_split(whole, rules.nodes) for whole in (flat, kept))
        rest: list[Array] = []
        for slot, now, before in zip(sent, *cuts, strict=True):
            part, *remains = told({kind: now}, {kind: before}, rules.wire)
            slot.update(part)
            rest += [one[kind] for one in remains]
        left += [{kind: np.concatenate(rest)}] if rest else []
    return [*sent, *left]


def reduce(*slices: State, wire: str) -> Made:
    """Average one slice of all nodes' gradients."""
    return (packed(averaged([*map(unpacked, slices)]), coarser(wire)),), {}


def apply(
    *states: State,
    training: Training,
    rules: Rules,
    slot: str,
    round: int,
    asked: Sequence[str],
    counts: Sequence[int],
    scored: bool = False,
) -> Made:
    """Take the steps of a node's own copies of networks, from the averages that all nodes made.

    Each step stands for itself: one that is discarded leaves the other.

    Parameters
    ----------
    *states
        Each network that is asked, with its moments; slices of the mean from all nodes; then the
        buffers that were sent, as many of each network as `counts` says.
    asked : sequence of {"discriminator", "generator"}
        Whose gradients were averaged.
    scored : bool
        Whether the generator is to be scored, which is one of them.

    Returns
    -------
    states
        Each network with averaged buffers, and its moments.
    values
        ``finite``; if not, ``discarded``: whose steps; ``statistics`` of the generator, where asked
        for.
    """
    rest = iter(states)
    networks = [(next(rest), next(rest)) for _ in asked]
    means = [unpacked(next(rest)) for _ in range(rules.nodes)]
    written: list[State] = []
    values: dict[str, Any] = {}
    discarded: list[str] = []
    for kind, (held, moments), count in zip(asked, networks, counts, strict=True):
        mean = _named(training, kind, held, np.concatenate([part[kind] for part in means]))
        sent = [next(rest) for _ in range(count)]
        given: Any = {"training": training, "slot": slot, "round": round, "kind": kind}
        given |= {"scored": scored and kind == GENERATOR}
        made, found = stepped(held, moments, mean, averaged(sent) if sent else {}, **given)
        written += made
        discarded += [] if found["finite"] else [kind]
        values |= found
    values |= {"finite": False, "discarded": discarded} if discarded else {}
    return tuple(written), values


def _named(training: Training, kind: str, held: State, flat: Array) -> State:
    """Give gradients by name again, from all their numbers."""
    with torch.device("meta"):
        names = [*trainable(training.builder(kind)())]
    cuts = np.cumsum([held[name].size for name in names])[:-1]
    parts = zip(names, np.split(flat, cuts), strict=True)
    return {name: part.reshape(held[name].shape) for name, part in parts}


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
    changes = training.changes(drawn[1][0][0].device, number, slot, "feedback")
    both = generator.module, training.seen(discriminator.module, changes)
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
