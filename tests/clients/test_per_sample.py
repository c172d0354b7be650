"""The private step: the plain one without noise and clipping, and a bound on each sample with."""

import copy
import functools
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from gandask.clients.per_sample import (
    PIECE,
    check_separable,
    poisson,
    private_gradients,
    stream,
)
from gandask.core import SettingError
from gandask.training.learner import gradients, trainable
from gandask.training.losses import LOSSES, Loss
from gandask.training.networks import NETWORKS, build
from gandask.training.pair import discriminator_loss

SECRET = bytes(range(32))
SEPARABLE = [name for name, loss in LOSSES.items() if not loss.gradient_penalty]
REFUSED = {
    "sngan": "with buffers",
    "sngan_resnet": "with buffers",
    "cgan_projection": "with buffers",
    "lstm": "tell the samples' gradients apart",
}
"""By network, why Opacus has no gradients of each sample."""
NO_BATCH_NORMALISATION = [
    name for name in NETWORKS if not name.endswith("dcgan") and name not in REFUSED
]


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, 4))

    def forward(self, samples):
        return samples * self.gain


def odd():
    """Give layers without a rule of Opacus's, one used twice, one frozen in part."""
    twice, last = nn.Linear(4, 4), nn.Linear(4, 1)
    last.bias.requires_grad_(False)
    return nn.Sequential(Scaled(), twice, nn.Tanh(), twice, last)


def network(name, dtype=torch.float64):
    """Give a discriminator in training, and the shape of its samples."""
    if name == "odd":
        return build(odd, seed=1).to(dtype).train(), (4,)
    shape = (6, 2) if NETWORKS[name].sequences else (1, 16, 16)
    made = build(lambda: NETWORKS[name].discriminator(shape, 3, None), seed=1)
    return made.to(dtype).train(), shape


