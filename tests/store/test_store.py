"""The store: what is written comes back exactly, and nothing that is read can do harm."""

import errno
import json
import os
import pickle
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

import gandask as gd
import gandask.store.checkpoint
from gandask import results
from gandask.core import Event, Report, lock
from gandask.methods.testing import Toy
from gandask.store import FORMAT, QUIET, Store, create, description, layouts
from gandask.store.checkpoint import load_states, save_states
from gandask.training import stored


def tiny(**changes):
    return Toy(**{"nodes": 2} | changes)


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "finished"
    return SimpleNamespace(path=path, dataset=gd.run(tiny(), store=path))


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished.path, tmp_path / "copy"))


@pytest.fixture
def store(tmp_path):
    return create(tmp_path / "run", tiny(), {"sample_shape": [2]})


def tell(path, **facts):
    """Change what run.json says."""
    file = path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


def under_way(path, lines=None):
    """Make a finished run look as it did after some lines of its log."""
    log = path / "reports.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:lines]))
    shutil.rmtree(path / "dataset.zarr")
    tell(path, state="running", process=os.getpid())


def test_a_finished_run_whose_dataset_was_deleted_makes_it_anew(finished, copy, assert_same):
    shutil.rmtree(copy / "dataset.zarr")
    assert_same(gd.run(tiny(), store=copy, resume=True), finished.dataset)
    assert gd.open_run(copy).state == "finished"
    assert_same(gd.open_run(copy).ds, finished.dataset)


def test_versions_are_those_that_the_run_was_made_with(copy):
    under_way(copy)
    facts = json.loads((copy / "run.json").read_text())["facts"]
    assert facts["gandask_version"] == gd.__version__
    tell(copy, facts=facts | {"gandask_version": "0.0.7"})
    assert gd.open_run(copy).ds.attrs["gandask_version"] == "0.0.7"


# ---- beginning and opening


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_never_written_over(tmp_path, kind):
    path = tmp_path / "precious"
    if kind == "folder":
        path.mkdir()
    kept = path / "thesis.txt" if kind == "folder" else path
    kept.write_text("years of work")
    with pytest.raises(gd.StoreError, match=r"resume=True .*or choose another name"):
        gd.run(tiny(), store=path)
    with pytest.raises(gd.StoreError, match="exists already"):
        create(path, tiny(), {})
    assert kept.read_text() == "years of work"
    assert [*tmp_path.rglob("*")] == sorted({path, kept})


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    path = tmp_path / "empty"
    path.mkdir()
    assert create(path, tiny(), {}).state == "running"


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/runs/first").path == tmp_path.resolve() / "runs" / "first"
    with pytest.raises(gd.StoreError, match="no such home folder; give the whole path"):
        Store("~nobody-of-that-name/run")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(gd.StoreError, match=r"store=.*file/run' cannot be created: .*directory"):
        gd.run(tiny(), store=tmp_path / "file" / "run")

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(gd.StoreError, match=r"locked' cannot be created: .*Permission denied"):
        create(tmp_path / "locked", tiny(), {})


@pytest.mark.parametrize(
    ("owner", "most", "told"), [(layouts, 5, "rounds of slots"), (results, 99, "bytes, of at most")]
)
def test_a_run_that_could_not_be_read_is_refused_before_it_begins(
    tmp_path, monkeypatch, owner, most, told
):
    monkeypatch.setattr(owner, "LARGEST", most)
    with pytest.raises(gd.SettingError, match=rf"rounds = 3: .*more than fits: .*{told}"):
        gd.run(tiny(), store=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("store", [None, "run"])
def test_more_rounds_than_there_is_room_for_are_refused_before_the_first(tmp_path, store):
    with pytest.raises(gd.SettingError, match=r"rounds = 2000000000: .*more than fits"):
        gd.run(Toy(rounds=2_000_000_000), store=store and tmp_path / store)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["nothing", "folder", "file"])
def test_what_is_no_run_is_not_opened(tmp_path, kind):
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    elif kind == "file":
        path.write_text("method = 'grid'")
    with pytest.raises(gd.StoreError, match=r"thing' is not a run: expected a folder"):
        gd.open_run(path)
    with pytest.raises(gd.StoreError, match="is not a run"):
        gd.run(tiny(), store=path, resume=True)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe\x00",
        b'{"format": "x"}',
        b'{"format": 1}',
        b'{"state": "finished"}',
        b'{"format": 1, "state": "finished", "round": 1}',
    ],
)
def test_a_damaged_description_is_told(store, text):
    (store.path / "run.json").write_bytes(text)
    with pytest.raises(gd.StoreError, match=r"run\.json cannot be read"):
        gd.open_run(store.path)


def test_a_description_that_is_gone_is_told(store):
    (store.path / "run.json").unlink()
    with pytest.raises(gd.StoreError, match=r"run\.json cannot be read"):
        gd.open_run(store.path)


def test_a_newer_format_is_refused_with_both_numbers(store):
    # of a newer one, nothing but the number is known
    (store.path / "run.json").write_text('{"format": 41}')
    with pytest.raises(gd.StoreError, match=rf"format 41, .* up to {FORMAT}\): upgrade"):
        gd.open_run(store.path)


# ---- the log


