"""The hot path: nets at rest as named arrays, and the steps that train them.

Networks are built from states on entry and turned back on exit, so that nothing handed in is ever
changed. Adversarial training after Goodfellow et al. (2014), with the learning-rate mutation of
Lipizzaner (Schmiedlechner et al. 2018).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from gandask.core import Array, State, progress, rng, routine, torch_seed
from gandask.training import losses
from gandask.training.losses import Loss
from gandask.training.settings import Noise, Training, real_batch

ADAM_EPSILON = 1e-8


def load_module(build: Callable[[], nn.Module], state: State, device: torch.device) -> nn.Module:
    """Make a network that holds copies of the arrays in `state`."""
    with torch.device("meta"):
        module = build()
    module.load_state_dict({name: torch.tensor(a) for name, a in state.items()}, assign=True)
    return module.to(device).eval()


def save_module(module: nn.Module) -> dict[str, Array]:
    """Give the weights and buffers of a network as named arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


@dataclass
class Learner:
    """A network in training, with what Adam remembers of each of its parameters.

    Attributes
    ----------
    learning_rate : float
        That of the next step.
    """

    module: nn.Module
    parameters: list[Tensor]
    exp_avg: list[Tensor]
    exp_avg_sq: list[Tensor]
    steps: list[Tensor]
    learning_rate: float
    betas: tuple[float, float]

    @classmethod
    def of(cls, module: nn.Module, moments: State, betas: tuple[float, float]) -> Learner:
        """Continue training from stored Adam moments and learning rate."""
        named = dict(module.train().named_parameters())

        def tensors(pattern: str) -> list[Tensor]:
            """Give an array for each parameter, at its device."""
            return [
                torch.tensor(moments[pattern.format(name)], device=parameter.device)
                for name, parameter in named.items()
            ]

        return cls(
            module,
            [*named.values()],
            tensors("{}.exp_avg"),
            tensors("{}.exp_avg_sq"),
            tensors("step"),
            float(moments["learning_rate"]),
            betas,
        )

    def step(self, loss: Tensor) -> None:
        """Take one Adam step; gradients of other networks in `loss` are never computed."""
        gradients = torch.autograd.grad(loss, self.parameters)
        with torch.no_grad():
            # not torch.optim.Adam: the first of those loads torch's compiler, a second or two
            adam(
                self.parameters,
                list(gradients),
                self.exp_avg,
                self.exp_avg_sq,
                [],
                self.steps,
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=self.learning_rate,
                weight_decay=0.0,
                eps=ADAM_EPSILON,
                maximize=False,
            )

    def states(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Give the weights, and the moments."""
        return save_module(self.module), self.moments()

    def moments(self) -> dict[str, Array]:
        """Give the Adam moments and the learning rate as named arrays."""
        saved: dict[str, Array] = {
            "learning_rate": np.array(self.learning_rate),
            "step": self.steps[0].cpu().numpy(),
        }
        for index, (name, _) in enumerate(self.module.named_parameters()):
            saved[f"{name}.exp_avg"] = self.exp_avg[index].cpu().numpy()
            saved[f"{name}.exp_avg_sq"] = self.exp_avg_sq[index].cpu().numpy()
        return saved


def fresh_moments(module: nn.Module, learning_rate: float) -> dict[str, Array]:
    """Give the moments of a network that was never trained."""
    moments: dict[str, Array] = {
        "learning_rate": np.array(learning_rate),
        "step": np.array(0.0, np.float32),
    }
    for name, parameter in module.named_parameters():
        for key in ("exp_avg", "exp_avg_sq"):
            moments[f"{name}.{key}"] = np.zeros(parameter.shape, np.float32)
    return moments


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

    def generator_loss(self) -> Tensor:
        """Compute a batch's loss against the generator's discriminator, or one of the rivals."""
        judge = self.partner(self.discriminator.module, self.rival_discriminators)
        inputs = self.noise.draw(self.training.batch_size)
        return self.loss.generator(judge(self.generator.module(*inputs), *inputs[1:]))

    def generator_step(self) -> None:
        """Train the generator on one batch."""
        loss = self.generator_loss()
        self.generator.step(loss)
        self.count("generator", loss)

    def discriminator_step(self, real: tuple[Tensor, ...]) -> float:
        """Train the discriminator against its generator, or one drawn from the rivals.

        Returns
        -------
        float
            The loss before the step.
        """
        forger = self.partner(self.generator.module, self.rival_generators)
        inputs = self.noise.draw(self.training.batch_size)
        with torch.no_grad():
            fake = forger(*inputs)
        module = self.discriminator.module
        loss = self.loss.discriminator(module(*real), module(fake, *inputs[1:]))
        if self.loss.gradient_penalty:
            loss = loss + self.loss.gradient_penalty * self.penalty(real, fake)
        self.discriminator.step(loss)
        if self.loss.clip is not None:
            with torch.no_grad():
                for parameter in self.discriminator.parameters:
                    parameter.clamp_(-self.loss.clip, self.loss.clip)
        return self.count("discriminator", loss)

    def penalty(self, real: tuple[Tensor, ...], fake: Tensor) -> Tensor:
        """Compute the gradient penalty between real and fake samples."""
        samples, labels = real[0], real[1:]
        size = (len(samples), *[1] * (samples.dim() - 1))
        epsilon = torch.rand(size, generator=self.epsilon, device=samples.device)
        module = self.discriminator.module
        return losses.gradient_penalty(lambda x: module(x, *labels), samples, fake, epsilon)

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
