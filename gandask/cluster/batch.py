"""Workers as jobs of a batch system, through dask-jobqueue."""

from __future__ import annotations

import functools
import inspect
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distributed import Client

from gandask.cluster import credentials, imports
from gandask.cluster.local import FAILURES, UNPROFILED, OwnedClient, check_workers
from gandask.core import ClusterError, SettingError
from gandask.display import suggestion
from gandask.execution.dask_internals import forget_credentials, tolerate

SYSTEMS = {
    "slurm": "SLURMCluster",
    "pbs": "PBSCluster",
    "lsf": "LSFCluster",
    "sge": "SGECluster",
    "oar": "OARCluster",
    "htcondor": "HTCondorCluster",
}
"""Batch systems by name, with dask-jobqueue's class for each."""


def slurm(
    workers: int,
    walltime: str | None = None,
    partition: str | None = None,
    folder: str | os.PathLike[str] = "gandask-jobs",
    **options: Any,
) -> Client:
    """Submit workers as jobs to Slurm, one core and 3 GB each unless told otherwise.

    Traffic is encrypted and authenticated with credentials made for this client alone. Workers
    leave before their walltime ends, at different times, and are replaced as long as the client
    lives.

    Parameters
    ----------
    workers : int
        Number of workers to keep.
    walltime : str, optional
        Of each job, such as ``"01:00:00"``; without, that of dask-jobqueue's settings (30 minutes).
    partition : str, optional
        The site's default without.
    folder : path-like
        Where the jobs' logs and the credentials go: one that all nodes share.
    **options
        Of `dask_jobqueue.SLURMCluster`: cores, memory, account, interface, job_script_prologue,
        job_extra_directives (``["--gres=gpu:1"]`` for a GPU per worker), ...

    Returns
    -------
    distributed.Client
        Closing it, or leaving its ``with`` block, cancels the jobs.

    Raises
    ------
    SettingError
        For an unknown option, or one of a wrong form.
    ClusterError
        If Slurm is not here, or refuses the job.

    Examples
    --------
    >>> with slurm(16, "01:00:00", "gpu", interface="ib0") as client:  # doctest: +SKIP
    ...     gandask.run(grid, client=client, store="runs/first")
    """
    return batch("slurm", workers, walltime, partition, folder, **options)


