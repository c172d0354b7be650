"""What all tests share: a cache of their own, small methods, and real clusters."""

from __future__ import annotations

import os
import time

import pytest
import toy  # noqa: F401  # for whatever opens a run of it
from browser import launching

from gandask import data
from gandask.methods import METHODS, testing


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark the tests that ask for a browser."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Keep decoded data and classifiers of the tests apart from the user's.

    Those of the processes that run at once, which share the folder above, lie in one place.
    """
    at_once = "PYTEST_XDIST_WORKER" in os.environ
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if at_once else base) / "cache"
    before = os.environ.get("GANDASK_CACHE")
    os.environ["GANDASK_CACHE"] = str(folder)
    yield folder
    os.environ.pop("GANDASK_CACHE")
    if before is not None:
        os.environ["GANDASK_CACHE"] = before


@pytest.fixture(scope="session", autouse=True)
def data_home(tmp_path_factory):
    """Keep what simulated clients keep, and keys, apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data_home")))
        yield


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """Give a test of data a cache of its own, and nothing that was loaded."""
    monkeypatch.setenv("GANDASK_CACHE", str(tmp_path / "cache"))
    data.load.cache_clear()
    yield tmp_path / "cache"
    data.load.cache_clear()


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    """How pytest-playwright launches the browser that all tests of a process share."""
    return browser_type_launch_args | launching()


@pytest.fixture(scope="session")
def clients(cache, request):
    """Real clusters of one and of two single-threaded worker processes, by number of workers."""
    return testing.clients_of(request.config)


def until(true, what, seconds=120):
    """Wait until something is true, as long as a busy machine may take, and give what it was."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, f"after {seconds} s still not: {what}"
        time.sleep(0.05)
    return found


TINY = {
    "grid": {
        "data": "ring8",
        "network": "small_mlp",
        "shape": (2, 2),
        "rounds": 3,
        "batch_size": 500,
        "data_fraction": 0.1,
        "fitness_samples": 100,
        "score_samples": 100,
        "final_samples": 200,
        "learning_rate": 1e-3,
    },
    "mggan": {
        "data": "ring8",
        "base": "small_mlp",
        "groups": 3,
        "iterations": 40,
        "interval": 15,
        "adjust_learning_rate": True,
        "adjustment_region": 3,
        "iterations_per_round": 10,
        "score_every": 20,
        "kept_samples": 5,
        "score_samples": 100,
        "final_samples": 200,
        "learning_rate": 1e-3,
    },
    "bpgan": {
        "data": "ring8",
        "base": "small_mlp",
        "iterations": 3,
        "score_every": 2,
        "score_samples": 100,
        "final_samples": 200,
        "learning_rate": 1e-3,
    },
    "data_parallel": {
        "data": "ring8",
        "base": "small_mlp",
        "nodes": 2,
        "iterations": 3,
        "score_every": 2,
        "score_samples": 100,
        "final_samples": 200,
        "learning_rate": 1e-3,
    },
    "per_label": {
        "data": "digits",
        "base": "small_mlp",
        "labels": (0, 3, 7),
        "budget": "iterations:7",
        "share": "samples",
        "iterations_per_round": 3,
        "score_every": 3,
        "kept_samples": 2,
        "batch_size": 20,
        "score_samples": 100,
        "final_samples": 200,
        "learning_rate": 1e-3,
    },
    "privacy": {
        "data": "digits",
        "base": "small_mlp",
        "clients": 2,
        "alpha": 0.7,
        "teacher_iterations": 3,
        "teacher_mode": "live",
        "local_samples": 100,
        "batch_size": 20,
        "iterations": 6,
        "exchange_every": 2,
        "audit_every": 2,
        "audit_samples": 20,
        "score_every": 2,
        "score_samples": 100,
        "final_samples": 200,
        "learning_rate": 1e-3,
    },
    "toy": {},
}
"""The smallest settings of each method that exercise all of it. A new method adds its own."""


def tiny(name: str = "grid", **changes):
    """Make a method that runs in about a second; the toy takes a few hundredths."""
    return METHODS[name](**TINY[name] | changes)


@pytest.fixture
def grid():
    return tiny


@pytest.fixture
def said(caplog):
    """Give what gandask logged: Dask's workers of an earlier test may still have a word to say."""
    return lambda: [record.getMessage() for record in caplog.records if record.name == "gandask"]


@pytest.fixture
def assert_same():
    """Assert that two runs came to the same, bit for bit, but for what the machine took."""
    return testing.assert_same
