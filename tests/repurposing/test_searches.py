"""Searches over measured candidates: what is allowed, what is best, and how fast it is told."""

import builtins
import itertools
import time

import numpy as np
import pytest
from scipy.optimize import linprog

from gandask import SettingError
from gandask.repurposing import exact, front, searches
from gandask.repurposing.genomes import Genomes, Limit
from gandask.repurposing.pool import Pool
from gandask.scores import metrics
from gandask.scores.metrics import Reference

LEAST = 0.01
LIMITS = [Limit(1, True), Limit(3, True), Limit(3, False)]


def measured(chance, classes, count=400, evenness=1.0):
    """Statistics of samples of uneven classes, by logits that tell them apart."""
    shares = chance.dirichlet(np.full(classes, evenness))
    drawn = chance.choice(classes, count, p=shares)
    logits = chance.normal(size=(count, classes)) + 5 * np.eye(classes)[drawn]
    weights = np.exp(logits)
    return metrics.measure(logits, weights / weights.sum(1, keepdims=True))


def known(candidates=6, classes=4, seed=0):
    chance = np.random.default_rng(seed)
    real = Reference.of(measured(chance, classes, 1000, 50.0))
    return real, [measured(chance, classes) for _ in range(candidates)]


def pool(*arguments, **named):
    return Pool(*known(*arguments, **named))


def brute(of, limit):
    """The least TVD of every set of members that is allowed, one by one."""
    candidates, classes = of.classes.shape
    sizes = [limit.members] if limit.exactly else range(1, limit.members + 1)
    found = []
    for members in itertools.chain(
        *(itertools.combinations(range(candidates), size) for size in sizes)
    ):
        shares = of.classes[list(members)].T
        slack = -np.eye(classes)
        solved = linprog(
            np.concatenate([np.zeros(len(members)), np.full(classes, 0.5)]),
            A_ub=np.block([[shares, slack], [-shares, slack]]),
            b_ub=np.concatenate([of.wanted, -of.wanted]),
            A_eq=[[1] * len(members) + [0] * classes],
            b_eq=[1],
            bounds=[(LEAST, 1)] * len(members) + [(0, None)] * classes,
        )
        found.append(solved.fun)
    return min(found)


