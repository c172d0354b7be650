"""Weighted ensembles of generators: sample them, evolve their weights.

The weights of a neighbourhood's generators evolve by a (1+1)-ES (Al-Dujaili et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from gandask import display
from gandask.core import Array, State, rng
from gandask.scores import metrics
from gandask.scores.metrics import METRICS, Reference, Statistics

Generate = Callable[[str, State, int, int], Array]
"""From the name of a generator's state, the state, a number and a seed to so many samples."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """An ensemble of generators that draws each sample from one of them.

    Parameters
    ----------
    generate : callable
        What makes samples of a generator: the method's own.
    states : mapping of str to State
        Weights of each generator, by name.
    weights : mapping of str to float
        Share of each generator; they add up to 1.
    """

    generate: Generate
    states: Mapping[str, State]
    weights: Mapping[str, float]

    def sample(self, count: int, seed: int = 0, *, exact: bool = True) -> Tensor:
        """Draw samples, the same each time for a seed.

        Parameters
        ----------
        count : int
            Number of samples.
        exact : bool
            Give each generator its exact share, rounded to whole samples, in random order; or
            else draw each sample's generator independently.

        Returns
        -------
        (count, *shape) tensor
            Images in [-1, 1], or points.
        """
        chance = rng(seed, "mixture")
        shares = np.array(list(self.weights.values()))
        shares = shares / shares.sum()
        counts = apportion(shares, count) if exact else chance.multinomial(count, shares)
        parts = [
            np.asarray(self.generate(name, self.states[name], int(size), seed))
            for name, size in zip(self.weights, counts, strict=True)
        ]
        return torch.from_numpy(np.concatenate(parts)[chance.permutation(count)])

    def __repr__(self) -> str:
        shares = ", ".join(f"{name}: {w:.3f}" for name, w in self.weights.items())
        return f"Mixture({shares})"

    def _repr_html_(self) -> str:
        shares = {name: f"{weight:.1%}" for name, weight in self.weights.items()}
        return str(Markup("<b>Mixture</b>") + display.table(shares))


def apportion(weights: Array, count: int) -> Array:
    """Split `count` in proportion to `weights`, by largest remainder.

    Examples
    --------
    >>> apportion(np.array([0.5, 0.3, 0.2]), 7)
    array([4, 2, 1])
    """
    shares = weights / weights.sum() * count
    counts = np.floor(shares).astype(int)
    rest = count - counts.sum()
    counts[np.argsort(counts - shares, kind="stable")[:rest]] += 1
    return np.asarray(counts)


def mutate(weights: Array, sigma: float, chance: np.random.Generator) -> Array:
    """Add N(0, sigma) to each weight, clip at 0 and normalise; all zero leaves them as they are."""
    changed = (weights + chance.normal(0, sigma, len(weights))).clip(0)
    return np.asarray(changed / changed.sum()) if changed.sum() > 0 else weights


def evolve(
    weights: Array,
    statistics: Sequence[Statistics],
    real: Reference,
    score: str,
    sigma: float,
    generations: int,
    chance: np.random.Generator,
) -> tuple[Array, Statistics]:
    """Improve mixture weights by a (1+1)-ES, and give the statistics of the best mixture.

    The score of a mixture follows from its members' statistics, so no samples are drawn.
    """
    metric = METRICS[score]
    merged = metrics.merge(statistics, list(weights))
    value = metric.compute(real, merged)
    for _ in range(generations if len(weights) > 1 else 0):
        candidate = mutate(weights, sigma, chance)
        candidate_merged = metrics.merge(statistics, list(candidate))
        candidate_value = metric.compute(real, candidate_merged)
        if metric.better(candidate_value, value):
            weights, merged, value = candidate, candidate_merged, candidate_value
    return weights, merged
