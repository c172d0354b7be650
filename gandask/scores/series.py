"""Scores of sequences: how steps hang together, and what samples teach of the step to come."""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, rng
from gandask.data import Data
from gandask.training import networks

LAGS = 64  # steps apart, at most, that are compared
WINDOW = 8  # steps that the next is predicted from, at most
HIDDEN, BATCH, STEPS, RATE = 64, 128, 1_000, 4e-3  # of the predictor and its training
MOST_HELD = 10_000  # sequences to test on


def autocorrelation(sequences: Tensor) -> Tensor:
    """Compute how alike steps are that lie some steps apart, by channel.

    ``E[(x_t − μ)(x_{t+k} − μ)] / E[(x_t − μ)²]`` over all sequences and steps t, for k from 1 to
    half of the steps, at most 64. Of a channel that never changes it is 1.

    Parameters
    ----------
    sequences : (n, steps, channels) tensor

    Returns
    -------
    (lags, channels) tensor of float64

    Examples
    --------
    >>> autocorrelation(torch.tensor([1.0, -1.0, 1.0, -1.0]).reshape(1, 4, 1)).tolist()
    [[-1.0], [1.0]]
    """
    centred = sequences.double()
    centred = centred - centred.mean((0, 1))
    power = centred.square().mean((0, 1))
    lags = range(1, 1 + min(LAGS, centred.shape[1] // 2))
    products = [(centred[:, lag:] * centred[:, :-lag]).mean((0, 1)) for lag in lags]
    return torch.where(power > 0, torch.stack(products) / power, 1.0)


def autocorrelation_distance(real: Tensor, made: Tensor) -> float:
    """Compute the mean absolute difference of autocorrelations, over lags and channels.

    Parameters
    ----------
    real, made : (n, steps, channels) tensor
        Of the latter those that are not finite are left out.

    Returns
    -------
    float
        From 0 to 2; NaN if nothing made is finite.
    """
    made = _finite(made)
    if not len(made):
        return math.nan
    return float((autocorrelation(real) - autocorrelation(made)).abs().mean())


def prediction_error(made: Tensor, data: Data, of: tuple[int, ...] = ()) -> float:
    """Teach a predictor of the next step with generated sequences, and test it on real ones.

    "Train on synthetic, test on real" of Esteban et al. (2017), with the predictive score of Yoon
    et al. (2019): the mean absolute error of the step to come. The predictor here is small: fully
    connected, and sees up to 8 steps. It is tested on the half of the real sequences that
    `real_error` tests on. Whoever made the generated ones may have learnt from them.

    Parameters
    ----------
    made : (n, steps, channels) tensor
        Those that are not finite are left out.
    data : Data
        The real sequences.
    of : tuple of int
        Labels of which they are; none for all.

    Returns
    -------
    float
        NaN if nothing made is finite.
    """
    made = _finite(made)
    if not len(made):
        return math.nan
    _, held = _halves(data, of)
    return _error(_predictor(made), data.batch(held))


@functools.lru_cache(maxsize=8)
def real_error(data: Data, of: tuple[int, ...] = ()) -> float:
    """Teach the predictor with half of the real sequences, and test it on the other; see above."""
    taught, held = _halves(data, of)
    return _error(_predictor(data.batch(taught)), data.batch(held))


def _finite(sequences: Tensor) -> Tensor:
    sequences = sequences.cpu()
    return sequences[torch.isfinite(sequences.flatten(1)).all(1)]


def _halves(data: Data, of: tuple[int, ...]) -> tuple[Array, Array]:
    """Give the indices of real sequences to teach with, and of others to test on."""
    known = np.flatnonzero(np.isin(data.labels, of)) if of else np.arange(len(data))
    taught, held = np.array_split(rng(0, "predictor", "halves").permutation(known), 2)
    return taught, held[:MOST_HELD]


def _window(sequences: Tensor) -> int:
    return min(WINDOW, sequences.shape[1] - 1)


def _predictor(sequences: Tensor) -> nn.Module:
    """Train a network that predicts a step from those before it, whatever was drawn before."""
    count, steps, channels = sequences.shape
    window = _window(sequences)
    model = networks.build(
        lambda: nn.Sequential(
            nn.Linear(window * channels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, channels)
        ),
        seed=0,
    )
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)
    chance = rng(0, "predictor", "batches")
    span = torch.arange(window + 1)
    with torch.enable_grad():
        for _ in range(STEPS):
            rows = torch.from_numpy(chance.integers(count, size=(BATCH, 1)))
            starts = torch.from_numpy(chance.integers(steps - window, size=(BATCH, 1)))
            seen = sequences[rows, starts + span]
            loss = (model(seen[:, :-1].flatten(1)) - seen[:, -1]).abs().mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return model


def _error(model: nn.Module, sequences: Tensor) -> float:
    """Compute the mean absolute error of every step that has enough before it."""
    window = _window(sequences)
    with torch.no_grad():
        errors = [
            (model(sequences[:, end - window : end].flatten(1)) - sequences[:, end]).abs().mean()
            for end in range(window, sequences.shape[1])
        ]
    return float(torch.stack(errors).double().mean())
