"""What belongs to a run wherever it goes on, and how it ends when the process is asked to."""

import json
import signal
import threading

import pytest

import gandask as gd
from gandask.core import SettingError
from gandask.engine.kept import KeptSession
from gandask.engine.session import Session
from gandask.methods.testing import Toy
from gandask.store import Store


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
    "told", [3, {"checkpoint_every": 0}, {"more": 1}, {"heartbeat": {"interval": "x"}}]
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
