"""What belongs to a run wherever it goes on, and how it ends when the process is asked to."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

import gandask as gd
from gandask.core import SettingError
from gandask.engine import kept
from gandask.engine.kept import KeptSession
from gandask.engine.session import Session
from gandask.methods.testing import Toy
from gandask.store import Store
from gandask.store.steering import Command


class StopError(Exception):
    pass


def timers():
    """Give the timers that have not been cancelled, whoever started them."""
    found = (one for one in threading.enumerate() if isinstance(one, threading.Timer))
    return {one for one in found if not one.finished.is_set()}


@pytest.fixture
def sessions(monkeypatch):
    """The sessions that are carried out."""
    found, begin = [], KeptSession.begin
    monkeypatch.setattr(KeptSession, "begin", lambda one: found.append(one) or begin(one))
    return found


def stopped(path, monkeypatch, **options):
    """Make a run that stopped after two rounds."""
    advance = Toy.advance

    def stopping(self, view, reports):
        if view.round == 2:
            raise StopError
        return advance(self, view, reports)

    with monkeypatch.context() as patch:
        patch.setattr(Toy, "advance", stopping)
        with pytest.raises(StopError):
            gd.run(Toy(rounds=6), store=path, **options)


def test_a_run_keeps_its_options(tmp_path, monkeypatch, sessions):
    watch = gd.Heartbeat(interval=0.5, lost_after=7.0)
    own = {"synchronous": False, "checkpoint_every": 1, "heartbeat": watch}
    own |= {"max_seconds": 1e6, "patience": 50}
    stopped(tmp_path / "run", monkeypatch, **own)
    gd.run(Toy(rounds=6), store=tmp_path / "run", resume=True)
    assert sessions[0].options == sessions[1].options
    assert sessions[1].options.told() | {"heartbeat": watch} == own
    assert sessions[1].watch.settings == watch


def test_an_option_that_is_given_again_is_the_runs_from_then_on(tmp_path, monkeypatch, sessions):
    stopped(tmp_path / "run", monkeypatch, synchronous=False, checkpoint_every=1)
    ds = gd.run(Toy(rounds=6), store=tmp_path / "run", resume=True, synchronous=True)
    assert (sessions[1].options.synchronous, sessions[1].options.checkpoint_every) == (True, 1)
    assert Store.open(tmp_path / "run").description["options"]["synchronous"] is True
    assert ds.sizes["round"] == 6


@pytest.mark.parametrize(
    "told",
    [
        3,
        {"checkpoint_every": 0},
        {"synchronous": "x"},
        {"more": 1},
        {"heartbeat": {"interval": "x"}},
        {"heartbeat": {"interval": 1e-9}},
    ],
)
def test_options_that_cannot_be_read_are_told(tmp_path, monkeypatch, told):
    stopped(tmp_path / "run", monkeypatch)
    file = tmp_path / "run" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"options": told}))
    with pytest.raises(gd.StoreError, match=r"run\.json cannot be read: options: "):
        gd.run(Toy(rounds=6), store=tmp_path / "run", resume=True)


def test_numbers_that_cannot_work_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(SettingError, match="checkpoint_every=0: expected at least 1"):
        gd.run(Toy(), store=tmp_path / "run", checkpoint_every=0)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.deep)])
@pytest.mark.parametrize("server", [False, True])
def test_a_signal_to_end_leaves_a_checkpoint(
    tmp_path, monkeypatch, clients, assert_same, number, workers, server
):
    """In the middle of a round: what was decided is saved, what is under way computed again."""
    method, path = Toy(rounds=6, server=server, nodes=4), tmp_path / "run"
    client = clients[workers] if workers else None
    whole, attend, others = gd.run(method), Session.attend, timers()

    def asked(session):
        if session.view.round == 2 and session.under_way and not session.ending:
            signal.raise_signal(number)
        attend(session)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "attend", asked)
        with pytest.raises(SystemExit) as ended:
            gd.run(method, store=path, client=client)
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) is signal.SIG_DFL
    assert timers() <= others, "nothing ends this process later"
    opened = gd.open_run(path)
    assert opened.state == "stopped"
    assert opened.store.description["round"] >= 2
    assert opened.store.checkpoints.last()[1]["log_bytes"] == opened.store.log.size
    detail = opened.ds["event_detail"].values[opened.ds["event_kind"].values == "stopped"]
    assert detail.tolist() == [f"by {number.name}, after a checkpoint"]
    assert_same(whole, gd.run(method, store=path, resume=True))


@pytest.mark.parametrize("moment", ["last step", "last checkpoint", "paused"])
def test_a_signal_at_the_end_of_work_ends_the_script_too(
    tmp_path, monkeypatch, assert_same, moment
):
    method, path = Toy(rounds=4), tmp_path / "run"
    whole, step, checkpoint = gd.run(method), KeptSession.step, KeptSession.checkpoint

    def stepping(session, *told):
        if moment == "last step" and session.view.round == 3:
            signal.raise_signal(signal.SIGTERM)
        if moment == "paused" and session.view.round == 1:
            session.store.ask(Command("pause"))
        return step(session, *told)

    def saving(session, last):
        if moment == "last checkpoint" and last:
            signal.raise_signal(signal.SIGTERM)
        checkpoint(session, last)

    with monkeypatch.context() as patch:
        patch.setattr(KeptSession, "step", stepping)
        patch.setattr(KeptSession, "checkpoint", saving)
        patch.setattr(kept.time, "sleep", lambda _: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(SystemExit) as ended:
            gd.run(method, store=path)
    assert ended.value.code == 128 + signal.SIGTERM
    store = Store.open(path)
    assert store.checkpoints.last()[1]["log_bytes"] == store.log.size, "nothing is lost"
    assert_same(whole, gd.run(method, store=path, resume=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
def test_a_process_that_is_forked_from_a_run_ends_of_a_signal_at_once(tmp_path, monkeypatch):
    """As those of a pool do: it has no run to end."""
    attend, ended = Session.attend, []

    def asked(session):
        if not ended:
            child = os.fork()
            if not child:
                signal.raise_signal(signal.SIGTERM)
                os._exit(0)
            ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        attend(session)

    monkeypatch.setattr(Session, "attend", asked)
    assert gd.run(Toy(), store=tmp_path / "run").sizes["round"] == 3
    assert ended == [-signal.SIGTERM]


@pytest.mark.deep
def test_a_run_whose_checkpoint_does_not_end_ends_of_its_signal(tmp_path):
    done = subprocess.run([sys.executable, "-c", HANGING, str(tmp_path / "run")], check=False)
    assert done.returncode == -signal.SIGTERM


HANGING = """
import signal, sys, time
import gandask as gd
from gandask.engine import ending
from gandask.engine.session import Session
from gandask.methods.testing import Toy

def asked(session):
    signal.raise_signal(signal.SIGTERM)
    time.sleep(20)

ending.GRACE, Session.attend = 0.1, asked
gd.run(Toy(), store=sys.argv[1])
"""


def test_a_process_with_an_answer_of_its_own_keeps_it(tmp_path, monkeypatch):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *told: heard.append(told))
    try:
        attend = Session.attend

        def asked(session):
            if not heard:
                signal.raise_signal(signal.SIGTERM)
            attend(session)

        monkeypatch.setattr(Session, "attend", asked)
        assert gd.run(Toy(), store=tmp_path / "run").sizes["round"] == 3
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(heard) == 1
