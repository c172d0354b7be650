"""Grids whose discriminators tell classes, of few labelled samples: what they come to."""

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
from gandask.core import SettingError, StoreError
from gandask.methods.grid.classes import accuracies, taken_in
from gandask.methods.grid.view import Cell, Individual, Population
from gandask.results import without_timings
from gandask.scores.accuracy import accuracy, held_out, probabilities
from gandask.training.learner import load_module
from gandask.training.networks import build
from gandask.training.stored import read_checkpoint

CPU = torch.device("cpu")
FEW = {
    "data": "digits", "labelled": 50, "shape": (1, 3), "rounds": 2, "batch_size": 20,
    "data_fraction": 0.2, "score_samples": 1000, "final_samples": 1000, "score": "accuracy",
    "skip_discriminator_steps": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("semi") / "run"
    gd.run(tiny("grid", **FEW), store=path, progress=False)
    return gd.open_run(path)


@pytest.fixture(scope="module")
def judges(run):
    """The last discriminator of each cell, of its stored weights."""
    folder, told = run._checkpoint
    found = read_checkpoint(folder, told)
    names = [name for name in found if "/discriminator/" in name and "moments" not in name]
    build = run.method.training.build_discriminator
    return [load_module(build, found[name], CPU) for name in sorted(names)]


def test_final_accuracies_are_those_of_the_stored_networks(run, judges):
    samples, classes = held_out(run.method.training, 1000, CPU)
    assert len(judges) == 3
    with torch.no_grad():
        found = [judge.classify(samples).double().softmax(1).numpy() for judge in judges]
    alone = [(one.argmax(1) == classes).mean() for one in found]
    # a ring of three: each cell sees all
    together = (sum(found).argmax(1) == classes).mean()
    assert run.ds.final_discriminator_accuracy.values[0] == pytest.approx(alone)
    assert run.ds.final_accuracy.values[0] == pytest.approx([together] * 3)
    assert run.ds.discriminator_accuracy.values[-1, 0] == pytest.approx(alone)


def test_labelled_samples_teach_classes(run):
    assert run.ds.accuracy.sel(round=1).min() < run.ds.accuracy.sel(round=2).max()
    assert run.ds.final_accuracy.min() > 0.4  # of ten classes


def test_accuracy_is_the_score_and_mixtures_improve_by_fid(run):
    assert run.ds.attrs["score"] == "accuracy"
    assert run.ds.accuracy.attrs["better"] == run.ds.final_accuracy.attrs["better"] == "higher"
    values = run.ds.final_accuracy.values.ravel()
    assert values[int(run.slot_of_best().split("/")[1])] == values.max()
    assert run.method.mixed_by == "fid"
    assert run.ds.attrs["held_out_digest"] == run.method.training.data.fingerprint
    assert "accuracy" in run.story()


def test_other_scores_change_nothing_but_what_is_best(run):
    other = gd.run(tiny("grid", **{**FEW, "score": "fid"}), progress=False)
    assert np.array_equal(other.accuracy, run.ds.accuracy)
    assert np.array_equal(other.mixture_weight, run.ds.mixture_weight, equal_nan=True)


def test_without_labelled_samples_nothing_tells_of_classes():
    assert not [name for name in tiny("grid").layout().variables if "accuracy" in name]


@pytest.mark.parametrize(
    "given",
    [
        {"selection": False},
        {"population_size": 2},
        {"exchange": False},
        {"score_samples": 0},
        {"network": "dcgan", "image_size": 8},
        {"augment": "translation", "r1": 0.1},
    ],
)
def test_it_goes_with_other_settings(given):
    asked = {**FEW, "rounds": 1, "shape": (1, 2), **given}
    one, again = (without_timings(gd.run(tiny("grid", **asked), progress=False)) for _ in range(2))
    assert one.identical(again)
    assert np.isfinite(one.final_accuracy).all()
    assert np.isfinite(one.accuracy).all() == bool(asked["score_samples"])


def individuals(*names, fitness=()):
    return tuple(
        Individual(name, 0, fitness=value) for name, value in zip(names, fitness, strict=True)
    )


@pytest.mark.parametrize(
    ("left", "fitness", "alone", "together"),
    [
        (("a", "b"), (1, 2), 0.1, 0.7),  # the offspring was not fitter
        (("a", "b"), (2, 1), 0.2, 0.7),
        (("new", "b"), (1, 2), 0.3, 0.5),  # it took the place of a
        (("a", "new"), (1, 2), 0.1, 0.6),
        (("a", "new"), (2, 1), 0.3, 0.6),
    ],
)
def test_what_is_told_is_of_those_who_stay(left, fitness, alone, together):
    read = individuals("a", "b", "of another cell", fitness=(0, 0, 0))
    cell = Cell(0, Population((), individuals(*left, fitness=fitness)))
    told = {
        "accuracies": np.array([0.1, 0.2, 0.3]),
        "ensemble_accuracies": np.array([0.5, 0.6, 0.7]),
    }
    found = taken_in(cell, Population((), read), told)
    assert (found.discriminator_accuracy, found.accuracy) == (alone, together)


def test_ensembles_are_with_the_offspring_in_each_place_and_without_it(cache):
    training = tiny("grid", **FEW).training
    judges = [build(training.build_discriminator, seed) for seed in range(4)]
    told = accuracies(training, judges, 2, 300, CPU)  # two own, a neighbour's, the offspring
    samples, classes = held_out(training, 300, CPU)
    found = probabilities(judges, samples)
    alone = [accuracy(found[index], classes) for index in (0, 1, 3)]
    sets = [(3, 1, 2), (0, 3, 2), (0, 1, 2)]
    together = [accuracy(found[list(chosen)].mean(0), classes) for chosen in sets]
    assert len({*together}) == 3
    assert told["accuracies"].tolist() == alone
    assert told["ensemble_accuracies"].tolist() == together


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"labelled": 9}, r"labelled=9: expected one sample of each class.* from 10 to 1438"),
        ({"labelled": 1500}, "from 10 to 1438"),
        ({"labelled": 50, "network": "conditional_mlp"}, "these have: mlp, small_mlp, dcgan"),
        ({"labelled": 0}, "give labelled=100"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(given, told, tmp_path):
    with pytest.raises(SettingError, match=told):
        gd.run(tiny("grid", **{**FEW, **given}), store=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_without_labels_are_refused(tmp_path):
    np.save(tmp_path / "plain.npy", np.zeros((100, 8, 8), np.uint8))
    asked = {**FEW, "data": str(tmp_path / "plain.npy"), "data_fraction": 1.0}
    with pytest.raises(SettingError, match=r"labelled=50: .* has no labels to learn"):
        tiny("grid", **asked).check()


@pytest.mark.parametrize("name", ["mggan", "bpgan", "data_parallel", "per_label", "privacy"])
def test_other_methods_have_no_such_setting(name):
    with pytest.raises(SettingError, match="has no setting 'labelled'"):
        tiny(name, labelled=50)


# ---- a classifier to take elsewhere


def test_plain_pytorch_tells_classes_as_the_exported_discriminator(run, judges, tmp_path):
    target = tmp_path / "classifier.safetensors"
    told = ["export", str(run.store.path), "-o", str(target), "--classifier", "--slot", "cell/1"]
    assert CliRunner().invoke(main, told).exit_code == 0
    weights = load_file(target)
    layers = [nn.Flatten()]
    for name in [name for name in weights if name.endswith("weight")]:
        layers += [nn.Linear(*weights[name].shape[::-1]), nn.LeakyReLU(0.2)]
    plain = nn.Sequential(*layers[:-1])
    plain.load_state_dict(weights)
    samples, _ = held_out(run.method.training, 20, CPU)
    with torch.no_grad():
        assert torch.equal(plain(samples), judges[1].classify(samples))
    with safe_open(target, "np") as file:
        assert file.metadata()["classifier"].startswith("cell/1/discriminator/")
        assert json.loads(file.metadata()["classes"]) == 10


def test_the_best_cell_is_exported_unless_another_is_named(run, tmp_path):
    best, named = (
        load_file(run.export(tmp_path / f"{number}.safetensors", slot, classifier=True))
        for number, slot in enumerate((None, run.slot_of_best()))
    )
    assert all(torch.equal(best[name], named[name]) for name in named)


def test_a_run_without_labelled_samples_has_no_classifier(cache, tmp_path):
    gd.run(tiny("grid", rounds=1), store=tmp_path / "run", progress=False)
    with pytest.raises(StoreError, match="no discriminator of cell/0 tells classes"):
        gd.open_run(tmp_path / "run").export(tmp_path / "a.safetensors", "cell/0", classifier=True)
