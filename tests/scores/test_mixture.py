"""Mixtures: shares of samples, mutation of weights, and an evolution that never gets worse."""

import functools
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gandask import METRICS, Grid
from gandask.core import rng
from gandask.methods import tasks
from gandask.scores import metrics
from gandask.scores.metrics import Reference, measure
from gandask.scores.mixture import Mixture, apportion, evolve, mutate

WEIGHTS = st.lists(st.floats(0, 1), min_size=1, max_size=9).filter(lambda w: sum(w) > 1e-3)
properties = settings(deadline=None, derandomize=True, max_examples=60)


# --- Shares ---------------------------------------------------------------------------------------


@properties
@given(WEIGHTS, st.integers(0, 5000))
def test_shares_add_up_and_are_within_one(weights, count):
    found = apportion(np.array(weights), count)
    assert found.sum() == count
    assert found.dtype.kind == "i"
    total = sum(map(Fraction, weights))
    for share, weight in zip(found.tolist(), weights, strict=True):
        assert abs(share - Fraction(weight) / total * count) < 1 + 1e-9
        assert share >= 0
        assert share == 0 or weight > 0


@pytest.mark.parametrize(
    ("weights", "count", "expected"),
    [
        ([1.0], 7, [7]),
        ([0.5, 0.3, 0.2], 7, [4, 2, 1]),  # 3.5, 2.1, 1.4: the first has the largest rest
        ([0.2, 0.3, 0.5], 7, [1, 2, 4]),
        ([1.0, 1.0, 1.0], 7, [3, 2, 2]),  # the first of equal rests
        ([0.0, 1.0], 5, [0, 5]),
        ([3.0, 1.0], 8, [6, 2]),
        ([0.25, 0.75], 0, [0, 0]),
    ],
)
def test_apportion_by_hand(weights, count, expected):
    assert apportion(np.array(weights), count).tolist() == expected


# --- Mutation and evolution -----------------------------------------------------------------------


@properties
@given(WEIGHTS, st.sampled_from([0, 0.01, 1, 100]), st.integers(0, 99))
def test_mutants_are_distributions(weights, sigma, seed):
    before = np.array(weights) / sum(weights)
    kept = before.copy()
    after = mutate(before, sigma, rng(seed))
    assert (after >= 0).all()
    assert after.sum() == pytest.approx(1)
    np.testing.assert_array_equal(before, kept)
    if sigma == 0:
        np.testing.assert_allclose(after, before)


def test_mutation_is_as_large_as_sigma():
    before = np.full(1000, 1 / 1000) + 1  # far from 0, where it would be clipped
    changes = mutate(before, 0.1, rng(1)) * before.sum() - before
    assert changes.std() == pytest.approx(0.1, rel=0.1)


def test_weights_that_would_all_vanish_stay():
    class Down:
        def normal(self, mean, sigma, size):
            return np.full(size, -2.0)

    before = np.array([0.3, 0.7])
    assert mutate(before, 1.0, Down()).tolist() == [0.3, 0.7]


def blob(centre, seed, label):
    """Measure samples around a centre, all of one class and mode."""
    points = np.random.default_rng(seed).normal(centre, 0.5, (200, 2))
    return measure(points, np.eye(3)[np.full(200, label)], np.arange(200) % 4 > 0)


MEMBERS = [blob((-1, 0), 1, 0), blob((1, 0), 2, 1), blob((9, 9), 3, 2)]
REAL = Reference.of(metrics.merge([blob((-1, 0), 4, 0), blob((1, 0), 5, 1)]))
EVEN = np.full(3, 1 / 3)


def evolved(score="fid", generations=40, seed=1, weights=EVEN, members=MEMBERS, sigma=0.1):
    return evolve(weights, members, REAL, score, sigma, generations, rng(seed))


@pytest.mark.parametrize("score", METRICS)
@pytest.mark.parametrize("seed", range(4))
def test_evolution_never_worsens_the_score(score, seed):
    metric, values = METRICS[score], []
    for generations in range(12):
        weights, merged = evolved(score, generations, seed)
        assert weights.sum() == pytest.approx(1)
        assert (weights >= 0).all()
        values.append(metric.compute(REAL, merged))
        again = metric.compute(REAL, metrics.merge(MEMBERS, list(weights)))
        assert values[-1] == pytest.approx(again), "the statistics are those of the weights"
    for value, later in pairwise(values):
        assert later == value or metric.better(later, value)


def test_evolution_drops_the_member_that_is_off():
    before = METRICS["fid"].compute(REAL, evolved(generations=0)[1])
    weights, merged = evolved(generations=200)
    assert METRICS["fid"].compute(REAL, merged) < before / 20
    assert weights[2] < 0.05
    assert weights[:2] == pytest.approx([0.5, 0.5], abs=0.1)


def test_evolution_raises_a_score_that_is_better_higher():
    one_sided = np.array([0.98, 0.01, 0.01])
    before = METRICS["inception_score"].compute(REAL, evolved(weights=one_sided, generations=0)[1])
    merged = evolved("inception_score", weights=one_sided, generations=200)[1]
    assert before < 1.2
    assert METRICS["inception_score"].compute(REAL, merged) > 2.5


