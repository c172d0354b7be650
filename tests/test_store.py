"""The store: what is written comes back exactly, and nothing that is read can do harm."""

import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import xarray as xr

import gandask as gd
from gandask.core import Report
from gandask.store import FORMAT, Store, load_states, save_states

TINY = {
    "data": "ring8",
    "network": "small_mlp",
    "shape": (1, 2),
    "rounds": 3,
    "batch_size": 5000,
    "fitness_samples": 100,
    "score_samples": 100,
    "final_samples": 200,
}


def tiny(**changes):
    return gd.Grid(**TINY | changes)


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "finished"
    return SimpleNamespace(path=path, dataset=gd.run(tiny(), store=path))


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished.path, tmp_path / "copy"))


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "run", tiny(), {"sample_shape": [2]})


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
        Store.create(path, tiny(), {})
    assert kept.read_text() == "years of work"
    assert [*tmp_path.rglob("*")] == sorted({path, kept})


def test_an_empty_folder_is_as_good_as_none(tmp_path):
    path = tmp_path / "empty"
    path.mkdir()
    assert Store.create(path, tiny(), {}).state == "running"


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Store("~/runs/first").path == tmp_path.resolve() / "runs" / "first"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(gd.StoreError, match=r"store=.*file/run' cannot be created: .*directory"):
        gd.run(tiny(), store=tmp_path / "file" / "run")

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", forbidden)
    with pytest.raises(gd.StoreError, match=r"locked' cannot be created: .*Permission denied"):
        Store.create(tmp_path / "locked", tiny(), {})


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


ARRAYS = {
    **{
        dtype: np.array([[0, 1, 2], [3, 4, 250]]).astype(dtype)
        for dtype in ("f2", "f4", "f8", ">f8", "i1", "i8", "u1", "u8", "?", "c16", "U5", "S3")
    },
    "not_a_number": np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 5e-324]),
    "extremes": np.array([-(2**63), 2**63 - 1]),
    "scalar": np.array(0.1, "f4"),
    "text": np.array("µ::\n"),
    "empty": np.zeros((0, 3), "f4"),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(10)[::-3],
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_in_the_log_come_back_exactly(store, name):
    store.append([Report("cell/0", 1, {"array": ARRAYS[name]})], 0.5)
    ((_, (report,)),) = store.steps()
    assert exact(report.values["array"]) == exact(ARRAYS[name])


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
    }
    reports = [
        Report("cell/0", 1, values, {"train": 0.1, "gather": 0.0}, 1.7e9 + 0.1, "tcp://1:2", 12),
        Report("cell/1", 1, {}),
    ]
    store.append(reports, 1 / 3)
    store.append([], 2 / 3)
    (elapsed, read), (later, none) = store.steps()
    assert (elapsed, later, none) == (1 / 3, 2 / 3, [])
    assert [repr(report) for report in read] == [repr(report) for report in reports]


def test_numpy_scalars_come_back_as_their_value(store):
    values = {"f": np.float32(0.1), "i": np.int64(7), "b": np.bool_(True), "s": np.str_("x")}
    store.append([Report("cell/0", 1, values)], 0.0)
    ((_, (report,)),) = store.steps()
    assert report.values == {"f": float(np.float32(0.1)), "i": 7, "b": True, "s": "x"}
    assert [type(value) for value in report.values.values()] == [float, int, bool, str]


def test_a_line_being_written_is_left_out(store):
    for number in range(3):
        store.append([Report("cell/0", number, {"array": np.arange(3)})], float(number))
    whole = store.log.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(len(lines[2])):
        store.log.write_bytes(whole[: len(whole) - len(lines[2]) + cut])
        assert [elapsed for elapsed, _ in store.steps()] == [0.0, 1.0]


@pytest.mark.parametrize(
    "damage",
    [
        b"{",
        b"",
        b"[]",
        b"3",
        b"\xff\xfe\x80",
        b'{"elapsed": 1}',
        b'{"elapsed": 1, "reports": [{"place": "cell/0"}]}',
        b'{"elapsed": 1, "reports": [{"dtype": "<f8", "shape": [2], "base64": "AAAA"}]}',
        b'{"elapsed": 1, "reports": [{"dtype": "<f8", "shape": [1], "base64": "?"}]}',
        b'{"elapsed": 1, "reports": [{"dtype": "nonsense", "shape": [0], "base64": ""}]}',
        b'{"elapsed": 1, "reports": [{"dtype": "|O", "shape": [1], "base64": "AAAAAAAAAAA="}]}',
    ],
)
def test_a_damaged_line_is_named(store, damage):
    for number in range(3):
        store.append([Report("cell/0", number, {})], float(number))
    lines = store.log.read_bytes().splitlines()
    store.log.write_bytes(b"\n".join([lines[0], damage, lines[2], b""]))
    steps = store.steps()
    assert next(steps)[0] == 0.0
    with pytest.raises(gd.StoreError, match=r"reports\.jsonl, line 2 is damaged"):
        next(steps)


