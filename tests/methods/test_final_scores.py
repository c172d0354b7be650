"""Final scores of methods: of the ensembles' own samples, in their shares, and nothing else new."""

import numpy as np
import pytest
import torch
from conftest import tiny

import gandask as gd
from gandask import SettingError, results
from gandask.methods.comparing import Member, compare
from gandask.methods.testing.walk import walk
from gandask.results import without_timings
from gandask.scores import classifier, features, final, mixture, sets
from gandask.training.learner import load_module
from gandask.training.settings import Noise

ASKED = ("precision", "recall", "kid", "fid_by_class")


@pytest.fixture(scope="module")
def walked():
    return walk(tiny("mggan", final_scores=ASKED))


@pytest.fixture(scope="module")
def conditional():
    return tiny(
        "grid", data="digits", network="conditional_mlp", shape=(1, 2), rounds=1, batch_size=60,
        final_scores=("classification_accuracy", "fid_by_class"),
    )  # fmt: skip


def by_hand(method, walked, ensemble, count):
    """Draw an ensemble's samples as the task does, from the states that the run left."""
    weights = walked.steps[-1].after.mixtures[ensemble]
    counts = mixture.apportion(np.array([*weights.values()]), count)
    round = walked.steps[-1].after.round + 1
    made = []
    with method.training.settled() as device, torch.no_grad():
        for index, (name, size) in enumerate(zip(weights, counts, strict=True)):
            training = method.training_of("/".join(name.split("/")[:2]))
            generator = load_module(training.build_generator, walked.states[name], device)
            noise = Noise(training, device, round, ensemble, "compare", index)
            made.append(generator(*noise.draw(int(size))))
    return torch.cat(made)


@pytest.mark.parametrize("ensemble", ["group/1", "all"])
def test_ensembles_are_scored_by_their_own_samples_in_their_shares(ensemble, walked):
    method = tiny("mggan", final_scores=ASKED)
    points = by_hand(method, walked, ensemble, 200)
    assert len(points) == 200
    real = final.real(*method.measured_by)
    with method.training.settled():  # as many threads as tasks have: sums hang on it
        expected = {
            "precision": sets.precision(real.features, real.nearest[:, 2], points),
            "recall": sets.recall(real.features, points),
            "kid": sets.kernel_distance(real.features, points, real.likeness),
        }
    found = walked.dataset
    if ensemble == "all":
        found = {name: float(found[f"final_mixture_{name}"]) for name in expected}
    else:
        found = {name: float(found[f"final_{name}"].sel(group=1)) for name in expected}
    assert found == expected
    assert found["recall"] > 0


def test_nothing_else_changes(walked):
    without = walk(tiny("mggan")).dataset
    with_them = without_timings(walked.dataset)
    added = {name for name in with_them.variables if name not in without.variables}
    names = {f"final_{name}" for name in ASKED} | {f"final_mixture_{name}" for name in ASKED}
    assert added == names
    alike = with_them.drop_vars(added)
    for name in without_timings(without).data_vars:
        assert alike[name].identical(without[name]), name


def test_a_run_says_them_beside_its_other_scores(walked):
    found = results.outcome(walked.dataset)
    assert {"fid", "precision", "recall", "kid"} <= set(found.data_vars)
    assert "fid_by_class" not in found  # it is more than one number
    together = results.of_all(walked.dataset)
    assert "final_mixture_recall" in together
    told = results.summary(walked.dataset)
    assert f"  precision        {float(found.precision):.4g}" in told
    early = walked.dataset.drop_vars([n for n in walked.dataset if str(n).startswith("final_")])
    assert "precision" not in results.outcome(early)


def test_what_they_are_is_said(walked):
    told = walked.dataset.final_mixture_fid_by_class
    assert told.dims == ("class",)
    assert told.attrs["better"] == "lower"
    assert told.attrs["samples"] == 200
    assert "mixture" in told.attrs["long_name"]


def test_a_conditional_network_is_scored_by_the_labels_it_was_asked_for(conditional, monkeypatch):
    seen = {}

    def taught(images, labels, data, of=()):
        seen["counts"], seen["shape"], seen["of"] = np.bincount(labels), images.shape, of
        return 0.5

    monkeypatch.setattr(classifier, "taught", taught)
    dataset = gd.run(conditional, progress=False)
    assert (dataset.final_classification_accuracy == 0.5).all()
    assert seen["shape"] == (200, 1, 8, 8)
    assert seen["of"] == ()
    assert len(seen["counts"]) == 10
    assert seen["counts"].min() >= 8  # asked for all alike: what is seen of an early network is not
    assert np.isfinite(dataset.final_fid_by_class).all()


def test_generators_of_labels_teach_a_classifier_of_them():
    method = tiny("per_label", final_scores=("classification_accuracy", "fid_by_class"))
    dataset = gd.run(method, progress=False)
    assert 0 <= float(dataset.final_mixture_classification_accuracy) <= 1
    known = np.isfinite(dataset.final_mixture_fid_by_class.values)
    assert np.flatnonzero(known).tolist() == [0, 3, 7]
    assert method.compared_labels == (0, 3, 7)
    assert tiny("per_label", labels=None).compared_labels == ()


