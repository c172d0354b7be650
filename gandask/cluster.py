"""Clusters to train on: where a client comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client


@contextlib.contextmanager
def local(workers: int) -> Iterator[Client]:
    """Start single-threaded worker processes on this machine, and stop them at the end.

    Parameters
    ----------
    workers : int
        Number of processes; one per core is usual.

    Examples
    --------
    >>> with local(2) as client:  # doctest: +SKIP
    ...     gandask.run(grid, client=client)
    """
    import dask
    from distributed import Client, LocalCluster

    # read before torch is loaded: a second thread per process only makes the cores thrash
    environment = {"distributed.nanny.pre-spawn-environ.OMP_NUM_THREADS": 1}
    with (
        dask.config.set(environment),
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client