def exact(value):
    """Give a form in which equal means equal to the last bit, whatever the type."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    return type(value), repr(value)


def test_reports_come_back_exactly(store):
    values = {
        "text": 'ü "quoted"\n\u2028\\',
        "nan": float("nan"),
        "infinite": float("-inf"),
        "tenth": 0.1,
        "tiny": 5e-324,
        "large": 2**70,
        "yes": True,
        "nothing": None,
        "list": [1, 2.5, "three"],
        "nested": {"a": {"b": 1}},
        "array": np.array([[0.1, np.nan, -0.0]], "f4"),
    }
    reports = [
        Report(
            "node/0",
            1,
            "train",
            values,
            {"train": 0.1, "gather": 0.0},
            1.7e9 + 0.1,
            "tcp://1:2",
            12,
            (4, 8),
        ),
        Report("node/1", 1, "train", {}),
    ]
    store.append(reports, 1 / 3)
    store.append([], 2 / 3)
    (elapsed, read), (later, none) = store.steps()
    assert (elapsed, later, none) == (1 / 3, 2 / 3, [])
    assert [repr(report) for report in read] == [repr(report) for report in reports]
    assert exact(read[0].values["array"]) == exact(values["array"])


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"",
        b"[]",
        b"3",
        b"\xff\xfe\x80",
        b'{"elapsed": 1}',
        b'{"elapsed": 1, "reports": [{"place": "node/0"}]}',
        b'{"elapsed": 1, "reports": [{"dtype": "<f8", "shape": [2], "base64": "AAAA"}]}',
        b'{"elapsed": 1, "reports": [{"dtype": "<f8", "shape": [1], "base64": "?"}]}',
        b'{"elapsed": 1, "reports": [{"dtype": "nonsense", "shape": [0], "base64": ""}]}',
        b'{"elapsed": 1, "reports": [{"dtype": "|O", "shape": [1], "base64": "AAAAAAAAAAA="}]}',
    ],
)
def test_a_damaged_line_is_named(store, damage):
    for number in range(3):
        store.append([Report("node/0", number, "train", {})], float(number))
    lines = store.log.path.read_bytes().splitlines()
    store.log.path.write_bytes(b"\n".join([lines[0], damage, lines[2], b""]))
    steps = store.steps()
    assert next(steps)[0] == 0.0
    with pytest.raises(gd.StoreError, match=r"reports\.jsonl, line 2 is damaged"):
        next(steps)


@pytest.mark.parametrize("array", [np.array([{}]), np.zeros(2, "i4, f8"), np.zeros(2, "V8")])
def test_arrays_of_objects_never_enter_the_log(store, array):
    with pytest.raises(gd.StoreError, match="expected numbers or text"):
        store.append([Report("node/0", 1, "train", {"array": array})], 0.0)
    assert store.log.path.read_bytes() == b""


def test_a_log_that_is_gone_is_told(copy):
    under_way(copy)
    (copy / "reports.jsonl").unlink()
    assert gd.open_run(copy).ds.sizes["round"] == 3, "who reads needs the columns alone"
    (copy / "steps.jsonl").unlink()
    with pytest.raises(gd.StoreError, match=r"steps\.jsonl cannot be read"):
        _ = gd.open_run(copy).ds
    with pytest.raises(gd.StoreError, match=r"reports\.jsonl cannot be read"):
        gd.run(tiny(), store=copy, resume=True)


def test_a_log_shorter_than_its_checkpoint_cannot_be_continued(copy):
    under_way(copy, lines=2)
    before = (copy / "reports.jsonl").read_bytes()
    with pytest.raises(gd.StoreError, match=r"reports\.jsonl is shorter"):
        gd.run(tiny(), store=copy, resume=True)
    assert (copy / "reports.jsonl").read_bytes() == before


def test_the_log_is_cut_and_the_rounds_of_it_are_counted(store):
    store.append([Report(f"node/{i}", 1, "train", {}) for i in (0, 1)], 1.0)
    size = store.log.size
    store.append([Report("node/0", 1, "train", {}), Report("node/0", 2, "train", {})], 2.0)
    store.append([Report("node/0", 2, "train", {}), Report("node/1", 1, "train", {})], 3.0)
    with store.log.path.open("ab") as file:
        file.write(b'{"elapsed": 4.0, "repo')
    assert store.truncate(size) == 3, "of node 0 the first and the second, of node 1 the first"
    assert [elapsed for elapsed, _ in store.steps()] == [1.0]
    assert store.truncate(size) == 0


def test_a_damaged_line_is_cut_off_like_any_other(store):
    with store.log.path.open("ab") as file:
        file.write(b"damaged\n")
    assert store.truncate(0) == 0
    assert [*store.steps()] == []


# ---- what the machine did

HAPPENED = [
    Event(0, "worker joined", "", "w1", machine=True),
    Event(3, "moved", "node/1", 'w1 to "w2"\nµ', machine=True),
    Event(2, "checkpoint", "", "round-000002 in 0.1 s", machine=True),
]


def test_what_happened_comes_back(store):
    assert store.noted() == []
    for event in HAPPENED:
        store.note(event)
    assert store.noted() == HAPPENED
    assert Store.open(store.path).noted() == HAPPENED
    assert [*store.steps()] == []


def test_what_happened_stays_when_rounds_are_cut_off(store):
    for number, event in enumerate(HAPPENED):
        store.append([Report("node/0", number, "train", {})], float(number))
        store.note(event)
    store.truncate(0)
    assert [*store.steps()] == []
    assert store.noted() == HAPPENED


def test_what_was_half_noted_is_left_out_and_mended(store):
    for event in HAPPENED:
        store.note(event)
    whole = store.happened.path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    for left in (0, 1, len(last) // 2, len(last) - 1):
        store.happened.path.write_bytes(whole[: len(whole) - len(last) + left])
        assert store.noted() == HAPPENED[:2]
        store.truncate(0)
        store.note(HAPPENED[0])
        assert store.noted() == [*HAPPENED[:2], HAPPENED[0]]


@pytest.mark.parametrize("damage", [b"{", b"{}", b"[]", b'{"event": {"round": 1}}', b"\xff"])
def test_a_damaged_event_is_named(store, damage):
    store.note(HAPPENED[0])
    with store.happened.path.open("ab") as file:
        file.write(damage + b"\n")
    with pytest.raises(gd.StoreError, match=r"events\.jsonl, line 2 is damaged"):
        store.noted()


BEAT = {"round": 3, "slots": {"node/0": {"state": "processing", "fraction": 0.5}}}


def test_a_heartbeat_tells_what_slots_do(store):
    assert store.slots() == {}
    store.beat(BEAT)
    assert store.slots() == BEAT["slots"]
    store.beat({"round": 4, "slots": {}})
    assert Store.open(store.path).slots() == {}
    assert [path.name for path in store.path.glob("heartbeat*")] == ["heartbeat.json"]


def test_no_heartbeat_is_like_the_one_before(store):
    beats = []
    for _ in range(3):
        store.beat(BEAT)
        beats.append(store.heartbeat.read_bytes())
    assert len(set(beats)) == 3


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("owner", [Path, os])
def test_a_heartbeat_is_no_harm_on_a_full_disk(store, monkeypatch, owner):
    store.beat(BEAT)
    with monkeypatch.context() as patch:
        patch.setattr(owner, "replace" if owner is Path else "fdopen", full)
        store.beat({"round": 4, "slots": {}})
    assert store.slots() == BEAT["slots"], "the last one that could be written"
    store.beat({"round": 4, "slots": {}})
    assert store.slots() == {}


def test_a_heartbeat_is_replaced_whole(store, monkeypatch):
    """A reader at any moment finds the old one or the new one."""
    store.beat(BEAT)
    seen, replace = [], Path.replace

    def spied(one, other):
        seen.append(store.slots())
        replace(one, other)
        seen.append(store.slots())

    monkeypatch.setattr(Path, "replace", spied)
    store.beat({"round": 4, "slots": {"node/1": {}}})
    assert seen == [BEAT["slots"], {"node/1": {}}]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"slots": 3}', b"\xff"])
def test_a_damaged_heartbeat_tells_nothing(store, text):
    store.heartbeat.write_bytes(text)
    assert store.slots() == {}


# ---- planted pickles


class Trap:
    """Once unpickled, it leaves a file."""

    def __init__(self, sprung):
        self.sprung = sprung

    def __reduce__(self):
        return Path.touch, (self.sprung,)


def touch_everything(path):
    """Try all that reads a store; every refusal is one of gandask's own."""
    for look in (
        gd.open_run,
        lambda path: gd.open_run(path).ds,
        lambda path: gd.open_run(path).best_mixture(),
        lambda path: gd.open_run(path).settings,
        lambda path: [*Store(path).steps()],
    ):
        try:
            look(path)
        except gd.StoreError as error:
            yield str(error)


