"""Scores against other implementations and direct formulas, and statistics that merge."""

from dataclasses import fields

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from gandask.scores import metrics
from gandask.scores.metrics import METRICS, Metric, Reference, Statistics, measure, merge

CLASSES = 5


def samples(count, features=6, seed=0, rank=None):
    """Draw correlated features around a mean of their own, class probabilities and quality."""
    chance = np.random.default_rng([seed, count, features])
    mixing = chance.normal(size=(rank or features, features))
    made = chance.normal(size=(count, rank or features)) @ mixing + chance.normal(size=features)
    return made, chance.dirichlet(np.full(CLASSES, 0.3), count), chance.random(count) < 0.6


def flat(features):
    """Measure features alone."""
    return measure(features, np.full((len(features), 1), 1.0))


def fid(real, fake):
    return metrics.fid(Reference.of(flat(real)), flat(fake))


def fid_by_scipy(real, fake):
    """Follow the definition: Heusel et al. (2017), Eq. 6, with a matrix square root."""
    covariances = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    offset = real.mean(0) - fake.mean(0)
    root = np.real(scipy.linalg.sqrtm(covariances[0] @ covariances[1]))
    return offset @ offset + np.trace(covariances[0] + covariances[1] - 2 * root)


def fid_by_torch_fidelity(real, fake):
    from gandask.data import torchvision

    torchvision()  # torch_fidelity imports it
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    moments = [{"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)} for x in (real, fake)]
    return fid_statistics_to_metric(*moments, verbose=False)[KEY_METRIC_FID]


def of(count=1.0, probability=(), entropy=0.0, classes=(), modes=()):
    """Make statistics for the scores that need no features."""
    arrays = [np.array(part, float) for part in (probability, classes, modes)]
    return Statistics(
        count, np.zeros(1), np.zeros((1, 1)), arrays[0], entropy, arrays[1], arrays[2]
    )


def assert_same(one, other, rtol=1e-12):
    for field in fields(Statistics):
        np.testing.assert_allclose(
            getattr(one, field.name), getattr(other, field.name), rtol=rtol, err_msg=field.name
        )


# --- Fréchet distance -----------------------------------------------------------------------------


@pytest.mark.parametrize("independent", [fid_by_scipy, fid_by_torch_fidelity])
@pytest.mark.parametrize(
    ("real", "fake"),
    [
        (samples(200, 6, seed=1), samples(300, 6, seed=2)),
        (samples(1000, 10, seed=1), samples(1000, 10, seed=2)),
        (samples(500, 2, seed=3), samples(50, 2, seed=4)),
        (samples(4000, 64, seed=5), samples(1000, 64, seed=6)),
    ],
    ids=["6", "10", "2", "64"],
)
def test_fid_equals_other_implementations(independent, real, fake):
    expected = independent(real[0], fake[0])
    assert expected > 1
    assert fid(real[0], fake[0]) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("real", "fake"),
    [
        (samples(300, 8, seed=1, rank=3), samples(300, 8, seed=2)),
        (samples(300, 8, seed=1), samples(300, 8, seed=2, rank=3)),
        (samples(300, 8, seed=1, rank=5), samples(300, 8, seed=2, rank=4)),
        (samples(20, 32, seed=1), samples(10, 32, seed=2)),
    ],
    ids=["real", "fake", "both", "fewer samples than features"],
)
def test_fid_of_rank_deficient_covariances(real, fake):
    # By singular values of the product of the factors: no root of a singular matrix is needed.
    centred = [x - x.mean(0) for x in (real[0], fake[0])]
    scaled = [x / np.sqrt(len(x) - 1) for x in centred]
    shared = np.linalg.svd(scaled[0] @ scaled[1].T, compute_uv=False).sum()
    offset = real[0].mean(0) - fake[0].mean(0)
    expected = offset @ offset + sum((x**2).sum() for x in scaled) - 2 * shared
    assert fid(real[0], fake[0]) == pytest.approx(expected, rel=1e-5)
    assert fid_by_torch_fidelity(real[0], fake[0]) == pytest.approx(expected, rel=1e-3)


def test_fid_by_hand():
    real = np.array([[-1.0, 0], [1, 0], [0, -2], [0, 2]])  # variances 2/3 and 8/3
    np.testing.assert_allclose(flat(real).covariance, np.diag([2 / 3, 8 / 3]))
    assert fid(real, real + np.array([3, 4])) == pytest.approx(25)
    assert fid(real, real * 2) == pytest.approx(2 / 3 + 8 / 3)  # of standard deviations
    assert fid(real, np.zeros((4, 2))) == pytest.approx(2 / 3 + 8 / 3)


@pytest.mark.parametrize("rank", [None, 2])
def test_fid_of_identical_sets_is_zero(rank):
    same = samples(500, 8, seed=7, rank=rank)[0]
    assert 0 <= fid(same, same) < 1e-5
    assert 0 <= fid(same, same[::-1]) < 1e-5


def test_fid_is_symmetric():
    one, other = samples(300, 6, seed=1)[0], samples(200, 6, seed=2)[0]
    assert fid(one, other) == pytest.approx(fid(other, one), rel=1e-9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e200])