def batch(name, count, shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    samples = torch.randn(count, *shape, generator=generator, dtype=dtype)
    labels = torch.randint(3, (count,), generator=generator)
    return (samples, labels) if name in NETWORKS and NETWORKS[name].conditional else (samples,)


def private(module, real, fakes, loss="bce", clip=math.inf, noise=0.0, expected=None, key=0):
    return private_gradients(
        LOSSES[loss],
        module,
        real,
        fakes,
        clip=clip,
        noise=noise,
        expected=expected or len(real[0]),
        generator=stream(SECRET, key),
    )


def of_reals(module, real, fakes, clip, expected):
    """Give what reals add, as one vector: the gradients, less those without any real."""
    none = tuple(part[:0] for part in real)
    with_them, without = (
        private(module, some, fakes, clip=clip, expected=expected) for some in (real, none)
    )
    return torch.cat([(a - b).flatten() for a, b in zip(with_them, without, strict=True)])


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        *((name, "bce") for name in [*NO_BATCH_NORMALISATION, "odd"]),
        *(("mlp", o) for o in SEPARABLE),
    ],
)
def test_without_noise_and_clipping_it_is_the_plain_step(name, loss):
    module, shape = network(name)
    before = copy.deepcopy(module.state_dict())
    real, fakes = batch(name, PIECE + 5, shape), batch(name, 7, shape, seed=1)
    made = private(module, real, fakes, loss)
    plain = gradients(
        discriminator_loss(LOSSES[loss], module, real, fakes, torch.Generator()),
        [*trainable(module).values()],
    )
    for one, other in zip(made, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    # nothing of Opacus stays
    assert list(module.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    fresh, _ = network(name)
    for part, other in zip(module.modules(), fresh.modules(), strict=True):
        assert vars(part).keys() == vars(other).keys()
        assert not part._forward_hooks
        assert not part._backward_hooks
    assert all(not vars(part) and part.grad is None for part in module.parameters())


@pytest.mark.parametrize("size", [0, 1, 5])
def test_the_reals_are_divided_by_how_many_are_expected(size):
    """Else the size of the batch, which is private, would scale the noise."""
    module, shape = network("mlp")
    real, fakes = batch("mlp", size, shape), batch("mlp", 4, shape, seed=1)
    one, two = (of_reals(module, real, fakes, 1.0, expected) for expected in (8, 16))
    torch.testing.assert_close(one, 2 * two)
    assert bool(one.any()) == bool(size)


@settings(deadline=None, derandomize=True, max_examples=8)
@given(
    st.floats(1e-3, 1e3),
    st.integers(0, 4),
    st.sampled_from([0.0, 1e-6, 1.0, 1e6, 1e300, math.nan, math.inf]),
)
def test_no_real_adds_more_than_the_clipping_norm(clip, index, scale):
    module, shape = SMALL, (4,)
    fakes = batch("", 3, shape, seed=1)
    (samples,) = batch("", 5, shape)
    before = of_reals(module, (samples,), fakes, clip, 4)
    # one that is not there at all, then another in its place
    missing = torch.cat([samples[:index], samples[index + 1 :]])
    other = samples.clone()
    other[index] *= scale
    bound = clip / 4 * (1 + 1e-9)
    assert (before - of_reals(module, (missing,), fakes, clip, 4)).norm() <= bound
    assert (
        of_reals(module, (other,), fakes, clip, 4) - of_reals(module, (missing,), fakes, clip, 4)
    ).norm() <= bound


SMALL = network("odd")[0]


def test_fakes_are_clipped_one_by_one_too():
    module, shape = network("mlp")
    real, fakes = batch("mlp", 0, shape), batch("mlp", 6, shape, seed=1)
    made = torch.cat(
        [part.flatten() for part in private(module, real, fakes, clip=1e-3, expected=1)]
    )
    parameters = [*trainable(module).values()]
    by_hand = torch.zeros_like(made)
    for fake in fakes[0]:
        loss = nn.functional.softplus(module(fake[None])).mean()
        alone = torch.cat([part.flatten() for part in gradients(loss, parameters)])
        assert alone.norm() > 1e-3
        by_hand += alone / alone.norm() * 1e-3 / 6
    torch.testing.assert_close(made, by_hand)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_noise_is_that_of_the_accountant_and_on_the_reals_alone(dtype):
    module, shape = network("mlp", dtype)
    sigma, clip, expected = 3.0, 0.5, 64
    real, fakes = batch("mlp", 5, shape, dtype=dtype), batch("mlp", 9, shape, seed=1, dtype=dtype)
    plain = private(module, real, fakes, clip=clip, expected=expected)
    noised = private(module, real, fakes, clip=clip, noise=sigma, expected=expected)
    drawn = torch.cat([(a - b).flatten() for a, b in zip(noised, plain, strict=True)]).double()
    count, deviation = len(drawn), sigma * clip / expected
    assert count > 50_000
    assert abs(drawn.mean()) < 4 * deviation / math.sqrt(count)
    assert abs(drawn.std() / deviation - 1) < 4 / math.sqrt(2 * count)
    assert (drawn.abs() < 2 * deviation).double().mean() == pytest.approx(0.9545, abs=0.005)
    again = private(module, real, fakes, clip=clip, noise=sigma, expected=expected)
    other = private(module, real, fakes, clip=clip, noise=sigma, expected=expected, key=1)
    assert all(map(torch.equal, noised, again))
    assert not any(map(torch.equal, noised, other))
    # no correlation with that of another key, and each parameter's noise is its own
    others = torch.cat([(a - b).flatten() for a, b in zip(other, plain, strict=True)]).double()
    assert abs(torch.corrcoef(torch.stack([drawn, others]))[0, 1]) < 4 / math.sqrt(count)
    assert len(drawn.unique()) > 0.99 * count


# ---- what is refused

MEAN = Loss(
    LOSSES["bce"].generator,
    lambda real, fake: nn.functional.softplus(fake.mean() - real).mean(),
)
SUM = Loss(
    LOSSES["bce"].generator,
    lambda real, fake: nn.functional.softplus(-real).sum() + nn.functional.softplus(fake).sum(),
)


class Comparing(nn.Linear):
    def forward(self, samples):
        return super().forward(samples - samples.mean(0))


class Bypassed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, samples):
        return nn.functional.linear(samples, self.layer.weight)


class Storing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.register_buffer("last", torch.zeros(4))

    def forward(self, samples):
        self.last.copy_(samples[0].detach())
        return self.layer(samples)


def linear():
    return nn.Linear(4, 1)


@pytest.mark.parametrize(
    ("make", "loss", "said"),
    [
        (linear, LOSSES["wgan_gp"], "has a gradient penalty, which mixes each real sample with a"),
        (
            lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)),
            LOSSES["bce"],
            r"has batch normalisation \(1\), which mixes the samples of a batch",
        ),
        (
            lambda: nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.Linear(4, 1)),
            LOSSES["bce"],
            r"has batch normalisation \(0\)",
        ),
        (linear, MEAN, "no mean over reals and one over fakes"),
        (linear, SUM, "no mean over reals and one over fakes"),
        (
            functools.partial(Comparing, 4, 1),
            LOSSES["bce"],
            "of a sample is another one in a batch",
        ),
        (Bypassed, LOSSES["bce"], "of a sample is another one in a batch"),
        (lambda: nn.Sequential(nn.Dropout(), linear()), LOSSES["bce"], "is another one in a batch"),
        (Storing, LOSSES["bce"], "keeps what it saw, without noise, in last"),
        (lambda: nn.LSTM(4, 1), LOSSES["bce"], "Opacus cannot"),
    ],
)
def test_what_has_no_gradient_of_each_sample_is_refused(make, loss, said):
    module = build(make, seed=1).train()
    with pytest.raises(SettingError, match=said) as caught:
        check_separable(loss, module, batch("", 3, (4,), dtype=torch.float32))
    assert str(caught.value).startswith("privacy: ")


