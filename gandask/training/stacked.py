"""Several pairs trained as one: batched steps, for a device that a single small net leaves idle.

The networks of all pairs become rows of one tensor, and a step of all of them one batched step. The
arithmetic is that of one pair after the other, to the rounding of its sums: each pair keeps its
batches, noise, learning rates and loss. Adam after Kingma and Ba (2015).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, routine
from gandask.training.learner import ADAM_EPSILON, Learner, trainable
from gandask.training.losses import Loss
from gandask.training.pair import KINDS, Pair, Samples
from gandask.training.settings import Training, real_batch

#: Layers that work on each number by itself.
ELEMENTWISE = (nn.Identity, nn.LeakyReLU, nn.ReLU, nn.Tanh)

#: Where a batched step takes less time than its parts one by one: on a CPU it takes more.
DEVICES = ("cuda",)


def pays(device: torch.device, losses: Sequence[Loss], *networks: nn.Module) -> bool:
    """Tell whether several pairs of networks like these had better be trained as one."""
    return device.type in DEVICES and stackable(losses, *networks)


def stackable(losses: Sequence[Loss], *networks: nn.Module) -> bool:
    """Tell whether networks like these can take batched steps with these losses."""
    layers = [layer for network in networks for layer in layers_of(network)]
    weights = [id(w) for layer in layers if type(layer) is nn.Linear for w in layer.parameters()]
    return (
        all(map(_known, layers))
        and all(_plain(module) for network in networks for module in network.modules())
        and len(weights) == len(set(weights))  # used twice, they would be there twice
        and all(map(_batchable, losses))
    )


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Give the layers of a network in the order in which they are used.

    Examples
    --------
    >>> layers_of(nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(2, 1), nn.Tanh())))[1:]
    [Linear(in_features=2, out_features=1, bias=True), Tanh()]
    """
    if type(network) is not nn.Sequential:
        return [network]
    return [layer for part in network for layer in layers_of(part)]


def _known(layer: nn.Module) -> bool:
    """Tell whether `Stack` has a batched form of a layer."""
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if type(layer) is nn.Unflatten:
        return bool(layer.dim == 1)
    if type(layer) is nn.Linear:
        return {*trainable(layer)} == {*dict(layer.named_parameters())} <= {"weight", "bias"}
    return type(layer) in ELEMENTWISE


