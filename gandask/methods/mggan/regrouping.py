"""When and how the groups of MGGAN are regrouped, and at what learning rate they train.

The strategy of Wu (2022, sections 3.2.2 to 3.2.4), as pure functions: losses and counters in,
a learning rate, an interval or a new partner out. Iterations count from 1, and a regrouping "at"
an iteration happens right after it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gandask.core import Array

ADAPTIVE = "adaptive"


@dataclass(frozen=True)
class Adjustment:
    """Algorithm 1: raise the learning rate around a regrouping, then set it back.

    Parameters
    ----------
    initial : float
        L₀, the learning rate at the beginning.
    region : int
        α, in iterations to either side of a regrouping.
    ratio : float
        δ, by which the learning rate grows at a time.
    limit : float
        L̄, which it never exceeds.
    threshold : float
        γ̄: where the loss varies by more than this, it is left alone.
    """

    initial: float
    region: int
    ratio: float
    limit: float
    threshold: float

    @property
    def constants(self) -> dict[str, float]:
        """The quantities of Algorithm 1 that do not change, by the names of the result."""
        return {
            "initial_learning_rate": self.initial,
            "learning_rate_limit": self.limit,
            "adjustment_region": self.region,
            "adjustment_ratio": self.ratio,
            "variation_threshold": self.threshold,
        }

    def regrouping(self, iteration: int, regroupings: Sequence[int]) -> int | None:
        """Give the regrouping that an iteration looks to (iᵀ): the next, or the one just past.

        It stays the one just past until the learning rate was set back, at iᵀ + α + 1.
        """
        ahead = [at for at in regroupings if iteration <= at + self.region + 1]
        return min(ahead, default=None)

    def rate(self, rate: float, iteration: int, regrouping: int | None, variation: float) -> float:
        """Give the learning rate of an iteration from that of the one before (L).

        Examples
        --------
        >>> adjustment = Adjustment(0.1, region=2, ratio=0.5, limit=0.3, threshold=0.2)
        >>> rates = [0.1]
        >>> for iteration in range(7, 15):
        ...     rates.append(adjustment.rate(rates[-1], iteration, 10, variation=0.1))
        >>> [round(rate, 3) for rate in rates[1:]]
        [0.1, 0.15, 0.225, 0.3, 0.3, 0.3, 0.1, 0.1]
        """
        if regrouping is None:
            return rate
        if abs(iteration - regrouping) <= self.region and variation <= self.threshold:
            return min(rate * (1 + self.ratio), self.limit)
        return self.initial if iteration == regrouping + self.region + 1 else rate


def variation(before: float, loss: float) -> float:
    """Compute the variation ratio of the loss, VRL (Eq. 3.1): ``|Lₙ₋₁ − Lₙ| / Lₙ``.

    Divided by the absolute value, since a Wasserstein loss may be negative. Infinite where the
    loss is 0 and was not, or is the first.

    Examples
    --------
    >>> variation(1.0, 2.0), variation(-1.0, -2.0), variation(0.0, 0.0), variation(1.0, 0.0)
    (0.5, 0.5, 0.0, inf)
    """
    if math.isnan(before):
        return math.inf
    change = abs(before - loss)
    return change / abs(loss) if loss else (math.inf if change else 0.0)


def settled(losses: Array, window: int, least_fall: float) -> bool:
    """Tell whether a loss that was falling clearly falls no more: the end of period A.

    The loss is averaged over windows of `window` iterations. It falls clearly from one to the next
    if it does so by the share `least_fall`. Before its first clear fall it may oscillate (Wu 2022,
    Fig. 3.3), so that this does not count.

    Parameters
    ----------
    losses : (iterations,) array
        Since the beginning; what does not fill a window is left out.

    Examples
    --------
    >>> [settled(np.array(losses), 2, 0.1) for losses in ([4, 4, 2, 2], [4, 4, 2, 2, 2, 2], [2, 2])]
    [False, True, False]
    """
    means = losses[: len(losses) // window * window].reshape(-1, window).mean(1)
    change, clear = -np.diff(means), least_fall * np.abs(means[:-1])
    # of a window that is not known it cannot be told that the loss falls no more
    return bool((change > clear).any() and change[-1] <= clear[-1])


def grown(length: int, growth: float, limit: int, regroupings: int) -> int:
    """Give the regrouping interval after so many regroupings: ``min(T₀ ξⁿ, T̄)``, in iterations.

    Examples
    --------
    >>> [grown(100, 1.5, 300, n) for n in range(4)]
    [100, 150, 225, 300]
    """
    # asked in logarithms first: late in a long run the product itself is beyond any float
    if regroupings * math.log(growth) > math.log(limit / length):
        return limit
    return min(limit, round(length * growth**regroupings))


def derangement(size: int, chance: np.random.Generator) -> Array:
    """Draw a permutation that leaves nothing in its place, each with the same probability."""
    while True:
        drawn = chance.permutation(size)
        if not (drawn == np.arange(size)).any():
            return drawn


def cycle(size: int) -> Array:
    """Take everything from the next place.

    Examples
    --------
    >>> cycle(3)
    array([1, 2, 0])
    """
    return np.roll(np.arange(size), -1)


def by_fitness(losses: Array) -> Array:
    """Let each group take the discriminator of the next fitter one, and the fittest the last's.

    Parameters
    ----------
    losses : (groups,) array
        Mean loss of each group's generator since the last regrouping: lower is fitter.

    Examples
    --------
    >>> by_fitness(np.array([0.5, 0.1, 0.9]))
    array([1, 2, 0])
    """
    ranked = np.argsort(losses, kind="stable")
    taken = np.empty(len(losses), int)
    taken[ranked] = np.roll(ranked, 1)
    return taken


POLICIES: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "derangement": lambda losses, chance: derangement(len(losses), chance),
    "cyclic": lambda losses, chance: cycle(len(losses)),
    "fitness": lambda losses, chance: by_fitness(losses),
    "none": lambda losses, chance: np.arange(len(losses)),
}
"""Which group's discriminator each group takes over, from mean losses and chance."""
