"""Cells that share a device that batching pays on: trained as one, to the same numbers."""

import dataclasses

import numpy as np
import pytest
import torch
import xarray as xr

import gandask as gd
from gandask.methods.grid import method as grid_method
from gandask.methods.grid import tasks
from gandask.methods.grid.tasks import Offspring, as_one, train_batches
from gandask.methods.tasks import initialise
from gandask.training import stacked
from gandask.training.settings import Noise

CPU = torch.device("cpu")


@pytest.fixture
def double(monkeypatch):
    """Compute in float64, where rounding cannot hide a mistake."""
    real, draw = tasks.real_batch, Noise.draw
    for module in (tasks, stacked):
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


def offspring(method, count, rivals=1, against=False):
    """Make the offspring of some cells, each with a loss of its own."""
    found = []
    for index in range(count):
        slot, loss = f"cell/{index}", index % len(method.loss_names)
        pair, _ = initialise(training=method.training, slot=slot, population_size=1)
        states = (*pair, *[pair[0]] * rivals, *[pair[2]] * rivals)
        given = {"training": method.training, "settings": method.cell_settings(1), "slot": slot}
        given |= {"round": 1, "loss": loss, "rivals": rivals, "train_against_rivals": against}
        found.append(Offspring.load(CPU, *states, **given))
    return found


def made(method):
    """Make offspring in float64; one of them has been trained before."""
    cells = offspring(method, 3)
    for one in cells:
        for learner in (one.pair.generator, one.pair.discriminator):
            for parameter in learner.parameters:
                parameter.data = parameter.data.double()
            learner.exp_avg = [moment.double() for moment in learner.exp_avg]
            learner.exp_avg_sq = [moment.double() for moment in learner.exp_avg_sq]
    train_batches(cells[:1], cells[0])
    return cells


def numbers(one):
    """Give all that training changes."""
    arrays = {}
    for name in ("generator", "discriminator"):
        weights, moments = getattr(one.pair, name).states()
        arrays |= {f"{name}.{key}": value for key, value in {**weights, **moments}.items()}
        arrays[f"{name} total"] = one.pair.totals[name].numpy()
        arrays[f"{name} count"] = np.array(one.pair.counts[name])
    return arrays


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"skip_discriminator_steps": 0, "epochs_per_round": 2, "adam_betas": (0.9, 0.99)},
        {"skip_discriminator_steps": 2, "training_order": "discriminator_first"},
        {"skip_discriminator_steps": 0, "discriminator_steps": 2},
        {"loss_draw": "batch", "activation": "tanh"},
        {"loss": "hinge", "data": "ring8", "batch_size": 500},
    ],
    ids=[
        "default",
        "each batch",
        "discriminator first",
        "two steps",
        "a loss per batch",
        "one loss, points",
    ],
)
def test_cells_as_one_come_to_the_same(double, changes):
    method = settings(**changes)
    with method.training.settled():
        one_by_one, together = made(method), made(method)
        for one in one_by_one:
            train_batches([one], one)
        pairs = stacked.Pairs([one.pair for one in together])
        train_batches(together, pairs)
        pairs.unstack()
    before = numbers(made(method)[1])
    for expected, found in zip(map(numbers, one_by_one), map(numbers, together), strict=True):
        assert expected.keys() == found.keys()
        for key, array in expected.items():
            np.testing.assert_allclose(found[key], array, rtol=1e-9, atol=1e-12, err_msg=key)
    after = numbers(together[1])
    assert all((after[key] != array).any() for key, array in before.items() if "_avg" in key)


def groups(offspring):
    return [[one.slot for one in group] for group in as_one(offspring, CPU)]


def test_what_goes_as_one_and_what_goes_one_by_one(monkeypatch):
    method = settings()
    monkeypatch.setattr(stacked, "DEVICES", ("cpu",))
    assert groups(offspring(method, 3)) == [["cell/0", "cell/1", "cell/2"]]
    assert groups(offspring(method, 1)) == [["cell/0"]], "as whoever is there may not matter"
    assert groups(offspring(method, 2, rivals=2, against=True)) == []
    mixed = [*offspring(method, 2, rivals=2, against=True), *offspring(method, 1)]
    assert groups(mixed) == [["cell/0"]]
    assert len(groups(offspring(method, 2, rivals=1, against=True))) == 1, (
        "nobody else to draw from"
    )
    ordered = dataclasses.replace(method, training_order="discriminator_first")
    assert len(groups([*offspring(method, 1), *offspring(ordered, 1)])) == 2
    assert len(groups([*offspring(method, 1), *offspring(settings(seed=2), 1)])) == 2
    assert groups(offspring(settings(loss="wgan"), 2)) == []
    monkeypatch.setattr(stacked, "MOST_PAIRS", 2)
    assert [len(group) for group in groups(offspring(method, 3))] == [2, 1]
    monkeypatch.setattr(stacked, "DEVICES", ())
    assert groups(offspring(method, 3)) == []


@pytest.fixture
def stacking(monkeypatch):
    """Train as on a GPU; give how many pairs each batched round had."""
    seen, init = [], stacked.Pairs.__init__

    def spied(self, pairs):
        seen.append(len(pairs))
        init(self, pairs)

    monkeypatch.setattr(stacked, "DEVICES", ("cpu",))
    monkeypatch.setattr(stacked.Pairs, "__init__", spied)
    return seen


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
        "device": "cpu",
    }
    return gd.Grid(**made | changes)


def close(one, other):
    """Compare numbers that rounding may move a little."""
    for name in ("fid", "generator_fitness", "discriminator_fitness"):
        np.testing.assert_allclose(one[name], other[name], rtol=0.05)
    np.testing.assert_array_equal(one["batches"], other["batches"])
    np.testing.assert_allclose(one["generator_learning_rate"], other["generator_learning_rate"])


def test_a_grid_that_shares_a_gpu(stacking, monkeypatch):
    """As far as it goes without one: numbers as of cells one by one, but for rounding."""
    with monkeypatch.context() as patch:
        patch.setattr(stacked, "DEVICES", ())
        expected = gd.run(ring())
    assert stacking == []
    close(gd.run(ring()), expected)
    assert stacking == [4, 4, 4]


@pytest.mark.deep
def test_numbers_do_not_depend_on_who_shares_a_gpu(stacking, monkeypatch, clients):
    """All four cells as one, two and two, one by one: the same, bit for bit."""
    expected = gd.without_timings(gd.run(ring()))

    def devices(names):
        stacked.DEVICES = names

    usual = ("cuda",)
    clients[2].run(devices, ("cpu",))
    try:
        ds = gd.run(ring(), client=clients[2])
    finally:
        clients[2].run(devices, usual)
    xr.testing.assert_identical(gd.without_timings(ds), expected)
    # cells of one worker began at the same moment and share the time out
    for name in np.unique(ds.worker):
        here = (ds.worker == name).isel(round=1)
        train = ds["seconds"].sel(routine="train").isel(round=1).where(here).values
        assert len(np.unique(train[~np.isnan(train)])) == 1
        assert int(here.sum()) == 2
    del stacking[:]
    whole = tasks.train_together
    with monkeypatch.context() as patch:
        patch.setattr(grid_method, "train_together", lambda calls: [whole([c])[0] for c in calls])
        xr.testing.assert_identical(gd.without_timings(gd.run(ring())), expected)
    assert stacking == [1] * 12
