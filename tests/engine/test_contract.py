"""A method that breaks the contract is refused by name, before anything of it is sent."""

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

import gandask as gd
from gandask.core import Layout, MethodError, Record, Report, Role, Task, Variable
from gandask.engine.options import Options
from gandask.engine.session import Session
from gandask.execution.serial import Serial
from gandask.methods.testing import Toy, toy
from gandask.methods.testing.toy import make, point, score

ROOT = Path(__file__).parents[2]


def first_plan(monkeypatch, change):
    """Let the toy begin with another plan."""
    start = Toy.start

    def starting(self):
        view, plan = start(self)
        return view, change([list(stage) for stage in plan])

    monkeypatch.setattr(Toy, "start", starting)


def task(slot="node/0", name="extra", reads=(), writes=(), function=score, **arguments):
    return Task(slot, 1, function, reads, writes, arguments, name=name)


def beside(*tasks):
    """Make a change that puts tasks beside those of the second stage."""
    return lambda plan: [plan[0], [*plan[1], *tasks]]


@pytest.fixture
def nothing_is_sent(monkeypatch):
    sent = []
    monkeypatch.setattr(Serial, "submit", lambda self, stage: sent.append(stage))
    yield
    assert not sent


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            beside(task(reads=("node/1/nothing/0",))),
            "extra of node/0, round 1 reads 'node/1/nothing/0', which no task before it has",
        ),
        (
            # its neighbour writes it in the same stage
            beside(task(reads=(point("node/1", 1),))),
            r"reads 'node/1/point/1', which no task before it has written",
        ),
        (beside(task(slot="node/9")), "extra of node/9, round 1: its layout has no such slot"),
        (beside(task(slot="edge/0")), "its layout has no such slot"),
        (beside(task(writes=("node/1/x",))), r"writes 'node/1/x': expected node/0/\.\.\."),
        (beside(task(writes=("node/0",))), r"writes 'node/0': expected node/0/\.\.\."),
        (beside(task(writes=(point("node/0", 1),))), "once more: a state is written once"),
        (beside(task(name="step")), "step of node/0, round 1 is planned twice: give one another"),
    ],
)
@pytest.mark.usefixtures("nothing_is_sent")
def test_a_plan_that_cannot_be_carried_out_is_refused(change, message, monkeypatch):
    first_plan(monkeypatch, change)
    with pytest.raises(MethodError, match=f"method 'toy': .*{message}"):
        gd.run(Toy())


def test_a_report_of_a_task_that_was_never_sent_is_refused(monkeypatch):
    reports = Serial.next_reports

    def with_a_stranger(self):
        arrived = reports(self)
        return {n: replace(report, task="other") for n, report in arrived.items()}

    monkeypatch.setattr(Serial, "next_reports", with_a_stranger)
    with pytest.raises(MethodError, match=r"a report of other of node/0, .*was never sent"):
        gd.run(Toy())


