"""The strategy of MGGAN from hand-made traces: no networks, no cluster."""

import math

import numpy as np
import pytest

from gandask.methods.mggan import regrouping
from gandask.methods.mggan.regrouping import POLICIES, Adjustment, grown, settled, variation


@pytest.mark.parametrize(
    ("before", "loss", "expected"),
    [
        (1.0, 1.0, 0.0),
        (1.2, 1.0, 0.2),
        (0.8, 1.0, 0.2),  # a rise counts as a fall does
        (2.0, 4.0, 0.5),  # by the new loss, not the old
        (-1.0, -2.0, 0.5),  # a Wasserstein loss
        (1.0, -1.0, 2.0),
        (0.0, 0.0, 0.0),
        (1.0, 0.0, math.inf),  # a loss of zero
        (0.0, 1.0, 1.0),
        (math.nan, 1.0, math.inf),  # the first iteration has nothing before it
    ],
)
def test_variation_ratio_of_the_loss(before, loss, expected):
    assert variation(before, loss) == pytest.approx(expected)


def test_a_loss_that_is_not_a_number_never_raises_the_rate():
    adjustment = Adjustment(0.1, 2, 0.5, 1.0, 0.2)
    assert adjustment.rate(0.1, 10, 10, variation(1.0, math.nan)) == 0.1


#: α = 2, δ = 0.5, L₀ = 1, L̄ = 3: rates by iteration around a regrouping at 10
AROUND = {
    "calm": ([0.1] * 10, [1, 1.5, 2.25, 3, 3, 3, 1, 1, 1, 1]),
    "at the threshold": ([0.2] * 10, [1, 1.5, 2.25, 3, 3, 3, 1, 1, 1, 1]),
    "over it": ([0.21] * 10, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]),
    "never falling back": ([0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1],
                           [1, 1.5, 2.25, 2.25, 2.25, 2.25, 1, 1, 1, 1]),
    "calm after it": ([0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
                      [1, 1, 1, 1, 1.5, 2.25, 1, 1, 1, 1]),
    "infinite": ([math.inf] * 10, [1] * 10),
}  # fmt: skip


@pytest.mark.parametrize("name", AROUND)
def test_learning_rate_around_a_regrouping(name):
    variations, expected = AROUND[name]
    adjustment = Adjustment(initial=1, region=2, ratio=0.5, limit=3, threshold=0.2)
    rates, rate = [], 1.0
    for iteration, varied in zip(range(7, 17), variations, strict=True):
        at = adjustment.regrouping(iteration, [10])
        rate = adjustment.rate(rate, iteration, at, varied)
        rates.append(rate)
    assert rates == expected


def test_the_cap_holds_from_the_first_raise():
    adjustment = Adjustment(initial=1, region=2, ratio=9, limit=3, threshold=0.2)
    assert adjustment.rate(1.0, 8, 10, 0.0) == 3


def test_without_a_regrouping_the_rate_stays():
    adjustment = Adjustment(initial=1, region=2, ratio=0.5, limit=3, threshold=0.2)
    assert adjustment.rate(2.0, 8, None, 0.0) == 2.0


