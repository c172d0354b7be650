"""Losses of generators and discriminators, on logits.

A discriminator ends in a linear layer: its outputs are logits, and D(x) below stands for
``sigmoid(logit)``. The logarithms of D are written with softplus, which is exact where a
sigmoid followed by a logarithm overflows: ``-log D = softplus(-logit)`` and
``-log(1 - D) = softplus(logit)``. Every loss is a mean over the batch; lower is better.

>>> import torch
>>> undecided = torch.zeros(4, 1)
>>> loss = LOSSES["bce"]
>>> round(loss.generator(undecided).item(), 4)
0.6931
>>> round(loss.discriminator(undecided, undecided).item(), 4)
1.3863
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus


@dataclass(frozen=True)
class Loss:
    """Pair the losses of the two players, with what keeps the discriminator in bounds.

    Attributes
    ----------
    generator
        Logits of fakes, (n,) or (n, 1), to a scalar.
    discriminator
        Logits of reals and logits of fakes, each (n,) or (n, 1), to a scalar.
    gradient_penalty
        Weight of `gradient_penalty` in the discriminator's loss; 0 leaves it out.
    clip
        Bound to which every weight of the discriminator is clipped after each of its steps;
        None leaves the weights alone.
    r1
        Weight γ of half of `r1_penalty` in the discriminator's loss, on every `r1_every`-th step,
        so many times as heavy there: lazy regularisation after Karras et al. (2020).
    dragan
        Weight of the gradient penalty around real samples, after Kodali et al. (2017).
    """

    generator: Callable[[Tensor], Tensor]
    discriminator: Callable[[Tensor, Tensor], Tensor]
    gradient_penalty: float = 0.0
    clip: float | None = None
    r1: float = 0.0
    r1_every: int = 1
    dragan: float = 0.0

    @property
    def penalised(self) -> bool:
        """Whether it needs a discriminator whose logits depend on one sample each."""
        return bool(self.gradient_penalty or self.r1 or self.dragan)


def bce_generator_loss(fake: Tensor) -> Tensor:
    """Return -E log D(G(z)), the non-saturating loss of Goodfellow et al. (2014).

    Parameters
    ----------
    fake
        Logits of fakes, (n,) or (n, 1).
    """
    return softplus(-fake).mean()


def bce_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return -E log D(x) - E log(1 - D(G(z))), after Goodfellow et al. (2014).

    Parameters
    ----------
    real, fake
        Logits of reals and of fakes, each (n,) or (n, 1).
    """
    return softplus(-real).mean() + softplus(fake).mean()


def minimax_generator_loss(fake: Tensor) -> Tensor:
    """Return E log(1 - D(G(z))), the saturating loss of Goodfellow et al. (2014).

    Its gradient vanishes where the discriminator is sure that a fake is fake.

    Parameters
    ----------
    fake
        Logits of fakes, (n,) or (n, 1).
    """
    return -softplus(fake).mean()


def minimax_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the loss of `bce_discriminator_loss`, the other side of the same game.

    Parameters
    ----------
    real, fake
        Logits of reals and of fakes, each (n,) or (n, 1).
    """
    return bce_discriminator_loss(real, fake)


def least_squares_generator_loss(fake: Tensor) -> Tensor:
    """Return E (logit(G(z)) - 1)² / 2, after Mao et al. (2017).

    The squares are taken of the linear output itself, as in the paper, not of its sigmoid.

    Parameters
    ----------
    fake
        Logits of fakes, (n,) or (n, 1).
    """
    return (fake - 1).square().mean() / 2


def least_squares_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return E (logit(x) - 1)² / 2 + E logit(G(z))² / 2, after Mao et al. (2017).

    Parameters
    ----------
    real, fake
        Logits of reals and of fakes, each (n,) or (n, 1).
    """
    return (real - 1).square().mean() / 2 + fake.square().mean() / 2


def heuristic_generator_loss(fake: Tensor) -> Tensor:
    """Return -E log D(G(z)) / 2, the heuristic loss of Mustangs (Toutouh et al., 2019).

    Parameters
    ----------
    fake
        Logits of fakes, (n,) or (n, 1).
    """
    return bce_generator_loss(fake) / 2


