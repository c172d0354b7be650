"""The engine: run carries a method's plans to their end."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandask import config, results
from gandask.core import Report, SettingError, Stage, StoreError, Task, View
from gandask.executors import Distributed, Executor, Serial
from gandask.methods import METHODS
from gandask.results import Results
from gandask.store import Store, load_states, save_states

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client


def run(
    method: Any,
    *,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 10,
    synchronous: bool = True,
    resume: bool = False,
    progress: bool | None = None,
) -> xr.Dataset:
    """Train a population of GANs.

    Parameters
    ----------
    method : Method
        What to do, such as ``gandask.Grid(shape=(2, 2), rounds=20)``.
    client : distributed.Client, optional
        Where to do it; in this process by default, with identical numbers.
    store : path-like, optional
        Folder to keep the run in. It must be one that the workers share. Without one nothing is
        kept, and a lost worker costs recomputing from the start.
    checkpoint_every : int
        Rounds between checkpoints, each of which ends the chain of tasks that Dask remembers.
    synchronous : bool
        Wait for all tasks of a plan before the next. Otherwise each slot goes on at its own pace,
        and the result depends on theirs.
    resume : bool
        Continue the run in `store` after its last checkpoint.
    progress : bool, optional
        Show a progress bar; by default where standard error is a terminal.

    Returns
    -------
    Dataset
        Rounds and units as dimensions, with names and units on every variable.

    Raises
    ------
    SettingError, DataError, StoreError
        Before anything starts.
    TaskError
        When a task fails: with slot, round, seed and the original traceback.

    Examples
    --------
    >>> import gandask as gd
    >>> grid = gd.Grid(data="ring8", network="small_mlp", shape=(1, 2), rounds=1, batch_size=500,
    ...                score_samples=100, final_samples=100)
    >>> ds = gd.run(grid)
    >>> dict(ds.fid.sizes)
    {'round': 1, 'row': 1, 'col': 2}
    """
    if checkpoint_every < 1:
        raise SettingError(f"checkpoint_every={checkpoint_every}: expected at least 1")
    method.check()
    kept, facts = _open_store(method, store, resume)
    finished = kept.read_dataset() if kept and kept.state == "finished" else None
    if finished is not None:
        return finished
    executor = Distributed(client, method.seed) if client else Serial(method.seed)
    session = Session(method, executor, kept, checkpoint_every, synchronous)
    bar = _progress_bar(method, progress)
    if kept:
        kept.describe("running", kept.description["round"])
    try:
        session.begin()
        session.work(bar)
    except BaseException as error:
        executor.cancel()
        if kept:
            state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            kept.describe(state, session.view.round, error=f"{type(error).__name__}: {error}")
        raise
    finally:
        bar.close()
    executor.cancel()
    dataset = session.results.dataset(results.attributes(method, facts))
    if kept:
        kept.write_dataset(dataset)
        kept.describe("finished", session.view.round)
    return dataset


class Session:
    """One run under way: the view, the plan, and what to do with each report.

    Parameters
    ----------
    method : Method
    executor : Executor
    store : Store, optional
    checkpoint_every : int
    synchronous : bool
    """

    def __init__(
        self,
        method: Any,
        executor: Executor,
        store: Store | None,
        checkpoint_every: int,
        synchronous: bool,
    ) -> None:
        self.method, self.executor, self.store = method, executor, store
        self.checkpoint_every, self.synchronous = checkpoint_every, synchronous
        self.results = Results(method.layout(), method.rounds)
        self.view: View
        self.view, self.plan = method.start()
        self.under_way: dict[int, Task] = {}
        self.early: dict[int, Report] = {}  # arrived while a checkpoint was being written
        self.saved = 0
        self.origin = time.monotonic()

    def begin(self) -> None:
        """Start, or take up a stored run where its last checkpoint left it."""
        found = self.store.last_checkpoint() if self.store else None
        if not self.store or not found:
            if self.store:
                self.store.truncate(0)
            return
        folder, told = found
        self.store.truncate(told["log_bytes"])
        elapsed = 0.0
        outstanding = [task for stage in self.plan for task in stage]
        for elapsed, reports in self.store.steps():
            done = {(report.slot, report.round) for report in reports}
            outstanding = [task for task in outstanding if (task.slot, task.round) not in done]
            self.step(reports, elapsed)
            outstanding += [task for stage in self.plan for task in stage]
        self.origin = time.monotonic() - elapsed
        self.saved = self.view.round
        files = told["files"]
        self.perform([loading(folder / file, names) for file, names in files.items()])
        if not self.synchronous:
            self.plan = [outstanding]

    def work(self, bar: Any) -> None:
        """Carry plans out until there is none."""
        while self.plan or self.under_way:
            for stage in self.plan:
                numbers = self.executor.submit(stage)
                self.under_way |= dict(zip(numbers, stage, strict=True))
            reports = self.collect()
            elapsed = time.monotonic() - self.origin
            if self.store:
                self.store.append(reports, elapsed)
            before = self.view.round
            self.step(reports, elapsed)
            if self.store and self.view.round > before:
                self.store.describe("running", self.view.round)
            promised = [name for task in self.under_way.values() for name in task.writes]
            self.executor.keep(self.view.keeps.union(promised))
            over = not (self.plan or self.under_way)
            bar.update(0 if over else len(self.view.records))
            if self.store and (over or self.view.round >= self.saved + self.checkpoint_every):
                self.checkpoint(self.store)

    def collect(self) -> list[Report]:
        """Wait for the reports of the whole plan, or for the next few, in order of submission."""
        arrived, self.early = self.early, {}
        while not arrived or (self.synchronous and len(arrived) < len(self.under_way)):
            arrived |= self.executor.next_reports()
        for number in arrived:
            self.under_way.pop(number)
        return [arrived[number] for number in sorted(arrived)]

    def step(self, reports: Sequence[Report], elapsed: float) -> None:
        """Let the method decide, and note what it decided."""
        self.view, self.plan = self.method.advance(self.view, reports)
        self.results.add(self.view, reports, elapsed)

    def perform(self, stage: Stage) -> None:
        """Carry out tasks beside the method's own, and wait for them alone."""
        numbers = set(self.executor.submit(stage))
        while not numbers <= self.early.keys():
            self.early |= self.executor.next_reports()
        self.early = {n: report for n, report in self.early.items() if n not in numbers}

    def checkpoint(self, store: Store) -> None:
        """Save every state, and go on from what was saved, if the run goes on.

        A task that loads a file depends on nothing, so Dask forgets the tasks before it: memory
        stays bounded, and so does what a lost worker costs.
        """
        files: dict[str, list[str]] = {}
        for name in sorted(self.view.keeps):
            files.setdefault(slot_of(name).replace("/", "-") + ".safetensors", []).append(name)
        partial = store.path / "checkpoints" / "partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self.perform([saving(partial / file, names) for file, names in files.items()])
        folder = store.seal(partial, self.view, files)
        self.saved = self.view.round
        if self.plan or self.under_way:
            self.perform([loading(folder / file, names) for file, names in files.items()])


