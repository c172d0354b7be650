"""A whole cluster within one allocation of Slurm, encrypted: what ``srun`` starts.

dask-jobqueue's runner decides the roles; the credentials that they share are ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from distributed import Client, Scheduler
from distributed.core import rpc

from gandask.cluster import credentials
from gandask.cluster.batch import jobqueue
from gandask.cluster.local import UNPROFILED
from gandask.core import ClusterError

SLURMRunner: Any = jobqueue().slurm.SLURMRunner


WAIT = 60.0  # seconds that tasks of one allocation may start apart


class Allocation(SLURMRunner):
    """Take one of the roles in an allocation: scheduler, client or worker."""

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        step = f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_STEP_ID', 0)}"
        self.credentials = folder / f"srun-{step}.tls"
        self.security: Any = None  # once there are credentials
        super().__init__(
            scheduler_file=str(folder / f"srun-{step}.json"),
            scheduler_options={"dashboard_address": "127.0.0.1:0", "protocol": "tls://"},
            worker_class="gandask.cluster.imports.SafeNanny",
            worker_options={
                "nthreads": 1,
                "death_timeout": WAIT,
                "config": UNPROFILED,
                "dashboard_address": "127.0.0.1:0",
                "protocol": "tls://",
                **options,
            },
        )

    async def before_scheduler_start(self) -> None:
        """Make credentials, in a file that only the user can read."""
        made = credentials.make()
        told = json.dumps({"certificate": made.tls_ca_file, "key": made.tls_scheduler_key})
        partial = self.credentials.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        partial.write_text(told, encoding="utf-8")
        partial.replace(self.credentials)
        await self._secure()
        self.scheduler_options["security"] = self.security

    async def before_worker_start(self) -> None:
        """Wait for the credentials."""
        await self._secure()
        self.worker_options["security"] = self.security

    async def before_client_start(self) -> None:
        """Wait for the credentials, and use them to end the scheduler too."""
        await self._secure()
        arguments = self.security.get_connection_args("client")
        self.scheduler_comm = rpc(self.scheduler_address, connection_args=arguments)

    async def on_scheduler_start(self, scheduler: Scheduler) -> None:
        """Nothing more is needed: the scheduler's file tells the others."""

    async def _secure(self) -> None:
        deadline = time.monotonic() + WAIT
        while not self.credentials.exists():
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"no credentials in {self.credentials} within {WAIT:.0f} s: the run has ended "
                    "already, or this folder is not shared"
                )
            await asyncio.sleep(0.1)
        told = json.loads(self.credentials.read_text(encoding="utf-8"))
        self.security = credentials.secured(told["certificate"], told["key"])


class AllocationClient(Client):
    """A client that ends the scheduler and workers of its allocation when it is closed."""

    def __init__(self, allocation: Allocation) -> None:
        self.allocation = allocation
        super().__init__(allocation.scheduler_address, security=allocation.security)

    def close(self, *arguments: Any, **options: Any) -> Any:
        """Close the client and end the other tasks."""
        if self.status == "closed":  # asked again at the end of the process, without a loop
            return None
        with contextlib.suppress(OSError):  # each would complain that the scheduler is gone
            self.retire_workers()
        closed = super().close(*arguments, **options)
        self.allocation.close()
        for file in (self.allocation.credentials, self.allocation.scheduler_file):
            file.unlink(missing_ok=True)
        return closed


def srun(folder: str | os.PathLike[str] = "gandask-jobs", **options: Any) -> Client:
    """Be a cluster within one allocation of Slurm: every task of ``srun`` calls this.

    The first task becomes the scheduler, the second goes on as the client, the others become
    workers: ``srun -n 6 gandask train demo --cluster srun`` has four. Only the client returns; the
    others end with it.

    Parameters
    ----------
    folder : path-like
        Where the tasks find each other, and the credentials: one that all nodes share.
    **options
        Of `distributed.Nanny`, such as ``interface`` and ``memory_limit``.

    Raises
    ------
    ClusterError
        Outside of ``srun``, or with fewer than three tasks.
    """
    tasks = int(os.environ.get("SLURM_NTASKS", "0"))
    if "SLURM_PROCID" not in os.environ or tasks < 3:
        raise ClusterError(
            f"cluster 'srun' needs at least three tasks (scheduler, client, worker), there "
            f"are {tasks}: start it as srun -n 6 gandask train ... --cluster srun"
        )
    shared = Path(folder).absolute()
    shared.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = signal.getsignal(signal.SIGINT)
    # how the other roles end: the runner sends itself this signal
    signal.signal(signal.SIGINT, lambda *_: sys.exit())
    allocation = Allocation(shared, options)
    signal.signal(signal.SIGINT, before)
    client = AllocationClient(allocation)
    try:
        # a worker that starts when all is over would wait for its scheduler
        client.wait_for_workers(1, timeout=WAIT)
    except TimeoutError as error:
        client.close()
        raise ClusterError(f"no task has become a worker within {WAIT:.0f} s") from error
    return client
