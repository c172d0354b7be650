"""Weighted ensembles of generators: sample them, evolve their weights.

The weights of a neighbourhood's generators evolve by a (1+1)-ES (Al-Dujaili et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from gandask import display
from gandask.core import Array, SettingError, State, rng
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
            Images in [-1, 1], points, or sequences.

        Raises
        ------
        SettingError
            For a count or a seed that is no whole number, or below 0.
        """
        _refuse_broken(count, seed)
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


@dataclass(frozen=True, eq=False)
class Sampler:
    """What draws samples of labels, as often as a distribution of labels says.

    Parameters
    ----------
    ensembles : callable
        From a label to the ensemble that makes its samples, read when it is first needed.
    shares : mapping of int to float
        Share of each label in what is drawn; they add up to 1.
    """

    ensembles: Callable[[int], Mixture]
    shares: Mapping[int, float]

    @overload
    def sample(
        self, count: int, *, label: None = None, seed: int = 0, exact: bool = True
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def sample(self, count: int, *, label: int, seed: int = 0, exact: bool = True) -> Tensor: ...

    def sample(
        self, count: int, *, label: int | None = None, seed: int = 0, exact: bool = True
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Draw samples, the same each time for a seed.

        Parameters
        ----------
        count : int
            Number of samples.
        label : int, optional
            The one to draw samples of.
        seed : int
        exact : bool
            Give each label its exact share, rounded to whole samples, in random order; or else
            draw each sample's label independently.

        Returns
        -------
        (count, *shape) tensor
            Images in [-1, 1], points, or sequences.
        (count,) tensor
            The label of each: where none was asked for.

        Raises
        ------
        SettingError
            For a label that it has not, or a count or a seed that is no whole number, or below 0.
        """
        _refuse_broken(count, seed)
        if label is not None:
            if not isinstance(label, int | np.integer) or label not in self.shares:
                raise SettingError(f"label={label!r}: expected one of {spoken(self.shares)}")
            return self.ensembles(label).sample(count, seed, exact=exact)
        chance = rng(seed, "labels")
        shares = np.array([*self.shares.values()])
        counts = apportion(shares, count) if exact else chance.multinomial(count, shares)
        parts = {
            one: self.ensembles(one).sample(int(size), seed, exact=exact)
            for one, size in zip(self.shares, counts, strict=True)
            if size
        }
        # of no samples, too, the shape is a generator's
        most = [*self.shares][int(shares.argmax())]
        known = [*parts.values()] or [self.ensembles(most).sample(0, seed)]
        labels = np.repeat(np.array([*self.shares], np.int64), counts)
        order = chance.permutation(count)
        return torch.cat(known)[torch.from_numpy(order)], torch.from_numpy(labels[order])

    def __repr__(self) -> str:
        shares = ", ".join(f"{label}: {share:.3f}" for label, share in self.shares.items())
        return f"Sampler({shares})"


def distribution(labels: Any, counts: Mapping[int, float]) -> dict[int, float]:
    """Read how often labels are asked for.

    Parameters
    ----------
    labels : {"empirical", "uniform"} or mapping of int to float
        As the data have them, all alike, or the weight of each.
    counts : mapping of int to float
        How often the data have each.

    Returns
    -------
    dict
        Shares that add up to 1.

    Raises
    ------
    SettingError
        For another word, a label that there is not, or weights that are none.

    Examples
    --------
    >>> distribution("uniform", {3: 10, 7: 30}), distribution({7: 2.0}, {3: 10, 7: 30})
    ({3: 0.5, 7: 0.5}, {7: 1.0})
    """
    chosen: Mapping[int, float] = {}
    if isinstance(labels, Mapping):
        chosen = labels
        absent = [label for label in chosen if label not in counts]
        if absent:
            raise SettingError(f"labels: no label {absent[0]!r}; expected {spoken(counts)}")
    elif isinstance(labels, str) and labels in ("empirical", "uniform"):
        chosen = counts if labels == "empirical" else dict.fromkeys(counts, 1.0)
    try:
        weights = [float(weight) for weight in chosen.values()]
    except (TypeError, ValueError):
        weights = []
    # a sum of finite numbers, too, may be infinite
    if not (0 < sum(weights) < np.inf and min(weights) >= 0):
        raise SettingError(
            f"labels={labels!r}: expected 'empirical', 'uniform', or the weight of each label such "
            "as {3: 0.5, 7: 0.5}, none below 0 and one above"
        )
    shares = zip(chosen, (weight / sum(weights) for weight in weights), strict=True)
    return dict(sorted(shares))


def _refuse_broken(count: Any, seed: Any) -> None:
    """Refuse to draw so many samples, or by such a seed."""
    for key, value in (("count", count), ("seed", seed)):
        if not isinstance(value, int | np.integer) or value < 0:
            raise SettingError(f"{key}={value!r}: expected a whole number of at least 0")


def spoken(labels: Iterable[int], most: int = 20) -> str:
    """List labels, the first of many.

    Examples
    --------
    >>> spoken([0, 3, 7]), spoken(range(5), most=2)
    ('0, 3, 7', '0, 1, … (5 in all)')
    """
    every = [*map(str, labels)]
    more = f", … ({len(every)} in all)" if len(every) > most else ""
    return ", ".join(every[:most]) + more


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
