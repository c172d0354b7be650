"""Where workers import from: not from the folder that they are started in, but as the client."""

import os
import signal
import sys

import pytest
from conftest import until

import gandask as gd
from gandask.cluster import imports

SOON = 60
# code that goes unnoticed: the module that was meant comes in its place
RAN = """
import importlib, os, sys
open(os.path.join(os.path.dirname(__file__), "ran"), "a").write(__name__)
sys.path.remove("")
del sys.modules[__name__]
importlib.import_module(__name__)
"""
SPAWNED = ("multiprocessing", "random", "signal", "numpy", "torch", "distributed")


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    """Be in a stranger's folder, whose modules are called as those that workers begin with."""
    folder = tmp_path / "stranger"
    folder.mkdir()
    for name in SPAWNED:
        (folder / f"{name}.py").write_text(RAN)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Have a module of one's own where this process imports from."""
    folder = tmp_path / "own folder"
    folder.mkdir()
    (folder / "own_module.py").write_text("VALUE = 42\n")
    monkeypatch.syspath_prepend(folder)
    return folder


def told():
    import own_module

    return os.getpid(), own_module.VALUE


def test_local_workers_import_as_the_client_also_when_started_anew(strangers, own, monkeypatch):
    stop_tracker(monkeypatch)
    with gd.cluster.local(1) as client:
        assert imports.SAFE not in os.environ
        first, number = client.submit(told, pure=False).result(SOON)
        os.kill(first, signal.SIGKILL)
        until(lambda: not client.nthreads(), "it is gone")
        second, number = client.submit(told, pure=False).result(SOON)
    assert first != second
    assert number == 42
    assert imports.SAFE not in os.environ
    assert not (strangers / "ran").exists()


def stop_tracker(monkeypatch):
    """Let multiprocessing start its own process anew: it is one for the life of this one."""
    from multiprocessing import resource_tracker

    fresh = resource_tracker.ResourceTracker()
    for name in ("ensure_running", "register", "unregister", "getfd"):
        monkeypatch.setattr(resource_tracker, name, getattr(fresh, name))
    monkeypatch.setattr(resource_tracker, "_resource_tracker", fresh)


@pytest.mark.parametrize("before", [None, "", "1"])
def test_the_environment_is_as_before_whoever_is_done_first(monkeypatch, before):
    if before is None:
        monkeypatch.delenv(imports.SAFE, raising=False)
    else:
        monkeypatch.setenv(imports.SAFE, before)
    first, second = imports.safely(), imports.safely()
    for entered in (first, second):
        entered.__enter__()
        assert os.environ[imports.SAFE] == "1"
    first.__exit__(None, None, None)
    assert os.environ[imports.SAFE] == "1"
    second.__exit__(None, None, None)
    assert os.environ.get(imports.SAFE) == before


def test_what_workers_elsewhere_import_from_is_the_users_own(strangers, own, monkeypatch):
    assert imports.folders()[0] == str(own)
    assert str(strangers) not in imports.folders()
    assert not [one for one in imports.folders() if one.startswith((sys.prefix, sys.base_prefix))]
    monkeypatch.syspath_prepend("")  # as a notebook has it, and python -m
    assert imports.folders()[:2] == [str(strangers), str(own)]
