"""Attacks: how well members, what a client trained on, are told from other samples.

Three attackers give every candidate a score, larger for likelier members. One sees what the
generator makes, one the feedback that leaves the client, one the discriminator itself. Much that
they find is a leak; that they find little says nothing of attackers who do better.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array
from gandask.training import pair
from gandask.training.losses import Loss

NEEDED = 10  # false positives below which nothing is said of a rate
QUANTILE = 0.01  # of held-out samples, by their distance to the nearest member
DRAWS = 8  # directions in which feedback around a candidate is asked for
STEP = 0.2  # how far off, in each number of an image in [-1, 1]
BLOCK = 1024  # images compared at once: bounds memory

Rate = tuple[float, float, float]
"""A share, and the lower and the upper end of its 95 % interval."""


# --- Attackers ------------------------------------------------------------------------------------


def by_samples(candidates: Array, generated: Array, calibration: Array | None = None) -> Array:
    """Score candidates by how near the generator comes to them.

    Minus the distance to the nearest generated sample, less that to the nearest sample of another
    generator: some candidates are easily come near to by any (GAN-Leaks, Chen et al. 2020).

    Returns
    -------
    (n,) array
    """
    distances = nearest(candidates, generated)
    if calibration is not None and np.isfinite(calibration).all():
        distances = distances - nearest(candidates, calibration)
    return -distances


def by_feedback(
    candidates: Array,
    discriminator: nn.Module,
    loss: Loss,
    unit: bool,
    batch_size: int,
    device: torch.device,
    chance: np.random.Generator,
) -> Array:
    """Score candidates by the feedback on them, as a server that sends them as fakes would.

    It asks around each candidate: a step off in a random direction, and one the other way. Around a
    member, which the discriminator has learnt, the loss rises on all sides, so that feedback and
    step point the same way. The score is the sum of their cosines, which norms do not change.

    Where they are not scaled to 1 (`unit`), ranks by the norm on the candidate itself are added: of
    -log D that is (1 - D) times the norm of the logit's gradient, small for members.

    Returns
    -------
    (n,) array
    """

    def asked(images: Array) -> Array:
        return _feedback(images, discriminator, loss, batch_size, device)

    pointing = np.zeros(len(candidates))
    for _ in range(DRAWS):
        step = (STEP * chance.choice([-1, 1], candidates.shape)).astype(np.float32)
        there, back = asked(candidates + step), asked(candidates - step)
        pointing += _cosines(there, step) - _cosines(back, step)
    leaning = 0.0 if unit else _leaning(loss)
    if not leaning:
        return pointing
    norms = np.linalg.norm(asked(candidates).reshape(len(candidates), -1), axis=1)
    ranks = _placements(pointing, pointing) - leaning * _placements(norms, norms)
    return np.asarray(np.where(np.isnan(pointing + norms), np.nan, ranks))


def by_discriminator(
    candidates: Array, discriminator: nn.Module, batch_size: int, device: torch.device
) -> Array:
    """Score candidates by their logits, each judged by itself, as who holds the weights would.

    Returns
    -------
    (n,) array
    """

    def judged(images: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = discriminator(images)
        return logits.flatten()

    with _in_mode(discriminator, training=False):
        return _in_batches(judged, candidates, batch_size, device)


# --- What their scores come to --------------------------------------------------------------------


def auc(members: Array, others: Array) -> tuple[float, float]:
    """Compute the area under the ROC curve, and its standard error after DeLong et al. (1988).

    The area is Mann and Whitney's statistic, with ties as halves. The error is 0 where the two do
    not overlap, NaN for fewer than two of a kind; both are NaN where a score is.

    Parameters
    ----------
    members, others : (n,) array
        Scores, infinite ones included.

    Examples
    --------
    >>> auc(np.array([3.0, 2.0]), np.array([2.0, 1.0]))[0]
    0.875
    """
    if not _tellable(members, others):
        return math.nan, math.nan
    above, below = _placements(members, others), 1 - _placements(others, members)
    if min(len(members), len(others)) < 2:
        return float(above.mean()), math.nan
    variance = above.var(ddof=1) / len(members) + below.var(ddof=1) / len(others)
    return float(above.mean()), math.sqrt(variance)


def true_positive_rate(members: Array, others: Array, rate: float) -> Rate:
    """Compute the share of members found where at most a share `rate` of others is taken for them.

    The interval is Clopper and Pearson's (1934) of 95 % for the threshold that these others give:
    it leaves out that others would give another one. All is NaN where fewer than `NEEDED` others
    may be taken for members, or a score is NaN.

    Examples
    --------
    >>> scores = np.arange(100.0)
    >>> [round(each, 3) for each in true_positive_rate(scores + 50, scores, 0.1)]
    [0.6, 0.497, 0.697]
    """
    # not at the top: it takes a third of a second
    from scipy import special

    allowed = math.floor(rate * len(others) + 1e-9)  # 0.29 * 100 is a little less than 29
    if allowed < NEEDED or not _tellable(members, others):
        return math.nan, math.nan, math.nan
    threshold = np.sort(others)[-allowed - 1]
    found, count = int((members > threshold).sum()), len(members)
    low = special.betaincinv(found, count - found + 1, 0.025) if found else 0.0
    high = special.betaincinv(found + 1, count - found, 0.975) if found < count else 1.0
    return found / count, float(low), float(high)


def memorised(generated: Array, members: Array, held_out: Array) -> float:
    """Compute the share of generated samples nearer to a member than held-out samples lie.

    Nearer, that is, than the 1 % quantile of the distances of held-out samples to the members
    nearest to them: about 0.01 where the generator draws from the same distribution.
    """
    bound = np.quantile(nearest(held_out, members), QUANTILE)
    return float((nearest(generated, members) < bound).mean())


def nearest(samples: Array, others: Array) -> Array:
    """Compute each sample's Euclidean distance to the nearest of others, in float64.

    It is infinite where either is not finite.

    Returns
    -------
    (n,) array

    Examples
    --------
    >>> nearest(np.array([[0.0, 0.0], [3.0, 3.0]]), np.array([[3.0, 4.0], [9.0, 9.0]]))
    array([5., 1.])
    """
    found = np.full(len(samples), np.inf)
    for start in range(0, len(samples), BLOCK):
        part = found[start : start + BLOCK]
        rows, numbered = _finite_rows(samples[start : start + BLOCK])
        for first in range(0, len(others), BLOCK):
            columns, _ = _finite_rows(others[first : first + BLOCK])
            if not len(rows) or not len(columns):
                continue
            closest = ((columns**2).sum(1) - 2 * rows @ columns.T).argmin(1)
            # once more by differences: the product's rounding is larger than small distances are
            exact = np.linalg.norm(rows - columns[closest], axis=1)
            part[numbered] = np.minimum(part[numbered], exact)
    return found


# --- Parts ----------------------------------------------------------------------------------------


def _feedback(
    images: Array, discriminator: nn.Module, loss: Loss, batch_size: int, device: torch.device
) -> Array:
    """Compute what leaves the client for these fakes, batch by batch, as in training."""
    with _in_mode(discriminator, training=True):
        return _in_batches(
            lambda fakes: pair.feedback(loss, discriminator, (fakes,))[1],
            images,
            batch_size,
            device,
        )


def _in_batches(
    compute: Callable[[Tensor], Tensor], images: Array, batch_size: int, device: torch.device
) -> Array:
    """Compute something of each image, in full batches: the last is filled up with the first."""
    count = -(-len(images) // batch_size) * batch_size
    order = np.resize(np.arange(len(images)), count)
    made = [
        compute(torch.from_numpy(images[part].astype(np.float32)).to(device)).cpu().numpy()
        for part in np.split(order, count // batch_size)
    ]
    return np.concatenate(made)[: len(images)].astype(np.float64)


@contextlib.contextmanager
def _in_mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """Let a network train or not, and leave mode and statistics of batches as they were."""
    modes = [(part, part.training) for part in module.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def _leaning(loss: Loss) -> float:
    """Tell how the norm of feedback hangs on the logit: 1 if it falls with it, -1 if it rises."""
    logits = torch.tensor([[0.0], [1.0]], requires_grad=True)
    (slopes,) = torch.autograd.grad(loss.generator(logits), logits)
    unsure, sure = slopes.flatten().abs().tolist()
    return float(np.sign(unsure - sure))


def _cosines(one: Array, other: Array) -> Array:
    """Compute the cosine of each row with its counterpart: 0 where one of them is 0."""
    one, other = (part.reshape(len(part), -1).astype(np.float64) for part in (one, other))
    with np.errstate(invalid="ignore", over="ignore"):  # a broken discriminator's: NaN says so
        products = (one * other).sum(1)
        norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        return np.asarray(np.divide(products, norms, out=np.zeros(len(one)), where=norms != 0))


def _placements(scores: Array, among: Array) -> Array:
    """Compute for each score the share of others below it, ties as halves."""
    ordered = np.sort(among)
    below, up_to = (np.searchsorted(ordered, scores, side) for side in ("left", "right"))
    return np.asarray((below + up_to) / (2 * len(among)))


def _tellable(members: Array, others: Array) -> bool:
    """Whether there are both, and their scores are numbers."""
    both = np.concatenate([members, others])
    return bool(len(members) and len(others) and not np.isnan(both).any())


def _finite_rows(samples: Array) -> tuple[Array, Array]:
    """Give those samples that are finite, as rows of float64, and which they are."""
    rows = samples.reshape(len(samples), -1).astype(np.float64)
    numbered = np.flatnonzero(np.isfinite(rows).all(1))
    return rows[numbered], numbered
