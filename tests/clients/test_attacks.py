"""Attackers where the answer is known, and what their scores come to."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
import torch
from sklearn.metrics import roc_auc_score, roc_curve
from torch import nn

from gandask.clients import attacks
from gandask.training.losses import LOSSES

CPU = torch.device("cpu")
SHAPE = (1, 4, 4)


def drawn(*key):
    return np.random.default_rng(key)


def images(count, *key):
    return drawn(count, *key).uniform(-1, 1, (count, *SHAPE)).astype(np.float32)


# --- Area under the curve -------------------------------------------------------------------------

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize("levels", [3, 20, 10**9], ids=["ties", "some ties", "no ties"])
@pytest.mark.parametrize("sizes", [(2, 2), (5, 40), (180, 600)], ids=str)
def test_auc_counts_pairs_and_knows_its_error(sizes, levels):
    chance = drawn(levels, *sizes)
    members, others = (
        chance.integers(levels, size=sizes[0]) + levels // 4,
        chance.integers(levels, size=sizes[1]),
    )
    won = np.sign(members[:, None] - others) / 2 + 0.5  # pair by pair
    value, error = attacks.auc(members, others)
    assert value == pytest.approx(won.mean(), abs=1e-12)
    truth = np.repeat([1, 0], sizes)
    assert value == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])))
    # DeLong et al. (1988), Eq. 5 to 8
    expected = won.mean(1).var(ddof=1) / sizes[0] + won.mean(0).var(ddof=1) / sizes[1]
    assert error == pytest.approx(math.sqrt(expected), abs=1e-12)


def test_the_error_is_that_of_repeated_audits():
    chance = drawn(1)
    found = [attacks.auc(chance.normal(0.7, 1, 80), chance.normal(0, 2, 200)) for _ in range(2000)]
    values, errors = np.transpose(found)
    assert np.mean(errors) == pytest.approx(values.std(), rel=0.05)
    assert values.mean() == pytest.approx(scipy.stats.norm.cdf(0.7 / math.sqrt(5)), abs=0.005)


def test_guesses_lie_within_three_errors_of_a_half():
    chance = drawn(2)
    far = [
        abs(value - 0.5) > 3 * error
        for value, error in (
            attacks.auc(chance.random(180), chance.random(600)) for _ in range(1000)
        )
    ]
    assert np.mean(far) < 0.01


@pytest.mark.parametrize("changed", [np.exp, np.cbrt, lambda x: -1 / (x + 100)])
def test_only_the_order_of_scores_counts(changed):
    members, others = drawn(3).normal(1, 1, 150), drawn(4).normal(0, 1, 1000)
    assert attacks.auc(changed(members), changed(others)) == attacks.auc(members, others)
    for rate in (0.1, 0.05, 0.01):
        expected = attacks.true_positive_rate(members, others, rate)
        assert attacks.true_positive_rate(changed(members), changed(others), rate) == expected


@pytest.mark.parametrize(
    ("members", "others", "value", "error"),
    [
        ([2, 3], [0, 1], 1, 0),
        ([0, 1], [2, 3], 0, 0),
        ([1, 1], [1, 1, 1], 0.5, 0),
        ([INF, 1], [-INF, 0], 1, 0),
        ([INF, INF], [INF, INF], 0.5, 0),
        ([2], [1, 0], 1, NAN),
        ([2], [2], 0.5, NAN),
        ([], [1, 2], NAN, NAN),
        ([1, 2], [], NAN, NAN),
        ([1, NAN], [1, 2], NAN, NAN),
        ([1, 2], [NAN, NAN], NAN, NAN),
    ],
)
def test_auc_of_few_and_of_odd_scores(members, others, value, error):
    found = attacks.auc(np.array(members, float), np.array(others, float))
    np.testing.assert_array_equal(found, (value, error))


# --- True positive rate ---------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.05, 0.01, 0.29, 0.07])
@pytest.mark.parametrize("levels", [30, 10**9], ids=["ties", "no ties"])
def test_true_positive_rate_is_the_curve_s(rate, levels):
    members, others = drawn(5).integers(levels, size=180), drawn(6).integers(levels, size=1000)
    others = others * 3 // 4
    value, low, high = attacks.true_positive_rate(members, others, rate)
    truth = np.repeat([1, 0], [180, 1000])
    false, true, _ = roc_curve(truth, np.concatenate([members, others]), drop_intermediate=False)
    assert value == true[false <= rate + 1e-12].max()
    interval = scipy.stats.binomtest(round(value * 180), 180).proportion_ci(0.95, "exact")
    assert (low, high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize(("found", "low", "high"), [(0, 0, 0.308), (10, 0.692, 1)])
def test_intervals_of_none_and_all(found, low, high):
    members = np.array([2.0] * found + [-1.0] * (10 - found))
    expected = (found / 10, low, high)
    assert attacks.true_positive_rate(members, np.linspace(0, 1, 100), 0.1) == pytest.approx(
        expected, abs=1e-3
    )


@pytest.mark.parametrize(("rate", "needed"), [(0.1, 100), (0.05, 200), (0.01, 1000)])
def test_too_few_others_tell_nothing_of_a_rate(rate, needed):
    others = np.arange(float(needed))
    assert np.isfinite(attacks.true_positive_rate(others, others, rate)).all()
    assert np.isnan(attacks.true_positive_rate(others, others[1:], rate)).all()
    assert np.isnan(attacks.true_positive_rate(np.array([]), others, rate)).all()
    assert np.isnan(attacks.true_positive_rate(np.array([NAN]), others, rate)).all()


# --- Distances ------------------------------------------------------------------------------------


def test_nearest_is_exact_over_blocks(monkeypatch):
    monkeypatch.setattr(attacks, "BLOCK", 7)
    some, others = images(30, 1), images(40, 2)
    others[33] = some[5]
    others[20] = some[6] + np.float32(1e-7)
    direct = [min(np.linalg.norm(one.astype(float) - other) for other in others) for one in some]
    np.testing.assert_allclose(attacks.nearest(some, others), direct, rtol=1e-14, atol=0)
    assert attacks.nearest(some, others)[5] == 0 < attacks.nearest(some, others)[6] < 1e-6


def test_samples_that_are_not_finite_are_near_to_nothing():
    some, others = images(3, 1), images(4, 2)
    broken = np.concatenate([others, np.full((2, *SHAPE), np.nan, np.float32)])
    broken[-1] = np.inf
    np.testing.assert_array_equal(attacks.nearest(some, broken), attacks.nearest(some, others))
    assert (attacks.nearest(some, broken[4:]) == INF).all()
    assert (attacks.nearest(broken, some)[4:] == INF).all()
    assert attacks.memorised(broken[4:], some, others) == 0


def test_memorised_is_a_share_beside_the_held_out():
    members, held_out = images(200, 1), images(400, 2)
    copies = members[:30] + np.float32(0.01)
    made = np.concatenate([copies, images(70, 3)])
    assert attacks.memorised(made, members, held_out) == pytest.approx(0.3, abs=0.03)
    assert attacks.memorised(images(2000, 4), members, held_out) == pytest.approx(0.01, abs=0.01)
    assert attacks.memorised(held_out[:1], members, held_out[:1]) == 0  # nearer, not as near


# --- The three attackers --------------------------------------------------------------------------


def test_samples_near_a_member_give_it_away():
    members, others = images(50, 1), images(50, 2)
    generated = members + np.float32(0.05)
    scores = [attacks.by_samples(each, generated) for each in (members, others)]
    assert attacks.auc(*scores) == (1, 0)


def test_calibration_takes_out_what_any_generator_comes_near_to():
    # members far out, others in the middle, where all generators make most
    members, others = images(100, 1), images(100, 2) / 5
    generated = np.concatenate([members + images(100, 5) / 3, images(500, 3) / 5])
    teacher = images(500, 4) / 5
    plain = attacks.auc(*(attacks.by_samples(each, generated) for each in (members, others)))[0]
    calibrated = [attacks.by_samples(each, generated, teacher) for each in (members, others)]
    assert plain < 0.1 < 0.9 < attacks.auc(*calibrated)[0]
    broken = np.full_like(teacher, np.nan)
    np.testing.assert_array_equal(
        attacks.by_samples(members, generated, broken), attacks.by_samples(members, generated)
    )


class Peaks(nn.Module):
    """A discriminator with a peak of its logit at each member, and a slope everywhere."""

    def __init__(self, members, slope=0.02):
        super().__init__()
        self.register_buffer("members", torch.from_numpy(members).flatten(1))
        self.slope = slope

    def forward(self, samples):
        rows = samples.flatten(1)
        distances = torch.cdist(rows, self.members, compute_mode="donot_use_mm_for_euclid_dist")
        peaks = torch.exp(-distances.square() / 2).sum(1)
        return (peaks - 1 + self.slope * rows.sum(1)).unsqueeze(1)


def by_feedback(candidates, discriminator, loss="bce", unit=True, key=0):
    chance = drawn(key)
    given = discriminator, LOSSES[loss], unit, 16, CPU, chance
    return attacks.by_feedback(candidates, *given)


@pytest.mark.parametrize(
    ("loss", "unit"),
    [("minimax", True), *itertools.product(["bce", "least_squares", "wgan"], [True, False])],
)
def test_feedback_gives_peaks_away(loss, unit):
    members, others = images(50, 1), images(60, 2)
    judge = Peaks(members)
    scores = by_feedback(np.concatenate([members, others]), judge, loss, unit)
    assert attacks.auc(scores[:50], scores[50:])[0] > 0.9


@pytest.mark.parametrize("loss", ["bce", "minimax", "least_squares"])
def test_norms_are_hidden_by_unit_alone(loss):
    """Of a discriminator without curvature nothing but the norm tells candidates apart."""
    judge = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False))
    with torch.no_grad():
        judge[1].weight.fill_(0.1)
    candidates = images(200, 1)
    logits = attacks.by_discriminator(candidates, judge, 16, CPU)
    assert np.abs(by_feedback(candidates, judge, loss)).max() < 1e-6
    scores = by_feedback(candidates, judge, loss, unit=False)
    assert scipy.stats.spearmanr(scores, logits).statistic > 0.6


def test_unit_feedback_does_not_hang_on_norms():
    judge, candidates = Peaks(images(20, 1)), images(32, 2)
    twice = attacks.Loss(lambda logits: 2 * LOSSES["wgan"].generator(logits), lambda a, b: a)
    given = True, 16, CPU
    one, other = (
        attacks.by_feedback(candidates, judge, loss, *given, drawn(0))
        for loss in (LOSSES["wgan"], twice)
    )
    np.testing.assert_allclose(one, other, atol=1e-6)


def test_logits_are_each_candidate_s_own():
    judge = nn.Sequential(nn.Conv2d(1, 4, 4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1))
    judge(torch.from_numpy(images(32, 9)))
    candidates = images(10, 1)
    scores = attacks.by_discriminator(candidates, judge, 4, CPU)
    alone = [attacks.by_discriminator(each[None], judge, 4, CPU)[0] for each in candidates]
    np.testing.assert_allclose(scores, alone, rtol=1e-5)
    np.testing.assert_allclose(
        scores, judge.eval()(torch.from_numpy(candidates)).detach().numpy().ravel(), rtol=1e-5
    )


@pytest.mark.parametrize("count", [1, 15, 16, 33])
@pytest.mark.parametrize("training", [True, False])
def test_networks_are_left_as_they_were(count, training):
    judge = nn.Sequential(nn.Conv2d(1, 4, 4), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 1))
    judge[1].eval()
    judge[0].train(training)
    before = {name: part.clone() for name, part in judge.state_dict().items()}
    modes = [part.training for part in judge.modules()]
    assert len(by_feedback(images(count, 1), judge)) == count
    assert len(attacks.by_discriminator(images(count, 1), judge, 16, CPU)) == count
    assert [part.training for part in judge.modules()] == modes
    for name, part in judge.state_dict().items():
        assert torch.equal(part, before[name]), name
    assert all(part.grad is None for part in judge.parameters())


@pytest.mark.parametrize(("weight", "told"), [(NAN, False), (INF, False), (0.0, True)])
def test_broken_discriminators_are_told_not_crashed_on(weight, told):
    judge = nn.Sequential(nn.Flatten(), nn.Linear(16, 1))
    with torch.no_grad():
        judge[1].weight.fill_(weight)
    candidates = images(64, 1)
    for unit, loss in itertools.product([True, False], ["bce", "wgan"]):
        scores = by_feedback(candidates, judge, loss, unit)
        value = attacks.auc(scores[:30], scores[30:])[0]
        assert (value == 0.5) if told else math.isnan(value)
    logits = attacks.by_discriminator(candidates, judge, 16, CPU)
    assert math.isfinite(attacks.auc(logits[:30], logits[30:])[0]) == told or weight == INF
