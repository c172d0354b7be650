"""Whatever reaches into the private parts of Dask: all of it is here.

Each use has a test of its own in ``tests/execution/test_dask_internals.py``, which says what it
takes for granted; the oldest and the newest Dask that are supported run it.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dask

from gandask.core import ClusterError, TaskError

if TYPE_CHECKING:
    from distributed import Client


@contextlib.contextmanager
def reaching_the_scheduler(client: Client) -> Iterator[None]:
    """Say in our own words what Dask raises when scheduler or workers are lost.

    Raises
    ------
    ClusterError
        If the scheduler cannot be reached, lacks a module that the tasks need, or was told to
        cancel them.
    """
    from concurrent.futures import CancelledError

    from distributed.client import ClosedClientError

    try:
        yield
    except (ModuleNotFoundError, RuntimeError) as error:
        # what Dask raises where it cannot read tasks has the reason as its cause
        reason = error if isinstance(error, ModuleNotFoundError) else error.__cause__
        if type(error) is TaskError or not isinstance(reason, ModuleNotFoundError):
            raise
        raise ClusterError(
            f"the scheduler lacks what the client has ({reason}): start scheduler and workers "
            "from the same environment, where modules of your own can be imported"
        ) from error
    except (CancelledError, ClosedClientError, OSError) as error:
        cancelled = isinstance(error, CancelledError) and "connection" not in str(error)
        happened = (
            "the run's tasks were cancelled, as client.restart() does"
            if cancelled
            else "the scheduler cannot be reached any more"
        )
        raise ClusterError(
            f"{happened} ({type(error).__name__}: {error}); a run with a store continues from its "
            "last checkpoint: gandask resume DIR"
        ) from error


# --- On the scheduler -----------------------------------------------------------------------------


def tend(
    moved: Mapping[str, str], dask_scheduler: Any = None
) -> dict[str, tuple[str, float, bool]]:
    """Give a scheduler's workers by address: name, when each was last heard from, whether stuck.

    A worker pauses itself when its memory is all but full; it is stuck when it has ended what it
    was at by then.

    On the way, free waiting tasks of workers that are gone, where others would do. Dask does so as
    long as there is a worker; a task that came to wait without any stays bound to the address it
    was sent to, for ever.

    Parameters
    ----------
    moved : mapping of str to str
        By the address of a worker that is gone, that of the one in its place.
    """
    placed = [
        task
        for task in dask_scheduler.unrunnable
        if not moved.keys().isdisjoint(task.worker_restrictions or ())
    ]
    for task in placed:
        task.worker_restrictions = {moved.get(one, one) for one in task.worker_restrictions}
    bound = [
        task
        for task in dask_scheduler.unrunnable
        if task.loose_restrictions and not dask_scheduler.valid_workers(task)
    ]
    for task in bound:
        task.worker_restrictions = set()
    # taken up from the last to the first
    waiting = sorted({*bound, *placed}, key=operator.attrgetter("priority"), reverse=True)
    freed = {task.key: "processing" for task in waiting}
    dask_scheduler.transitions(freed, stimulus_id="gandask-heartbeat")
    return {
        address: (
            str(worker.name),
            worker.last_seen,
            worker.status.name == "paused" and not worker.executing,
        )
        for address, worker in dask_scheduler.workers.items()
    }


def keep_copies(prefix: str, dask_scheduler: Any = None) -> None:
    """Let what was fetched stay where it is as long as it is needed: keys with a prefix.

    Every two seconds Dask's active memory manager drops all copies but one of what no waiting task
    reads, and the one that it leaves need not be the first: what takes longer would travel again.

    Parameters
    ----------
    prefix : str
        Of keys; others are treated as before.
    """
    from distributed.active_memory_manager import ReduceReplicas

    class ReduceOthers(ReduceReplicas):
        def run(self) -> Iterator[Any]:
            return (drop for drop in super().run() if not str(drop[1].key).startswith(prefix))

    manager = dask_scheduler.extensions.get("amm")
    usual = {one for one in manager.policies if type(one) is ReduceReplicas} if manager else set()
    for one in usual:
        manager.policies.remove(one)
        manager.add_policy(ReduceOthers())


async def forget_worker(worker: str, dask_scheduler: Any) -> None:
    """Make a scheduler forget a worker that does not answer, as its own time-out would."""
    await dask_scheduler.remove_worker(worker, stimulus_id="gandask-heartbeat")


def tolerate(cluster: Any, deaths: int) -> None:
    """Let so many workers die under one task of a cluster before the task is given up."""
    cluster.scheduler.allowed_failures = deaths


# --- On a worker ----------------------------------------------------------------------------------


def incoming(worker: Any) -> tuple[Sequence[Mapping[str, Any]], Container[str]]:
    """Give a worker's log of what came in, the last at the end, and the keys that it holds.

    Returns
    -------
    sequence of mapping
        ``start`` and ``stop`` in seconds since the epoch, and ``keys`` with their sizes in bytes.
    container of str
    """
    return list(worker.transfer_incoming_log), worker.data


# --- In the client --------------------------------------------------------------------------------


def wait_for_workers(client: Client, workers: int, timeout: float | None) -> None:
    """Let a client wait for workers itself.

    Where it has a cluster, Dask lets that wait, which puts another list in place of its own: a
    worker that leaves at that moment ends its watch over workers, and none is replaced any more.

    Raises
    ------
    TimeoutError
        If they are not there in so many seconds.
    """
    if workers < 1:
        raise ValueError(f"n_workers={workers}: expected at least 1")
    client.sync(client._wait_for_workers, workers, timeout=timeout)


def span_of(name: str) -> Any:
    """Make the annotation of one span for all graphs of a run.

    Otherwise the scheduler remembers a span for every graph.
    """
    from distributed import span

    with span(name):
        return dask.get_annotations()["span"]


def forget_credentials(cluster: Any) -> None:
    """Delete the files with a batch cluster's credentials.

    dask-jobqueue keeps them as long as its object lives.
    """
    for name, file in vars(cluster).items():
        if name.startswith("_job_") and hasattr(file, "close"):
            file.close()


def proxied(host: str, port: int) -> str:
    """Give the address of a server of this process as a browser reaches it, perhaps by a proxy."""
    from distributed.utils import format_dashboard_link

    return str(format_dashboard_link(host, port)).removesuffix("status")
