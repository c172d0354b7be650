"""What tasks of a grid's cells perform: fitness in a neighbourhood, and the training of offspring.

Each function returns ``(states, values)`` and changes nothing it is given. Fitness and the mutation
of learning rates after Lipizzaner (Schmiedlechner et al. 2018), as laid out by Pérez et al. (2020).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, Call, Made, State, better_together, progress, rng, routine
from gandask.methods.grid.classes import accuracies
from gandask.methods.tasks import observed
from gandask.training import stacked
from gandask.training.learner import load_module
from gandask.training.losses import Loss
from gandask.training.pair import KINDS, Pair, Samples
from gandask.training.rounding import BF16
from gandask.training.settings import Noise, Training, real_batch


@dataclass(frozen=True)
class CellSettings:
    """How cells train and measure fitness: settings of `gandask.Grid`, beside those all share."""

    epochs_per_round: int
    loss_draw: str
    mutation_probability: float
    mutation_scale: float
    skip_discriminator_steps: int
    training_order: str
    fitness_samples: int
    population_size: int


def fitness(
    *states: State,
    training: Training,
    settings: CellSettings,
    slot: str,
    round: int,
    generators: int,
) -> Made:
    """Evaluate every generator of a neighbourhood against every discriminator.

    Parameters
    ----------
    *states
        Weights of `generators` generators, then of the discriminators.

    Returns
    -------
    values
        ``generator_losses`` and ``discriminator_losses``, both (generators, discriminators), on
        the slot's fitness batch of the round.
    """
    with training.settled() as device:
        with routine("load"):
            rivals = Rivals.load(training, states[:generators], states[generators:], device)
        with routine("fitness"):
            batch = FitnessBatch.draw(training, settings.fitness_samples, slot, round, device)
            table = batch.evaluate(rivals.generators, rivals.discriminators)
        # training comes next, on this device: it may be worth doing for several cells at once
        if stacked.pays(device, training.losses, rivals.generators[0], rivals.discriminators[0]):
            better_together()
    return (), {"generator_losses": table[0], "discriminator_losses": table[1]}


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
    real: Samples
    inputs: tuple[Tensor, ...]

    @classmethod
    def draw(
        cls, training: Training, samples: int, slot: str, round: int, device: torch.device
    ) -> FitnessBatch:
        """Draw the batch from the slot's own shard: the same each time in a round.

        The first of the training's losses measures, so that all individuals are compared by one.
        """
        shard = training.shard(slot)
        count = min(samples, len(shard))
        chosen = rng(training.seed, round, slot, "fitness").choice(shard, count, replace=False)
        real = real_batch(training, chosen, device)
        inputs = Noise(training, device, round, slot, "fitness").draw(samples)
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
    settings: CellSettings,
    slot: str,
    round: int,
    loss: int,
    rivals: int,
    train_against_rivals: bool,
    learning_rates: Mapping[str, float] | None = None,
) -> Made:
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
    learning_rates : mapping of str to float, optional
        By kind, the rate to go on with instead of the parent's.

    Returns
    -------
    states
        The offspring: generator weights and moments, discriminator weights and moments.
    values
        ``finite``; ``generator_losses`` and ``discriminator_losses`` of the offspring against each
        opponent; mean training losses and learning rates; ``statistics`` of the offspring
        generator's samples, where `score_samples` is not 0; `accuracies` of discriminators that
        tell classes.
    """
    arguments = {"training": training, "settings": settings, "slot": slot, "round": round}
    arguments |= {"loss": loss, "rivals": rivals, "train_against_rivals": train_against_rivals}
    arguments |= {"learning_rates": learning_rates}
    return train_together([(states, arguments)])[0]


def train_together(calls: Sequence[Call]) -> list[Made]:
    """Do what `train` does for several slots, given the states and arguments of each."""
    with calls[0][1]["training"].settled() as device:
        with routine("load"):
            offspring = [Offspring.load(device, *states, **given) for states, given in calls]
        for members in as_one(offspring, device):
            pairs = stacked.Pairs([one.pair for one in members])
            train_batches(members, pairs)
            pairs.unstack()
        for one in offspring:
            if not one.stackable(device):
                train_batches([one], one)
        return [one.outcome(device) for one in offspring]


def as_one(offspring: Sequence[Offspring], device: torch.device) -> list[list[Offspring]]:
    """Give those that had better take their steps at once, in lists of which each shares them."""
    groups: list[list[Offspring]] = []
    for one in filter(lambda one: one.stackable(device), offspring):
        last = groups[-1] if groups else [one]
        alike = (last[0].training, last[0].settings) == (one.training, one.settings)
        if not groups or not alike or len(last) == stacked.width(*one.networks):
            groups.append([])
        groups[-1].append(one)
    return groups


