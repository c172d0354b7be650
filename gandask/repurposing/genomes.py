"""What evolution works on: members with their shares, and how children come of parents.

A genome is a row of shares over all candidates, 0 for those that are no members. Its weights follow
from it: each member has the least weight, and the rest is given out by shares. So every genome is
an ensemble that is allowed, and nothing need be repaired.

That a child takes members of both parents follows the published algorithm (Toutouh et al. 2020);
how members and weights are drawn is not told by what of it is at hand, and is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gandask.core import Array

SPREAD = 0.5  # of the logarithms of shares that a mutation moves
MOVES = ("swap", "resize", "weigh")


@dataclass(frozen=True)
class Limit:
    """How many members an ensemble has.

    Parameters
    ----------
    members : int
        How many, or the most.
    exactly : bool
        Whether so many and no fewer.
    """

    members: int
    exactly: bool

    def __str__(self) -> str:
        return f"size {self.members}" if self.exactly else f"at most {self.members}"


@dataclass(frozen=True)
class Genomes:
    """The rules by which genomes are drawn, crossed and mutated.

    Parameters
    ----------
    candidates : int
    limit : Limit
    least_weight : float
    chance : Generator
        What everything is drawn from.
    """

    candidates: int
    limit: Limit
    least_weight: float
    chance: np.random.Generator

    def weights(self, genomes: Array) -> Array:
        """Give the weights of ensembles, which add up to 1."""
        members = genomes > 0
        free = 1 - self.least_weight * members.sum(1, keepdims=True)
        shares = genomes / genomes.sum(1, keepdims=True)
        return np.asarray(np.where(members, self.least_weight + free * shares, 0.0))

    def drawn(self, count: int) -> Array:
        """Draw genomes: members at random, and shares evenly over all that there can be."""
        sizes = self._sizes(count)
        members = _first(self.chance.random((count, self.candidates)), sizes)
        return _shared(np.where(members, self.chance.standard_exponential(members.shape), 0.0))

    def crossed(self, mothers: Array, fathers: Array) -> Array:
        """Give a child of each pair: members of both, then of either, with shares in between."""
        both = (mothers > 0).astype(float) + (fathers > 0)
        first, second = (mothers > 0).sum(1), (fathers > 0).sum(1)
        sizes = np.where(self.chance.random(len(both)) < 0.5, first, second)
        # those of neither come last, and sizes are too small to reach them
        members = _first(2 - both + self.chance.random(both.shape), sizes)
        part = self.chance.random((len(both), 1))
        return _shared(np.where(members, part * mothers + (1 - part) * fathers, 0.0))

    def mutated(self, genomes: Array) -> Array:
        """Change each: another member for one, a member more or fewer, or other shares."""
        moves = MOVES if not self.limit.exactly else ("swap", "weigh")
        chosen = self.chance.integers(len(moves), size=len(genomes))
        made = genomes.copy()
        for number, move in enumerate(moves):
            rows = chosen == number
            made[rows] = getattr(self, f"_{move}")(genomes[rows])
        return _shared(made)

    def _sizes(self, count: int) -> Array:
        if self.limit.exactly:
            return np.full(count, self.limit.members)
        return self.chance.integers(1, self.limit.members, size=count, endpoint=True)

    def _swap(self, genomes: Array) -> Array:
        """Put a candidate that is no member in the place of one that is; all are left as is."""
        made = genomes.copy()
        rows = np.arange(len(genomes))
        leaving, coming = self._one(genomes > 0), self._one(genomes == 0)
        full = np.asarray((genomes > 0).all(1))
        made[rows, leaving] = 0.0
        made[rows, coming] = genomes[rows, leaving]
        return np.where(full[:, None], self._weigh(genomes), made)

    def _resize(self, genomes: Array) -> Array:
        """Add a member of a middling share, or leave one out."""
        sizes: Array = (genomes > 0).sum(1)
        grows = self.chance.random(len(genomes)) < 0.5
        grows = np.where(sizes == 1, True, grows) & (sizes < self.limit.members)
        shrinks = ~grows & (sizes > 1)
        made = genomes.copy()
        rows = np.arange(len(genomes))
        leaving, coming = self._one(genomes > 0), self._one(genomes == 0)
        made[rows[shrinks], leaving[shrinks]] = 0.0
        made[rows[grows], coming[grows]] = 1 / sizes[grows]
        return made

    def _weigh(self, genomes: Array) -> Array:
        """Move shares, by factors around 1."""
        return np.asarray(genomes * np.exp(self.chance.normal(0, SPREAD, genomes.shape)))

    def _one(self, among: Array) -> Array:
        """Draw one of those that are marked in each row; any where none is."""
        return np.asarray((among * (self.chance.random(among.shape) + 1)).argmax(1))


def _first(order: Array, sizes: Array) -> Array:
    """Mark in each row the so many that come first."""
    ranks = order.argsort(1, kind="stable").argsort(1, kind="stable")
    return np.asarray(ranks < sizes[:, None])


def _shared(genomes: Array) -> Array:
    return np.asarray(genomes / genomes.sum(1, keepdims=True))
