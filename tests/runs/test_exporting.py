"""A generator that leaves gandask, and comes back as networks to start from."""

import itertools
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import tiny
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

import gandask as gd
from gandask.__main__ import main
from gandask.core import StoreError
from gandask.methods.tasks import initialise


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "run"
    gd.run(tiny("grid"), store=path)
    return gd.open_run(path)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return run.export(tmp_path_factory.mktemp("exported") / "generator.safetensors")


def test_plain_pytorch_makes_the_same_samples_of_it(run, exported):
    weights = load_file(exported)
    sizes = [
        weights["0.weight"].shape[1],
        *(w.shape[0] for k, w in weights.items() if "weight" in k),
    ]
    layers = [nn.Linear(one, other) for one, other in itertools.pairwise(sizes)]
    between = [each for layer in layers[:-1] for each in (layer, nn.LeakyReLU(0.2))]
    plain = nn.Sequential(*between, layers[-1])
    plain.load_state_dict(weights)
    training = run.method.training
    with torch.no_grad():
        ours = training.build_generator()
        ours.load_state_dict(weights)
        noise = torch.randn(7, training.latent)
        assert torch.equal(ours(noise), plain(noise))
    best = run.best_mixture()
    heaviest = best.states[max(best.weights, key=best.weights.get)]
    assert all(np.array_equal(weights[name], array) for name, array in heaviest.items())


def test_the_file_says_what_it_is(run, exported):
    with safe_open(exported, "np") as file:
        told = file.metadata()
    assert json.loads(told["sample_shape"]) == [2]
    assert told["generator"] in run.best_mixture().weights
    assert "small_mlp" in told["settings"]
    assert str(run.store.path) not in json.dumps(told)


def test_one_of_another_slot_is_asked_for_in_the_shell(run, tmp_path):
    target = tmp_path / "one.safetensors"
    told = ["export", str(run.store.path), "-o", str(target), "--slot", "cell/1"]
    assert CliRunner().invoke(main, told).exit_code == 0
    mixture = run.mixture("cell/1")
    heaviest = mixture.states[max(mixture.weights, key=mixture.weights.get)]
    found = load_file(target)
    assert all(np.array_equal(found[name], array) for name, array in heaviest.items())


@pytest.mark.parametrize("name", ["grid", "mggan"])
def test_another_run_starts_from_it(exported, name):
    method = tiny(name, init=exported)
    method.check()
    slot = next(iter(method.layout().slots))
    states, _ = initialise(training=method.training_of(slot), slot=slot, population_size=1)
    weights = load_file(exported)
    assert all(np.array_equal(array, weights[key]) for key, array in states[0].items())


def test_what_does_not_fit_is_named(exported, tmp_path):
    with pytest.raises(gd.SettingError, match=r"its generator has 0.weight of shape"):
        gd.run(tiny("grid", init=exported, network="mlp"))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(exported.read_bytes()[:-5])
    with pytest.raises(gd.SettingError, match="cannot be read"):
        gd.run(tiny("grid", init=damaged))


def test_it_is_written_whole_or_not_at_all(run, tmp_path):
    with pytest.raises(gd.SettingError, match=r"ends in \.safetensors"):
        run.export(tmp_path / "generator.pt")
    with pytest.raises(StoreError, match="cannot be written"):
        run.export(tmp_path / "nowhere" / "generator.safetensors")
    assert not list(tmp_path.iterdir())