@dataclass
class Offspring:
    """A pair in training in its cell, among the neighbourhood that it is evaluated against.

    Parameters
    ----------
    chance : numpy.random.Generator
        Shuffles samples, mutates learning rates, draws losses and partners.
    rivals : Rivals
        The neighbourhood; the cell's own networks come first.
    train_against_rivals : bool
        Whether the partner of each step is drawn from it.
    """

    training: Training
    settings: CellSettings
    slot: str
    round: int
    pair: Pair
    chance: np.random.Generator
    rivals: Rivals
    train_against_rivals: bool

    @classmethod
    def load(
        cls,
        device: torch.device,
        *states: State,
        training: Training,
        settings: CellSettings,
        slot: str,
        round: int,
        loss: int,
        rivals: int,
        train_against_rivals: bool,
        learning_rates: Mapping[str, float] | None = None,
    ) -> Offspring:
        """Build the networks, from what `train` is given."""
        count = 4 + rivals
        pair = Pair.load(states[:4], training, training.losses[loss], slot, round, device)
        for kind, rate in (learning_rates or {}).items():
            getattr(pair, kind).learning_rate = rate
        return cls(
            training,
            settings,
            slot,
            round,
            pair,
            rng(training.seed, round, slot, "train"),
            Rivals.load(training, states[4:count], states[count:], device),
            train_against_rivals,
        )

    @property
    def has_rivals(self) -> bool:
        """Whether partners are drawn, among others than its own."""
        return self.train_against_rivals and len(self.rivals.generators) > 1

    @property
    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Those in training: generator and discriminator."""
        return self.pair.generator.module, self.pair.discriminator.module

    def stackable(self, device: torch.device) -> bool:
        """Tell whether this had better be trained in batched steps, which others may share."""
        t = self.training
        apart = t.augment, t.gradient_accumulation > 1, t.precision == BF16
        alone = not (self.has_rivals or any(apart))
        return alone and stacked.pays(device, t.losses, *self.networks)

    @property
    def step_count(self) -> int:
        """Number of the generator's steps in a round."""
        shard, t = len(self.training.shard(self.slot)), self.training
        return self.settings.epochs_per_round * (shard // t.batch_size) // t.discriminator_steps

    def batches(self) -> Iterator[Array]:
        """Shuffle the shard anew each epoch; what does not fill a batch waits for the next."""
        shard, size = self.training.shard(self.slot), self.training.batch_size
        for _ in range(self.settings.epochs_per_round):
            with routine("batch"):
                shuffled = self.chance.permutation(shard)
            for start in range(0, len(shuffled) - size + 1, size):
                yield shuffled[start : start + size]

    def mutate(self) -> None:
        """Mutate each learning rate with some probability, and draw a loss where asked to."""
        chance, settings = self.chance, self.settings
        for learner, kind in zip(
            (self.pair.generator, self.pair.discriminator), KINDS, strict=True
        ):
            usual = self.training.rate(kind)
            if chance.random() < settings.mutation_probability:
                change = chance.normal(-usual / 10, usual)
                mutated = learner.learning_rate + settings.mutation_scale * change
                learner.learning_rate = max(0.0, mutated)
        losses = self.training.losses
        if settings.loss_draw == "batch" and len(losses) > 1:
            self.pair.loss = losses[chance.integers(len(losses))]

    def real(self, indices: Sequence[Array]) -> Samples:
        """Assemble the real samples of a batch."""
        return real_batch(self.training, indices[0], self.pair.noise.device)

    def generator_step(self) -> None:
        """Train the generator on one batch."""
        self.pair.generator_step(self.partner(self.rivals.discriminators))

    def discriminator_step(self, real: Samples) -> None:
        """Train the discriminator on one batch."""
        self.pair.discriminator_step(real, self.partner(self.rivals.generators))

    def partner(self, rivals: Sequence[nn.Module]) -> nn.Module | None:
        """Draw a partner from the neighbourhood where asked to; None is the one in training."""
        if not self.has_rivals:
            return None
        # the cell's own network comes first, and is the one in training
        drawn = int(self.chance.integers(len(rivals)))
        return rivals[drawn] if drawn else None

    def outcome(self, device: torch.device) -> Made:
        """Evaluate and score the offspring."""
        t, values = self.training, self.pair.outcome()
        learners = self.pair.generator, self.pair.discriminator
        generator, discriminator = (learner.module for learner in learners)
        if t.labelled and t.score_samples:
            own = self.settings.population_size
            judges = [*self.rivals.discriminators, discriminator]
            values |= accuracies(t, judges, own, t.score_samples, device)
        if values["finite"]:
            with routine("replace"):
                samples = self.settings.fitness_samples
                batch = FitnessBatch.draw(t, samples, self.slot, self.round, device)
                losses_of_generator, _ = batch.evaluate([generator], self.rivals.discriminators)
                _, losses_of_discriminator = batch.evaluate(self.rivals.generators, [discriminator])
                values["generator_losses"] = losses_of_generator[0]
                values["discriminator_losses"] = losses_of_discriminator[:, 0]
            values |= observed(t, learners[0].sampled(), device, self.round, self.slot)
        return (*learners[0].states(), *learners[1].states()), values


class Steps(Protocol):
    """What takes the steps of a round: one pair, or several at once."""

    def real(self, indices: Sequence[Array]) -> Samples:
        """Assemble real samples, given the indices of a batch for each pair."""

    def generator_step(self) -> None:
        """Train each generator on one batch."""

    def discriminator_step(self, real: Samples) -> None:
        """Train each discriminator on one batch."""


def train_batches(offspring: Sequence[Offspring], steps: Steps) -> None:
    """Train for a round: the offspring of one cell, or of several that take their steps at once.

    For each step of the generators, learning rates mutate and `discriminator_steps` batches are
    drawn; on every (skip + 1)-th, discriminators take a step on each of these.
    """
    first = offspring[0]
    settings, each = first.settings, first.training.discriminator_steps
    every = settings.skip_discriminator_steps + 1
    batches = zip(*(one.batches() for one in offspring), strict=True)
    count = first.step_count  # once: it asks for the shard, which is drawn anew each time
    for index in range(1, count + 1):
        drawn = [*itertools.islice(batches, each)]
        with routine("mutate"):
            for one in offspring:
                one.mutate()
        real: list[Samples] = []
        if index % every == 0:
            with routine("batch"):
                real = [steps.real(indices) for indices in drawn]
        with routine("train"):
            if settings.training_order == "generator_first":
                steps.generator_step()
            for samples in real:
                steps.discriminator_step(samples)
            if settings.training_order == "discriminator_first":
                steps.generator_step()
        progress(index / count)