@pytest.mark.parametrize("array", [np.array([{}]), np.zeros(2, "i4, f8"), np.zeros(2, "V8")])
def test_arrays_of_objects_never_enter_the_log(store, array):
    with pytest.raises(gd.StoreError, match="expected numbers or text"):
        store.append([Report("cell/0", 1, {"array": array})], 0.0)
    assert store.log.read_bytes() == b""


def test_a_log_that_is_gone_is_told(copy):
    under_way(copy)
    (copy / "reports.jsonl").unlink()
    with pytest.raises(gd.StoreError, match=r"reports\.jsonl cannot be read"):
        _ = gd.open_run(copy).ds
    with pytest.raises(gd.StoreError, match=r"reports\.jsonl cannot be read"):
        gd.run(tiny(), store=copy, resume=True)


def test_a_log_shorter_than_its_checkpoint_cannot_be_continued(copy):
    under_way(copy, lines=2)
    before = (copy / "reports.jsonl").read_bytes()
    with pytest.raises(gd.StoreError, match=r"reports\.jsonl is shorter"):
        gd.run(tiny(), store=copy, resume=True)
    assert (copy / "reports.jsonl").read_bytes() == before


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
    + [f"checkpoints/round-000003/{name}" for name in ("cell-0.safetensors", "checkpoint.json")],
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


def test_a_dataset_planted_with_a_pickle_codec_is_refused_and_not_run(copy, tmp_path):
    sprung, planted = tmp_path / "sprung", copy / "dataset.zarr"
    shutil.rmtree(planted)
    (planted / "fid").mkdir(parents=True)
    (planted / ".zgroup").write_text('{"zarr_format": 2}')
    array = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "order": "C"}
    array |= {"fill_value": None, "compressor": None, "filters": [{"id": "pickle"}]}
    (planted / "fid" / ".zarray").write_text(json.dumps(array))
    (planted / "fid" / ".zattrs").write_text('{"_ARRAY_DIMENSIONS": ["round"]}')
    (planted / "fid" / "0").write_bytes(pickle.dumps(Trap(sprung)))
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
    assert suffixes == {".toml", ".json", ".jsonl", ".safetensors"}
    assert codecs <= {"bytes", "zstd", "vlen-utf8"}


# ---- checkpoints


def checkpoint(store, round, value=0.0):
    """Make one the way the engine does."""
    partial = store.path / "checkpoints" / "partial"
    partial.mkdir()
    save_states(
        {"weight": np.full(3, value)}, names=["cell/0"], path=str(partial / "cell-0.safetensors")
    )
    view = SimpleNamespace(round=round, mixtures={"cell/0": {"cell/0": 1.0}}, best="cell/0")
    return store.seal(partial, view, {"cell-0.safetensors": ["cell/0"]})


def weights(folder):
    ((state,), _) = load_states(names=["cell/0"], path=str(folder / "cell-0.safetensors"))
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
    path = str(tmp_path / "cell-0.safetensors")
    names = ["cell/0/generator/1", "cell/0/generator/1/moments", "cell/0/bare"]
    states = (STATE, {"0.weight": np.array(3)}, {})
    assert save_states(*states, names=names, path=path) == ((), {})
    read, values = load_states(names=names, path=path)
    assert values == {}
    for state, other in zip(states, read, strict=True):
        assert {key: exact(array) for key, array in state.items()} == {
            key: exact(array) for key, array in other.items()
        }


def test_states_are_read_by_name(tmp_path):
    path = str(tmp_path / "cell-0.safetensors")
    save_states({"w": np.zeros(1)}, {"w": np.ones(1)}, names=["cell/0", "cell/0/x"], path=path)
    ((state,), _) = load_states(names=["cell/0/x"], path=path)
    assert state["w"].tolist() == [1]


@pytest.mark.parametrize("damage", [None, b"", b"\x80\x04N.", b"\x08" + b"\0" * 20])
def test_a_damaged_or_missing_state_file_is_named(tmp_path, damage):
    path = tmp_path / "cell-0.safetensors"
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(gd.StoreError, match=r"cell-0\.safetensors cannot be read"):
        load_states(names=["cell/0"], path=str(path))


