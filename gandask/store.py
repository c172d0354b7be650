"""A run on disk: one folder that can be read while it is being written.

``config.toml`` (exact, re-runnable), ``run.json`` (format, state, facts), ``reports.jsonl`` (one
line per step of the method, appended durably), ``checkpoints/round-000010/*.safetensors``,
``dataset.zarr`` and ``samples/``. Nothing in it is a pickle, and nothing in it is executed; a
neighbourhood that ``config.toml`` names as ``module:function`` is imported, as in any settings.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from gandask import config
from gandask.core import Array, Report, State, StoreError, Values, View
from gandask.results import fixed

if TYPE_CHECKING:
    import xarray as xr

FORMAT = 1
"""Of the folder; a store of a newer format is refused."""

SEPARATOR = "::"  # between the name of a state and of an array in a checkpoint


class Store:
    """One run's folder.

    Parameters
    ----------
    path : path-like
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser().resolve()
        self.log = self.path / "reports.jsonl"

    @classmethod
    def create(cls, path: str | os.PathLike[str], method: Any, facts: Mapping[str, Any]) -> Store:
        """Begin a new store.

        Raises
        ------
        StoreError
            If something is there already, or the folder cannot be written.
        """
        store = cls(path)
        settings = config.to_toml(method)
        store.refuse_existing()
        try:
            (store.path / "checkpoints").mkdir(parents=True)
            (store.path / "samples").mkdir()
            _write_whole(store.path / "config.toml", settings)
            store.log.touch()
            store.describe("running", 0, facts=dict(facts))
        except OSError as error:
            raise StoreError(f"store={str(path)!r} cannot be created: {error}") from error
        return store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Open a store that is there.

        Raises
        ------
        StoreError
            If there is none, or it was written by a newer version.
        """
        store = cls(path)
        if not (store.path / "config.toml").is_file():
            raise StoreError(f"{str(path)!r} is not a run: expected a folder with a config.toml")
        written = store.description["format"]
        if written > FORMAT:
            raise StoreError(
                f"{str(path)!r} was written by a newer gandask (store format {written}, this one "
                f"reads up to {FORMAT}): upgrade gandask to read it"
            )
        return store

    def refuse_existing(self) -> None:
        """Raise StoreError if something is there already."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise StoreError(
                f"store={str(self.path)!r} exists already: continue that run with resume=True "
                "(gandask train --resume), or choose another name"
            )

    @property
    def description(self) -> dict[str, Any]:
        """What ``run.json`` says: format, state, round, facts."""
        try:
            found = json.loads((self.path / "run.json").read_bytes())
            known = {"format": int(found["format"])}
            if known["format"] <= FORMAT:
                known |= {key: found[key] for key in ("state", "round", "process", "facts")}
            return dict(found) | known
        except (OSError, ValueError, TypeError, KeyError) as error:
            told = f"{type(error).__name__}: {error}"
            raise StoreError(f"{self.path / 'run.json'} cannot be read: {told}") from error

    def describe(self, state: str, round: int, **more: Any) -> None:
        """Write the run's state."""
        known = self.description if (self.path / "run.json").exists() else {"format": FORMAT}
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        process = {"host": socket.gethostname(), "process": os.getpid()}
        known.pop("error", None)  # of a run that failed and was continued
        told = known | {"state": state, "round": round, "updated": now, **process, **more}
        _write_whole(self.path / "run.json", json.dumps(told, indent=1))

    @property
    def written_here(self) -> bool:
        """Whether a process on this host, other than this one, is writing the run."""
        told = self.description
        ours = told.get("host") == socket.gethostname() and int(told["process"]) != os.getpid()
        return ours and self.state == "running"

    @property
    def state(self) -> str:
        """One of ``running``, ``finished``, ``failed``, ``stopped``, ``interrupted``.

        A run whose process on this host is gone is interrupted.
        """
        told = self.description
        here = told.get("host") == socket.gethostname()
        if told["state"] == "running" and here and not _alive(int(told["process"])):
            return "interrupted"
        return str(told["state"])

    def method(self, methods: Mapping[str, Any]) -> Any:
        """Make the method from ``config.toml``."""
        path = self.path / "config.toml"
        try:
            return config.from_toml(path.read_text(encoding="utf-8"), methods)
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{path} cannot be read: {error} (networks and losses of your own are registered "
                "before their run is opened)"
            ) from error

    def append(self, reports: Sequence[Report], elapsed: float) -> None:
        """Append the reports of one step, durably."""
        line = json.dumps({"elapsed": elapsed, "reports": [_encoded(asdict(r)) for r in reports]})
        with self.log.open("a") as log:
            log.write(line + "\n")
            log.flush()
            os.fsync(log.fileno())

    def steps(self) -> Iterator[tuple[float, list[Report]]]:
        """Read the log: time and reports of each step. A line still being written is left out."""
        with self._opened("rb") as log:
            for number, line in enumerate(log, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    step = json.loads(line, object_hook=_decoded)
                    yield step["elapsed"], [Report(**report) for report in step["reports"]]
                except (ValueError, TypeError, KeyError) as error:
                    raise StoreError(f"{self.log}, line {number} is damaged: {error}") from error

    def truncate(self, size: int) -> None:
        """Forget the log from byte `size` on: rounds that are to be computed again.

        Raises
        ------
        StoreError
            If the log is shorter: rounds that the checkpoint stands on are gone.
        """
        with self._opened("r+b") as log:
            if os.fstat(log.fileno()).st_size < size:
                raise StoreError(
                    f"{self.log} is shorter than when the last checkpoint was written: "
                    "the run cannot be continued; begin another one"
                )
            log.truncate(size)

    def _opened(self, mode: str) -> IO[bytes]:
        try:
            return self.log.open(mode)
        except OSError as error:
            raise StoreError(f"{self.log} cannot be read: {error}") from error

    def checkpoint_folder(self, round: int) -> Path:
        """Name the folder of a checkpoint."""
        return self.path / "checkpoints" / f"round-{round:06d}"

    def seal(self, partial: Path, view: View, files: Mapping[str, Sequence[str]]) -> Path:
        """Make a checkpoint valid, once all its files are written, and drop those before the last.

        Raises
        ------
        StoreError
            If a file is missing: the workers write elsewhere.
        """
        missing = [name for name in files if not (partial / name).is_file()]
        if missing:
            raise StoreError(
                f"the workers did not write {partial / missing[0]} where the client reads it: "
                "store must be a folder that they share"
            )
        told = {
            "round": view.round,
            "log_bytes": self.log.stat().st_size,
            "files": {name: list(states) for name, states in files.items()},
            "mixtures": {slot: dict(weights) for slot, weights in view.mixtures.items()},
            "best": view.best,
        }
        _write_whole(partial / "checkpoint.json", json.dumps(told))
        folder = self.checkpoint_folder(view.round)
        replaced = folder.with_name("replaced")
        if folder.exists():
            shutil.rmtree(replaced, ignore_errors=True)
            folder.replace(replaced)
        partial.replace(folder)
        _sync(folder.parent)
        shutil.rmtree(replaced, ignore_errors=True)
        for old in self.checkpoints()[:-2]:
            shutil.rmtree(old)
        return folder

    def checkpoints(self) -> list[Path]:
        """List the valid checkpoints, oldest first."""
        found = sorted((self.path / "checkpoints").glob("round-*"))
        return [folder for folder in found if (folder / "checkpoint.json").is_file()]

    def last_checkpoint(self) -> tuple[Path, dict[str, Any]] | None:
        """Give folder and description of the newest checkpoint that has all its files."""
        for folder in reversed(self.checkpoints()):
            path = folder / "checkpoint.json"
            try:
                found = json.loads(path.read_bytes())
                told = {key: found[key] for key in ("log_bytes", "files", "mixtures", "best")}
            except (OSError, ValueError, TypeError, KeyError) as error:
                spoken = f"{type(error).__name__}: {error}"
                raise StoreError(f"{path} cannot be read: {spoken}") from error
            if all((folder / file).is_file() for file in told["files"]):
                return folder, told
        return None

    def write_dataset(self, dataset: xr.Dataset) -> None:
        """Write the Dataset as zarr, whole or not at all."""
        partial, final = self.path / "dataset.zarr.partial", self.path / "dataset.zarr"
        shutil.rmtree(partial, ignore_errors=True)
        # zarr's specification knows strings of any length only
        plain = _with_strings(dataset, "U", lambda texts: texts.astype(np.dtypes.StringDType()))
        plain.to_zarr(partial, consolidated=False, zarr_format=3)
        shutil.rmtree(final, ignore_errors=True)
        partial.replace(final)

    def read_dataset(self) -> xr.Dataset | None:
        """Read the Dataset, if it was written.

        Raises
        ------
        StoreError
            If it cannot be read.
        """
        import xarray as xr

        path = self.path / "dataset.zarr"
        if not path.exists():
            return None
        try:
            # format 3 alone: format 2 has a codec that unpickles
            stored = xr.open_zarr(path, consolidated=False, zarr_format=3).load()
        except Exception as error:  # zarr's codecs raise what they like
            raise StoreError(
                f"{path} cannot be read: {type(error).__name__}: {error}; delete it, and the "
                "Dataset is made from the log"
            ) from error
        return _with_strings(stored, "TO", fixed)


def save_states(
    *states: State, names: Sequence[str], path: str
) -> tuple[tuple[State, ...], Values]:
    """Write states to one safetensors file, durably: what a checkpoint's tasks perform."""
    import safetensors.numpy

    arrays = {
        f"{name}{SEPARATOR}{key}": np.asarray(array, order="C")
        for name, state in zip(names, states, strict=True)
        for key, array in state.items()
    }
    safetensors.numpy.save_file(arrays, path)
    _sync(Path(path))
    return (), {}


def load_states(*, names: Sequence[str], path: str) -> tuple[tuple[State, ...], Values]:
    """Read states from a safetensors file.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    import safetensors
    import safetensors.numpy

    try:
        arrays = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    states: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, array in arrays.items():
        name, _, part = key.partition(SEPARATOR)
        if name in states:
            states[name][part] = array
    return tuple(states.values()), {}


def _encoded(value: Any) -> Any:
    """Give the JSON form: arrays exact and compact, as base64 of their bytes."""
    if isinstance(value, Mapping):
        return {str(key): _encoded(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biufcSUmM":
            raise StoreError(f"an array of {value.dtype} in a report: expected numbers or text")
        data = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {"dtype": value.dtype.str, "shape": value.shape, "base64": data}
    return value.item() if isinstance(value, np.generic) else value


def _decoded(table: dict[str, Any]) -> Any:
    if table.keys() != {"dtype", "shape", "base64"}:
        return table
    data = base64.b64decode(table["base64"])  # frombuffer refuses objects
    return np.frombuffer(data, np.dtype(table["dtype"])).reshape(table["shape"])


def _with_strings(dataset: xr.Dataset, kinds: str, change: Callable[[Array], Array]) -> xr.Dataset:
    """Give strings another form."""
    return dataset.assign(
        {
            name: (variable.dims, change(variable.values), variable.attrs)
            for name, variable in dataset.variables.items()
            if variable.dtype.kind in kinds
        }
    )


def _write_whole(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
