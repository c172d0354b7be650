"""Servers that need not wait: whoever is faster, all ends, and nothing is told twice or lost."""

import itertools
import random

import pytest

import gandask as gd
from gandask.core import Report
from gandask.engine.ledger import Ledger
from gandask.methods.split.method import Split
from gandask.methods.split.pace import waited_for

SMALL = {
    "data": "digits",
    "base": "dcgan",
    "iterations": 6,
    "batch_size": 20,
    "score_every": 2,
    "score_samples": 50,
    "final_samples": 50,
}


def report(task):
    """Report a task that was not performed."""
    values = {"finite": True}
    for asked in task.arguments.get("asked", ()):
        kind = "generator" if asked in ("generator", "feedback") else "discriminator"
        values[f"{kind}_loss"] = 1.0
    if task.arguments.get("scored") or task.name == "score":
        values["statistics"] = [0]
    return Report(task.slot, task.round, task.name, values, sizes=(1,) * len(task.writes))


class Walk:
    """A run in which nothing is computed, and tasks end in an order of chance."""

    def __init__(self, method, seed):
        self.method, self.chance = method, random.Random(seed)
        slots = method.layout().slots
        self.speed = {slot: self.chance.choice([1, 1, 5, 30]) for slot in slots}
        self.ledger, self.records, self.there = Ledger(method), [], set()
        self.view, plan = method.start()
        self.out = self.sent(plan)
        while self.out:
            self.turn()

    def sent(self, plan):
        self.ledger.plan(plan)
        return [task for stage in plan for task in stage]

    def turn(self):
        """End some of the tasks that can."""
        ready = [task for task in self.out if self.there.issuperset(task.reads)]
        assert ready, "what is read is not there"
        weights = [1 / self.speed[task.slot] for task in ready]
        ended = self.chance.choices(ready, weights, k=self.chance.choice([1, 1, 2, 3]))
        ended = [*dict.fromkeys(map(self.out.index, ended))]
        tasks = [self.out[index] for index in sorted(ended)]
        self.out = [task for task in self.out if task not in tasks]
        self.there.update(name for task in tasks for name in task.writes)
        reports = [report(task) for task in tasks]
        self.ledger.report(reports)
        before = self.view.round
        self.view, plan = self.method.advance(self.view, reports)
        assert self.view.round >= before
        self.records += self.view.records
        self.ledger.check_records(self.view.records)
        self.out += self.sent(plan)
        self.there &= self.ledger.keep(self.view.keeps)
        assert self.view.round == 0 or self.there.issuperset(self.view.generators.values())


NODES = [
    gd.DataParallel(
        nodes=nodes, quorum=quorum, schedule=schedule, discriminator_steps=steps, **SMALL
    )
    for nodes, quorum, schedule, steps in itertools.product(
        (1, 2, 5), (0.0, 0.3, 1.0), ("simultaneous", "alternating"), (1, 2)
    )
]
JUDGES = [
    gd.BPGAN(
        discriminators=judges, generators=makers, quorum=quorum, discriminator_steps=steps, **SMALL
    )
    for (judges, makers), quorum, steps in itertools.product(
        ((2, 2), (3, 1), (5, 1), (5, 2)), (0.3, 0.5, 0.7), (1, 2, 3)
    )
]


@pytest.mark.parametrize("method", [*NODES, *JUDGES], ids=repr)
def test_whoever_is_faster_all_rounds_are_told_once(method, monkeypatch):
    scored = []

    def noted(self, view, told, prefix):
        slots = sorted(slot for (slot, _), one in told.items() if "statistics" in one.values)
        scored.append((view.round, slots, prefix))
        return view, []

    monkeypatch.setattr(Split, "_scored", noted)
    for seed in (1, 2):
        scored.clear()
        walked = Walk(method, seed)
        assert walked.view.phase == "done"
        assert walked.view.round == method.iterations
        told = sorted((record.round, record.slot) for record in walked.records)
        rounds = range(1, method.iterations + 1)
        assert told == sorted(itertools.product(rounds, method.holders))
        slots = sorted(method.generator_slots)
        assert [one for one in scored if not one[2]] == [(at, slots, "") for at in (2, 4, 6)]
        left = {name.split("/")[2] for name in walked.view.keeps}
        assert left <= {"generator", "discriminator", "fakes"}


@pytest.mark.parametrize(
    ("quorum", "nodes", "count"),
    [(0, 4, 1), (0.5, 4, 2), (0.5, 3, 2), (1, 4, 4), (0.28, 25, 7), (0.56, 50, 28)],
)
def test_a_share_of_nodes_is_a_count(quorum, nodes, count):
    assert waited_for(quorum, nodes) == count


def test_a_run_at_its_own_pace_is_resumed_at_its_own_pace(tmp_path, monkeypatch):
    method = gd.BPGAN(discriminators=2, quorum=0.5, **SMALL | {"base": "small_mlp"})
    advance, calls = gd.BPGAN.advance, itertools.count()

    def stopping(self, view, reports):
        if next(calls) == 9:
            raise KeyboardInterrupt
        return advance(self, view, reports)

    with monkeypatch.context() as patch:
        patch.setattr(gd.BPGAN, "advance", stopping)
        with pytest.raises(KeyboardInterrupt):
            gd.run(method, store=tmp_path / "run", synchronous=False, checkpoint_every=1)
    with pytest.raises(gd.SettingError, match="nobody waits for all slots"):
        gd.run(method, store=tmp_path / "run", resume=True, synchronous=True)
    ds = gd.run(method, store=tmp_path / "run", resume=True)
    assert ds.sizes["round"] == 6
    assert ds.staleness.notnull().all()
