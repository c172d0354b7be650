"""run and its executors: errors, stores, resuming, placement, losing a worker."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import dask
import numpy as np
import pytest
from conftest import until
from distributed import Client, LocalCluster
from torch import nn

import gandask as gd
from gandask.core import Event, StoreError, Task, TaskError
from gandask.engine.session import Session
from gandask.execution import serial
from gandask.execution.dask import Distributed
from gandask.execution.heartbeat import Noticed
from gandask.execution.serial import Serial
from gandask.methods.testing import Toy, assert_same
from gandask.store import Store, folder
from gandask.training.networks import NETWORKS


@pytest.mark.deep
def test_the_issue_example_reads_as_promised(tmp_path, clients):
    grid = gd.Grid(shape=(2, 2), rounds=2, data="digits", final_samples=500)
    ds = gd.run(grid, client=clients[2], store=tmp_path / "first")
    assert ds.fid.isel(round=-1).dims == ("row", "col")
    run = gd.open_run(tmp_path / "first")
    assert run.state == "finished"
    assert run.settings["data"] == "digits"
    images = run.best_mixture().sample(64, seed=0)
    assert images.shape == (64, 1, 8, 8)
    assert float(images.abs().max()) <= 1


def crash(*states):
    raise ValueError("by hand")


def make(value):
    return ({"value": np.array(value)},), {"value": value}


def add(one, other):
    total = one["value"] + other["value"]
    return ({"value": total},), {"value": int(total)}


def executors(clients):
    return [Serial(1), Distributed(clients[2], 1)]


def collect(executor, numbers):
    reports = {}
    while not set(numbers) <= reports.keys():
        reports |= executor.next_reports()
    return reports


def test_reads_see_the_states_before_the_stage(clients):
    for executor in executors(clients):
        first = [
            Task(f"s/{i}", 0, make, writes=(f"s/{i}/x",), arguments={"value": i + 1})
            for i in (0, 1)
        ]
        # each adds the other's old value to its own: (1, 2) -> (3, 3) -> (6, 6)
        swap = [
            Task("s/0", 1, add, ("s/0/x", "s/1/x"), ("s/0/x",)),
            Task("s/1", 1, add, ("s/1/x", "s/0/x"), ("s/1/x",)),
        ]
        numbers = executor.submit(first, swap, swap)
        reports = collect(executor, numbers)
        assert [reports[n].values["value"] for n in numbers] == [1, 2, 3, 3, 6, 6]
        executor.keep(["s/0/x"])
        assert list(executor.states) == ["s/0/x"]


def test_the_scheduler_is_asked_for_its_workers_once_in_a_plan(clients, monkeypatch):
    executor, asked = Distributed(clients[1], 1), []
    original = clients[1].scheduler_info

    def counted(**given):
        asked.append(given)
        return original(**given)

    monkeypatch.setattr(clients[1], "scheduler_info", counted)
    stages = [[Task("s/0", i, make, (), (f"s/0/{i}",), {"value": i})] for i in range(3)]
    collect(executor, executor.submit(*stages, []))
    assert len(asked) == 1
    assert executor.submit([], []) == []
    assert len(asked) == 1


def test_reading_what_nobody_wrote_is_told_before_it_runs(clients):
    for executor in executors(clients):
        with pytest.raises(TaskError, match=r"crash of s/0, round 1, reads the state 's/0/y'"):
            executor.submit([Task("s/0", 1, crash, ("s/0/y",))])


def test_a_crash_in_a_task_says_where(clients):
    for executor in executors(clients):
        executor.submit([Task("s/0", 3, crash)])
        with pytest.raises(TaskError) as caught:
            executor.next_reports()
        for part in ("s/0", "round 3", "seed 1", "ValueError: by hand", "in crash"):
            assert part in str(caught.value)


class Failing(nn.Module):
    """A user's layer that fails on a batch."""

    def forward(self, logits):
        if len(logits) > 2:  # two are tried before anything starts
            raise RuntimeError("a layer of mine is wrong")
        return logits


def broken_discriminator(*arguments):
    return nn.Sequential(NETWORKS["small_mlp"].discriminator(*arguments), Failing())


@pytest.fixture
def broken(monkeypatch):
    mine = gd.Network(NETWORKS["small_mlp"].generator, broken_discriminator, latent=32)
    monkeypatch.setitem(NETWORKS, "mine", mine)