@pytest.mark.parametrize(
    "file",
    ["config.toml", "run.json", "reports.jsonl"]
    + [f"checkpoints/round-000003/{name}" for name in ("node-0.safetensors", "checkpoint.json")],
)
def test_a_planted_pickle_is_refused_and_not_run(copy, tmp_path, file):
    sprung = tmp_path / "sprung"
    under_way(copy)
    (copy / file).write_bytes(pickle.dumps(Trap(sprung)) + b"\n")
    refusals = [*touch_everything(copy)]
    assert refusals
    assert all(file in refusal for refusal in refusals)
    assert not sprung.exists()
    pickle.loads((copy / file).read_bytes())
    assert sprung.exists(), "the trap works"


@pytest.mark.parametrize("line", [0, 3, -1])
def test_settings_that_lack_a_line_are_refused(copy, line):
    # what is missing would silently be its default
    under_way(copy)
    lines = (copy / "config.toml").read_text().splitlines(keepends=True)
    (copy / "config.toml").write_text("".join(lines[:line] + lines[line:][1:]))
    refusals = [*touch_everything(copy)]
    assert refusals
    assert all(
        "config.toml cannot be read: it is not as the run left it" in told for told in refusals
    )
    with pytest.raises(gd.StoreError, match=r"config\.toml"):
        gd.run(tiny(), store=copy, resume=True)


def test_a_dataset_planted_with_a_pickle_codec_is_refused_and_not_run(copy, tmp_path):
    sprung, planted = tmp_path / "sprung", copy / "dataset.zarr"
    shutil.rmtree(planted)
    (planted / "distance").mkdir(parents=True)
    (planted / ".zgroup").write_text('{"zarr_format": 2}')
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C"}
    array |= {"fill_value": None, "compressor": None, "filters": [{"id": "pickle"}]}
    (planted / "distance" / ".zarray").write_text(json.dumps(array))
    (planted / "distance" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["round"]}')
    (planted / "distance" / "0").write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(gd.StoreError, match=r"dataset\.zarr cannot be read"):
        _ = gd.open_run(copy).ds
    assert not sprung.exists()


def test_zarr_of_the_format_that_has_a_pickle_codec_is_not_read(copy, finished):
    shutil.rmtree(copy / "dataset.zarr")
    finished.dataset.to_zarr(copy / "dataset.zarr", zarr_format=2)
    with pytest.raises(gd.StoreError, match=r"dataset\.zarr cannot be read"):
        _ = gd.open_run(copy).ds


def test_nothing_in_a_store_is_a_pickle(finished):
    suffixes, codecs = set(), set()
    for file in (file for file in finished.path.rglob("*") if file.is_file()):
        inside = "dataset.zarr" in file.relative_to(finished.path).parts
        if file.name == "zarr.json":
            codecs |= {codec["name"] for codec in json.loads(file.read_text()).get("codecs", [])}
        elif not inside:
            suffixes.add(file.suffix)
        with pytest.raises((pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError)):
            pickle.loads(file.read_bytes())
    assert suffixes == {".toml", ".json", ".jsonl", ".safetensors", ".lock"}
    assert codecs <= {"bytes", "zstd", "vlen-utf8"}


# ---- checkpoints


def checkpoint(store, round, value=0.0):
    """Make one the way the engine does."""
    partial = store.checkpoints.begin("token")
    save_states(
        {"weight": np.full(3, value)},
        names=["node/0"],
        path=str(partial / "node-0.safetensors"),
        token="token",
    )
    view = SimpleNamespace(round=round, mixtures={"node/0": {"node/0": 1.0}}, best="node/0")
    return store.checkpoints.seal(partial, view, {"node-0.safetensors": ["node/0"]}, store.log)


