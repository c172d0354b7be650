"""What networks and losses compute, in a few numbers: others betray what no text of theirs tells.

A value in a table, a tensor, a hook, another module: whatever the code stands on shows in what it
gives. The numbers come in pairs, each of one thing, and are compared as `gandask.core.alike` says.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, rng
from gandask.training.losses import Loss
from gandask.training.networks import seeded

SAMPLES = 2
"""Of each kind, that networks are given: as many as they are tried with before a run."""

NORMALISING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def nudged(samples: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Give samples that differ by more than kinds of processors do."""
    first, *labels = samples
    return first + torch.linspace(-1e-6, 1e-6, first.numel()).reshape(first.shape), *labels


def of_networks(
    generator: nn.Module,
    discriminator: nn.Module,
    inputs: tuple[Tensor, ...],
    real: tuple[Tensor, ...],
) -> list[float]:
    """Tell what networks give, out of training and in it, and how their gradients flow.

    Parameters
    ----------
    inputs : tuple of tensor
        The generator's.
    real : tuple of tensor
        Real samples, with their labels where the networks are conditional.
    """
    found: list[Tensor] = []
    with seeded(0):
        for training in (False, True):
            for module in (generator, discriminator):
                module.train(training)
                for part in module.modules():
                    if isinstance(part, NORMALISING):
                        part.eval()  # of so few samples the last bit would decide
            fakes = (generator(*inputs), *inputs[1:])
            found += [fakes[0], discriminator(*real), discriminator(*fakes)]
        logits = found[-1]
        for module in (generator, discriminator):
            found.append(_slopes(logits, [*module.parameters()]))
    return _pairs(found)


def of_losses(losses: Sequence[Loss]) -> list[float]:
    """Tell what losses make of fixed logits, and how steep they are there."""
    found: list[Tensor] = []
    with seeded(0):
        for loss in losses:
            for function, count in ((loss.generator, 1), (loss.discriminator, 2)):
                # neither symmetric nor alike: no term may cancel another
                logits = [
                    torch.linspace(low, 3.0, SAMPLES).reshape(-1, 1).requires_grad_(True)
                    for low in (-2.0, -1.0)[:count]
                ]
                value = function(*logits)
                found.append(torch.cat([value.detach().reshape(1), _slopes(value, logits)]))
    return _pairs(found)


def _slopes(value: Tensor, of: Sequence[Tensor]) -> Tensor:
    """Measure the gradient of a sum for each tensor: 0 for those that are not trained."""
    wanted = [part for part in of if part.requires_grad]
    if not (wanted and value.requires_grad):
        return torch.zeros(len(of))
    gradients = iter(
        torch.autograd.grad(
            value.sum(), wanted, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    )
    norms = [next(gradients).norm() if part.requires_grad else torch.zeros(()) for part in of]
    return torch.stack(norms)


def _pairs(found: Sequence[Tensor]) -> list[float]:
    """Give two numbers for each tensor: its sums by fixed weights; nothing cancels in both."""
    numbers: list[float] = []
    for part in found:
        values = np.nan_to_num(part.detach().double().flatten().numpy(), posinf=0.0, neginf=0.0)
        sums = [np.resize(weights, values.size) @ values for weights in _weights()]
        numbers += [float(total) / max(1, values.size) ** 0.5 for total in sums]
    return numbers


@functools.cache
def _weights() -> Array:
    """Draw weights: repeated where there are more numbers than the prime of them that these are."""
    return rng(0, "behaviour").standard_normal((2, 997))