def test_a_users_network_reaches_the_workers_and_its_errors_the_user(
    broken, grid, clients, tmp_path
):
    with pytest.raises(TaskError, match=r"cell/\d, round 1, seed 1: RuntimeError: a layer of mine"):
        gd.run(grid(network="mine"), client=clients[2], store=tmp_path / "run")
    store = Store.open(tmp_path / "run")
    assert store.state == "failed"
    assert "a layer of mine" in store.description["error"]


@pytest.mark.parametrize(
    ("generator", "discriminator", "said"),
    [
        (lambda shape: None, None, "cannot be built .*TypeError"),
        (lambda *a: nn.Linear(32, 5), None, r"its generator gives \(2, 5\) .* expected \(2, 2\)"),
        (None, lambda *a: nn.Linear(2, 2), r"its discriminator gives \(2, 2\) .* \(2, 1\)"),
        (lambda *a: nn.Linear(7, 2), None, "cannot be built .*RuntimeError"),
    ],
)
def test_a_network_of_the_wrong_form_is_refused_before_the_start(
    grid, monkeypatch, generator, discriminator, said
):
    good = NETWORKS["small_mlp"]
    mine = gd.Network(generator or good.generator, discriminator or good.discriminator, latent=32)
    monkeypatch.setitem(NETWORKS, "mine", mine)
    with pytest.raises(gd.SettingError, match=f"network='mine': {said}"):
        gd.run(grid(network="mine"))


def test_an_existing_store_is_not_overwritten(tmp_path):
    gd.run(Toy(), store=tmp_path / "run")
    with pytest.raises(StoreError, match=r"exists already.*resume=True.*another name"):
        gd.run(Toy(), store=tmp_path / "run")


@pytest.mark.parametrize("ended", ["by a task", "by a key", "by a missing place", "by a kill"])
def test_a_run_that_ended_before_its_first_step_is_in_nobodys_way(
    assert_same, tmp_path, monkeypatch, clients, ended
):
    """What else is in its folder stays."""
    path, method = tmp_path / "run", Toy(rounds=2, server=True)
    with monkeypatch.context() as patch:
        if ended == "by a missing place":
            patch.setattr(Toy, "places", lambda self: {"server/0": "nobody"})
            failing = {"client": clients[1], "strict_places": True}
            with pytest.raises(gd.ClusterError, match="no worker is named 'nobody'"):
                gd.run(method, store=path, **failing)
        else:
            error = ValueError("by hand") if ended == "by a task" else KeyboardInterrupt()
            patch.setattr(serial, "perform_all", mock.Mock(side_effect=error))
            with pytest.raises(type(error)):
                gd.run(method, store=path)
    store = Store.open(path)
    assert store.state in ("failed", "stopped")
    if ended == "by a kill":
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        told = store.description | {"state": "running", "process": gone.pid}
        (path / "run.json").write_text(json.dumps(told))
        assert store.state == "interrupted"
    store.note(Event(0, "checkpoint", "", "of another run", machine=True))
    (path / "notes.txt").write_text("mine")
    # with other settings, which is what it may have failed by
    method = dataclasses.replace(method, seed=2)
    assert_same(gd.run(method), gd.run(method, store=path))
    assert gd.open_run(path).settings["seed"] == 2
    assert (path / "notes.txt").read_text() == "mine"


def test_a_run_with_a_step_is_kept(tmp_path, monkeypatch):
    stop_after(1, Toy(), monkeypatch, tmp_path / "run")
    assert Store.open(tmp_path / "run").state == "failed"
    with pytest.raises(StoreError, match="exists already"):
        gd.run(Toy(), store=tmp_path / "run")


