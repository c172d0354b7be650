"""The presets: Table I to the letter, and every one of them a method that can run."""

import pytest
import torch
from torch import nn

import gandask as gd
from gandask import config, presets
from gandask.data.sources import KNOWN

REQUIRED = {
    "demo",
    "ring8",
    "grid25",
    "lstm-sines",
    "semi-digits",
    "semi-mnist",
    "table1-mnist-2x2",
    "table1-mnist-3x3",
    "table1-mnist-4x4",
    "mustangs-mnist",
    "spagan",
    "isocogan",
    "pagan",
    "mggan-ring8",
    "mggan-demo",
    "mggan-mnist",
    "mggan-cifar10",
    "per-label-digits",
    "dc-cgan-mnist",
    "w-cgan-mnist",
    "dc-cgan-cifar10",
    "w-cgan-cifar10",
    "privacygan-digits",
    "privacygan-mnist",
    "privacygan-cifar10",
}


def method(name):
    return config.from_dict(presets.read(name), gd.METHODS)


def test_none_is_missing():
    assert set(presets.names()) >= REQUIRED


@pytest.mark.parametrize("name", presets.names())
def test_each_is_a_method_and_says_what_for(name):
    made = method(name)
    assert made.name in gd.METHODS
    assert config.from_toml(config.to_toml(made), gd.METHODS) == made
    purpose = presets.names()[name]
    assert len(purpose) > 20
    assert not purpose.startswith("#")
    assert "=" not in purpose.split(";")[0], "the first line is a comment, not a setting"
    assert ("data_dir" in purpose) == (made.data in KNOWN)


@pytest.mark.parametrize("name", presets.names())
def test_each_with_data_that_comes_along_can_run(name):
    made = method(name)
    if made.data in KNOWN:
        with pytest.raises(gd.DataError, match="data_dir"):
            made.check()
    else:
        made.check()


@pytest.mark.parametrize("interval", [0, 25, 300])
@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_the_ring_of_the_thesis(interval, groups):
    made = config.from_dict(
        presets.read("mggan-ring8") | {"interval": interval, "groups": groups}, gd.METHODS
    )
    made.check()
    assert made.iterations == 30_000
    assert made.rounds == {0: 100, 25: 1200, 300: 100}[interval]
    # section 3.3.1: noise of 100, ReLU, weights from N(0, 0.02), and no adjustment on the ring
    assert (made.training.latent, made.activation, made.initial_std) == (100, "relu", 0.02)
    assert made.adjustment.ratio == 0


@pytest.mark.parametrize("name", ["mggan-mnist", "mggan-cifar10"])
@pytest.mark.parametrize("groups", [2, 3, 4, 6])
def test_the_images_of_the_thesis(name, groups):
    made = config.from_dict(presets.read(name) | {"groups": groups}, gd.METHODS)
    assert made.families == (("dcgan", "dcgan"),) * groups
    assert (made.interval, made.adjustment.region, made.initial_std) == ("adaptive", 10, 0.02)


def test_an_unknown_one_is_refused_with_the_nearest():
    with pytest.raises(gd.SettingError, match=r"preset 'ring_8': .*did you mean 'ring8'\?"):
        presets.read("ring_8")
    with pytest.raises(gd.SettingError, match="no such preset"):
        presets.read("../presets/demo")


def layers(module):
    """List the sizes that linear layers pass on."""
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    return [linear[0].in_features, *(layer.out_features for layer in linear)]


@pytest.mark.parametrize("side", [2, 3, 4])
def test_table_1_of_perez_et_al(side):
    grid = method(f"table1-mnist-{side}x{side}")
    # network topology: 64 neurons in, 2 hidden layers of 256, 784 out, tanh at the end
    assert grid.training.latent == 64
    network, shape = grid.training.network, (1, 28, 28)
    generator = network.generator(shape, grid.training.latent, 10, grid.activation)
    discriminator = network.discriminator(shape, 10, grid.activation)
    assert layers(generator) == [64, 256, 256, 784]
    assert layers(discriminator) == [784, 256, 256, 1]
    hidden = [
        type(m)
        for m in (*generator.modules(), *discriminator.modules())
        if not len([*m.children()])
    ]
    assert hidden.count(nn.LeakyReLU) == 4
    with torch.no_grad():
        drawn = generator(1000 * torch.randn(20, 64))
    assert drawn.shape == (20, *shape)
    assert float(drawn.abs().max()) == 1.0
    # coevolutionary settings
    assert grid.shape == (side, side)
    assert grid.rounds == 200
    assert grid.epochs_per_round == 1
    assert grid.population_size == 1
    assert grid.tournament_size == 2
    assert grid.mixture_sigma == 0.01
    assert grid.neighbourhood == "cross"
    assert grid.neighbourhood_schedule == {}
    assert (grid.exchange, grid.selection) == (True, True)
    # hyperparameter mutation
    assert grid.learning_rate == 0.0002
    assert grid.adam_betas == (0.5, 0.999)
    assert grid.mutation_scale == 0.0001
    assert grid.mutation_probability == 0.5
    # training settings
    assert grid.data == "mnist"
    assert grid.data_fraction == 1.0
    assert grid.batch_size == 100
    assert grid.skip_discriminator_steps == 1
    assert grid.loss_names == ("bce",)


@pytest.mark.parametrize(
    ("name", "exchange", "selection", "losses"),
    [
        ("mustangs-mnist", True, True, ("bce", "least_squares", "heuristic")),
        ("spagan", True, False, ("bce",)),
        ("isocogan", False, True, ("bce",)),
        ("pagan", False, False, ("bce",)),
    ],
)
def test_variants_differ_in_what_defines_them_alone(name, exchange, selection, losses):
    made = method(name)
    assert (made.exchange, made.selection, made.loss_names) == (exchange, selection, losses)
    # what a cell selects from: its neighbourhood, or the sub-population inside it
    assert made.population_size == (5 if name == "isocogan" else 1)
    changed = {"exchange", "selection", "loss", "population_size"}
    reference = config.to_dict(method("table1-mnist-3x3"))
    assert {
        key for key, value in config.to_dict(made).items() if value != reference[key]
    } <= changed
