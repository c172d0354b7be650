"""Scores of whole sets of features: precision, recall, density, coverage, kernel distance.

None of them follows from sums over samples: who is whose neighbour, and how alike any two are, is
a matter of all samples at once. Computed by blocks, in float64: memory grows with the number of
samples, not with its square, and samples far out do not overflow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

BLOCK = 500
"""Samples whose distances to all others are in memory at once."""


def nearest(points: Tensor, count: int) -> Tensor:
    """Give the distances of each point to its nearest others, the nearest first.

    Returns
    -------
    (n, count) float64 tensor
        NaN where there are not so many others.

    Examples
    --------
    >>> nearest(torch.tensor([[0.0], [1.0], [3.0]]), 2)
    tensor([[1., 3.],
            [1., 2.],
            [2., 3.]], dtype=torch.float64)
    """
    found = torch.full((len(points), count), math.nan, dtype=torch.float64)
    others = min(count, len(points) - 1)
    parts = [
        distances.topk(others + 1, largest=False, sorted=True).values
        for distances in _distances(points, points)
    ]
    found[:, :others] = torch.cat(parts)[:, 1:]  # the first is its distance to itself
    return found


def precision(real: Tensor, radii: Tensor, fake: Tensor) -> float:
    """Compute the share of generated samples that lie among real ones, from 0 to 1.

    Among real ones is what is no further from any real sample than that is from its k-th nearest
    neighbour among them (Kynkäänniemi et al. 2019, Eq. 1 and 2).

    Parameters
    ----------
    real : (n, features) tensor
    radii : (n,) tensor
        Distance of each real sample to its k-th nearest neighbour: k = 3 in the paper.
    fake : (m, features) tensor
    """
    hits, _ = _hits(real, radii, fake)
    return float((hits > 0).double().mean())


def recall(real: Tensor, fake: Tensor, neighbours: int = 3) -> float:
    """Compute the share of real samples that lie among generated ones, from 0 to 1.

    Precision the other way round (Kynkäänniemi et al. 2019, Eq. 2). What is not finite has no
    neighbours; with no more than `neighbours` that are, it is NaN.
    """
    finite = fake[torch.isfinite(fake).all(1)]
    if len(finite) <= neighbours:
        return math.nan
    return precision(finite, nearest(finite, neighbours)[:, -1], real)


def density(real: Tensor, radii: Tensor, fake: Tensor, neighbours: int = 5) -> float:
    """Compute how many real neighbourhoods a generated sample lies in, by what is to be expected.

    ``1/(kM) Σⱼ Σᵢ 1[Yⱼ ∈ B(Xᵢ, NNDₖ(Xᵢ))]`` (Naeem et al. 2020). About 1 for samples from the same
    distribution; above 1 for samples that crowd where the real ones do.

    Parameters
    ----------
    real : (n, features) tensor
    radii : (n,) tensor
        Distance of each real sample to its k-th nearest neighbour: k = 5 in the paper.
    fake : (m, features) tensor
    neighbours : int
        k.
    """
    hits, _ = _hits(real, radii, fake)
    return float(hits.double().mean() / neighbours)


def coverage(real: Tensor, radii: Tensor, fake: Tensor) -> float:
    """Compute the share of real samples in whose neighbourhood a generated one lies.

    ``1/N Σᵢ 1[∃j: Yⱼ ∈ B(Xᵢ, NNDₖ(Xᵢ))]`` (Naeem et al. 2020); the parameters are those of
    `density`.
    """
    _, found = _hits(real, radii, fake)
    return float(found.double().mean())


def kernel_distance(real: Tensor, fake: Tensor, alike: float | None = None) -> float:
    """Compute the squared maximum mean discrepancy: KID, where features are InceptionV3's.

    Of the kernel ``(x·y/d + 1)³`` (Bińkowski et al. 2018), estimated without bias from all pairs
    (Gretton et al. 2012, Eq. 3), not as a mean over drawn subsets, which has the same expectation
    and more noise. So it may be a little below 0; infinite where samples are not finite.

    Parameters
    ----------
    real : (n, features) tensor
    fake : (m, features) tensor
    alike : float, optional
        `likeness` of the real samples, where it is known.
    """
    if alike is None:
        alike = likeness(real)
    across = sum(float(part.sum()) for part in _kernels(real, fake))
    found = alike + likeness(fake) - 2 * across / (len(real) * len(fake))
    return found if math.isfinite(found) else math.inf


def likeness(points: Tensor) -> float:
    """Compute the mean kernel of two different points of a set."""
    total = sum(float(part.sum()) for part in _kernels(points, points))
    itself = (points.double().square().mean(1) + 1) ** 3
    return (total - float(itself.sum())) / (len(points) * (len(points) - 1))


def _hits(centres: Tensor, radii: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Count the balls around centres that each point lies in, and tell which of them hold any."""
    counts, held = [], torch.zeros(len(centres), dtype=torch.bool)
    for distances in _distances(points, centres):
        inside = distances <= radii
        counts.append(inside.sum(1))
        held |= inside.any(0)
    return torch.cat(counts), held


def _distances(points: Tensor, others: Tensor) -> Iterator[Tensor]:
    """Give the distances of points to others, by blocks.

    By differences: from products, equal samples would be a little apart, and in a set of equal
    ones every neighbour is.
    """
    others = others.double()
    for block in torch.split(points.double(), BLOCK):
        yield torch.cdist(block, others, compute_mode="donot_use_mm_for_euclid_dist")


def _kernels(points: Tensor, others: Tensor) -> Iterator[Tensor]:
    others = others.double()
    for block in torch.split(points.double(), BLOCK):
        yield (block @ others.T / others.shape[1] + 1) ** 3
