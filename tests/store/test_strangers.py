"""A run may be a stranger's, or damaged: nothing outside it is written, and nothing is believed."""

import contextlib
import functools
import hashlib
import json
import math
import operator
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr

import gandask as gd
from gandask.core import Report, files, journal
from gandask.core.files import parsed, read_whole
from gandask.core.journal import Bookmark, decoded, encoded
from gandask.methods.testing import Toy
from gandask.pages import report
from gandask.store import Store, checkpoint
from gandask.store.checkpoint import save_states
from gandask.store.steering import Command
from gandask.training.stored import description, read_states


@pytest.fixture(scope="module")
def made(cache, tmp_path_factory):
    """A run with two checkpoints, and what it came to."""
    path = tmp_path_factory.mktemp("runs") / "made"
    return path, gd.run(Toy(nodes=2, rounds=4), store=path, checkpoint_every=2)


@pytest.fixture
def run(made, tmp_path):
    """The run, stopped after its last round."""
    path = Path(shutil.copytree(made[0], tmp_path / "run"))
    shutil.rmtree(path / "dataset.zarr")
    tell(path, state="stopped")
    return path


def tell(path, **facts):
    file = path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def go_on(path):
    return gd.run(Toy(nodes=2, rounds=4), store=path, resume=True)


def events(ds, kind):
    return ds["event_detail"].values[ds["event_kind"].values == kind].tolist()


# ---- links


FILES = ("reports.jsonl", "steps.jsonl", "events.jsonl", "commands.jsonl", "run.lock", "run.json")
PARTIAL = ("run.json.partial", "config.toml.partial", "layout.json.partial", "steps.jsonl.partial")


@pytest.mark.parametrize("name", [*FILES, *PARTIAL, "config.toml", "heartbeat.json.partial"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_to_a_file_outside_is_not_written_through(run, tmp_path, link, name):
    precious = tmp_path / ".bashrc"
    planted = run / name
    precious.write_bytes(planted.read_bytes() if planted.exists() else b"years of work\n")
    before = precious.read_bytes()
    planted.unlink(missing_ok=True)
    link(precious, planted)
    with contextlib.suppress(gd.StoreError):
        go_on(run)
    assert precious.read_bytes() == before


def test_a_report_is_not_written_through_a_link(run, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "page", lambda opened: "<html>")
    (tmp_path / ".bashrc").write_text("years of work")
    for name in ("report.html", "report.html.partial"):
        (run / name).symlink_to(tmp_path / ".bashrc")
    report.write(gd.open_run(run))
    assert (tmp_path / ".bashrc").read_text() == "years of work"
    assert (run / "report.html").read_text() == "<html>"


@pytest.mark.parametrize(
    "name", ["checkpoints", "checkpoints/round-000009", "dataset.zarr", "dataset.zarr.partial"]
)
def test_a_link_to_a_folder_outside_is_refused_by_name(run, tmp_path, name):
    outside = tmp_path / "outside"
    planted = run / name
    if planted.exists():
        shutil.move(planted, outside)
    else:
        outside.mkdir()
    (outside / "thesis.txt").write_text("years of work")
    before = sorted(path.relative_to(outside) for path in outside.rglob("*"))
    planted.symlink_to(outside)
    with pytest.raises(gd.StoreError, match=rf"{name} is a link, and nothing outside"):
        go_on(run)
    assert sorted(path.relative_to(outside) for path in outside.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["run.json", "config.toml", "layout.json", "steps.jsonl", "heartbeat.json"]
)
@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_what_is_no_regular_file_is_not_waited_for(run, name, kind):
    (run / name).unlink()
    os.mkfifo(run / name) if kind == "pipe" else (run / name).symlink_to("/dev/zero")
    if name == "heartbeat.json":
        assert Store(run).slots() == {}
    elif name == "config.toml" and kind == "pipe":
        with pytest.raises(gd.StoreError, match="is not a run"):
            gd.open_run(run)
    else:
        with pytest.raises(gd.StoreError, match=rf"{name} (cannot be read|is not a run)|not a run"):
            _ = gd.open_run(run).ds


# ---- bounds


DEEP = "[" * 5000 + "]" * 5000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("run.json", '{"format": 2, "facts": ' + DEEP + "}"),
        ("layout.json", '{"coords": ' + DEEP + "}"),
        ("steps.jsonl", DEEP + "\n"),
        ("events.jsonl", '{"event": ' + DEEP + "}\n"),
        ("config.toml", "a = " + DEEP),
        ("config.toml", "a." * 5000 + "a = 1"),
    ],
)
def test_what_is_nested_deeply_is_told(run, name, text):
    (run / name).write_text(text)
    if name == "config.toml":
        tell(run, settings=hashlib.blake2b(text.encode(), digest_size=8).hexdigest())
    with pytest.raises(gd.StoreError, match=name):
        _ = gd.open_run(run).ds