def saving(path: Path, names: Sequence[str]) -> Task:
    """Make the task that saves states of one slot."""
    arguments = {"names": tuple(names), "path": str(path)}
    return Task(slot_of(names[0]), 0, save_states, tuple(names), arguments=arguments)


def loading(path: Path, names: Sequence[str]) -> Task:
    """Make the task that loads states of one slot."""
    arguments = {"names": tuple(names), "path": str(path)}
    return Task(slot_of(names[0]), 0, load_states, writes=tuple(names), arguments=arguments)


def slot_of(name: str) -> str:
    """Give the slot of a state: the first two parts of its name.

    Examples
    --------
    >>> slot_of("cell/3/generator/17/moments")
    'cell/3'
    """
    return "/".join(name.split("/")[:2])


def _open_store(
    method: Any, path: str | os.PathLike[str] | None, resume: bool
) -> tuple[Store | None, dict[str, Any]]:
    """Make or reopen the store, and prepare the method."""
    if path is None:
        if resume:
            raise StoreError("resume=True needs store=, the folder of the run to continue")
        return None, method.prepare()
    if not resume:
        Store(path).refuse_existing()
        facts = method.prepare()
        return Store.create(path, method, facts), facts
    kept = Store.open(path)
    if kept.written_here:
        raise StoreError(
            f"{str(path)!r} is being written by another process: wait for it, or stop it"
        )
    stored, given = config.to_dict(kept.method(METHODS)), config.to_dict(method)
    for key in stored.keys() | given.keys():
        if stored.get(key) != given.get(key):
            raise StoreError(
                f"{key}={given.get(key)!r}: the run in {str(path)!r} has {stored.get(key)!r}; "
                "continue it with its own settings, or choose another name"
            )
    return kept, method.prepare()


def _progress_bar(method: Any, shown: bool | None) -> Any:
    from tqdm.auto import tqdm

    total = method.rounds * len(method.layout().slots)
    hidden = not sys.stderr.isatty() if shown is None else not shown
    return tqdm(total=total, unit="turn", desc=method.name, disable=hidden)