def heuristic_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return the loss of `bce_discriminator_loss`, as Mustangs does (Toutouh et al., 2019).

    Parameters
    ----------
    real, fake
        Logits of reals and of fakes, each (n,) or (n, 1).
    """
    return bce_discriminator_loss(real, fake)


def wasserstein_generator_loss(fake: Tensor) -> Tensor:
    """Return -E logit(G(z)), after Arjovsky et al. (2017).

    Parameters
    ----------
    fake
        Scores of fakes, (n,) or (n, 1).
    """
    return -fake.mean()


def wasserstein_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return E logit(G(z)) - E logit(x), after Arjovsky et al. (2017).

    Meaningful only for a critic held near 1-Lipschitz, by clipping or by a gradient penalty.

    Parameters
    ----------
    real, fake
        Scores of reals and of fakes, each (n,) or (n, 1).
    """
    return fake.mean() - real.mean()


def hinge_generator_loss(fake: Tensor) -> Tensor:
    """Return -E logit(G(z)), after Lim and Ye (2017).

    Parameters
    ----------
    fake
        Logits of fakes, (n,) or (n, 1).
    """
    return -fake.mean()


def hinge_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Return E max(0, 1 - logit(x)) + E max(0, 1 + logit(G(z))), after Lim and Ye (2017).

    Parameters
    ----------
    real, fake
        Logits of reals and of fakes, each (n,) or (n, 1).
    """
    return relu(1 - real).mean() + relu(1 + fake).mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, epsilon: Tensor
) -> Tensor:
    """Return E (‖∇D(x̂)‖₂ - 1)² with x̂ between reals and fakes, after Gulrajani et al. (2017).

    The result is unweighted and can be differentiated with respect to the discriminator's
    weights; no gradient flows to `real` or `fake`.

    Parameters
    ----------
    discriminator
        Samples (n, ...) to logits. Each logit must depend on its own sample only, so the
        network may hold no batch normalisation.
    real, fake
        Samples of one shape, (n, ...).
    epsilon
        The share of the real sample in each mixture, uniform in [0, 1], of shape
        (n, 1) for points and (n, 1, 1, 1) for images.

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Examples
    --------
    >>> real, fake = torch.ones(4, 2), torch.zeros(4, 2)
    >>> gradient_penalty(lambda x: 3 * x[:, 0], real, fake, torch.rand(4, 1)).item()
    4.0
    """
    if real.shape != fake.shape:
        raise ValueError(
            f"fake must have the shape of real, {tuple(real.shape)}, "
            f"not {tuple(fake.shape)}; draw as many fakes as there are reals"
        )
    # Checked, because broadcasting would take an epsilon of (n,) for one weight per feature.
    expected = (len(real), *[1] * (real.dim() - 1))
    if epsilon.shape != expected:
        raise ValueError(
            f"epsilon must have shape {expected}, not {tuple(epsilon.shape)}; "
            "draw one number per sample"
        )
    between = (epsilon * real + (1 - epsilon) * fake).detach().requires_grad_(True)
    (slopes,) = torch.autograd.grad(discriminator(between).sum(), between, create_graph=True)
    norms = torch.linalg.vector_norm(slopes.flatten(1), dim=1)
    penalty: Tensor = (norms - 1).square().mean()
    return penalty


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """Return E ‖∇D(x)‖² on reals, after Mescheder et al. (2018).

    Parameters
    ----------
    discriminator
        Samples (n, ...) to logits. Each logit must depend on its own sample only.
    real
        Samples (n, ...).

    Examples
    --------
    >>> r1_penalty(lambda x: 3 * x[:, 0], torch.ones(4, 2)).item()
    9.0
    """
    samples = real.detach().requires_grad_(True)
    (slopes,) = torch.autograd.grad(discriminator(samples).sum(), samples, create_graph=True)
    penalty: Tensor = slopes.flatten(1).square().sum(1).mean()
    return penalty


def perturbed(real: Tensor, chance: torch.Generator) -> Tensor:
    """Move reals by noise up to half their standard deviation, after Kodali et al. (2017).

    Between these and the reals lie the places of DRAGAN's penalty.
    """
    noise = torch.rand(real.shape, generator=chance, device=real.device, dtype=real.dtype)
    return real + real.std() / 2 * noise


#: Every loss that a setting can name.
LOSSES: dict[str, Loss] = {
    "bce": Loss(bce_generator_loss, bce_discriminator_loss),
    "minimax": Loss(minimax_generator_loss, minimax_discriminator_loss),
    "least_squares": Loss(least_squares_generator_loss, least_squares_discriminator_loss),
    "heuristic": Loss(heuristic_generator_loss, heuristic_discriminator_loss),
    "wgan": Loss(wasserstein_generator_loss, wasserstein_discriminator_loss, clip=0.01),
    "wgan_gp": Loss(
        wasserstein_generator_loss, wasserstein_discriminator_loss, gradient_penalty=10.0
    ),
    "hinge": Loss(hinge_generator_loss, hinge_discriminator_loss),
}
