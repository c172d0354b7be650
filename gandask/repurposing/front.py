"""Two objectives: ensembles of which none is better in both, by NSGA-II (Deb et al. 2002)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gandask.core import Array, SettingError
from gandask.repurposing.genomes import Genomes, Limit
from gandask.repurposing.pool import Pool
from gandask.repurposing.searches import CROSSOVER, EVALUATIONS, MUTATION, POPULATION


def refuse_missing() -> None:
    """Refuse two objectives where pymoo is not installed.

    Raises
    ------
    SettingError
    """
    try:
        import pymoo  # noqa: F401
    except ImportError as error:
        raise SettingError(
            "two objectives need pymoo, which holds NSGA-II: pip install 'gandask[ensembles]'; or "
            "choose one objective"
        ) from error


def front(
    pool: Pool,
    objectives: Sequence[str],
    limit: Limit,
    least_weight: float,
    chance: np.random.Generator,
) -> Array:
    """Evolve a Pareto front, with the genomes of the search for one objective.

    Returns
    -------
    (ensembles, candidates) array
        Weights, from the best by the first objective to the best by the last; each once.
    """
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.duplicate import NoDuplicateElimination
    from pymoo.optimize import minimize

    rules = Genomes(len(pool), limit, least_weight, chance)
    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=rules.drawn(POPULATION),
        crossover=_crossover(rules),
        mutation=_mutation(rules),
        eliminate_duplicates=NoDuplicateElimination(),
    )
    problem = _problem(pool, objectives, rules)
    generations = EVALUATIONS // POPULATION
    # what pymoo itself draws, in its tournaments, follows from the same draws
    seed = int(chance.integers(1 << 31))
    found = minimize(problem, algorithm, ("n_gen", generations), seed=seed, verbose=False)
    scores, first = np.unique(np.atleast_2d(found.F), axis=0, return_index=True)
    del scores  # in the order of the first objective, and then of the next
    return rules.weights(np.atleast_2d(found.X)[first])


def _problem(pool: Pool, objectives: Sequence[str], rules: Genomes) -> Any:
    from pymoo.core.problem import Problem

    class Scores(Problem):  # type: ignore[misc]
        def _evaluate(self, x: Array, out: dict[str, Any], *args: Any, **more: Any) -> None:
            weights = rules.weights(x)
            out["F"] = np.stack([pool.scores(name, weights) for name in objectives], 1)

    return Scores(n_var=len(pool), n_obj=len(objectives), xl=0.0, xu=1.0)


def _crossover(rules: Genomes) -> Any:
    from pymoo.core.crossover import Crossover

    class Crossed(Crossover):  # type: ignore[misc]
        def _do(self, problem: Any, x: Array, *args: Any, **more: Any) -> Array:
            mothers, fathers = x
            return np.stack([rules.crossed(mothers, fathers) for _ in range(2)])

    return Crossed(2, 2, prob=CROSSOVER)


def _mutation(rules: Genomes) -> Any:
    from pymoo.core.mutation import Mutation

    class Mutated(Mutation):  # type: ignore[misc]
        def _do(self, problem: Any, x: Array, *args: Any, **more: Any) -> Array:
            return rules.mutated(x)

    return Mutated(prob=MUTATION, prob_var=None)