@pytest.fixture
def uneven(tmp_path):
    """Write images whose labels skip a number, and of the last of which there is one."""
    labels = np.repeat([0, 1, 4], [60, 60, 1])
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "uneven.npz", samples=images, labels=labels)
    return str(tmp_path / "uneven.npz")


@pytest.mark.parametrize(
    "settings",
    [
        {"name": "grid", "network": "conditional_mlp", "shape": (1, 2), "rounds": 1},
        {"name": "mggan", "base": "conditional_mlp"},
        {"name": "per_label", "labels": None, "batch_size": 1},
    ],
)
def test_a_class_of_one_real_sample_has_no_fid(settings, uneven):
    given = {"data": uneven, "data_fraction": 1.0, "batch_size": 20, "final_scores": ASKED}
    dataset = gd.run(tiny(**given | settings), progress=False)
    whole = "" if settings["name"] == "grid" else "mixture_"
    found = dataset[f"final_{whole}fid_by_class"].values.reshape(-1, 3)
    assert np.isfinite(found).tolist() == [[True, True, False]] * len(found)
    for name in ("precision", "recall", "kid"):
        assert np.isfinite(dataset[f"final_{whole}{name}"]).all(), name


def test_labels_of_too_few_real_samples_are_refused(uneven):
    method = tiny("per_label", data=uneven, labels=(2,), batch_size=1, final_scores=("kid",))
    with pytest.raises(
        SettingError, match=r"'kid' is of at least 2 samples: .* has 1 of the label"
    ):
        gd.run(method, progress=False)


def test_other_features_than_the_classifiers_are_compared_by_all_scores(monkeypatch):
    """As InceptionV3's, which are of other classes than the data's."""
    pixels = features.pixels()

    def apply(samples):
        found, _, _ = pixels.apply(samples)
        return found, torch.full((len(samples), 1008), 1 / 1008).double(), None

    monkeypatch.setattr(features, "_inception", lambda *weights: features.Extractor(apply, "v3"))
    asked = ("density", "coverage", "classification_accuracy", *ASKED)
    given = {"data": "digits", "network": "conditional_mlp", "batch_size": 60, "rounds": 1}
    given |= {"shape": (1, 2), "features": "inception"}
    dataset = gd.run(tiny("grid", **given, final_scores=asked), progress=False)
    for name in asked:
        assert np.isfinite(dataset[f"final_{name}"]).all(), name
    # what real samples teach, to compare with
    assert dataset.attrs["classifier_accuracy"] > 0.9
    assert "classifier_accuracy" not in tiny("grid", **given, final_scores=ASKED).prepare()


def test_a_generator_of_numbers_that_are_none_is_scored_as_the_worst():
    training = tiny("mggan").training
    with training.settled():
        state = {
            name: np.full(part.shape, np.nan, np.float32)
            for name, part in training.build_generator().state_dict().items()
        }
    given = {"members": [Member(training, 1.0)], "ensemble": "all", "round": 1, "of": ()}
    wanted = ("precision", "density", "coverage", "kid", "recall", "fid_by_class")
    _, values = compare(state, **given, wanted=wanted, samples=50)
    assert [values[name] for name in ("precision", "density", "coverage")] == [0, 0, 0]
    assert values["kid"] == np.inf
    assert np.isnan(values["recall"])
    assert np.isnan(values["fid_by_class"]).all()


def test_what_is_compared_of_private_data_never_leaves_a_client():
    method = tiny("privacy", final_scores=("precision",))
    walked = walk(method)
    assert walked.dataset.final_precision.dims == ("client",)  # as all that is told of its student
    assert np.isfinite(walked.dataset.final_precision).all()
    tasks = [one.task for one in walked.performed if one.task.function is compare]
    assert len(tasks) == 2
    for task in tasks:
        assert task.slot.startswith("student/")
        assert [name.split("/")[2] for name in task.reads] == ["generator"]
        assert not task.writes


@pytest.mark.parametrize(
    ("method", "changes", "told"),
    [
        ("grid", {"final_scores": ("classification_accuracy",), "data": "digits"}, "takes labels"),
        ("mggan", {"final_scores": ("recall",), "final_samples": 3}, "at least 4 samples"),
        ("bpgan", {"final_scores": ("classification_accuracy",)}, "classification_accuracy"),
        ("privacy", {"final_scores": ("fid_by_class",), "features": "coordinates"}, "the class"),
    ],
)
def test_what_there_is_nothing_for_is_refused_before_anything_starts(method, changes, told):
    with pytest.raises(gd.SettingError, match=told):
        tiny(method, **({"batch_size": 20} | changes)).check()


def test_a_task_of_other_features_is_refused():
    training = tiny("mggan").training
    training.identity["extractor"] = "another"
    with training.settled():
        module = training.build_generator()
    state = {name: part.detach().numpy() for name, part in module.state_dict().items()}
    given = {"members": [Member(training, 1.0)], "ensemble": "all", "round": 1, "of": ()}
    with pytest.raises(gd.DataError, match="scored by something else"):
        compare(state, **given, wanted=("kid",), samples=10)
