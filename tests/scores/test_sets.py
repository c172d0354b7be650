"""Scores of sets of features against torch-fidelity, direct formulas and sets done by hand."""

import math

import numpy as np
import pytest
import torch

from gandask.scores import sets


def normal(count, features=4, seed=0, shift=0.0, scale=1.0):
    chance = np.random.default_rng([seed, count, features])
    drawn = chance.normal(shift, scale, (count, features))
    return torch.from_numpy(drawn.astype(np.float32))


def radii(points, neighbours):
    return sets.nearest(points, neighbours)[:, -1]


def of_all(real, fake):
    """Give every score of generated samples."""
    three, five = radii(real, 3), radii(real, 5)
    return {
        "precision": sets.precision(real, three, fake),
        "recall": sets.recall(real, fake),
        "density": sets.density(real, five, fake),
        "coverage": sets.coverage(real, five, fake),
        "kid": sets.kernel_distance(real, fake),
    }


def by_definition(real, fake):
    """Follow the papers, a pair of samples at a time."""
    real, fake = real.double().numpy(), fake.double().numpy()

    def radius(points, at, k):
        return sorted(np.linalg.norm(points - points[at], axis=1))[k]

    def among(one, points, k):
        return sum(
            np.linalg.norm(one - other) <= radius(points, at, k) for at, other in enumerate(points)
        )

    fives = [radius(real, at, 5) for at in range(len(real))]
    return {
        "precision": np.mean([among(one, real, 3) > 0 for one in fake]),
        "recall": np.mean([among(one, fake, 3) > 0 for one in real]),
        "density": np.mean([among(one, real, 5) for one in fake]) / 5,
        "coverage": np.mean(
            [
                any(np.linalg.norm(one - other) <= five for other in fake)
                for one, five in zip(real, fives, strict=True)
            ]
        ),
        "kid": mmd(real, fake),
    }


def mmd(real, fake):
    def mean(one, other, apart):
        pairs = [
            (np.dot(x, y) / len(x) + 1) ** 3
            for i, x in enumerate(one)
            for j, y in enumerate(other)
            if not (apart and i == j)
        ]
        return np.mean(pairs)

    return mean(real, real, True) + mean(fake, fake, True) - 2 * mean(real, fake, False)


def by_torch_fidelity(real, fake):
    from gandask.data import torchvision

    torchvision()  # torch_fidelity imports it
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    # of one subset that is the whole set, its mean is the estimate from all pairs
    found = prc_features_to_metric(fake.double(), real.double(), verbose=False)
    kid = kid_features_to_metric(
        fake.double(), real.double(), kid_subsets=1, kid_subset_size=len(real), verbose=False
    )
    return {
        "precision": found["precision"],
        "recall": found["recall"],
        "kid": kid["kernel_inception_distance_mean"],
    }


@pytest.mark.parametrize("other", [by_definition, by_torch_fidelity])
@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_scores_equal_other_implementations(other, shift, monkeypatch):
    monkeypatch.setattr(sets, "BLOCK", 7)  # so that there are several, the last one smaller
    real, fake = normal(60, seed=1), normal(60, seed=2, shift=shift, scale=0.7)
    found = of_all(real, fake)
    for name, expected in other(real, fake).items():
        assert found[name] == pytest.approx(expected, rel=1e-6), name


def test_of_one_distribution_they_are_near_what_is_to_be_expected():
    found = of_all(normal(800, seed=1), normal(800, seed=2))
    assert found["precision"] > 0.9
    assert found["recall"] > 0.9
    assert found["density"] == pytest.approx(1, abs=0.1)
    assert found["coverage"] > 0.9  # 1 − 2⁻ᵏ for many: Naeem et al. 2020
    assert found["kid"] == pytest.approx(0, abs=0.1)


def test_two_gaussians_tell_fidelity_from_diversity():
    real = torch.cat([normal(200, 2, seed=1, shift=-10), normal(200, 2, seed=2, shift=10)])
    one_mode = of_all(real, normal(400, 2, seed=3, shift=10))
    assert one_mode["precision"] > 0.9
    assert one_mode["recall"] == pytest.approx(0.5, abs=0.05)
    assert one_mode["coverage"] == pytest.approx(0.5, abs=0.05)
    apart = of_all(real, normal(400, 2, seed=3, shift=100))
    assert apart["precision"] == apart["recall"] == apart["density"] == apart["coverage"] == 0
    assert apart["kid"] > one_mode["kid"] > of_all(real, real)["kid"]


