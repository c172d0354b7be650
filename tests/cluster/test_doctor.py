"""What the doctor finds on this machine's workers; test_slurm.py has it examine a batch system."""

import os
import sys
from types import SimpleNamespace

import pytest

from gandask.cluster import doctor
from gandask.cluster.doctor import Finding
from gandask.core import SettingError

NAMES = [
    "start",
    "worker",
    "encryption",
    "versions",
    "shared folder",
    "torch threads",
    "GPU",
]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(findings):
    return {finding.name: finding for finding in findings}


def test_a_finding_reads_well():
    assert str(Finding("worker", True, "on n1", "none")) == "ok   worker: on n1"
    told = str(Finding("GPU", False, "0 visible", "ask for one"))
    assert told == "BAD  GPU: 0 visible\n     remedy: ask for one"


def test_nothing_is_wrong_with_local_workers(here):
    findings = doctor.examine({"kind": "local", "workers": 1}, timeout=60)
    assert [finding.name for finding in findings] == NAMES
    assert all(finding.well for finding in findings), "\n".join(map(str, findings))
    told = found(findings)
    assert told["start"].seen.startswith("scheduler at tls://127.0.0.1:")
    assert told["worker"].seen == f"on {os.uname().nodename}, 1 thread(s)"
    assert told["encryption"].seen == "on"
    assert told["shared folder"].seen == f"{here} is the same here and there"
    assert [*here.iterdir()] == []


def test_versions_that_differ_are_told(monkeypatch):
    def other(version):
        return {name: version(name) for name in doctor.PACKAGES} | {"torch": "0.1", "dask": "0.2"}

    monkeypatch.setattr(doctor, "_versions", other)
    told = found(doctor.examine({"kind": "local", "workers": 1}, timeout=60))
    versions = told.pop("versions")
    assert not versions.well
    assert "torch 0.1 here, " in versions.seen
    assert "dask 0.2 here, " in versions.seen
    assert versions.seen.count(" there") == 2
    assert "--set cluster.python=" in versions.remedy
    assert all(finding.well for finding in told.values())


def test_an_interface_that_is_not_here_is_told_before_anything_starts(monkeypatch):
    monkeypatch.setattr(doctor.cluster, "start", None)
    table = {"kind": "slurm", "workers": 1, "interface": "ib7"}
    (finding,) = doctor.examine(table, timeout=1)
    assert (finding.name, finding.well, finding.seen) == ("interface", False, "ib7")
    assert "choose one of " in finding.remedy
    assert "lo" in finding.remedy
    assert "--set cluster.interface" in finding.remedy


def test_a_cluster_that_does_not_start_is_told(here, monkeypatch):
    monkeypatch.setenv("PATH", str(here))
    table = {"kind": "slurm", "workers": 1, "interface": "lo"}
    interface, start = doctor.examine(table, timeout=1)
    assert interface.well
    assert not start.well
    assert "'sbatch' is not on this machine" in start.seen
    assert start.remedy


def test_what_is_misspelt_is_refused():
    with pytest.raises(SettingError, match="did you mean 'workers'"):
        doctor.examine({"kind": "local", "worker": 1}, timeout=1)