def batch(
    kind: str,
    workers: int,
    walltime: str | None = None,
    partition: str | None = None,
    folder: str | os.PathLike[str] = "gandask-jobs",
    **options: Any,
) -> Client:
    """Submit workers as jobs to the batch system `kind`, one of `SYSTEMS`, as `slurm` describes."""
    made = getattr(jobqueue(), SYSTEMS[kind])
    named = {"queue": partition, "walltime": walltime}
    options |= {key: value for key, value in named.items() if value is not None}
    _check_options(kind, made, options)
    check_workers(workers)
    command = made.job_cls.submit_command.split()[0]
    if shutil.which(command) is None:
        raise ClusterError(
            f"cluster {kind!r}: the command {command!r} is not on this machine: run this where "
            "jobs are submitted from, usually a login node"
        )
    given = _defaults(kind, Path(folder).absolute(), options)
    Path(folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        cluster = made(**given)
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        raise ClusterError(f"cluster {kind!r} cannot be started: {error}") from error
    try:
        if kind == "slurm":
            _ask_slurm(cluster.job_script())
        tolerate(cluster, FAILURES)
        cluster.scale(workers)
        return OwnedClient(cluster, workers, functools.partial(forget_credentials, cluster))
    except BaseException:
        cluster.close()
        forget_credentials(cluster)
        raise


def lifetime(walltime: str, kind: str = "slurm") -> list[str]:
    """Say how long a worker stays: it hands over its states and leaves before its job is ended.

    Examples
    --------
    >>> lifetime("01:00:00")
    ['--lifetime', '3000s', '--lifetime-stagger', '300s']
    """
    seconds = seconds_of(walltime, kind)
    stagger = min(seconds / 10, 300.0)
    return ["--lifetime", f"{seconds - 2 * stagger:.0f}s", "--lifetime-stagger", f"{stagger:.0f}s"]


def seconds_of(walltime: str, kind: str = "slurm") -> float:
    """Read a walltime as batch systems write it: ``[days-]hours:minutes:seconds``.

    What is shorter begins with hours after days and in LSF, and ends with seconds elsewhere; but a
    number alone is minutes in Slurm and LSF.

    Raises
    ------
    SettingError
        If it is not of that form.

    Examples
    --------
    >>> seconds_of("1-00:30"), seconds_of("30:00"), seconds_of("90"), seconds_of("00:30", "lsf")
    (88200.0, 1800.0, 5400.0, 1800.0)
    """
    days, dash, clock = str(walltime).rpartition("-")
    parts = clock.split(":")
    if not all(part.isdecimal() for part in [days if dash else "0", *parts]) or len(parts) > 3:
        raise SettingError(
            f"walltime={walltime!r}: expected hours:minutes:seconds, such as '01:00:00'"
        )
    numbers = [int(part) for part in parts]
    if dash or (kind == "lsf" and len(numbers) == 2):
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 1 and kind in ("slurm", "lsf"):
        hours, minutes, seconds = 0, numbers[0], 0
    else:
        hours, minutes, seconds = [0, *numbers][-3:]
    return float(int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds)


def jobqueue() -> Any:
    """Import dask-jobqueue, but leave Ctrl-C as it is, which it takes over."""
    before = signal.getsignal(signal.SIGINT)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ClusterError(
            "batch systems need dask-jobqueue: pip install 'gandask[hpc]'"
        ) from error
    finally:
        signal.signal(signal.SIGINT, before)
    return dask_jobqueue


def _check_options(kind: str, made: Any, options: Mapping[str, Any]) -> None:
    """Refuse an option that neither the cluster nor its jobs know."""
    classes = [*made.__mro__, *made.job_cls.__mro__]
    takers = [c.__init__ for c in classes if c.__module__.startswith("dask_jobqueue")]
    known = {name for taker in takers for name in inspect.signature(taker).parameters}
    known -= {"self", "args", "kwargs", "job_kwargs", "base_class_kwargs", "n_workers"}
    for key, value in options.items():
        if key not in known:
            own = {"workers", "partition", "folder"}
            raise SettingError(
                f"{key}={value!r}: cluster {kind!r} has no option {key!r}; "
                + suggestion(key, sorted(known | own))
            )


def _defaults(kind: str, folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a user's options: theirs first, then dask-jobqueue's settings, then ours."""
    import dask

    wanted: dict[str, Any] = {
        "cores": 1,
        "memory": "3GB",
        "processes": 1,
        "python": sys.executable,
        "walltime": None,
        "log_directory": str(folder),
        "local_directory": tempfile.gettempdir(),
        "shared_temp_directory": str(folder),
        "job_script_prologue": [],
        "worker_extra_args": [],
        "scheduler_options": {},
    }
    given: dict[str, Any] = {"security": credentials.make(), **options}
    for key, default in wanted.items():
        if key not in given:
            setting = dask.config.get(f"jobqueue.{kind}.{key.replace('_', '-')}", None)
            given[key] = setting or default
    # neither the scheduler's nor the workers' dashboards are for the network to see
    here = "127.0.0.1:0"
    given["scheduler_options"] = {"dashboard_address": here, **given["scheduler_options"]}
    arguments = ["--no-dashboard", "--dashboard-address", here, *given["worker_extra_args"]]
    if given["walltime"] is None:
        del given["walltime"]
    else:
        arguments = [*lifetime(given["walltime"], kind), *arguments]
    given["worker_extra_args"] = arguments
    exports = {dask_variable(key): str(value) for key, value in UNPROFILED.items()}
    exports[imports.SAFE] = "1"
    if "GANDASK_CACHE" in os.environ:
        exports["GANDASK_CACHE"] = str(Path(os.environ["GANDASK_CACHE"]).absolute())
    prologue = [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    if own := os.pathsep.join(imports.folders()):
        prologue.append(f"export PYTHONPATH={shlex.quote(own)}${{PYTHONPATH:+:$PYTHONPATH}}")
    # a user's own lines come last, and so have the last word
    given["job_script_prologue"] = [*prologue, *given["job_script_prologue"]]
    return given


def dask_variable(key: str) -> str:
    """Name the environment variable that sets a key of Dask's configuration.

    Examples
    --------
    >>> dask_variable("distributed.worker.profile.enabled")
    'DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED'
    """
    return "DASK_" + key.replace(".", "__").replace("-", "_").upper()


def _ask_slurm(script: str) -> None:
    """Let Slurm check a job without submitting it: a job it refuses would go unnoticed later."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh", encoding="utf-8") as file:
        file.write(script)
        file.flush()
        asked = subprocess.run(
            ["sbatch", "--test-only", file.name], capture_output=True, text=True, check=False
        )
    if asked.returncode:
        raise ClusterError(f"Slurm refuses the job: {asked.stderr.strip()}")