def test_a_checkpoint_half_written_is_never_read(store, monkeypatch):
    partial = store.path / "checkpoints" / "partial"
    partial.mkdir()
    (partial / "cell-0.safetensors").write_bytes(b"half")
    (store.path / "checkpoints" / "round-000009").mkdir()
    assert store.last_checkpoint() is None
    shutil.rmtree(partial)
    first = checkpoint(store, 1, 1.0)

    def crash(*_):
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(OSError, match="power cut"):
            checkpoint(store, 2, 2.0)
    assert store.checkpoints() == [first]
    assert weights(first) == [1, 1, 1]


def test_a_checkpoint_with_a_missing_file_is_not_sealed(store):
    partial = store.path / "checkpoints" / "partial"
    partial.mkdir()
    view = SimpleNamespace(round=1, mixtures={}, best=None)
    with pytest.raises(
        gd.StoreError, match=r"partial/cell-0\.safetensors .*folder that they share"
    ):
        store.seal(partial, view, {"cell-0.safetensors": ["cell/0"]})
    assert store.checkpoints() == []


def test_only_the_last_two_checkpoints_are_kept(store):
    folders = [checkpoint(store, round, float(round)) for round in (10, 20, 30, 100)]
    assert store.checkpoints() == folders[2:]
    assert sorted(path.name for path in (store.path / "checkpoints").iterdir()) == [
        "round-000030",
        "round-000100",
    ]
    folder, told = store.last_checkpoint()
    assert folder == folders[-1]
    assert told["files"] == {"cell-0.safetensors": ["cell/0"]}
    assert told["best"] == "cell/0"


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
        store.last_checkpoint()


def test_a_checkpoint_that_misses_a_file_is_passed_over(copy):
    """The one before is used; without one, the run is computed again from the start."""
    whole = gd.open_run(copy).ds
    last = gd.open_run(copy).store.checkpoints()[-1]
    (last / "cell-1.safetensors").unlink()
    with pytest.raises(gd.StoreError, match="no checkpoint yet"):
        gd.open_run(copy).best_mixture()
    interrupt(copy)
    again = gd.run(tiny(), store=copy, resume=True)
    xr.testing.assert_identical(gd.without_timings(whole), gd.without_timings(again))


def test_a_damaged_state_file_is_named_on_resuming(copy):
    next(copy.glob("checkpoints/*/cell-1.safetensors")).write_bytes(b"not weights")
    interrupt(copy)
    with pytest.raises(gd.TaskError, match=r"cell-1\.safetensors cannot be read"):
        gd.run(tiny(), store=copy, resume=True)
    with pytest.raises(gd.StoreError, match=r"cell-1\.safetensors cannot be read"):
        gd.open_run(copy).best_mixture()


def interrupt(path):
    """Make a finished run look as if its process had died."""
    told = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(
        json.dumps(told | {"state": "running", "process": dead_process()})
    )
    shutil.rmtree(path / "dataset.zarr")


def test_a_finished_run_is_given_as_it_is(copy):
    before = sorted(path.stat().st_mtime_ns for path in copy.rglob("*"))
    xr.testing.assert_identical(gd.run(tiny(), store=copy, resume=True), gd.open_run(copy).ds)
    assert sorted(path.stat().st_mtime_ns for path in copy.rglob("*")) == before


def test_a_run_that_is_being_written_is_not_resumed(copy):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as writer:
        told = json.loads((copy / "run.json").read_text())
        told |= {"state": "running", "process": writer.pid}
        (copy / "run.json").write_text(json.dumps(told))
        with pytest.raises(gd.StoreError, match="being written by another process"):
            gd.run(tiny(), store=copy, resume=True)
        writer.communicate(b"\n")


# ---- the state of a run


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_whose_process_is_gone_is_interrupted(store):
    assert store.state == "running"
    gone = dead_process()
    tell(store.path, process=gone)
    assert store.state == "interrupted"
    tell(store.path, host=f"not-{socket.gethostname()}")
    assert store.state == "running", "of another host's processes nothing is known"
    tell(store.path, host=socket.gethostname(), state="finished")
    assert store.state == "finished"


def test_a_stopped_run_is_continued_to_the_same_end(finished, tmp_path, monkeypatch):
    path, advance, calls = tmp_path / "run", gd.Grid.advance, []

    def interrupted(self, view, reports):
        calls.append(view.round)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return advance(self, view, reports)

    with monkeypatch.context() as patch:
        patch.setattr(gd.Grid, "advance", interrupted)
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