@pytest.mark.parametrize("option", ["folder", "log_directory"])
def test_a_worker_that_does_not_come_is_told_with_the_end_of_its_log(here, monkeypatch, option):
    """A job is accepted, writes its log, and never becomes a worker."""
    commands, jobs = here / "bin", here / "jobs"
    commands.mkdir()
    jobs.mkdir()
    log = "\n".join(["the first line", *(f"line {i}" for i in range(4)), "no module named dask"])
    (jobs / "dask-worker-1.err").write_text("of another job\n")
    os.utime(jobs / "dask-worker-1.err", (1, 1))
    (jobs / "dask-worker-42.err").write_text(log + "\n")
    for name in ("sbatch", "scancel"):
        (commands / name).write_text("#!/bin/sh\necho Submitted batch job 42\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    table = {"kind": "slurm", "workers": 1, "folder": str(here / "told"), option: str(jobs)}
    told = found(doctor.examine(table, timeout=0.5))
    assert [*told] == ["start", "worker"]
    worker = told["worker"]
    assert not worker.well
    assert worker.seen.splitlines()[0] == "none within 0 s"
    assert worker.seen.splitlines()[1:] == [f"     {line}" for line in log.splitlines()[-5:]]
    for part in ("squeue", "--timeout", str(jobs), "--set cluster.interface"):
        assert part in worker.remedy


# ---- what a worker may be like


class Client:
    """Stands in for a client: its worker answers what a test says."""

    def __init__(self, address="tls://n1:8786", **answers):
        self.scheduler = SimpleNamespace(address=address)
        self.answers = answers

    def nthreads(self):
        return {"tls://n1:1": 1}

    def submit(self, function, *arguments, **options):
        if function is doctor.write and "write" not in self.answers:
            return SimpleNamespace(result=lambda: doctor.write(*arguments))

        def result():
            name = "write" if function is doctor.write else "probe"
            answer = self.answers.get(name, self.answers)
            if isinstance(answer, Exception):
                raise answer
            return answer if name == "write" else doctor.probe() | answer

        return SimpleNamespace(result=result)


def diagnosis(client, **table):
    """Examine a worker, and give the one thing that is wrong, if any is."""
    findings = doctor._on_worker(client, {"kind": "slurm", **table})
    wrong = [finding for finding in findings if not finding.well]
    assert len(wrong) <= 1, wrong
    for finding in wrong:
        assert finding.remedy
    return wrong[0] if wrong else None


def test_a_good_worker():
    assert diagnosis(Client()) is None


def test_traffic_that_is_not_encrypted():
    wrong = diagnosis(Client("tcp://n1:8786"))
    assert str(wrong).startswith("BAD  encryption: off\n     remedy: use tls://")


def test_more_threads_than_cores():
    wrong = diagnosis(Client(torch_threads=64, cores=1))
    assert str(wrong).startswith("BAD  torch threads: 64 on 1 core(s)\n")
    assert "OMP_NUM_THREADS=1" in wrong.remedy
    assert diagnosis(Client(torch_threads=2, cores=2)) is None


@pytest.mark.parametrize(
    "directives", [["--gres=gpu:1"], ["-l select=1:ngpus=1"], ["--gpus-per-task=2"]]
)
def test_a_gpu_that_is_asked_for_and_not_there(directives):
    wrong = diagnosis(Client(gpus=0), job_extra_directives=directives)
    assert str(wrong).startswith("BAD  GPU: 0 visible to the worker")
    assert "CUDA build of torch" in wrong.remedy
    assert diagnosis(Client(gpus=1), job_extra_directives=directives) is None
    assert diagnosis(Client(gpus=0), job_extra_directives=["--exclusive"]) is None


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("written elsewhere", "No such file or directory"),
        (PermissionError(13, "Permission denied"), "Permission denied"),
    ],
)
def test_a_folder_that_is_not_shared(here, answer, said):
    wrong = diagnosis(Client(write=answer))
    assert wrong.name == "shared folder"
    assert wrong.seen.startswith(str(here))
    assert said in wrong.seen
    assert "login and compute nodes share" in wrong.remedy
    assert [*here.iterdir()] == []


def test_a_python_of_another_version():
    versions = doctor.probe()["versions"] | {"python": "3.99.0"}
    wrong = diagnosis(Client(versions=versions))
    python = ".".join(map(str, sys.version_info[:3]))
    assert str(wrong).startswith(f"BAD  versions: python {python} here, 3.99.0 there\n")


def test_a_worker_without_gandask():
    wrong = diagnosis(Client(probe=ModuleNotFoundError("No module named 'gandask'")))
    assert "No module named 'gandask'" in wrong.seen
    assert "--set cluster.python=" in wrong.remedy
