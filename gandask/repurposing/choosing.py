"""Choose ensembles of generators that finished runs have trained, for another objective."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gandask import config, results
from gandask.core import Array, Record, SettingError, rng
from gandask.methods.ensemble.method import (
    OBJECTIVES,
    SOURCES,
    Ensemble,
    EnsembleView,
    told,
)
from gandask.repurposing import exact, front
from gandask.repurposing.candidates import (
    Candidate,
    Scale,
    Source,
    candidates,
    pools,
    shared_facts,
    sources,
)
from gandask.repurposing.found import Ensembles
from gandask.repurposing.genomes import Limit
from gandask.repurposing.pool import Pool
from gandask.repurposing.searches import SINGLE
from gandask.runs import Run, open_run

Paths = Iterable[str | os.PathLike[str] | Run]


def ensembles(
    runs: Paths,
    *,
    objective: str | Sequence[str] = "tvd",
    size: int | Sequence[int] | None = None,
    at_most: int | None = None,
    search: str = "evolve",
    seed: int = 1,
    samples: int = 10_000,
    least_weight: float = 0.01,
) -> Ensembles:
    """Choose weighted ensembles among all generators of finished runs, for another objective.

    The runs may be of any methods, with the same data and features. All generators in their last
    checkpoints are candidates. Each is sampled once; ensembles are chosen by one half of the
    samples, generated and real, and judged by the other.

    Parameters
    ----------
    runs : iterable of path-like or Run
        Stores.
    objective : {"tvd", "fid"} or both
        What to improve. Two give a Pareto front.
    size : int or sequence of int, optional
        Members of an ensemble, exactly; of several sizes, an ensemble each.
    at_most : int, optional
        The most members of one more ensemble.
    search : {"evolve", "greedy", "random", "exact"}
        ``evolve`` is the evolutionary algorithm of Toutouh et al. (2020), and NSGA-II for two
        objectives; ``greedy`` selects with replacement (Caruana et al. 2004); ``random`` tries as
        many as evolution does; ``exact`` finds the optimum, by TVD alone.
    seed : int
        Of the search.
    samples : int
        Of each generator to choose by, and as many others to judge by.
    least_weight : float
        That a member has: with none, all sizes would be alike.

    Returns
    -------
    Ensembles

    Raises
    ------
    SettingError
        For settings that cannot work, and for runs of different data or features.
    StoreError
        If one is no run, or has no checkpoint yet.

    Examples
    --------
    >>> import gandask as gd, tempfile, pathlib
    >>> store = pathlib.Path(tempfile.mkdtemp()) / "ring"
    >>> ds = gd.run(gd.Grid(data="ring8", network="small_mlp", shape=(1, 2), rounds=1,
    ...     batch_size=500, score_samples=100, final_samples=100), store=store, progress=False)
    >>> found = gd.ensembles([store], objective="tvd", at_most=2, search="exact", samples=200)
    >>> found.best("tvd").sample(8, seed=0).shape
    torch.Size([8, 2])
    """
    asked = _asked(
        objective=objective, size=size, at_most=at_most, search=search, seed=seed,
        samples=samples, least_weight=least_weight,
    )  # fmt: skip
    if isinstance(runs, str | os.PathLike | Run) or not isinstance(runs, Iterable):
        raise SettingError(f"runs={runs!r}: expected a list of runs, such as ['runs/a', 'runs/b']")
    opened = [one if isinstance(one, Run) else open_run(one) for one in runs]
    known = sources(opened)
    every = candidates(known)
    _refuse_larger(asked, len(every))
    scale = Scale(known)
    sound, (choosing, judging) = pools(every, samples, scale)
    _refuse_larger(asked, len(sound))
    chosen = [one for limit in limits(asked) for one in _searched(asked, limit, choosing)]
    return _made(asked, known, sound, chosen, choosing, judging)


def _asked(**given: Any) -> Ensemble:
    """Check the settings, and what they come to together.

    Raises
    ------
    SettingError
    """
    if isinstance(given["objective"], str):
        given["objective"] = (given["objective"],)
    if given["size"] is None:
        given["size"] = ()
    elif isinstance(given["size"], int | np.integer):
        given["size"] = (given["size"],)
    asked = Ensemble(**given)
    if not asked.size and asked.at_most is None:
        raise SettingError("expected size=K, for exactly K members, or at_most=K; got neither")
    others = ", ".join(repr(name) for name in SINGLE if name != "exact")
    if asked.search == "exact" and asked.objective == ("fid",):
        raise SettingError(
            "search='exact', objective='fid': the optimum is known by TVD alone; choose "
            f"objective='tvd', or search={others.replace(', ', ' or ')}"
        )
    if len(asked.objective) > 1:
        if asked.search != "evolve":
            raise SettingError(
                f"search={asked.search!r}, objective={asked.objective!r}: two objectives are "
                "searched by 'evolve' alone (NSGA-II)"
            )
        front.refuse_missing()
    return asked


def limits(asked: Ensemble) -> list[Limit]:
    """List the limits that ensembles are asked for of: the sizes, then the most."""
    made = [Limit(size, True) for size in asked.size]
    return made if asked.at_most is None else [*made, Limit(asked.at_most, False)]


def _refuse_larger(asked: Ensemble, count: int) -> None:
    """Refuse ensembles of more members than there are, or than weights allow."""
    for limit in limits(asked):
        key = "size" if limit.exactly else "at_most"
        if limit.members > count:
            raise SettingError(
                f"{key}={limit.members}: there are {count} generators in these runs to choose "
                "from; ask for fewer members, or give more runs"
            )
        if limit.members * asked.least_weight > 1:
            raise SettingError(
                f"{key}={limit.members}: so many members of least_weight={asked.least_weight} "
                "weigh more than 1; ask for fewer members, or a smaller least weight"
            )


@dataclass(frozen=True)
class Chosen:
    """One ensemble, and what it took."""

    label: str
    limit: Limit
    weights: Array
    optimum: float
    evaluations: int


def _searched(asked: Ensemble, limit: Limit, pool: Pool) -> list[Chosen]:
    """Find the ensemble of a limit, or those of a front."""
    chance = rng(asked.seed, "ensembles", str(limit), asked.search)
    before = pool.tried
    if len(asked.objective) > 1:
        rows = front.front(pool, asked.objective, limit, asked.least_weight, chance)
    else:
        (objective,) = asked.objective
        search = SINGLE[asked.search]
        rows = search(pool, objective, limit, asked.least_weight, chance)[None]
    tried = pool.tried - before
    least = _least(asked, limit, pool)
    labels = [str(limit)] if len(rows) == 1 else [f"{limit}, {n}" for n in range(1, len(rows) + 1)]
    return [
        Chosen(label, limit, weights, least, tried)
        for label, weights in zip(labels, rows, strict=True)
    ]


def _least(asked: Ensemble, limit: Limit, pool: Pool) -> float:
    """Give the least TVD that there is, where that is an objective and can be proven."""
    if "tvd" not in asked.objective:
        return np.nan
    try:
        return exact.optimum(pool, limit, asked.least_weight).value
    except SettingError:
        if asked.search == "exact":
            raise
        return np.nan


def _made(
    asked: Ensemble,
    known: Sequence[Source],
    every: Sequence[Candidate],
    chosen: Sequence[Chosen],
    choosing: Pool,
    judging: Pool,
) -> Ensembles:
    """Put together what was found, and judge it."""
    found = {
        "runs": tuple(str(one.path) for one in known),
        "candidates": tuple(one.label for one in every),
        "found": tuple(one.label for one in chosen),
    }
    mixtures = {
        f"ensemble/{number}": {
            candidate.name: float(weight)
            for candidate, weight in zip(every, one.weights, strict=True)
            if weight > 0
        }
        for number, one in enumerate(chosen)
    }
    weights = np.stack([one.weights for one in chosen])
    best = choosing.scores(asked.objective[0], weights).argmin()
    records = _records(chosen, weights, choosing, judging)
    view = EnsembleView(mixtures, f"ensemble/{best}", records)
    states = {one.name: one.state for one in every if one.name in view.keeps}
    return Ensembles(config.replace(asked, found), view, _facts(asked, known), states)


def _records(
    chosen: Sequence[Chosen], weights: Array, choosing: Pool, judging: Pool
) -> list[Record]:
    """Give what the Dataset says: of each ensemble, and of each candidate alone."""
    columns = {name: choosing.scores(name, weights) for name in OBJECTIVES}
    columns |= {f"final_{name}": judging.scores(name, weights) for name in OBJECTIVES}
    # what the solver leaves open, a millionth at most, is no gap
    columns["gap"] = np.maximum(0.0, columns["tvd"] - [one.optimum for one in chosen])
    records = []
    for number, one in enumerate(chosen):
        values = {name: column[number] for name, column in columns.items()}
        values |= {"weight": one.weights, "optimum": one.optimum}
        values |= {"members": int((one.weights > 0).sum()), "limit": one.limit.members}
        values |= {"evaluations": one.evaluations}
        records.append(Record(f"ensemble/{number}", 1, values))
    alone = np.eye(len(judging))
    of_members = {f"member_{name}": judging.scores(name, alone) for name in OBJECTIVES}
    return [*records, Record("", 1, of_members)]


def _facts(asked: Ensemble, known: Sequence[Source]) -> dict[str, Any]:
    """Give what a store says of ensembles: the data, and the runs that members are from."""
    facts = {k: v for k, v in shared_facts(known).items() if k not in results.versions()}
    written = told([(one.method, one.facts) for one in known])
    # who looks for the best is not to be led by the half that judges
    by = {"score": asked.objective[0], "best_by": asked.objective[0]}
    return facts | by | {SOURCES: written}