@pytest.mark.parametrize("changes", [{"seed": 2}, {"rounds": 4}, {"data_dir": "/data"}])
def test_a_run_is_continued_with_its_own_settings_only(copy, changes):
    ((key, value),) = changes.items()
    with pytest.raises(gd.StoreError, match=rf"{key}={value!r}: the run in .* has "):
        gd.run(tiny(**changes), store=copy, resume=True)
    assert gd.open_run(copy).state == "finished"


class Broken(torch.nn.Linear):
    def forward(self, samples):
        if not samples.is_meta:
            raise ArithmeticError("no such number")
        return super().forward(samples)


def test_a_run_that_fails_says_where_and_why(tmp_path, monkeypatch):
    network = gd.Network(lambda *_: Broken(2, 2), gd.NETWORKS["small_mlp"].discriminator, latent=2)
    monkeypatch.setitem(gd.NETWORKS, "broken", network)
    with pytest.raises(gd.TaskError) as raised:
        gd.run(tiny(network="broken", seed=23), store=tmp_path / "run")
    for part in ("cell/0", "round 0", "seed 23", "ArithmeticError: no such number", "in forward"):
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
    (copy / "dataset.zarr" / "fid" / "zarr.json").write_text("{")
    with pytest.raises(gd.StoreError, match=r"dataset\.zarr cannot be read: .*delete it"):
        _ = gd.open_run(copy).ds
    shutil.rmtree(copy / "dataset.zarr")
    xr.testing.assert_identical(gd.open_run(copy).ds, finished.dataset)


def test_a_run_can_be_read_while_it_is_written(copy, finished):
    whole = (copy / "reports.jsonl").read_bytes()
    under_way(copy, lines=0)
    lines = whole.splitlines(keepends=True)
    rounds = []
    for count in range(len(lines) + 1):
        # the next line is being written
        begun = lines[count][:40] if count < len(lines) else b""
        (copy / "reports.jsonl").write_bytes(b"".join(lines[:count]) + begun)
        opened = gd.open_run(copy)
        assert opened.state == "running"
        read = gd.without_timings(opened.ds)
        rounds.append(read.sizes["round"])
        expected = gd.without_timings(finished.dataset).isel(round=slice(rounds[-1]))
        final = [name for name in expected if str(name).startswith("final_")]
        xr.testing.assert_identical(read.drop_vars(final), expected.drop_vars(final))
        assert bool(read["final_fid"].notnull().all()) == (count == len(lines))
    assert rounds == [0, 0, 1, 1, 2, 2, 3, 3]


def test_without_a_checkpoint_there_is_no_mixture(copy):
    under_way(copy, lines=3)
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    with pytest.raises(gd.StoreError, match="no checkpoint yet"):
        gd.open_run(copy).best_mixture()


def test_without_a_score_there_is_no_best_mixture(copy):
    file = copy / "checkpoints" / "round-000003" / "checkpoint.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"best": None}))
    with pytest.raises(gd.StoreError, match="no mixture was scored"):
        gd.open_run(copy).best_mixture()
    assert gd.open_run(copy).mixture("cell/1").sample(2).shape == (2, 2)


def test_the_best_mixture_can_be_sampled(finished):
    opened = gd.open_run(finished.path)
    samples = opened.best_mixture().sample(64, seed=0)
    assert samples.shape == (64, 2)
    assert torch.isfinite(samples).all()
    assert torch.equal(samples, gd.open_run(finished.path).best_mixture().sample(64, seed=0))
    assert not torch.equal(samples, opened.best_mixture().sample(64, seed=1))
    best = int(finished.dataset["final_fid"].values.argmin())
    assert torch.equal(samples, opened.mixture(f"cell/{best}").sample(64, seed=0))
    shares = finished.dataset["final_mixture_weight"].values[0, best]
    mixture = opened.best_mixture()
    assert sorted(mixture.weights.values()) == sorted(shares.tolist())
    with pytest.raises(gd.StoreError, match=r"'cell/7': expected one of cell/0, cell/1"):
        opened.mixture("cell/7")


def test_a_run_knows_its_settings(finished):
    opened = gd.open_run(str(finished.path))
    assert opened.method == tiny()
    assert opened.settings == {key: getattr(tiny(), key) for key in opened.settings}
    assert opened.settings["shape"] == (1, 2)
    assert opened.settings["data_dir"] is None
    assert opened.state == "finished"
    assert repr(opened) == f"Run({str(finished.path)!r}, finished, round 3)"
