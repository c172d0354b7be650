"""The hot path: the steps that train a generator and a discriminator against each other.

A step can be cut where the two live apart: the discriminator's on fakes that were made elsewhere,
and the generator's from *feedback*, the gradient of its loss for each number of its fakes. Cut or
whole, the numbers are the same. Adversarial training after Goodfellow et al. (2014).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gandask.core import State, torch_seed
from gandask.training import losses
from gandask.training.augmenting import Judge
from gandask.training.averaging import Average
from gandask.training.learner import Learner, load_module
from gandask.training.losses import Loss
from gandask.training.rounding import rounded
from gandask.training.settings import Noise, Training
from gandask.training.supervision import Labelled

KINDS = ("generator", "discriminator")
Samples = tuple[Tensor, ...]
"""A batch of samples, followed by their labels where networks are conditional."""


def learner_of(
    training: Training, kind: str, weights: State, moments: State, device: torch.device
) -> Learner:
    """Go on training a ``generator`` or a ``discriminator`` from its states."""
    module = load_module(training.builder(kind), weights, device)
    averages = training.ema and kind == "generator"
    average = Average.of(module, weights, training.ema) if averages else None
    return Learner.of(
        module, moments, training.adam_betas, training.learning_rate_half_life, average
    )


def forged(generator: Judge, inputs: tuple[Tensor, ...]) -> Samples:
    """Make fakes from noise, with the labels they were asked for; no gradient will flow back."""
    with torch.no_grad():
        return generator(*inputs), *inputs[1:]


def discriminator_loss(
    loss: Loss,
    discriminator: Judge,
    real: Samples,
    fakes: Samples,
    epsilon: torch.Generator,
    step: int = 0,
) -> Tensor:
    """Compute the discriminator's loss on given fakes, with the penalties that there are.

    Parameters
    ----------
    epsilon : torch.Generator
        Where penalties draw their places from.
    step : int
        How many there were before: a lazy penalty is on some of them.
    """
    made = loss.discriminator(discriminator(*real), discriminator(*fakes))
    samples, labels = real[0], real[1:]

    def judge(places: Tensor) -> Tensor:
        return discriminator(places, *labels)

    if loss.gradient_penalty or loss.dragan:
        others = losses.perturbed(samples, epsilon) if loss.dragan else fakes[0]
        size = (len(samples), *[1] * (samples.dim() - 1))
        drawn = torch.rand(size, generator=epsilon, device=samples.device)
        penalty = losses.gradient_penalty(judge, samples, others, drawn)
        made = made + (loss.gradient_penalty or loss.dragan) * penalty
    if loss.r1 and step % loss.r1_every == 0:
        made = made + loss.r1 / 2 * loss.r1_every * losses.r1_penalty(judge, samples)
    return made


def feedback(loss: Loss, discriminator: Judge, fakes: Samples) -> tuple[Tensor, Tensor]:
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
    gradients = generator.gradients(generator.module(*inputs), slope)
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return gradients


def _weighed(loss: Tensor, share: float) -> Tensor:
    """Give a part of a batch its share of the loss."""
    return loss if share == 1.0 else share * loss


@dataclass
class Pair:
    """One generator and one discriminator in training against each other.

    Parameters
    ----------
    noise : Noise
        What batches of fakes are made from.
    epsilon : torch.Generator
        Where a gradient penalty draws from.
    loss : Loss
        That of the next step.
    changes : torch.Generator
        Where changes of samples are drawn from that discriminators see.
    labelled : Labelled, optional
        Samples with labels that the discriminator learns, too.
    """

    training: Training
    generator: Learner
    discriminator: Learner
    noise: Noise
    epsilon: torch.Generator
    loss: Loss
    changes: torch.Generator
    labelled: Labelled | None = None
    totals: dict[str, Tensor] = field(init=False)
    counts: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = dict.fromkeys(KINDS, 0)
        self.totals = {
            kind: torch.zeros((), dtype=torch.float64, device=self.noise.device) for kind in KINDS
        }

    @classmethod
    def load(
        cls,
        states: Sequence[State],
        training: Training,
        loss: Loss,
        slot: str,
        round: int,
        device: torch.device,
    ) -> Pair:
        """Build a pair from its weights and moments, with the random streams of a slot's round."""
        epsilon_seed = torch_seed(training.seed, round, slot, "penalty")
        return cls(
            training,
            learner_of(training, "generator", states[0], states[1], device),
            learner_of(training, "discriminator", states[2], states[3], device),
            Noise(training, device, round, slot, "train"),
            torch.Generator(device).manual_seed(epsilon_seed),
            loss,
            training.changes(device, round, slot),
            Labelled(training, device, round, slot) if training.labelled else None,
        )

    def inputs(self) -> tuple[Tensor, ...]:
        """Draw what the generator makes a batch of fakes from."""
        return self.noise.draw(self.training.batch_size)

    def generator_gradients(
        self, judge: nn.Module | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Compute a batch's loss against the discriminator, or another judge, and its gradients."""
        seen = self.training.seen(judge or self.discriminator.module, self.changes)
        made = rounded(self.generator.module, self.training.precision)

        def judged() -> Iterator[Tensor]:
            for share, inputs in self._parts(self.inputs()):
                yield _weighed(self.loss.generator(seen(made(*inputs), *inputs[1:])), share)

        found = self._added_up(self.generator, judged())
        self.count("generator", found[0])
        return found

    def generator_step(self, judge: nn.Module | None = None) -> None:
        """Train the generator on one batch, against the discriminator or another judge."""
        _, gradients = self.generator_gradients(judge)
        self.generator.apply(gradients)

    def discriminator_step(self, real: Samples, forger: nn.Module | None = None) -> Tensor:
        """Train the discriminator on one batch, against the generator or another forger.

        Returns
        -------
        scalar
            The loss before the step.
        """
        seen = self.training.seen(self.discriminator.module, self.changes)
        step = self.counts["discriminator"]
        made = rounded(forger or self.generator.module, self.training.precision)

        def judged() -> Iterator[Tensor]:
            parts = zip(self._parts(self.inputs()), self._parts(real), strict=True)
            for (share, inputs), (_, samples) in parts:
                given = self.loss, seen, samples, forged(made, inputs), self.epsilon, step
                yield _weighed(discriminator_loss(*given), share)

        terms = itertools.chain(judged(), self._taught())
        loss, gradients = self._added_up(self.discriminator, terms)
        self.discriminator.apply(gradients, self.loss.clip)
        self.count("discriminator", loss)
        return loss

    def _taught(self) -> Iterator[Tensor]:
        """Compute the discriminator's loss on labelled samples, where there are any."""
        if self.labelled is not None:
            yield self.labelled.loss(self.discriminator.module, self.changes)

    def _parts(self, batch: Samples) -> Iterator[tuple[float, Samples]]:
        """Cut a batch, where that is asked for, and give the share of it that each part is."""
        whole = len(batch[0])
        if self.training.gradient_accumulation == 1:  # as it is: small networks notice each call
            yield 1.0, batch
            return
        cuts = (tensor.tensor_split(self.training.gradient_accumulation) for tensor in batch)
        for part in zip(*cuts, strict=True):
            yield len(part[0]) / whole, part

    @staticmethod
    def _added_up(learner: Learner, losses: Iterable[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Add up the losses of the parts of a batch, and their gradients, one after the other."""
        parts = ((loss.detach(), *learner.gradients(loss)) for loss in losses)
        total, *gradients = functools.reduce(
            lambda sums, part: tuple(map(torch.add, sums, part)), parts
        )
        return total, tuple(gradients)

    def count(self, network: str, loss: Tensor) -> None:
        """Add a step to the totals, on the device: to read each loss would wait for it."""
        self.totals[network] += loss
        self.counts[network] += 1

    def outcome(self) -> dict[str, Any]:
        """Give what a report says of the round: losses, learning rates, batches, finiteness."""
        return {
            "finite": self.finite(),
            "generator_training_loss": self.mean_loss("generator"),
            "discriminator_training_loss": self.mean_loss("discriminator"),
            "generator_learning_rate": self.generator.rate,
            "discriminator_learning_rate": self.discriminator.rate,
            "batches": self.counts["generator"],
        }

    def mean_loss(self, network: str) -> float:
        """Give the mean training loss of the round, NaN without a step."""
        count = self.counts[network]
        return float(self.totals[network]) / count if count else math.nan

    def finite(self) -> bool:
        """Tell whether every loss and every weight is a finite number."""
        weights = [*self.generator.parameters, *self.discriminator.parameters]
        return all(bool(torch.isfinite(part).all()) for part in (*self.totals.values(), *weights))