def test_an_iteration_looks_to_the_regrouping_just_past_until_it_was_set_back():
    adjustment = Adjustment(1, region=2, ratio=0.5, limit=3, threshold=0.2)
    looked = {i: adjustment.regrouping(i, [10, 20]) for i in (1, 10, 12, 13, 14, 23, 24)}
    assert looked == {1: 10, 10: 10, 12: 10, 13: 10, 14: 20, 23: 20, 24: None}
    # closer together than the regions are wide: the earlier one comes first
    assert [adjustment.regrouping(i, [10, 12]) for i in (12, 13, 14, 15, 16)] == [
        10, 10, 12, 12, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], False),
        ([5, 5], False),  # one window says nothing
        ([5, 5, 5, 5], False),  # it has not fallen yet
        ([1, 1, 5, 5, 9, 9], False),  # rising at first does not end the period
        ([9, 9, 5, 5], False),  # it falls
        ([9, 9, 5, 5, 2, 2], False),  # it goes on falling
        ([9, 9, 5, 5, 5, 5], True),
        ([9, 9, 5, 5, 4.6, 4.6], True),  # by less than a tenth: not clearly
        ([9, 9, 5, 5, 4.5, 4.5], True),  # by a tenth exactly: not more than that
        ([9, 9, 5, 5, 4.4, 4.4], False),
        ([9, 9, 5, 5, 7, 7], True),  # it rises
        ([1, 1, 9, 9, 5, 5, 5, 5], True),  # oscillation, a fall, its end
        ([9, 9, 5, 5, 5], False),  # the third window is not full
        ([9, 1, 1, 9, 1, 9], False),  # within windows it may do what it likes
        ([-1, -1, -2, -2, -2, -2], True),  # a Wasserstein loss
        ([-1, -1, -2, -2, -4, -4], False),
        ([9, 9, 5, 5, math.nan, 5], False),  # whether it falls is not known
        ([9, 9, 5, 5, math.nan, 5, 4, 4], False),
        ([9, 9, 5, 5, math.nan, 5, 4, 4, 4, 4], True),
    ],
)
def test_end_of_period_a(losses, expected):
    assert settled(np.array(losses, float), window=2, least_fall=0.1) is expected


@pytest.mark.parametrize(
    ("length", "growth", "limit", "expected"),
    [
        (100, 1.5, 400, [100, 150, 225, 338, 400, 400]),
        (100, 1.0, 400, [100] * 6),
        (500, 2.0, 400, [400] * 6),
        (7, 1.1, 100, [7, 8, 8, 9, 10, 11]),  # the product grows, not what was rounded
        (100, 10.0, 10**6, [100, 1000, 10_000, 10**5, 10**6, 10**6]),
    ],
)
def test_growth_and_cap_of_the_interval(length, growth, limit, expected):
    assert [grown(length, growth, limit, n) for n in range(6)] == expected


def test_a_long_run_does_not_overflow_the_interval():
    assert grown(100, 1.5, 2000, 10_000) == 2000


@pytest.mark.parametrize("size", [2, 3, 6])
def test_derangements_leave_nobody_and_are_all_drawn(size):
    chance = np.random.default_rng(0)
    drawn = [tuple(regrouping.derangement(size, chance)) for _ in range(600)]
    for one in drawn:
        assert sorted(one) == list(range(size))
        assert all(place != taken for place, taken in enumerate(one))
    assert len(set(drawn)) == {2: 1, 3: 2, 6: 265}[size] or size == 6
    if size == 6:
        assert len(set(drawn)) > 200  # of 265


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"none"}))
@pytest.mark.parametrize("size", [2, 3, 5])
def test_every_policy_gives_everyone_another(name, size):
    losses = np.random.default_rng(1).random(size)
    taken = POLICIES[name](losses, np.random.default_rng(2))
    assert sorted(taken) == list(range(size))
    assert (taken != np.arange(size)).all()


def test_fitness_policy_moves_up_by_one():
    # fittest to least fit: 1, 3, 0, 2
    losses = np.array([0.5, 0.1, 0.9, 0.3])
    assert regrouping.by_fitness(losses).tolist() == [3, 2, 0, 1]
    # a generator whose loss is not a number is the least fit
    assert regrouping.by_fitness(np.array([np.nan, 0.1, 0.2])).tolist() == [2, 0, 1]


def test_cyclic_policy_visits_every_discriminator():
    partners = np.arange(4)
    met = [partners]
    for _ in range(3):
        partners = partners[regrouping.cycle(4)]
        met.append(partners)
    assert (np.sort(met, axis=0) == np.arange(4)[:, None]).all()


def test_no_regrouping_leaves_everyone():
    assert POLICIES["none"](np.zeros(3), np.random.default_rng(0)).tolist() == [0, 1, 2]
