"""Final scores that need samples: the task that draws and compares them, and what it is given.

One task for each ensemble, on the worker of its first generator: it reads the others' weights, and
numbers come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gandask.core import Made, State, routine
from gandask.scores import features, final, mixture
from gandask.scores.features import CHUNK, Extractor
from gandask.training.learner import load_module
from gandask.training.settings import Noise, Training
from gandask.training.weights import average_of


@dataclass(frozen=True)
class Member:
    """A generator of an ensemble, as it is drawn from.

    Parameters
    ----------
    training : Training
        What its tasks are given.
    weight : float
        Its share.
    label : int, optional
        That of all its samples, if it makes those of one label.
    """

    training: Training
    weight: float
    label: int | None = None

    @property
    def by_label(self) -> bool:
        """Whether its samples are made by label."""
        return self.label is not None or self.training.network.conditional


def compare(
    *states: State,
    members: Sequence[Member],
    ensemble: str,
    round: int,
    wanted: Sequence[str],
    samples: int,
    of: tuple[int, ...],
) -> Made:
    """Draw samples of an ensemble, each generator's in its share, and compare them with real ones.

    Parameters
    ----------
    *states
        The weights of each generator.
    members : sequence of Member
        What each is.
    ensemble : str
        Its name: samples are drawn by it.
    wanted : sequence of str
        Names in `final.SCORES`.
    samples : int
        How many are drawn in all.
    of : tuple of int
        Labels whose real samples they are compared with; none for all.

    Returns
    -------
    states
        None.
    values
        The scores, by name.
    """
    training = members[0].training
    by_label = all(member.by_label for member in members)
    images = any(final.SCORES[name].of_samples for name in wanted)
    counts = mixture.apportion(np.array([member.weight for member in members]), samples)
    parts = []
    for index, (state, member, count) in enumerate(zip(states, members, counts, strict=True)):
        with member.training.settled() as device, torch.no_grad(), routine("score"):
            measure = _extractor(member.training)
            generator = load_module(member.training.build_generator, average_of(state), device)
            noise = Noise(member.training, device, round, ensemble, "compare", index)
            for start in range(0, int(count), CHUNK):
                given = noise.draw(min(CHUNK, int(count) - start))
                labels = _labels(member, given) if by_label else None
                parts.append(final.draw(measure, generator(*given), labels, with_images=images))
    with training.settled(), routine("score"):
        source = training.data, training.features, training.inception_weights
        return (), final.computed(wanted, final.real(*source, of), final.joined(parts))


def _extractor(training: Training) -> Extractor:
    """Give what samples are scored by, if it is what it was where the run was begun."""
    measure = features.extractor(training.data, training.features, training.inception_weights)
    training.refuse_others(extractor=measure.key)
    return measure


def _labels(member: Member, given: Sequence[Tensor]) -> Tensor:
    """Give the labels of samples that were made of some inputs."""
    if member.label is None:
        return given[1]
    return torch.full((len(given[0]),), member.label)
