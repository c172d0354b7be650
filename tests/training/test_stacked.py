"""Pairs trained as one, held against the same pairs one after the other."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from gandask.methods import tasks
from gandask.training import networks, stacked
from gandask.training.learner import Learner, fresh_moments
from gandask.training.losses import LOSSES, Loss
from gandask.training.pair import Pair
from gandask.training.settings import Noise, real_batch

CPU = torch.device("cpu")
COUNT = 3


def pairs(training, count=COUNT):
    """Make pairs, each with a loss and learning rates of its own."""
    found = []
    for index in range(count):
        slot, loss = f"cell/{index}", training.losses[index % len(training.losses)]
        states, _ = tasks.initialise(training=training, slot=slot, population_size=1)
        one = Pair.load(states, training, loss, slot, 1, CPU)
        one.generator.learning_rate *= 1 + index
        one.discriminator.learning_rate /= 1 + index
        found.append(one)
    return found


def doubled(pairs):
    """Compute in float64, where rounding cannot hide a mistake."""
    for pair in pairs:
        for learner in (pair.generator, pair.discriminator):
            for parameter in learner.parameters:
                parameter.data = parameter.data.double()
            learner.exp_avg = [moment.double() for moment in learner.exp_avg]
            learner.exp_avg_sq = [moment.double() for moment in learner.exp_avg_sq]
            learner.steps = [step.double() for step in learner.steps]
            if learner.average:
                numbers = learner.average.numbers
                learner.average.numbers = {name: part.double() for name, part in numbers.items()}
    return pairs


def numbers(pair):
    """Give all that training changes."""
    arrays = {}
    for name in ("generator", "discriminator"):
        weights, moments = getattr(pair, name).states()
        arrays |= {f"{name}.{key}": value for key, value in {**weights, **moments}.items()}
        arrays[f"{name} total"] = np.array(pair.totals[name])
        arrays[f"{name} count"] = np.array(pair.counts[name])
    return arrays


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"adam_betas": (0.9, 0.99), "activation": "tanh"},
        {"ema": 0.9, "learning_rate_half_life": 3},
    ],
)
def test_steps_as_one_come_to_the_same(grid, monkeypatch, changes):
    draw = Noise.draw
    monkeypatch.setattr(Noise, "draw", lambda *a: tuple(x.double() for x in draw(*a)))
    loss = ("bce", "least_squares", "hinge")
    training = grid(data="digits", batch_size=50, loss=loss, score_samples=0, **changes).training
    with training.settled():
        one_by_one, together = doubled(pairs(training)), doubled(pairs(training))
        as_one = stacked.Pairs(together)
        for batch in range(4):
            indices = [np.arange(50) + 100 * batch + index for index in range(COUNT)]
            real = [
                tuple(part.double() for part in real_batch(training, each, CPU)) for each in indices
            ]
            for one, samples in zip(one_by_one, real, strict=True):
                one.generator_step()
                one.discriminator_step(samples)
            as_one.generator_step()
            as_one.discriminator_step(tuple(part.double() for part in as_one.real(indices)))
            for trained in (one_by_one, together):  # what varies from batch to batch is heeded
                trained[0].generator.learning_rate *= 1.5
                trained[2].loss = training.losses[batch % 3]
        as_one.unstack()
    before = numbers(doubled(pairs(training))[1])
    for expected, found in zip(map(numbers, one_by_one), map(numbers, together), strict=True):
        assert expected.keys() == found.keys()
        for key, array in expected.items():
            np.testing.assert_allclose(found[key], array, rtol=1e-9, atol=1e-12, err_msg=key)
    after = numbers(together[1])
    changing = [key for key in before if "_avg" in key or "ema/" in key]
    assert all((after[key] != before[key]).any() for key in changing)


def test_what_cannot_be_stacked():
    def built(name, shape):
        network = networks.NETWORKS[name]
        classes = 10 if network.conditional else 0
        return (
            network.generator(shape, network.latent, classes, None),
            network.discriminator(shape, classes, None),
        )

    mlp = built("mlp", (1, 28, 28))
    assert stacked.stackable([LOSSES["bce"], LOSSES["hinge"]], *mlp)
    assert not stacked.stackable([LOSSES["bce"], LOSSES["wgan_gp"]], *mlp)
    assert not stacked.stackable([LOSSES["wgan"]], *mlp)
    for name in ("dcgan", "conditional_mlp"):
        assert not stacked.stackable([LOSSES["bce"]], *built(name, (1, 28, 28)))
    twice = nn.Linear(4, 4)
    for layers in (
        [twice, nn.Tanh(), twice],
        [nn.Flatten(2), nn.Linear(4, 1)],
        [nn.Unflatten(2, (2, 2))],
        [nn.Linear(4, 4), nn.Dropout()],
        [nn.LazyLinear(4)],
        [nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4)],
    ):
        assert not stacked.stackable([LOSSES["bce"]], nn.Sequential(*layers))
    tied = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    assert not stacked.stackable([LOSSES["bce"]], tied)
    assert not stacked.stackable([LOSSES["bce"]], type("Mine", (nn.Sequential,), {})(nn.Tanh()))
    tanh = nn.Tanh()  # has no weights: it may be used twice
    assert stacked.stackable([LOSSES["bce"]], nn.Sequential(twice, tanh, nn.Linear(4, 1), tanh))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_layers_that_do_more_than_their_class_are_not_stacked(bias):
    def network():
        return nn.Sequential(nn.Linear(4, 4, bias=bias), nn.Tanh(), nn.Sequential(nn.Linear(4, 1)))

    bce = [LOSSES["bce"]]
    assert stacked.stackable(bce, network())
    for change in (
        nn.utils.spectral_norm,
        nn.utils.weight_norm,
        nn.utils.parametrizations.spectral_norm,
    ):
        changed = network()
        changed[0] = change(changed[0])
        assert not stacked.stackable(bce, changed)
    for place in (lambda net: net, lambda net: net[1], lambda net: net[2]):
        watched = network()
        place(watched).register_forward_hook(lambda *call: None)
        assert not stacked.stackable(bce, watched)


def branching(fake):
    mean = -fake.mean()
    return mean if mean < 10 else mean * 0.1


def filling(fake):
    out = torch.zeros(len(fake))
    out[:] = fake.flatten()
    return -out.mean()


@pytest.mark.parametrize("generator", [branching, filling, lambda f: -f.mean() * f.mean().item()])
def test_losses_that_go_one_by_one_alone_are_not_stacked(generator):
    loss = Loss(generator, LOSSES["bce"].discriminator)
    assert torch.isfinite(loss.generator(torch.ones(3, 1)))
    assert not stacked.stackable([LOSSES["bce"], loss], nn.Sequential(nn.Linear(4, 1)))


def test_a_loss_that_another_pair_has_drawn_does_no_harm(grid):
    """Its gradient is not finite where the sigmoid is exactly 0."""
    naive = Loss(
        lambda fake: -torch.sigmoid(fake).log().mean(),
        lambda real, fake: -(torch.sigmoid(real).log() + (1 - torch.sigmoid(fake)).log()).mean(),
    )
    training = dataclasses.replace(
        grid(data="digits", batch_size=100).training, losses=(LOSSES["bce"], naive)
    )
    both = pairs(training, 2)  # the first has drawn bce, the second what is naive
    with torch.no_grad():
        for parameter in both[0].discriminator.parameters:
            parameter *= 1000.0
    as_one = stacked.Pairs(both)
    for _ in range(2):
        as_one.generator_step()
        as_one.discriminator_step(as_one.real([np.arange(100)] * 2))
    as_one.unstack()
    assert [pair.finite() for pair in both] == [True, True]


def test_layers_as_one_give_what_each_gives():
    """Images between linear layers, no bias, activations of all kinds, one inside another."""

    def network():
        return nn.Sequential(
            nn.Linear(6, 12, bias=False),
            nn.Sequential(nn.LeakyReLU(0.1), nn.Unflatten(1, (3, 2, 2))),
            nn.Linear(2, 5),
            nn.ReLU(),
            nn.Unflatten(1, (1, 3)),
            nn.Flatten(),
            nn.Linear(30, 4),
            nn.Tanh(),
        )

    networks = [network() for _ in range(3)]
    assert stacked.stackable([LOSSES["bce"]], networks[0])
    moments = fresh_moments(networks[0], 1e-3)
    stack = stacked.Stack.of([Learner.of(one, moments, (0.5, 0.999)) for one in networks])
    inputs = torch.randn(3, 7, 6)
    expected = torch.stack([one(each) for one, each in zip(networks, inputs, strict=True)])
    torch.testing.assert_close(stack(inputs), expected)
