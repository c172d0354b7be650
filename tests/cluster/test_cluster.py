"""Where a client comes from: what is refused, what jobs ask for, who listens, what is left behind.

Batch systems are scripts here that write down what they are asked; test_slurm.py has a real one.
"""

import datetime
import gc
import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request

import dask
import psutil
import pytest
from browser import apart
from conftest import until
from distributed import Client, LocalCluster
from strangers import REFUSED, reach, strangers

import gandask as gd
from gandask import cluster
from gandask.cluster.batch import SYSTEMS, lifetime, seconds_of
from gandask.core import ClusterError, SettingError
from gandask.methods.testing import Toy

SOON = 60  # seconds within which a busy machine does what takes a few

# submit, cancel, and what a submission answers
COMMANDS = {
    "slurm": ("sbatch", "scancel", "Submitted batch job 42"),
    "pbs": ("qsub", "qdel", "42.server"),
    "lsf": ("bsub", "bkill", "Job <42> is submitted to queue <normal>."),
}


class Site:
    """A login node with batch systems that accept everything and run nothing."""

    def __init__(self, folder):
        self.folder, self.commands, self.log = folder, folder / "bin", folder / "calls"
        self.jobs = folder / "jobs"
        self.commands.mkdir()

    def install(self, kind):
        submit, cancel, answer = COMMANDS[kind]
        self.command(submit, f"cat ${{1:+$1}} >> {shlex.quote(str(self.log))}\necho '{answer}'")
        self.command(cancel, "")

    def command(self, name, script):
        path = self.commands / name
        log = shlex.quote(str(self.log))
        path.write_text(f'#!/bin/sh\necho "CALL {name} $*" >> {log}\n{script}\n')
        path.chmod(0o755)

    @property
    def text(self):
        return self.log.read_text() if self.log.exists() else ""

    @property
    def calls(self):
        return [line.split()[1:] for line in self.text.splitlines() if line.startswith("CALL ")]

    @property
    def script(self):
        """The last job that was submitted."""
        return self.text[self.text.rindex("#!") :].partition("CALL ")[0]


