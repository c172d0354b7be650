"""Recovery: whatever is killed, stopped or full, a run comes to the same end.

The same to the last bit: the Dataset but for what the machine took, and the weights of the last
checkpoint. Processes are really killed, at moments that a seed chooses by the run's own progress.
"""

import contextlib
import hashlib
import importlib
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import safetensors.numpy
import xarray as xr
from conftest import tiny
from distributed import Client
from opacus.accountants import RDPAccountant

import gandask as gd
from gandask import config
from gandask.engine.kept import KeptSession
from gandask.engine.session import Session
from gandask.execution import heartbeat
from gandask.execution.dask import Distributed
from gandask.methods import METHODS
from gandask.store import Store
from gandask.training.networks import NETWORKS, mlp_discriminator

ROUNDS, EVERY, CELLS = 8, 3, 4
MOMENTS = int(os.environ.get("GANDASK_MOMENTS", "1"))  # of PrivacyGAN, of each kind of kill
KILLS = dict.fromkeys(METHODS, 2) | {"toy": 12, "grid": 7, "mggan": 3, "privacy": MOMENTS}
"""Of workers: each kind of task of the toy and of the grid."""
FEW = 3  # seeds of the toy that every change is tested with
LOSSES = dict.fromkeys(METHODS, 2) | {"toy": 6, "grid": 3, "privacy": MOMENTS}  # of clients
CHANGES = {
    # a tenth of a second a round: a signal is heard before it is all over
    "toy": {"rounds": ROUNDS, "sleep": 0.1},
    "toy server": {"rounds": ROUNDS, "sleep": 0.05, "server": True, "nodes": 3, "meeting": 4},
    "grid": {"rounds": ROUNDS, "data_fraction": 0.02, "batch_size": 100},
    # regrouped after rounds 2, 4 and 6
    "mggan": {"iterations": 80, "interval": 20, "regrouping": "fitness"},
    # a loss that falls fast, and then less: regrouped after iterations 15, 35 and 55
    "mggan adaptive": {
        "iterations": 60,
        "interval": "adaptive",
        "interval_limit": 20,
        "window": 5,
        "least_fall": 0.46,
        "learning_rate": 0.03,
        "seed": 2,
        "regrouping": "fitness",
    },
    # scores leave, so that they can be compared
    "privacy": {
        "iterations": 16,
        "privacy": gd.DPSGD(noise=2.0, clip=1.0),
        "report_private_scores": True,
    },
}
"""What is long enough to be disturbed in many places, where conftest.TINY is not."""
PATIENCE = 120.0  # seconds after which something is stuck, on a slow machine too
RELIEF = 90.0  # seconds after which a run that is stuck is helped, and its test fails
MARK = "GANDASK_TEST_RECOVERY"  # in the environment of every process that this module starts


def wait_until(true, what):
    """Wait for something that may take a while on a busy machine."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s: {what}"
        time.sleep(0.02)


# ---- what the tests share


def marked(mark):
    """Find the processes that were started under a mark, orphans among them."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            # the tracker of multiprocessing lives as long as pytest does
            tracker = "resource_tracker" in " ".join(process.cmdline())
            if process.environ().get(MARK) == mark and process.pid != os.getpid() and not tracker:
                found.append(process)
    return found


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left():
    """Fail if a process that was started here lives on when all tests are done."""
    mark = os.environ[MARK] = uuid.uuid4().hex
    yield
    os.environ.pop(MARK)
    _, left = psutil.wait_procs(marked(mark), timeout=PATIENCE)
    told = [f"{process.pid}: {' '.join(process.cmdline())}" for process in left]
    for process in left:
        process.kill()
    assert not told


@pytest.fixture
def method(request, cache):
    """The toy, or what a test is parametrised with: a method, or one with other settings."""
    case = getattr(request, "param", "toy")
    return tiny(case.split()[0], **CHANGES.get(case, {}))


def case(name, *more):
    """Make a case of a test: with real networks it takes long."""
    return pytest.param(name, *more, marks=() if name.startswith("toy") else pytest.mark.deep)


def deep(one):
    """Make a case one of the deep suite."""
    return pytest.param(*one.values, marks=pytest.mark.deep)


def each(numbers):
    """List every method with as many seeds as `numbers` says; the first few are fast tests."""
    cases = [case(name, seed) for name in sorted(METHODS) for seed in range(numbers[name])]
    return [deep(one) if one.values[1] >= FEW else one for one in cases]


def share(seed, number, chance):
    """Choose a point from 0 to 1, in a part of its own for each seed: the middle of few parts."""
    within = chance.random()
    return (seed + (within if number > 5 else 0.5)) / number


@pytest.fixture(scope="module")
def once():
    """Make things that take long once for each method, not for each test."""
    made = {}

    def get(what, method, make):
        key = what, config.to_toml(method)
        if key not in made:
            made[key] = make()
        return made[key]

    return get


def weights(path):
    """Give a digest of every array in a run's last checkpoint."""
    folder, told = Store.open(path).checkpoints.last()
    digests = {}
    for file in told["files"]:
        for name, array in safetensors.numpy.load_file(folder / file).items():
            digest = hashlib.sha256(array.tobytes()).hexdigest()
            digests[name] = array.dtype.str, array.shape, digest
    return digests


@pytest.fixture
def undisturbed(method, once, tmp_path_factory):
    def make():
        path = tmp_path_factory.mktemp("undisturbed") / "run"
        dataset = gd.run(method, store=path, checkpoint_every=EVERY)
        assert len(weights(path)) >= 3, "there is something to compare"
        return SimpleNamespace(path=path, dataset=dataset, weights=weights(path))

    return once("undisturbed", method, make)


