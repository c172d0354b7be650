"""The discriminator's step under differential privacy: gradients sample by sample, and noise.

DP-SGD after Abadi et al. (2016), for two kinds of samples of which one kind is private. The
gradients of reals and of fakes are clipped one by one. Noise goes on the sum of the reals' alone:
fakes were made of what was told before. The per-sample gradients are Opacus's.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gandask.clients.spending import opacus
from gandask.core import Array, SettingError
from gandask.training.learner import gradients, trainable
from gandask.training.losses import Loss
from gandask.training.pair import Samples

PIECE = 16
"""Samples whose gradients are held at once: those of 64 take 0.7 GB for DCGAN's discriminator."""
MOST_SAID = 240  # characters of what Opacus says

Term = Callable[[Tensor], Tensor]
"""Logits (n, 1) of one kind of samples to what they add to a loss, but for a constant."""

BATCH_NORMALISATION = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def stream(secret: bytes, *key: bytes | str | int) -> np.random.Generator:
    """Make the generator of one draw: the same for the same key, and nobody's without the secret.

    Parameters
    ----------
    secret : bytes
        Up to 64 of them.
    *key : bytes, str or int
        What is drawn, and what it builds on: whoever asks the same again is given the same noise,
        from which nothing can be averaged away.

    Examples
    --------
    >>> secret = bytes(32)
    >>> draws = [stream(secret, *key).integers(1000) for key in (("a", 1), ("a", 1), ("a", 2))]
    >>> bool(draws[0] == draws[1]), bool(draws[0] == draws[2])
    (True, False)
    """
    hashed = hashlib.blake2b(key=secret, digest_size=16)
    for part in key:
        told = part if isinstance(part, bytes) else str(part).encode()
        # kind and length first: ("ab", "c") is another key than ("a", "bc"), and "1" than 1
        hashed.update(f"{type(part).__name__} {len(told)} ".encode() + told)
    # not NumPy's default, whose seed has been computed from a few of its numbers
    return np.random.Generator(np.random.Philox(key=int.from_bytes(hashed.digest(), "little")))


def poisson(members: Array, rate: float, generator: np.random.Generator) -> Array:
    """Draw a batch as the accountant assumes: each member by itself, by the same chance.

    Parameters
    ----------
    members : (n,) array
    rate : float
        The chance, 0 to 1.

    Returns
    -------
    (k,) array
        Those that were drawn, in their order: rate·n on average, and at times none.
    """
    return members[generator.random(len(members)) < rate]


def private_gradients(
    loss: Loss,
    discriminator: nn.Module,
    real: Samples,
    fakes: Samples,
    *,
    clip: float,
    noise: float,
    expected: float,
    generator: np.random.Generator,
) -> tuple[Tensor, ...]:
    """Compute a discriminator's gradients, to which no real sample adds more than is allowed.

    Without noise and clipping they are those of the loss, where there are as many reals as are
    expected.

    Parameters
    ----------
    discriminator : nn.Module
        In training mode. What it comes to is as private as the reals until noise is added.
    real : tuple of tensor
        A batch drawn by `poisson`: of any size, even 0.
    fakes : tuple of tensor
    clip : float
        Largest norm of the gradient of one sample, over all parameters; infinite for none.
    noise : float
        Deviation of the noise on the sum of the reals' gradients, in units of `clip`.
    expected : float
        How many reals there are on average. The real size of the batch is private.
    generator : Generator
        Where the noise is drawn from: a `stream`.

    Returns
    -------
    tuple of tensor
        One gradient for each trainable parameter, in their order.

    Raises
    ------
    SettingError
        If the discriminator or the loss cannot be trained so, or Opacus is not installed.

    Notes
    -----
    The noise is that of floating-point numbers from a generator that is not a cryptographic one.
    Epsilon is that of exact arithmetic and true noise (Mironov, 2012, tells how they differ).
    """
    _refuse_unfit(loss, discriminator)
    parameters = [*trainable(discriminator).values()]
    with _telling_apart(discriminator) as told:
        of_reals = _clipped_sum(told, parameters, real, _of_reals(loss), clip)
        of_fakes = _clipped_sum(told, parameters, fakes, _of_fakes(loss), clip)
    if noise:
        of_reals = [part + _drawn(part, noise * clip, generator) for part in of_reals]
    return tuple(
        of_real / expected + of_fake / len(fakes[0])
        for of_real, of_fake in zip(of_reals, of_fakes, strict=True)
    )


def _of_reals(loss: Loss) -> Term:
    """Give what reals add to the discriminator's loss."""
    return lambda logits: loss.discriminator(logits, logits.new_zeros(1, 1))


def _of_fakes(loss: Loss) -> Term:
    """Give what fakes add to the discriminator's loss."""
    return lambda logits: loss.discriminator(logits.new_zeros(1, 1), logits)


