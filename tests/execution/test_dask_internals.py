"""What gandask takes for granted of Dask's private parts: one test for each use."""

import threading
import time

import dask
import pytest
from conftest import until
from distributed import Client, LocalCluster, get_worker

import gandask as gd
from gandask.core import ClusterError, TaskError
from gandask.execution import dask_internals
from gandask.execution.dask_internals import (
    forget_credentials,
    forget_worker,
    incoming,
    keep_copies,
    proxied,
    reaching_the_scheduler,
    span_of,
    tend,
    tolerate,
    wait_for_workers,
)

SOON = 120
released = threading.Event()


@pytest.fixture(scope="module")
def cluster():
    """Two workers in this process, where scheduler and workers can be looked into."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
    ) as made:
        yield made


@pytest.fixture(scope="module")
def client(cluster):
    with Client(cluster) as made:
        yield made


def nowhere(client, *, loose):
    """Send a task to a worker that there is not, and wait until it cannot be run."""
    gone = "inproc://gone/1/2"
    with dask.annotate(workers=[gone], allow_other_workers=loose):
        future = client.get({f"task-{loose}": (abs, -1)}, f"task-{loose}", sync=False)
    scheduler = client.cluster.scheduler
    # or Dask found another one for it by itself
    until(
        lambda: f"task-{loose}" in {task.key for task in scheduler.unrunnable} or future.done(),
        "a task that cannot be run",
    )
    return gone, future


def test_workers_are_told_by_address_with_name_and_time(client):
    told = client.run_on_scheduler(tend, {})
    assert told.keys() == client.scheduler_info(n_workers=-1)["workers"].keys()
    for name, heard, stuck in told.values():
        assert name in ("0", "1")
        assert not stuck
        assert abs(time.time() - heard) < 60


@pytest.fixture
def release():
    """Let the tasks of a test go on that wait for it; in any case when it is over."""
    released.clear()
    yield released.set
    released.set()


def wait_for_release():
    return released.wait(SOON)


def test_a_worker_with_full_memory_is_stuck_once_it_does_nothing(
    cluster, client, release, monkeypatch
):
    worker = cluster.workers[0]
    known = cluster.scheduler.workers[worker.address]
    future = client.submit(wait_for_release, workers=[worker.address], pure=False)

    def stuck():
        return client.run_on_scheduler(tend, {})[worker.address][2]

    with monkeypatch.context() as patch:
        until(lambda: known.executing, "a task under way")
        patch.setattr(worker.memory_manager, "memory_pause_fraction", 1e-9)
        until(lambda: known.status.name == "paused", "full memory")
        assert not stuck()
        release()
        assert future.result(timeout=SOON)
        until(stuck, "a worker that does nothing")
    until(lambda: not stuck(), "a worker that goes on")


def test_a_bound_task_waits_for_its_worker_and_goes_to_the_one_in_its_place(client):
    gone, future = nowhere(client, loose=False)
    client.run_on_scheduler(tend, {})
    time.sleep(0.1)
    assert future.status == "pending"  # it is not freed: it has a place
    here = sorted(client.scheduler_info(n_workers=-1)["workers"])[1]
    client.run_on_scheduler(tend, {gone: here})
    assert future.result(timeout=SOON) == 1
    assert [list(holders) for holders in client.who_has([future]).values()] == [[here]]


def test_a_task_that_may_go_elsewhere_is_freed(client):
    _, future = nowhere(client, loose=True)
    client.run_on_scheduler(tend, {})
    assert future.result(timeout=SOON) == 1


def test_a_worker_is_forgotten(cluster):
    with Client(cluster) as client:
        before = set(client.scheduler_info(n_workers=-1)["workers"])
        cluster.scale(3)
        client.wait_for_workers(3)
        (new,) = set(client.scheduler_info(n_workers=-1)["workers"]) - before
        client.run_on_scheduler(forget_worker, new)
        assert new not in client.run_on_scheduler(tend, {})
        cluster.scale(2)


def test_deaths_are_tolerated_by_the_scheduler(cluster):
    before = cluster.scheduler.allowed_failures
    tolerate(cluster, before + 7)
    try:
        assert cluster.scheduler.allowed_failures == before + 7
    finally:
        tolerate(cluster, before)


def test_what_came_in_is_logged_with_sizes_and_times(client):
    def look(value):
        log, held = incoming(get_worker())
        return log[-1] if log else None, [key for key in log[-1]["keys"] if key in held]

    one, other = sorted(client.scheduler_info(n_workers=-1)["workers"])
    there = client.submit(bytes, 1000, workers=[one], pure=False)
    entry, held = client.submit(look, there, workers=[other], pure=False).result(timeout=SOON)
    assert entry["keys"].keys() == {there.key}
    assert entry["keys"][there.key] >= 1000
    assert held == [there.key]
    assert 0 <= entry["stop"] - entry["start"] < 10
    assert abs(entry["stop"] - time.time()) < 60


def test_graphs_of_one_run_share_a_span(client):
    span = span_of("gandask-test")
    assert span["name"] == ("gandask-test",)
    before = len(client.cluster.scheduler.extensions["spans"].spans)
    for number in range(3):
        with dask.annotate(span=span):
            client.get({f"spanned-{number}": (abs, -number)}, f"spanned-{number}")
    after = client.cluster.scheduler.extensions["spans"].spans
    assert len(after) <= before + 1
    assert span["ids"][0] in after


def test_credentials_are_closed():
    class File:
        closed = False

        def close(self):
            self.closed = True

    class Cluster:
        def __init__(self):
            self._job_key, self._job_number, self.other = File(), 3, File()

    cluster = Cluster()
    forget_credentials(cluster)
    assert cluster._job_key.closed
    assert not cluster.other.closed


def test_jobqueue_keeps_its_credentials_where_they_are_looked_for(tmp_path):
    jobqueue = pytest.importorskip("dask_jobqueue")
    with jobqueue.SLURMCluster(
        cores=1, memory="1GB", security=True, shared_temp_directory=str(tmp_path),
        scheduler_options={"dashboard_address": None, "host": "127.0.0.1"},
    ) as cluster:  # fmt: skip
        kept = list(tmp_path.iterdir())
        assert kept
        forget_credentials(cluster)
        assert not list(tmp_path.iterdir())


def test_a_browser_reaches_a_server_by_the_same_proxy_as_dask():
    assert proxied("localhost", 5006) == "http://localhost:5006/"
    with dask.config.set({"distributed.dashboard.link": "https://hub/proxy/{port}/status"}):
        assert proxied("localhost", 5006) == "https://hub/proxy/5006/"


def test_a_closed_client_is_told_of_in_our_words(cluster):
    client = Client(cluster)
    client.close()
    with pytest.raises(ClusterError, match="cannot be reached"), reaching_the_scheduler(client):
        client.submit(abs, 1).result()


def test_copies_of_states_stay_and_others_are_dropped(client, cluster):
    made = [client.submit(dict, key=key) for key in ("state-1", "other-1")]
    client.replicate(made)
    for _ in range(2):  # a second time changes nothing
        client.run_on_scheduler(keep_copies, "state-")
    client.amm.run_once()
    holders = {key: task.who_has for key, task in cluster.scheduler.tasks.items()}
    until(lambda: len(holders["other-1"]) == 1, "a copy that is dropped")
    assert len(holders["state-1"]) == 2
    assert len(cluster.scheduler.extensions["amm"].policies) == 1


def test_a_scheduler_that_lacks_a_module_is_told_of(client):
    lacking = pytest.raises(ClusterError, match="lacks what the client has")
    with lacking, reaching_the_scheduler(client):
        raise RuntimeError("Error during deserialization") from ModuleNotFoundError("own")
    with pytest.raises(TaskError), reaching_the_scheduler(client):
        raise TaskError("as it is")


def test_a_client_that_owns_its_workers_waits_without_the_cluster():
    with gd.cluster.local(1) as client:
        kept = client.cluster.scheduler_info
        client.wait_for_workers(1, timeout=SOON)
        with pytest.raises(TimeoutError, match="1/2"):
            client.wait_for_workers(2, timeout=0.3)
        with pytest.raises(ValueError, match="expected at least 1"):
            wait_for_workers(client, 0, None)
        # with another in its place, the next worker that leaves is not known to the cluster, whose
        # watch ends by a KeyError: nobody is replaced any more
        assert client.cluster.scheduler_info is kept


def test_everything_here_has_its_test():
    said = {name for name in vars(dask_internals) if not name.startswith("_")}
    public = {
        name
        for name in said
        if getattr(vars(dask_internals)[name], "__module__", "") == dask_internals.__name__
    }
    assert public <= set(globals())