@pytest.mark.parametrize(("depth", "fits"), [(99, True), (102, False), (900, False)])
def test_depth_is_bounded_whatever_is_nested(depth, fits):
    for begin, end in (("[", "]"), ('{"a":', "}")):
        text = begin * depth + "1" + end * depth
        if fits:
            assert parsed(text)
        else:
            with pytest.raises(ValueError, match="100 deep"):
                parsed(text)
    assert parsed(json.dumps("[" * 1000)) == "[" * 1000


def test_size_is_bounded(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="larger than"):
        read_whole(tmp_path / "sparse")


def piped(path):
    path.unlink()
    os.mkfifo(path)


def linked(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("/dev/zero" if path.name == "0" else "/dev")


def endless(path):
    """Give a chunk the head of a frame of zstd that says that it holds a terabyte."""
    path.write_bytes(b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + bytes(8))


def chunked(path):
    told = json.loads(path.read_text())
    told["chunk_grid"]["configuration"]["chunk_shape"] = [60_000_000]
    path.write_text(json.dumps(told))


def packed(path):
    told = json.loads(path.read_text())
    told["codecs"].append({"name": "gzip", "configuration": {"level": 1}})
    path.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("zarr.json", piped, "neither a file nor a folder"),
        ("final_distance/c/0", piped, "neither a file nor a folder"),
        ("final_distance/c/0", linked, "neither a file nor a folder"),
        ("final_distance/c", linked, "neither a file nor a folder"),
        ("final_distance/c/0", endless, "hold more than"),
        ("final_distance/c/0", lambda path: path.write_bytes(b"PK" * 20), "is damaged"),
        ("final_distance/zarr.json", chunked, r"chunks of \[60000000"),
        ("final_distance/zarr.json", packed, "names gzip"),
    ],
)
def test_no_more_of_a_dataset_is_read_than_it_can_hold(made, tmp_path, name, change, told):
    path = Path(shutil.copytree(made[0], tmp_path / "run"))
    change(path / "dataset.zarr" / name)
    with pytest.raises(gd.StoreError, match=rf"dataset.zarr cannot be read: .*{told}.*delete it"):
        _ = gd.open_run(path).ds


def test_labels_that_no_dataset_can_hold_are_told(run):
    told = json.loads((run / "layout.json").read_text())
    told["variables"]["distance"]["long_name"] = "\ud800"
    (run / "layout.json").write_text(json.dumps(told))
    with pytest.raises(gd.StoreError, match=r"layout.json cannot be read: UnicodeEncodeError"):
        _ = gd.open_run(run).ds


@pytest.mark.parametrize(
    "facts",
    [
        {"fence": -5},
        {"fence": 10**300},
        {"heard": [-5, 0]},
        {"heard": [float("inf"), 0]},
        {"facts": {"": 1}},
        {"begun_with": 7},
        {"begun_with": "seed=["},
    ],
)
def test_what_run_json_says_is_checked(run, facts):
    tell(run, **facts)
    with pytest.raises(gd.StoreError, match=r"run.json cannot be read: "):
        go_on(run)


def test_facts_say_nothing_of_what_the_settings_say(made, run):
    known = Store.open(run).description["facts"]
    tell(run, facts=known | {"method": "other", "settings": "other", "seed": 7, "more": 1})
    told = gd.open_run(run).ds.attrs
    assert told == made[1].attrs | {"more": 1}