def test_features_that_are_not_finite_are_infinitely_far(bad):
    real, fake = samples(100, 4, seed=1)[0], samples(100, 4, seed=2)[0]
    fake[3, 1] = bad
    with np.errstate(all="ignore"):
        assert fid(real, fake) == np.inf


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_products_too_large_for_a_number_are_infinitely_far():
    assert fid(samples(100, 4)[0] * 1e10, samples(100, 4, seed=2)[0] * 1e150) == np.inf


def test_fid_of_a_single_sample_is_finite():
    real = samples(100, 3)[0]
    expected = np.trace(np.cov(real, rowvar=False)) + (real.mean(0) ** 2).sum()
    assert fid(real, np.zeros((1, 3))) == pytest.approx(expected)


# --- Other scores ---------------------------------------------------------------------------------


def test_measured_sums():
    features, probabilities, good = samples(400, 3)
    found = measure(features, probabilities, good)
    predicted = probabilities.argmax(1)
    assert found.count == 400
    np.testing.assert_allclose(found.mean, features.mean(0))
    np.testing.assert_allclose(found.covariance, np.cov(features, rowvar=False))
    np.testing.assert_allclose(found.probability_sum, probabilities.sum(0))
    entropies = scipy.stats.entropy(probabilities, axis=1)
    assert found.negative_entropy == pytest.approx(-entropies.sum())
    assert found.class_counts.tolist() == [(predicted == k).sum() for k in range(CLASSES)]
    assert found.mode_counts.tolist() == [(predicted[good] == k).sum() for k in range(CLASSES)]
    assert measure(features, probabilities).mode_counts.tolist() == found.class_counts.tolist()


def test_sums_are_taken_in_double_precision():
    features = np.full((3, 1), 1e4, np.float32) + np.array([[0], [1], [2]], np.float32)
    found = flat(features)
    assert found.feature_products.dtype == np.float64
    assert found.covariance[0, 0] == pytest.approx(1, rel=1e-6)


def test_tvd_is_half_the_distance_of_class_shares():
    real = samples(300, seed=1)
    fake = samples(200, seed=2)
    shares = [np.bincount(x[1].argmax(1), minlength=CLASSES) / len(x[1]) for x in (real, fake)]
    found = metrics.tvd(Reference.of(measure(*real)), measure(*fake))
    assert found == pytest.approx(np.abs(shares[0] - shares[1]).sum() / 2)
    assert found > 0.01


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        ([5, 5], [50, 50], 0),
        ([5, 0], [0, 9], 1),
        ([5, 5], [4, 0], 0.5),
        ([1, 1, 2], [2, 1, 1], 0.25),
    ],
)
def test_tvd_by_hand(real, fake, expected):
    made = [of(count=float(sum(x)), classes=x) for x in (real, fake)]
    assert metrics.tvd(Reference.of(made[0]), made[1]) == pytest.approx(expected)


def test_inception_score_is_the_exponent_of_mutual_information():
    made = samples(500, seed=3)
    probabilities = made[1]
    divergence = scipy.stats.entropy(probabilities, probabilities.mean(0, keepdims=True), axis=1)
    found = metrics.inception_score(Reference.of(measure(*made)), measure(*made))
    assert found == pytest.approx(np.exp(divergence.mean()), rel=1e-9)
    assert found > 1.1


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        (np.eye(4), 4),  # sure of each, and all equally often; 0 log 0 is 0
        (np.full((7, 4), 0.25), 1),  # sure of none
        (np.eye(4)[[2, 2, 2]], 1),  # always the same
        (np.eye(4)[[0, 1, 0, 1]], 2),
    ],
)
def test_inception_score_by_hand(probabilities, expected):
    made = measure(np.zeros((len(probabilities), 1)), probabilities)
    assert metrics.inception_score(Reference.of(made), made) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("counts", "covered"),
    [([0, 0, 0], 0), ([1, 0, 7], 2), ([1, 1, 1], 3), ([0.999, 1 - 1e-12, 0], 1)],
)
def test_modes_need_one_good_sample(counts, covered):
    fake = of(count=10.0, modes=counts)
    assert metrics.modes(Reference.of(fake), fake) == covered


def test_high_quality_is_the_share_of_good_samples():
    features, probabilities, good = samples(300)
    found = measure(features, probabilities, good)
    reference = Reference.of(found)
    assert metrics.high_quality(reference, found) == pytest.approx(good.mean())
    assert metrics.high_quality(reference, measure(features, probabilities)) == 1
    assert metrics.high_quality(reference, measure(features, probabilities, ~good)) < 1