def test_evolution_follows_from_its_seed():
    one, other = evolved(seed=5), evolved(seed=5)
    assert one[0].tolist() == other[0].tolist()
    assert one[1].to_array().tolist() == other[1].to_array().tolist()
    assert evolved(seed=6)[0].tolist() != one[0].tolist()


def test_evolution_leaves_what_it_is_given():
    before = EVEN.copy()
    evolved()
    np.testing.assert_array_equal(EVEN, before)


@pytest.mark.parametrize("generations", [0, 10])
def test_a_single_member_is_left_alone(generations):
    class Never:
        def __getattr__(self, name):
            raise AssertionError("drew a random number")

    weights = np.array([1.0])
    found, merged = evolve(weights, MEMBERS[:1], REAL, "fid", 0.1, generations, Never())
    assert found is weights
    np.testing.assert_array_equal(merged.to_array(), MEMBERS[0].to_array())


def test_any_score_beats_one_that_is_not_a_number():
    broken = measure(np.full((5, 2), np.nan), np.full((5, 3), np.nan))
    found, _ = evolved(
        "inception_score", 50, weights=np.array([0.01, 0.99]), members=[MEMBERS[0], broken], sigma=2
    )
    assert found.tolist() == [1.0, 0.0]


# --- Samples --------------------------------------------------------------------------------------

TRAINING = Grid(data="ring8", network="small_mlp", device="cpu", score_samples=0).training


def constant(value, training=TRAINING):
    """Make the state of a generator whose every output is `value`."""
    states, _ = tasks.initialise(training=training, slot="cell/0", population_size=1)
    *_, last = (name for name in states[0] if name.endswith("bias"))
    return {
        name: np.full_like(array, value if name == last else 0) for name, array in states[0].items()
    }


def initial(slot):
    return tasks.initialise(training=TRAINING, slot=slot, population_size=1)[0][0]


def samples_of(training):
    """Give what makes samples of a generator that was trained so."""
    return functools.partial(tasks.samples, training)


MADE = Mixture(
    samples_of(TRAINING),
    {"a": constant(-5), "b": constant(5), "c": constant(9)},
    {"a": 0.3, "b": 0.7, "c": 0},
)


def counted(samples):
    """Count the samples of each constant generator."""
    return {value: int((samples == value).all(1).sum()) for value in (-5, 5, 9)}


@pytest.mark.parametrize("count", [0, 1, 10, 101])
def test_samples_have_exact_shares(count):
    samples = MADE.sample(count)
    assert samples.shape == (count, 2)
    assert samples.dtype == torch.float32
    minus = apportion(np.array([0.3, 0.7, 0]), count)[0]
    assert counted(samples) == {-5: minus, 5: count - minus, 9: 0}


def test_samples_come_in_random_order():
    signs = MADE.sample(200)[:, 0] > 0
    changes = int((signs[1:] != signs[:-1]).sum())
    assert changes > 40, "0.3 · 0.7 · 2 of 199 are expected"
    assert not torch.equal(signs, MADE.sample(200, seed=1)[:, 0] > 0)


def test_independent_draws_vary_in_their_shares():
    shares = [counted(MADE.sample(1000, seed, exact=False)) for seed in range(5)]
    assert len({share[-5] for share in shares}) > 1
    for share in shares:
        assert share[9] == 0
        assert share[-5] + share[5] == 1000
        assert share[-5] == pytest.approx(300, abs=4 * np.sqrt(1000 * 0.3 * 0.7))


def test_samples_follow_from_the_seed():
    mixture = Mixture(
        samples_of(TRAINING),
        {"a": initial("cell/0"), "b": initial("cell/1")},
        {"a": 0.5, "b": 0.5},
    )
    one = mixture.sample(50, seed=3)
    assert torch.equal(one, mixture.sample(50, seed=3))
    assert len(one.unique(dim=0)) == 50
    other = mixture.sample(50, seed=4)
    shared = (one[:, None] == other[None]).all(2).sum()
    assert int(shared) == 0, "other noise, not just another order"
    assert torch.isfinite(one).all()


def test_members_draw_noise_of_their_own():
    same = initial("cell/0")
    samples = Mixture(samples_of(TRAINING), {"a": same, "b": same}, {"a": 0.5, "b": 0.5}).sample(40)
    assert len(samples.unique(dim=0)) == 40


def test_sampling_changes_no_state_and_no_stream():
    state = initial("cell/0")
    before = {name: array.copy() for name, array in state.items()}
    stream, threads = torch.get_rng_state(), torch.get_num_threads()
    Mixture(samples_of(TRAINING), {"a": state}, {"a": 1.0}).sample(10)
    for name, array in before.items():
        np.testing.assert_array_equal(state[name], array)
    assert torch.equal(torch.get_rng_state(), stream)
    assert torch.get_num_threads() == threads


def test_conditional_generators_are_sampled_with_labels():
    training = Grid(
        data="digits", network="conditional_mlp", device="cpu", score_samples=0
    ).training
    samples = Mixture(samples_of(training), {"a": constant(5, training)}, {"a": 1.0}).sample(7)
    assert samples.shape == (7, 1, 8, 8)
    assert (samples > 0.999).all()


def test_a_mixture_shows_its_shares():
    assert repr(MADE) == "Mixture(a: 0.300, b: 0.700, c: 0.000)"
