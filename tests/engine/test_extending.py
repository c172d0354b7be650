"""Runs that go on as longer ones: exactly, whole or not at all, or refused with the reason."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import toy
from click.testing import CliRunner
from conftest import tiny

import gandask as gd
from gandask.__main__ import main
from gandask.core import Task
from gandask.core.files import write_whole
from gandask.engine import extending
from gandask.methods.testing import Toy, assert_same
from gandask.methods.testing.toy import ToyView, step
from gandask.store import Store, extension

assert toy.METHODS["toy"] is Toy
SHORT, LONG = Toy(rounds=4), Toy(rounds=7)


@pytest.fixture(scope="module")
def asked():
    """What the longer run comes to from its start."""
    return gd.run(LONG, progress=False)


@pytest.fixture
def short(tmp_path):
    """A run that has ended."""
    gd.run(SHORT, store=tmp_path / "run", checkpoint_every=2, progress=False)
    return tmp_path / "run"


def extended(method, store, **more):
    return gd.run(method, store=store, extend=True, progress=False, **more)


def happened(store, kind):
    return [event.detail for event in Store.open(store).noted() if event.kind == kind]


def digests(store):
    """Digest every file of a run but those that say who has it."""
    own = {"run.json", "heartbeat.json", "events.jsonl"}
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in store.rglob("*")
        if path.is_file() and path.name not in own
    }


# ---- what comes of it


@pytest.mark.parametrize("changes", [{"server": True}, {"meeting": 4}, {"nodes": 1}])
def test_it_is_the_run_that_was_asked_for_so_much(tmp_path, changes):
    gd.run(Toy(rounds=4, **changes), store=tmp_path / "run", progress=False)
    longer = Toy(rounds=7, **changes)
    assert_same(extended(longer, tmp_path / "run"), gd.run(longer, progress=False))
    found = gd.open_run(tmp_path / "run")
    assert found.state == "finished"
    assert found.method == longer
    assert_same(found.ds, gd.run(longer, progress=False))
    assert not (tmp_path / "run" / extension.FOLDER).exists()


def test_nothing_of_the_shorter_run_is_performed_again(short, asked):
    before = Store.open(short).log.path.read_text().count('"task": "step"')
    assert_same(extended(LONG, short), asked)
    after = Store.open(short).log.path.read_text()
    assert (before, after.count('"task": "step"')) == (16, 28)
    assert after.count('"task": "score"') == 4  # those of the shorter run fell away
    assert happened(short, "extended") == ["rounds = 7, before 4"]
    assert "nothing is computed again" in happened(short, "resumed")[-1]


def test_a_run_is_extended_twice_and_on_workers(short, clients, asked):
    extended(Toy(rounds=5), short)
    assert_same(extended(LONG, short, client=clients[2]), asked)
    assert len(happened(short, "extended")) == 2


def test_with_its_own_settings_it_is_continued(short, asked):
    before = digests(short)
    assert_same(extended(SHORT, short), gd.run(SHORT, progress=False))
    assert digests(short) == before


def test_what_was_changed_while_it_ran_stays(tmp_path):
    store = tmp_path / "run"
    slow = Toy(rounds=6, sleep=0.1)
    run = gd.start(slow, store=store, progress=False)
    run.change(rate=0.25)
    run.wait()
    (change,) = happened(store, "changed")
    steered = gd.open_run(store).method
    assert steered.rate_schedule, change
    ds = extended(Toy(rounds=8, sleep=0.1), store)  # as it began: who extends need not repeat it
    longer = Toy(rounds=8, sleep=0.1, rate_schedule=steered.rate_schedule)
    assert_same(ds, gd.run(longer, progress=False))
    assert gd.open_run(store).method == longer
    assert_same(gd.run(Toy(rounds=8, sleep=0.1), store=store, resume=True, progress=False), ds)


def test_a_run_that_was_stopped_goes_on_from_its_checkpoint(tmp_path, asked):
    run = gd.start(Toy(rounds=4, sleep=0.2), store=tmp_path / "run", progress=False)
    run.stop()
    run.wait()
    assert run.state == "stopped"
    longer = Toy(rounds=7, sleep=0.2)
    ds = extended(longer, tmp_path / "run")
    assert_same(ds, gd.run(longer, progress=False))


# ---- slots that come, and go


class Apart(Toy):
    """Nodes that see nobody but themselves: more of them, or fewer, change no others."""

    name = "apart"
    extends = ("rounds", "nodes")

    def grows(self, key, longer):
        return key == "nodes" or super().grows(key, longer)

    def advance(self, view, reports):
        after, plan = super().advance(view, reports)
        own = [record for record in after.records if record.slot]  # and none of all of them
        return dataclasses.replace(after, records=own), plan

    def _step(self, slot, done, writes):
        task = super()._step(slot, done, writes)
        return Task(slot, task.round, task.function, (task.reads[0],) * 2, writes=task.writes,
                    arguments=task.arguments)  # fmt: skip

    def _scores(self, view: ToyView):
        return [
            Task(slot, self.rounds, task.function, task.reads[-1:], (), {"weights": (1.0,)})
            for slot, task in zip(view.done, super()._scores(view), strict=True)
        ]


@pytest.fixture
def apart(monkeypatch):
    monkeypatch.setitem(gd.METHODS, "apart", Apart)


@pytest.mark.parametrize(
    ("before", "after"), [((2, 3), (3, 3)), ((3, 3), (2, 3)), ((2, 3), (3, 5))]
)
def test_slots_come_and_go_and_leave_the_others(tmp_path, apart, before, after):
    store = tmp_path / "run"
    gd.run(Apart(nodes=before[0], rounds=before[1]), store=store, progress=False)
    (store / "samples" / "some.png").write_text("of all")
    shown = Store.open(store).shown
    for node in range(before[0]):
        shown.append(f"node/{node}", 1, np.zeros((1, 1, 1, 1), np.uint8))
    kept = min(before[0], after[0])
    record = Store.open(store).log.path.read_text()
    longer = Apart(nodes=after[0], rounds=after[1])
    assert_same(extended(longer, store), gd.run(longer, progress=False))
    performed = [
        (report.slot, report.round, report.task, report.started)
        for _, reports in Store.open(store).steps()
        for report in reports
    ]
    # what the others had done was not done again, but for the last scores, for which all wait
    trained = [(slot, started) for slot, _, task, started in performed if task == "step"]
    again = [slot for slot, started in trained if str(started) not in record]
    if after[1] == before[1]:
        assert set(again) == {f"node/{node}" for node in range(kept, after[0])}
    left = [f"node/{node}" for node in range(kept)]
    assert shown.slots(f"node/{node}" for node in range(max(before[0], after[0]))) == left
    if after[0] < before[0]:
        told = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
        assert b"node/2" not in told
        assert b"of all" not in told


# ---- killed at any moment


MOMENTS = range(0, 34, 2)
"""Changes of files and folders on the way, of which a process is killed before one."""

KILLING = """
import os, pathlib, signal, sys
import gandask as gd, toy
from gandask.methods.testing import Toy
from gandask.store import Store, extension