def test_a_log_with_a_report_of_another_task_is_not_replayed(tmp_path, monkeypatch):
    advance = Toy.advance

    def interrupted(self, view, reports):
        if view.round == 2:
            raise KeyboardInterrupt
        return advance(self, view, reports)

    with monkeypatch.context() as patch:
        patch.setattr(Toy, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gd.run(Toy(), store=tmp_path / "run", checkpoint_every=1)
    log = tmp_path / "run" / "reports.jsonl"
    text = log.read_text()
    assert '"step"' in text
    log.write_text(text.replace('"step"', '"stop"'))
    with pytest.raises(gd.StoreError, match=r"round-000002 is not of .*reports\.jsonl as it is"):
        gd.run(Toy(), store=tmp_path / "run", resume=True)


def test_a_view_that_keeps_what_nobody_wrote_is_refused(monkeypatch):
    monkeypatch.setattr(toy.ToyView, "keeps", frozenset({"node/0/nothing/0"}))
    with pytest.raises(MethodError, match="its view keeps 'node/0/nothing/0', which no task"):
        gd.run(Toy())


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (Record("node/0", 1, {"speed": 1.0}), "it records 'speed', which its layout does not"),
        (Record("", 1, {"distance": 1.0}), "'distance' for 'the whole population', but it is of"),
        (Record("server/0", 1, {"distance": 1.0}), "'distance' for 'server', but it is of 'node'"),
    ],
)
def test_a_record_of_what_the_layout_does_not_have_is_refused(record, message, monkeypatch):
    advance = Toy.advance

    def recording(self, view, reports):
        after, plan = advance(self, view, reports)
        return replace(after, records=[*after.records, record]), plan

    monkeypatch.setattr(Toy, "advance", recording)
    with pytest.raises(MethodError, match=message):
        gd.run(Toy(server=True))


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (
            lambda: Layout(
                {"node": range(2)},
                {
                    "node": Role.numbered("node", ["node"], 2),
                    "edge": Role.numbered("edge", ["node"], 2),
                },
                {},
            ),
            "two roles share the unit 'node'",
        ),
        (
            lambda: Layout(
                {"node": range(2)},
                {"node": Role.numbered("node", ["node"], 2)},
                {"distance": Variable("", role="node")},
            ),
            "variable 'distance' has no long_name",
        ),
        (
            lambda: Layout(
                {"node": range(2)},
                {"node": Role.numbered("node", ["node"], 2)},
                {"distance": Variable("distance", "", role="node")},
            ),
            "variable 'distance' has no units",
        ),
    ],
)
def test_a_layout_that_does_not_go_together_is_refused_before_the_start(
    layout, message, monkeypatch, tmp_path
):
    monkeypatch.setattr(Toy, "layout", lambda self: layout())
    with pytest.raises(MethodError, match=message):
        gd.run(Toy(), store=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_cannot_travel_is_refused_where_it_would_have_to(monkeypatch, clients):
    lock = threading.Lock()

    def holding(*, seed, slot):
        with lock:
            return make(seed=seed, slot=slot)

    def change(plan):
        return [[replace(one, function=holding) for one in plan[0]], *plan[1:]]

    first_plan(monkeypatch, change)
    with pytest.raises(MethodError, match=r"make of node/0, round 0 cannot be sent to a worker"):
        gd.run(Toy(), client=clients[1])
    assert gd.run(Toy()).sizes["round"] == 3, "in process it need not"


MAIN = """
import dataclasses
import gandask as gd
from distributed import Client, LocalCluster
from gandask.methods.testing import Toy
from gandask.methods.testing.toy import make

class Maker:
    def __call__(self, *, seed, slot):
        return make(seed=seed, slot=slot)

class Own(Toy):
    name = "own"

    def start(self):
        view, (first, *rest) = super().start()
        return view, [[dataclasses.replace(t, function=Maker(), name="make") for t in first], *rest]

if __name__ == "__main__":
    with LocalCluster(1, threads_per_worker=1, dashboard_address=":0") as cluster:
        with Client(cluster) as client:
            ds = gd.run(Own(), client=client, progress=False)
    assert gd.run(Own(), progress=False)["distance"].equals(ds["distance"])
    print("it works")
"""


def test_a_class_of_a_script_works_on_workers(tmp_path):
    """It travels by value: the workers cannot import __main__."""
    (tmp_path / "script.py").write_text(MAIN)
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout == "it works\n", done.stderr


def test_a_step_may_end_with_reports_of_part_of_a_plan():
    """What has not reported stays under way, and is told of once."""
    session = Session(Toy(), {}, Options(synchronous=False))
    session.ledger.plan(session.plan)
    session.ledger.report([Report("node/1", 0, "make", {}, sizes=(16,))])
    left = session.ledger.unfinished()
    assert [[one.name for one in stage] for stage in left] == [["make"] * 3, ["step"] * 4]
    with pytest.raises(MethodError, match="never sent"):
        session.ledger.report([Report("node/1", 0, "make", {})])
