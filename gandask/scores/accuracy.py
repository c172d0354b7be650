"""How well discriminators tell classes of held-out samples, alone and together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array
from gandask.training.settings import Training
from gandask.training.supervision import telling

ACCURACY = "accuracy"
"""The score of discriminators together, as a setting and a result name it."""
TESTED = 500  # samples judged at once


def held_out(training: Training, most: int, device: torch.device) -> tuple[Tensor, Array]:
    """Give held-out samples and their classes: the same ones each time, at most so many."""
    data, indices = training.held_out
    training.refuse_others(held_out_digest=data.fingerprint)
    chosen = indices[:most]
    return data.batch(chosen, device), data.labels[chosen]


def probabilities(discriminators: Sequence[nn.Module], samples: Tensor) -> Array:
    """Compute the probability of each class, (discriminators, samples, classes)."""
    found = []
    with torch.no_grad():
        for judge in map(telling, discriminators):
            logits = [judge.eval().classify(part) for part in torch.split(samples, TESTED)]
            found.append(torch.cat(logits).double().softmax(1).cpu().numpy())
    return np.stack(found)


def accuracy(found: Array, classes: Array) -> float:
    """Give the share of samples whose most probable class is theirs.

    Parameters
    ----------
    found : (samples, classes) array
        Probabilities, or sums of them.
    classes : (samples,) array

    Examples
    --------
    >>> accuracy(np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([1, 1]))
    0.5
    """
    return float((found.argmax(1) == classes).mean())
