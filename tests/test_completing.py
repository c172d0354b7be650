"""What Tab completes, as click's own completion asks for it."""

import pytest
from click.shell_completion import ShellComplete

from gandask import cluster, core, presets
from gandask.__main__ import main
from gandask.commands.completing import KINDS
from gandask.methods.testing import Toy
from gandask.store import create


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    create(tmp_path / "runs" / "first", Toy(nodes=2), {}).release()
    return tmp_path


def completed(*words):
    *before, incomplete = words
    found = ShellComplete(main, {}, "gandask", "_GANDASK_COMPLETE").get_completions(
        before, incomplete
    )
    return [(item.type, item.value) for item in found]


def test_runs():
    for typed in ("", "ru", "runs/", "runs/f"):
        assert completed("show", typed) == [("plain", "runs/first")]
    assert completed("stop", "./r") == [("plain", "./runs/first")]
    assert completed("resume", "elsewhere") == [("dir", "elsewhere")]


def test_presets_and_runs():
    names = [("plain", name) for name in presets.names()]
    assert completed("train", "") == [*names, ("plain", "runs/first")]
    assert completed("train", "dem") == [("plain", "demo")]
    assert completed("train", "mine.to") == [("file", "mine.to")]


def test_settings():
    assert ("plain", "nodes=") in completed("resume", "runs/first", "--set", "")
    assert completed("change", "runs/first", "--set", "") == [("plain", "rate=")]
    assert completed("train", "demo", "--set", "neighbourh")[0] == ("plain", "neighbourhood=")
    assert completed("train", "nothing", "--set", "") == []


def test_clusters():
    assert completed("train", "demo", "--cluster", "s") == [
        ("plain", kind) for kind in KINDS if kind.startswith("s")
    ]
    with pytest.raises(core.SettingError) as refused:
        cluster.start("zzz")
    for kind in KINDS:
        assert kind in str(refused.value)