@pytest.mark.parametrize("limit", LIMITS, ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_optimum_is_that_of_all_sets_of_members(limit, seed):
    of = pool(seed=seed)
    found = exact.optimum(of, limit, LEAST)
    assert found.value == pytest.approx(brute(of, limit), abs=1e-6)
    assert found.value == of.scores("tvd", found.weights[None])[0]


def allowed(weights, limit):
    members = int((weights > 0).sum())
    assert weights.sum() == pytest.approx(1)
    assert weights[weights > 0].min() >= LEAST - 1e-9
    assert members == limit.members if limit.exactly else 1 <= members <= limit.members


@pytest.mark.parametrize("limit", [*LIMITS, Limit(6, True), Limit(6, False)], ids=str)
@pytest.mark.parametrize(
    ("name", "objective"),
    [(name, objective) for name in searches.SINGLE for objective in ("tvd", "fid")][:-1],
)
def test_a_search_gives_what_is_allowed_and_the_same_again(name, objective, limit):
    of = pool()
    first, again = (
        searches.SINGLE[name](of, objective, limit, LEAST, np.random.default_rng(1))
        for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    allowed(first, limit)


@pytest.mark.parametrize("name", ["evolve", "greedy", "random"])
def test_a_search_finds_what_is_near_the_optimum(name):
    of, limit = pool(candidates=8), Limit(3, True)
    best = exact.optimum(of, limit, LEAST).value
    found = searches.SINGLE[name](of, "tvd", limit, LEAST, np.random.default_rng(1))
    alone = of.scores("tvd", np.eye(8)).min()
    gap = of.scores("tvd", found[None])[0] - best
    assert -1e-6 <= gap < (alone - best) / 2


@pytest.mark.parametrize("objective", ["tvd", "fid"])
def test_evolution_is_better_than_chance(objective):
    of, limit = pool(candidates=20, classes=10), Limit(6, True)
    found = {
        name: [
            of.scores(
                objective,
                searches.SINGLE[name](of, objective, limit, LEAST, np.random.default_rng(seed))[
                    None
                ],
            )[0]
            for seed in range(3)
        ]
        for name in ("evolve", "random")
    }
    assert np.mean(found["evolve"]) < np.mean(found["random"])


def test_greedy_selects_with_replacement():
    """One candidate lacks half the classes: it is added once, the other thrice."""
    chance = np.random.default_rng(0)
    real = Reference.of(measured(chance, 4, 1000, 50.0))
    of = Pool(real, [measured(chance, 4) for _ in range(2)])
    of.classes, of.wanted = np.eye(2), np.array([0.25, 0.75])
    found = searches.greedy(of, "tvd", Limit(2, False), 0.25, chance)
    np.testing.assert_allclose(found, [0.25, 0.75])


def test_exact_says_where_it_cannot_prove(monkeypatch):
    monkeypatch.setattr(exact, "NODES", 0)
    with pytest.raises(SettingError, match=r"size 6.* is not proven within 0 steps.*'evolve'"):
        exact.optimum(pool(candidates=20, classes=10), Limit(6, True), LEAST)


# ---- scores of many at once


@pytest.mark.parametrize("objective", ["tvd", "fid"])
def test_scores_of_many_are_those_of_each(objective, monkeypatch):
    monkeypatch.setattr("gandask.repurposing.pool.AT_ONCE", 1000)  # in several parts
    real, candidates = known(20, 10)
    rules = Genomes(20, Limit(8, False), LEAST, np.random.default_rng(3))
    weights = np.concatenate([rules.weights(rules.drawn(100)), np.eye(20)])
    found = Pool(real, candidates).scores(objective, weights)
    one_by_one = [
        metrics.METRICS[objective].compute(real, metrics.merge(candidates, list(row)))
        for row in weights
    ]
    np.testing.assert_allclose(found, one_by_one, rtol=0, atol=1e-9)


def test_ten_thousand_ensembles_are_scored_much_faster_than_one_by_one():
    real, candidates = known(20, 10)
    of = Pool(real, candidates)
    rules = Genomes(20, Limit(8, False), LEAST, np.random.default_rng(3))
    weights = rules.weights(rules.drawn(10_000))
    begun = time.perf_counter()
    of.scores("fid", weights)
    at_once = time.perf_counter() - begun
    begun = time.perf_counter()
    for row in weights[:300]:
        metrics.fid(real, metrics.merge(candidates, list(row)))
    one_by_one = (time.perf_counter() - begun) * len(weights) / 300
    assert at_once < one_by_one / 3
    assert of.tried == len(weights)


# ---- genomes


@pytest.mark.parametrize("limit", [*LIMITS, Limit(6, True), Limit(6, False)], ids=str)
def test_every_genome_is_an_ensemble_that_is_allowed(limit):
    rules = Genomes(6, limit, LEAST, np.random.default_rng(0))
    genomes = rules.drawn(200)
    for _ in range(20):
        parents = genomes[rules.chance.permutation(200)]
        genomes = rules.mutated(rules.crossed(genomes, parents))
        for weights in rules.weights(genomes):
            allowed(weights, limit)
    sizes = {int(size) for size in (genomes > 0).sum(1)}
    assert sizes == ({limit.members} if limit.exactly else {*range(1, limit.members + 1)})


def test_a_child_has_what_both_parents_have():
    rules = Genomes(8, Limit(3, True), LEAST, np.random.default_rng(0))
    mothers = np.tile(np.array([1, 1, 1, 0, 0, 0, 0, 0]) / 3, (50, 1))
    fathers = np.tile(np.array([1, 0, 0, 1, 1, 0, 0, 0]) / 3, (50, 1))
    children = rules.crossed(mothers, fathers) > 0
    assert children[:, 0].all()
    assert not children[:, 5:].any()
    assert {tuple(row) for row in children[:, 1:5]} > {(True, True, False, False)}


# ---- two objectives


def test_a_front_holds_none_that_another_beats_in_both():
    of, limit = pool(candidates=8, classes=6), Limit(4, False)
    first, again = (
        front.front(of, ("tvd", "fid"), limit, LEAST, np.random.default_rng(2)) for _ in range(2)
    )
    np.testing.assert_array_equal(first, again)
    for weights in first:
        allowed(weights, limit)
    tvd, fid = (of.scores(name, first) for name in ("tvd", "fid"))
    assert len(first) > 1
    assert (np.diff(tvd) > 0).all()
    assert (np.diff(fid) < 0).all()
    # its ends are about what one objective alone comes to
    alone = searches.evolve(of, "fid", limit, LEAST, np.random.default_rng(2))
    assert fid[-1] < 1.5 * of.scores("fid", alone[None])[0]


def test_without_pymoo_two_objectives_are_refused(monkeypatch):
    importing = builtins.__import__

    def missing(name, *arguments, **named):
        if name.startswith("pymoo"):
            raise ImportError(name)
        return importing(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(SettingError, match=r"pip install 'gandask\[ensembles\]'"):
        front.refuse_missing()
