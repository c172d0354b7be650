"""Checkpoints: the tasks that write states to safetensors files and read them, and the folders."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gandask.core import Made, State, StoreError, Task, View, slot_of
from gandask.core.files import sync, write_whole
from gandask.core.journal import Journal
from gandask.training.stored import (
    NUMBERED,
    SEPARATOR,
    checkpoints,
    described,
    description,
    digest_of,
    last_checkpoint,
    read_states,
)

SAFE = "what was written before is safe: once there is room, continue with gandask resume DIR"


def saving(path: Path, names: Sequence[str], token: str) -> Task:
    """Make the task that saves states of one slot, as a part of a checkpoint."""
    arguments = {"names": tuple(names), "path": str(path), "token": token}
    return Task(slot_of(names[0]), 0, save_states, tuple(names), arguments=arguments)


def loading(path: Path, names: Sequence[str], token: str) -> Task:
    """Make the task that loads states of one slot, of a checkpoint."""
    arguments = {"names": tuple(names), "path": str(path), "token": token}
    return Task(slot_of(names[0]), 0, load_states, writes=tuple(names), arguments=arguments)


def save_states(*states: State, names: Sequence[str], path: str, token: str) -> Made:
    """Write states to one safetensors file, durably and whole.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    import safetensors
    import safetensors.numpy

    arrays = {
        f"{name}{SEPARATOR}{key}": np.asarray(array, order="C")
        for name, state in zip(names, states, strict=True)
        for key, array in state.items()
    }
    # a task may run twice at once, when its worker was given up too early
    partial = Path(f"{path}.{uuid.uuid4().hex[:8]}")
    try:
        told = {"token": token, "digest": digest_of(arrays)}
        safetensors.numpy.save_file(arrays, partial, told)
        sync(partial)
        partial.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise StoreError(f"{path} cannot be written: {error}; {SAFE}") from error
    return (), {}


def load_states(*, names: Sequence[str], path: str, token: str) -> Made:
    """Read states from a safetensors file.

    Raises
    ------
    StoreError
        If it cannot be read, is damaged, or is one of other states or of another checkpoint.
    """
    return tuple(read_states(path, names, token).values()), {}


