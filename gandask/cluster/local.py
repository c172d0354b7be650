"""Workers on this machine, and clients that own their workers."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from distributed import Client, LocalCluster
from tornado.ioloop import PeriodicCallback

from gandask.cluster import credentials, imports
from gandask.core import SettingError
from gandask.execution.dask_internals import tolerate, wait_for_workers

FAILURES = 10  # workers that may die under one task: walltimes end and nodes fail in a long run
KEEP = 5.0  # seconds between two requests to replace workers that are gone
# Dask's profiler keeps the call stacks of the last hour: hundreds of megabytes in every worker
UNPROFILED = {"distributed.worker.profile.enabled": False}


class OwnedClient(Client):
    """A client that keeps its cluster at a number of workers, and stops it when it is closed."""

    def __init__(
        self, cluster: Any, workers: int, afterwards: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__(cluster)
        self.afterwards = afterwards
        # a worker that is lost is not replaced by the cluster itself; asking again is harmless
        self.keeper = PeriodicCallback(lambda: cluster.scale(workers), 1000 * KEEP)
        self.loop.add_callback(self.keeper.start)

    @property
    def dashboard_link(self) -> str:
        """Dask's dashboard, which listens on this machine alone."""
        return re.sub("//.*:", "//127.0.0.1:", super().dashboard_link)

    def wait_for_workers(self, n_workers: int, timeout: float | None = None) -> None:
        """Wait until a number of workers are there.

        Raises
        ------
        TimeoutError
            If they are not there in so many seconds.
        """
        wait_for_workers(self, n_workers, timeout)

    def close(self, *arguments: Any, **options: Any) -> Any:
        """Close the client and its cluster."""
        if self.status == "closed":  # asked again at the end of the process, without a loop
            return None
        self.loop.add_callback(self.keeper.stop)
        closed = super().close(*arguments, **options)
        self.cluster.close()
        self.afterwards()
        return closed


class OneByGPU(LocalCluster):
    """A local cluster whose workers see one GPU each, where there are several."""

    def __init__(self, gpus: int, **options: Any) -> None:
        self.gpus = gpus
        super().__init__(n_workers=0, worker_class=imports.SafeNanny, **options)

    def new_worker_spec(self) -> dict[str, Any]:
        """Describe the next worker."""
        spec: dict[str, Any] = super().new_worker_spec()
        if self.gpus < 2:
            return spec
        # the description is shared between workers: each gets a copy
        return {
            number: worker
            | {
                "options": worker["options"]
                | {"env": {"CUDA_VISIBLE_DEVICES": str(number % self.gpus)}}
            }
            for number, worker in spec.items()
        }


def check_workers(workers: int) -> None:
    """Raise SettingError for what is no number of workers."""
    if not isinstance(workers, int) or workers < 1:
        raise SettingError(f"workers={workers!r}: expected a whole number, at least 1")


def local(workers: int = 1) -> Client:
    """Start single-threaded worker processes on this machine; one per GPU where there are several.

    Traffic is encrypted and authenticated: other users of the machine get no answer.

    Parameters
    ----------
    workers : int
        Number of processes; one per core, or per GPU, is usual.

    Returns
    -------
    distributed.Client
        Closing it, or leaving its ``with`` block, stops the workers.

    Raises
    ------
    SettingError
        For what is no number of workers.

    Examples
    --------
    >>> with local(2) as client:  # doctest: +SKIP
    ...     gandask.run(grid, client=client)
    """
    check_workers(workers)
    import torch

    cluster = OneByGPU(
        torch.cuda.device_count(),
        threads_per_worker=1,
        host="127.0.0.1",
        security=credentials.make(),
        dashboard_address="127.0.0.1:0",
        config=UNPROFILED,
    )
    tolerate(cluster, FAILURES)
    cluster.scale(workers)
    client = OwnedClient(cluster, workers)
    client.wait_for_workers(workers)
    return client
