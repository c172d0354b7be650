"""What usually goes wrong on a cluster, checked with one small job."""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandask import cluster
from gandask.core import ClusterError, SettingError

if TYPE_CHECKING:
    from distributed import Client

PACKAGES = ("gandask", "dask", "distributed", "torch", "numpy", "cloudpickle", "msgpack")


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: whether it is well, what was seen, and a remedy if it is not."""

    name: str
    well: bool
    seen: str
    remedy: str = ""

    def __str__(self) -> str:
        told = f"{'ok ' if self.well else 'BAD'}  {self.name}: {self.seen}"
        return told if self.well else f"{told}\n     remedy: {self.remedy}"


def examine(table: Mapping[str, Any], timeout: float) -> list[Finding]:
    """Start a cluster with one worker, and check it.

    Parameters
    ----------
    table : mapping
        Options of `cluster.start`, with ``kind``.
    timeout : float
        Seconds to wait for the worker.

    Raises
    ------
    SettingError
        For an unknown kind or option.
    """
    interface = _interface(table.get("interface"))
    if interface and not interface.well:
        return [interface]
    found = [interface] if interface else []
    try:
        client = cluster.start(**table)
    except SettingError:
        raise
    except ClusterError as error:
        remedy = "read what the batch system says; partition, memory and walltime must be its own"
        return [*found, Finding("start", False, str(error), remedy)]
    with client:
        found.append(Finding("start", True, f"scheduler at {client.scheduler.address}"))
        try:
            client.wait_for_workers(1, timeout=timeout)
        except TimeoutError:
            return [*found, _no_worker(table, timeout)]
        return [*found, *_on_worker(client, table)]


def _interface(name: str | None) -> Finding | None:
    """Check that a network interface is there."""
    import psutil

    if name is None:
        return None
    there = sorted(psutil.net_if_addrs())
    remedy = f"choose one of {', '.join(there)}, as the nodes have it too (--set cluster.interface)"
    return Finding("interface", name in there, name, remedy)


def _no_worker(table: Mapping[str, Any], timeout: float) -> Finding:
    """Say why there may be no worker: the end of what its job has written."""
    folder = Path(table.get("log_directory", table.get("folder", "gandask-jobs")))
    logs = sorted(folder.glob("*.err"), key=lambda path: path.stat().st_mtime)
    told = logs[-1].read_text(encoding="utf-8", errors="replace").splitlines()[-5:] if logs else []
    remedy = (
        f"is the job still waiting (squeue)? Then wait longer (--timeout). Else its log in "
        f"{folder} says why it ended; if it cannot reach the scheduler, name the network that "
        "the nodes share (--set cluster.interface=ib0)"
    )
    return Finding("worker", False, "\n     ".join([f"none within {timeout:.0f} s", *told]), remedy)


def _on_worker(client: Client, table: Mapping[str, Any]) -> list[Finding]:
    """Check what the worker finds where it runs."""
    import torch

    one_environment = "use one environment on both sides (--set cluster.python=/shared/bin/python)"
    here = probe()
    try:
        there = client.submit(probe, pure=False).result()
    except Exception as error:  # whatever an environment that is not ours may raise
        seen = f"it cannot run gandask ({type(error).__name__}: {error})"
        return [Finding("worker", False, seen, one_environment)]
    differing = [
        f"{name} {here['versions'][name]} here, {version} there"
        for name, version in there["versions"].items()
        if version != here["versions"][name]
    ]
    threads = next(iter(client.nthreads().values()))
    secure = client.scheduler.address.startswith("tls://")
    gpu = there["gpus"] > 0 or not _asks_for_gpu(table)
    return [
        Finding("worker", True, f"on {there['host']}, {threads} thread(s)"),
        Finding(
            "encryption",
            secure,
            "on" if secure else "off",
            "use tls://: whoever reaches a plain scheduler can run code as you",
        ),
        Finding(
            "versions",
            not differing,
            "; ".join(differing) or "equal here and there",
            one_environment,
        ),
        _shared_folder(client, Path.cwd()),
        Finding(
            "torch threads",
            there["torch_threads"] <= there["cores"],
            f"{there['torch_threads']} on {there['cores']} core(s)",
            "export OMP_NUM_THREADS=1 in job_script_prologue: more threads than cores only thrash",
        ),
        Finding(
            "GPU",
            gpu,
            f"{there['gpus']} visible to the worker"
            + ("" if torch.version.cuda else " (CPU torch)"),
            "the job asks for a GPU that torch does not see: is it a CUDA build of torch?",
        ),
    ]


def _asks_for_gpu(table: Mapping[str, Any]) -> bool:
    return "gpu" in " ".join(map(str, table.get("job_extra_directives", ())))


def _shared_folder(client: Client, folder: Path) -> Finding:
    """Check that what a worker writes can be read here."""
    path = folder / f".gandask-doctor-{uuid.uuid4().hex[:8]}"
    try:
        told = client.submit(write, str(path), pure=False).result()
        seen = path.read_text(encoding="utf-8") == told
        detail = f"{folder} is the same here and there" if seen else f"{path} differs"
    except OSError as error:
        seen, detail = False, f"{folder}: {error}"
    finally:
        path.unlink(missing_ok=True)
    remedy = "keep runs, and start gandask, in a folder that login and compute nodes share"
    return Finding("shared folder", seen, detail, remedy)


def probe() -> dict[str, Any]:
    """Look around, on a worker or here."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "host": platform.node(),
        "cores": cores,
        "torch_threads": torch.get_num_threads(),
        "gpus": torch.cuda.device_count(),
        "versions": {"python": platform.python_version(), **_versions(metadata.version)},
    }


def _versions(version: Callable[[str], str]) -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


def write(path: str) -> str:
    """Write a small file, and give its text."""
    text = platform.node()
    Path(path).write_text(text, encoding="utf-8")
    return text