VIEW = SimpleNamespace(round=2, mixtures={}, best=None)


def weights(folder):
    ((state,), _) = load_states(names=["node/0"], path=str(folder / "node-0.safetensors"), token="")
    return state["weight"].tolist()


STATE = {
    **{
        dtype: np.arange(6).reshape(2, 3).astype(dtype)
        for dtype in ("f2", "f4", "f8", "i1", "i4", "i8", "u1", "u8", "?")
    },
    "step": np.array(7.0, "f4"),
    "empty": np.zeros((0, 2), "f4"),
    "special": np.array([np.nan, np.inf, -np.inf, -0.0]),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(12, dtype="f4")[::-2],
    "broadcast": np.broadcast_to(np.float32(2), (2, 2)),
    "0.weight/a::b": np.ones(2),
}


def test_states_come_back_exactly(tmp_path):
    path = str(tmp_path / "node-0.safetensors")
    names = ["node/0/generator/1", "node/0/generator/1/moments", "node/0/bare"]
    states = (STATE, {"0.weight": np.array(3)}, {})
    assert save_states(*states, names=names, path=path, token="t") == ((), {})
    read, values = load_states(names=names, path=path, token="t")
    assert values == {}
    for state, other in zip(states, read, strict=True):
        assert {key: exact(array) for key, array in state.items()} == {
            key: exact(array) for key, array in other.items()
        }


def test_states_are_read_by_name(tmp_path):
    path = str(tmp_path / "node-0.safetensors")
    save_states(
        {"w": np.zeros(1)}, {"w": np.ones(1)}, names=["node/0", "node/0/x"], path=path, token="t"
    )
    ((state,), _) = load_states(names=["node/0/x"], path=path, token="t")
    assert state["w"].tolist() == [1]


@pytest.mark.parametrize("damage", [None, b"", b"\x80\x04N.", b"\x08" + b"\0" * 20])
def test_a_damaged_or_missing_state_file_is_named(tmp_path, damage):
    path = tmp_path / "node-0.safetensors"
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(gd.StoreError, match=r"node-0\.safetensors cannot be read"):
        load_states(names=["node/0"], path=str(path), token="t")


def test_a_checkpoint_half_written_is_never_read(store, monkeypatch):
    partial = store.path / "checkpoints" / "partial"
    partial.mkdir()
    (partial / "node-0.safetensors").write_bytes(b"half")
    (store.path / "checkpoints" / "round-000009").mkdir()
    assert store.checkpoints.last() is None
    first = checkpoint(store, 1, 1.0)

    def crash(*_):
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("gandask.store.checkpoint.sync", crash)
        with pytest.raises(gd.StoreError, match="power cut"):
            checkpoint(store, 2, 2.0)
    assert store.checkpoints.all() == [first]
    for step in ("gandask.store.checkpoint.write_whole", "pathlib.Path.replace"):
        partial = store.checkpoints.begin("token")
        save_states(
            {"weight": np.zeros(3)}, names=["node/0"], path=str(partial / "node-0"), token="token"
        )
        with monkeypatch.context() as patch:
            patch.setattr(step, crash)
            with pytest.raises(OSError, match="power cut"):
                store.checkpoints.seal(partial, VIEW, {"node-0": ["node/0"]}, store.log)
        assert store.checkpoints.all() == [first]
    assert weights(first) == [1, 1, 1]
    assert store.checkpoints.last()[0] == first


def test_what_is_left_of_other_checkpoints_is_dropped(store):
    sealed = checkpoint(store, 1, 1.0)
    folder = store.path / "checkpoints"
    for name in ("partial", "partial-0a1b2c3d", "partial-token"):
        (folder / name).mkdir()
        (folder / name / "node-0.safetensors").write_bytes(b"half")
    partial = store.checkpoints.begin("token")
    assert partial == folder / "partial-token"
    assert [*partial.iterdir()] == []
    assert sorted(folder.iterdir()) == sorted([partial, sealed])
    assert weights(sealed) == [1, 1, 1]


def test_states_are_saved_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "node-0.safetensors"
    save_states({"weight": np.ones(3)}, names=["node/0"], path=str(path), token="t")
    with monkeypatch.context() as patch:
        patch.setattr("gandask.store.checkpoint.sync", full)
        with pytest.raises(
            gd.StoreError, match=r"node-0\.safetensors cannot be written: .*No space .*continue"
        ):
            save_states({"weight": np.zeros(3)}, names=["node/0"], path=str(path), token="t")
    assert [*tmp_path.iterdir()] == [path]
    assert weights(tmp_path) == [1, 1, 1]


def test_states_are_not_saved_to_a_folder_that_is_gone(tmp_path):
    with pytest.raises(gd.StoreError, match=r"gone/node-0\.safetensors cannot be written"):
        save_states(
            {"weight": np.ones(3)},
            names=["node/0"],
            path=str(tmp_path / "gone/node-0.safetensors"),
            token="t",
        )
    assert [*tmp_path.iterdir()] == []


def test_two_copies_of_a_task_may_save_at_once(tmp_path, monkeypatch):
    """As when a worker was given up too early: whichever is last, the file is whole."""
    path = tmp_path / "node-0.safetensors"
    arguments = {"names": ["node/0"], "path": str(path), "token": "t"}
    sync = gandask.store.checkpoint.sync

    def other(partial):
        monkeypatch.setattr("gandask.store.checkpoint.sync", sync)
        save_states({"weight": np.ones(3)}, **arguments)
        sync(partial)

    monkeypatch.setattr("gandask.store.checkpoint.sync", other)
    save_states({"weight": np.ones(3)}, **arguments)
    assert [*tmp_path.iterdir()] == [path]
    assert weights(tmp_path) == [1, 1, 1]