@pytest.fixture
def site(tmp_path, monkeypatch):
    made = Site(tmp_path)
    monkeypatch.setenv("PATH", f"{made.commands}{os.pathsep}/usr/bin{os.pathsep}/bin")
    monkeypatch.chdir(tmp_path)
    for kind in COMMANDS:
        made.install(kind)
    return made


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """A machine without any batch system."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listening(*processes):
    """Give the addresses that processes listen at: hosts and ports."""
    found = [one for process in processes for one in process.net_connections("inet")]
    return {tuple(one.laddr) for one in found if one.status == psutil.CONN_LISTEN}


# ---- what is refused


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("slrum", {}, "cluster 'slrum': there is no such kind; did you mean 'slurm'"),
        ("nothing", {}, "known are: .*local.*slurm.*tls://host:port"),
        ("local", {"worker": 2}, "worker=2: .*'local' has no option .*did you mean 'workers'"),
        ("local", {"walltime": "1:00"}, "walltime='1:00': .*'local' has no option"),
        ("slurm", {"workers": 1, "interfase": "lo"}, "did you mean 'interface'"),
        ("slurm", {"workers": 1, "partitoin": "x"}, "did you mean 'partition'"),
        ("pbs", {"workers": 1, "resource_spce": "x"}, "did you mean 'resource_spec'"),
        ("slurm", {"workers": 1, "n_workers": 1}, "no option 'n_workers'"),
        ("slurm", {"workers": 1, "job_kwargs": {}}, "no option 'job_kwargs'"),
        ("slurm", {}, "'slurm' needs a number of workers, such as workers=4"),
        ("slurm", {"workers": 0}, "workers=0: expected a whole number, at least 1"),
        ("slurm", {"workers": "two"}, "workers='two': expected a whole number"),
        ("slurm", {"workers": 1.5}, "workers=1.5: expected a whole number"),
        ("slurm", {"workers": 1, "walltime": "1h"}, "walltime='1h': expected hours:minutes:sec"),
        ("pbs", {"workers": 1, "walltime": ""}, "walltime='': expected hours:minutes:seconds"),
        ("tcp://127.0.0.1:1", {"timeuot": 1}, "timeuot=1: .*did you mean 'timeout'"),
        ("tcp://127.0.0.1:1", {"workers": 1}, "workers=1: .*has no option"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_starts(site, kind, options, said):
    before = listening(psutil.Process())
    with pytest.raises(SettingError, match=said):
        cluster.start(kind, **options)
    assert site.calls == []
    assert listening(psutil.Process()) == before


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (3, {}, "cluster '3': "),
        ("local", {"workers": 0}, "workers=0: expected"),
        ("local", {"workers": "two"}, "workers='two': expected"),
    ],
)
def test_what_is_wrong_with_local_is_refused_too(kind, options, said):
    with pytest.raises(SettingError, match=said):
        cluster.start(kind, **options)


def test_a_wrong_walltime_leaves_no_folder(site):
    with pytest.raises(SettingError):
        cluster.start("slurm", workers=1, walltime="1h")
    assert not (site.folder / "gandask-jobs").exists()


@pytest.mark.parametrize("kind", SYSTEMS)
def test_a_machine_without_the_batch_system_is_told(nowhere, kind):
    with pytest.raises(ClusterError, match=rf"cluster '{kind}': the command '\w+' is not on this"):
        cluster.start(kind, workers=1)
    assert [*nowhere.iterdir()] == []


def test_slurm_names_its_command(nowhere):
    with pytest.raises(ClusterError, match=r"'sbatch' is not on this machine.* login node"):
        gd.cluster.slurm(1)


def test_a_job_that_slurm_refuses_is_never_submitted(site):
    site.command("sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2\nexit 1")
    before = listening(psutil.Process())
    with pytest.raises(ClusterError, match=r"Slurm refuses the job: .*invalid partition specified"):
        gd.cluster.slurm(1, partition="x", folder=site.jobs)
    assert [call[:2] for call in site.calls] == [["sbatch", "--test-only"]]
    until(lambda: listening(psutil.Process()) == before, "the scheduler is gone")


def test_an_option_of_a_wrong_form_is_told(site):
    with pytest.raises(ClusterError, match=r"cluster 'slurm' cannot be started: .*many"):
        gd.cluster.slurm(1, memory="many", folder=site.jobs)
    assert site.calls == []


@pytest.mark.parametrize("tasks", [None, 1, 2])
def test_srun_needs_an_allocation(nowhere, monkeypatch, tasks):
    for name in ("SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
        if tasks:
            monkeypatch.setenv(name, str(tasks))
    with pytest.raises(ClusterError, match=f"at least three tasks .*are {tasks or 0}: start it as"):
        cluster.start("srun")
    assert [*nowhere.iterdir()] == []


# ---- how long workers stay


@pytest.mark.parametrize(
    ("walltime", "seconds"),
    [
        ("90", 5400),
        (90, 5400),
        ("1", 60),
        ("30:00", 1800),
        ("1:30", 90),
        ("00:01:00", 60),
        ("01:00:00", 3600),
        ("1:02:03", 3723),
        ("100:00:00", 360_000),
        ("1-00:00:00", 86_400),
        ("2-03:04:05", 2 * 86_400 + 3 * 3600 + 4 * 60 + 5),
        (datetime.time(1, 2, 3), 3723),  # what TOML makes of it without quotes
    ],
)
def test_seconds_of(walltime, seconds):
    assert seconds_of(walltime) == seconds


@pytest.mark.parametrize(("walltime", "seconds"), [("2-03", 51 * 3600), ("1-02:30", 95_400)])
def test_seconds_of_days_and_hours(walltime, seconds):
    assert seconds_of(walltime) == seconds


@pytest.mark.parametrize("walltime", ["", "1h", "1:2:3:4", "1-", "-", "a-1", ":", "1:", "1.5", "∞"])
def test_seconds_of_refuses(walltime):
    with pytest.raises(SettingError, match=r"walltime=.*: expected hours:minutes:seconds"):
        seconds_of(walltime)


@pytest.mark.parametrize(
    "walltime", ["1", "00:01:00", "10:00", "01:00:00", "1-00:00:00", "7-00:00:00"]
)
def test_workers_leave_in_time_and_not_together(walltime):
    name, stay, other, stagger = lifetime(walltime)
    assert (name, other) == ("--lifetime", "--lifetime-stagger")
    stay, stagger = (float(text.removesuffix("s")) for text in (stay, stagger))
    whole = seconds_of(walltime)
    # Dask draws a worker's lifetime between these
    assert stay + stagger < whole
    assert stay - stagger > 0.6 * whole
    assert stagger >= min(whole / 10, 300)
    assert whole - stay <= 600 or stay > 0.8 * whole


# ---- what jobs ask for


def test_a_job_of_slurm(site, monkeypatch):
    monkeypatch.setenv("GANDASK_CACHE", str(site.folder / "our cache"))
    options = {
        "account": "p42",
        "memory": "2GB",
        "interface": "lo",
        "job_extra_directives": ["--gres=gpu:1"],
        "job_script_prologue": ["module load python"],
    }
    with gd.cluster.slurm(2, "01:00:00", "fast", site.jobs, **options) as client:
        until(lambda: len(site.calls) >= 3, "two jobs")
        assert client.scheduler.address.startswith("tls://127.0.0.1:")
    script, lines = site.script, site.script.splitlines()
    directives = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert {"-p fast", "-A p42", "-n 1", "--cpus-per-task=1", "--mem=2G"} <= {*directives}
    assert {"-t 01:00:00", "--gres=gpu:1"} <= {*directives}
    assert f"-e {site.jobs}/dask-worker-%J.err" in directives
    (worker,) = (shlex.split(line) for line in lines if "dask_worker" in line)
    assert worker[0] == sys.executable
    for option, value in {
        "--nthreads": "1",
        "--lifetime": "3000s",
        "--lifetime-stagger": "300s",
        "--dashboard-address": "127.0.0.1:0",
        "--interface": "lo",
        "--protocol": "tls://",
    }.items():
        assert worker[worker.index(option) + 1] == value
    assert {"--nanny", "--no-dashboard", "--tls-key", "--tls-cert", "--tls-ca-file"} <= {*worker}
    assert "PRIVATE" not in script
    cache = lines.index(f"export GANDASK_CACHE='{site.folder}/our cache'")
    assert cache < lines.index("module load python") < lines.index(shlex.join(worker))
    submitted = [call for call in site.calls if call[0] == "sbatch"]
    assert ["--test-only" in call for call in submitted] == [True, False, False]
    assert [call for call in site.calls if call[0] == "scancel"] == [["scancel", "42"]] * 2


def test_a_job_imports_as_the_client_does_and_nothing_from_where_it_is_submitted(
    site, tmp_path, monkeypatch
):
    own, stranger = tmp_path / "own folder", tmp_path / "stranger"
    own.mkdir()
    (own / "own_module.py").write_text("import multiprocessing\nprint('own')")
    stranger.mkdir()
    (stranger / "multiprocessing.py").write_text("print('stranger')")
    monkeypatch.syspath_prepend(own)
    with gd.cluster.slurm(1, folder=site.jobs):
        until(lambda: len(site.calls) >= 2, "a job")
    script = site.script.replace(" -m distributed.cli.dask_worker ", " -m own_module ")
    monkeypatch.chdir(stranger)
    monkeypatch.setenv("PYTHONPATH", "before")
    job = subprocess.run(
        ["bash"], input=f"{script}\necho $PYTHONPATH", capture_output=True, text=True
    )
    assert job.stdout.startswith("own\n"), job.stderr
    assert job.stdout.endswith(":before\n")


@pytest.mark.parametrize("walltime", ["01:00:00", datetime.time(1), 60, "60"])
def test_a_job_of_slurm_whatever_its_walltime_is_written_as(site, walltime):
    with gd.cluster.slurm(1, walltime, folder=site.jobs):
        until(lambda: len(site.calls) >= 2, "a job")
    assert f"#SBATCH -t {walltime}\n" in site.script
    assert "--lifetime 3000s" in site.script


def test_other_systems_have_the_same_face(site):
    options = {"workers": 1, "walltime": "02:00:00", "partition": "fast", "folder": site.jobs}
    with cluster.start("pbs", **options) as client:
        until(lambda: site.calls, "a job")
        assert client.scheduler.address.startswith("tls://")
    script = site.script
    assert "#PBS -q fast\n" in script
    assert "#PBS -l walltime=02:00:00\n" in script
    assert "--lifetime 6600s --lifetime-stagger 300s" in script
    assert "--no-dashboard" in script
    assert [call[0] for call in site.calls] == ["qsub", "qdel"]


def test_workers_of_lsf_stay_as_long_as_their_jobs(site, monkeypatch):
    with cluster.start("lsf", workers=1, folder=site.jobs, lsf_units="mb", use_stdin=False):
        until(lambda: site.calls, "a job")
    assert "#BSUB -W 00:30\n" in site.script
    assert "--lifetime 1440s" in site.script


def test_settings_of_dask_are_respected(site):
    theirs = {
        "jobqueue.slurm.cores": 2,
        "jobqueue.slurm.memory": "5GiB",
        "jobqueue.slurm.processes": 2,
        "jobqueue.slurm.queue": "theirs",
        "jobqueue.slurm.account": "group",
        "jobqueue.slurm.walltime": "00:50:00",
        "jobqueue.slurm.interface": "lo",
        "jobqueue.slurm.python": "/opt/python",
        "jobqueue.slurm.log-directory": str(site.folder / "logs"),
        "jobqueue.slurm.local-directory": "/scratch",
        "jobqueue.slurm.job-script-prologue": ["module load torch"],
        "jobqueue.slurm.worker-extra-args": ["--resources", "GPU=1"],
        "jobqueue.slurm.scheduler-options": {"port": 0, "idle_timeout": "1 hour"},
    }
    with dask.config.set(theirs), gd.cluster.slurm(2, folder=site.jobs) as client:
        until(lambda: len(site.calls) >= 2, "a job")
        assert client.cluster.scheduler.idle_timeout == 3600
        port = client.cluster.scheduler_info["services"]["dashboard"]
        assert ("127.0.0.1", port) in listening(psutil.Process())
    script = site.script
    for part in (
        "#SBATCH --cpus-per-task=2\n",
        "#SBATCH --mem=5G\n",
        "#SBATCH -p theirs\n",
        "#SBATCH -A group\n",
        "#SBATCH -t 00:50:00\n",
        f"#SBATCH -e {site.folder}/logs/",
        "module load torch\n",
        "/opt/python -m ",
        "--nworkers 2",
        "--local-directory /scratch",
        "--resources GPU=1",
        "--interface lo",
        "--lifetime 2400s",
        "--no-dashboard",
    ):
        assert part in script
    # two workers are one job here
    assert [call[0] for call in site.calls] == ["sbatch", "sbatch", "scancel"]


def test_a_users_options_come_before_settings_of_dask_and_leave_the_rest(site):
    theirs = {"jobqueue.slurm.queue": "theirs", "jobqueue.slurm.memory": "5GiB"}
    options = {
        "partition": "mine",
        "scheduler_options": {"host": "127.0.0.1"},
        "worker_extra_args": ["--resources", "GPU=1"],
        "job_script_prologue": ["echo hello"],
    }
    with dask.config.set(theirs), gd.cluster.slurm(1, folder=site.jobs, **options) as client:
        until(lambda: len(site.calls) >= 2, "a job")
        port = client.cluster.scheduler_info["services"]["dashboard"]
        assert {host for host, other in listening(psutil.Process()) if other == port} == {
            "127.0.0.1"
        }
    script = site.script
    assert "#SBATCH -p mine\n" in script
    assert "#SBATCH --mem=5G\n" in script
    assert "--no-dashboard --dashboard-address 127.0.0.1:0 --resources GPU=1" in script
    assert f"export GANDASK_CACHE={os.environ['GANDASK_CACHE']}\n" in script
    assert "\necho hello\n" in script


def test_ctrl_c_is_left_as_it_is():
    """dask-jobqueue takes it over when it is imported."""
    code = (
        "import signal\n"
        "mine = lambda *_: None\n"
        "signal.signal(signal.SIGINT, mine)\n"
        "import gandask.cluster.allocation\n"
        "from gandask.cluster.batch import jobqueue\n"
        "jobqueue()\n"
        "import dask_jobqueue\n"
        "assert signal.getsignal(signal.SIGINT) is mine\n"
        "print('left')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=SOON, check=False
    )
    assert done.stdout == "left\n", done.stderr


# ---- on this machine


@pytest.fixture
def quick_to_replace(monkeypatch):
    """Take what is lost for lost at once, not after a quarter of a minute."""
    # the package has a function of this name, too
    monkeypatch.setattr(importlib.import_module("gandask.cluster.local"), "KEEP", 0.2)
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "200ms"}):
        yield


def family():
    """This process's children and theirs, but for what watches over shared memory."""
    found = psutil.Process().children(recursive=True)
    return {one for one in found if "resource_tracker" not in " ".join(arguments(one))}


