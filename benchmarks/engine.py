"""What the engine itself costs: a thousand cells whose tasks do nothing.

    python benchmarks/engine.py --cells 1000 --rounds 20

Prints cell-rounds per second and the client's memory over the rounds, with and without
checkpoints. The scheduler runs in a process of its own, so that the client's memory is its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import psutil
import xarray as xr
from distributed import Client, default_client

import gandask as gd
from gandask.cluster.batch import dask_variable
from gandask.cluster.local import UNPROFILED
from gandask.core import Event, Layout, Plan, Record, Report, State, Task, Values, Variable


def idle(state: State) -> tuple[tuple[State, ...], Values]:
    """Do nothing with a state."""
    return (state,), {"one": 1.0}


def begin() -> tuple[tuple[State, ...], Values]:
    """Make a state of a hundred bytes."""
    return ({"weights": np.zeros(25, np.float32)},), {}


@dataclass(frozen=True)
class IdleView:
    """Rounds done, and nothing else."""

    round: int = 0
    records: tuple[Record, ...] = ()
    events: tuple[Event, ...] = ()
    keeps: frozenset[str] = frozenset()
    best: str | None = None

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """None: nothing is generated."""
        return {}


NOTES: list[tuple[float, float, int]] = []  # by round: time, client's memory, scheduler's tasks


@dataclass(frozen=True)
class Idle:
    """A method whose rounds do nothing."""

    name: ClassVar[str] = "idle"
    cells: int
    rounds: int
    seed: int = 1

    def check(self) -> None:
        """Accept anything."""

    def prepare(self) -> dict[str, Any]:
        """Prepare nothing."""
        return {}

    def layout(self) -> Layout:
        """One variable over the cells."""
        slots = {f"cell/{i}": (i,) for i in range(self.cells)}
        return Layout({"cell": range(self.cells)}, ("cell",), slots, {"one": Variable("one")})

    def start(self) -> tuple[IdleView, Plan]:
        """Make every state, and idle once."""
        stage = [Task(f"cell/{i}", 0, begin, writes=(f"cell/{i}/x",)) for i in range(self.cells)]
        keeps = frozenset(f"cell/{i}/x" for i in range(self.cells))
        return IdleView(keeps=keeps), [stage, self.stage(1)]

    def stage(self, number: int) -> list[Task]:
        """Idle in every cell."""
        names = [(f"cell/{i}", (f"cell/{i}/x",)) for i in range(self.cells)]
        return [Task(slot, number, idle, name, name) for slot, name in names]

    def advance(self, view: IdleView, reports: Sequence[Report]) -> tuple[IdleView, Plan]:
        """Note the round, and idle again."""
        memory = psutil.Process().memory_info().rss / 2**20
        NOTES.append((time.perf_counter(), memory, known_tasks()))
        records = tuple(Record(r.slot, r.round, r.values) for r in reports if r.round)
        after = replace(view, round=view.round + 1, records=records)
        return after, [self.stage(after.round + 1)] if after.round < self.rounds else []


def known_tasks() -> int:
    """Count the tasks that the scheduler remembers."""
    return int(default_client().run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))


def measure(method: Idle, client: Client, store: Path | None) -> xr.Dataset:
    """Run once; give rate, client's memory and scheduler's tasks by round."""
    NOTES.clear()
    gd.run(method, client=client, store=store, checkpoint_every=5)
    times, memory, tasks = np.array(NOTES).T
    rounds = np.arange(2, method.rounds + 1)
    rates = method.cells / np.diff(times)
    return xr.Dataset(
        {
            "rate": ("round", rates, {"long_name": "cell-rounds per second", "units": "1/s"}),
            "memory": ("round", memory[1:], {"long_name": "client memory", "units": "MiB"}),
            "tasks": ("round", tasks[1:], {"long_name": "tasks known to the scheduler"}),
        },
        {"round": rounds},
    )


@contextlib.contextmanager
def separate_cluster(workers: int) -> Iterator[Client]:
    """Start scheduler and workers in processes of their own, set up as gandask's own are."""
    told = {dask_variable(key): str(value) for key, value in UNPROFILED.items()}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        file = Path(folder) / "scheduler.json"
        python = [sys.executable, "-m"]
        commands = [
            [*python, "distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"],
            [*python, "distributed.cli.dask_worker", "--nworkers", str(workers), "--nthreads", "1"],
        ]
        for command in commands:
            process = subprocess.Popen(
                [*command, "--scheduler-file", str(file)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | told,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        client = stack.enter_context(Client(scheduler_file=str(file)))
        client.wait_for_workers(workers)
        yield client


def main() -> None:
    """Measure with and without checkpoints, and print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, help="NetCDF or zarr to keep the table in")
    asked = parser.parse_args()
    method = Idle(asked.cells, asked.rounds)
    measured = []
    with separate_cluster(asked.workers) as client, tempfile.TemporaryDirectory() as folder:
        for store in (None, Path(folder) / "run"):
            measured.append(measure(method, client, store))
    table = xr.concat(measured, "store").assign_coords(store=["none", "every 5 rounds"])
    print(f"{asked.cells} cells, {asked.workers} workers, {os.cpu_count()} cores")
    half = asked.rounds // 2
    for name in table.store.values:
        one = table.sel(store=name)
        early, late = one.isel(round=slice(0, half)), one.isel(round=slice(half, None))
        rates = [f"{float(part.rate.median()):.0f}" for part in (one, early, late)]
        memory = [f"{float(one.memory[place]):.0f}" for place in (0, -1)]
        print(
            "checkpoints {}: {} cell-rounds/s (first half {}, second {}); "
            "client {} -> {} MiB; scheduler's tasks {} to {}".format(
                name, *rates, *memory, int(one.tasks.min()), int(one.tasks.max())
            )
        )
    if asked.output:
        table.to_zarr(asked.output, mode="w", zarr_format=2)


if __name__ == "__main__":
    main()