def test_a_checkpoint_with_a_missing_file_is_not_sealed(store):
    partial = store.path / "checkpoints" / "partial"
    partial.mkdir()
    with pytest.raises(
        gd.StoreError, match=r"partial/node-0\.safetensors .*folder that they share"
    ):
        store.checkpoints.seal(partial, VIEW, {"node-0.safetensors": ["node/0"]}, store.log)
    assert store.checkpoints.all() == []


def test_only_the_last_two_checkpoints_are_kept(store):
    folders = [checkpoint(store, round, float(round)) for round in (10, 20, 30, 100)]
    assert store.checkpoints.all() == folders[2:]
    assert sorted(path.name for path in (store.path / "checkpoints").iterdir()) == [
        "round-000030",
        "round-000100",
    ]
    folder, told = store.checkpoints.last()
    assert folder == folders[-1]
    assert told["files"] == {"node-0.safetensors": ["node/0"]}
    assert told["best"] == "node/0"


def test_a_checkpoint_of_the_same_round_takes_its_place(store):
    checkpoint(store, 5, 1.0)
    # what a crash in the middle of this leaves behind does no harm
    (store.path / "checkpoints" / "replaced" / "old").mkdir(parents=True)
    folder = checkpoint(store, 5, 2.0)
    assert weights(folder) == [2, 2, 2]
    assert [path.name for path in (store.path / "checkpoints").iterdir()] == ["round-000005"]


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b"\xff"])
def test_a_damaged_checkpoint_description_is_named(store, text):
    folder = checkpoint(store, 1)
    (folder / "checkpoint.json").write_bytes(text)
    with pytest.raises(gd.StoreError, match=r"checkpoint\.json cannot be read"):
        store.checkpoints.last()


def test_a_checkpoint_that_misses_a_file_is_passed_over(copy):
    """The one before is used; without one, nothing is computed again unasked."""
    whole = gd.open_run(copy).ds
    last = gd.open_run(copy).store.checkpoints.all()[-1]
    (last / "node-1.safetensors").unlink()
    with pytest.raises(gd.StoreError, match="no checkpoint yet"):
        gd.open_run(copy).best_mixture()
    interrupt(copy)
    with pytest.raises(gd.StoreError, match=r"node-1\.safetensors is not there; remove"):
        gd.run(tiny(), store=copy, resume=True)
    shutil.rmtree(copy / "checkpoints")
    again = gd.run(tiny(), store=copy, resume=True)
    xr.testing.assert_identical(gd.without_timings(whole), gd.without_timings(again))


def test_a_damaged_state_file_is_named_on_resuming(copy):
    next(copy.glob("checkpoints/*/node-1.safetensors")).write_bytes(b"not weights")
    interrupt(copy)
    with pytest.raises(gd.StoreError, match=r"node-1\.safetensors cannot be read"):
        gd.run(tiny(), store=copy, resume=True)
    with pytest.raises(gd.StoreError, match=r"node-1\.safetensors cannot be read"):
        gd.open_run(copy).best_mixture()


def interrupt(path):
    """Make a finished run look as if its process had died."""
    told = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(
        json.dumps(told | {"state": "running", "process": dead_process()})
    )
    shutil.rmtree(path / "dataset.zarr")


def test_a_run_that_lacks_its_end_alone_asks_the_method_for_nothing_more(copy, monkeypatch):
    interrupt(copy)
    asked, advance = [], Toy.advance
    monkeypatch.setattr(Toy, "advance", lambda *a: asked.append(len(a[-1])) or advance(*a))
    gd.run(tiny(), store=copy, resume=True)
    assert asked
    assert all(asked)


def test_a_finished_run_is_given_as_it_is(copy):
    before = sorted(path.stat().st_mtime_ns for path in copy.rglob("*"))
    xr.testing.assert_identical(gd.run(tiny(), store=copy, resume=True), gd.open_run(copy).ds)
    assert sorted(path.stat().st_mtime_ns for path in copy.rglob("*")) == before


def test_a_run_that_is_being_written_is_not_resumed(copy):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as writer:
        told = json.loads((copy / "run.json").read_text())
        told |= {"state": "running", "process": writer.pid, "born": lock.born(writer.pid)}
        told["home"] = {"path": str(copy), "inode": copy.stat().st_ino}
        (copy / "run.json").write_text(json.dumps(told))
        with pytest.raises(gd.StoreError, match="being written by another process"):
            gd.run(tiny(), store=copy, resume=True)
        writer.communicate(b"\n")


# ---- the state of a run


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class Clock:
    """A process's own clock, which goes on when somebody waits, and what happens meanwhile."""

    def __init__(self, monkeypatch, meanwhile=lambda: None):
        self.now, self.meanwhile, self.waited = 1e6, meanwhile, 0
        monkeypatch.setattr(
            description, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        )
        monkeypatch.setattr(description.Description, "watched", {})

    def sleep(self, seconds):
        self.waited += seconds
        self.now += seconds
        self.meanwhile()


def elsewhere(store, **more):
    """Let another machine write the run: of its processes nothing is known."""
    store.release()
    tell(store.path, **{"machine": "another", "host": "far", "process": os.getpid()} | more)


def test_a_run_whose_process_is_gone_is_interrupted(store):
    assert store.state == "running"
    store.release()
    tell(store.path, process=dead_process())
    assert store.state == "interrupted"
    store.beat(BEAT)
    assert store.state == "interrupted", "whatever it told before"
    tell(store.path, state="finished")
    assert store.state == "finished"


def test_a_zombie_writes_no_run(store):
    store.release()
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tell(store.path, process=process.pid, born=lock.born(process.pid))
    assert store.state == "running"
    process.stdin.close()
    deadline = time.monotonic() + 60
    while store.state == "running":  # nobody has waited for it: its number is not free
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, 0)
    assert store.state == "interrupted"
    Store.open(store.path).claim()
    process.wait()


def test_a_number_that_another_process_has_now_writes_no_run(store):
    store.release()
    tell(store.path, process=os.getppid(), born=lock.born(os.getppid()))
    assert store.state == "running"
    tell(store.path, born="1")
    assert store.state == "interrupted"
    Store.open(store.path).claim()