def check_separable(loss: Loss, discriminator: nn.Module, samples: Samples) -> None:
    """Refuse what has no gradient of each sample by itself, as privacy needs it; a trial, once.

    Parameters
    ----------
    discriminator : nn.Module
        In training mode; it is left as it is.
    samples : tuple of tensor
        Two or more.

    Raises
    ------
    SettingError
        For batch normalisation, a gradient penalty, a loss that compares samples of a batch with
        each other, a network that does, and one that stores what it saw; or if Opacus is not
        installed.
    """
    _refuse_unfit(loss, discriminator)
    _refuse_comparing(loss)
    tried = copy.deepcopy(discriminator)
    parameters = [*trainable(tried).values()]
    of_reals = _of_reals(loss)
    try:
        with _telling_apart(tried) as told:
            apart = _per_sample(told, parameters, samples, of_reals)
    except SettingError:
        raise
    except Exception as error:  # whatever a user's network raises
        raise SettingError(
            f"privacy: Opacus cannot tell the samples' gradients apart in this discriminator "
            f"({type(error).__name__}: {error}); choose another network"
        ) from error
    for index in range(len(samples[0])):
        alone = tuple(part[index : index + 1] for part in samples)
        plain = gradients(of_reals(tried(*alone)), parameters)
        for part, expected in zip(apart, plain, strict=True):
            slack = float(expected.abs().max()) * 1e-3 + 1e-6
            if not torch.allclose(part[index], expected, rtol=1e-3, atol=slack):
                raise SettingError(
                    "privacy: the discriminator's gradient of a sample is another one in a batch: "
                    "its influence could not be bounded; choose a network that looks at each "
                    "sample by itself, uses its layers as they are, and draws nothing"
                )
    for (name, before), after in zip(discriminator.named_buffers(), tried.buffers(), strict=True):
        if not torch.equal(before, after):
            raise SettingError(
                f"privacy: the discriminator keeps what it saw, without noise, in {name}; choose "
                "a network that does not"
            )


def _refuse_unfit(loss: Loss, discriminator: nn.Module) -> None:
    """Raise SettingError for what is known to have no gradient of each sample by itself."""
    if loss.gradient_penalty:
        raise SettingError(
            "privacy: the loss has a gradient penalty, which mixes each real sample with a fake "
            "and looks at slopes: what one sample adds cannot be told apart; choose one without, "
            "such as loss='wgan' or 'hinge'"
        )
    for name, part in discriminator.named_modules():
        if isinstance(part, BATCH_NORMALISATION):
            raise SettingError(
                f"privacy: the discriminator has batch normalisation ({name or 'itself'}), which "
                "mixes the samples of a batch and stores what it saw: what one sample adds cannot "
                "be bounded; choose one without, such as network='mlp' or 'wgan'"
            )


def _refuse_comparing(loss: Loss) -> None:
    """Raise SettingError unless a loss is a mean over reals and one over fakes."""
    real = torch.tensor([[-2.0], [0.5], [3.0]], dtype=torch.float64)
    fake = torch.tensor([[-3.0], [-0.4], [1.5], [2.2]], dtype=torch.float64)
    undecided = torch.zeros(1, 1, dtype=torch.float64)
    of_reals = torch.stack([loss.discriminator(one[None], undecided) for one in real]).mean()
    of_fakes = torch.stack([loss.discriminator(undecided, one[None]) for one in fake]).mean()
    parts = of_reals + of_fakes - loss.discriminator(undecided, undecided)
    if not torch.isclose(loss.discriminator(real, fake), parts, rtol=1e-6, atol=1e-9):
        raise SettingError(
            "privacy: the discriminator's loss is no mean over reals and one over fakes: what one "
            "sample adds cannot be told apart; choose one that is, such as loss='bce'"
        )


@contextlib.contextmanager
def _telling_apart(discriminator: nn.Module) -> Iterator[Any]:
    """Let Opacus see the gradients of a network sample by sample, and leave nothing of it there."""
    try:
        told = opacus("grad_sample").GradSampleModule(discriminator, loss_reduction="sum")
    except NotImplementedError as error:
        reason = " ".join(str(error).split())  # it tells of each layer, at length
        raise SettingError(
            f"privacy: Opacus cannot train this discriminator ({reason[:MOST_SAID]}); choose "
            "another network"
        ) from error
    try:
        with warnings.catch_warnings():
            # the first layer's input needs no gradient
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            yield told
    finally:
        told.to_standard_module()
        for part in discriminator.modules():
            for left in ("activations", "max_batch_len"):
                vars(part).pop(left, None)


def _per_sample(
    told: Any, parameters: Sequence[Tensor], samples: Samples, term: Term
) -> list[Tensor]:
    """Compute the gradient of each sample for each parameter, (n, ...)."""
    told.set_grad_sample_to_none()
    logits = told(*samples)
    # the loss is a mean: times n it is each sample's own
    gradients(term(logits) * len(logits), parameters)  # for Opacus, which looks on
    found = [getattr(part, "grad_sample", None) for part in parameters]
    return [
        part.new_zeros(len(logits), *part.shape) if apart is None else apart
        for part, apart in zip(parameters, found, strict=True)
    ]


def _clipped_sum(
    told: Any, parameters: Sequence[Tensor], samples: Samples, term: Term, clip: float
) -> list[Tensor]:
    """Sum the gradients of samples, each of a norm of no more than `clip`.

    One that is no finite number has no norm, and adds nothing.
    """
    sums = [torch.zeros_like(part) for part in parameters]
    for begin in range(0, len(samples[0]), PIECE):
        piece = tuple(part[begin : begin + PIECE] for part in samples)
        apart = _per_sample(told, parameters, piece, term)
        norms = torch.stack([part.flatten(1).norm(dim=1) for part in apart]).norm(dim=0)
        finite = norms.isfinite()
        factors = (clip / norms[finite]).clamp(max=1)
        for total, part in zip(sums, apart, strict=True):
            total += torch.tensordot(factors, part[finite], dims=1)
    return sums


def _drawn(like: Tensor, deviation: float, generator: np.random.Generator) -> Tensor:
    """Draw Gaussian noise for each number of a tensor."""
    noise = generator.standard_normal(tuple(like.shape)) * deviation
    return torch.from_numpy(np.asarray(noise)).to(like)
