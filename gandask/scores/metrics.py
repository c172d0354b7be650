"""Scores of generated samples: FID, IS, TVD, mode coverage, high-quality share.

All of them follow from `Statistics`: sums over samples that merge by addition, so that the score
of a weighted mixture of generators needs no new samples, only a weighted sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from gandask.core import Array


@dataclass(frozen=True)
class Statistics:
    """Sums over samples, for `features` dimensions and `classes` classes.

    Parameters
    ----------
    count : float
        Number of samples.
    feature_sum : (features,) array
    feature_products : (features, features) array
        Sum of the outer products of features.
    probability_sum : (classes,) array
        Sum of the predicted class probabilities.
    negative_entropy : float
        Sum over samples of ``Σ p log p``, in nats.
    class_counts : (classes,) array
        Samples by most probable class.
    mode_counts : (classes,) array
        High-quality samples by mode.
    """

    count: float
    feature_sum: Array
    feature_products: Array
    probability_sum: Array
    negative_entropy: float
    class_counts: Array
    mode_counts: Array

    def to_array(self) -> Array:
        """Pack into one float64 vector, for the way back to the client."""
        head = [len(self.feature_sum), len(self.class_counts), self.count, self.negative_entropy]
        parts = [
            self.feature_sum,
            self.feature_products.ravel(),
            self.probability_sum,
            self.class_counts,
            self.mode_counts,
        ]
        return np.concatenate([np.array(head, float), *parts])

    @classmethod
    def from_array(cls, packed: Array) -> Statistics:
        """Unpack what `to_array` packed."""
        features, classes = int(packed[0]), int(packed[1])
        sizes = [features, features * features, classes, classes]
        total, products, probabilities, counts, modes = np.split(packed[4:], np.cumsum(sizes))
        return cls(
            float(packed[2]),
            total,
            products.reshape(features, features),
            probabilities,
            float(packed[3]),
            counts,
            modes,
        )

    @property
    def mean(self) -> Array:
        """Mean feature vector, shape (features,)."""
        return np.asarray(self.feature_sum / self.count)

    @property
    def covariance(self) -> Array:
        """Unbiased covariance of the features, shape (features, features)."""
        scatter = self.feature_products - np.outer(self.feature_sum, self.mean)
        return np.asarray(scatter / max(1.0, self.count - 1.0))

    @property
    def shares(self) -> list[float]:
        """Share of the samples that is on each mode: of images, in each class."""
        return [float(share) for share in self.mode_counts / self.count]


def measure(features: Array, probabilities: Array, high_quality: Array | None = None) -> Statistics:
    """Sum the statistics of one batch of samples.

    Parameters
    ----------
    features : (n, features) array
    probabilities : (n, classes) array
        Predicted class probabilities, rows adding up to 1.
    high_quality : (n,) bool array, optional
        Which samples count for their mode; all of them by default.
    """
    features, probabilities = features.astype(np.float64), probabilities.astype(np.float64)
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    good = predicted if high_quality is None else predicted[high_quality]
    return Statistics(
        float(len(features)),
        features.sum(0),
        features.T @ features,
        probabilities.sum(0),
        _negative_entropy(probabilities),
        np.bincount(predicted, minlength=classes).astype(float),
        np.bincount(good, minlength=classes).astype(float),
    )


def merge(parts: Sequence[Statistics], weights: Sequence[float] | None = None) -> Statistics:
    """Add statistics up; with `weights`, those of a mixture drawn in these shares.

    A weighted result counts as many samples as its largest part. Parts of weight 0 are left out.
    """
    if weights is None:
        scales = [1.0] * len(parts)
    else:
        size = max(part.count for part in parts)
        scales = [w * size / part.count for w, part in zip(weights, parts, strict=True)]
    chosen = [(part, scale) for part, scale in zip(parts, scales, strict=True) if scale > 0]

    def total(name: str) -> Array:
        return np.asarray(sum(getattr(part, name) * scale for part, scale in chosen))

    return Statistics(
        float(total("count")),
        total("feature_sum"),
        total("feature_products"),
        total("probability_sum"),
        float(total("negative_entropy")),
        total("class_counts"),
        total("mode_counts"),
    )


@dataclass(frozen=True)
class Reference:
    """The real data's statistics, with the matrix root that every Fréchet distance needs."""

    statistics: Statistics
    root: Array

    @classmethod
    def of(cls, statistics: Statistics) -> Reference:
        """Prepare real statistics for scoring; of no samples there is no root."""
        if not statistics.count:
            return cls(statistics, np.full_like(statistics.feature_products, np.nan))
        values, vectors = np.linalg.eigh(statistics.covariance)
        return cls(statistics, (vectors * np.sqrt(values.clip(0))) @ vectors.T)


