"""A small classifier of images: its logits are features, and its accuracy tells what samples teach.

It is trained on real samples, for features; or on generated ones and tested on real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gandask.core import Array, rng
from gandask.data import Data
from gandask.training import networks

EPOCHS = {True: 60, False: 3}  # for sets under and over SMALL samples
SMALL = 5000
MOST_HELD = 10_000  # samples to test on
TESTED = 500  # samples tested at once


def network(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Build a small convolutional classifier for images of any size, signals included."""
    halved = [min(2, side) for side in shape[1:]]  # but for what is one pixel wide
    return nn.Sequential(
        nn.Conv2d(shape[0], 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d((halved[0], halved[1])),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveMaxPool2d(4),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def train(data: Data) -> tuple[nn.Module, float]:
    """Train the classifier on most of a data set and test it on the rest.

    Returns
    -------
    Module
    float
        Accuracy on the held-out tenth (at most 10,000 samples), from 0 to 1.
    """
    test, rest = _parted(data)
    labels, epochs = torch.tensor(data.labels), EPOCHS[len(data) < SMALL]
    model = _trained(data.batch, labels, rest, epochs, data)
    return model, _accuracy(model, data, test)


def taught(images: Tensor, labels: Tensor, data: Data, of: tuple[int, ...] = ()) -> float:
    """Train the classifier on generated samples with labels, and test it on real ones.

    The classification accuracy score of Ravuri and Vinyals (2019), by the small classifier. The
    real samples are those that `train` tests on, so that its accuracy is what to compare with:
    of a classifier that real samples have taught. Whoever made the generated samples may have
    learnt from them.

    Parameters
    ----------
    images : (n, *shape) tensor
        In [-1, 1]; those that are not finite are left out.
    labels : (n,) int64 tensor
    data : Data
        The real samples.
    of : tuple of int
        Labels whose real samples it is tested on; none for all.

    Returns
    -------
    float
        Accuracy from 0 to 1; NaN if no image is finite, or nothing is there to test on.
    """
    finite = torch.isfinite(images.flatten(1)).all(1)
    images, labels = images[finite].cpu(), labels[finite.to(labels.device)].cpu()
    test, _ = _parted(data)
    test = test[np.isin(data.labels[test], of)] if of else test
    if not (len(images) and len(test)):
        return math.nan
    order = rng(0, "classifier", "taught").permutation(len(images))
    with torch.enable_grad():
        model = _trained(
            lambda indices: images[torch.from_numpy(indices)],
            labels,
            order,
            EPOCHS[len(images) < SMALL],
            data,
        )
    return _accuracy(model, data, test)


def _parted(data: Data) -> tuple[Array, Array]:
    """Give the indices of held-out samples, and of all others."""
    order = rng(0, "classifier").permutation(len(data))
    held = min(MOST_HELD, max(1, len(data) // 10))
    return order[:held], order[held:]


def _trained(
    batch: Callable[[Array], Tensor], labels: Tensor, train: Array, epochs: int, data: Data
) -> nn.Module:
    """Train a classifier of the data's classes on images that `batch` gives by their indices."""
    model = networks.build(lambda: network(data.shape, data.classes), seed=0)
    batch_size = min(64, len(train))
    steps = epochs * (len(train) // batch_size)
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=max(4, steps))
    shuffle = rng(0, "classifier", "batches")
    for step in range(steps):
        if step % (len(train) // batch_size) == 0:
            epoch = shuffle.permutation(train)
        start = step % (len(train) // batch_size) * batch_size
        indices = epoch[start : start + batch_size]
        loss = functional.cross_entropy(model(batch(indices)), labels[indices])
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    return model


def _accuracy(model: nn.Module, data: Data, test: Array) -> float:
    with torch.no_grad():
        chunks = np.array_split(test, max(1, len(test) // TESTED))
        right = sum(
            int((model(data.batch(part)).argmax(1) == torch.tensor(data.labels[part])).sum())
            for part in chunks
        )
    return right / len(test)