def assert_charged_once(dataset, path, method):
    """Assert that clients paid for the steps that they took, and the run tells of no others."""
    for index, name in enumerate(method.names):
        ledger = method._parties.placed(path)[name].folder / "ledger.jsonl"
        charges = [json.loads(line) for line in ledger.read_text().splitlines()]
        assert [one["round"] for one in charges] == [*range(1, method.rounds + 1)]
        accountant, counted = RDPAccountant(), []
        for one in charges:
            for _ in range(one["steps"]):
                accountant.step(noise_multiplier=one["noise"], sample_rate=one["rate"])
            counted.append(accountant.get_epsilon(method.privacy.delta))
        told = dataset["epsilon"].sel(client=index).values
        np.testing.assert_allclose(told, counted, rtol=1e-12)


@pytest.fixture
def assert_recovered(method, undisturbed, assert_same):
    """Assert that a run ended as the undisturbed one did: rounds, weights and settings."""

    def check(dataset, path):
        assert_same(undisturbed.dataset, dataset)
        if hasattr(method, "privacy"):
            assert_charged_once(dataset, path, method)
        assert weights(path) == undisturbed.weights
        assert (path / "config.toml").read_bytes() == (
            undisturbed.path / "config.toml"
        ).read_bytes()
        opened = gd.open_run(path)
        assert opened.state == "finished"
        assert "error" not in opened.store.description
        xr.testing.assert_identical(opened.ds, dataset)
        # the logs tell all of it, too
        shutil.rmtree(path / "dataset.zarr")
        assert_same(dataset, opened.ds)
        assert sorted(kinds(opened.ds)) == sorted(kinds(dataset))
        left = [file for file in path.rglob("*") if "partial" in file.name]
        assert not [file for file in left if not file.name.startswith("heartbeat.json.")]

    return check


@pytest.fixture(scope="module")
def client(nothing_is_left, cache):
    with gd.cluster.local(2) as made:
        yield made


def processes(client):
    """Wait for both workers, and give their processes by address."""
    found = {}

    def answered():
        client.wait_for_workers(2, timeout=PATIENCE)
        found.clear()
        found.update(client.run(os.getpid, on_error="ignore"))
        return len(found) == 2 and all(isinstance(process, int) for process in found.values())

    wait_until(answered, "two workers that answer")
    return found


@contextlib.contextmanager
def relief(act):
    """Act if the block takes far too long, so that it fails and does not hang."""
    late = []

    def relieve():
        late.append(True)
        act()

    timer = threading.Timer(RELIEF, relieve)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    assert not late, f"it was stuck for {RELIEF:.0f} s"


def kinds(dataset):
    return dataset.event_kind.values.tolist()


class Signals:
    """What a run's heartbeat hears, and what is to happen at the n-th signal."""

    def __init__(self):
        self.heard, self.then = [], {}
        self.lock, self.tell = threading.Lock(), heartbeat.Watch.tell

    def hear(self, watch, told):
        self.tell(watch, told)
        if told.fraction:  # how many of these there are is the machine's affair
            return
        with self.lock:
            self.heard.append(told)
            act = self.then.pop(len(self.heard), None)
        if act:
            act()

    def patch(self, monkeypatch):
        monkeypatch.setattr(heartbeat.Watch, "tell", lambda watch, told: self.hear(watch, told))


@pytest.fixture
def usual(method, client, once, tmp_path_factory):
    """All signals of an undisturbed run on two workers."""

    def make():
        processes(client)
        made = Signals()
        with pytest.MonkeyPatch.context() as monkeypatch:
            made.patch(monkeypatch)
            store = tmp_path_factory.mktemp("usual") / "run"
            gd.run(method, client=client, store=store, checkpoint_every=EVERY)
        return made.heard

    return once("usual", method, make)


@pytest.fixture
def signals(undisturbed, usual, monkeypatch):
    """What the runs of a test tell: not those that its fixtures make."""
    made = Signals()
    made.patch(monkeypatch)
    return made


def first(signals, **told):
    """Find the number of the first signal that tells this."""
    return 1 + next(
        number
        for number, found in enumerate(signals)
        if all(getattr(found, key) == value for key, value in told.items())
    )


# ---- workers that are killed


def recomputed(dataset):
    return kinds(dataset).count("recomputed")


def moment_of(seed, chance, method, usual):
    """Choose the number of a signal: of each kind of task in turn, or anywhere if seeds are few."""
    number = KILLS[method.name]
    tasks = [*dict.fromkeys(told.task for told in usual)]
    if number < len(tasks):
        assert method.name not in ("toy", "grid"), f"a kill for each of {tasks}"
        return 1 + int(share(seed, number, chance) * len(usual))
    chosen = tasks[seed % len(tasks)]
    return chance.choice([i for i, told in enumerate(usual, 1) if told.task == chosen])


@pytest.mark.parametrize(("method", "seed"), each(KILLS), indirect=["method"])
def test_a_worker_that_is_killed_at_any_moment_changes_nothing(
    seed, method, client, usual, signals, tmp_path, assert_recovered
):
    chance = random.Random(seed)
    moment = moment_of(seed, chance, method, usual)
    victim = chance.choice(sorted(processes(client).values()))
    signals.then[moment] = lambda: os.kill(victim, signal.SIGKILL)
    with relief(client.restart):
        ds = gd.run(method, client=client, store=tmp_path / "run", checkpoint_every=EVERY)
    assert not signals.then, "nobody was killed"
    assert_recovered(ds, tmp_path / "run")
    # the rounds since the last checkpoint; before the first, slots are made anew as well
    assert recomputed(ds) <= (EVERY + 1) * len(method.layout().slots)


@pytest.mark.parametrize("method", [case("mggan")], indirect=True)
def test_workers_are_killed_before_and_after_a_regrouping(method, usual, undisturbed):
    regrouped = undisturbed.dataset.event_kind == "regrouped"
    changed = undisturbed.dataset.event_round[regrouped]
    seeds = range(KILLS[method.name])
    met = [usual[moment_of(seed, random.Random(seed), method, usual) - 1] for seed in seeds]
    trained = [told.round for told in met if told.task == "train"]
    assert min(trained) <= changed.min() < changed.max() < max(trained), trained


