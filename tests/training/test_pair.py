"""The steps of a pair, whole and cut in two."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from gandask.methods import tasks
from gandask.training.pair import Pair, discriminator_loss, feedback, forged, gradients_from
from gandask.training.settings import real_batch

CPU = torch.device("cpu")


@pytest.fixture
def training(grid):
    return grid(data_fraction=1.0, batch_size=5000).training


def pair(training, slot="cell/0"):
    states, _ = tasks.initialise(training=training, slot=slot, population_size=1)
    return Pair.load(states, training, training.losses[0], slot, 1, CPU)


@pytest.mark.parametrize(
    ("network", "loss"), [("mlp", "bce"), ("dcgan", "bce"), ("wgan", "wgan_gp"), ("mlp", "wgan")]
)
def test_steps_cut_in_two_come_to_the_same_bits(grid, network, loss):
    """One node holds the discriminator, another the generator; fakes and feedback travel."""
    made = grid(data="digits", image_size=8, network=network, loss=loss, batch_size=20)
    whole, cut = pair(made.training), pair(made.training)
    born = {key: array.copy() for key, array in whole.generator.states()[0].items()}
    for batch in range(3):
        real = real_batch(made.training, np.arange(20 * batch, 20 * batch + 20), CPU)
        expected = whole.discriminator_step(real)
        whole.generator_step()

        fakes = forged(cut.generator.module, cut.inputs())
        judge = cut.discriminator
        value = discriminator_loss(cut.loss, judge.module, real, fakes, cut.epsilon)
        travelled = [gradient.clone() for gradient in judge.gradients(value)]
        judge.apply(travelled, cut.loss.clip)
        assert float(value.detach()) == float(expected)
        inputs = cut.inputs()
        fakes = forged(cut.generator.module, inputs)
        _, slope = feedback(cut.loss, judge.module, fakes)
        assert slope.shape == fakes[0].shape
        cut.generator.apply(gradients_from(cut.generator, inputs, slope))
    for one, other in ((whole.generator, cut.generator), (whole.discriminator, cut.discriminator)):
        for expected, found in zip(one.states(), other.states(), strict=True):
            assert expected.keys() == found.keys()
            for key, array in expected.items():
                np.testing.assert_array_equal(found[key], array, err_msg=key)
    assert any((array != born[key]).any() for key, array in whole.generator.states()[0].items())


def test_feedback_holds_the_loss_and_leaves_the_fakes_alone(training):
    one = pair(training)
    fakes = forged(one.generator.module, one.inputs())
    value, slope = feedback(one.loss, one.discriminator.module, fakes)
    moved = (fakes[0] - 1e-1 * slope / slope.norm(),)
    assert not fakes[0].requires_grad
    assert float(value) == float(one.loss.generator(one.discriminator.module(*fakes)).detach())
    assert float(feedback(one.loss, one.discriminator.module, moved)[0]) < float(value)


def test_training_does_not_load_torchs_compiler():
    """It takes a second in each worker, and torch.optim.Adam loads it."""
    code = (
        "import sys, gandask as gd\n"
        "settings = dict(data='ring8', network='small_mlp', shape=(1, 2), rounds=1)\n"
        "less = dict(batch_size=500, score_samples=100, final_samples=100)\n"
        "ds = gd.run(gd.Grid(**settings, **less))\n"
        "print(int(ds.batches.sum()), 'torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    batches, loaded = done.stdout.split()
    assert int(batches) > 0
    assert loaded == "False"


def test_data_dieting_gives_each_cell_its_own_share(grid):
    training = grid(data_fraction=0.25).training
    shards = [set(training.shard(f"cell/{i}")) for i in range(2)]
    assert [len(shard) for shard in shards] == [12_500, 12_500]
    # two random quarters share a quarter of each
    assert 2800 < len(shards[0] & shards[1]) < 3450
    assert shards[0] == set(training.shard("cell/0"))