def counted(function):
    def perform(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return perform

for owner, name in (
    (extension, "write_whole"), (extension, "sync"), (pathlib.Path, "replace"),
    (pathlib.Path, "mkdir"), (extension.shutil, "rmtree"), (Store, "describe"), (Store, "claim"),
):
    setattr(owner, name, counted(getattr(owner, name)))
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    left = [int(folder.name)]
    child = os.fork()
    if not child:
        gd.run(Toy(rounds=7), store=folder / "run", extend=True, progress=False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, folder
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """Runs whose extension was killed, by the moment."""
    folder = tmp_path_factory.mktemp("killed")
    for moment in MOMENTS:
        store = folder / str(moment) / "run"
        gd.run(SHORT, store=store, checkpoint_every=2, progress=False)
    # where there are no threads yet that a fork would leave behind
    subprocess.run([sys.executable, "-c", KILLING, str(folder)], env=elsewhere(), check=True)
    return folder


def elsewhere():
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_while_it_becomes_the_longer_run(killed, asked, moment):
    store = killed / str(moment) / "run"
    method = Store.open(store).method(gd.METHODS)
    assert method in (SHORT, LONG)
    ds = gd.run(method, store=store, resume=True, progress=False)
    assert_same(ds, asked if method == LONG else gd.run(SHORT, progress=False))
    assert not Store.open(store).description.get("extending")
    assert_same(extended(LONG, store), asked)
    assert not (store / extension.FOLDER).exists()


def test_what_cannot_be_written_leaves_the_run_as_it_was(short, asked, monkeypatch):
    before = digests(short)

    def full(path, text):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(extension, "write_whole", full)
        with pytest.raises(OSError, match="No space"):
            extended(LONG, short)
    assert Store.open(short).state == "finished"
    assert digests(short) == before
    assert_same(extended(LONG, short), asked)


def test_a_process_that_is_really_killed_is_resumed(tmp_path):
    store, slow = tmp_path / "run", {"sleep": 0.4, "nodes": 2}
    gd.run(Toy(rounds=2, **slow), store=store, checkpoint_every=1, progress=False)
    code = "import toy, sys; from gandask.__main__ import main; main()"
    arguments = ["extend", str(store), "--set", "rounds=6"]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=elsewhere())
    deadline = time.monotonic() + 90
    while Store.open(store).description["round"] < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert Store.open(store).state == "interrupted"
    longer = Toy(rounds=6, **slow)
    ds = gd.run(longer, store=store, resume=True, progress=False)
    assert_same(ds, gd.run(longer, progress=False))


# ---- what is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 3}, r"rounds=3: the run in .* has 4; expected more"),
        ({"rounds": 7, "rate": 0.1}, r"rate=0.1: .* has 0.5, and is extended by rounds alone"),
        ({"seed": 2}, r"seed=2: .* has 1, and is extended by rounds alone"),
    ],
)
def test_what_cannot_be_extended_is_told(short, changes, words):
    before = digests(short)
    with pytest.raises((gd.SettingError, gd.StoreError), match=words):
        extended(gd.METHODS["toy"](**{"rounds": 4} | changes), short)
    assert digests(short) == before
    assert Store.open(short).state == "finished"


