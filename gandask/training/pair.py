"""The hot path: the steps that train a generator and a discriminator against each other.

A step can be cut where the two live apart: the discriminator's on fakes that were made elsewhere,
and the generator's from *feedback*, the gradient of its loss for each number of its fakes. Cut or
whole, the numbers are the same. Adversarial training after Goodfellow et al. (2014).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, State, progress, rng, routine, torch_seed
from gandask.training import losses
from gandask.training.learner import Learner, load_module
from gandask.training.losses import Loss
from gandask.training.settings import Noise, Training, real_batch

Samples = tuple[Tensor, ...]
"""A batch of samples, followed by their labels where networks are conditional."""


def forged(generator: nn.Module, inputs: tuple[Tensor, ...]) -> Samples:
    """Make fakes from noise, with the labels they were asked for; no gradient will flow back."""
    with torch.no_grad():
        return generator(*inputs), *inputs[1:]


def discriminator_loss(
    loss: Loss, discriminator: nn.Module, real: Samples, fakes: Samples, epsilon: torch.Generator
) -> Tensor:
    """Compute the discriminator's loss on given fakes, with the gradient penalty if there is one.

    Parameters
    ----------
    epsilon : torch.Generator
        Where the penalty draws its places between real and fake samples from.
    """
    made = loss.discriminator(discriminator(*real), discriminator(*fakes))
    if not loss.gradient_penalty:
        return made
    samples, labels = real[0], real[1:]
    size = (len(samples), *[1] * (samples.dim() - 1))
    drawn = torch.rand(size, generator=epsilon, device=samples.device)
    penalty = losses.gradient_penalty(lambda x: discriminator(x, *labels), samples, fakes[0], drawn)
    return made + loss.gradient_penalty * penalty


def feedback(loss: Loss, discriminator: nn.Module, fakes: Samples) -> tuple[Tensor, Tensor]:
    """Judge given fakes: the generator's loss, and its gradient for each number of the fakes.

    Returns
    -------
    scalar
        The loss.
    (n, ...) tensor
        Of the fakes' shape; it holds the loss's mean over the batch already.
    """
    samples = fakes[0].detach().requires_grad_(True)
    value = loss.generator(discriminator(samples, *fakes[1:]))
    (slope,) = torch.autograd.grad(value, samples)
    return value.detach(), slope


def gradients_from(
    generator: Learner, inputs: tuple[Tensor, ...], slope: Tensor
) -> tuple[Tensor, ...]:
    """Compute a generator's gradients from the `feedback` on the fakes that it made of `inputs`.

    The fakes are made once more, for what the gradients need of them; statistics of batch
    normalisation, which took these fakes in when they were made, are left as they are.
    """
    buffers = [(buffer, buffer.clone()) for buffer in generator.module.buffers()]
    gradients = torch.autograd.grad(generator.module(*inputs), generator.parameters, slope)
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return gradients


class Steps(Protocol):
    """What takes the steps of a round: one pair, or several at once."""

    @property
    def training(self) -> Training:
        """The settings."""

    def mutate(self) -> None:
        """Mutate learning rates."""

    def real(self, indices: Array) -> tuple[Tensor, ...]:
        """Assemble the real samples of a batch."""

    def generator_step(self) -> Any:
        """Train generators on one batch."""

    def discriminator_step(self, real: tuple[Tensor, ...]) -> Any:
        """Train discriminators on one batch."""


def train_batches(steps: Steps, batches: Iterator[Array], count: int) -> None:
    """Train on `count` batches, given by the indices of their samples.

    Per batch: learning rates mutate, generators take a step, and on every (skip + 1)-th batch
    discriminators do.
    """
    training = steps.training
    every = training.skip_discriminator_steps + 1
    for index, indices in enumerate(batches, start=1):
        with routine("mutate"):
            steps.mutate()
        due: list[Callable[[], Any]] = [steps.generator_step]
        if index % every == 0:
            with routine("batch"):
                real = steps.real(indices)
            due.append(functools.partial(steps.discriminator_step, real))
        if training.training_order == "discriminator_first":
            due.reverse()
        with routine("train"):
            for step in due:
                step()
        progress(index / count)


@dataclass
class Trainer:
    """One generator and one discriminator in training against each other or against rivals."""

    training: Training
    generator: Learner
    discriminator: Learner
    noise: Noise
    chance: np.random.Generator
    epsilon: torch.Generator
    loss: Loss
    rival_generators: Sequence[nn.Module] = ()
    rival_discriminators: Sequence[nn.Module] = ()
    totals: dict[str, float] = field(default_factory=lambda: {"generator": 0, "discriminator": 0})
    counts: dict[str, int] = field(default_factory=lambda: {"generator": 0, "discriminator": 0})

    @classmethod
    def load(
        cls,
        states: Sequence[State],
        training: Training,
        loss: Loss,
        slot: str,
        round: int,
        device: torch.device,
    ) -> Trainer:
        """Build a pair from its weights and moments, with the random streams of a slot's round."""
        generator = load_module(training.build_generator, states[0], device)
        discriminator = load_module(training.build_discriminator, states[2], device)
        epsilon_seed = torch_seed(training.seed, round, slot, "penalty")
        return cls(
            training,
            Learner.of(generator, states[1], training.adam_betas),
            Learner.of(discriminator, states[3], training.adam_betas),
            Noise(training, device, round, slot, "train"),
            rng(training.seed, round, slot, "train"),
            torch.Generator(device).manual_seed(epsilon_seed),
            loss,
        )

    def round(self, shard: Array) -> None:
        """Train for one round of epochs over `shard`."""
        count = self.training.epochs_per_round * (len(shard) // self.training.batch_size)
        train_batches(self, self.batches(shard), count)

    def batches(self, shard: Array) -> Iterator[Array]:
        """Shuffle the shard anew each epoch; what does not fill a batch waits for the next."""
        size = self.training.batch_size
        for _ in range(self.training.epochs_per_round):
            with routine("batch"):
                shuffled = self.chance.permutation(shard)
            for start in range(0, len(shuffled) - size + 1, size):
                yield shuffled[start : start + size]

    def mutate(self) -> None:
        """Mutate each learning rate with some probability, and draw a loss where asked to."""
        t = self.training
        for learner in (self.generator, self.discriminator):
            if self.chance.random() < t.mutation_probability:
                change = self.chance.normal(-t.learning_rate / 10, t.learning_rate)
                learner.learning_rate = max(0.0, learner.learning_rate + t.mutation_scale * change)
        if t.loss_draw == "batch" and len(t.losses) > 1:
            self.loss = t.losses[self.chance.integers(len(t.losses))]

    def real(self, indices: Array) -> tuple[Tensor, ...]:
        """Assemble the real samples of a batch."""
        return real_batch(self.training, indices, self.noise.device)

    def inputs(self) -> tuple[Tensor, ...]:
        """Draw what the generator makes a batch of fakes from."""
        return self.noise.draw(self.training.batch_size)

    def generator_loss(self) -> Tensor:
        """Compute a batch's loss against the generator's discriminator, or one of the rivals."""
        judge = self.partner(self.discriminator.module, self.rival_discriminators)
        inputs = self.inputs()
        return self.loss.generator(judge(self.generator.module(*inputs), *inputs[1:]))

    def generator_step(self) -> None:
        """Train the generator on one batch."""
        loss = self.generator_loss()
        self.generator.step(loss)
        self.count("generator", loss)

    def discriminator_step(self, real: Samples) -> float:
        """Train the discriminator against its generator, or one drawn from the rivals.

        Returns
        -------
        float
            The loss before the step.
        """
        forger = self.partner(self.generator.module, self.rival_generators)
        fakes = forged(forger, self.inputs())
        module = self.discriminator.module
        loss = discriminator_loss(self.loss, module, real, fakes, self.epsilon)
        self.discriminator.step(loss, self.loss.clip)
        return self.count("discriminator", loss)

    def partner(self, own: nn.Module, rivals: Sequence[nn.Module]) -> nn.Module:
        """Give the cell's own network, or one drawn from it and its rivals."""
        drawn = int(self.chance.integers(len(rivals) + 1)) if rivals else 0
        return rivals[drawn - 1] if drawn else own

    def count(self, network: str, loss: Tensor) -> float:
        """Add a step to the totals, and give its loss."""
        value = float(loss.detach())
        self.totals[network] += value
        self.counts[network] += 1
        return value

    def outcome(self) -> dict[str, Any]:
        """Give what a report says of the round: losses, learning rates, batches, finiteness."""
        return {
            "finite": self.finite(),
            "generator_training_loss": self.mean_loss("generator"),
            "discriminator_training_loss": self.mean_loss("discriminator"),
            "generator_learning_rate": self.generator.learning_rate,
            "discriminator_learning_rate": self.discriminator.learning_rate,
            "batches": self.counts["generator"],
        }

    def mean_loss(self, network: str) -> float:
        """Give the mean training loss of the round, NaN without a step."""
        return self.totals[network] / self.counts[network] if self.counts[network] else np.nan

    def finite(self) -> bool:
        """Tell whether every loss and every weight is a finite number."""
        weights = [*self.generator.parameters, *self.discriminator.parameters]
        return bool(
            np.isfinite(list(self.totals.values())).all()
            and all(torch.isfinite(weight).all() for weight in weights)
        )