class Checkpoints:
    """The checkpoints of one run.

    Parameters
    ----------
    path : Path
        Their folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fence = 1

    def begin(self, token: str) -> Path:
        """Make the folder that a checkpoint's files go to first; drop what is left of others."""
        for left in (*self.path.glob("partial*"), *self.path.glob("replaced*")):
            shutil.rmtree(left, ignore_errors=True)
        partial = self.path / f"partial-{token}"
        partial.mkdir(parents=True)
        return partial

    def carry(self, last: Path, partial: Path, files: Iterable[str]) -> None:
        """Take files of a checkpoint into the next one, which states in them are the same.

        Raises
        ------
        StoreError
            If one is no longer there, or cannot be copied where there are no links.
        """
        for file in files:
            if not (last / file).is_file():
                raise StoreError(f"{last / file} is gone: no worker holds what was in it")
            try:
                _linked(last / file, partial / file)
            except OSError as error:
                told = f"{partial / file} cannot be written: {error}; {SAFE}"
                raise StoreError(told) from error
        sync(partial)

    def seal(
        self,
        partial: Path,
        view: View,
        files: Mapping[str, Sequence[str]],
        log: Journal,
        carried: Mapping[str, str] | None = None,
    ) -> Path:
        """Make a checkpoint valid, once all its files are written, and drop those before the last.

        A writer that another has taken the run from, and that does not know yet, harms nothing:
        what it seals has its own number, and is not of the log that the other goes on with.

        Parameters
        ----------
        partial : Path
            Its folder, as `begin` gave it.
        view : View
            What the method knew then.
        files : mapping of str to sequence of str
            The states in each file, by name.
        log : Journal
            The reports that it stands on.
        carried : mapping of str to str, optional
            The tokens of files that an earlier checkpoint wrote.

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
        token = partial.name.removeprefix("partial-")
        _describe(partial, token, view, files, log, carried or {})
        folder = self._named(view.round)
        if folder.exists():
            folder.replace(self.path / f"replaced-{token}")
        partial.replace(folder)
        sync(folder.parent)
        # what somebody still reads cannot be removed from every file system: it is left
        for old in (*self.path.glob("replaced-*"), *self._before()[:-2]):
            shutil.rmtree(old, ignore_errors=True)
        return folder

    def take_over(
        self,
        other: Path,
        told: Mapping[str, Any],
        view: View,
        files: Mapping[str, Sequence[str]],
        log: Journal,
    ) -> None:
        """Make a checkpoint of another's files: of the same states, after another log.

        Parameters
        ----------
        other : Path
            Folder of the checkpoint that has the files.
        told : mapping
            What describes it.
        view, files, log
            As `seal` takes them.
        """
        folder = self._named(view.round)
        folder.mkdir(parents=True)
        for name in files:
            _linked(other / name, folder / name)
        _describe(folder, told["token"], view, files, log, told["tokens"])
        sync(folder)
        sync(self.path)

    def _named(self, round: int) -> Path:
        """Give the folder of this writer's checkpoint after a round."""
        number = f".{self.fence}" if self.fence > 1 else ""
        return self.path / f"round-{round:06d}{number}"

    def _before(self) -> list[Path]:
        """List the valid checkpoints but those of writers that came later, oldest first."""
        known = [(folder, NUMBERED.fullmatch(folder.name)) for folder in self.all()]
        return [folder for folder, found in known if found and int(found[2] or 1) <= self.fence]

    def sound(self, log: Journal) -> Iterator[tuple[Path, dict[str, Any] | StoreError]]:
        """Go through the checkpoints, the newest first, to one that is as it was written.

        It comes last, with what describes it; those before it come with what is wrong with them.
        """
        for folder, told in self.examined(log):
            yield folder, told
            if not isinstance(told, StoreError):
                return

    def examined(self, log: Journal) -> Iterator[tuple[Path, dict[str, Any] | StoreError]]:
        """Go through all checkpoints, the newest first: what each holds, or is wrong with it."""
        for folder in reversed(self.all()):
            try:
                told = described(folder)
                lacking = [file for file in told["files"] if not (folder / file).is_file()]
                if lacking:
                    raise StoreError(f"{folder / lacking[0]} is not there")
                if told["log"] and log.digest(told["log_bytes"]) != told["log"]:
                    raise StoreError(f"{folder} is not of {log.path} as it is")
                for file, names in told["files"].items():
                    read_states(folder / file, names, told["tokens"][file])
            except StoreError as error:
                yield folder, error
            else:
                yield folder, told

    def all(self) -> list[Path]:
        """List the valid checkpoints, oldest first."""
        return checkpoints(self.path)

    def last(self) -> tuple[Path, dict[str, Any]] | None:
        """Give folder and description of the newest checkpoint that has all its files."""
        return last_checkpoint(self.path)


def _describe(
    folder: Path,
    token: str,
    view: View,
    files: Mapping[str, Sequence[str]],
    log: Journal,
    tokens: Mapping[str, str],
) -> None:
    """Write what a checkpoint holds, and which reports it stands on: with it, it is valid."""
    size = log.size
    told = {
        "round": view.round,
        "log_bytes": size,
        "log": log.digest(size),
        "token": token,
        "files": {name: list(states) for name, states in files.items()},
        "tokens": {name: tokens[name] for name in files if tokens.get(name, token) != token},
        "mixtures": {slot: dict(weights) for slot, weights in view.mixtures.items()},
        "best": view.best,
    }
    write_whole(folder / "checkpoint.json", description(told))


def _linked(path: Path, other: Path) -> None:
    """Give a file another name too, or copy it where its file system has no such links."""
    try:
        other.hardlink_to(path)
    except OSError:
        shutil.copyfile(path, other)
        sync(other)