def arguments(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_local_ends_all_it_started_when_it_is_closed():
    others, ports = family(), listening(psutil.Process())
    with gd.cluster.local(2) as client:
        client.wait_for_workers(2, timeout=SOON)
        assert set(client.nthreads().values()) == {1}
        assert len(client.nthreads()) == 2
        assert client.cluster.scheduler.allowed_failures == 10
        started = family() - others
        assert len(started) >= 2
    until(lambda: not [one for one in started if one.is_running()], "all workers have ended")
    until(lambda: listening(psutil.Process()) <= ports, "the scheduler has ended")
    client.close()  # once more is no harm


def test_local_replaces_a_worker_that_is_removed(quick_to_replace):
    with gd.cluster.local(2) as client:
        client.wait_for_workers(2, timeout=SOON)
        before = {*client.nthreads()}
        gone = min(before)
        client.retire_workers([gone])
        until(lambda: gone not in client.nthreads(), "it left")
        until(lambda: len(client.nthreads()) == 2, "another in its place")
        assert len({*client.nthreads()} & before) == 1
        assert client.submit(sum, [1, 2]).result(timeout=SOON) == 3


def test_local_replaces_a_worker_that_is_killed():
    with gd.cluster.local(1) as client:
        client.wait_for_workers(1, timeout=SOON)
        (before,) = client.run(os.getpid).values()
        os.kill(before, signal.SIGKILL)
        until(lambda: not client.nthreads(), "it is gone")
        assert client.submit(os.getpid, pure=False).result(timeout=SOON) != before


def test_local_listens_on_this_machine_alone():
    others, ports = family(), listening(psutil.Process())
    with gd.cluster.local(2) as client:
        client.wait_for_workers(2, timeout=SOON)
        ours = listening(psutil.Process()) - ports
        theirs = listening(*(family() - others))
        assert len(ours) >= 2  # scheduler and dashboard
        assert len(theirs) >= 2  # workers
        assert {host for host, _ in ours | theirs} <= {"127.0.0.1", "::1"}


def test_local_answers_nobody_else_on_this_machine():
    ports = listening(psutil.Process())
    with gd.cluster.local(1) as client:
        ((worker, told),) = client.scheduler_info()["workers"].items()
        listeners = {
            "Scheduler": client.scheduler.address,
            "Worker": worker,
            "Nanny": told["nanny"],
        }
        for kind, address in listeners.items():
            for where, security in strangers(address):
                with pytest.raises(REFUSED):
                    reach(where, security)
            assert reach(address, client.security)["type"].endswith(kind)
        # what else listens shows how Dask fares, and takes no orders
        (process,) = client.run(os.getpid).values()
        found = listening(psutil.Process(), psutil.Process(process)) - ports
        shown = {port for _, port in found} - {
            int(a.rpartition(":")[2]) for a in listeners.values()
        }
        for port in shown:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=SOON) as health:
                assert health.read() == b"ok"
        assert client.submit(sum, [1, 2]).result(timeout=SOON) == 3


