"""On a real Slurm of four one-core nodes: jobs come, go, are killed, and nobody else gets in.

`slurm/slurmlab.sh` starts it in a folder of its own; that needs root, and Slurm.
"""

import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import dask
import psutil
import pytest
from browser import apart
from conftest import tiny, until
from distributed import Client, Worker
from strangers import REFUSED, reach, strangers
from torch.nn.functional import softplus

import gandask as gd
from gandask.engine.session import Session

SCRIPT = Path(__file__).parent / "slurm" / "slurmlab.sh"
ENABLE = (
    "apt-get install --no-install-recommends "
    "slurmctld slurmd slurm-client munge iproute2 util-linux procps"
)
pytestmark = pytest.mark.slurm

SOON = 120  # seconds within which a busy machine does what takes a few
LOST = 20  # seconds of silence: workers of a busy machine are silent for some, too
LONGEST = 400  # seconds within which any test here is over


@pytest.fixture(scope="module")
def root():
    """Skip what needs Slurm, or fail where it has to be here."""
    programs = ("slurmctld", "slurmd", "sbatch", "munged", "ip", "nsenter", "ps")
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing and os.geteuid() == 0:
        return
    why = f"{', '.join(missing)} missing" if missing else "not root"
    told = f"nothing was tested on Slurm: {why}; as root: {ENABLE}"
    if os.environ.get("GANDASK_REQUIRE_SLURM") == "1":
        pytest.fail(told)
    warnings.warn(told, stacklevel=1)
    pytest.skip(told)


@contextlib.contextmanager
def started(folder, **settings):
    """Start a Slurm, point this process and its children to it, and stop it."""
    number = os.getpid() % 1000
    told = {
        "SLURMLAB_DIR": str(folder),
        "SLURMLAB_PORT": str(free_ports()),
        "NETLAB_NAME": f"gd{number}n",
        "NETLAB_NET": f"10.{100 + number % 100}.{number // 100}",
        **settings,
    }

    def script(command):
        # to a file: daemons would keep a pipe open
        with (folder / "script.log").open("a") as log:
            done = subprocess.run(
                [SCRIPT, command],
                env=os.environ | told,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=SOON,
                check=False,
            )
        if done.returncode:
            pytest.fail(f"slurmlab.sh {command}:\n{(folder / 'script.log').read_text()}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", f"{folder}/etc/slurm.conf")
        try:
            script("start")
            yield told
        finally:
            script("stop")


def free_ports():
    """Find a port for the controller, with those for the nodes after it."""
    while True:
        first = random.SystemRandom().randrange(20_000, 30_000)
        try:
            for port in (first, *range(first + 101, first + 105)):
                with socket.socket() as tried:
                    tried.bind(("", port))
        except OSError:
            continue
        return first


@pytest.fixture(scope="module")
def lab(root, tmp_path_factory):
    """Four nodes on this host."""
    folder = tmp_path_factory.mktemp("lab")
    with started(folder):
        yield folder


@pytest.fixture(autouse=True)
def in_time():
    """End what would wait for ever."""

    def end(*_):
        pytest.fail(f"not done after {LONGEST} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(LONGEST)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def jobs(*columns):
    """List the jobs that wait, run or end: some of what squeue tells of each."""
    asked = ["squeue", "--noheader", f"--format={' '.join(columns or ('%A',))}"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=SOON).stdout
    return [tuple(line.split()) for line in told.splitlines()]


def no_jobs():
    until(lambda: not jobs(), "no jobs")


@pytest.fixture
def free(lab):
    """Nodes that are free, and are free again after the test, whatever came of it."""
    yield lab
    for (job,) in jobs():
        subprocess.run(["scancel", job], check=True, timeout=SOON)
    no_jobs()


@pytest.fixture
def slurm(free, tmp_path):
    """Start workers as jobs."""

    def start(workers, **options):
        client = gd.cluster.slurm(
            workers, **{"folder": tmp_path / "jobs", "interface": "lo"} | options
        )
        made.append(client)
        client.wait_for_workers(workers, timeout=SOON)
        return client

    made = []
    yield start
    for client in made:
        client.close()


@pytest.fixture(scope="module")
def expected(cache):
    """What methods come to in this process, each computed once."""
    made = {}

    def result(**changes):
        key = str(sorted(changes.items()))
        if key not in made:
            made[key] = gd.run(tiny(**changes))
        return made[key]

    return result


@pytest.fixture
def after_round(monkeypatch):
    """Call functions between the rounds of a run: after the first, the second, ..."""
    calls = {}
    original = Session.decide

    def decide(self, reports, elapsed):
        told = original(self, reports, elapsed)
        for round in [round for round in calls if round <= self.view.round]:
            calls.pop(round)()
        return told

    monkeypatch.setattr(Session, "decide", decide)
    yield calls
    assert not calls, "the run was over before"


@pytest.fixture
def quick_to_replace(monkeypatch):
    """Take what is lost for lost at once, not after a quarter of a minute."""
    # the package has a function of this name, too
    monkeypatch.setattr(importlib.import_module("gandask.cluster.local"), "KEEP", 0.5)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "500ms"}):
        yield