@pytest.mark.parametrize("told", [("records", 0), ("timings",), ("sent", "state")])
@pytest.mark.parametrize("round", [0, -1])
def test_steps_of_no_round_are_told(run, told, round):
    lines = [parsed(line) for line in (run / "steps.jsonl").read_bytes().splitlines()]
    lines[0].setdefault("sent", {})["state"] = {"slot": ["node/0"], "bytes": encoded(np.ones(1))}
    lines[0]["sent"]["state"]["round"] = encoded(np.ones(1, int))
    table = functools.reduce(operator.getitem, told, lines[0])
    table["round"] = encoded(np.full_like(decoded(table["round"]), round))
    (run / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(gd.StoreError, match=r"steps.jsonl, line 1 is damaged: .*of round"):
        _ = gd.open_run(run).ds


def test_a_checkpoint_says_what_can_be_drawn(run):
    folder = Store.open(run).checkpoints.all()[-1]
    told = json.loads((folder / "checkpoint.json").read_text())
    one, other = list(told["mixtures"]["node/1"])[:2]
    wrong = [{one: weight} for weight in (0, -1, math.nan, math.inf, "x", None, [1], {})]
    wrong += [{}, {one: 1e308, other: 1e308}, {one: 2, other: -1}]
    changes = [{"mixtures": told["mixtures"] | {"node/1": weights}} for weights in wrong]
    changes += [{"files": told["files"] | {"x" * 5000: []}}, {"files": {"\ud800": []}}]
    for change in changes:
        left = {key: value for key, value in (told | change).items() if key != "digest"}
        (folder / "checkpoint.json").write_text(description(left))
        with pytest.raises(gd.StoreError):
            gd.open_run(run).mixture("node/1").sample(1)


def test_a_report_can_be_made_of_what_run_json_leaves_out(made, tmp_path):
    told = json.loads((made[0] / "run.json").read_text())
    path = Path(shutil.copytree(made[0], tmp_path / "run"))
    (path / "run.json").write_text(json.dumps({k: told[k] for k in told if k != "updated"}))
    tell(path, state="failed", error={"a": 1})
    known = Store.open(path).description
    assert (known["updated"], known["error"]) == ("", "{'a': 1}")
    ds = gd.open_run(path).ds.assign_attrs(classifier_accuracy="x")
    assert "classifier accuracy" not in dict(report.summary(ds, 4, "failed"))
    with pytest.raises(gd.StoreError, match="it is a folder; name another file"):
        report.write(gd.open_run(path), Path())


EVENT = '{"event": {"round": %s, "kind": %s, "slot": "", "detail": %s}}\n'


@pytest.mark.parametrize("round", ["99999999999999999999", "-1", "1e999"])
def test_an_event_of_no_round_is_told(run, round):
    (run / "events.jsonl").write_text(EVENT % (round, '"odd"', '"x"'))
    with pytest.raises(gd.StoreError, match=r"events.jsonl, line 1 is damaged"):
        _ = gd.open_run(run).ds


def test_events_of_any_text_are_kept(run):
    """And the names of files, which may be no UTF-8."""
    (run / "events.jsonl").write_text(EVENT % (1, '"\\ud800"', '["x"]'))
    tell(run, home={"path": os.fsdecode(b"/gr\xfcn"), "host": "elsewhere", "inode": 1})
    ds = go_on(run)
    assert events(ds, r"\ud800") == ["['x']"]
    assert r"/gr\udcfcn" in events(ds, "forked")[0]
    xr.testing.assert_identical(gd.open_run(run).ds, ds)


def test_a_line_without_end_is_not_waited_for(run, monkeypatch):
    monkeypatch.setattr(journal, "LONGEST", 1 << 23)
    for name in ("events.jsonl", "commands.jsonl"):
        with (run / name).open("ab") as file:
            file.truncate(1 << 42)
    with pytest.raises(gd.StoreError, match=r"events.jsonl, line .* longer than"):
        _ = gd.open_run(run).ds
    store, seen = Store.open(run), Bookmark()
    with pytest.raises(gd.StoreError, match=r"commands.jsonl, line 1 .* longer than"):
        list(store.asked(seen))
    store.ask(Command("stop"))
    assert [command.name for command in store.asked(seen)] == ["stop"]


def test_states_are_as_long_as_they_say(run):
    (file, *_) = (run / "checkpoints").glob("*/node-0.safetensors")
    with file.open("ab") as opened:
        opened.truncate(1 << 42)
    with pytest.raises(gd.StoreError, match=r"node-0.safetensors cannot be read: it has 4398"):
        read_states(file, ["node/0"])
    file.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(gd.StoreError, match="header is larger"):
        read_states(file, ["node/0"])


# ---- commands


def test_what_is_wrong_with_commands_ends_no_run(tmp_path, monkeypatch):
    path = tmp_path / "run"
    advance = Toy.advance

    def asking(self, view, reports):
        if view.round == 0:
            with (path / "commands.jsonl").open("a") as file:
                for line in (DEEP, "x" * (1 << 20), '{"name": "change", "changes": {"rate": 1}}'):
                    file.write(line + "\n")
        return advance(self, view, reports)

    monkeypatch.setattr(Toy, "advance", asking)
    ds = gd.run(Toy(rounds=4), store=path)
    told = events(ds, "refused")
    assert any("100 deep" in one for one in told)
    assert any("longer than 65536 bytes" in one for one in told)
    assert len(events(ds, "changed")) == 1


def test_of_thousands_of_commands_the_last_are_heeded(tmp_path, monkeypatch):
    path, advance, asked = tmp_path / "run", Toy.advance, []

    def asking(self, view, reports):
        if not asked:
            asked.append(True)
            store = Store(path)
            with (path / "commands.jsonl").open("a") as file:
                for number in range(1, 2001):
                    told = {"name": "change", "changes": {"rate": number / 2000}}
                    file.write(json.dumps(told) + "\n")
            assert store.commands.size > 2000
        return advance(self, view, reports)

    monkeypatch.setattr(Toy, "advance", asking)
    ds = gd.run(Toy(rounds=4), store=path)
    assert len(events(ds, "changed")) == 20
    assert any(one.startswith("2000 commands at once") for one in events(ds, "refused"))
    assert gd.open_run(path).settings["rate_schedule"].popitem()[1] == 1


def test_what_was_asked_before_a_kill_is_kept_or_told(made, run):
    store = Store.open(run)
    lines = (run / "reports.jsonl").read_bytes().splitlines(keepends=True)
    (run / "reports.jsonl").write_bytes(b"".join(lines[:3]))  # of the checkpoint of round 2
    shutil.rmtree(run / "checkpoints" / "round-000004")
    store.ask(Command("change", {"rate": 0.125}))
    store.ask(Command("stop"))
    ds = go_on(run)
    assert [one[:12] for one in events(ds, "changed")] == ["rate = 0.125"]
    assert events(ds, "refused") == ["stop, asked for before the run was interrupted"]
    assert ds.sizes["round"] == 4
    assert len(events(ds, "resumed")) == 1


# ---- checkpoints


def test_every_flipped_bit_of_a_checkpoint_is_noticed(run):
    store = Store.open(run)
    folder = store.checkpoints.all()[-1]
    for file in sorted(folder.iterdir()):
        data = file.read_bytes()
        for bit in range(0, 8 * len(data), 11):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            file.write_bytes(flipped)
            found = [*store.checkpoints.sound(store.log)]
            assert isinstance(found[0][1], gd.StoreError), (file.name, bit)
            assert file.name in str(found[0][1])
        file.write_bytes(data)
    assert len([*store.checkpoints.sound(store.log)]) == 1


def test_the_checkpoint_before_is_gone_on_from(made, run):
    store = Store.open(run)
    last = store.checkpoints.all()[-1]
    file = last / "node-1.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 4
    file.write_bytes(data)
    with pytest.raises(gd.StoreError, match=r"node-1.safetensors cannot be read: it is damaged"):
        gd.open_run(run).mixture("node/1")
    ds = go_on(run)
    (told,) = events(ds, "passed over")
    assert told.startswith(f"{last.name}: ") and "node-1.safetensors" in told
    assert events(ds, "resumed")[0].startswith("after round 2; ")
    xr.testing.assert_identical(gd.without_timings(ds), gd.without_timings(made[1]))


@pytest.mark.parametrize("what", ["file", "folder"])
def test_another_seeds_checkpoint_is_not_gone_on_from(made, run, tmp_path, what):
    gd.run(Toy(nodes=2, rounds=4, seed=7), store=tmp_path / "other", checkpoint_every=2)
    last = Store.open(run).checkpoints.all()[-1]
    other = tmp_path / "other" / "checkpoints" / last.name
    if what == "file":
        shutil.copy(other / "node-0.safetensors", last)
    else:
        shutil.rmtree(last)
        shutil.copytree(other, last)
    ds = go_on(run)
    assert len(events(ds, "passed over")) == 1
    xr.testing.assert_identical(gd.without_timings(ds), gd.without_timings(made[1]))


def test_without_a_sound_checkpoint_nothing_is_changed(run):
    for file in run.glob("checkpoints/*/node-0.safetensors"):
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
    before = (run / "reports.jsonl").read_bytes()
    with pytest.raises(gd.StoreError, match=r"no checkpoint can be gone on from: .*node-0"):
        go_on(run)
    assert (run / "reports.jsonl").read_bytes() == before


# ---- a writer that lost the run


def test_a_writer_frozen_in_a_checkpoint_may_seal_it_later(made, run):
    """And append, and tell how the run stands: whoever has it goes on, and so does the next."""
    late = Store.open(run)
    late.claim()
    partial = late.checkpoints.begin("late")
    states = {"node-0.safetensors": ["node/0"]}
    save_states(
        {"point": np.zeros(2)}, names=["node/0"], path=f"{partial}/node-0.safetensors", token="late"
    )
    late.release()
    owner = Store.open(run)
    owner.claim(force=True)
    size = owner.log.size
    owner.truncate(size)

    late.log.append({"elapsed": 9.0, "reports": []})  # it had looked before it was frozen
    view = SimpleNamespace(round=9, mixtures={}, best=None)
    late.checkpoints.seal(partial, view, states, late.log)
    late.described.read = lambda: late.described.signed
    late.describe("running", 9)
    owner.append([Report("node/0", 1, "train", {})], 10.0)
    assert [elapsed for elapsed, _ in owner.steps()][-1] == 10.0
    assert 9.0 not in [elapsed for elapsed, _ in owner.steps()]
    owner.describe("stopped", 4)
    owner.release()
    owner.truncate(size)
    ds = go_on(run)
    assert any(one.startswith("round-000009") for one in events(ds, "passed over"))
    xr.testing.assert_identical(gd.without_timings(ds), gd.without_timings(made[1]))


def test_what_somebody_still_reads_may_stay(run, monkeypatch):
    """As on NFS, where an open file keeps its folder."""

    def busy(path, ignore_errors=False, **options):
        if not ignore_errors:
            raise OSError(39, "Directory not empty")

    monkeypatch.setattr(checkpoint, "shutil", SimpleNamespace(rmtree=busy))
    ds = gd.run(Toy(rounds=4), store=run.parent / "new", checkpoint_every=1)
    assert ds.sizes["round"] == 4


def test_files_are_made_anew_under_names_that_nobody_knows(tmp_path):
    names = set()
    for _ in range(3):
        with files.replacing(tmp_path / "a.json") as file:
            names.add(Path(file.name).name if isinstance(file.name, str) else file.fileno())
            (partial,) = tmp_path.glob("*.partial")
            names.add(partial.name)
    assert len({name for name in names if isinstance(name, str)}) == 3


# ---- copies


def test_a_copy_goes_on_as_a_fork_and_says_so(made, run):
    ds = go_on(run)
    (told,) = events(ds, "forked")
    assert str(made[0]) in told
    assert events(gd.open_run(made[0]).ds, "forked") == []


def test_a_run_that_was_moved_is_no_fork(run):
    moved = run.rename(run.with_name("moved"))
    home = json.loads((moved / "run.json").read_text())["home"] | {"inode": moved.stat().st_ino}
    tell(moved, home=home)
    assert events(go_on(moved), "forked") == []


# ---- results


@pytest.mark.parametrize("what", ["another seed's", "a flipped bit", "a file less"])
def test_a_dataset_that_is_not_the_runs_own_is_refused(made, tmp_path, what):
    path = Path(shutil.copytree(made[0], tmp_path / "run"))
    folder = path / "dataset.zarr"
    chunk = max((folder / "final_distance" / "c").rglob("*"), key=lambda file: file.is_file())
    if what == "another seed's":
        gd.run(Toy(nodes=2, rounds=4, seed=2), store=tmp_path / "other")
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "other" / "dataset.zarr", folder)
    elif what == "a flipped bit":
        content = bytearray(chunk.read_bytes())
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)
    else:
        chunk.unlink()
    with pytest.raises(gd.StoreError, match="delete it, and the Dataset is made from the log"):
        _ = gd.open_run(path).ds
    shutil.rmtree(folder)
    np.testing.assert_array_equal(gd.open_run(path).ds.final_distance, made[1].final_distance)
