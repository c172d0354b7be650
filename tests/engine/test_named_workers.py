"""Places on a real cluster of named workers: a slot stays where it is, whatever Dask does."""

import contextlib
import os
import signal
import threading
import time

import numpy as np
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster

import gandask as gd
from gandask.core import ClusterError
from gandask.execution.dask import Distributed
from gandask.execution.heartbeat import Monitor
from gandask.methods.testing import Toy, assert_same
from gandask.store import Store

NAMES = ("first", "server", "left", "second")
GONE = 20  # seconds: workers of a busy machine are silent for a while too
PLACED = {"server/0": "server", "node/0": "left"}
KINDS = ("delayed", "hedged")


@contextlib.contextmanager
def named(*names):
    """Start workers of these names, each kept alive by its nanny."""
    options = {"nthreads": 1, "death_timeout": 120}
    workers = {name: {"cls": Nanny, "options": options} for name in names}
    scheduler = {"cls": Scheduler, "options": {"dashboard_address": ":0"}}
    with (
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50) as cluster,
        Client(cluster) as client,
    ):
        client.wait_for_workers(len(names), timeout=120)
        yield client


@pytest.fixture(scope="module")
def client():
    with named(*NAMES) as made:
        yield made


def toy(**changes):
    return Toy(**{"nodes": 3, "rounds": 12, "server": True, "workers": PLACED} | changes)


def workers_of(ds, slot):
    return set(ds.worker.sel(slot=slot).values.tolist())


def events_of(ds):
    columns = (ds[f"event_{key}"].values.tolist() for key in ("kind", "slot", "detail"))
    return list(zip(*columns, strict=True))


def addresses(client):
    told = client.scheduler_info(n_workers=-1)["workers"]
    return {str(worker["name"]): address for address, worker in told.items()}


@contextlib.contextmanager
def disturbed(disturb, pause=0.2):
    """Do something to a cluster again and again, from another thread, while the block runs."""
    ending, failures, done = threading.Event(), [], []

    def act():
        while not ending.wait(pause):
            try:
                disturb()
                done.append(1)
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
    assert not failures
    assert done


def test_placed_slots_run_on_the_worker_of_their_label_alone(client, tmp_path, monkeypatch):
    here, sent, submitted = gd.run(toy()), [], Distributed._submitted
    monkeypatch.setattr(
        Distributed, "_submitted", lambda *a: sent.extend(a[2].values()) or submitted(*a)
    )
    # every step that is looked at counts as delayed, so that all that may be hedged is
    monkeypatch.setattr(
        Monitor, "_exceeded", lambda _, task, taken: 0.0 if task == "step" else None
    )
    watchful = gd.Heartbeat(hedge=True, interval=0.02)
    # a checkpoint every round saves and loads every state
    ds = gd.run(
        toy(sleep=0.1), client=client, store=tmp_path / "run", checkpoint_every=1,
        heartbeat=watchful, strict_places=True,
    )  # fmt: skip
    assert workers_of(ds, "server/0") == {"server"}
    assert workers_of(ds, "node/0") == {"left"}
    np.testing.assert_array_equal(ds.distance.values, here.distance.values)
    # what is placed goes nowhere else, though it is delayed and others are hedged
    places = [[addresses(client)[label]] for label in PLACED.values()]
    assert {anywhere for workers, anywhere in sent if workers in places} == {False}
    slots = {kind: {slot for one, slot, _ in events_of(ds) if one == kind} for kind in KINDS}
    assert slots["delayed"] & set(PLACED)
    assert slots["hedged"]
    assert not slots["hedged"] & set(PLACED)


def test_states_are_saved_where_they_are(client, tmp_path):
    seen, left = [], addresses(client)["left"]

    def look():
        keys = client.has_what().get(left, ())
        seen.append(sum(key.startswith("state-") for key in keys))

    with disturbed(look, pause=0.05):
        gd.run(toy(sleep=0.1, rounds=6), client=client, store=tmp_path / "run", checkpoint_every=1)
    assert max(seen) > 0


def test_a_replayed_run_goes_on_in_its_places(client, tmp_path):
    with pytest.raises(gd.TaskError):
        gd.run(toy(fails=8), client=client, store=tmp_path / "run", checkpoint_every=2)
    # the same settings fail again: what was done in places is what counts
    with pytest.raises(gd.TaskError):
        gd.run(toy(fails=8), client=client, store=tmp_path / "run", resume=True)
    ds = gd.open_run(tmp_path / "run").ds
    assert workers_of(ds, "server/0") - {""} == {"server"}
    assert workers_of(ds, "node/0") - {""} == {"left"}