def _plain(module: nn.Module) -> bool:
    """Tell whether a module does only what its class does: spectral norm, say, is a hook."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks
    return not any((*hooks, module._backward_pre_hooks, module._buffers))


@functools.cache
def _batchable(loss: Loss) -> bool:
    """Tell whether a loss can be computed for several pairs at once, and no step needs more."""
    if loss.gradient_penalty or loss.clip is not None:
        return False
    logits = torch.linspace(-2, 2, 6).reshape(2, 3, 1)
    try:
        for kind, count in (("generator", 1), ("discriminator", 2)):
            torch.vmap(getattr(loss, kind))(*[logits] * count)
    except RuntimeError:  # it looks at single numbers, or writes to tensors of its own
        return False
    return True


@dataclass
class Stack:
    """Networks of one form in training, with their optimisers.

    Attributes
    ----------
    layers
        Those of one of the networks, in order; its own weights do not count.
    shapes
        Of the weights of one network, in the order of its layers.
    rows, exp_avg, exp_avg_sq
        Weights and Adam moments, (networks, numbers).
    step
        Of each network, (networks, 1).
    """

    layers: Sequence[nn.Module]
    shapes: Sequence[torch.Size]
    rows: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor
    betas: tuple[float, float]

    @classmethod
    def of(cls, learners: Sequence[Learner]) -> Stack:
        """Copy networks and moments into rows."""
        first = learners[0]
        rows = torch.stack([_flat(learner.parameters) for learner in learners])
        steps = torch.stack([learner.steps[0].reshape(1) for learner in learners])
        return cls(
            layers=layers_of(first.module),
            shapes=[parameter.shape for parameter in first.parameters],
            rows=rows.requires_grad_(True),
            exp_avg=torch.stack([_flat(learner.exp_avg) for learner in learners]),
            exp_avg_sq=torch.stack([_flat(learner.exp_avg_sq) for learner in learners]),
            step=steps.to(rows),
            betas=first.betas,
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        """Give each network its own inputs, (networks, samples, ...)."""
        outputs, weights = inputs, iter(self._cut(self.rows))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                shape = *outputs.shape[:-1], layer.out_features
                products = torch.bmm(outputs.flatten(1, -2), next(weights).mT)
                if layer.bias is not None:
                    products = products + next(weights)[:, None]
                outputs = products.reshape(shape)
            elif isinstance(layer, nn.Flatten):
                outputs = outputs.flatten(2)
            elif isinstance(layer, nn.Unflatten):
                outputs = torch.unflatten(outputs, 2, layer.unflattened_size)
            else:
                outputs = layer(outputs)
        return outputs

    def _cut(self, rows: Tensor) -> list[Tensor]:
        """Cut rows into the weights they are made of, (networks, ...) each."""
        parts = torch.split(rows, [shape.numel() for shape in self.shapes], dim=-1)
        return [
            part.view(*rows.shape[:-1], *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def descend(self, losses: Tensor, rates: Sequence[float]) -> None:
        """Take one Adam step in each network, down its own loss at its own learning rate."""
        (gradient,) = torch.autograd.grad(losses.sum(), self.rows)
        first, second = self.betas
        with torch.no_grad():
            self.step += 1
            self.exp_avg.lerp_(gradient, 1 - first)
            self.exp_avg_sq.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            root = self.exp_avg_sq.sqrt() / (1 - second**self.step).sqrt() + ADAM_EPSILON
            rate = self.rows.new_tensor(rates)[:, None]
            self.rows -= rate / (1 - first**self.step) * self.exp_avg / root

    def unstack(self, learners: Sequence[Learner]) -> None:
        """Give every network back its weights and moments."""
        for index, learner in enumerate(learners):
            weights, *moments = (self._cut(rows.detach()[index]) for rows in self._all())
            for parameter, trained in zip(learner.parameters, weights, strict=True):
                parameter.data = trained.clone()
            learner.exp_avg, learner.exp_avg_sq = ([p.clone() for p in parts] for parts in moments)
            for step in learner.steps:
                step.copy_(self.step[index, 0])

    def _all(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.rows, self.exp_avg, self.exp_avg_sq


@dataclass
class Pairs:
    """Generators and discriminators in training, each pair by itself, all at once.

    Each step is taken with the loss and at the learning rates that the pairs have by then.
    """

    pairs: Sequence[Pair]
    generators: Stack
    discriminators: Stack
    totals: dict[str, Tensor]

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Pairs:
        """Stack the networks of pairs, which share their settings but for their losses."""
        generators = Stack.of([pair.generator for pair in pairs])
        discriminators = Stack.of([pair.discriminator for pair in pairs])
        zeros = {
            kind: torch.zeros(len(pairs), dtype=torch.float64, device=generators.rows.device)
            for kind in KINDS
        }
        return cls(pairs, generators, discriminators, zeros)

    @property
    def training(self) -> Training:
        """The settings, which all pairs share."""
        return self.pairs[0].training

    def real(self, indices: Sequence[Array]) -> Samples:
        """Assemble the real samples of a batch for each pair, (pairs, batch, ...)."""
        device, shape = self.generators.rows.device, (len(indices), len(indices[0]))
        parts = real_batch(self.training, np.concatenate(indices), device)
        return tuple(part.reshape(*shape, *part.shape[1:]) for part in parts)

    def noise(self) -> Tensor:
        """Draw inputs for a batch of every generator, from its own stream."""
        return torch.stack([pair.inputs()[0] for pair in self.pairs])

    def generator_step(self) -> None:
        """Train every generator on one batch."""
        inputs = self.noise()
        logits = self.discriminators(self.generators(inputs))
        losses = self.losses("generator", logits)
        self.generators.descend(losses, [pair.generator.learning_rate for pair in self.pairs])
        self.count("generator", losses)

    def discriminator_step(self, real: Samples) -> None:
        """Train every discriminator on one batch."""
        inputs = self.noise()
        with torch.no_grad():
            fake = self.generators(inputs)
        logits = self.discriminators(*real), self.discriminators(fake)
        losses = self.losses("discriminator", *logits)
        rates = [pair.discriminator.learning_rate for pair in self.pairs]
        self.discriminators.descend(losses, rates)
        self.count("discriminator", losses)

    def losses(self, kind: str, *logits: Tensor) -> Tensor:
        """Compute the loss of every pair by its own, (pairs,)."""
        sharing: dict[Loss, list[int]] = {}
        for index, pair in enumerate(self.pairs):
            sharing.setdefault(pair.loss, []).append(index)
        each: dict[int, Tensor] = {}
        for loss, members in sharing.items():
            # only of those that have it: elsewhere its gradients might not be finite
            chosen = [torch.stack([part[index] for index in members]) for part in logits]
            losses = torch.vmap(getattr(loss, kind))(*chosen)
            each |= dict(zip(members, losses, strict=True))
        return torch.stack([each[index] for index in range(len(self.pairs))])

    def count(self, kind: str, losses: Tensor) -> None:
        """Add a step to the totals, on the device: to wait for a number would cost the most."""
        self.totals[kind] += losses.detach()
        for pair in self.pairs:
            pair.counts[kind] += 1

    def unstack(self) -> None:
        """Give every pair back what it has become."""
        with routine("train"):
            self.generators.unstack([pair.generator for pair in self.pairs])
            self.discriminators.unstack([pair.discriminator for pair in self.pairs])
            for kind, totals in self.totals.items():
                for pair, total in zip(self.pairs, totals, strict=True):
                    pair.totals[kind] += total


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