@pytest.mark.parametrize("name", [*NO_BATCH_NORMALISATION, "odd"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_networks_without_batch_normalisation_are_taken(name, dtype):
    module, shape = network(name, dtype)
    before = {key: part.clone() for key, part in module.state_dict().items()}
    for loss in SEPARABLE:
        check_separable(LOSSES[loss], module, batch(name, 3, shape, dtype=dtype))
    assert module.training
    assert all(torch.equal(part, before[key]) for key, part in module.state_dict().items())


@pytest.mark.parametrize("name", REFUSED)
def test_networks_that_opacus_cannot_train_are_refused_in_few_words(name):
    module, shape = network(name)
    with pytest.raises(SettingError, match=REFUSED[name]) as caught:
        check_separable(LOSSES["bce"], module, batch(name, 3, shape))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("name", "loss"), [("dcgan", "bce"), ("mlp", "wgan_gp")])
def test_a_step_refuses_what_a_trial_does(name, loss):
    module, shape = network(name)
    with pytest.raises(SettingError, match="privacy: the"):
        private(module, batch(name, 2, shape), batch(name, 2, shape), loss)


def test_a_missing_opacus_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "opacus.grad_sample", None)
    module, shape = network("mlp")
    with pytest.raises(SettingError, match=r"pip install 'gandask\[privacy\]'"):
        check_separable(LOSSES["bce"], module, batch("mlp", 2, shape))


# ---- draws


def test_batches_are_drawn_member_by_member():
    members = np.arange(100, 1100)
    draws = [poisson(members, 0.064, stream(SECRET, step)) for step in range(400)]
    sizes = np.array([len(one) for one in draws])
    # binomial: 64 on average, with a deviation of 7.74
    assert abs(sizes.mean() - 64) < 4 * 7.74 / 20
    assert abs(sizes.std() / 7.74 - 1) < 4 / math.sqrt(800)
    counts = np.bincount(np.concatenate(draws) - 100, minlength=1000)
    assert abs(counts.mean() - 25.6) < 0.5
    assert abs(counts.std() / math.sqrt(400 * 0.064 * 0.936) - 1) < 0.1
    assert all((np.diff(one) > 0).all() for one in draws)
    assert len(poisson(members, 0.0, stream(SECRET))) == 0
    assert poisson(members, 1.0, stream(SECRET)).tolist() == members.tolist()


KEYS = [(), ("",), ("a",), ("a", "b"), ("ab",), ("a ", "b"), (1,), ("1",), (b"1",), (11,), (1, 1)]


def test_every_key_and_secret_has_a_stream_of_its_own():
    made = {stream(secret, *key).bytes(16) for key in KEYS for secret in (SECRET, bytes(32))}
    assert len(made) == 2 * len(KEYS)
    assert stream(SECRET, "a", 1).bytes(16) == stream(SECRET, "a", 1).bytes(16)


def test_a_stream_stays_the_same_over_versions():
    """An answer that is repeated after an update gets the noise that it had."""
    assert stream(SECRET, "noise", 3).integers(1000, size=4).tolist() == [700, 981, 326, 460]
