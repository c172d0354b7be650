"""Semi-supervised discriminators: of K classes, which few labelled samples teach.

Salimans et al. (2016), section 5: of K logits l(x), ``D(x) = Z(x) / (Z(x) + 1)`` with
``Z(x) = Σ exp l(x)``, so that the logit of D is ``logsumexp l(x)``. The discriminator's loss is
the one that it would be on this logit, plus the cross-entropy of the classes of labelled samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from gandask import data as data_sets
from gandask.core import Array, SettingError, rng, torch_seed
from gandask.training.networks import Builder, Network
from gandask.training.pyramids import Shape
from gandask.training.settings import Training


class ClassifyingDiscriminator(nn.Module):
    """Judge samples by the logits of their classes.

    The parameters are those of `Network.classifier`, and `body`, that builder.

    Examples
    --------
    >>> def body(shape, classes, activation):
    ...     return nn.Linear(shape[0], classes)
    >>> judge = ClassifyingDiscriminator((2,), 3, body=body)
    >>> judge(torch.zeros(5, 2)).shape, judge.classify(torch.zeros(5, 2)).shape
    (torch.Size([5, 1]), torch.Size([5, 3]))
    """

    def __init__(
        self, shape: Shape, classes: int, activation: str | None = None, *, body: Builder
    ) -> None:
        super().__init__()
        self.body = body(shape, classes, activation)

    def classify(self, samples: Tensor) -> Tensor:
        """Return logits of the classes, (n, classes)."""
        logits: Tensor = self.body(samples)
        return logits

    def forward(self, samples: Tensor) -> Tensor:
        """Return the logit of a sample to be real, (n, 1)."""
        return self.classify(samples).logsumexp(1, keepdim=True)


def telling(module: nn.Module) -> ClassifyingDiscriminator:
    """Give a discriminator as one that tells classes, which it is where samples are labelled."""
    if not isinstance(module, ClassifyingDiscriminator):
        raise TypeError(f"{type(module).__name__} is no ClassifyingDiscriminator")
    return module


def semi_supervised(name: str, networks: Mapping[str, Network]) -> Network:
    """Give a network a discriminator that tells classes.

    Raises
    ------
    SettingError
        If the network has none.
    """
    body = networks[name].classifier
    if body is None:
        able = ", ".join(key for key, network in networks.items() if network.classifier)
        raise SettingError(
            f"network={name!r}: has no discriminator that tells classes, which labelled samples "
            f"are for; these have: {able}"
        )
    return replace(networks[name], discriminator=partial(ClassifyingDiscriminator, body=body))


def labelled_samples(training: Training) -> Array:
    """Give the indices of the labelled samples: the same ones for all slots, none held out."""
    chance = rng(training.seed, "labelled")
    labels, known = training.data.labels, training.unheld
    return data_sets.of_each_class(labels, known, training.labelled, chance)


def check_labelled(training: Training) -> None:
    """Refuse labelled samples that the data do not have.

    Raises
    ------
    SettingError
    """
    told, name = f"labelled={training.labelled}", training.source["name"]
    classes, most = training.data.classes, len(training.unheld)
    if classes < 2:
        raise SettingError(
            f"{told}: {name} has no labels to learn; choose labelled data, or labelled=0"
        )
    if not classes <= training.labelled <= most:
        raise SettingError(
            f"{told}: expected one sample of each class or more of {name}, from {classes} to "
            f"{most}, which is all that is not held out"
        )


class Labelled:
    """A stream of batches of the labelled samples."""

    def __init__(self, training: Training, device: torch.device, *key: int | str) -> None:
        chosen = labelled_samples(training)
        self.training, self.count = training, min(training.batch_size, len(chosen))
        self.samples = training.data.batch(chosen, device)
        self.labels = torch.from_numpy(training.data.labels[chosen]).to(device)
        seed = torch_seed(training.seed, *key, "labelled")
        self.generator = torch.Generator(device).manual_seed(seed)

    def loss(self, discriminator: nn.Module, changes: torch.Generator) -> Tensor:
        """Compute the cross-entropy of a batch's classes.

        Parameters
        ----------
        discriminator : ClassifyingDiscriminator
        changes : torch.Generator
            Where changes are drawn from that it sees samples through.
        """
        order = torch.randperm(
            len(self.labels), generator=self.generator, device=self.labels.device
        )
        drawn = order[: self.count]
        judge = self.training.seen(telling(discriminator).classify, changes)
        return functional.cross_entropy(judge(self.samples[drawn]), self.labels[drawn])