@pytest.mark.parametrize(
    ("method", "task"),
    [
        case("toy", "step"),
        deep(case("toy server", "step")),
        case("grid", "fitness"),
        case("mggan", "train"),
    ],
    indirect=["method"],
)
def test_what_a_killed_worker_held_is_computed_again_and_told(
    task, method, client, usual, signals, tmp_path, assert_recovered
):
    """Two rounds after a checkpoint: exactly these are lost, a regrouping between them or not."""
    victim, moment = min(processes(client).values()), first(usual, task=task, round=6)
    signals.then[moment] = lambda: os.kill(victim, signal.SIGKILL)
    ds = gd.run(method, client=client, store=tmp_path / "run", checkpoint_every=EVERY)
    assert_recovered(ds, tmp_path / "run")
    chosen = ds.isel(event=ds["event_kind"].values == "recomputed")
    rounds = chosen["event_round"].values.tolist()
    again = [*zip(rounds, chosen["event_slot"].values, chosen["event_detail"].values, strict=True)]
    assert set(rounds) == {4, 5}
    # a task may begin again where it was stolen to; beside a server nodes step and approach
    lost = method.layout().slots if len(method.layout().roles) == 1 else range(2 * method.nodes + 1)
    assert len(set(again)) <= 2 * len(lost)
    # and nothing else was, told or not: a checkpoint ends what has to be remembered
    rounds = [told.round for told in signals.heard[moment:] if told.state == "running"]
    assert min(round for round in rounds if round) == 4
    assert "worker left" in kinds(ds)
    told = [json.loads(line) for line in (tmp_path / "run/events.jsonl").read_text().splitlines()]
    assert sum(one["event"]["kind"] == "recomputed" for one in told) == len(again)


@pytest.mark.deep
def test_a_run_outlives_all_its_workers_at_once(
    method, client, usual, signals, tmp_path, assert_recovered
):
    """For a while there is none; what waits goes to those that come."""
    path, victims = tmp_path / "run", processes(client).values()

    def kill():
        for victim in victims:
            os.kill(victim, signal.SIGKILL)

    signals.then[first(usual, task="step", round=5, state="running")] = kill
    with relief(client.restart):
        ds = gd.run(method, client=client, store=path, checkpoint_every=EVERY)
    assert not signals.then
    assert_recovered(ds, path)


# ---- clients that are killed