def test_rebalancing_and_stealing_leave_placed_slots_where_they_are(client):
    with disturbed(client.rebalance):
        ds = gd.run(toy(sleep=0.1), client=client)
    assert workers_of(ds, "server/0") == {"server"}
    assert workers_of(ds, "node/0") == {"left"}
    assert_same(ds, gd.run(toy(sleep=0.1)))


@pytest.mark.deep
def test_retiring_other_workers_leaves_placed_slots_where_they_are():
    with named(*NAMES) as client:
        retired = iter(["first", "second"])

        def retire():
            for name in retired:
                client.retire_workers(names=[name])
                return

        with disturbed(retire, pause=0.4):
            ds = gd.run(toy(sleep=0.1), client=client)
    assert workers_of(ds, "server/0") == {"server"}
    assert workers_of(ds, "node/0") == {"left"}
    assert_same(ds, gd.run(toy(sleep=0.1)))


def kill(client, name):
    """Kill a worker; its nanny starts another one of its name."""
    address = addresses(client)[name]
    os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)


@contextlib.contextmanager
def once(path, round, act, *arguments):
    """Act from another thread once the run of the block has come so far."""

    def wait():
        until = time.monotonic() + 120
        while time.monotonic() < until:
            time.sleep(0.05)
            with contextlib.suppress(gd.StoreError):  # it may just be beginning
                if Store.open(path).description["round"] >= round:
                    act(*arguments)
                    return

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.deep
@pytest.mark.parametrize("round", [1, 4])
def test_a_worker_that_is_lost_and_back_is_waited_for(client, tmp_path, round):
    method = toy(sleep=0.3, rounds=12)
    with once(tmp_path / "run", round, kill, client, "left"):
        ds = gd.run(
            method, client=client, store=tmp_path / "run", checkpoint_every=2, strict_places=True,
            heartbeat=gd.Heartbeat(interval=0.2),
        )  # fmt: skip
    assert workers_of(ds, "node/0") == {"left"}
    told = events_of(ds)
    assert told.count(("worker joined", "", "left")) == 2
    # a busy machine may not look while it is gone, and has nothing to wait for then
    waited = ("waiting", "node/0", "for worker 'left', which is gone") in told
    assert (("back", "node/0", "worker 'left'") in told) is waited
    assert_same(ds.drop_vars("worker"), gd.run(method).drop_vars("worker"))


def lose(client, name):
    """Take a worker away for good, as a walltime does."""
    cluster = client.cluster
    cluster.sync(cluster.workers[name].close)


@pytest.mark.deep
def test_what_was_placed_on_a_worker_that_is_lost_for_good_moves(tmp_path):
    method = toy(sleep=0.2, rounds=8)
    with named(*NAMES) as client, once(tmp_path / "run", 1, lose, client, "left"):
        ds = gd.run(
            method, client=client, store=tmp_path / "run", checkpoint_every=2,
            heartbeat=gd.Heartbeat(interval=0.2, lost_after=GONE),
        )  # fmt: skip
    told = events_of(ds)
    assert ("moved", "node/0", f"worker 'left' was gone for {GONE} s") in told
    last = ds.worker.sel(slot="node/0").values[-1]
    assert last not in ("left", "server")
    assert_same(ds.drop_vars("worker"), gd.run(method).drop_vars("worker"))


@pytest.mark.deep
def test_a_strict_run_ends_when_a_worker_is_lost_for_good(tmp_path):
    method = toy(sleep=0.2, rounds=30)
    with named("first", "server", "left") as client:
        begun = time.monotonic()
        with (
            once(tmp_path / "run", 1, lose, client, "left"),
            pytest.raises(ClusterError, match="no worker is named 'left'"),
        ):
            gd.run(
                method, client=client, store=tmp_path / "run", checkpoint_every=2,
                heartbeat=gd.Heartbeat(interval=0.2, lost_after=GONE), strict_places=True,
            )  # fmt: skip
        assert time.monotonic() - begun > GONE
    assert gd.open_run(tmp_path / "run").state == "failed"


def test_places_that_nobody_claims_are_shared_with_one_warning(clients, caplog):
    ds = gd.run(toy(rounds=3), client=clients[2])
    warned = [record.message for record in caplog.records if "no worker is named" in record.message]
    assert warned == ["no worker is named 'server', 'left': these places share the other workers"]
    one, other = (workers_of(ds, slot) for slot in PLACED)
    assert len(one) == len(other) == 1
    assert one != other  # a worker each, as long as there are enough


def test_places_that_nobody_claims_are_refused_where_that_is_asked_for(clients, tmp_path):
    with pytest.raises(ClusterError, match="no worker is named 'server', where server/0"):
        gd.run(toy(), client=clients[2], strict_places=True)


def test_in_process_every_place_is_here():
    ds = gd.run(toy(rounds=2), strict_places=True)
    assert workers_of(ds, "server/0") == {"client"}