def test_what_could_not_be_created_is_in_nobodys_way(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(folder, "write_whole", mock.Mock(side_effect=OSError(28, "no space left")))
        with pytest.raises(StoreError, match=r"cannot be created: .*no space left"):
            gd.run(Toy(), store=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert gd.run(Toy(), store=tmp_path / "run").sizes["round"]


class StopError(Exception):
    pass


def interrupt_after(rounds):
    """Make the toy's advance raise once some rounds are done, as a killed client would stop."""
    original = Toy.advance

    def advance(self, view, reports):
        if view.round >= rounds:
            raise StopError
        return original(self, view, reports)

    return advance


def stop_after(rounds, method, monkeypatch, store, **options):
    """Run until some rounds are done."""
    with monkeypatch.context() as patch:
        patch.setattr(Toy, "advance", interrupt_after(rounds))
        with pytest.raises(StopError):
            gd.run(method, store=store, **options)


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("server", [False, True])
def test_an_interrupted_run_resumes_to_the_same_end(
    assert_same, tmp_path, monkeypatch, rounds, server
):
    method, store = Toy(rounds=5, server=server), tmp_path / "run"
    whole = gd.run(method)
    stop_after(rounds, method, monkeypatch, store, checkpoint_every=2)
    resumed = gd.run(method, store=store, checkpoint_every=2, resume=True)
    assert_same(whole, resumed)
    assert_same(whole, gd.open_run(store).ds)


def test_resuming_continues_after_the_checkpoint(tmp_path, monkeypatch):
    method, seen = Toy(rounds=5), []
    stop_after(4, method, monkeypatch, tmp_path / "run", checkpoint_every=2)
    original = Serial.submit

    def submit(self, *plan):
        seen.extend((task.name, task.round) for stage in plan for task in stage)
        return original(self, *plan)

    monkeypatch.setattr(Serial, "submit", submit)
    gd.run(method, store=tmp_path / "run", checkpoint_every=2, resume=True)
    assert "make" not in [name for name, _ in seen]
    assert min(round for name, round in seen if name == "step") == 5


def test_resuming_on_another_number_of_workers(assert_same, tmp_path, monkeypatch, clients):
    method, store = Toy(rounds=3), tmp_path / "run"
    stop_after(2, method, monkeypatch, store, client=clients[2], checkpoint_every=1)
    resumed = gd.run(method, store=store, client=clients[1], checkpoint_every=1, resume=True)
    assert_same(gd.run(method), resumed)


def test_an_asynchronous_run_resumes(tmp_path, monkeypatch):
    method, store = Toy(rounds=4), tmp_path / "run"
    stop_after(3, method, monkeypatch, store, checkpoint_every=1, synchronous=False)
    ds = gd.run(method, store=store, checkpoint_every=1, synchronous=False, resume=True)
    assert ds.sizes["round"] == 4
    assert ds["distance"].notnull().all()
    assert ds["final_distance"].notnull().all()


def test_other_settings_do_not_resume(tmp_path):
    gd.run(Toy(), store=tmp_path / "run")
    with pytest.raises(StoreError, match=r"seed=2: the run in .* has 1"):
        gd.run(Toy(seed=2), store=tmp_path / "run", resume=True)


@contextlib.contextmanager
def no_stealing(client):
    """Keep Dask from giving a busy worker's tasks to an idle one."""

    async def stealing(begin, dask_scheduler):
        extension = dask_scheduler.extensions["stealing"]
        await (extension.start() if begin else extension.stop())

    client.run_on_scheduler(stealing, False)
    try:
        yield
    finally:
        client.run_on_scheduler(stealing, True)


def test_a_slot_stays_on_its_worker(clients):
    with no_stealing(clients[2]):
        ds = gd.run(Toy(rounds=3), client=clients[2])
    for node in range(4):
        assert len(np.unique(ds.worker.isel(node=node))) == 1
    assert sorted(np.unique(ds.worker, return_counts=True)[1]) == [6, 6]


def test_only_needed_states_cross(clients):
    """Of four nodes on two workers, two read a neighbour's point from the other."""
    with no_stealing(clients[2]):
        ds = gd.run(Toy(rounds=4), client=clients[2])
    crossed = ds["gathered"].isel(round=slice(1, 3)).values > 0
    assert crossed.any(), "something crosses"
    assert (crossed.sum(axis=1) <= 2).all()


def test_threads_of_one_worker_come_to_the_same(grid, assert_same):
    """Two tasks at once in one process: neither random streams nor torch's threads get mixed."""
    method = grid(rounds=2)
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0"
        ) as cluster,
        Client(cluster) as client,
    ):
        assert_same(gd.run(method), gd.run(method, client=client))


def await_file(path, own):
    """Do nothing, but on worker 0 only once there is a file."""
    from distributed import get_worker

    while own and str(get_worker().name) == "0" and not Path(path).exists():
        time.sleep(0.02)
    return ({"x": own},), {"worker": str(get_worker().name)}


