"""Searches for one objective: from measured candidates to the weights of an ensemble.

``evolve`` is the evolutionary algorithm of Toutouh et al. (2020), REO-GEN where the size is given
and NREO-GEN where it is bounded, with its population, tournament and rates. ``greedy`` selects with
replacement (Caruana et al. 2004, "Ensemble Selection from Libraries of Models"). ``random`` tries
as many ensembles as evolution does. ``exact`` is `gandask.repurposing.exact`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gandask.core import Array
from gandask.repurposing import exact
from gandask.repurposing.genomes import Genomes, Limit
from gandask.repurposing.pool import Pool

POPULATION, TOURNAMENT, CROSSOVER, MUTATION = 50, 3, 0.8, 0.2
EVALUATIONS = 10_000
"""Ensembles that evolution and random search try."""

Search = Callable[[Pool, str, Limit, float, np.random.Generator], Array]
"""From candidates, an objective, a limit, the least weight and draws to weights."""


def evolve(
    pool: Pool, objective: str, limit: Limit, least_weight: float, chance: np.random.Generator
) -> Array:
    """Evolve an ensemble: tournaments, crossover, mutation, and the best one stays."""
    rules = Genomes(len(pool), limit, least_weight, chance)
    genomes = rules.drawn(POPULATION)
    scores = pool.scores(objective, rules.weights(genomes))
    for _ in range(EVALUATIONS // POPULATION - 1):
        mothers, fathers = (genomes[_winners(scores, chance)] for _ in range(2))
        crossed = chance.random(POPULATION) < CROSSOVER
        children = np.where(crossed[:, None], rules.crossed(mothers, fathers), mothers)
        mutated = chance.random(POPULATION) < MUTATION
        children = np.where(mutated[:, None], rules.mutated(children), children)
        found = pool.scores(objective, rules.weights(children))
        best, worst = scores.argmin(), found.argmax()
        if scores[best] < found.min():
            children[worst], found[worst] = genomes[best], scores[best]
        genomes, scores = children, found
    return np.asarray(rules.weights(genomes[[scores.argmin()]])[0])


def _winners(scores: Array, chance: np.random.Generator) -> Array:
    """Give who wins each of as many tournaments as there are individuals."""
    drawn = chance.integers(len(scores), size=(len(scores), TOURNAMENT))
    return np.asarray(drawn[np.arange(len(scores)), scores[drawn].argmin(1)])


def greedy(
    pool: Pool, objective: str, limit: Limit, least_weight: float, chance: np.random.Generator
) -> Array:
    """Add, again and again, the candidate that helps most; its weight is how often it was added.

    The best of all ensembles on the way is given. Nothing is drawn.
    """
    steps = int(1 / least_weight + 1e-9)  # as many as let each addition be the least weight
    counts = np.zeros(len(pool))
    best, least = counts, np.inf
    for step in range(steps):
        members = counts > 0
        lacking = limit.members - int(members.sum())
        allowed = np.flatnonzero(members | (lacking > 0))
        if limit.exactly and steps - step <= lacking:
            allowed = np.flatnonzero(~members)
        tried = np.repeat(counts[None], len(allowed), 0)
        tried[np.arange(len(allowed)), allowed] += 1
        scores = pool.scores(objective, tried / (step + 1))
        counts = tried[scores.argmin()]
        enough = (counts > 0).sum() == limit.members or not limit.exactly
        if enough and scores.min() < least:
            best, least = counts, scores.min()
    return np.asarray(best / best.sum())


def random(
    pool: Pool, objective: str, limit: Limit, least_weight: float, chance: np.random.Generator
) -> Array:
    """Draw ensembles, and give the best of them."""
    rules = Genomes(len(pool), limit, least_weight, chance)
    weights = rules.weights(rules.drawn(EVALUATIONS))
    return np.asarray(weights[pool.scores(objective, weights).argmin()])


def programme(
    pool: Pool, objective: str, limit: Limit, least_weight: float, chance: np.random.Generator
) -> Array:
    """Give the best ensemble by TVD that there is; nothing is drawn."""
    return exact.optimum(pool, limit, least_weight).weights


SINGLE: dict[str, Search] = {
    "evolve": evolve,
    "greedy": greedy,
    "random": random,
    "exact": programme,
}
"""Searches by name."""
