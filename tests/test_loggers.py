"""Loggers, each by what is read back: from an MLflow server, event files, and W&B's log."""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
from conftest import until
from toy import Toy

import gandask as gd
from gandask import loggers
from gandask.core import Record, Variable

METHOD = Toy(nodes=2, rounds=5)


def needs(package):
    """Skip a test without a package, unless all of them are to be there: `.ci/loggers`."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(package)
    if os.environ.get("GANDASK_REQUIRE_LOGGERS") == "1":
        pytest.fail(f"{package} is not installed")
    pytest.skip(f"{package} is not installed: see .ci/loggers")


def interrupted(store, first, again):
    """Carry out a run that dies after what it wrote of round 4, and go on after round 2."""

    def die(view, records):
        first(view, records)
        if view.round == 4:
            raise KeyboardInterrupt  # nobody tells the logger

    kept = {"store": store, "checkpoint_every": 2, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        gd.run(METHOD, **kept, on_step=die)
    with again() as log:
        return gd.run(METHOD, resume=True, **kept, on_step=log)


def numbers(ds):
    """Give what a logger is to write of a run: by name, the values by round."""
    layout, found = METHOD.layout(), {}
    for name, variable in layout.variables.items():
        whole = ds[name]
        if variable.timing or variable.dims or whole.dtype.kind not in "bif":
            continue
        slots = layout.roles[variable.role].slots if variable.role else ("",)
        for index, slot in enumerate(slots):
            at = {dim: index for dim in whole.dims if dim != "round"}
            values = np.atleast_1d(whole.isel(at).values).astype(float)
            rounds = range(1, len(values) + 1) if variable.by_round else [METHOD.rounds]
            told = f"{name}/{slot}" if slot else name
            found[told] = dict(zip(rounds, values.tolist(), strict=True))
    return {name: row for name, row in found.items() if np.isfinite([*row.values()]).all()}


class Listed(loggers.Logger):
    """Keep what is written in a list."""

    def __init__(self, method):
        super().__init__(method)
        self.written, self.ended = [], []

    def write(self, new):
        self.written += new

    def close(self, failed=False):
        self.ended.append(failed)


def by_name(written):
    found = {}
    for point in written:
        assert point.round not in found.setdefault(point.name, {}), f"{point} is written twice"
        found[point.name][point.round] = point.value
    return found


def test_a_run_is_written_as_its_dataset_holds_it():
    with Listed(METHOD) as log:
        ds = gd.run(METHOD, progress=False, on_step=log)
    assert by_name(log.written) == numbers(ds)
    assert len(numbers(ds)) > 2
    assert log.ended == [False]


def test_what_was_written_is_not_written_again(tmp_path):
    log = Listed(METHOD)
    ds = interrupted(tmp_path / "run", log, lambda: log)
    assert by_name(log.written) == numbers(ds)


def test_a_context_that_fails_says_so():
    log = Listed(METHOD)
    with pytest.raises(KeyError), log:
        raise KeyError
    assert log.ended == [True]


def test_arrays_texts_and_whole_numbers_for_none_are_left_out():
    known = {
        "parent": Variable("parent", dtype="int64"),
        "loss": Variable("loss", "", dtype="str"),
        "weights": Variable("weights", dims=("neighbour",)),
        "replaced": Variable("replaced", "", dtype="bool"),
    }
    values = {"parent": -1, "loss": "bce", "weights": np.ones(2), "replaced": np.bool_(True)}
    found = [*loggers.points([Record("cell/0", 1, values), Record("", 2, {"parent": 3})], known)]
    assert found == [("replaced/cell/0", "cell/0", 1, 1.0), ("parent", "", 2, 3.0)]


@pytest.mark.parametrize(
    ("package", "begin"),
    [
        ("mlflow", loggers.MLflow),
        ("tensorboard", lambda method: loggers.TensorBoard(method, "events")),
        ("wandb", loggers.WandB),
    ],
)
def test_a_package_that_is_not_installed_is_asked_for(monkeypatch, package, begin):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(gd.SettingError, match=rf"pip install 'gandask\[{package}\]'"):
        begin(METHOD)


# ---- TensorBoard


def read_events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    read.Reload()
    found = {}
    for tag in read.Tags()["scalars"]:
        steps = [event.step for event in read.Scalars(tag)]
        assert len(steps) == len({*steps}), f"{tag} has a step twice"
        found[tag] = {event.step: event.value for event in read.Scalars(tag)}
    (settings,) = [event.tensor_proto.string_val[0] for event in read.Tensors(SETTINGS)]
    return found, settings.decode()


SETTINGS = "settings/text_summary"


@pytest.mark.deep
def test_event_files_hold_a_run_that_was_interrupted(tmp_path):
    needs("tensorboard")
    folder = tmp_path / "events"
    ds = interrupted(
        tmp_path / "run",
        loggers.TensorBoard(METHOD, folder),
        lambda: loggers.TensorBoard(METHOD, folder),
    )
    found, settings = read_events(folder)
    assert found == {
        name: {round: pytest.approx(value, rel=1e-6) for round, value in row.items()}
        for name, row in numbers(ds).items()
    }
    assert 'method = "toy"' in settings
    assert "rounds = 5" in settings


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    needs("tensorboard")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(gd.SettingError, match="cannot be written"):
        loggers.TensorBoard(METHOD, tmp_path / "file")


# ---- MLflow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Start an MLflow server of the tests' own, and give its address."""
    needs("mlflow")  # mlflow-skinny has no server
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}"]
    command += [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", "--workers=1"]
    command += [f"--default-artifact-root={folder}/artifacts"]
    address = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        try:
            # it makes its tables first
            ready = f"{address}/health"
            until(lambda: answers(ready) or running.poll(), "MLflow answers", seconds=300)
            assert running.poll() is None, (folder / "server.log").read_text()
            yield address
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def answers(address):
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
        return answer.status == 200
    return False


@pytest.mark.deep
def test_an_mlflow_server_holds_a_run_that_was_interrupted(tmp_path, server):
    from mlflow import MlflowClient

    first = loggers.MLflow(METHOD, tracking_uri=server, experiment="points")
    client = MlflowClient(server)
    ds = interrupted(
        tmp_path / "run",
        first,
        lambda: loggers.MLflow(METHOD, tracking_uri=server, run_id=first.run_id),
    )
    (told,) = client.search_runs([client.get_experiment_by_name("points").experiment_id])
    assert told.info.run_id == first.run_id
    assert told.info.status == "FINISHED"
    assert (told.data.params["method"], told.data.params["rounds"]) == ("toy", "5")
    found = {}
    for name in told.data.metrics:
        history = [(one.step, one.value) for one in client.get_metric_history(first.run_id, name)]
        assert len(history) == len(dict(history)), f"{name} has a step twice"
        found[name] = dict(history)
    assert found == numbers(ds)
    with pytest.raises(gd.SettingError, match="run_id='none'"):
        loggers.MLflow(METHOD, tracking_uri=server, run_id="none")


@pytest.mark.deep
def test_mlflow_is_told_of_a_run_that_failed(server):
    from mlflow import MlflowClient

    with pytest.raises(KeyError), loggers.MLflow(METHOD, tracking_uri=server) as log:
        raise KeyError
    assert MlflowClient(server).get_run(log.run_id).info.status == "FAILED"


# ---- Weights & Biases


def history(folder):
    """Read the rows of W&B's log: records of LevelDB's format, in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, at, whole, rows = file.read_bytes(), 7, b"", []
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            row = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            rows += [{key: json.loads(value) for key, value in row.items()}] if row else []
    return rows


def of_history(folder):
    """Give what its log holds by name and round, of the round that each row tells."""
    found = {}
    for row in history(folder):
        (by,) = [key for key in row if key.startswith("round")]
        slot = by.removeprefix("round")
        for name in row.keys() - {by, "_timestamp", "_runtime", "_step"}:
            assert name.endswith(slot)
            assert row[by] not in found.setdefault(name, {}), f"{name} has a round twice"
            found[name][row[by]] = row[name]
    return found


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Let W&B write into a folder, and end the process that does it."""
    needs("wandb")
    import wandb

    for key, value in {"MODE": "offline", "DIR": tmp_path, "SILENT": "true"}.items():
        monkeypatch.setenv(f"WANDB_{key}", str(value))
    yield tmp_path
    wandb.teardown()


@pytest.mark.deep
def test_wandb_holds_a_run(offline):
    with loggers.WandB(METHOD, run_id="mine") as log:
        ds = gd.run(METHOD, progress=False, on_step=log)
    assert log.run_id == "mine"
    assert log.run.config["rounds"] == 5
    # a process of its own writes it, and is not waited for
    until(lambda: of_history(offline) == numbers(ds), "W&B's log holds the run")


@pytest.mark.deep
def test_wandb_goes_on_after_what_it_has_of_a_run(offline, monkeypatch):
    import wandb

    begun = wandb.init

    def resumed(**given):
        assert (given["id"], given["resume"]) == ("mine", "allow")
        run = begun(**given)
        run.summary.update({"round/node/0": 4, "distance/node/0": 0.5})  # as W&B's server answers
        return run

    monkeypatch.setattr(wandb, "init", resumed)
    with loggers.WandB(METHOD, run_id="mine") as log:
        gd.run(METHOD, progress=False, on_step=log)
    until(lambda: len(of_history(offline).get("distance/node/1", ())) == 5, "W&B's log is whole")
    assert of_history(offline)["distance/node/0"].keys() == {5}
