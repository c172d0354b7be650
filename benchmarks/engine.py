"""What the engine itself costs: cells whose tasks do nothing.

    python benchmarks/engine.py --cells 16 256 1024 4096 --rounds 8

Prints cell-rounds per second, what they cost each process in CPU time, and the memory of client and
scheduler: without a store, with one, and without one but with Dask tasks of its own for each task,
as longer tasks get, which are then three per cell-round. Client, scheduler and workers are
processes of their own; on a cluster they have cores of their own, so that the busiest of them sets
the limit.
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

import measuring
import numpy as np
import psutil
import xarray as xr
from distributed import Client, default_client

import gandask as gd
from gandask.cluster import credentials
from gandask.cluster.batch import dask_variable
from gandask.cluster.local import UNPROFILED
from gandask.config import setting, settings
from gandask.core import (
    Event,
    Layout,
    Method,
    Plan,
    Record,
    Report,
    Role,
    State,
    Task,
    Values,
    Variable,
)
from gandask.execution import placement

MIB = 2**20
PROCESSES = ("client", "scheduler", "workers")
SETTINGS = ("no store", "checkpoint every 5 rounds", "no store, each task alone")
ALONE = 3  # of Dask's tasks per cell-round: what performs it, and what picks report and state


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


NOTES: list[dict[str, float]] = []  # by round: time, memory, tasks, CPU seconds by process


@settings
class Idle(Method[IdleView]):
    """A method whose rounds do nothing."""

    name: ClassVar[str] = "idle"
    cells: int = setting(16, "slots", minimum=1)
    rounds: int = setting(8, "rounds of every cell", minimum=1)
    seed: int = setting(1, "of nothing", minimum=0)

    def layout(self) -> Layout:
        """One variable over the cells."""
        roles = {"cell": Role.numbered("cell", ["cell"], self.cells)}
        return Layout({"cell": range(self.cells)}, roles, {"one": Variable("one", role="cell")})

    def start(self) -> tuple[IdleView, Plan]:
        """Make every state, and idle once."""
        stage = [Task(slot, 0, begin, writes=(name,)) for slot, name in self.states(0)]
        return IdleView(keeps=self.kept(0)), [stage, self.stage(1)]

    def states(self, number: int) -> list[tuple[str, str]]:
        """Name every cell, and its state after a round."""
        return [(f"cell/{i}", f"cell/{i}/x/{number}") for i in range(self.cells)]

    def kept(self, number: int) -> frozenset[str]:
        """Name the states after a round."""
        return frozenset(name for _, name in self.states(number))

    def stage(self, number: int) -> list[Task]:
        """Idle in every cell."""
        both = zip(self.states(number - 1), self.states(number), strict=True)
        return [Task(slot, number, idle, (read,), (made,)) for (slot, read), (_, made) in both]

    def advance(self, view: IdleView, reports: Sequence[Report]) -> tuple[IdleView, Plan]:
        """Note the round, and idle again."""
        NOTES.append(note())
        records = tuple(Record(r.slot, r.round, r.values) for r in reports if r.round)
        done = view.round + 1
        after = replace(view, round=done, records=records, keeps=self.kept(done))
        return after, [self.stage(after.round + 1)] if after.round < self.rounds else []


def note() -> dict[str, float]:
    """Note time, memory of client and scheduler, known tasks and CPU time by kind of process."""
    client = default_client()
    scheduler, tasks = client.run_on_scheduler(seen_by_scheduler)
    workers = sum(client.run(cpu_seconds).values())
    return {
        "time": time.perf_counter(),
        "client_memory": psutil.Process().memory_info().rss / MIB,
        "scheduler_memory": scheduler["memory"],
        "tasks": tasks,
        "client_cpu": cpu_seconds(),
        "scheduler_cpu": scheduler["cpu"],
        "workers_cpu": workers,
    }


def cpu_seconds() -> float:
    """Give the CPU time of this process."""
    told = psutil.Process().cpu_times()
    return float(told.user + told.system)


def seen_by_scheduler(dask_scheduler: Any) -> tuple[dict[str, float], int]:
    """Give memory and CPU time of the scheduler's process, and the tasks that it remembers."""
    process = psutil.Process()
    told = process.cpu_times()
    found = {"memory": process.memory_info().rss / 2**20, "cpu": told.user + told.system}
    return found, len(dask_scheduler.tasks)