def test_by_hand_on_a_line():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    np.testing.assert_array_equal(sets.nearest(real, 3)[:, -1], [10, 9, 8, 10])
    fake = torch.tensor([[1.0], [20.0], [21.0]])
    one = sets.nearest(real, 1)[:, -1]  # 1 1 1 8
    assert sets.precision(real, one, fake) == pytest.approx(1 / 3)
    assert sets.density(real, one, fake, neighbours=1) == pytest.approx(3 / 3)  # in three balls
    assert sets.coverage(real, one, fake) == pytest.approx(3 / 4)
    other = torch.tensor([[1.0], [1.5], [30.0]])  # with radii of 0.5, 0.5 and 28.5: all but 0
    assert sets.recall(real, other, neighbours=1) == pytest.approx(3 / 4)


# --- Degenerate sets ------------------------------------------------------------------------------


def test_samples_that_are_all_equal():
    real = normal(100, seed=1)
    found = of_all(real, real[:1].expand(100, -1))
    assert found["precision"] == 1
    assert found["recall"] == pytest.approx(1 / 100)  # that one sample
    assert 0 < found["coverage"] < 0.2
    assert found["kid"] > 0.1
    outside = of_all(real, torch.full((100, 4), 50.0))
    assert outside["precision"] == outside["recall"] == 0


def test_real_samples_that_are_all_equal():
    real = torch.full((20, 4), 0.1)
    same, other = of_all(real, real), of_all(real, real + 1e-6)
    assert [same[name] for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert same["kid"] == pytest.approx(0, abs=1e-12)
    assert [other[name] for name in ("precision", "recall", "coverage")] == [0, 0, 0]


def test_samples_that_are_there_several_times_are_no_distance_apart():
    real = normal(30, 2048, seed=1, shift=100).repeat(6, 1)  # as InceptionV3 has
    assert (sets.nearest(real, 5) == 0).all()
    found = of_all(real, real[:30])
    assert [found[name] for name in ("precision", "coverage", "recall")] == [1, 1, 1]


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_lie_nowhere(wrong):
    real, fake = normal(50, seed=1), normal(50, seed=2)
    before = of_all(real, fake[:25])
    fake[25:, 1] = wrong
    found = of_all(real, fake)
    assert found["precision"] == pytest.approx(before["precision"] / 2)
    assert found["density"] == pytest.approx(before["density"] / 2)
    assert found["recall"] == before["recall"]
    assert found["coverage"] == before["coverage"]
    assert found["kid"] == math.inf
    fake[:] = wrong
    none = of_all(real, fake)
    assert none["precision"] == none["density"] == none["coverage"] == 0
    assert math.isnan(none["recall"])


def test_samples_far_out_do_not_count_as_neighbours_of_all():
    real, fake = normal(50, seed=1), torch.full((50, 4), 3e38) * torch.linspace(0.1, 1, 50)[:, None]
    found = of_all(real, fake)
    assert found["precision"] == found["coverage"] == 0
    assert math.isfinite(found["kid"])
    assert found["kid"] > 1e100


def test_fewer_samples_than_neighbours():
    real = normal(50, seed=1)
    assert math.isnan(sets.recall(real, real[:3]))
    assert not math.isnan(sets.recall(real, real[:4]))
    few = sets.nearest(real[:3], 3)
    assert torch.isnan(few[:, 2]).all()
    assert torch.isfinite(few[:, :2]).all()


def test_memory_grows_with_blocks_and_not_with_pairs(monkeypatch):
    sizes = []
    whole = torch.cdist
    monkeypatch.setattr(
        torch, "cdist", lambda *given, **told: sizes.append(len(given[0])) or whole(*given, **told)
    )
    monkeypatch.setattr(sets, "BLOCK", 10)
    of_all(normal(45, seed=1), normal(35, seed=2))
    assert max(sizes) == 10