def test_what_waits_behind_a_slow_task_is_hedged_with_it(clients, tmp_path):
    """Four short tasks of one worker are sent together, and the second never ends there."""
    path, told = tmp_path / "released", []
    executor = Distributed(clients[2], 1, told.append)
    executor.seconds["await_file"] = 0.0
    executor.homes = dict.fromkeys((f"s/{i}" for i in range(4)), named(clients[2], "0"))
    executor.homes |= {f"t/{i}": named(clients[2], "1") for i in range(4)}
    stage = [
        Task(f"{kind}/{i}", 1, await_file, (), (f"{kind}/{i}/x",), {"path": str(path), "own": own})
        for kind in "st"
        for i, own in enumerate((0, 1, 0, 0))
    ]
    with no_stealing(clients[2]):
        numbers = executor.submit(stage)
        reports = collect(executor, numbers[4:])
        assert {report.worker for report in reports.values()} == {"1"}
        assert not reports.keys() & set(numbers[:4])
        sent = [signal for signal in told if signal.state == "sent"]
        try:
            # not where it runs now, should Dask have moved it there
            there = dataclasses.replace(sent[1], worker=named(clients[2], "1"))
            assert executor.hedge(there) == ""
            assert executor.hedge(sent[1]) == "1"
            assert executor.hedge(sent[1]) == ""  # one copy is enough
            assert executor.hedge(sent[3]) == ""
            reports = collect(executor, numbers[:4])
        finally:
            path.touch()
        assert [reports[n].values["worker"] for n in numbers[:4]] == ["1"] * 4
        dropped = [signal.key for signal in told if signal.state == "dropped"]
        assert dropped == [signal.key for signal in sent[:4]]
        executor.cancel()


def test_a_slot_stays_where_dask_has_moved_it(clients, monkeypatch):
    """A worker that had nothing to do took it, and its states are there now."""
    executor, there = Distributed(clients[2], 1), named(clients[2], "1")
    executor.homes = {"s/0": named(clients[2], "0")}
    submitted = executor._submitted

    def elsewhere(graph, where, wanted):
        return submitted(graph, dict.fromkeys(where, ([there], False)), wanted)

    monkeypatch.setattr(executor, "_submitted", elsewhere)
    one = Task("s/0", 0, make, writes=("s/0/x",), arguments={"value": 1})
    (number,) = executor.submit([one])
    assert executor.homes["s/0"] != there
    assert collect(executor, [number])[number].worker == "1"
    assert executor.homes["s/0"] == there
    executor.cancel()


def follow(state, path, own):
    return await_file(path, own)


def test_what_reads_what_a_slow_task_writes_is_freed_by_hedging(clients, tmp_path):
    """A stage is under way before the one that it reads from has ended."""
    path, told = tmp_path / "released", []
    executor = Distributed(clients[2], 1, told.append)
    executor.homes = {"s/0": named(clients[2], "0")}
    slow = Task("s/0", 0, await_file, (), ("x",), {"path": str(path), "own": 1})
    after = Task("s/0", 1, follow, ("x",), ("y",), {"path": str(path), "own": 0})
    with no_stealing(clients[2]):
        (number,), (behind,) = executor.submit([slow]), executor.submit([after])
        try:
            assert executor.hedge(told[0]) == "1"
            assert collect(executor, [number])[number].values["worker"] == "1"
            assert behind in collect(executor, [behind])
            assert clients[2].gather(executor.states["y"]) == {"x": 0}
        finally:
            path.touch()
        executor.cancel()


def exit_at_once():
    os._exit(1)


def test_tasks_that_take_workers_down_are_named():
    """Which of those that were sent together it was, nobody can say."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        executor = Distributed(client, 7)
        executor.seconds["exit_at_once"] = 0.0
        numbers = executor.submit([Task(f"cell/{index}", 3, exit_at_once) for index in range(2)])
        named = r"exit_at_once failed in cell/0, cell/1, round 3, seed 7: .* took down every worker"
        with pytest.raises(gd.TaskError, match=named):
            collect(executor, numbers)


def named(client, name):
    """Give the address of a worker."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return next(address for address, told in workers.items() if str(told["name"]) == name)


def test_what_was_noticed_just_before_a_failure_is_kept(tmp_path, monkeypatch):
    """It may say why."""

    def failing(self):
        noticed = Noticed(events=[Event(1, "worker left", "", "ann", machine=True)])
        self.watch.noticed.put(noticed)
        raise RuntimeError("no luck")

    monkeypatch.setattr(Session, "carried_out", failing)
    with pytest.raises(RuntimeError, match="no luck"):
        gd.run(Toy(), store=tmp_path / "run")
    assert [event.kind for event in Store.open(tmp_path / "run").noted()] == ["worker left"]


