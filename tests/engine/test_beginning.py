"""How runs begin and are taken up: under their lock, and with nothing lost where parts meet."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from distributed import get_client

import gandask as gd
from gandask.core import Event, StoreError, lock
from gandask.engine.kept import KeptSession
from gandask.methods.testing import Toy, assert_same
from gandask.store import Store, create
from gandask.store.steering import Command

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def failed(path):
    """Leave a run that came to nothing."""
    store = create(path, Toy(), {})
    store.describe("failed", 0)
    store.release()
    return store


def what_is_in(path):
    return {
        item.relative_to(path).as_posix(): item.read_bytes()
        for item in path.rglob("*")
        if item.is_file()
    }


@pytest.fixture
def held(tmp_path):
    """A process that holds the lock of a run that came to nothing."""
    failed(tmp_path / "run")
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run" / "run.lock")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield tmp_path / "run"
        process.stdin.close()


def test_who_is_not_first_removes_nothing(held):
    before = what_is_in(held)
    with pytest.raises(StoreError, match="another process begins a run there"):
        create(held, Toy(seed=2), {})
    assert what_is_in(held) == before


def test_a_run_in_the_place_of_one_that_came_to_nothing_has_a_number_of_its_own(tmp_path):
    frozen = failed(tmp_path / "run")
    store = create(tmp_path / "run", Toy(seed=2), {})
    frozen.log.append({"elapsed": 1.0, "reports": []})
    frozen.note(Event(1, "moved", "node/0", "late"))
    assert [list(store.steps()), store.noted()] == [[], []]


def test_who_is_refused_in_the_same_process_takes_no_lock_away(tmp_path):
    store = create(tmp_path / "run", Toy(), {})
    store.described.busy[store.path] = store.described.writer
    with pytest.raises(StoreError, match="is being written by this process"):
        Store.open(tmp_path / "run").claim()
    assert lock.is_held(store.described.lock_file)
    other = Store.open(tmp_path / "run")
    other.claim(force=True)
    store.release()
    assert lock.is_held(store.described.lock_file)
    other.release()
    assert not lock.is_held(store.described.lock_file)


def test_a_method_that_cannot_start_is_in_nobodys_way(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "start", lambda self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            gd.run(Toy(), store=tmp_path / "run")
    assert gd.open_run(tmp_path / "run").state == "failed"
    assert_same(gd.run(Toy(seed=2), store=tmp_path / "run"), gd.run(Toy(seed=2)))


@pytest.mark.parametrize("given", ["cluster", "address"])
def test_a_run_in_the_background_ends_with_the_client_that_it_made(clients, given):
    cluster = clients[1].cluster
    before = get_client()
    run = gd.start(Toy(), client=cluster if given == "cluster" else cluster.scheduler_address)
    assert_same(run.wait(120), gd.run(Toy()))
    assert run.state == "finished"
    assert get_client() is before
    assert clients[1].submit(int, 1).result() == 1  # the cluster goes on


@pytest.mark.parametrize("lacking", ["newest", "all"])
def test_a_checkpoint_that_lacks_a_file_is_told(tmp_path, lacking):
    ds = gd.run(Toy(rounds=4), store=tmp_path / "run", checkpoint_every=2)
    shutil.rmtree(tmp_path / "run" / "dataset.zarr")
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"state": "stopped"}))
    found = sorted((tmp_path / "run" / "checkpoints").glob("round-*"))
    for folder in found if lacking == "all" else found[-1:]:
        next(folder.glob("*.safetensors")).unlink()
    if lacking == "all":
        with pytest.raises(StoreError, match=r"no checkpoint can be gone on from: .* is not there"):
            gd.run(Toy(rounds=4), store=tmp_path / "run", resume=True)
        return
    again = gd.run(Toy(rounds=4), store=tmp_path / "run", resume=True)
    assert "passed over" in again["event_kind"].values
    assert_same(again, ds)


def test_a_change_that_was_heeded_is_made_once_whatever_kills_the_run(tmp_path, monkeypatch):
    rest = KeptSession.rest

    def ask(self, last):
        if self.view.round == 2 and not self.method.rate_schedule:
            self.store.ask(Command("change", {"rate": 0.9}))
        rest(self, last)

    def kill(self, state):
        if self.method.rate_schedule:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(KeptSession, "rest", ask)
        patch.setattr(KeptSession, "_describe", kill)
        with pytest.raises(KeyboardInterrupt):
            gd.run(Toy(rounds=6), store=tmp_path / "run", checkpoint_every=10)
    began = gd.open_run(tmp_path / "run").settings["rate_schedule"]
    assert [*began.values()] == [0.9]
    gd.run(Toy(rounds=6), store=tmp_path / "run", resume=True)
    assert gd.open_run(tmp_path / "run").settings["rate_schedule"] == began


@pytest.mark.parametrize("kind", ["hard link", "pipe"])
def test_what_lies_in_the_place_of_a_run_that_came_to_nothing_is_not_written_to(tmp_path, kind):
    failed(tmp_path / "run")
    file, victim = tmp_path / "run" / "commands.jsonl", tmp_path / "victim.txt"
    victim.write_text("years of work")
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.hardlink_to(victim)
    assert_same(gd.run(Toy(), store=tmp_path / "run"), gd.run(Toy()))
    assert victim.read_text() == "years of work"