def happened(dataset):
    """List what happened in a run: kinds and details."""
    kinds, details = dataset["event_kind"].values, dataset["event_detail"].values
    return list(zip(map(str, kinds), map(str, details), strict=True))


def kinds(dataset):
    return [kind for kind, _ in happened(dataset)]


def workers(client):
    """Give the names of workers by address; a worker in the place of another may have its name."""
    told = client.scheduler_info(n_workers=-1)["workers"]
    return {address: str(worker["name"]) for address, worker in told.items()}


def victim_of(client):
    """Choose a worker that is to be lost, and find its job."""
    address, name = min(workers(client).items())
    return address, name, client.cluster.workers[name].job_id


def replaced(client, victim):
    """Wait until a worker is lost and another is there."""
    until(lambda: victim not in workers(client), "a worker left")
    until(lambda: len(workers(client)) == 2, "a worker in its place")


# ---- training


def test_a_run_equals_one_in_process(slurm, expected, assert_same, after_round, tmp_path):
    folder, seen = tmp_path / "jobs", []
    client = slurm(2, walltime="00:20:00", partition="main")
    after_round[2] = lambda: seen.extend(jobs("%T", "%P", "%l", "%C"))
    ds = gd.run(tiny(), client=client)
    assert seen == [("RUNNING", "main", "20:00", "1")] * 2
    assert_same(expected(), ds)
    assert len({*ds.worker.values.ravel()}) == 2
    assert folder.stat().st_mode & 0o777 == 0o700
    secrets = secrets_in(folder)
    assert secrets
    assert {path.stat().st_mode & 0o777 for path in secrets} == {0o600}
    script = client.cluster.job_script()
    assert "#SBATCH -p main\n" in script
    assert "#SBATCH -t 00:20:00\n" in script
    assert "--lifetime 960s --lifetime-stagger 120s" in script
    client.close()
    no_jobs()


def test_credentials_are_gone_after_closing(slurm, tmp_path):
    client = slurm(1)
    assert len(secrets_in(tmp_path)) == 1
    client.close()
    assert not secrets_in(tmp_path)


def test_a_cancelled_job_is_replaced_and_changes_nothing(
    slurm, expected, assert_same, after_round, quick_to_replace
):
    client = slurm(2)
    address, name, job = victim_of(client)
    after_round[2] = lambda: subprocess.run(["scancel", job], check=True, timeout=SOON)
    after_round[4] = lambda: replaced(client, address)
    ds = gd.run(tiny(rounds=8), client=client, heartbeat=gd.Heartbeat(interval=0.1))
    assert_same(expected(rounds=8), ds)
    assert ("worker left", name) in happened(ds)
    assert kinds(ds).count("worker joined") == 3
    assert "recomputed" in kinds(ds)
    # the newcomer got its share
    assert len({*ds.worker.values[-1].ravel()}) == 2