class Zygote:
    """A process that forks runs, which kill themselves: see recovery_run.py."""

    def __init__(self):
        self.begun = []
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("recovery_run.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def begin(self, *runs):
        """Begin runs, all at once; give the ids of their processes."""
        self.stop()  # a test that failed may have left some
        self.process.stdin.write(json.dumps(runs) + "\n")
        self.process.stdin.flush()
        self.begun = json.loads(self.process.stdout.readline())
        return self.begun

    def end(self):
        """Wait for them; give their exit statuses, negative when they were killed."""
        self.begun = []
        return json.loads(self.process.stdout.readline())

    def stop(self):
        """Kill those that nobody waited for."""
        if self.begun:
            for process in self.begun:
                dead(process)
            self.end()

    def close(self):
        self.stop()
        self.process.stdin.close()
        self.process.wait(PATIENCE)


@pytest.fixture(scope="module")
def zygote(nothing_is_left, cache):
    made = Zygote()
    yield made
    made.close()


@pytest.fixture
def asked(method):
    """Describe a run to be forked."""

    def ask(path, every=EVERY, **more):
        settings = config.to_toml(method)
        return {"store": str(path), "settings": settings, "checkpoint_every": every} | more

    return ask


@pytest.fixture
def operations(method, zygote, asked, once, tmp_path_factory):
    """Count what a whole run does with the files of its store."""

    def make():
        path = tmp_path_factory.mktemp("operations") / "run"
        zygote.begin(asked(path, point="operation", number=0))
        assert zygote.end() == [0]
        return Path(f"{path}.operations").read_text().splitlines()

    return once("operations", method, make)


def spoil_what_is_unfinished(path):
    """Make sure that nothing half-written is ever read: fill it with rubbish."""
    for folder in (path / "checkpoints").glob("*"):
        if folder.name.startswith(("partial", "replaced")):
            for file in folder.iterdir():
                file.write_bytes(b"rubbish")
    for file in path.rglob("*.partial"):
        if file.is_file():
            file.write_bytes(b"rubbish")


def lost(path, method):
    """Look at the store of a client that was killed."""
    opened = gd.open_run(path)
    assert opened.state == "interrupted"
    assert opened.ds.sizes["round"] <= method.rounds
    spoil_what_is_unfinished(path)


def begun(operations):
    """Count the operations until there is a run: run.json is the last file that it needs."""
    return next(
        number
        for number, operation in enumerate(operations, 1)
        if operation.startswith("os.rename") and "/run.json." in operation
    )


@pytest.mark.parametrize(("method", "seed"), each(LOSSES), indirect=["method"])
def test_a_client_that_is_killed_at_any_moment_can_be_resumed(
    seed, method, zygote, asked, operations, tmp_path, assert_recovered
):
    path, least = tmp_path / "run", begun(operations) + 1
    part = share(seed, LOSSES[method.name], random.Random(seed))
    moment = least + int(part * (len(operations) - least))
    zygote.begin(asked(path, point="operation", number=moment))
    assert zygote.end() == [-signal.SIGKILL]
    lost(path, method)
    ds = gd.run(method, store=path, checkpoint_every=EVERY, resume=True)
    assert_recovered(ds, path)
    assert "resumed" in kinds(ds)


@pytest.mark.parametrize(
    ("method", "before", "after"),
    [
        *(case(name, 0, 2) for name in sorted(METHODS)),
        case("toy", 2, 0),
        deep(case("toy server", 2, 0)),
        deep(case("toy", 3, 2)),
        case("grid", 2, 0),
        case("grid", 3, 2),
    ],
    indirect=["method"],
    ids=lambda value: f"{value}_workers" if isinstance(value, int) else value,
)
def test_a_killed_run_goes_on_with_another_number_of_workers(
    before, after, method, client, zygote, asked, operations, tmp_path, assert_recovered
):
    """Its own workers die with a client that started them."""
    path = tmp_path / "run"
    mark = uuid.uuid4().hex
    moment = len(operations) * 2 // 3 if not before else 5
    point = "operation" if not before else "in reports.jsonl"
    zygote.begin(asked(path, point=point, number=moment, workers=before, environ={MARK: mark}))
    assert zygote.end() == [-signal.SIGKILL]
    wait_until(lambda: not marked(mark), "workers whose client is gone")
    lost(path, method)
    if after:
        processes(client)
    ds = gd.run(
        method,
        store=path,
        client=client if after else None,
        checkpoint_every=EVERY,
        resume=True,
    )
    assert_recovered(ds, path)
    assert kinds(ds).count("resumed") == 1


def test_a_run_that_is_killed_again_and_again_comes_to_its_end(
    method, zygote, asked, tmp_path, assert_recovered
):
    path = tmp_path / "run"
    # resumed, and killed again before its next checkpoint: nothing is gained nor lost; whoever
    # takes a run over writes a line that says so
    for number, resume in ((5, False), (3, True), (2, True), (5, True)):
        zygote.begin(asked(path, point="in reports.jsonl", number=number, resume=resume))
        assert zygote.end() == [-signal.SIGKILL]
        lost(path, method)
    ds = gd.run(method, store=path, checkpoint_every=EVERY, resume=True)
    assert_recovered(ds, path)
    assert kinds(ds).count("resumed") == 4


class InterruptedHereError(Exception):
    """In the place of whatever stops a client."""


def interrupting(method, rounds):
    """Make an `advance` that raises instead, once so many rounds are done."""
    advance = type(method).advance

    def interrupted(self, view, reports):
        if view.round >= rounds:
            raise InterruptedHereError
        return advance(self, view, reports)

    return interrupted


@pytest.mark.parametrize(
    "method",
    [case("toy"), case("toy server"), case("grid"), case("mggan"), case("mggan adaptive")],
    indirect=True,
)
def test_a_run_that_is_interrupted_in_every_round_comes_to_its_end(
    method, undisturbed, tmp_path, monkeypatch, assert_recovered
):
    """In each, whether or not their number is known beforehand."""
    path, rounds = tmp_path / "run", range(undisturbed.dataset.sizes["round"] + 1)

    def go_on(resume=True):
        # with an instance that knows nothing but its settings
        again = config.from_toml(config.to_toml(method), METHODS)
        return gd.run(again, store=path, checkpoint_every=EVERY, resume=resume)

    for number in rounds:
        with monkeypatch.context() as patch:
            patch.setattr(type(method), "advance", interrupting(method, number))
            with pytest.raises(InterruptedHereError):
                go_on(resume=number > 0)
        opened = gd.open_run(path)
        assert opened.state == "failed"
        assert opened.store.description["round"] == number
    ds = go_on()
    assert_recovered(ds, path)
    resumed = ds.event_round[ds.event_kind == "resumed"]
    assert resumed.values.tolist() == [number // EVERY * EVERY for number in rounds]


def test_a_run_that_is_killed_before_it_began_is_no_run(
    method, zygote, asked, operations, tmp_path
):
    """Between the first file and the last one that a run needs, there is nothing to resume."""
    for number in range(2, begun(operations) + 1, 3):
        path = tmp_path / str(number)
        zygote.begin(asked(path, point="operation", number=number))
        assert zygote.end() == [-signal.SIGKILL]
        with pytest.raises(gd.StoreError, match=r"is not a run|run\.json cannot be read"):
            gd.open_run(path)
        with pytest.raises(gd.StoreError, match=r"is not a run|run\.json cannot be read"):
            gd.run(method, store=path, resume=True)


# ---- killed while it writes


@pytest.mark.parametrize(
    ("point", "number"),
    [
        deep(pytest.param("after state file", 1)),  # of the first checkpoint
        ("after state file", 6),  # of the second
        ("in state file", 7),
        deep(pytest.param("in checkpoint.json", 1)),
        deep(pytest.param("in checkpoint.json", 2)),
        ("before sealing", 2),
        deep(pytest.param("after sealing", 1)),
        deep(pytest.param("after sealing", 4)),
        # the checkpoint at the end is of the same round as the one before
        ("between the renames", 1),
        deep(pytest.param("after sealing", 5)),
        ("in run.json", 6),
        deep(pytest.param("in reports.jsonl", 1)),
        ("in reports.jsonl", 6),
        deep(pytest.param("in events.jsonl", 1)),
        ("in events.jsonl", 3),
        deep(pytest.param("in steps.jsonl", 1)),
        ("in steps.jsonl", 6),
        deep(pytest.param("in dataset", 1)),
        ("in dataset", 25),
        deep(pytest.param("before the dataset", 1)),
        ("after the dataset", 1),
    ],
)
def test_what_is_half_written_is_never_read(
    point, number, method, zygote, asked, tmp_path, assert_recovered
):
    path = tmp_path / "run"
    zygote.begin(asked(path, every=2, point=point, number=number))
    assert zygote.end() == [-signal.SIGKILL]
    if point.endswith(".jsonl"):
        torn = (path / point.removeprefix("in ")).read_bytes()
        assert torn and not torn.endswith(b"\n")
    if point == "between the renames":
        assert not (path / "checkpoints" / f"round-{ROUNDS:06d}").exists()
        assert [*path.glob("checkpoints/replaced-*")]
    lost(path, method)
    ds = gd.run(method, store=path, checkpoint_every=2, resume=True)
    assert_recovered(ds, path)
    steps = len([*Store.open(path).steps()])
    assert steps == ROUNDS + 1, "none is there twice, none is missing: rounds, and the scores"


# ---- a scheduler that is killed


@contextlib.contextmanager
def outside(folder):
    """A scheduler and two workers that are processes of their own, and a client of them."""
    file, local = folder / "scheduler.json", ["--host", "127.0.0.1", "--no-dashboard"]
    begin = [sys.executable, "-m"]
    told = ["--scheduler-file", str(file)]
    workers = ["--nworkers", "2", "--nthreads", "1", "--local-directory", str(folder)]
    commands = (
        [*begin, "distributed.cli.dask_scheduler", "--port", "0", *local, *told],
        [*begin, "distributed.cli.dask_worker", *local, *told, *workers],
    )
    with contextlib.ExitStack() as stack:
        started = []
        for command in commands:
            process = subprocess.Popen(
                command, stderr=subprocess.DEVNULL, start_new_session=True, cwd=folder
            )
            stack.callback(end_group, process)
            started.append(process)
        wait_until(file.exists, "a scheduler file")
        client = gd.cluster.start(kind=str(file))
        assert isinstance(client, Client)
        stack.callback(client.close, 5)
        client.wait_for_workers(2, timeout=PATIENCE)
        yield client, started[0]


def end_group(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_scheduler_without_a_users_own_module_is_told_of(grid, tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(
        "from gandask.training.networks import mlp_discriminator, mlp_generator\n"
        "def generator(*arguments):\n    return mlp_generator(*arguments)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = gd.Network(importlib.import_module("my_nets").generator, mlp_discriminator, latent=8)
    monkeypatch.setitem(NETWORKS, "mine", mine)
    (tmp_path / "elsewhere").mkdir()
    with (
        outside(tmp_path / "elsewhere") as (client, _),
        pytest.raises(gd.ClusterError, match=r"the scheduler lacks .*'my_nets'.*of your own"),
    ):
        gd.run(grid(network="mine", latent=None), client=client)


@pytest.mark.parametrize(
    ("moment", "again"),
    [
        deep(pytest.param({"task": "step", "round": 5, "state": "running"}, "outside")),
        ({"task": "save_states", "state": "running"}, "in process"),
        deep(pytest.param({"task": "step", "round": 8, "state": "reported"}, "in process")),
    ],
)
def test_a_run_whose_scheduler_is_killed_says_how_to_go_on(
    moment, again, method, usual, signals, tmp_path, assert_recovered, record_property
):
    path, killed = tmp_path / "run", []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    with outside(tmp_path / "first") as (client, scheduler):

        def kill():
            killed.append(time.monotonic())
            scheduler.kill()

        signals.then[first(usual, **moment)] = kill
        with pytest.raises(
            gd.ClusterError, match=r"(?s)scheduler cannot be reached.*gandask resume"
        ):
            gd.run(method, client=client, store=path, checkpoint_every=EVERY)
        seconds = time.monotonic() - killed[0]
    record_property("seconds until it was told", round(seconds, 3))
    print(f"told {seconds:.2f} s after the scheduler was killed")
    assert seconds < PATIENCE / 2
    opened = gd.open_run(path)
    assert opened.state == "failed"
    assert "ClusterError" in opened.store.description["error"]
    assert "gandask resume" in opened.store.description["error"]
    assert opened.ds.sizes["round"] >= (2 if moment["task"] == "save_states" else 4)
    signals.then.clear()
    if again == "outside":
        with outside(tmp_path / "second") as (client, _):
            ds = gd.run(method, client=client, store=path, checkpoint_every=EVERY, resume=True)
    else:
        ds = gd.run(method, store=path, checkpoint_every=EVERY, resume=True)
    assert_recovered(ds, path)
    assert "resumed" in kinds(ds)


@pytest.mark.parametrize(
    ("method", "seed"),
    [case("privacy", seed) for seed in range(MOMENTS)],
    indirect=["method"],
)
def test_a_run_whose_scheduler_is_killed_at_any_moment_is_charged_once(
    seed, method, usual, signals, tmp_path, assert_recovered
):
    path = tmp_path / "run"
    moment = 1 + int(share(seed, MOMENTS, random.Random(seed)) * len(usual))
    (tmp_path / "first").mkdir()
    with outside(tmp_path / "first") as (client, scheduler):
        signals.then[moment] = scheduler.kill
        with pytest.raises(gd.ClusterError, match=r"continues|gandask resume"):
            gd.run(method, client=client, store=path, checkpoint_every=EVERY)
    ds = gd.run(method, store=path, checkpoint_every=EVERY, resume=True)
    assert_recovered(ds, path)


# ---- a disk that is full


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "gandask-test", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        told = f"a disk cannot be filled here: {mounted.stderr.strip()} (mount needs root)"
        if os.environ.get("GANDASK_REQUIRE_ROOT") == "1":
            pytest.fail(told)
        pytest.skip(told)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Leave no byte free."""
    with (folder / "ballast").open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass


def fill_before(monkeypatch, owner, name, number, folder):
    """Fill the disk right before the n-th call of a method."""
    original, calls = getattr(owner, name), []

    def filling(self, *arguments, **options):
        calls.append(name)
        if len(calls) == number:
            fill(folder)
        return original(self, *arguments, **options)

    monkeypatch.setattr(owner, name, filling)
    return calls


FULL = {
    "checkpoint": (KeptSession, "checkpoint", 2, 6),
    "log": (Store, "append", 5, 4),
    "description": (Store, "describe", 6, 5),
    "events": (Store, "note", 2, 6),
    "dataset": (Store, "write_dataset", 1, 8),
}
"""By what fails: the method before whose n-th call the disk is full, and the rounds done then."""


@pytest.mark.parametrize(
    ("what", "workers"),
    [
        *((what, 0) for what in FULL),
        *(deep(pytest.param(what, 2)) for what in ("checkpoint", "log")),
    ],
)
def test_a_full_disk_loses_nothing(
    what, workers, method, client, disk, monkeypatch, assert_recovered
):
    path, (owner, name, number, rounds) = disk / "run", FULL[what]
    if workers:
        processes(client)
    with monkeypatch.context() as patch:
        calls = fill_before(patch, owner, name, number, disk)
        with pytest.raises(gd.StoreError) as raised:
            gd.run(
                method,
                store=path,
                client=client if workers else None,
                checkpoint_every=EVERY,
                heartbeat=gd.Heartbeat(interval=30),  # what it notes must not be the first to fail
            )
    assert len(calls) >= number
    for part in (str(path), "No space left", "gandask resume DIR"):
        assert part in str(raised.value)
    assert gd.open_run(path).ds.sizes["round"] == rounds
    (disk / "ballast").unlink()
    ds = gd.run(method, store=path, checkpoint_every=EVERY, resume=True)
    assert_recovered(ds, path)


# ---- a worker that is stuck


def stop_in(name, number, started, done):
    """In a worker: stop the process when it begins tasks like this, for once."""
    from gandask.execution import worker

    perform_all = worker.perform_all

    def stopped(tasks, states, tell, **options):
        if (tasks[0].name, tasks[0].round) != (name, number):
            return perform_all(tasks, states, tell, **options)
        worker.perform_all = perform_all
        tell(slice(0, len(tasks)), "running", 0.0)
        time.sleep(0.5)  # the client is to hear that it began
        Path(started).touch()
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            return perform_all(tasks, states, tell, **options)
        finally:
            Path(done).touch()

    worker.perform_all = stopped


def awake(process):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGCONT)


def dead(process):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


# on a busy machine a worker that lives may be silent for a second, or two
WATCHFUL = gd.Heartbeat(interval=0.2, delay_minimum=0.5, lost_after=4)


def about(dataset, kind):
    """Give slot and detail of the events of a kind."""
    chosen = dataset.isel(event=dataset.event_kind.values == kind)
    return [*zip(chosen.event_slot.values, chosen.event_detail.values, strict=True)]


@pytest.mark.deep
def test_a_worker_that_is_stuck_is_given_up_and_may_wake_up_later(
    method, client, tmp_path, assert_recovered
):
    path, (address, victim) = tmp_path / "run", min(processes(client).items())
    name = str(client.scheduler_info(n_workers=-1)["workers"][address]["name"])
    client.run(
        stop_in, "step", 5, str(tmp_path / "started"), str(tmp_path / "done"), workers=[address]
    )
    try:
        with relief(lambda: awake(victim)):
            ds = gd.run(
                method, client=client, store=path, checkpoint_every=EVERY, heartbeat=WATCHFUL
            )
        assert (tmp_path / "started").exists()
        assert psutil.Process(victim).status() == psutil.STATUS_STOPPED
    finally:
        awake(victim)
    assert_recovered(ds, path)
    assert {"delayed", "worker silent", "worker left", "lost", "moved"} <= {*kinds(ds)}
    # the other cell of that worker, whose task waited behind it, is lost with it
    lost, delayed = ({slot for slot, _ in about(ds, kind)} for kind in ("lost", "delayed"))
    assert lost & delayed
    assert any(detail.startswith(f"{name} to ") for _, detail in about(ds, "moved"))
    assert any(detail.startswith(f"{name}: ") for _, detail in about(ds, "worker silent"))
    # awake again, it does no harm: what it was doing is nobody's business any more
    wait_until((tmp_path / "done").exists, "the worker that was stopped to go on")
    assert processes(client)
    ds = gd.run(method, client=client, store=tmp_path / "next", checkpoint_every=EVERY)
    assert_recovered(ds, tmp_path / "next")


@pytest.mark.deep
def test_a_worker_may_wake_up_while_the_run_goes_on_without_it(
    method, client, tmp_path, monkeypatch, assert_recovered
):
    """It was stopped as it began to write a checkpoint, which others have written since."""
    path, (address, victim) = tmp_path / "run", min(processes(client).items())
    started, done = tmp_path / "started", tmp_path / "done"
    client.run(stop_in, "save_states", 0, str(started), str(done), workers=[address])
    decide, woken = Session.decide, []

    def deciding(self, reports, elapsed):
        told = decide(self, reports, elapsed)
        if self.view.round == 4 and not woken:
            woken.append(psutil.Process(victim).status())
            awake(victim)
            wait_until(done.exists, "the worker that was stopped to go on")
        return told

    monkeypatch.setattr(Session, "decide", deciding)
    try:
        with relief(lambda: awake(victim)):
            ds = gd.run(
                method, client=client, store=path, checkpoint_every=EVERY, heartbeat=WATCHFUL
            )
    finally:
        dead(victim)  # what it does next takes long, and another test has seen it
    assert woken == [psutil.STATUS_STOPPED]
    assert {"worker silent", "worker left"} <= {*kinds(ds)}
    assert_recovered(ds, path)


@pytest.mark.deep
def test_a_worker_that_is_stuck_before_its_report_is_fetched_is_given_up(
    method, client, tmp_path, monkeypatch, assert_recovered
):
    """The scheduler knows of the report, but only the worker has it."""
    path, by_address = tmp_path / "run", processes(client)
    stopped, arrive = [], Distributed._arrive

    def arriving(self, bundle, future):
        sent = self.under_way.get(bundle[0])
        if not stopped and sent and sent.task.key[1:] == (5, "step"):
            (address,) = self.client.who_has([future])[future.key]
            stopped.append(by_address[address])
            os.kill(stopped[0], signal.SIGSTOP)
        arrive(self, bundle, future)

    monkeypatch.setattr(Distributed, "_arrive", arriving)
    try:
        with relief(lambda: awake(stopped[0])):
            ds = gd.run(
                method, client=client, store=path, checkpoint_every=EVERY, heartbeat=WATCHFUL
            )
    finally:
        for process in stopped:
            dead(process)
    assert "worker silent" in kinds(ds)
    assert_recovered(ds, path)


# ---- hedging


def slow_in(name, number, until):
    """In a worker: take these tasks up only when a file is there."""
    from gandask.execution import worker

    perform_all = worker.perform_all

    def slowed(tasks, states, tell, **options):
        if (tasks[0].name, tasks[0].round) == (name, number):
            worker.perform_all = perform_all
            tell(slice(0, len(tasks)), "running", 0.0)
            while not Path(until).exists():
                time.sleep(0.05)
        return perform_all(tasks, states, tell, **options)

    worker.perform_all = slowed


def test_a_slow_workers_task_is_hedged(method, client, tmp_path, assert_recovered):
    """It is not given up, it answers, but its task would never end: only the copy can."""
    path, released = tmp_path / "run", tmp_path / "released"
    address = min(processes(client))
    client.run(slow_in, "step", 8, str(released), workers=[address])
    watchful = gd.Heartbeat(interval=0.2, delay_minimum=0.5, lost_after=10_000, hedge=True)
    try:
        with relief(released.touch):
            ds = gd.run(
                method, client=client, store=path, checkpoint_every=EVERY, heartbeat=watchful
            )
    finally:
        released.touch()
    assert_recovered(ds, path)
    hedged = [
        int(round)
        for kind, round in zip(kinds(ds), ds.event_round.values, strict=True)
        if kind == "hedged"
    ]
    assert 8 in hedged
    assert "worker silent" not in kinds(ds) and "worker left" not in kinds(ds)
    # the copy that came second is dropped, and what follows is as ever
    ds = gd.run(method, client=client, store=tmp_path / "next", checkpoint_every=EVERY)
    assert_recovered(ds, tmp_path / "next")


# ---- watching


@pytest.mark.parametrize("workers", [0, deep(pytest.param(2))])
def test_progress_can_be_watched_and_the_run_opened_all_the_while(workers, client, tmp_path):
    path, over, errors, seen, rounds = tmp_path / "run", threading.Event(), [], [], []

    def repeat(act):
        while not over.is_set():
            time.sleep(0.03)
            if (path / "run.json").exists():
                try:
                    act()
                except Exception as error:  # whatever it is, the test is to say it
                    errors.append(error)

    def read():
        rounds.append(gd.open_run(path).ds.sizes["round"])

    def look():  # by itself: on a busy machine a run may take longer to read than a task to end
        seen.extend(Store.open(path).slots().values())

    if workers:
        processes(client)
    watchers = [threading.Thread(target=repeat, args=(act,)) for act in (read, look)]
    for watcher in watchers:
        watcher.start()
    try:
        gd.run(
            tiny("toy", nodes=2, rounds=1, sleep=2.0),
            client=client if workers else None,
            store=path,
            heartbeat=gd.Heartbeat(interval=0.1),
        )
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()
    assert not errors
    assert rounds == sorted(rounds)
    working = [one for one in seen if one["state"] == "processing" and one["task"] == "step"]
    assert any(0 < one["fraction"] < 1 for one in working)
    assert {one["worker"] for one in working} <= ({"0", "1"} if workers else {"client"})
    slots = Store.open(path).slots()
    assert sorted(slots) == ["node/0", "node/1"]
    assert {one["state"] for one in slots.values()} == {"finished"}
    assert {one["fraction"] for one in slots.values()} == {1.0}


# ---- strangers


@pytest.fixture
def interrupted(zygote, asked, tmp_path):
    """The store of a run that was killed after some rounds."""
    path = tmp_path / "run"
    zygote.begin(asked(path, point="in reports.jsonl", number=5))
    assert zygote.end() == [-signal.SIGKILL]
    return path


def test_a_run_is_resumed_by_one_process_at_a_time(
    method, interrupted, zygote, asked, assert_recovered
):
    path = interrupted
    (process,) = zygote.begin(asked(path, resume=True, hold="working", label="first"))
    wait_until(Path(f"{path}.first").exists, "the first to work")
    assert gd.open_run(path).state == "running"
    before = {file: file.read_bytes() for file in path.glob("*.jsonl")}
    with pytest.raises(
        gd.StoreError, match=rf"being written by another process \({process} on .*wait for it"
    ):
        gd.run(method, store=path, checkpoint_every=EVERY, resume=True)
    with pytest.raises(gd.StoreError, match="exists already"):
        gd.run(method, store=path)
    assert {file: file.read_bytes() for file in path.glob("*.jsonl")} == before
    Path(f"{path}.go").touch()
    assert zygote.end() == [0]
    assert_recovered(gd.open_run(path).ds, path)


@pytest.mark.parametrize("state", [deep(pytest.param("interrupted")), "failed"])
def test_of_two_that_resume_at_the_same_instant_one_goes_on(
    state, interrupted, zygote, asked, assert_recovered
):
    """Both may find that nobody writes the run: the one that is refused leaves it to the other."""
    path = interrupted
    if state == "failed":
        told = json.loads((path / "run.json").read_text())
        (path / "run.json").write_text(json.dumps(told | {"state": state}))
    zygote.begin(
        *(asked(path, resume=True, hold="claimed", label=label) for label in ("first", "second"))
    )
    for label in ("first", "second"):
        wait_until(
            lambda label=label: (
                Path(f"{path}.{label}").exists() or Path(f"{path}.{label}.refused").exists()
            ),
            "both to have claimed the run, or to be refused",
        )
    Path(f"{path}.go").touch()
    assert sorted(zygote.end()) == [0, 3]
    (told,) = (file.read_text() for file in path.parent.glob("run.*.refused"))
    assert "another process" in told
    assert_recovered(gd.open_run(path).ds, path)


# ---- files that someone else has written


class Trap:
    """Once unpickled, it leaves a file."""

    def __init__(self, sprung):
        self.sprung = sprung

    def __reduce__(self):
        return Path.touch, (self.sprung,)


@pytest.fixture
def halfway(method, zygote, asked, once, tmp_path_factory):
    """A run that was killed after its first checkpoint, and one that is finished."""

    def make():
        folder = tmp_path_factory.mktemp("halfway")
        killed = asked(folder / "killed", point="in run.json", number=7)
        zygote.begin(killed, asked(folder / "finished"))
        assert zygote.end() == [-signal.SIGKILL, 0]
        return folder

    return once("halfway", method, make)


FILES = (
    "run.json",
    "config.toml",
    "reports.jsonl",
    "events.jsonl",
    "heartbeat.json",
    "checkpoints/round-000003/checkpoint.json",
    "checkpoints/round-000003/node-2.safetensors",
)
RARE = ("run.json", "events.jsonl", "heartbeat.json", "checkpoints/round-000003/checkpoint.json")
"""Of these, those whose damage is met by faster tests too."""
ZARR = (
    "zarr.json",
    "distance/zarr.json",
    "distance/c/0/0",
    "event_kind/zarr.json",
    "event_kind/c/0",
)


def look_everywhere(method, path):
    """Open, read and resume a run; give what refused, and fail for errors not our own."""
    refused = {}
    for name, look in {
        "open": lambda: gd.open_run(path),
        "state": lambda: gd.open_run(path).state,
        "settings": lambda: gd.open_run(path).settings,
        "ds": lambda: gd.open_run(path).ds,
        "mixture": lambda: gd.open_run(path).best_mixture().sample(3, seed=0),
        "slots": lambda: Store(path).slots(),
        "resume": lambda: gd.run(method, store=path, checkpoint_every=EVERY, resume=True),
    }.items():
        try:
            look()
        except gd.StoreError as error:
            refused[name] = str(error)
    return refused


DAMAGE = {
    "nothing": lambda data: b"",
    "bytes": lambda data: b"\xff\xfe\x00\x80" * 50 + b"\n",
    "half": lambda data: data[: len(data) // 2] + b"\n",
    "list": lambda data: b"[]\n",
    "number": lambda data: b"3\n",
}


@pytest.mark.parametrize("file", FILES)
def test_a_planted_pickle_is_never_run_and_the_run_not_resumed(file, method, halfway, tmp_path):
    path, sprung = Path(shutil.copytree(halfway / "killed", tmp_path / "run")), tmp_path / "sprung"
    (path / file).write_bytes(pickle.dumps(Trap(sprung)) + b"\n")
    refused = look_everywhere(method, path)
    assert not sprung.exists()
    if file == "heartbeat.json":
        assert not refused
    else:
        assert Path(file).name in refused["resume"]
        pickle.loads((path / file).read_bytes())
        assert sprung.exists(), "the trap works"


@pytest.mark.parametrize("file", ZARR)
def test_a_pickle_planted_in_the_dataset_is_never_run(file, method, halfway, tmp_path):
    path = Path(shutil.copytree(halfway / "finished", tmp_path / "run"))
    planted, sprung = path / "dataset.zarr" / file, tmp_path / "sprung"
    assert planted.is_file()
    planted.write_bytes(pickle.dumps(Trap(sprung)))
    refused = look_everywhere(method, path)
    assert not sprung.exists()
    for name in ("ds", "resume"):
        assert "dataset.zarr cannot be read" in refused[name]


@pytest.mark.filterwarnings("ignore:Object at distance is not recognized")
def test_an_array_with_a_pickle_codec_among_good_ones_is_not_read(method, halfway, tmp_path):
    """Format 2, which has such a codec, in a group of format 3."""
    path, sprung = (
        Path(shutil.copytree(halfway / "finished", tmp_path / "run")),
        tmp_path / "sprung",
    )
    shutil.rmtree(path / "dataset.zarr" / "distance")
    planted = path / "dataset.zarr" / "distance"
    planted.mkdir()
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C"}
    array |= {"fill_value": None, "compressor": None, "filters": [{"id": "pickle"}]}
    (planted / ".zarray").write_text(json.dumps(array))
    (planted / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["round"]}')
    (planted / "0").write_bytes(pickle.dumps(Trap(sprung)))
    look_everywhere(method, path)
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        pytest.param(file, damage, marks=pytest.mark.deep if file in RARE else ())
        for file in FILES
        for damage in DAMAGE
    ],
)
def test_a_malformed_file_is_named_or_not_needed(
    file, damage, method, halfway, tmp_path, assert_recovered
):
    path = Path(shutil.copytree(halfway / "killed", tmp_path / "run"))
    (path / file).write_bytes(DAMAGE[damage]((path / file).read_bytes()))
    refused = look_everywhere(method, path)
    harmless = {("events.jsonl", "nothing"), *(("heartbeat.json", kind) for kind in DAMAGE)}
    if (file, damage) in harmless:
        assert not refused
        assert_recovered(gd.open_run(path).ds, path)
    else:
        assert Path(file).name in refused["resume"]


def rewritten(change):
    """Change a JSON file by its meaning."""
    return lambda data: json.dumps(change(json.loads(data))).encode()


def with_line(number, *place):
    """Change a value in a line of a journal: where it is, and the new one."""
    *path, key, value = place

    def changed(data):
        lines = data.splitlines(keepends=True)
        told = found = json.loads(lines[number])
        for step in path:
            found = found[step]
        found[key] = value
        lines[number] = json.dumps(told).encode() + b"\n"
        return b"".join(lines)

    return changed


CHECKPOINT, STATES = FILES[-2:]
NONSENSE = {
    "a process of text": ("run.json", rewritten(lambda told: told | {"process": "x"})),
    "log_bytes of text": (CHECKPOINT, rewritten(lambda told: told | {"log_bytes": "x"})),
    "log_bytes below 0": (CHECKPOINT, rewritten(lambda told: told | {"log_bytes": -1})),
    "a list of files": (CHECKPOINT, rewritten(lambda told: told | {"files": [Path(STATES).name]})),
    "no files": (CHECKPOINT, rewritten(lambda told: told | {"files": {}})),
    "no values": ("reports.jsonl", with_line(2, "reports", 0, "values", {})),
    "no such cell": ("reports.jsonl", with_line(2, "reports", 0, "slot", "node/99")),
    "no reports": ("reports.jsonl", with_line(2, "reports", [])),
    "an event's round of text": ("events.jsonl", with_line(0, "event", "round", "x")),
    "an event of too much": ("events.jsonl", with_line(0, "event", "more", 1)),
    "other states": (STATES, lambda data: safetensors.numpy.save({"x": np.zeros(2)})),
}


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_file_of_the_right_form_that_makes_no_sense_is_refused(
    nonsense, method, halfway, tmp_path
):
    path = Path(shutil.copytree(halfway / "killed", tmp_path / "run"))
    file, change = NONSENSE[nonsense]
    (path / file).write_bytes(change((path / file).read_bytes()))
    assert look_everywhere(method, path)
