"""Samples to look at: kept of every round, small, and of no harm to anybody."""

import json

import numpy as np
import pytest
from conftest import tiny

import gandask as gd
from gandask.core import StoreError
from gandask.core.shown import packed, unpacked
from gandask.results import without_timings
from gandask.store.shown import Shown

IMAGES = packed(np.linspace(-1, 1, 2 * 3 * 4 * 4).reshape(2, 3, 4, 4))


@pytest.fixture
def shown(tmp_path):
    return Shown(tmp_path / "shown")


def test_what_was_shown_comes_back(shown):
    for round in (1, 2, 4):
        shown.append("cell/0", round, IMAGES + round)
    assert shown.rounds("cell/0") == [1, 2, 4]
    assert shown.slots(["cell/0", "cell/1"]) == ["cell/0"]
    assert np.array_equal(shown.at("cell/0", 2), unpacked(IMAGES + 2))
    assert np.array_equal(shown.at("cell/0", 3), unpacked(IMAGES + 2))  # what it showed last
    assert shown.at("cell/0", 0) is None
    assert shown.at("cell/1", 2) is None
    assert shown.rounds("cell/1") == []
    assert shown.size == 3 * (IMAGES.nbytes + 4)


def test_a_round_that_was_computed_again_counts_as_it_was_last(shown):
    for round, samples in ((1, IMAGES), (2, IMAGES), (1, IMAGES + 7)):
        shown.append("cell/0", round, samples)
    assert np.array_equal(shown.at("cell/0", 1), unpacked(IMAGES + 7))
    assert shown.rounds("cell/0") == [1, 2]


def test_a_record_that_a_crash_cut_short_is_left_out_and_cut_off(shown):
    shown.append("cell/0", 1, IMAGES)
    file = shown.path / "cell-0.rounds"
    file.write_bytes(2 * file.read_bytes()[:-9])
    assert shown.rounds("cell/0") == [1]
    shown.append("cell/0", 2, IMAGES + 1)
    assert shown.rounds("cell/0") == [1, 2]
    assert np.array_equal(shown.at("cell/0", 2), unpacked(IMAGES + 1))


def test_points_are_kept_to_three_digits(shown):
    points = np.random.default_rng(1).normal(size=(50, 2))
    shown.append("cell/0", 1, packed(points))
    assert np.allclose(shown.at("cell/0", 1), points, rtol=1e-3)


def test_sequences_are_kept_with_as_many_steps_as_can_be_seen(shown):
    long = np.random.default_rng(1).uniform(-1, 1, (3, 190, 6))
    shown.append("cell/0", 1, packed(long))
    assert np.allclose(shown.at("cell/0", 1), long[:, ::3, :4], atol=1e-3)


def test_a_full_disk_harms_nothing(shown, monkeypatch):
    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(shown, "_write", full)
    shown.append("cell/0", 1, IMAGES)
    assert shown.rounds("cell/0") == []


def test_those_of_others_can_be_removed(shown):
    for slot in ("label/1", "label/11"):
        shown.append(slot, 1, IMAGES)
    shown.keep(["label/1"])
    assert shown.slots(["label/1", "label/11"]) == ["label/1"]


@pytest.mark.parametrize(
    "form",
    [
        "[",
        "[1]",
        {"kind": "object", "shape": [1, 1, 1, 1]},
        {"kind": "uint8", "shape": [1 << 20, 1 << 20, 1, 1]},
        {"kind": "uint8", "shape": [-1, 1, 1, 1]},
        {"kind": "float16", "shape": [5, 3]},
        {"kind": "float16", "shape": [5, 65, 2]},
        {"kind": "uint8", "shape": [5, 24, 2]},
        {"kind": "uint8", "shape": "abcd"},
    ],
)
def test_a_form_that_cannot_be_is_refused(shown, form):
    shown.append("cell/0", 1, IMAGES)
    shown.form_file.write_text(form if isinstance(form, str) else json.dumps(form))
    with pytest.raises(StoreError, match="cannot be read"):
        shown.at("cell/0", 1)


def test_a_run_shows_every_round_and_comes_to_the_same_without(tmp_path):
    given = {"data": "digits", "network": "mlp", "shape": (1, 2), "rounds": 2}
    given |= {"data_fraction": 0.2, "score_samples": 100, "final_samples": 100}
    one, other = (
        gd.run(gd.Grid(**given, shown_samples=count), store=tmp_path / str(count))
        for count in (0, 3)
    )
    one, other = (without_timings(ds).drop_attrs(deep=False) for ds in (one, other))
    assert other.identical(one)
    run = gd.open_run(tmp_path / "3")
    assert [run.shown.rounds(slot) for slot in run.layout.slots] == 2 * [[0, 1, 2]]
    assert run.shown.at("cell/1", 2).shape == (3, 1, 8, 8)
    assert gd.open_run(tmp_path / "0").shown.size == 0
    assert "shown_samples" not in (tmp_path / "3" / "reports.jsonl").read_text()
    # all look at the same noise: what differs is the generator
    assert not np.array_equal(run.shown.at("cell/0", 2), run.shown.at("cell/1", 2))


def test_samples_of_another_form_are_refused(shown):
    shown.append("cell/0", 1, IMAGES)
    with pytest.raises(StoreError, match="expected samples of the form"):
        shown.append("cell/1", 1, IMAGES[:1])


def test_real_samples_are_beside_them_of_each_class_in_turn(tmp_path):
    given = {"data": "digits", "batch_size": 50, "score_samples": 100, "final_samples": 100}
    budget = {"base": "mlp", "budget": "iterations:1", "kept_samples": 0}
    gd.run(gd.PerLabel(**given, **budget, labels=(3, 8)), store=tmp_path / "run")
    real = gd.open_run(tmp_path / "run").shown.real()
    digits = gd.data.load("digits")
    every = packed(digits.batch(np.arange(len(digits))).numpy())
    known = {one.tobytes(): label for one, label in zip(every, digits.labels, strict=True)}
    assert [known[one.tobytes()] for one in packed(real)] == 8 * [3, 8]


def test_what_is_private_is_never_shown(tmp_path):
    assert tiny("privacy").real_samples() is None


def test_a_reader_follows_what_is_appended_and_what_begins_anew(shown):
    reader = Shown(shown.path)
    for round in (1, 2):
        shown.append("cell/0", round, IMAGES + round)
        assert reader.rounds("cell/0") == [*range(1, round + 1)]
    shown.clear()
    anew = Shown(shown.path)
    anew.append("cell/0", 5, IMAGES)
    assert reader.rounds("cell/0") == [5]
