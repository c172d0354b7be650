"""Losses against their closed forms in numpy, and the gradient penalty of known critics."""

import pickle

import numpy as np
import pytest
import torch

from gandask.training.losses import LOSSES, gradient_penalty

REAL = np.array([-2.0, -0.3, 0.0, 0.7, 3.0])
FAKE = np.array([-1.5, 0.2, 1.0, 4.0, -3.0])


def probability(logits):
    return 1 / (1 + np.exp(-logits))


def bce(real, fake):
    return -np.log(probability(real)).mean() - np.log(1 - probability(fake)).mean()


def wasserstein(real, fake):
    return fake.mean() - real.mean()


GENERATOR = {
    "bce": lambda fake: -np.log(probability(fake)).mean(),
    "minimax": lambda fake: np.log(1 - probability(fake)).mean(),
    "least_squares": lambda fake: 0.5 * ((fake - 1) ** 2).mean(),
    "heuristic": lambda fake: -0.5 * np.log(probability(fake)).mean(),
    "wgan": lambda fake: -fake.mean(),
    "wgan_gp": lambda fake: -fake.mean(),
    "hinge": lambda fake: -fake.mean(),
}
DISCRIMINATOR = {
    "bce": bce,
    "minimax": bce,
    "least_squares": lambda real, fake: 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean(),
    "heuristic": bce,
    "wgan": wasserstein,
    "wgan_gp": wasserstein,
    "hinge": lambda real, fake: np.maximum(0, 1 - real).mean() + np.maximum(0, 1 + fake).mean(),
}


def column(logits, grad=False):
    return torch.tensor(logits, dtype=torch.float64).reshape(-1, 1).requires_grad_(grad)


def test_every_loss_has_a_closed_form_here():
    assert set(LOSSES) == set(GENERATOR) == set(DISCRIMINATOR)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(-1, 1), (-1,)])
def test_losses_equal_their_closed_forms(name, shape):
    real, fake = column(REAL).reshape(shape), column(FAKE).reshape(shape)
    generator, discriminator = LOSSES[name].generator(fake), LOSSES[name].discriminator(real, fake)
    assert generator.shape == discriminator.shape == ()
    assert generator.item() == pytest.approx(GENERATOR[name](FAKE), rel=1e-9)
    assert discriminator.item() == pytest.approx(DISCRIMINATOR[name](REAL, FAKE), rel=1e-9)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_pull_the_players_apart(name):
    # Logits inside (-1, 1), where neither the hinge nor the square has turned.
    real, fake = column([-0.5, 0.0, 0.5], grad=True), column([0.4, -0.1, 0.6], grad=True)
    (up,) = torch.autograd.grad(LOSSES[name].generator(fake), fake)
    assert (up < 0).all(), "the generator raises the logits of fakes"
    inside = column([0.5, 0.9, 0.1], grad=True)
    on_real, on_fake = torch.autograd.grad(LOSSES[name].discriminator(real, inside), [real, inside])
    assert (on_real < 0).all() and (on_fake > 0).all()


def test_saturating_gradient_vanishes_where_the_other_does_not():
    fake = column([-30.0], grad=True)
    (saturated,) = torch.autograd.grad(LOSSES["minimax"].generator(fake), fake)
    (alive,) = torch.autograd.grad(LOSSES["bce"].generator(fake), fake)
    assert abs(saturated.item()) < 1e-12
    assert alive.item() == pytest.approx(-1)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("extreme", [-1e4, 1e4])
def test_losses_and_gradients_are_finite_at_extreme_logits(name, extreme):
    real = torch.full((3, 1), extreme, requires_grad=True)
    fake = torch.full((3, 1), -extreme, requires_grad=True)
    losses = [LOSSES[name].generator(fake), LOSSES[name].discriminator(real, fake)]
    slopes = torch.autograd.grad(losses, [real, fake])
    assert all(torch.isfinite(value).all() for value in [*losses, *slopes])
    if name == "bce":
        assert losses[0].item() == max(0, extreme)


def test_only_the_wasserstein_losses_bound_the_critic():
    assert {name: loss.clip for name, loss in LOSSES.items() if loss.clip} == {"wgan": 0.01}
    weights = {name: loss.gradient_penalty for name, loss in LOSSES.items()}
    assert {name: weight for name, weight in weights.items() if weight} == {"wgan_gp": 10.0}


def test_losses_travel_to_workers():
    assert pickle.loads(pickle.dumps(LOSSES)) == LOSSES


@pytest.mark.parametrize("shape", [(2,), (1, 3, 4)])
def test_penalty_of_a_linear_critic(shape):
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(2, 6, *shape, generator=generator)
    epsilon = torch.rand(6, *[1] * len(shape), generator=generator)
    weight = torch.randn(*shape, generator=generator).requires_grad_()

    penalty = gradient_penalty(lambda x: (x * weight).flatten(1).sum(1, True), real, fake, epsilon)
    norm = np.linalg.norm(weight.detach().numpy())
    assert penalty.item() == pytest.approx((norm - 1) ** 2, rel=1e-5)

    (slope,) = torch.autograd.grad(penalty, weight)
    expected = 2 * (norm - 1) * weight.detach() / norm
    torch.testing.assert_close(slope, expected)


def test_penalty_is_taken_between_the_samples():
    # The slope of x²/2 is x itself, so the penalty tells where it was taken.
    real, fake = torch.tensor([[4.0], [4.0]]), torch.tensor([[2.0], [2.0]])
    epsilon = torch.tensor([[0.25], [1.0]])
    penalty = gradient_penalty(lambda x: x.square() / 2, real, fake, epsilon)
    assert penalty.item() == pytest.approx(((2.5 - 1) ** 2 + (4.0 - 1) ** 2) / 2)


def test_penalty_sends_no_gradient_to_the_generator():
    fake = torch.zeros(2, 1, requires_grad=True)
    weight = torch.ones(1, requires_grad=True)
    penalty = gradient_penalty(
        lambda x: weight * x.square(), torch.ones(2, 1), fake, torch.full((2, 1), 0.3)
    )
    penalty.backward()
    assert fake.grad is None
    assert weight.grad is not None


def test_penalty_of_a_flat_critic_has_finite_gradients():
    weight = torch.zeros(2, requires_grad=True)
    penalty = gradient_penalty(
        lambda x: x @ weight, torch.ones(3, 2), torch.zeros(3, 2), torch.full((3, 1), 0.5)
    )
    assert penalty.item() == 1
    (slope,) = torch.autograd.grad(penalty, weight)
    assert torch.isfinite(slope).all()


@pytest.mark.parametrize("epsilon", [(2,), (2, 2), (1, 1)])
def test_penalty_refuses_an_epsilon_that_would_broadcast(epsilon):
    with pytest.raises(ValueError, match=r"epsilon must have shape \(2, 1\), not"):
        gradient_penalty(lambda x: x, torch.ones(2, 2), torch.ones(2, 2), torch.ones(epsilon))


def test_penalty_refuses_fakes_of_another_shape():
    with pytest.raises(ValueError, match=r"fake must have the shape of real, \(2, 1\), not"):
        gradient_penalty(lambda x: x, torch.ones(2, 1), torch.ones(1, 1), torch.ones(2, 1))