@pytest.mark.parametrize("process", [None, "gone"])
@pytest.mark.parametrize("skew", [-1e6, 0, 1e6])
def test_a_run_of_another_machine_is_known_by_a_heartbeat_that_moves(
    store, monkeypatch, process, skew
):
    """Whatever the clocks of either say."""
    clock = Clock(monkeypatch)
    elsewhere(store, process=dead_process() if process else os.getpid())
    looker = Store.open(store.path)
    for _ in range(5):
        store.beat(BEAT)
        os.utime(store.heartbeat, (1e9 + skew, 1e9 + skew))
        assert looker.state == "running"
        clock.now += QUIET - 0.1
        assert looker.state == "running"
    clock.now += 0.1
    assert looker.state == "interrupted"
    store.beat(BEAT)
    assert looker.state == "running"
    for ended in ("finished", "failed", "stopped"):
        tell(store.path, state=ended)
        assert looker.state == ended


# ---- who writes it


def test_a_run_that_another_process_writes_is_not_claimed(store):
    store.release()
    tell(store.path, process=os.getppid(), born=lock.born(os.getppid()))
    before = store.described.file.read_bytes()
    with pytest.raises(
        gd.StoreError, match=rf"another process \({os.getppid()} on .*wait for it.*--force"
    ):
        Store.open(store.path).claim()
    assert store.described.file.read_bytes() == before
    store.append([], 1.0)
    other = Store.open(store.path)
    other.claim(force=True)
    other.append([], 2.0)
    with pytest.raises(gd.StoreError, match="continued by another process"):
        store.append([], 3.0)


def test_a_run_of_another_machine_is_claimed_once_nothing_of_it_has_moved(store, monkeypatch):
    clock = Clock(monkeypatch)
    elsewhere(store)
    Store.open(store.path).claim()
    assert clock.waited == pytest.approx(QUIET, abs=1)


@pytest.mark.parametrize("beats", [1, 30, 110])
def test_a_run_of_another_machine_that_moves_is_not_claimed(store, monkeypatch, beats):
    looks = []

    def meanwhile():
        looks.append(True)
        if len(looks) == beats:
            store.beat(BEAT)

    Clock(monkeypatch, meanwhile)
    elsewhere(store)
    with pytest.raises(gd.StoreError, match=r"by another process \(\d+ on far\): wait for it"):
        Store.open(store.path).claim()
    assert len(looks) == beats
    store.append([], 1.0)


@pytest.mark.parametrize("locks", [True, False])
def test_a_run_that_is_locked_is_written_whatever_it_says(store, monkeypatch, locks):
    """Also where nobody sees the process: of another container, of another host."""
    store.release()
    elsewhere(store)
    Clock(monkeypatch)
    holder = [sys.executable, "-c", HOLD, str(store.described.lock_file)]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.read(1) == b"."
        if not locks:
            monkeypatch.setattr(lock.fcntl, "lockf", full)
        if locks:
            with pytest.raises(gd.StoreError, match="being written by another process"):
                Store.open(store.path).claim()
            description.Description.watched[store.path] = (b"long ago", 0.0)
            assert Store.open(store.path).state == "running"
            Store.open(store.path).claim(force=True)
        else:
            Store.open(store.path).claim()
        process.communicate(b"\n")


HOLD = """
import sys
from pathlib import Path
from gandask.core import lock

held = lock.take(Path(sys.argv[1]))
print(".", end="", flush=True)
input()
"""


def test_a_look_at_a_lock_of_this_process_does_not_end_it(store):
    for _ in range(3):
        assert Store.open(store.path).state == "running"
    look = [sys.executable, "-c", LOCKED, str(store.described.lock_file)]
    assert subprocess.run(look, check=False).returncode == 1
    store.release()
    assert subprocess.run(look, check=False).returncode == 0


def test_a_look_while_another_thread_takes_the_lock_does_not_end_it(store, monkeypatch):
    """To close a file ends the process's lock of it, by whatever thread."""
    path, lockf, taken = store.described.lock_file, lock.fcntl.lockf, []
    store.release()
    taking = threading.Thread(target=lambda: taken.append(lock.take(path)))

    def meanwhile(handle, how):
        if how & lock.fcntl.LOCK_SH and not taking.ident:
            taking.start()
            taking.join(0.2)
        lockf(handle, how)

    monkeypatch.setattr(lock.fcntl, "lockf", meanwhile)
    assert not lock.is_held(path)
    taking.join()
    assert lock.is_held(path)
    look = [sys.executable, "-c", LOCKED, str(path)]
    assert subprocess.run(look, check=False).returncode == 1
    taken.pop().close()
    assert not lock.is_held(path)


def test_a_lock_goes_by_the_file_whatever_it_is_called(store, tmp_path):
    store.path.rename(tmp_path / "other")
    moved = tmp_path / "other" / "run.lock"
    assert lock.is_held(moved)
    assert lock.take(moved) is store.described.lock


def test_a_run_that_is_read_only_is_told(store, monkeypatch):
    store.release()
    path, opening = str(store.described.lock_file), os.open

    def refusing(name, flags, *mode, **more):
        if str(name) == path and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opening(name, flags, *mode, **more)

    monkeypatch.setattr(os, "open", refusing)
    with pytest.raises(gd.StoreError, match=r"run\.lock cannot be written .*read-only here"):
        Store.open(store.path).claim()


LOCKED = """
import sys
from pathlib import Path
from gandask.core import lock

sys.exit(lock.is_held(Path(sys.argv[1])))
"""


def test_a_claim_that_came_to_nothing_can_be_repeated_at_once(store, monkeypatch):
    """As when the data are missing on this host."""
    Clock(monkeypatch)
    elsewhere(store)
    Store.open(store.path).claim()
    again = Store.open(store.path)
    again.claim()
    told = again.description
    assert told["writer"] == again.described.writer
    assert (told["host"], told["process"], told["fence"]) == (socket.gethostname(), os.getpid(), 3)


