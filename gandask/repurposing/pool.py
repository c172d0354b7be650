"""Scores of many ensembles at once: what any search asks, without a sample more.

Sums over samples merge by addition, so that all scores of an ensemble follow from its weights and
its members' sums (`gandask.scores.metrics`). Here the sums of all candidates lie side by side, and
those of thousands of ensembles are products of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from gandask.core import Array
from gandask.scores.metrics import Reference, Statistics

AT_ONCE = 1 << 24  # numbers of covariances that are held at a time: bounds memory


class Pool:
    """Candidates, measured on one half of the samples, beside the real data of one half.

    Parameters
    ----------
    real : Reference
    candidates : sequence of Statistics
        Of each generator, from finite samples.
    """

    def __init__(self, real: Reference, candidates: Sequence[Statistics]) -> None:
        self.real = real
        self.size = max(one.count for one in candidates)
        self.classes = np.stack([one.class_counts / one.count for one in candidates])
        self.means = np.stack([one.mean for one in candidates])
        self.products = np.stack([one.feature_products / one.count for one in candidates])
        self.wanted = real.statistics.class_counts / real.statistics.count
        self.tried = 0
        """Ensembles scored so far."""

    def __len__(self) -> int:
        return len(self.classes)

    def scores(self, objective: str, weights: Array) -> Array:
        """Score ensembles by an objective; lower is better.

        Parameters
        ----------
        objective : {"tvd", "fid"}
        weights : (ensembles, candidates) array
            Rows that add up to 1.

        Returns
        -------
        (ensembles,) array
        """
        compute: dict[str, Callable[[Array], Array]] = {"tvd": self._tvd, "fid": self._fid}
        self.tried += len(weights)
        return compute[objective](weights)

    def _tvd(self, weights: Array) -> Array:
        """Compute ``½ Σ |p − q|`` over the classes, as `metrics.tvd` does."""
        return np.asarray(np.abs(weights @ self.classes - self.wanted).sum(1) / 2)

    def _fid(self, weights: Array) -> Array:
        """Compute Fréchet distances, as `metrics.fid` does."""
        features = self.means.shape[1]
        parts = -(-len(weights) * features * features // AT_ONCE)
        found = [self._distances(part) for part in np.array_split(weights, max(1, parts))]
        return np.concatenate(found)

    def _distances(self, weights: Array) -> Array:
        means = weights @ self.means
        shape = len(weights), *self.products.shape[1:]
        moments = (weights @ self.products.reshape(len(self), -1)).reshape(shape)
        # the unbiased covariance of as many samples as `metrics.merge` counts
        unbiased = self.size / max(1.0, self.size - 1.0)
        covariances = (moments - means[:, :, None] * means[:, None, :]) * unbiased
        values = np.linalg.eigvalsh(self.real.root @ covariances @ self.real.root)
        offsets = self.real.statistics.mean - means
        spread = np.trace(self.real.statistics.covariance) + np.trace(covariances, axis1=1, axis2=2)
        overlap = np.sqrt(values.clip(0)).sum(1)
        return np.asarray(np.maximum(0.0, (offsets * offsets).sum(1) + spread - 2 * overlap))