def test_a_run_at_its_slots_own_pace_is_refused(tmp_path):
    gd.run(SHORT, store=tmp_path / "run", synchronous=False, progress=False)
    for synchronous in (None, True):
        with pytest.raises(gd.StoreError, match="at their own pace"):
            extended(LONG, tmp_path / "run", synchronous=synchronous)


def test_a_run_that_goes_on_is_refused(tmp_path):
    run = gd.start(Toy(rounds=4, sleep=0.3), store=tmp_path / "run", progress=False)
    with pytest.raises(gd.StoreError, match=r"is running: extend it once it is finished, or stop"):
        extended(Toy(rounds=7, sleep=0.3), tmp_path / "run")
    run.wait()


def test_an_unfinished_run_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(gd.TaskError):
        gd.run(Toy(rounds=4, fails=2), store=tmp_path / "run", progress=False)
    with pytest.raises(gd.StoreError, match=r"it has no checkpoint; continue it first"):
        extended(Toy(rounds=7, fails=2), tmp_path / "run")
    assert Store.open(tmp_path / "run").state == "failed"


def test_there_has_to_be_a_run(tmp_path):
    with pytest.raises(gd.StoreError, match="extend=True need store="):
        gd.run(LONG, extend=True)
    with pytest.raises(gd.StoreError, match="is not a run"):
        extended(LONG, tmp_path / "none")


def test_last_tasks_of_their_own_are_computed_again_or_refused(tmp_path):
    """A score that the last exchange alone has: the nearest length without one is named."""
    short, longer = (tiny("bpgan", iterations=length, score_every=2) for length in (3, 4))
    gd.run(short, store=tmp_path / "coarse", progress=False)
    words = r"round 3, is not that of a longer run \(scored\).* nearest .* is iterations=4"
    with pytest.raises(gd.StoreError, match=words):
        extended(longer, tmp_path / "coarse")
    gd.run(short, store=tmp_path / "fine", checkpoint_every=1, progress=False)
    assert_same(extended(longer, tmp_path / "fine"), gd.run(longer, progress=False))


def test_a_teacher_is_the_one_that_there_is(tmp_path):
    short = tiny("privacy", iterations=2, score_every=1, teacher_iterations=None)
    gd.run(short, store=tmp_path / "run", progress=False)
    with pytest.raises(gd.SettingError, match="say teacher_iterations=2 as well"):
        extended(tiny("privacy", iterations=3, score_every=1, teacher_iterations=None),
                 tmp_path / "run")  # fmt: skip
    longer = tiny("privacy", iterations=3, score_every=1, teacher_iterations=2)
    assert_same(extended(longer, tmp_path / "run"), gd.run(longer, progress=False))


def test_a_task_on_states_that_are_others_is_another():
    task = Task("node/0", 3, step, ("node/0/point/2", "node/1/point/2"), ("node/0/point/3",))
    assert extending._difference(task, task, {*task.reads}) == ""
    told = "step of node/0, round 3, is not that of a longer run"
    assert extending._difference(task, task, {task.reads[0]}) == told


# ---- the command


def test_in_the_shell(short, asked):
    done = CliRunner().invoke(main, ["extend", str(short), "--set", "rounds=7"])
    assert done.exit_code == 0, done.output
    assert_same(gd.open_run(short).ds, asked)
    wrong = CliRunner().invoke(main, ["extend", str(short), "--set", "rounds=5"])
    assert wrong.exit_code == 1
    assert "expected more" in wrong.output


def test_what_a_crash_left_is_forgotten_or_completed_by_its_settings(short):
    store = Store.open(short)
    told = json.loads(store.described.file.read_text())
    told["extending"] = {"settings": "of no file", "begun_with": None, "erases": False}
    write_whole(store.described.file, json.dumps(told))
    (short / extension.FOLDER).mkdir()
    assert_same(extended(SHORT, short), gd.run(SHORT, progress=False))
    assert not (short / extension.FOLDER).exists()
    assert Store.open(short).state == "finished"
