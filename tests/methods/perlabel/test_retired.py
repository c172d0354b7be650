"""What becomes of the states of labels that are done: the store holds them, and nobody else."""

import itertools

import pytest
from conftest import tiny

import gandask as gd
from gandask.core import Task
from gandask.engine import kept
from gandask.engine.kept import KeptSession
from gandask.execution.serial import Serial
from gandask.methods.perlabel.method import PerLabel
from gandask.methods.testing import assert_same
from gandask.methods.testing.conformance import InterruptedHereError, interrupted
from gandask.store import Store
from gandask.training.stored import digest_of, read_checkpoint


@pytest.fixture
def in_turn():
    return tiny("per_label", labels=(0, 3, 7), at_once=1)


@pytest.fixture
def held(monkeypatch):
    """The labels that a process holds states of, after each step."""
    seen = []
    keep = Serial.keep

    def watched(self, names):
        keep(self, names)
        seen.append(sorted({name.split("/")[1] for name in self.states}))

    monkeypatch.setattr(Serial, "keep", watched)
    return seen


def test_labels_that_are_done_are_dropped(in_turn, held, tmp_path):
    gd.run(in_turn, store=tmp_path / "run", checkpoint_every=1, progress=False)
    assert max(map(len, held)) == 2  # one that is done, until the checkpoint after it
    assert held[-1] == ["7"]
    alone = len(held)
    gd.run(in_turn, progress=False)
    assert all(len(labels) <= 1 for labels in held[alone:])  # nobody will ask for them


def test_generators_that_final_scores_compare_stay(in_turn, held, tmp_path):
    compared = tiny("per_label", labels=(0, 3, 7), at_once=1, final_scores=("density",))
    gd.run(compared, store=tmp_path / "run", checkpoint_every=1, progress=False)
    assert held[-1] == ["0", "3", "7"]


def inodes(store):
    """Name each file of the last checkpoint by what is on the disk."""
    folder, told = store.checkpoints.last()
    return {file: (folder / file).stat().st_ino for file in told["files"]}


def test_they_are_written_once(in_turn, tmp_path, monkeypatch):
    seen = []
    checkpoint = KeptSession.checkpoint

    def watched(self, last):
        checkpoint(self, last)
        seen.append(inodes(self.store))

    monkeypatch.setattr(KeptSession, "checkpoint", watched)
    gd.run(in_turn, store=tmp_path / "run", checkpoint_every=1, progress=False)
    for before, after in itertools.pairwise(seen):
        retired = {file for file in before if file.count("-") == 2}
        assert {file: before[file] for file in retired} == {file: after[file] for file in retired}
    assert sum(file.startswith("label-0-") for file in seen[-1]) == 1
    folder, told = Store.open(tmp_path / "run").checkpoints.last()
    whole = read_checkpoint(folder, told)
    assert {name.split("/")[1] for name in whole} == {"0", "3", "7"}
    monkeypatch.undo()
    gd.run(in_turn, store=tmp_path / "one", progress=False)
    folder, told = Store.open(tmp_path / "one").checkpoints.last()
    assert {name: digest_of(state) for name, state in whole.items()} == {
        name: digest_of(state) for name, state in read_checkpoint(folder, told).items()
    }


def test_many_bytes_of_them_are_worth_a_checkpoint(in_turn, held, tmp_path, monkeypatch):
    gd.run(in_turn, store=tmp_path / "few", checkpoint_every=100, progress=False)
    assert held[-1] == ["0", "3", "7"]
    monkeypatch.setattr(kept, "PARTED", 1000)
    gd.run(in_turn, store=tmp_path / "many", checkpoint_every=100, progress=False)
    assert held[-1] == ["7"]
    events = gd.open_run(tmp_path / "many").ds.event_kind.values.tolist()
    assert events.count("checkpoint") == 3  # with the last one


@pytest.mark.parametrize("steps", [4, 8, 11])
def test_a_run_is_resumed_without_them(in_turn, held, tmp_path, monkeypatch, steps):
    whole = gd.run(in_turn, store=tmp_path / "whole", checkpoint_every=1, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(PerLabel, "advance", interrupted(in_turn, steps))
        with pytest.raises(InterruptedHereError):
            gd.run(in_turn, store=tmp_path / "run", checkpoint_every=1, progress=False)
    held.clear()
    ds = gd.run(in_turn, store=tmp_path / "run", resume=True, progress=False)
    assert_same(ds, whole)
    assert max(map(len, held)) <= 2
    images, labels = gd.open_run(tmp_path / "run").sampler().sample(6, seed=0)
    assert sorted({*labels.tolist()}) == [0, 3, 7]
    assert images.isfinite().all()


def test_a_file_of_them_that_is_gone_is_told(in_turn, tmp_path, monkeypatch):
    checkpoint = KeptSession.checkpoint

    def losing(self, last):
        for file in self.sealed[0].glob("label-0-*"):
            file.unlink()
        checkpoint(self, last)

    monkeypatch.setattr(KeptSession, "checkpoint", losing)
    with pytest.raises(gd.StoreError, match=r"label-0-.* is gone: no worker holds what was in it"):
        gd.run(in_turn, store=tmp_path / "run", checkpoint_every=1, progress=False)


def test_reading_them_breaks_the_contract(in_turn, tmp_path, monkeypatch):
    advance = PerLabel.advance

    def reading(self, view, reports):
        after, plan = advance(self, view, reports)
        done = [label for label in after.labels if label.phase == "done"]
        if plan and done:
            again = Task(done[0].slot, 99, max, done[0].named(done[0].serial)[:1])
            plan = [*plan, [again]] if len(done) == 2 else plan
        return after, plan

    monkeypatch.setattr(PerLabel, "advance", reading)
    with pytest.raises(gd.MethodError, match=r"reads 'label/0/generator/.*written"):
        gd.run(in_turn, store=tmp_path / "run", checkpoint_every=1, progress=False)
