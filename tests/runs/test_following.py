"""Following: what is read bit by bit is what the run came to, whatever happens to its folder."""

import gc
import json
import os
import shutil
import time

import pytest

import gandask as gd
from gandask.runs import following
from gandask.runs.following import Followed, follow
from gandask.store import Store


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(following, "PATIENCE", 0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, cache):
    from conftest import tiny

    path = tmp_path_factory.mktemp("runs") / "whole"
    gd.run(tiny(), store=path, checkpoint_every=1)
    return path


@pytest.fixture
def growing(whole, tmp_path):
    """A run under way, with the lines of its steps and events to come."""
    path = tmp_path / "growing"
    shutil.copytree(whole, path)
    shutil.rmtree(path / "dataset.zarr")
    lines = {
        name: (path / name).read_bytes().splitlines(keepends=True)
        for name in ("steps.jsonl", "events.jsonl")
    }
    for name in lines:
        (path / name).write_bytes(b"")
    tell(path, state="running", process=os.getpid(), round=0)
    return path, lines


def tell(path, **changes):
    told = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(told | changes))


def add(path, name, data):
    with (path / name).open("ab") as file:
        file.write(data)


def test_each_look_reads_what_was_added(growing, whole, assert_same):
    path, lines = growing
    followed = Followed(path)
    versions = [followed.look()]
    assert followed.ds.sizes["round"] == 0
    for line in lines["steps.jsonl"]:
        add(path, "steps.jsonl", line[:30])  # half written
        followed.look()
        add(path, "steps.jsonl", line[30:])
        versions.append(followed.look())
        assert followed.look() == versions[-1], "nothing is new"
        assert_same(followed.ds, gd.open_run(path).ds)
    assert sorted(set(versions)) == versions
    for line in lines["events.jsonl"]:
        add(path, "events.jsonl", line)
    followed.look()
    assert followed.ds.equals(gd.open_run(path).ds)
    assert followed.ds.sizes["event"] == len(lines["events.jsonl"]) > 0
    tell(path, state="finished")
    followed.look()
    assert followed.state == "finished"
    assert_same(followed.ds, gd.open_run(whole).ds)
    assert followed.rounds == 3


def test_a_finished_run_is_its_dataset(whole):
    followed = Followed(whole)
    followed.look()
    assert followed.ds.equals(gd.open_run(whole).ds)
    assert (followed.state, followed.rounds) == ("finished", 3)


def test_a_run_that_is_continued_is_read_anew(growing, whole, assert_same):
    path, lines = growing
    steps = lines["steps.jsonl"]
    for line in steps:
        add(path, "steps.jsonl", line)
    followed = Followed(path)
    followed.look()
    # taken up by another process after the first round: the rest is to be computed again
    (path / "again").write_bytes(b"".join(steps[:3]))
    (path / "again").replace(path / "steps.jsonl")
    tell(path, writer="another", round=1)
    followed.look()
    assert followed.ds.sizes["round"] == 1
    for line in steps[3:]:
        add(path, "steps.jsonl", line)
    followed.look()
    assert_same(followed.ds, gd.open_run(whole).ds)


def test_a_file_that_is_replaced_is_read_anew(growing):
    path, lines = growing
    for line in lines["steps.jsonl"]:
        add(path, "steps.jsonl", line)
    followed = Followed(path)
    followed.look()
    (path / "again").write_bytes(lines["steps.jsonl"][0] + lines["steps.jsonl"][1])
    (path / "again").replace(path / "steps.jsonl")
    followed.look()
    assert followed.ds.sizes["round"] == 1


def test_another_run_under_the_same_name_is_another_run(whole, tmp_path, grid):
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    followed = Followed(path)
    followed.look()
    shutil.rmtree(path)
    with pytest.raises(gd.StoreError, match=r"cannot be read"):
        followed.look()
    gd.run(grid(shape=(1, 3), rounds=2), store=path)
    followed.look()
    assert dict(followed.ds["fid"].sizes) == {"round": 2, "row": 1, "col": 3}


@pytest.mark.parametrize("name", ["run.json", "config.toml"])
def test_what_cannot_be_read_is_told_until_it_can_be(whole, tmp_path, name):
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    kept = (path / name).read_bytes()
    (path / name).write_bytes(kept[:40])
    followed = Followed(path)
    for _ in range(2):
        with pytest.raises(gd.StoreError, match=rf"{name} cannot be read"):
            followed.look()
    (path / name).write_bytes(kept)
    assert followed.look() > 0
    assert followed.ds.sizes["round"] == 3


def test_a_damaged_line_is_told(growing):
    path, lines = growing
    add(path, "steps.jsonl", lines["steps.jsonl"][0] + b"{}\n")
    with pytest.raises(gd.StoreError, match=r"steps\.jsonl, line 2 is damaged"):
        Followed(path).look()


def test_a_change_of_settings_is_seen(grid, tmp_path):
    run = gd.start(grid(rounds=200, shape=(3, 3)), store=tmp_path / "run")
    followed = Followed(run.store.path)
    followed.look()
    run.change(neighbourhood="moore")
    until = time.monotonic() + 60
    while not run.store.description.get("begun_with") and time.monotonic() < until:
        time.sleep(0.05)
    run.stop()
    ds = run.wait(60)
    followed.look()
    assert followed.ds.sizes["neighbour"] == ds.sizes["neighbour"] == 9
    assert followed.ds.equals(ds)


def test_one_look_serves_all_who_watch(whole, monkeypatch):
    monkeypatch.setattr(following, "PATIENCE", 60.0)
    looks = []
    monkeypatch.setattr(Followed, "_look", lambda self: looks.append(self))
    one, other = follow(whole), follow(whole.parent / "." / whole.name)
    assert one is other
    for _ in range(10):
        one.look()
        other.look()
    assert len(looks) == 1


def test_who_is_watched_no_more_is_forgotten(whole):
    followed = follow(whole)
    followed.look()
    del followed
    gc.collect()
    assert whole.resolve() not in following._followed


def test_a_store_is_not_written_to(whole):
    before = {file: file.stat().st_mtime_ns for file in whole.rglob("*")}
    followed = Followed(whole)
    followed.look()
    assert followed.ds.sizes["round"] == 3
    assert {file: file.stat().st_mtime_ns for file in whole.rglob("*")} == before
    assert Store.open(whole).state == "finished"
