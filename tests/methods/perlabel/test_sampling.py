"""Samples of labels from a stored run."""

import numpy as np
import pytest
import torch
from conftest import tiny

import gandask as gd
from gandask.methods import testing


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "run"
    gd.run(tiny("per_label", share="equal"), store=path, progress=False)
    return gd.open_run(path)


def test_images_come_with_labels_or_of_one_label_alone(run):
    sampler = run.sampler(labels="empirical")
    images, labels = sampler.sample(64, seed=0)
    assert images.shape == (64, 1, 8, 8)
    assert labels.dtype == torch.int64
    # 178, 183 and 179 samples
    assert np.unique(labels, return_counts=True)[1].tolist() == [21, 22, 21]
    threes = sampler.sample(8, label=3, seed=0)
    assert threes.shape == (8, 1, 8, 8)
    assert torch.equal(threes, run.mixture("label/3").sample(8, seed=0))
    # those that are said to be threes are that generator's
    drawn = {one.numpy().tobytes() for one in run.mixture("label/3").sample(22, seed=0)}
    found = {one.numpy().tobytes() for one in images[labels == 3]}
    assert found == drawn


def test_labels_come_as_often_as_asked(run):
    for asked, expected in (
        ("uniform", {0: 20, 3: 20, 7: 20}),
        ({3: 0.5, 7: 0.5}, {3: 30, 7: 30}),
        ({0: 1, 3: 0, 7: 2}, {0: 20, 7: 40}),
    ):
        _, labels = run.sampler(asked).sample(60, seed=1)
        known, counts = np.unique(labels, return_counts=True)
        assert dict(zip(known.tolist(), counts.tolist(), strict=True)) == expected
    drawn = [run.sampler("uniform").sample(60, seed=seed, exact=False)[1] for seed in range(20)]
    counts = np.array([np.bincount(labels, minlength=8)[[0, 3, 7]] for labels in drawn])
    assert (counts != 20).any()
    assert abs(counts.mean(0) - 20).max() < 4


def test_a_seed_gives_the_same_again_and_another_something_else(run):
    for exact in (True, False):
        one, again, other = (run.sampler().sample(30, seed=seed, exact=exact) for seed in (0, 0, 1))
        assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
        assert not torch.equal(one[0], other[0])
        assert not torch.equal(one[1], other[1])


def test_the_order_of_weights_is_nobodys(run):
    one, other = (run.sampler(asked).sample(9) for asked in ({7: 1, 0: 2}, {0: 2, 7: 1}))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_none_are_none(run):
    images, labels = run.sampler().sample(0)
    assert (images.shape, labels.shape) == ((0, 1, 8, 8), (0,))


def test_the_best_mixture_is_all_labels(run):
    assert run.slot_of_best() == "all"
    weights = run.best_mixture().weights
    assert [*weights.values()] == pytest.approx([178 / 540, 183 / 540, 179 / 540])
    assert run.best_mixture().sample(5).shape == (5, 1, 8, 8)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("empiric", r"labels='empiric': expected 'empirical', 'uniform'"),
        ({}, r"labels=\{\}: expected"),
        ({3: -1.0, 7: 2.0}, r"none below 0"),
        ({3: 0.0}, r"one above"),
        ({3: float("nan")}, r"none below 0"),
        ({4: 1.0}, r"no label 4; expected 0, 3, 7"),
        (None, r"labels=None: expected"),
        ({3: "half"}, r"labels=\{3: 'half'\}: expected"),
        ({3: None}, r"labels=\{3: None\}: expected"),
        ({3: 1e308, 7: 1e308}, r"none below 0"),
        (np.array([3, 7]), r"labels=array.*: expected"),
    ],
)
def test_labels_that_cannot_be_are_refused(run, asked, expected):
    with pytest.raises(gd.SettingError, match=expected):
        run.sampler(asked)


def test_a_label_that_it_has_not_is_refused(run):
    with pytest.raises(gd.SettingError, match="label=4: expected one of 0, 3, 7"):
        run.sampler().sample(3, label=4)
    with pytest.raises(gd.SettingError, match="label=7: expected one of 3"):
        run.sampler({3: 1.0}).sample(3, label=7)
    with pytest.raises(gd.SettingError, match="label='3': expected one of 0, 3, 7"):
        run.sampler().sample(3, label="3")
    with pytest.raises(gd.SettingError, match=r"label=\[3\]: expected one of 0, 3, 7"):
        run.sampler().sample(3, label=[3])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"count": -1}, "count=-1: expected a whole number of at least 0"),
        ({"count": 2.5}, "count=2.5"),
        ({"count": "3"}, "count='3'"),
        ({"count": 3, "seed": -1}, "seed=-1: expected a whole number of at least 0"),
        ({"count": 3, "seed": None}, "seed=None"),
    ],
)
def test_what_cannot_be_drawn_is_refused(run, given, expected):
    for sampler in (run.sampler(), run.best_mixture()):
        for exact in (True, False):
            with pytest.raises(gd.SettingError, match=expected):
                sampler.sample(**given, exact=exact)


def test_other_methods_say_why_not(tmp_path):
    gd.run(testing.Toy(), store=tmp_path / "run", progress=False)
    with pytest.raises(gd.StoreError, match="method 'toy' makes samples of one label alone"):
        gd.open_run(tmp_path / "run").sampler()


@pytest.mark.parametrize("facts", [{"labels": "abc"}, {"labels": [0, 1]}, {"label_samples": None}])
def test_facts_of_a_stranger_are_told(run, facts):
    told = {"labels": [0, 3, 7], "label_samples": [178, 183, 179]} | facts
    with pytest.raises(gd.StoreError, match=r"put its run.json back"):
        run.method.makers(told)


def test_a_label_that_has_not_begun_is_named(tmp_path, monkeypatch):
    from gandask.methods.testing.conformance import InterruptedHereError, interrupted

    method = tiny("per_label", at_once=1)
    with monkeypatch.context() as patch:
        patch.setattr(type(method), "advance", interrupted(method, 4))
        with pytest.raises(InterruptedHereError):
            gd.run(method, store=tmp_path / "run", checkpoint_every=1, progress=False)
    run = gd.open_run(tmp_path / "run")
    with pytest.raises(gd.StoreError, match=r"label [37] had not begun"):
        run.sampler()
    assert len(run.sampler({0: 1.0}).sample(4, label=0)) == 4
    without = run.sampler({7: 0, 3: 0, 0: 1})
    assert [len(without.sample(count)[0]) for count in (0, 4)] == [0, 4]