@pytest.mark.parametrize(
    ("gpus", "workers", "seen"),
    [(0, 1, [None]), (1, 1, [None]), (2, 2, ["0", "1"]), (2, 3, ["0", "0", "1"])],
)
def test_each_local_worker_sees_one_of_several_gpus(monkeypatch, gpus, workers, seen):
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with gd.cluster.local(workers) as client:
        client.wait_for_workers(workers, timeout=SOON)
        # a lambda, for a method of os.environ would take this process's own along
        told = client.run(lambda: os.environ.get("CUDA_VISIBLE_DEVICES")).values()
        assert sorted(told, key=str) == seen
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


# ---- a scheduler that is there already


@pytest.fixture
def tidy():
    """Close what a client that could not connect has left, while nothing else is going on.

    Dask's client does so when it is collected, in whatever thread, which may wait for itself.
    """
    yield
    gc.collect()


@pytest.mark.parametrize("found_by", ["address", "file"])
def test_connect(clients, tmp_path, found_by):
    where = clients[1].scheduler.address
    if found_by == "file":
        path = tmp_path / "scheduler.json"
        # as a scheduler that begins does; Dask's client fails at what its workers have measured
        path.write_text(json.dumps({"type": "Scheduler", "address": where, "workers": {}}))
        where = str(path)
    with cluster.start(where, timeout=SOON) as client:
        assert type(client) is Client
        assert client.submit(sum, [1, 2]).result(timeout=SOON) == 3
    # it is not ours to end
    assert clients[1].submit(sum, [2, 3]).result(timeout=SOON) == 5