def fid(real: Reference, fake: Statistics) -> float:
    """Compute the Fréchet distance between Gaussians fitted to two sets of features.

    ``|μ₁ − μ₂|² + tr(C₁ + C₂ − 2 (C₁ C₂)^½)`` (Heusel et al. 2017, Eq. 6). The trace of the root
    is taken from the symmetric ``C₁^½ C₂ C₁^½``, which has the same eigenvalues.
    """
    if not np.isfinite(fake.feature_products).all():
        return float("inf")
    offset = real.statistics.mean - fake.mean
    covariance = fake.covariance
    product = real.root @ covariance @ real.root
    if not np.isfinite(product).all():
        return float("inf")
    values = np.linalg.eigvalsh(product)
    spread = np.trace(real.statistics.covariance) + np.trace(covariance)
    return float(max(0.0, offset @ offset + spread - 2 * np.sqrt(values.clip(0)).sum()))


def tvd(real: Reference, fake: Statistics) -> float:
    """Compute the total variation distance of the predicted classes: ``½ Σ |p − q|``."""
    p = real.statistics.class_counts / real.statistics.count
    return float(np.abs(p - fake.class_counts / fake.count).sum() / 2)


def inception_score(real: Reference, fake: Statistics) -> float:
    """Compute ``exp E[KL(p(y|x) ‖ p(y))]`` (Salimans et al. 2016) over one split."""
    marginal = _negative_entropy((fake.probability_sum / fake.count)[None])
    return float(np.exp(fake.negative_entropy / fake.count - marginal))


def modes(real: Reference, fake: Statistics) -> float:
    """Count the modes that at least one high-quality sample falls on."""
    return float((fake.mode_counts >= 1.0 - 1e-9).sum())


def high_quality(real: Reference, fake: Statistics) -> float:
    """Compute the share of samples near a mode, from 0 to 1."""
    return float(fake.mode_counts.sum() / fake.count)


@dataclass(frozen=True)
class Metric:
    """A score: how it is computed, which way is better, and whether it tells of points alone."""

    compute: Callable[[Reference, Statistics], float]
    higher_is_better: bool
    long_name: str
    units: str = "1"
    of_points: bool = False

    @property
    def direction(self) -> str:
        """Which of two scores is better, as a variable says it: "higher" or "lower"."""
        return "higher" if self.higher_is_better else "lower"

    def better(self, score: float, than: float) -> bool:
        """Tell whether `score` is strictly better; anything beats a score that is not a number."""
        return better(score, than, self.higher_is_better)


def better(score: float, than: float, higher_is_better: bool) -> bool:
    """Tell whether `score` is strictly better; anything beats a score that is not a number."""
    if np.isnan(score) or np.isnan(than):
        return bool(np.isnan(than) and not np.isnan(score))
    return score > than if higher_is_better else score < than


METRICS = {
    "fid": Metric(fid, False, "FID"),
    "tvd": Metric(tvd, False, "total variation distance of classes"),
    "inception_score": Metric(inception_score, True, "inception score"),
    "modes": Metric(modes, True, "modes covered"),
    "high_quality": Metric(high_quality, True, "share of high-quality samples", of_points=True),
}


def scores(real: Reference, fake: Statistics, prefix: str = "") -> dict[str, float]:
    """Compute every metric, by name."""
    return {prefix + name: metric.compute(real, fake) for name, metric in METRICS.items()}


def _negative_entropy(probabilities: Array) -> float:
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return float((probabilities * logs).sum())
