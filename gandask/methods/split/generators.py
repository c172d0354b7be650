"""What generators perform: they learn from feedback on their fakes, and make the next ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gandask.core import Made, State, routine
from gandask.methods.split.draws import Inputs, Rules, cut, inputs
from gandask.methods.split.states import (
    DISCRIMINATOR,
    GENERATOR,
    copies,
    mean_of,
    taken,
    together,
)
from gandask.methods.tasks import initialise, observed
from gandask.training import networks
from gandask.training.learner import Learner, load_module, save_module
from gandask.training.pair import forged, gradients_from, learner_of
from gandask.training.settings import Noise, Training
from gandask.training.weights import average_of
from gandask.training.wire import unpacked

Drawn = Callable[[int], tuple[Inputs, Inputs]]
"""What gives the `inputs` of an exchange for each judge."""


def repeats(training: Training) -> bool:
    """Tell whether a generator in training makes the same of the same noise a second time."""
    device = torch.device("cpu")
    with training.settled(), torch.no_grad():
        module = networks.build(training.build_generator, seed=0).train()
        drawn = Noise(training, device, "repeats").draw(2)
        first, again = (module(*drawn) for _ in range(2))
        return bool(torch.equal(first, again))


def begin(
    *,
    training: Training,
    rules: Rules,
    slot: str,
    kind: str,
    judges: Sequence[int] = (),
    copied: bool = False,
) -> Made:
    """Make one network as a slot begins with it, and a generator's first fakes.

    Returns
    -------
    states
        Weights with buffers, moments, and, if it is `copied`, a copy of the first as it travels;
        then the fakes for each judge, as of `learn`.
    """
    states, _ = initialise(
        training=replace(training, score_samples=0), slot=slot, population_size=1
    )
    weights, moments = states[2:] if kind == DISCRIMINATOR else states[:2]
    if not judges:
        return (weights, moments, *(copies(weights, rules.wire) if copied else ())), {}
    with training.settled() as device:
        module = load_module(training.build_generator, weights, device).train()
        drawn = functools.partial(inputs, training, rules, device, slot, 1)
        fakes = _forged(module, drawn, judges, rules)
        return (save_module(module), moments, *fakes), {}


def _forged(module: nn.Module, drawn: Drawn, judges: Sequence[int], rules: Rules) -> list[State]:
    """Make the fakes of an exchange: for each judge one state of them, or two."""
    made: list[State] = []
    for judge in judges:
        first, second = drawn(judge)
        for batches in (first, second) if rules.fresh else (first,):
            made.append(together([forged(module, batch) for batch in batches], rules.wire))
    return made


def learn(
    *states: State,
    training: Training,
    rules: Rules,
    slot: str,
    round: int,
    judges: Sequence[int],
    forges: bool,
    scored: bool,
) -> Made:
    """Train a generator from the feedback on its fakes, and make the next fakes.

    Parameters
    ----------
    *states
        Weights, moments, and the feedback of each judge.
    judges : sequence of int
        Whom it serves.
    forges : bool
        Whether it makes the fakes of the next exchange at once.

    Returns
    -------
    states
        Weights, moments, and, if it `forges`, the fakes for each judge: first those that train the
        discriminator, if they are others, then those that are to come back as feedback.
    values
        ``finite``; ``statistics`` where `scored`.
    """
    weights, moments, *said = states
    with training.settled() as device:
        with routine("load"):
            learner = learner_of(training, GENERATOR, weights, moments, device)
        now, then = (
            functools.partial(inputs, training, rules, device, slot, number)
            for number in (round, round + 1)
        )
        with routine("train"):
            finite = _learned(learner, training, rules, now, judges, said)
        with routine("forge"):
            made = _forged(learner.module, then, judges, rules) if forges else []
        values: dict[str, Any] = {"finite": finite}
        values |= _scored(training, learner.sampled(), device, round, slot, scored)
        return (*learner.states(), *made), values


def adopt(
    mean: State,
    *,
    training: Training,
    rules: Rules,
    slot: str,
    round: int,
    judges: Sequence[int],
    scored: bool,
) -> Made:
    """Take the mean of all generators for its own, and make the next fakes.

    Returns
    -------
    states, values
        As of `learn`, but for moments.
    """
    with training.settled() as device:
        with routine("load"):
            module = load_module(training.build_generator, mean, device).train()
        with routine("forge"):
            then = functools.partial(inputs, training, rules, device, slot, round + 1)
            made = _forged(module, then, judges, rules)
        kept = {**mean, **save_module(module)}
        sampled = load_module(training.build_generator, average_of(kept), device)
        return (kept, *made), _scored(training, sampled, device, round, slot, scored)


def _scored(
    training: Training,
    module: nn.Module,
    device: torch.device,
    round: int,
    slot: str,
    asked: bool,
) -> dict[str, Any]:
    return observed(training, module, device, round, slot) if asked else {}


def _learned(
    learner: Learner,
    training: Training,
    rules: Rules,
    drawn: Drawn,
    judges: Sequence[int],
    said: Sequence[State],
) -> bool:
    """Take a step down the mean of all that judges' feedback asks for, or one for each batch.

    The gradients of each are those of the weights before. None that is not finite is taken.
    """
    asked: list[list[Sequence[Tensor]]] = [[] for _ in range(rules.batches)]
    for judge, state in zip(judges, map(unpacked, said), strict=True):
        _, batches = drawn(judge)
        slopes = torch.tensor(state["slope"], device=batches[0][0].device)
        parts = cut(slopes, training.batch_size)
        for found, noise, slope in zip(asked, batches, parts, strict=True):
            found.append(gradients_from(learner, noise, slope))
    if rules.exact:
        return taken(learner, mean_of([part for batch in asked for part in batch]))
    finite = [taken(learner, mean_of(batch)) for batch in asked]
    return all(finite)
