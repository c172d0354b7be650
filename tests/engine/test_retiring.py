"""States that a method says no later plan reads: dropped once they are stored, and never missed."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

import gandask as gd
from gandask.config import settings
from gandask.core import Task
from gandask.engine import kept
from gandask.engine.kept import KeptSession
from gandask.methods import METHODS
from gandask.methods.testing import Toy, assert_same
from gandask.methods.testing.toy import make, point, score, step
from gandask.methods.testing.walk import walk
from gandask.store import Store
from gandask.training.stored import read_checkpoint

DONE = 5


@dataclass(frozen=True)
class Turns:
    """How many tasks each node has done."""

    done: Mapping[str, int]
    records: tuple = ()
    events: tuple = ()
    mixtures: Mapping = field(default_factory=dict)
    best: str | None = None

    @property
    def round(self):
        return min(self.done.values())

    @property
    def keeps(self):
        first = {point(slot, 0) for slot, turn in self.done.items() if turn == 1}
        second = {point(slot, 1) for slot, turn in self.done.items() if turn >= 2}
        return frozenset(first | second | {point(s, 2) for s, t in self.done.items() if t >= 4})


@settings
class Retiring(Toy):
    """Every node makes a point, steps, is scored, and begins anew with another point."""

    name = "retiring"

    def start(self):
        return Turns(dict.fromkeys(self.slots, 0)), [[self.turn(slot, 0) for slot in self.slots]]

    def advance(self, view, reports):
        done = view.done | {report.slot: view.done[report.slot] + 1 for report in reports}
        ready = [slot for slot in {report.slot: 0 for report in reports} if done[slot] < DONE]
        plan = [self.turn(slot, done[slot]) for slot in ready]
        return replace(view, done=done), [plan] if plan else []

    def retired(self, view):
        """Those that only tasks read that were planned before, or with the view."""
        return frozenset(point(slot, 1) for slot, turn in view.done.items() if turn >= 2)

    def turn(self, slot, number):
        own, named = (point(slot, 0), point(slot, 1), point(slot, 2)), {"seed": 1, "slot": slot}
        stepping = named | {"round": 1, "rate": 0.5}
        return [
            Task(slot, 0, make, (), own[:1], named),
            Task(slot, 1, step, (own[0], own[0]), own[1:2], stepping),
            Task(slot, 2, score, own[1:2], arguments={"weights": (1.0,)}),
            Task(slot, 3, make, (), own[2:], named),
            Task(slot, 4, score, own[2:], arguments={"weights": (1.0,)}),
        ][number]


@pytest.fixture
def retiring(monkeypatch):
    """The method, whose runs write a checkpoint after every step."""
    monkeypatch.setitem(METHODS, "retiring", Retiring)
    monkeypatch.setattr(KeptSession, "_laden", lambda self: True)
    return Retiring(nodes=2, rounds=DONE)


def interrupted(method, store, steps, **options):
    """Begin a run that is interrupted after some steps."""
    count = 0
    advance = Retiring.advance

    def interrupting(self, view, reports):
        nonlocal count
        count += 1
        if count > steps:
            raise KeyboardInterrupt
        return advance(self, view, reports)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Retiring, "advance", interrupting)
        with pytest.raises(KeyboardInterrupt):
            gd.run(method, store=store, progress=False, **options)


@pytest.mark.parametrize("synchronous", [True, False])
def test_what_planned_tasks_read_is_there_after_an_interruption(retiring, tmp_path, synchronous):
    walk(retiring)
    options = {"synchronous": synchronous}
    whole = gd.run(retiring, progress=False, **options)
    for steps in range(1, DONE if synchronous else 2 * DONE):
        store = tmp_path / str(steps)
        interrupted(retiring, store, steps, **options)
        assert_same(gd.run(retiring, store=store, resume=True, progress=False, **options), whole)
        names = read_checkpoint(*Store.open(store).checkpoints.last()).keys()
        assert names == {point(slot, number) for slot in retiring.slots for number in (1, 2)}


@pytest.mark.parametrize("steps", [0, 4])
def test_what_was_retired_cannot_be_kept_again(retiring, tmp_path, monkeypatch, steps):
    if steps:
        interrupted(retiring, tmp_path / "run", steps)
    retired = Retiring.retired

    def wavering(self, view):
        return frozenset() if view.round >= DONE else retired(self, view)

    monkeypatch.setattr(Retiring, "retired", wavering)
    with pytest.raises(gd.MethodError, match=r"keeps 'node/0/point/1', .* or which was retired"):
        gd.run(retiring, store=tmp_path / "run", resume=bool(steps), progress=False)


def test_files_of_older_versions_are_not_taken_for_those_of_retired_states(
    retiring, tmp_path, monkeypatch
):
    files = kept._files
    with monkeypatch.context() as patch:
        patch.setattr(kept, "_files", lambda names, retired, token: files(names, (), token))
        interrupted(retiring, tmp_path / "run", 3)
    gd.run(retiring, store=tmp_path / "run", resume=True, progress=False)
    names = read_checkpoint(*Store.open(tmp_path / "run").checkpoints.last()).keys()
    assert names == {point(slot, number) for slot in retiring.slots for number in (1, 2)}


def test_files_are_copied_where_there_are_no_links(retiring, tmp_path, monkeypatch):
    def refused(self, other):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    gd.run(retiring, store=tmp_path / "run", progress=False)
    folder, told = Store.open(tmp_path / "run").checkpoints.last()
    assert len(read_checkpoint(folder, told)) == 4
    assert {(folder / file).stat().st_nlink for file in told["files"]} == {1}

    def full(path, other):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(gd.StoreError, match=r"cannot be written: .*No space left.*safe"):
        gd.run(retiring, store=tmp_path / "full", progress=False)
