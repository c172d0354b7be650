"""What judges perform: a discriminator's gradients, or its steps, and feedback on fakes.

A *judge* holds data and a discriminator, and judges fakes that were made elsewhere. It answers with
the discriminator's gradients and with feedback: the gradient of the generator's loss for each
number of its fakes. All is what `gandask.training.pair` does, cut where the networks live apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Made, State, routine, torch_seed
from gandask.methods.split.draws import Rules, real_batches
from gandask.methods.split.states import (
    DISCRIMINATOR,
    all_finite,
    batches_of,
    buffers_of,
    by_name,
    counted_by,
    joined,
    mean_of,
    taken,
)
from gandask.training.learner import gradients, load_module, trainable
from gandask.training.pair import Samples, discriminator_loss, feedback, learner_of
from gandask.training.settings import Training
from gandask.training.wire import packed, remembered, remembers


def judge(
    *states: State,
    training: Training,
    rules: Rules,
    slot: str,
    round: int,
    node: int,
    counted: bool,
    asked: Sequence[str],
    step: int = 1,
    left: bool = False,
) -> Made:
    """Judge fakes by a discriminator, which stays as it is but for its buffers.

    Parameters
    ----------
    *states
        The discriminator, newer buffers if `counted`, what the wire has `left` of the last
        gradients, then fakes: one state for all that is asked, or two.
    node : int
        Whose data.
    asked : sequence of str
        ``gradients`` of the discriminator's loss, ``feedback`` on the fakes, or both.
    step : int
        Of the discriminator in the exchange, counted from 1.

    Returns
    -------
    states
        What was asked, in this order, gradients followed by what the wire leaves of them if it is
        kept; then buffers, if there are some.
    values
        ``discriminator_loss`` and ``generator_loss``, as far as asked.
    """
    held, rest = joined(states, counted)
    last, rest = (rest[0], rest[1:]) if left else ({}, rest)
    written: list[State] = []
    values: dict[str, Any] = {}
    with training.settled() as device:
        with routine("load"):
            module = load_module(training.build_discriminator, held, device).train()
            fakes = batches_of(rest, training, device)
        with routine("judge"):
            if "gradients" in asked:
                first = (step - 1) * rules.batches
                judged = fakes[0][first : first + rules.batches]
                found, loss = judged_gradients(
                    module, training, rules, slot, round, node, step, judged
                )
                values["discriminator_loss"] = loss
                written += told(by_name(module, found), last, rules.wire)
            if "feedback" in asked:
                slopes, values["generator_loss"] = answered(
                    module, training, slot, round, fakes[-1][-rules.batches :]
                )
                slope = {"slope": slopes.cpu().numpy()}
                written.append(packed(slope, rules.wire, by_sample=True))
        return (*written, *counted_by(module)), values


def told(found: State, left: State, wire: str) -> list[State]:
    """Give gradients as they travel, and what the wire leaves of them, where that is kept."""
    return [*remembered(found, left, wire)] if remembers(wire) else [packed(found, wire)]


def penalties(
    training: Training, slot: str, round: int, step: int, device: torch.device
) -> torch.Generator:
    """Make the stream that the gradient penalties of a step draw from."""
    seed = torch_seed(training.seed, round, slot, "penalty", step)
    return torch.Generator(device).manual_seed(seed)


def judged_gradients(
    module: nn.Module,
    training: Training,
    rules: Rules,
    slot: str,
    round: int,
    node: int,
    step: int,
    fakes: Sequence[Samples],
) -> tuple[list[Tensor], float]:
    """Compute a discriminator's gradients for one step: their mean over batches, and the loss's."""
    device = fakes[0][0].device
    epsilon = penalties(training, slot, round, step, device)
    seen = training.seen(module, training.changes(device, round, slot, step))
    parts, values = [], []
    real = real_batches(training, rules, node, round, step, device)
    before = (round - 1) * rules.steps + step - 1
    for ours, theirs in zip(real, fakes, strict=True):
        loss = discriminator_loss(training.losses[0], seen, ours, theirs, epsilon, before)
        parts.append(gradients(loss, [*trainable(module).values()]))
        values.append(float(loss.detach()))
    return mean_of(parts), statistics.fmean(values)


def answered(
    module: nn.Module, training: Training, slot: str, round: int, fakes: Sequence[Samples]
) -> tuple[Tensor, float]:
    """Give the feedback on each batch of fakes, one after the other, and the mean loss."""
    changes = training.changes(fakes[0][0].device, round, slot, "feedback")
    seen = training.seen(module, changes)
    found = [feedback(training.losses[0], seen, batch) for batch in fakes]
    slopes = torch.cat([slope for _, slope in found])
    return slopes, statistics.fmean(float(value) for value, _ in found)


def train(
    *states: State,
    training: Training,
    rules: Rules,
    slot: str,
    round: int,
    node: int,
    counted: bool,
) -> Made:
    """Train a judge's own discriminator: one step after the other, each on a batch.

    Parameters
    ----------
    *states
        The discriminator, newer buffers if `counted`, moments, fakes.

    Returns
    -------
    states
        The discriminator, and moments.
    values
        ``discriminator_loss``; ``finite``: if not, nothing was learnt.
    """
    held, (moments, *rest) = joined(states, counted)
    clip = training.losses[0].clip
    with training.settled() as device:
        with routine("load"):
            learner = learner_of(training, DISCRIMINATOR, held, moments, device)
            (fakes,) = batches_of(rest, training, device)
        finite, values = True, []
        one_by_one = Rules(rules.nodes, steps=rules.steps * rules.batches)
        with routine("train"):
            for step, batch in enumerate(fakes, 1):
                found, value = judged_gradients(
                    learner.module, training, one_by_one, slot, round, node, step, [batch]
                )
                values.append(value)
                finite = finite and taken(learner, found, clip)
            finite = finite and all_finite(buffers_of(learner.module))
        weights, kept = learner.states() if finite else ({**held}, {**moments})
        told = {"discriminator_loss": float(np.mean(values)), "finite": finite}
        return (weights, kept), told
