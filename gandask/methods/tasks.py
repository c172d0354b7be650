"""What tasks perform: make, evaluate, train and score individuals, given as named arrays.

Each function returns ``(states, values)`` and changes nothing it is given. Fitness after Lipizzaner
(Schmiedlechner et al. 2018), as laid out by Pérez et al. (2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, Call, State, Values, rng, routine, torch_seed
from gandask.scores import features
from gandask.scores.features import CHUNK
from gandask.training import networks, stacked
from gandask.training.learner import fresh_moments, load_module, save_module
from gandask.training.losses import Loss
from gandask.training.pair import Trainer
from gandask.training.settings import Noise, Training, real_batch

States = tuple[tuple[State, ...], Values]


def initialise(*, training: Training, slot: str, population_size: int) -> States:
    """Make the individuals of a slot.

    Returns
    -------
    states
        Weights then moments, of each generator and then of each discriminator.
    values
        ``statistics`` of the generators, (individuals, packed length), where scores are asked for.
    """
    states: list[State] = []
    values: dict[str, Any] = {}
    std = training.initial_std
    with training.settled() as device:
        for kind, build in (
            ("generator", training.build_generator),
            ("discriminator", training.build_discriminator),
        ):
            modules = [
                networks.build(build, torch_seed(training.seed, 0, slot, kind, index), std)
                for index in range(population_size)
            ]
            for module in modules:
                states += [save_module(module), fresh_moments(module, training.learning_rate)]
            if kind == "generator" and training.score_samples:
                values = measured(training, modules, training.score_samples, device, 0, slot)
    return tuple(states), values


def fitness(*states: State, training: Training, slot: str, round: int, generators: int) -> States:
    """Evaluate every generator of a neighbourhood against every discriminator.

    Parameters
    ----------
    *states
        Weights of `generators` generators, then of the discriminators.

    Returns
    -------
    values
        ``generator_losses`` and ``discriminator_losses``, both (generators, discriminators), on
        the slot's fitness batch of the round; ``device``, the kind it was computed on.
    """
    with training.settled() as device:
        with routine("load"):
            rivals = Rivals.load(training, states[:generators], states[generators:], device)
        with routine("fitness"):
            batch = FitnessBatch.draw(training, slot, round, device)
            table = batch.evaluate(rivals.generators, rivals.discriminators)
    losses = {"generator_losses": table[0], "discriminator_losses": table[1]}
    return (), losses | {"device": device.type}


@dataclass(frozen=True)
class Rivals:
    """The networks of a neighbourhood, loaded to be trained or evaluated against."""

    generators: list[nn.Module]
    discriminators: list[nn.Module]

    @classmethod
    def load(
        cls,
        training: Training,
        generators: Sequence[State],
        discriminators: Sequence[State],
        device: torch.device,
    ) -> Rivals:
        """Build the networks from their weights."""
        return cls(
            [load_module(training.build_generator, s, device) for s in generators],
            [load_module(training.build_discriminator, s, device) for s in discriminators],
        )


@dataclass(frozen=True)
class FitnessBatch:
    """The real samples and the noise that a slot measures fitness on in one round."""

    loss: Loss
    real: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]

    @classmethod
    def draw(cls, training: Training, slot: str, round: int, device: torch.device) -> FitnessBatch:
        """Draw the batch from the slot's own shard: the same each time in a round."""
        shard = training.shard(slot)
        count = min(training.fitness_samples, len(shard))
        chosen = rng(training.seed, round, slot, "fitness").choice(shard, count, replace=False)
        real = real_batch(training, chosen, device)
        inputs = Noise(training, device, round, slot, "fitness").draw(training.fitness_samples)
        return cls(training.losses[0], real, inputs)

    def evaluate(
        self, generators: Sequence[nn.Module], discriminators: Sequence[nn.Module]
    ) -> tuple[Array, Array]:
        """Give the losses of generators and of discriminators, each (generators, discriminators).

        Each network sees each batch once: one pass per network and pair.
        """
        shape = (len(generators), len(discriminators))
        generator_losses, discriminator_losses = np.empty(shape), np.empty(shape)
        with torch.no_grad():
            fakes = [generator.eval()(*self.inputs) for generator in generators]
            for column, discriminator in enumerate(discriminators):
                real = discriminator.eval()(*self.real)
                for row, fake in enumerate(fakes):
                    logits = discriminator(fake, *self.inputs[1:])
                    generator_losses[row, column] = self.loss.generator(logits)
                    discriminator_losses[row, column] = self.loss.discriminator(real, logits)
        return generator_losses, discriminator_losses