@pytest.mark.parametrize("state", ["running", "stopped", "failed"])
def test_whoever_takes_a_run_over_writes_it_alone(store, state):
    store.append([Report("node/0", 0, "train", {})], 1.0)
    tell(store.path, state=state, process=dead_process(), round=7)
    before = store.description
    other = Store.open(store.path)
    with pytest.raises(gd.StoreError, match="continued by another process"):
        other.append([], 2.0)  # it was not claimed yet
    other.claim()
    after = store.description
    assert after["writer"] != before["writer"]
    assert after["state"] == "running"  # nobody else may claim it now
    for key in ("format", "round", "facts"):
        assert after[key] == before[key]
    other.append([Report("node/0", 1, "train", {})], 2.0)
    with pytest.raises(gd.StoreError, match=r"run' was continued by another process: leave it"):
        store.append([Report("node/0", 2, "train", {})], 3.0)
    tell(store.path, fence=1, writer=store.described.writer)  # it wrote what it had begun to
    other.append([Report("node/0", 1, "train", {})], 2.5)
    other.describe("running", 8)
    with pytest.raises(gd.StoreError, match="continued by another process"):
        store.append([Report("node/0", 2, "train", {})], 3.0)
    other.append([Report("node/0", 2, "train", {})], 4.0)
    assert [elapsed for elapsed, _ in store.steps()] == [1.0, 2.0, 2.5, 4.0]