def test_scores_name_every_metric():
    real, fake = measure(*samples(200, seed=1)), measure(*samples(200, seed=2))
    reference = Reference.of(real)
    found = metrics.scores(reference, fake, prefix="final_")
    assert set(found) == {f"final_{name}" for name in METRICS}
    assert all(type(value) is float for value in found.values())
    assert found["final_fid"] == metrics.fid(reference, fake)


# --- Which way is better --------------------------------------------------------------------------


def test_directions():
    higher = {name for name, metric in METRICS.items() if metric.higher_is_better}
    assert higher == {"inception_score", "modes", "high_quality"}


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize(
    ("score", "than", "is_higher", "is_lower"),
    [
        (2.0, 1.0, True, False),
        (1.0, 2.0, False, True),
        (1.0, 1.0, False, False),
        (np.inf, 1.0, True, False),
        (1.0, np.inf, False, True),
        (1.0, np.nan, True, True),
        (np.inf, np.nan, True, True),
        (np.nan, 1.0, False, False),
        (np.nan, np.nan, False, False),
    ],
)
def test_better(higher, score, than, is_higher, is_lower):
    metric = Metric(metrics.fid, higher, "a score")
    assert metric.better(score, than) is (is_higher if higher else is_lower)


# --- Merging --------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.integers(2, 60), st.integers(1, 4), st.data())
def test_parts_merge_to_the_whole(count, features, data):
    made = samples(count, features)
    cut = data.draw(st.integers(1, count - 1))
    whole = measure(*made)
    merged = merge([measure(*(x[:cut] for x in made)), measure(*(x[cut:] for x in made))])
    assert merged.count == whole.count
    for exact in ("class_counts", "mode_counts"):
        assert getattr(merged, exact).tolist() == getattr(whole, exact).tolist()
    for name in ("feature_sum", "feature_products", "probability_sum", "negative_entropy"):
        np.testing.assert_allclose(
            getattr(merged, name), getattr(whole, name), rtol=1e-12, atol=1e-12, err_msg=name
        )


def test_an_empty_part_changes_nothing():
    made = samples(20)
    whole = measure(*made)
    assert_same(merge([whole, measure(*(x[:0] for x in made))]), whole, rtol=0)


def test_merging_leaves_its_parts_alone():
    parts = [measure(*samples(20, seed=seed)) for seed in (1, 2)]
    before = [part.to_array().copy() for part in parts]
    merge(parts)
    merge(parts, [0.3, 0.7])
    for part, packed in zip(parts, before, strict=True):
        np.testing.assert_array_equal(part.to_array(), packed)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_weights_give_the_statistics_of_the_mixture(order):
    # Of shares 1/2, 1/4, 1/4 in 80 samples, each part is drawn whole as often as it takes.
    parts = [samples(size, seed=seed) for seed, size in enumerate((40, 20, 10))]
    weights, repeats = np.array([0.5, 0.25, 0.25]), (1, 1, 2)
    drawn = [
        np.concatenate(
            [np.concatenate([part[field]] * n) for part, n in zip(parts, repeats, strict=True)]
        )
        for field in range(3)
    ]
    mixture = measure(*drawn)
    found = merge([measure(*parts[i]) for i in order], weights[order])
    assert found.count == 40, "as many as the largest part"
    scale = found.count / mixture.count
    scaled = Statistics(*(getattr(mixture, field.name) * scale for field in fields(Statistics)))
    assert_same(found, scaled, rtol=1e-11)

    reference = Reference.of(measure(*samples(300, seed=9)))
    for name in ("tvd", "inception_score", "high_quality"):
        score = METRICS[name].compute
        assert score(reference, found) == pytest.approx(score(reference, mixture))
    np.testing.assert_allclose(found.mean, drawn[0].mean(0))


def test_a_part_of_weight_zero_is_left_out():
    good, bad = measure(*samples(20)), measure(*samples(20, seed=2))
    bad.feature_sum[:] = np.nan
    assert_same(merge([good, bad], [1.0, 0.0]), good, rtol=0)


def test_every_part_needs_a_weight():
    part = measure(*samples(20))
    with pytest.raises(ValueError, match="zip"):
        merge([part, part], [1.0])


@settings(deadline=None, derandomize=True, max_examples=20)
@given(st.integers(1, 30), st.integers(1, 5))
def test_packing_loses_nothing(count, features):
    found = measure(*samples(count, features))
    packed = found.to_array()
    assert packed.dtype == np.float64
    assert packed.shape == (4 + features + features**2 + 3 * CLASSES,)
    again = Statistics.from_array(packed)
    for field in fields(Statistics):
        one, other = getattr(found, field.name), getattr(again, field.name)
        np.testing.assert_array_equal(one, other, err_msg=field.name)
        assert np.shape(one) == np.shape(other)
    np.testing.assert_array_equal(again.to_array(), packed)