def train(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    loss: int,
    rivals: int,
    train_against_rivals: bool,
) -> States:
    """Train a pair for a round, then evaluate and score the offspring.

    Parameters
    ----------
    *states
        Generator weights and moments, discriminator weights and moments, then the weights of the
        neighbourhood's `rivals` generators and of its discriminators; the slot's own come first.
    loss : int
        Which of the training's losses to use.
    train_against_rivals : bool
        Draw the partner of each step from the neighbourhood (no selection).

    Returns
    -------
    states
        The offspring: generator weights and moments, discriminator weights and moments.
    values
        ``finite``; ``generator_losses`` and ``discriminator_losses`` of the offspring against each
        opponent; mean training losses and learning rates; ``statistics`` of the offspring
        generator's samples, where `score_samples` is not 0.
    """
    arguments = {"training": training, "slot": slot, "round": round, "loss": loss}
    arguments |= {"rivals": rivals, "train_against_rivals": train_against_rivals}
    return train_together([(states, arguments)])[0]


def train_together(calls: Sequence[Call]) -> list[States]:
    """Do what `train` does for several slots, given the states and arguments of each."""
    with calls[0][1]["training"].settled() as device:
        with routine("load"):
            pairs = [Pair.load(device, *states, **arguments) for states, arguments in calls]
        shards = [pair.training.shard(pair.slot) for pair in pairs]
        stacked.train([pair.trainer for pair in pairs], shards, device)
        return [pair.outcome(device) for pair in pairs]


@dataclass(frozen=True)
class Pair:
    """A pair in training, and the neighbourhood that it is evaluated against."""

    training: Training
    slot: str
    round: int
    trainer: Trainer
    others: Rivals

    @classmethod
    def load(
        cls,
        device: torch.device,
        *states: State,
        training: Training,
        slot: str,
        round: int,
        loss: int,
        rivals: int,
        train_against_rivals: bool,
    ) -> Pair:
        """Build the networks, from what `train` is given."""
        count = 4 + rivals
        trainer = Trainer.load(states[:4], training, training.losses[loss], slot, round, device)
        others = Rivals.load(training, states[4:count], states[count:], device)
        if train_against_rivals:
            # the slot's own networks come first, and are the ones in training
            trainer.rival_generators = others.generators[1:]
            trainer.rival_discriminators = others.discriminators[1:]
        return cls(training, slot, round, trainer, others)

    def outcome(self, device: torch.device) -> States:
        """Evaluate and score the offspring."""
        t, values = self.training, self.trainer.outcome()
        learners = self.trainer.generator, self.trainer.discriminator
        generator, discriminator = (learner.module for learner in learners)
        if values["finite"]:
            with routine("replace"):
                batch = FitnessBatch.draw(t, self.slot, self.round, device)
                losses_of_generator, _ = batch.evaluate([generator], self.others.discriminators)
                _, losses_of_discriminator = batch.evaluate(self.others.generators, [discriminator])
                values["generator_losses"] = losses_of_generator[0]
                values["discriminator_losses"] = losses_of_discriminator[:, 0]
            if t.score_samples:
                key = (self.round, self.slot)
                values |= measured(t, [generator], t.score_samples, device, *key)
        return (*learners[0].states(), *learners[1].states()), values


def measured(
    training: Training,
    generators: Sequence[nn.Module],
    count: int,
    device: torch.device,
    *key: int | str,
) -> dict[str, Array]:
    """Sample each generator and sum the statistics of its samples, packed in one row."""
    with routine("score"):
        extractor = features.extractor(training.data, training.features, training.inception_weights)
        sizes = [len(part) for part in np.array_split(np.empty(count), -(-count // CHUNK))]
        rows = []
        for index, generator in enumerate(generators):
            noise = Noise(training, device, *key, "score", index)
            generator.to(device).eval()
            # without gradients inside the extractor, which draws each batch as it needs it
            batches = (generator(*noise.draw(size)) for size in sizes)
            rows.append(extractor.statistics(batches).to_array())
    return {"statistics": np.stack(rows)}


def score(*states: State, training: Training, slot: str, round: int, samples: int) -> States:
    """Measure generators on many samples: ``statistics``, (generators, packed length)."""
    with training.settled() as device:
        with routine("load"):
            generators = [load_module(training.build_generator, s, device) for s in states]
        return (), measured(training, generators, samples, device, round, slot, "final")


def samples(training: Training, name: str, state: State, count: int, seed: int) -> Array:
    """Draw samples from a generator, outside of any run.

    Returns
    -------
    (count, *shape) array
        The same each time for a name and a seed.
    """
    with training.settled() as device, torch.no_grad():
        generator = load_module(training.build_generator, state, device)
        noise = Noise(training, device, seed, name, "mixture")
        # in parts, the last of which may be empty: memory does not grow with the count
        sizes = [min(CHUNK, count - start) for start in range(0, count + 1, CHUNK)]
        parts = [generator(*noise.draw(size)).cpu() for size in sizes]
    return np.asarray(torch.cat(parts).numpy())
