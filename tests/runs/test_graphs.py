"""Generators that leave gandask as ONNX graphs, and what makes samples of them."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import tiny
from torch import nn

import gandask as gd
from gandask.__main__ import main
from gandask.core import SettingError, StoreError
from gandask.methods.testing import Toy
from gandask.runs import exporting
from gandask.training import networks
from gandask.training.networks import NETWORKS

onnxruntime = pytest.importorskip("onnxruntime")


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("graphs") / "run"
    gd.run(tiny("grid", ema=0.9), store=path, progress=False)
    return gd.open_run(path)


def test_a_run_is_exported_by_the_ending(run, tmp_path):
    target = tmp_path / "generator.onnx"
    answer = CliRunner().invoke(main, ["export", str(run.store.path), "-o", str(target)])
    assert answer.exit_code == 0, answer.output
    found = session(target)
    told = found.get_modelmeta().custom_metadata_map
    assert json.loads(told["sample_shape"]) == [2]
    assert [one.name for one in found.get_inputs()] == ["noise"]
    best = run.best_mixture()
    name = max(best.weights, key=best.weights.get)
    assert told["generator"] == name
    module, _ = run.method.module(name, best.states[name], run.store.description["facts"])
    noise = torch.randn(11, run.method.training.latent)
    (samples,) = found.run(None, {"noise": noise.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(samples, module(noise), atol=1e-5)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mlp", (1, 8, 8)),
        ("dcgan", (1, 16, 16)),
        ("sngan_resnet", (3, 8, 8)),
        ("conditional_mlp", (2,)),
        ("conditional_dcgan", (1, 8, 8)),
        ("cgan_projection", (3, 8, 8)),
        ("lstm", (24, 2)),
    ],
)
def test_graphs_make_the_same_samples(tmp_path, name, shape):
    network = NETWORKS[name]
    module = networks.build(lambda: network.generator(shape, network.latent, 3, None), 0)
    labels = {"labels": torch.arange(7) % 3} if network.conditional else {}
    inputs = {"noise": torch.randn(7, network.latent), **labels}
    few = {key: one[:3] for key, one in inputs.items()}
    path = exporting.write_graph(module, few, {}, tmp_path / "made.onnx")
    given = {key: one.numpy() for key, one in inputs.items()}
    (samples,) = session(path).run(None, given)
    with torch.no_grad():
        np.testing.assert_allclose(samples, module.eval()(*inputs.values()), atol=1e-5)


class Wavering(nn.Linear):
    """It looks at numbers to say what is computed, which a graph cannot."""

    def forward(self, noise):
        return super().forward(noise) if noise.sum() > 0 else noise


def test_what_cannot_be_expressed_is_refused_and_nothing_written(tmp_path):
    with pytest.raises(SettingError, match=r"cannot express.*\.safetensors"):
        exporting.write_graph(
            Wavering(4, 4), {"noise": torch.ones(3, 4)}, {}, tmp_path / "made.onnx"
        )
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingError, match=r"gandask\[onnx\]"):
        run.export(tmp_path / "made.onnx")
    assert not list(tmp_path.iterdir())


def test_what_has_no_networks_is_refused():
    with pytest.raises(StoreError, match="no networks"):
        Toy().module("node/0/point", {}, {})
