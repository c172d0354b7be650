"""What nodes perform that train one GAN, or a few, in parts: gradients, averages, feedback, fakes.

A *judge* holds data and a discriminator, and judges fakes that were made elsewhere. It answers with
the discriminator's gradients and with feedback: the gradient of the generator's loss for each
number of its fakes. A generator learns from that by itself. A node of data parallelism holds both
networks. All is what `gandask.training.pair` does, cut where the networks live apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, Made, State, rng, routine, torch_seed
from gandask.methods.tasks import initialise, measured
from gandask.training import networks
from gandask.training.learner import (
    Learner,
    buffer_names,
    gradients,
    load_module,
    save_module,
    trainable,
)
from gandask.training.pair import Samples, discriminator_loss, feedback, forged, gradients_from
from gandask.training.settings import Noise, Training, real_batch

DISCRIMINATOR, GENERATOR = "discriminator", "generator"
Drawn = Callable[[int], tuple[tuple[Tensor, ...], tuple[Tensor, ...]]]
"""What gives `inputs` of an exchange for each judge."""


# ---- data and noise


def share(training: Training, node: int, nodes: int) -> Array:
    """Give the samples that a node holds: each node its own, drawn at random; alone it has all."""
    whole = training.shard("nodes")
    if nodes == 1:
        return whole
    order = _order(training.seed, "split", 0, len(whole))
    return np.asarray(whole[np.array_split(order, nodes)[node]])


def batch(training: Training, node: int, nodes: int, number: int) -> Array:
    """Draw a node's batch of a number, counted from 1: its share is shuffled in each epoch."""
    held, size = share(training, node, nodes), training.batch_size
    epoch, place = divmod(number - 1, len(held) // size)
    order = _order(training.seed, str(node), epoch, len(held))
    return held[order[place * size : (place + 1) * size]]


@functools.lru_cache(maxsize=16)
def _order(seed: int, of: str, epoch: int, count: int) -> Array:
    return rng(seed, "nodes", of, "epoch", epoch).permutation(count)


def inputs(
    training: Training, device: torch.device, slot: str, round: int, judge: int, fresh: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Draw what the fakes of an exchange are made of: those that train D, those that train G.

    Parameters
    ----------
    judge : int
        For whom.
    fresh : bool
        Whether they are two batches, or one that serves both.
    """
    noise = Noise(training, device, round, slot, "train", judge)
    first = noise.draw(training.batch_size)
    return first, noise.draw(training.batch_size) if fresh else first


# ---- states


def buffers_of(module: nn.Module) -> dict[str, Array]:
    """Give the buffers of a network: what batch normalisation counts, say."""
    saved = save_module(module)
    return {name: saved[name] for name in buffer_names(module)}


def _fakes(states: Sequence[State], device: torch.device) -> list[Samples]:
    """Give batches of fakes, each with its labels if there are some."""
    parts = (("samples", "labels") if "labels" in state else ("samples",) for state in states)
    return [
        tuple(torch.tensor(state[part], device=device) for part in names)
        for names, state in zip(parts, states, strict=True)
    ]


def _batch_state(fakes: Samples) -> dict[str, Array]:
    return {
        name: part.cpu().numpy() for name, part in zip(("samples", "labels"), fakes, strict=False)
    }


def by_name(module: nn.Module, found: Sequence[Tensor]) -> dict[str, Array]:
    """Give the gradients of a network's trainable parameters as named arrays."""
    return {
        name: part.detach().cpu().numpy()
        for name, part in zip(trainable(module), found, strict=True)
    }


def averaged(states: Sequence[State]) -> dict[str, Array]:
    """Average named arrays, in the order given."""
    sums = {name: functools.reduce(np.add, [state[name] for state in states]) for name in states[0]}
    return {name: (sums[name] / len(states)).astype(sums[name].dtype) for name in sums}


def repeats(training: Training) -> bool:
    """Tell whether a generator in training makes the same of the same noise a second time."""
    device = torch.device("cpu")
    with training.settled(), torch.no_grad():
        module = networks.build(training.build_generator, seed=0).train()
        drawn = Noise(training, device, "repeats").draw(2)
        first, again = (module(*drawn) for _ in range(2))
        return bool(torch.equal(first, again))


# ---- tasks


def begin(
    *, training: Training, slot: str, kind: str, judges: Sequence[int] = (), fresh: bool = False
) -> Made:
    """Make one network as a slot begins with it, and a generator's first fakes.

    Returns
    -------
    states
        Weights with buffers, and moments; of a generator then the fakes for each judge, as of
        `learn`.
    """
    states, _ = initialise(
        training=replace(training, score_samples=0), slot=slot, population_size=1
    )
    if kind == DISCRIMINATOR:
        return states[2:], {}
    with training.settled() as device:
        module = load_module(training.build_generator, states[0], device).train()
        drawn = functools.partial(inputs, training, device, slot, 1, fresh=fresh)
        fakes = _forged(module, drawn, judges)
        return (save_module(module), states[1], *fakes), {}


def _forged(module: nn.Module, drawn: Drawn, judges: Sequence[int]) -> list[State]:
    """Make the fakes of an exchange: for each judge one batch, or two fresh ones."""
    made: list[State] = []
    for judge in judges:
        first, second = drawn(judge)
        for batch_inputs in (first,) if second is first else (first, second):
            made.append(_batch_state(forged(module, batch_inputs)))
    return made


def judge(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    node: int,
    nodes: int,
    counted: bool,
    asked: Sequence[str],
) -> Made:
    """Judge fakes by a discriminator, which stays as it is but for its buffers.

    Parameters
    ----------
    *states
        The discriminator, newer buffers if `counted`, then fakes: one batch for all that is asked,
        or two.
    node, nodes : int
        Whose data, and among how many they are divided.
    asked : sequence of str
        ``gradients`` of the discriminator's loss, ``feedback`` on the fakes, or both.

    Returns
    -------
    states
        What was asked, in this order; then buffers, if there are some.
    values
        ``discriminator_loss`` and ``generator_loss``, as far as asked.
    """
    held, batches = joined(states, counted)
    written: list[State] = []
    values: dict[str, Any] = {}
    with training.settled() as device:
        with routine("load"):
            module = load_module(training.build_discriminator, held, device).train()
            fakes = _fakes(batches, device)
        with routine("judge"):
            if "gradients" in asked:
                loss = judged(module, training, device, slot, round, node, nodes, fakes[0])
                found = gradients(loss, [*trainable(module).values()])
                written.append(by_name(module, found))
                values["discriminator_loss"] = float(loss.detach())
            if "feedback" in asked:
                value, slope = feedback(training.losses[0], module, fakes[-1])
                written.append({"slope": slope.cpu().numpy()})
                values["generator_loss"] = float(value)
        return (*written, *counted_by(module)), values


def judged(
    module: nn.Module,
    training: Training,
    device: torch.device,
    slot: str,
    round: int,
    node: int,
    nodes: int,
    fakes: Samples,
) -> Tensor:
    """Compute a discriminator's loss on a node's next batch and on given fakes."""
    real = real_batch(training, batch(training, node, nodes, round), device)
    seed = torch_seed(training.seed, round, slot, "penalty")
    epsilon = torch.Generator(device).manual_seed(seed)
    return discriminator_loss(training.losses[0], module, real, fakes, epsilon)


def counted_by(*modules: nn.Module) -> list[State]:
    """Give the buffers of each network that has some."""
    return [found for found in map(buffers_of, modules) if found]


def joined(states: Sequence[State], counted: bool) -> tuple[State, Sequence[State]]:
    """Put a network and newer buffers of it together, apart from what follows."""
    return ({**states[0], **states[1]}, states[2:]) if counted else (states[0], states[1:])


def train(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    node: int,
    nodes: int,
    counted: bool,
) -> Made:
    """Train a judge's own discriminator on one batch.

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
    held, (moments, *batches) = joined(states, counted)
    with training.settled() as device:
        with routine("load"):
            module = load_module(training.build_discriminator, held, device)
            learner = Learner.of(module, moments, training.adam_betas)
            (fakes,) = _fakes(batches, device)
        with routine("train"):
            loss = judged(module, training, device, slot, round, node, nodes, fakes)
            finite = _taken(learner, learner.gradients(loss), training.losses[0].clip)
            finite = finite and all_finite(buffers_of(module))
        values = {"discriminator_loss": float(loss.detach()), "finite": finite}
        return learner.states() if finite else ({**held}, {**moments}), values


def combine(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    kind: str,
    nodes: int,
    counted: bool,
    scored: bool = False,
) -> Made:
    """Average the gradients of all nodes, and take one step of the network that the server holds.

    Gradients that are not finite are discarded with the step.

    Parameters
    ----------
    *states
        The network, moments, the gradients of each node, and, if `counted`, the buffers of each.
    kind : {"discriminator", "generator"}
    scored : bool
        Whether the generator is to be scored.

    Returns
    -------
    states
        The network with averaged buffers, and moments.
    values
        ``finite``; ``statistics`` of the generator, where asked for.
    """
    held, moments, *sent = states
    buffers = averaged(sent[nodes:]) if counted else {}
    mean = averaged(sent[:nodes])
    return stepped(held, moments, mean, buffers, training, kind, slot, round, scored)


def stepped(
    held: State,
    moments: State,
    mean: State,
    buffers: State,
    training: Training,
    kind: str,
    slot: str,
    round: int,
    scored: bool,
) -> Made:
    """Take one step down averaged gradients, with averaged buffers, if all of these are finite.

    The generator is scored where asked for.
    """
    finite = all_finite(mean) and all_finite(buffers)
    with training.settled() as device:
        with routine("load"):
            known = {**held, **buffers} if finite else held
            module = load_module(training.builder(kind), known, device)
            learner = Learner.of(module, moments, training.adam_betas)
        with routine("train"):
            if finite:
                found = [torch.tensor(mean[name], device=device) for name in trainable(module)]
                learner.apply(found, training.losses[0].clip if kind == DISCRIMINATOR else None)
        values: dict[str, Any] = {"finite": finite}
        written = learner.states()
        if scored and training.score_samples:
            values |= measured(training, [module], training.score_samples, device, round, slot)
        return written, values


def all_finite(arrays: State) -> bool:
    """Tell whether all numbers of some arrays are finite."""
    return all(bool(np.isfinite(array).all()) for array in arrays.values())


def learn(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    judges: Sequence[int],
    fresh: bool,
    goes_on: bool,
    scored: bool,
) -> Made:
    """Train a generator from the feedback on its fakes, and make the next fakes.

    Parameters
    ----------
    *states
        Weights, moments, and the feedback of each judge.
    judges : sequence of int
        Whom it serves.
    goes_on : bool
        Whether there is an exchange after this one.

    Returns
    -------
    states
        Weights, moments, and, if it goes on, the fakes for each judge: first those that train the
        discriminator, if they are others, then those that are to come back as feedback.
    values
        ``finite``; ``statistics`` where `scored`.
    """
    weights, moments, *said = states
    with training.settled() as device:
        with routine("load"):
            module = load_module(training.build_generator, weights, device)
            learner = Learner.of(module, moments, training.adam_betas)
        now, then = (
            functools.partial(inputs, training, device, slot, number, fresh=fresh)
            for number in (round, round + 1)
        )
        with routine("train"):
            finite = _learned(learner, now, judges, said)
        made = []
        with routine("forge"):
            if goes_on:
                made = _forged(module, then, judges)
        values: dict[str, Any] = {"finite": finite}
        trained = save_module(module)
        if scored and training.score_samples:
            values |= measured(training, [module], training.score_samples, device, round, slot)
        return (trained, learner.moments(), *made), values


def _learned(learner: Learner, drawn: Drawn, judges: Sequence[int], said: Sequence[State]) -> bool:
    """Take one step down the mean of what each judge's feedback asks for, if that is finite."""
    asked = []
    for judge, state in zip(judges, said, strict=True):
        _, noise = drawn(judge)
        slope = torch.tensor(state["slope"], device=noise[0].device)
        asked.append(gradients_from(learner, noise, slope))
    mean = [functools.reduce(torch.add, parts) / len(asked) for parts in zip(*asked, strict=True)]
    return _taken(learner, mean)


def _taken(learner: Learner, found: Sequence[Tensor], clip: float | None = None) -> bool:
    """Take a step down gradients, if all of them are finite."""
    finite = all(bool(torch.isfinite(part).all()) for part in found)
    if finite:
        learner.apply(found, clip)
    return finite