def test_a_run_goes_on_after_it_had_no_worker_at_all(
    slurm, expected, assert_same, after_round, quick_to_replace
):
    client = slurm(1)
    address, _, job = victim_of(client)
    seen = threading.Event()

    def cancel():
        subprocess.run(["scancel", job], check=True, timeout=SOON)
        threading.Thread(target=watch, daemon=True).start()

    def watch():
        until(lambda: workers(client) and address not in workers(client), "another worker")
        seen.set()

    after_round[2] = cancel
    ds = gd.run(tiny(rounds=20), client=client, heartbeat=gd.Heartbeat(interval=0.1))
    assert seen.is_set()
    assert_same(expected(rounds=20), ds)
    assert "waiting" in kinds(ds)


def patient(pause):
    """Make a loss whose every step takes some seconds longer; nested, it travels by value."""

    def generator(fake):
        time.sleep(pause)
        return softplus(-fake).mean()

    def discriminator(real, fake):
        return softplus(-real).mean() + softplus(fake).mean()

    return gd.Loss(generator, discriminator)


def test_a_run_outlives_the_walltime_of_its_jobs(
    slurm, free, assert_same, after_round, quick_to_replace, monkeypatch, tmp_path
):
    """Takes longer than the shortest walltime that Slurm knows: about two minutes."""
    method = {"loss": "patient", "rounds": 25, "epochs_per_round": 2}
    monkeypatch.setitem(gd.LOSSES, "patient", patient(0))
    expected = gd.run(tiny(**method))
    monkeypatch.setitem(gd.LOSSES, "patient", patient(0.05))
    # sooner than a minute's walltime has them leave, for starting a job may take long here
    sooner = ["--lifetime", "40s", "--lifetime-stagger", "4s"]
    client = slurm(2, walltime="00:01:00", worker_extra_args=sooner)
    first, begun = {job for (job,) in jobs()}, time.monotonic()
    ds = gd.run(tiny(**method), client=client, store=tmp_path / "run", checkpoint_every=1)
    print(f"{time.monotonic() - begun:.0f} s, {happened(ds)}")
    assert time.monotonic() - begun > 90
    # how long a loss takes is part of its code
    assert_same(expected.assign_attrs(losses_digest=ds.losses_digest), ds)
    assert kinds(ds).count("worker left") >= 2
    assert kinds(ds).count("worker joined") >= 4
    client.close()
    no_jobs()
    ends = dict(ended(free))
    # the cluster cancels the job of a worker that has left, or the job is over before
    assert {ends[job] for job in first} <= {"COMPLETED", "CANCELLED"}


def ended(lab):
    """Tell how Slurm says that its jobs ended."""
    for line in (lab / "log" / "jobs.log").read_text().splitlines():
        told = dict(word.split("=", 1) for word in line.split())
        yield told["JobId"], told["JobState"]


def test_each_worker_has_the_gpu_of_its_job(slurm):
    client = slurm(2, job_extra_directives=["--gres=gpu:1"])

    def seen():
        return [os.environ.get(name) for name in ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES")]

    told = client.run(seen)
    assert [devices for _, devices in told.values()] == ["0", "0"]
    assert {job for job, _ in told.values()} == {job for (job,) in jobs()}
    assert set(client.nthreads().values()) == {1}


# ---- nobody else gets in


@pytest.fixture
def guarded(slurm):
    """A cluster that listens on all networks, as it does unless an interface is named."""
    return slurm(1, interface=None)


def test_strangers_are_refused(guarded):
    address = guarded.scheduler.address
    assert address.startswith("tls://")
    for where, security in strangers(address):
        with pytest.raises(REFUSED):
            reach(where, security)
    assert len(guarded.scheduler_info()["workers"]) == 1
    # it is not that nobody gets in
    assert reach(address, guarded.security)["type"] == "Scheduler"
    with Client(address, security=guarded.security, timeout=SOON, set_as_default=False) as client:
        assert client.submit(sum, [1, 2]).result(timeout=SOON) == 3


def test_strangers_are_refused_by_workers(guarded):
    (worker,) = guarded.scheduler_info()["workers"]
    for where, security in strangers(worker):
        with pytest.raises(REFUSED):
            reach(where, security)
    assert reach(worker, guarded.security)["type"] == "Worker"


def test_a_strange_worker_cannot_join(guarded, tmp_path):
    async def join(where, security):
        async with Worker(
            where,
            security=security,
            name="stranger",
            local_directory=str(tmp_path),
            dashboard_address="127.0.0.1:0",
            death_timeout=3,
        ):
            raise AssertionError(f"joined {where}")

    for where, security in strangers(guarded.scheduler.address):
        with pytest.raises((*REFUSED, RuntimeError)):
            apart(join(where, security))
    assert "stranger" not in workers(guarded).values()


def test_only_what_is_encrypted_listens_on_the_network(guarded):
    def listening():
        found = psutil.Process().net_connections("inet")
        return [tuple(c.laddr) for c in found if c.status == psutil.CONN_LISTEN]

    def public(told):
        return {port for host, port in told if host not in ("127.0.0.1", "::1")}

    def port(address):
        return int(address.rpartition(":")[2])

    dashboard = guarded.cluster.scheduler_info["services"]["dashboard"]
    assert [host for host, port in listening() if port == dashboard] == ["127.0.0.1"]
    ((address, told),) = guarded.scheduler_info()["workers"].items()
    assert public(guarded.run(listening)[address]) <= {port(address)}
    assert public(guarded.run(listening, nanny=True)[address]) <= {port(told["nanny"])}


# ---- from the shell

GANDASK = (sys.executable, "-m", "gandask")


def shell(*words, folder, timeout=2 * SOON):
    """Call a command in a folder, in good time."""
    command = [str(word) for word in words]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
    )