def measure(method: Idle, client: Client, store: Path | None) -> xr.Dataset:
    """Run once; give what was noted by round, times and CPU as what one cell-round took."""
    NOTES.clear()
    gd.run(method, client=client, store=store, checkpoint_every=5)
    noted = {key: np.array([one[key] for one in NOTES]) for key in NOTES[0]}
    made = {"rate": ("round", method.cells / np.diff(noted["time"]), {"units": "1/s"})}
    for key, values in noted.items():
        if key.endswith("_cpu"):
            made[key] = ("round", 1000 * np.diff(values) / method.cells, {"units": "ms"})
        elif key != "time":
            made[key] = ("round", values[1:], {"units": "MiB" if "memory" in key else "1"})
    return xr.Dataset(made, {"round": np.arange(2, method.rounds + 1)})


@contextlib.contextmanager
def separate_cluster(workers: int) -> Iterator[Client]:
    """Start scheduler and workers in processes of their own, set up as gandask's own are."""
    told = {dask_variable(key): str(value) for key, value in UNPROFILED.items()}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        file = Path(folder) / "scheduler.json"
        python, secured = [sys.executable, "-m"], credentials.make()
        key, certificate = Path(folder) / "key.pem", Path(folder) / "certificate.pem"
        key.write_text(secured.tls_client_key)
        certificate.write_text(secured.tls_ca_file)
        tls = ["--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", key]
        commands = [
            [*python, "distributed.cli.dask_scheduler", "--protocol", "tls", "--port", "0"],
            [*python, "distributed.cli.dask_worker", "--nworkers", str(workers), "--nthreads", "1"],
        ]
        commands = [[*command, "--no-dashboard", *tls] for command in commands]
        for command in commands:
            process = subprocess.Popen(
                [*command, "--scheduler-file", str(file)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | told,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        client = stack.enter_context(Client(scheduler_file=str(file), security=secured))
        client.wait_for_workers(workers)
        yield client


def main() -> None:
    """Measure each number of cells with and without checkpoints, and print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[1000])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    print(f"{measuring.machine()}; {asked.workers} workers", flush=True)
    rows, together = [], placement.TOGETHER
    for cells in asked.cells:
        method, measured = Idle(cells=cells, rounds=asked.rounds), []
        with separate_cluster(asked.workers) as client, tempfile.TemporaryDirectory() as folder:
            for name in SETTINGS:
                store = Path(folder) / "run" if "checkpoint" in name else None
                placement.TOGETHER = 0.0 if "alone" in name else together
                measured.append(measure(method, client, store))
        rows.append(xr.concat(measured, "setting").assign_coords(setting=list(SETTINGS)))
        tell(cells, rows[-1])
    table = xr.concat(rows, "cells").assign_coords(cells=asked.cells)
    measuring.keep(table, asked.output)


def tell(cells: int, table: xr.Dataset) -> None:
    """Print what was measured with one number of cells."""
    for name in table["setting"].values:
        one = table.sel(setting=name)
        half = one.sizes["round"] // 2
        early, late = one.isel(round=slice(0, half)), one.isel(round=slice(half, None))
        rates = [f"{float(part['rate'].median()):.0f}" for part in (one, early, late)]
        print(
            "{} cells, {}: {} cell-rounds/s (first half {}, second {})".format(cells, name, *rates)
        )
        cpu = [f"{key} {float(one[f'{key}_cpu'].median()):.2f}" for key in PROCESSES]
        memory = [
            f"{key} {float(one[f'{key}_memory'][0]):.0f} -> {float(one[f'{key}_memory'][-1]):.0f}"
            for key in PROCESSES[:2]
        ]
        tasks = f"{int(one['tasks'].min())} to {int(one['tasks'].max())}"
        print(f"  CPU ms per cell-round: {', '.join(cpu)}")
        print(f"  memory, MiB: {', '.join(memory)}; scheduler's tasks {tasks}", flush=True)


if __name__ == "__main__":
    main()