def test_connect_by_a_file_that_is_being_written(clients, tmp_path, monkeypatch):
    """Found empty at first, as schedulers leave it for a moment, and then half full."""
    path = tmp_path / "scheduler.json"
    whole = json.dumps({"address": clients[1].scheduler.address}).encode()
    seen = [b"", whole[: len(whole) // 2], whole]
    monkeypatch.setattr(type(path), "read_bytes", lambda self: seen.pop(0))
    with cluster.start(str(path), timeout=SOON) as client:
        assert client.submit(sum, [1, 2]).result(timeout=SOON) == 3
    assert seen == []


@pytest.mark.parametrize("given", ["client", "cluster", "address", "bare address", "file"])
def test_a_run_is_given_any_way_to_a_scheduler(clients, tmp_path, given):
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": clients[1].scheduler.address}))
    ways = {
        "client": clients[1],
        "cluster": clients[1].cluster,
        "address": clients[1].scheduler.address,
        "bare address": clients[1].scheduler.address.partition("://")[2],
        "file": file,
    }
    with cluster.reached(ways[given]) as client:
        assert client.submit(sum, [1, 2]).result(timeout=SOON) == 3
        assert (client is clients[1]) == (given == "client")
    # what was made here is closed, and nothing else is
    assert (client.status == "closed") == (given != "client")
    assert clients[1].submit(sum, [2, 3]).result(timeout=SOON) == 5


@pytest.mark.parametrize("given", [4, True, "local", "", object(), b"tcp://127.0.0.1:1", Client])
def test_what_is_no_way_to_a_scheduler_is_refused(given):
    with pytest.raises(SettingError, match=r"client=.*expected a Dask client"):
        gd.run(Toy(), client=given)


def test_what_is_closed_or_asynchronous_is_refused_by_name(tmp_path):
    def refused(given, said):
        for begin in (gd.run, gd.start):
            with pytest.raises(SettingError, match=said):
                begin(Toy(), client=given, store=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    async def asynchronous():
        options = {"n_workers": 0, "processes": False, "dashboard_address": None}
        async with (
            LocalCluster(**options, asynchronous=True) as local,
            Client(local, asynchronous=True) as client,
        ):
            refused(local, "the LocalCluster given is asynchronous")
            refused(client, "the Client given is asynchronous")

    apart(asynchronous())
    with LocalCluster(n_workers=0, processes=False, dashboard_address=None) as local:
        with Client(local.scheduler_address) as client:  # inproc://
            pass
        refused(client, "the Client given is closed")
        with cluster.reached(local.scheduler_address) as client:
            assert client.status == "running"
    refused(local, "the LocalCluster given is closed")


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("tcp://127.0.0.1:1", "no scheduler answers at 'tcp://127.0.0.1:1' .*refused"),
        ("tls://127.0.0.1:1", "no scheduler answers .*distributed.comm.tls.* certificates"),
        ("foo://127.0.0.1:1", "no scheduler answers at 'foo:"),
        ("missing.json", "no scheduler answers at 'missing.json' .*No such file"),
        ("gone.json", "no scheduler answers at 'gone.json'"),
    ],
)
def test_connect_gives_up_in_time(tidy, tmp_path, monkeypatch, where, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone.json").write_text('{"type": "Scheduler", "address": "tcp://127.0.0.1:1"}')
    begun = time.monotonic()
    with pytest.raises(ClusterError, match=said):
        cluster.start(where, timeout=1.0)
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("text", ["", "{}", '{"name": "nothing of Dask"}'])
def test_connect_refuses_a_file_that_is_no_schedulers(tidy, tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ClusterError, match=r"no scheduler answers at '.*other.json'"):
        cluster.start(str(path), timeout=1.0)