def written(path, cluster=None, **changes):
    """Write settings as TOML: the smallest method, with tables."""
    method = {"method": "grid", "data": "ring8"} | settings(**changes)
    lines = [f"{key} = {json.dumps(value)}" for key, value in method.items()]
    for name, table in (("cluster", cluster), ("heartbeat", {"interval": 0.2})):
        lines += [f"[{name}]"] if table else []
        lines += [f"{key} = {json.dumps(value)}" for key, value in (table or {}).items()]
    path.write_text("\n".join(lines) + "\n")
    return path


def settings(**changes):
    from conftest import TINY

    return TINY["grid"] | changes


CLUSTER = {"kind": "slurm", "workers": 2, "interface": "lo", "walltime": "00:20:00"}


def test_train_from_the_shell(free, expected, assert_same, tmp_path):
    # long enough that the second worker joins in time
    written(tmp_path / "mine.toml", CLUSTER, rounds=20)
    done = shell(*GANDASK, "train", "mine.toml", "--store", "run", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "best: row " in done.stdout
    no_jobs()
    run = gd.open_run(tmp_path / "run")
    assert run.state == "finished"
    assert_same(expected(rounds=20), run.ds)
    assert kinds(run.ds).count("worker joined") == 2
    assert not secrets_in(tmp_path)


def secrets_in(folder):
    """Find private keys below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if b"PRIVATE KEY" in path.read_bytes()]


def test_train_within_one_allocation(free, expected, assert_same, tmp_path):
    written(tmp_path / "mine.toml", rounds=20)
    train = (*GANDASK, "train", "mine.toml", "--cluster", "srun", "--store", "run")
    done = shell("srun", "-n", 4, *train, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    run = gd.open_run(tmp_path / "run")
    assert run.state == "finished"
    assert_same(expected(rounds=20), run.ds)
    assert len({*run.ds.worker.values.ravel()}) == 2
    assert done.stdout.count("best: row ") == 1
    assert [*(tmp_path / "gandask-jobs").iterdir()] == []
    no_jobs()


def test_a_run_that_fails_at_once_ends_its_allocation(free, tmp_path):
    written(tmp_path / "mine.toml")
    train = (*GANDASK, "train", "mine.toml", "--cluster", "srun", "--store", "run", "--resume")
    done = shell("srun", "-n", 3, *train, folder=tmp_path, timeout=150)
    assert done.returncode != 0
    assert "is not a run" in done.stderr
    assert not secrets_in(tmp_path)
    no_jobs()


def test_a_killed_client_leaves_no_jobs_and_is_resumed(free, expected, assert_same, tmp_path):
    written(tmp_path / "mine.toml", CLUSTER, rounds=20)
    command = (*GANDASK, "train", "mine.toml", "--store", "run", "--checkpoint-every", "1")
    with (tmp_path / "client.log").open("w") as log:
        client = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until(
            lambda: client.poll() is not None or [*tmp_path.glob("run/checkpoints/round-*")],
            "a checkpoint",
        )
        assert client.poll() is None, (tmp_path / "client.log").read_text()
    finally:
        client.kill()
        client.wait()
    assert jobs()
    no_jobs()
    run = gd.open_run(tmp_path / "run")
    assert run.state == "interrupted"
    assert run.ds.sizes["round"] < 20
    done = shell(*GANDASK, "resume", "run", "--workers", "1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run.state == "finished"
    assert_same(expected(rounds=20), run.ds)
    assert "resumed" in kinds(run.ds)


DOCTOR = (*GANDASK, "doctor", "--cluster", "slurm")


def test_doctor_finds_nothing(free, tmp_path):
    done = shell(*DOCTOR, "--set", "cluster.interface=lo", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    findings = done.stdout.splitlines()
    assert len(findings) >= 7
    assert all(line.startswith("ok ") for line in findings), done.stdout
    no_jobs()
    assert [path.name for path in tmp_path.iterdir()] == ["gandask-jobs"]
    assert not secrets_in(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--partition", "nowhere"], ["BAD  start: Slurm refuses the job", "nowhere"]),
        (["--set", "cluster.memory=64GB"], ["BAD  start: Slurm refuses the job"]),
        (["--set", "cluster.interface=ib7"], ["BAD  interface: ib7", "choose one of ", "lo"]),
        (
            ["--set", "cluster.job_script_prologue=['echo no such module >&2', 'exit 3']"],
            ["BAD  worker: none within 5 s", "no such module", "gandask-jobs says why"],
        ),
        (["--set", "cluster.python=/bin/false"], ["BAD  worker: none within 5 s", "squeue"]),
        (
            ["--set", "cluster.job_extra_directives=['--gres=gpu:1']", "--timeout", str(SOON)],
            ["BAD  GPU: 0 visible to the worker", "CUDA build of torch"],
        ),
    ],
)
def test_doctor_says_what_is_wrong(free, tmp_path, options, said):
    import torch

    if "GPU" in said[0] and torch.cuda.is_available():
        pytest.skip("there is a GPU to be seen")
    done = shell(*DOCTOR, "--timeout", "5", *options, folder=tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    position = 0
    for part in (*said[:1], "", *said[1:]):
        position = done.stdout.index(part, position)
    assert done.stdout.count("remedy: ") == done.stdout.count("BAD ") == 1
    assert "Traceback" not in done.stderr
    no_jobs()


# ---- on networks of their own


@pytest.fixture
def networks(root, tmp_path_factory):
    """Four nodes in namespaces of their own, with links of 100 Mbit/s."""
    folder = tmp_path_factory.mktemp("networks")
    with started(folder, SLURMLAB_NETNS="1", SLURMLAB_RATE="100mbit") as told:
        yield told


def test_a_node_that_is_cut_off_is_given_up(
    networks, expected, assert_same, after_round, quick_to_replace, tmp_path
):
    options = {
        "folder": tmp_path / "jobs",
        "interface": "eth0",
        "scheduler_options": {"host": f"{networks['NETLAB_NET']}.1"},
    }

    with gd.cluster.slurm(2, **options) as client:
        client.wait_for_workers(2, timeout=SOON)
        address, name, job = victim_of(client)
        node = dict(jobs("%A", "%N"))[job]

        def link(command):
            script = [SCRIPT.with_name("netlab.sh"), command, node.removeprefix("n")]
            subprocess.run(script, env=os.environ | networks, check=True, timeout=SOON)

        after_round[2] = lambda: link("cut")
        after_round[4] = lambda: replaced(client, address)
        ds = gd.run(
            tiny(rounds=8), client=client, heartbeat=gd.Heartbeat(interval=0.2, lost_after=LOST)
        )
        link("heal")
    assert_same(expected(rounds=8), ds)
    assert any(kind == "worker silent" and name in detail for kind, detail in happened(ds))
    assert ("worker left", name) in happened(ds)
    assert "moved" in kinds(ds)
