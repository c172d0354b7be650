"""`gandask list`: a line for each run, without any Dataset."""

import datetime
import json
import shutil
import subprocess
import sys

import pytest
from test_cli import call, refused

import gandask as gd
from gandask.commands.listing import table
from gandask.methods.testing import Toy
from gandask.store import create, scored
from gandask.store.listing import folders, listed, named, within


def made(path, state="stopped", round=3, best=("distance", 0.25), **changes):
    store = create(path, Toy(**{"nodes": 2, "rounds": 9} | changes), {})
    store.describe(state, round, best=scored(best))
    store.release()
    return path


def lines(*arguments):
    result = call("list", *arguments)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_a_run_has_a_line(tmp_path):
    made(tmp_path / "a", rate=0.25)
    made(tmp_path / "deep" / "er" / "b", "finished", 9, None)
    found, broken = listed(tmp_path)
    assert not broken
    now = datetime.datetime.fromisoformat(found[0].updated) + datetime.timedelta(hours=3)
    title, *rows = table(sorted(found, key=lambda run: run.name), now).splitlines()
    assert title.split() == [
        "run",
        "state",
        "method",
        "data",
        "round",
        "best",
        "written",
        "differing",
        "settings",
    ]
    first, second = (" ".join(row.split()) for row in rows)
    assert first.startswith("a stopped toy – 3 of 9 0.25 distance so far 3 h ago rate=0.25")
    assert second.startswith("deep/er/b finished toy – 9 of 9 – 3 h ago rate=0.5")
    for other in ("nodes", "rounds", "seed"):
        assert f"{other}=" not in first


def test_a_finished_run_tells_its_final_score(tmp_path):
    ds = gd.run(Toy(nodes=2, rounds=2), store=tmp_path / "run")
    final = float(ds["final_distance"].min())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["best"] == {
        "score": "distance",
        "value": final,
        "final": True,
    }
    assert f" {final:.4g} distance  " in lines(tmp_path)[1]


def test_a_run_under_way_tells_its_score_so_far(tmp_path):
    run = gd.start(Toy(nodes=2, rounds=4000, sleep=0.02), store=tmp_path / "run")
    run.stop()
    ds = run.wait(60)
    told = run.store.description["best"]
    last = ds["distance"].isel(round=-1).min().item()
    assert told == {"score": "distance", "value": last, "final": False}


def test_links_are_followed_and_each_run_is_listed_once(tmp_path):
    made(tmp_path / "here" / "a")
    made(tmp_path / "there" / "b")
    (tmp_path / "here" / "also a").symlink_to(tmp_path / "here" / "a")
    (tmp_path / "here" / "b").symlink_to(tmp_path / "there" / "b")
    (tmp_path / "here" / "circle").symlink_to(tmp_path)
    found, broken = listed(tmp_path / "here")
    assert sorted(run.name for run in found) == ["a", "b"]
    assert not broken


def test_one_run_is_found_by_its_name_without_a_look_at_the_others(tmp_path):
    for name in ("a", "b/c/d/e", "b/.hidden/f", "too/deep/to/be/listed"):
        made(tmp_path / "runs" / name)
    made(tmp_path / "runs" / "a" / "inner")
    made(tmp_path / "secret")
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "secret")
    root = tmp_path / "runs"
    names = [named(root, path) for path in folders(root)]
    assert sorted(names) == ["a", "b/c/d/e", "link"]
    for name in names:
        assert within(root, name) == root / name
    others = ("a/inner", "b", "b/.hidden/f", "too/deep/to/be/listed", "", ".", "..", "/", "//a")
    strange = ("../secret", "a/../../secret", str(tmp_path / "secret"), "a/", "a\0", "a" * 1000)
    for name in (*others, *strange):
        assert within(root, name) is None
    assert within(tmp_path / "secret", str(tmp_path / "secret")) == tmp_path / "secret"


@pytest.mark.parametrize("count", [1, 7])
def test_what_is_broken_takes_one_line(tmp_path, count):
    made(tmp_path / "run", "finished")
    for number in range(count):
        shutil.copytree(tmp_path / "run", tmp_path / f"broken{number}")
        (tmp_path / f"broken{number}" / "run.json").write_text("{")
    _, row, told = lines(tmp_path)
    assert row.startswith("run ")
    if count == 1:
        assert told.startswith("broken0 cannot be shown: ")
        assert "run.json cannot be read" in told
    else:
        assert told.startswith("7 runs cannot be shown: broken0, broken1,")
        assert "broken4 and 2 more; gandask show RUN says why" in told


def test_some_states_alone(tmp_path):
    made(tmp_path / "a", "failed")
    made(tmp_path / "b", "finished")
    _, row, told = lines(tmp_path, "--state", "failed")
    assert row.startswith("a ")
    assert told == "1 failed: gandask show RUN says why, gandask resume RUN goes on"
    assert lines(tmp_path, "--state", "paused") == [f"no run like this in {tmp_path}"]
    assert "did you mean 'failed'?" in refused("list", tmp_path, "--state", "faild")


def test_strangers_facts_are_no_trouble(tmp_path):
    made(tmp_path / "run", "finished")
    file = tmp_path / "run" / "run.json"
    told = json.loads(file.read_text()) | {"best": {"value": "\x1b]0;"}, "updated": "\x1b"}
    file.write_text(json.dumps(told))
    assert " ".join(lines(tmp_path)[1].split()) == "run finished toy – 3 of 9 – –"


def test_thousands_of_runs_take_no_heavy_library(tmp_path):
    made(tmp_path / "run", "finished")
    for number in range(2000):
        folder = tmp_path / "many" / f"{number:04}"
        folder.mkdir(parents=True)
        for name in ("run.json", "config.toml"):
            (folder / name).hardlink_to(tmp_path / "run" / name)
    code = (
        "import sys, pathlib\n"
        "from gandask.store.listing import folders, listed, named, within\n"
        "found, broken = listed(pathlib.Path(sys.argv[1]))\n"
        "print(len(found), len(broken), {'torch', 'xarray', 'dask'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "2001 0 set()\n"
