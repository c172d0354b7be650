"""Pairs trained as one, held against the same pairs one after the other."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import gandask as gd
from gandask.core import Report
from gandask.methods import tasks
from gandask.methods.grid.method import Grid
from gandask.training import networks, stacked
from gandask.training import pair as gan
from gandask.training.learner import Learner, fresh_moments
from gandask.training.losses import LOSSES, Loss
from gandask.training.pair import Trainer
from gandask.training.settings import Noise

CPU = torch.device("cpu")


@pytest.fixture
def double(monkeypatch):
    """Compute in float64, where rounding cannot hide a mistake."""
    real, draw = gan.real_batch, Noise.draw
    for module in (gan, stacked):
        monkeypatch.setattr(module, "real_batch", lambda *a: tuple(x.double() for x in real(*a)))
    monkeypatch.setattr(Noise, "draw", lambda *a: tuple(x.double() for x in draw(*a)))


def settings(**changes):
    made = {
        "data": "digits",
        "network": "small_mlp",
        "loss": ("bce", "least_squares", "heuristic"),
        "batch_size": 100,
        "data_fraction": 0.3,
        "learning_rate": 1e-3,
        "mutation_scale": 0.1,
        "score_samples": 0,
    }
    return gd.Grid(**made | changes)


def pairs(training, count):
    found = []
    for index in range(count):
        slot, loss = f"cell/{index}", training.losses[index % len(training.losses)]
        states, _ = tasks.initialise(training=training, slot=slot, population_size=1)
        found.append(Trainer.load(states, training, loss, slot, 1, CPU))
    return found


def made(training):
    """Make pairs, each with its own loss; one of them has been trained before."""
    trainers = pairs(training, 3)
    for trainer in trainers:
        for learner in (trainer.generator, trainer.discriminator):
            for parameter in learner.parameters:
                parameter.data = parameter.data.double()
            learner.exp_avg = [moment.double() for moment in learner.exp_avg]
            learner.exp_avg_sq = [moment.double() for moment in learner.exp_avg_sq]
    trainers[0].round(training.shard("cell/0")[:200])
    return trainers


def numbers(trainer):
    """Give all that training changes."""
    arrays = {}
    for name in ("generator", "discriminator"):
        weights, moments = getattr(trainer, name).states()
        arrays |= {f"{name}.{key}": value for key, value in {**weights, **moments}.items()}
        arrays[f"{name} total"] = np.array(trainer.totals[name])
        arrays[f"{name} count"] = np.array(trainer.counts[name])
    return arrays


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"skip_discriminator_steps": 0, "epochs_per_round": 2, "adam_betas": (0.9, 0.99)},
        {"skip_discriminator_steps": 2, "training_order": "discriminator_first"},
        {"loss_draw": "batch", "activation": "tanh"},
        {"loss": "hinge", "data": "ring8", "batch_size": 500},
    ],
    ids=["default", "each batch", "discriminator first", "a loss per batch", "one loss, points"],
)
def test_pairs_as_one_come_to_the_same(double, changes):
    training = settings(**changes).training
    shards = [training.shard(f"cell/{index}") for index in range(3)]
    with training.settled():
        one_by_one, together = made(training), made(training)
        for trainer, shard in zip(one_by_one, shards, strict=True):
            trainer.round(shard)
        as_one = stacked.Pairs.of(together)
        as_one.round(shards)
        as_one.unstack()
    before = numbers(made(training)[1])
    for expected, found in zip(map(numbers, one_by_one), map(numbers, together), strict=True):
        assert expected.keys() == found.keys()
        for key, array in expected.items():
            np.testing.assert_allclose(found[key], array, rtol=1e-9, atol=1e-12, err_msg=key)
    after = numbers(together[1])
    assert all((after[key] != array).any() for key, array in before.items() if "_avg" in key)


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


def test_a_loss_that_another_pair_has_drawn_does_no_harm():
    """Its gradient is not finite where the sigmoid is exactly 0."""
    naive = Loss(
        lambda fake: -torch.sigmoid(fake).log().mean(),
        lambda real, fake: -(torch.sigmoid(real).log() + (1 - torch.sigmoid(fake)).log()).mean(),
    )
    training = dataclasses.replace(settings().training, losses=(LOSSES["bce"], naive))
    trainers = pairs(training, 2)  # the first has drawn bce, the second what is naive
    with torch.no_grad():
        for parameter in trainers[0].discriminator.parameters:
            parameter *= 1000.0
    as_one = stacked.Pairs.of(trainers)
    as_one.round([training.shard("cell/0")[:200]] * 2)
    as_one.unstack()
    assert [trainer.finite() for trainer in trainers] == [True, True]


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


@pytest.fixture
def stacking(monkeypatch):
    """Train as on a GPU; give how many pairs each batched round had."""
    seen, round = [], stacked.Pairs.round

    def spied(self, shards):
        seen.append(len(self.trainers))
        round(self, shards)

    monkeypatch.setattr(stacked, "DEVICES", ("cpu",))
    monkeypatch.setattr(stacked.Pairs, "round", spied)
    return seen


def test_what_goes_as_one_and_what_goes_one_by_one(stacking, monkeypatch):
    training = settings().training
    shard = training.shard("cell/0")[:200]

    def batched(trainers):
        stacking.clear()
        with training.settled():
            stacked.train(trainers, [shard] * len(trainers), CPU)
        assert all(trainer.counts["generator"] == 2 for trainer in trainers)
        return stacking

    assert batched(pairs(training, 3)) == [3]
    assert batched(pairs(training, 1)) == []
    rivals = pairs(training, 2)
    rivals[1].rival_generators = [rivals[0].generator.module]
    assert batched(rivals) == []
    scaled = dataclasses.replace(training, mutation_scale=1.0)
    assert batched([*pairs(training, 1), *pairs(scaled, 1)]) == [2]
    ordered = dataclasses.replace(training, training_order="discriminator_first")
    assert batched([*pairs(training, 1), *pairs(ordered, 1)]) == []
    monkeypatch.setattr(stacked, "DEVICES", ("cuda",))
    assert batched(pairs(training, 3)) == []


def ring(**changes):
    made = {
        "data": "ring8",
        "network": "small_mlp",
        "shape": (2, 2),
        "rounds": 3,
        "batch_size": 500,
        "data_fraction": 0.2,
        "score_samples": 200,
        "final_samples": 200,
    }
    return Grid(**made | changes)


def close(one, other):
    """Compare numbers that rounding may move a little."""
    for name in ("fid", "generator_fitness", "discriminator_fitness"):
        np.testing.assert_allclose(one[name], other[name], rtol=0.05)
    np.testing.assert_array_equal(one["batches"], other["batches"])
    np.testing.assert_allclose(one["generator_learning_rate"], other["generator_learning_rate"])


def test_a_grid_that_shares_a_gpu(stacking, monkeypatch):
    """As far as it goes without one: cells go as one in process, and on each of two workers."""
    with monkeypatch.context() as patch:
        patch.setattr(stacked, "DEVICES", ("cuda",))
        expected = gd.run(ring())
    assert stacking == []
    close(gd.run(ring()), expected)
    assert stacking == [4, 4, 4]


def test_a_worker_trains_its_cells_as_one(stacking, monkeypatch, clients):
    with monkeypatch.context() as patch:
        patch.setattr(stacked, "DEVICES", ("cuda",))
        expected = gd.run(ring())

    def devices(names):
        stacked.DEVICES = names

    clients[2].run(devices, ("cpu",))
    try:
        ds = gd.run(ring(), client=clients[2])
    finally:
        clients[2].run(devices, ("cuda",))
    close(ds, expected)
    # cells of one worker began at the same moment and share the time out
    for name in np.unique(ds.worker):
        here = (ds.worker == name).isel(round=1)
        train = ds["seconds"].sel(routine="train").isel(round=1).where(here).values
        assert len(np.unique(train[~np.isnan(train)])) == 1
        assert int(here.sum()) == 2


@pytest.mark.parametrize(
    ("device", "changes", "expected"),
    [
        ("cuda", {}, tasks.train_together),
        ("cpu", {}, None),
        ("cuda", {"loss": "wgan"}, None),
        ("cuda", {"selection": False}, None),
    ],
)
def test_only_what_can_be_stacked_goes_together(device, changes, expected):
    """The workers decide, by the device that fitness was computed on."""
    method = ring(**changes)
    _, plan = method.start()
    begun = plan[-1][0]  # with selection, fitness comes before
    if begun.function is tasks.fitness:
        view, _ = method.start()
        chosen = {f"{kind}_losses": np.ones((5, 5)) for kind in ("generator", "discriminator")}
        chosen["device"] = device
        reports = [Report(f"cell/{index}", 1, chosen) for index in range(4)]
        begun = method.advance(view, reports)[1][0][0]
    assert begun.function is tasks.train
    assert begun.together is expected