@pytest.mark.deep
def test_losing_a_worker_changes_nothing(assert_same, tmp_path, monkeypatch):
    """SIGKILL of a worker in the middle of a run: Dask recomputes, and the result is the same."""
    method = Toy(rounds=6, server=True)
    expected, killed, original = gd.run(method), [], Session.decide
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):

        def decide(self, reports, elapsed):
            told = original(self, reports, elapsed)
            if self.view.round == 3 and not killed:
                killed.append(client.run(os.getpid))
                os.kill(next(iter(killed[0].values())), signal.SIGKILL)
            return told

        monkeypatch.setattr(Session, "decide", decide)
        ds = gd.run(method, client=client, store=tmp_path / "run", checkpoint_every=2)
    assert killed
    assert_same(expected, ds)


def hold(path):
    """In a worker: let the toy's steps wait for a file."""
    from gandask.methods.testing import toy

    step = toy.step

    @functools.wraps(step)
    def held(*states, **arguments):
        while not Path(path).exists():
            time.sleep(0.02)
        return step(*states, **arguments)

    toy.step = held


def stepping(client, least=1):
    """Give the addresses of workers that have so many steps, those included that wait there."""
    sent = client.processing().items()
    return [one for one, keys in sent if sum(key.startswith("step-") for key in keys) >= least]


@pytest.mark.deep
def test_a_worker_with_full_memory_does_not_hold_up_a_run(assert_same, tmp_path):
    """Tasks that were sent to it go elsewhere."""

    def fill(dask_worker):
        dask_worker.memory_manager.memory_pause_fraction = 1e-9  # of all memory

    def paused(address):
        return client.scheduler_info(n_workers=-1)["workers"][address]["status"] == "paused"

    # a worker of a busy machine may be silent for some seconds
    method, settings = Toy(rounds=2), gd.Heartbeat(interval=0.1, lost_after=30.0)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
        no_stealing(client),
    ):
        released = tmp_path / "released"
        client.run(hold, str(released))
        run = gd.start(method, client=client, heartbeat=settings, progress=False)
        try:
            # what waits behind the step of one worker does not begin before that is given up
            full = until(lambda: stepping(client, 2), "a worker with a step behind another")[0]
            client.run(fill, workers=[full])
            until(lambda: paused(full), "a worker with full memory")
        finally:
            released.touch()
        ds = run.wait(300)
    assert_same(gd.run(method), ds)
    told = " ".join(ds.event_detail.values[ds.event_kind.values == "worker paused"])
    assert "its memory is all but full, and it begins no task" in told
    assert "s, given up" in told


@pytest.mark.deep
def test_a_client_that_is_restarted_says_what_happened(tmp_path):
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(hold, str(tmp_path / "never"))
        run = gd.start(Toy(), client=client, progress=False)
        until(lambda: stepping(client), "a step under way")
        client.restart()
        with pytest.raises(gd.ClusterError, match=r"cancelled, as client.restart\(\) does"):
            run.wait(300)


def test_each_step_is_told_with_what_it_recorded():
    seen = []
    ds = gd.run(
        Toy(nodes=2, rounds=3),
        progress=False,
        on_step=lambda view, records: seen.append((view.round, [*records])),
    )
    told = {(one.slot, one.round) for _, records in seen for one in records if one.slot}
    assert told == {(f"node/{node}", round) for node in (0, 1) for round in (1, 2, 3)}
    last = [one for _, records in seen for one in records if (one.slot, one.round) == ("node/1", 3)]
    name = next(name for name in last[0].values if name in ds and "round" in ds[name].dims)
    assert last[0].values[name] == ds[name].sel(round=3).values.ravel()[1]
    assert [round for round, _ in seen] == sorted(round for round, _ in seen)


def test_what_on_step_raises_ends_a_run_that_is_resumed_with_new_steps_alone(tmp_path):
    def fail(view, records):
        if view.round == 2:
            raise KeyError("of mine")

    method = Toy(nodes=2, rounds=4)
    with pytest.raises(KeyError, match="of mine"):
        gd.run(method, store=tmp_path / "run", checkpoint_every=1, progress=False, on_step=fail)
    assert gd.open_run(tmp_path / "run").state == "failed"
    seen = []
    ds = gd.run(
        method, store=tmp_path / "run", resume=True, progress=False,
        on_step=lambda view, records: seen.append(view.round),
    )  # fmt: skip
    assert min(seen) > 1
    assert_same(ds, gd.run(method, progress=False))