CLAIM = """
import sys, time
from pathlib import Path
from gandask.core import StoreError
from gandask.store import Store

store = Store.open(sys.argv[1])
Path(sys.argv[2]).touch()
while not Path(sys.argv[3]).exists():
    pass
try:
    store.claim()
except StoreError as error:
    sys.exit(3 if "another process" in str(error) else 4)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["stopped", "failed", "running"])
def test_of_many_that_claim_at_the_same_instant_one_does(store, tmp_path, state):
    store.release()
    tell(store.path, state=state, process=dead_process())
    ready, go = [tmp_path / f"ready{i}" for i in range(3)], tmp_path / "go"
    claiming = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(store.path), str(file), str(go)],
            stdin=subprocess.PIPE,
        )
        for file in ready
    ]
    while not all(file.exists() for file in ready):
        assert all(process.poll() is None for process in claiming)
        time.sleep(0.01)
    go.touch()
    # the one that claimed it stays alive until the others were refused
    deadline = time.monotonic() + 60
    while sum(process.poll() is None for process in claiming) > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for process in claiming:
        process.stdin.close()
    assert sorted(process.wait(60) for process in claiming) == [0, 3, 3]


def test_a_run_is_claimed_again_by_the_process_that_writes_it(store):
    """As after Ctrl-C in a notebook, when nothing could be written down any more."""
    other = Store.open(store.path)
    other.claim()
    other.append([], 1.0)
    with pytest.raises(gd.StoreError, match="continued by another process"):
        store.append([], 2.0)


@pytest.mark.parametrize("step", [1, 2])
def test_a_run_that_was_taken_over_leaves_it_to_the_other(tmp_path, monkeypatch, step):
    path, advance, calls = tmp_path / "run", Toy.advance, []

    def taken_over(self, view, reports):
        calls.append(view.round)
        if len(calls) == step:
            other = Store.open(path)
            other.described.busy.pop(other.path)  # as another process sees it
            other.claim()
            other.describe("running", 0)
            calls.append(other)
        return advance(self, view, reports)

    monkeypatch.setattr(Toy, "advance", taken_over)
    with pytest.raises(gd.StoreError, match="continued by another process"):
        gd.run(tiny(), store=path)
    other = next(call for call in calls if isinstance(call, Store))
    assert other.description["state"] == "running"
    assert "error" not in other.description
    other.append([], 1.0)


def test_a_stopped_run_is_continued_to_the_same_end(finished, tmp_path, monkeypatch):
    path, advance, calls = tmp_path / "run", Toy.advance, []

    def interrupted(self, view, reports):
        calls.append(view.round)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return advance(self, view, reports)

    with monkeypatch.context() as patch:
        patch.setattr(Toy, "advance", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gd.run(tiny(), store=path, checkpoint_every=1)
    stopped = gd.open_run(path)
    assert stopped.state == "stopped"
    assert "KeyboardInterrupt" in stopped.store.description["error"]
    assert stopped.ds.sizes["round"] >= 2
    assert stopped.best_mixture().sample(3).shape == (3, 2)
    dataset = gd.run(tiny(), store=path, resume=True)
    xr.testing.assert_identical(gd.without_timings(dataset), gd.without_timings(finished.dataset))
    assert stopped.state == "finished"
    assert "error" not in stopped.store.description


def test_a_finished_run_is_finished_again_at_once(copy, finished):
    before = (copy / "reports.jsonl").read_bytes()
    xr.testing.assert_identical(gd.run(tiny(), store=copy, resume=True), finished.dataset)
    assert (copy / "reports.jsonl").read_bytes() == before
    xr.testing.assert_identical(gd.open_run(copy).ds, finished.dataset)


@pytest.mark.parametrize("room", [7, 11, 12, 14])
def test_a_run_that_fills_the_disk_is_continued_to_the_same_end(
    finished, tmp_path, monkeypatch, room
):
    """Wherever it fills: in the log, in a checkpoint, in what tells of it."""
    fsync, calls = os.fsync, []

    def filling(handle):
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            calls.append(handle)
        if len(calls) > room:
            full()
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", filling)
        with pytest.raises(gd.StoreError, match=r"cannot be written: .*No space .*continue with"):
            gd.run(tiny(), store=tmp_path / "run", checkpoint_every=1)
    assert not [*tmp_path.glob("run/checkpoints/partial*")]
    tell(tmp_path / "run", process=dead_process())
    assert gd.open_run(tmp_path / "run").state == "interrupted", "there was no room to say more"
    dataset = gd.run(tiny(), store=tmp_path / "run", checkpoint_every=1, resume=True)
    xr.testing.assert_identical(gd.without_timings(dataset), gd.without_timings(finished.dataset))


@pytest.mark.parametrize("changes", [{"seed": 2}, {"rounds": 4}, {"rate": 0.25}])
def test_a_run_is_continued_with_its_own_settings_only(copy, changes):
    ((key, value),) = changes.items()
    with pytest.raises(gd.StoreError, match=rf"{key}={value!r}: the run in .* has "):
        gd.run(tiny(**changes), store=copy, resume=True)
    assert gd.open_run(copy).state == "finished"


def test_a_run_that_fails_says_where_and_why(tmp_path):
    with pytest.raises(gd.TaskError) as raised:
        gd.run(tiny(fails=1, seed=23), store=tmp_path / "run")
    for part in ("node/0", "round 1", "seed 23", "ArithmeticError: no such number", "in step"):
        assert part in str(raised.value)
    opened = gd.open_run(tmp_path / "run")
    assert opened.state == "failed"
    assert "no such number" in opened.store.description["error"]
    assert opened.ds.sizes["round"] == 0


# ---- opening a run


def test_the_dataset_comes_back_as_it_was_returned(finished):
    read = gd.open_run(finished.path).ds
    xr.testing.assert_identical(read, finished.dataset)
    assert {name: str(array.dtype) for name, array in read.variables.items()} == {
        name: str(array.dtype) for name, array in finished.dataset.variables.items()
    }


def test_the_dataset_is_plain_zarr_for_others(finished, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Store(tmp_path).write_dataset(finished.dataset)
        read = xr.open_zarr(tmp_path / "dataset.zarr", consolidated=False).load()
    xr.testing.assert_identical(read, finished.dataset)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.zarr"]


def test_a_dataset_is_written_whole_or_not_at_all(copy, finished, monkeypatch):
    def crash(*_, **__):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(xr.Dataset, "to_zarr", crash)
        with pytest.raises(OSError, match="disk full"):
            Store(copy).write_dataset(finished.dataset)
    (copy / "dataset.zarr.partial").mkdir()
    xr.testing.assert_identical(gd.open_run(copy).ds, finished.dataset)
    Store(copy).write_dataset(finished.dataset)
    assert not (copy / "dataset.zarr.partial").exists()


def test_a_damaged_dataset_is_made_again_from_the_log(copy, finished):
    (copy / "dataset.zarr" / "distance" / "zarr.json").write_text("{")
    with pytest.raises(gd.StoreError, match=r"dataset\.zarr cannot be read: .*delete it"):
        _ = gd.open_run(copy).ds
    shutil.rmtree(copy / "dataset.zarr")
    xr.testing.assert_identical(gd.open_run(copy).ds, finished.dataset)


def test_a_run_can_be_read_while_it_is_written(copy, finished):
    whole = (copy / "steps.jsonl").read_bytes()
    under_way(copy, lines=0)
    lines = whole.splitlines(keepends=True)
    rounds = []
    for count in range(len(lines) + 1):
        # the next line is being written
        begun = lines[count][:40] if count < len(lines) else b""
        (copy / "steps.jsonl").write_bytes(b"".join(lines[:count]) + begun)
        opened = gd.open_run(copy)
        assert opened.state == "running"
        read = gd.without_timings(opened.ds)
        rounds.append(read.sizes["round"])
        expected = gd.without_timings(finished.dataset).isel(round=slice(rounds[-1]))
        final = [name for name in expected if str(name).startswith("final_")]
        if count < len(lines):  # what the last step reads of others counts for the last round
            final += ["sent_bytes", "term"]
        xr.testing.assert_identical(read.drop_vars(final), expected.drop_vars(final))
        assert bool(read["final_distance"].notnull().all()) == (count == len(lines))
    assert rounds == [0, 1, 2, 3, 3]


def test_without_a_checkpoint_there_is_no_mixture(copy):
    under_way(copy, lines=3)
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    with pytest.raises(gd.StoreError, match="no checkpoint yet"):
        gd.open_run(copy).best_mixture()


def test_without_a_score_there_is_no_best_mixture(copy):
    file = copy / "checkpoints" / "round-000003" / "checkpoint.json"
    told = json.loads(file.read_text()) | {"best": None}
    told.pop("digest")
    file.write_text(stored.description(told))
    with pytest.raises(gd.StoreError, match="no mixture was scored"):
        gd.open_run(copy).best_mixture()
    assert gd.open_run(copy).mixture("node/1").sample(2).shape == (2, 2)


def test_the_best_mixture_can_be_sampled(finished):
    opened = gd.open_run(finished.path)
    samples = opened.best_mixture().sample(64, seed=0)
    assert samples.shape == (64, 2)
    assert torch.isfinite(samples).all()
    assert torch.equal(samples, gd.open_run(finished.path).best_mixture().sample(64, seed=0))
    assert not torch.equal(samples, opened.best_mixture().sample(64, seed=1))
    best = int(finished.dataset["final_distance"].values.argmin())
    assert torch.equal(samples, opened.mixture(f"node/{best}").sample(64, seed=0))
    shares = finished.dataset["mixture_weight"].values[-1, best]
    mixture = opened.best_mixture()
    assert sorted(mixture.weights.values()) == sorted(shares.tolist())
    with pytest.raises(gd.StoreError, match=r"'node/7': expected one of node/0, node/1"):
        opened.mixture("node/7")


def test_a_run_knows_its_settings(finished):
    opened = gd.open_run(str(finished.path))
    assert opened.method == tiny()
    assert opened.settings == {key: getattr(tiny(), key) for key in opened.settings}
    assert opened.settings["nodes"] == 2
    assert opened.settings["rate_schedule"] == {}
    assert opened.state == "finished"
    assert repr(opened) == f"Run({str(finished.path)!r}, finished, round 3)"
