"""Speedup and time by routine of Table I on MNIST, in the form of Tables III and IV.

    python benchmarks/scaling.py --data-dir ../shared/data --sizes 1 2 3 4
    python benchmarks/scaling.py --data-dir ../shared/data --sizes 2 --repeats 5

Each grid is trained in this process on one core, on one worker and on two, in turn. The two cores
of a machine share caches and memory: what two trainings that know nothing of each other lose by
that is measured beside, and no way of distributing the work can avoid it.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measuring
import xarray as xr
from distributed import Client

import gandask as gd
from gandask import cluster, presets
from gandask.methods.grid.tasks import train_batches
from gandask.results import published


def settings(asked: argparse.Namespace) -> dict[str, Any]:
    """Give those of Table I."""
    found = presets.read("table1-mnist-2x2")
    found.pop("method")
    changes = {"rounds": asked.rounds, "data_fraction": asked.fraction}
    return found | changes | {"data_dir": asked.data_dir, "precision": asked.precision}


def alone(grid: gd.Grid, start: Any, results: Any) -> None:
    """Train one cell for an epoch, all by itself, when told to: a process of its own."""
    training = grid.training
    with training.settled() as device:
        few = 10 * training.batch_size / len(training.data)
        warm, one = (
            measuring.offspring(grid, "cell/0", device, fraction)
            for fraction in (few, training.data_fraction)
        )
        train_batches([warm], warm)
        start.wait()
        results.put(measuring.seconds(lambda: train_batches([one], one)))


def slowdown(grid: gd.Grid) -> float:
    """Measure how much slower an epoch is when the other core trains, too."""
    spawn = multiprocessing.get_context("spawn")
    took = []
    for processes in (1, 2):
        start, results = spawn.Barrier(processes), spawn.Queue()
        started = [
            spawn.Process(target=alone, args=(grid, start, results)) for _ in range(processes)
        ]
        for process in started:
            process.start()
        took.append(statistics.mean(results.get() for _ in started))
        for process in started:
            process.join()
    return took[1] / took[0]


def trained(grid: gd.Grid, clients: Sequence[Client | None]) -> list[xr.Dataset]:
    """Train one grid at each place."""
    return [gd.run(grid, client=client, progress=False) for client in clients]


def table(runs: dict[int, list[list[xr.Dataset]]]) -> xr.Dataset:
    """Compare each grid's wall times: in this process, with one worker, with two."""
    rows = []
    for repeats in runs.values():
        compared = [
            [gd.speedup(one[0], other)[["wall", "speedup"]] for other in one[1:]] for one in repeats
        ]
        rows.append(
            xr.concat([xr.concat(one, "workers") for one in compared], "repeat", join="override")
        )
    made = xr.concat(rows, "shape").assign_coords(shape=[f"{n}×{n}" for n in runs])
    made = made.assign_coords(workers=list(range(1, made.sizes["workers"] + 1)))
    return made.assign(efficiency=made["speedup"] / made["workers"])


def by_routine(runs: dict[int, list[list[xr.Dataset]]]) -> xr.Dataset:
    """Compare the largest grid by routine: the longest that any worker spent on each."""
    largest = runs[max(runs)][-1]
    return gd.speedup(largest[0], largest[-1])[["seconds", "routine_speedup"]]


def main() -> None:
    """Measure every size in turn, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--fraction", type=float, default=1.0, help="of the data, for each cell")
    parser.add_argument("--precision", default="highest")
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    grids = {n: gd.Grid(**settings(asked) | {"shape": (n, n)}) for n in asked.sizes}
    first = next(iter(grids.values()))
    first.check()
    first.prepare()  # the classifier is trained once, and not what is timed
    runs: dict[int, list[list[xr.Dataset]]] = {n: [] for n in grids}
    shared = []
    with contextlib.ExitStack() as stack:
        clients = [None, *(stack.enter_context(cluster.local(n)) for n in (1, 2))]
        warm = gd.Grid(**settings(asked) | {"shape": (1, 2), "rounds": 1, "data_fraction": 0.01})
        trained(warm, clients)  # processes load torch and the data when they first train
        for _ in range(asked.repeats):
            shared.append(slowdown(first))
            for n, grid in grids.items():
                runs[n].append(trained(grid, clients))
    made = table(runs)
    print(f"an epoch takes {statistics.median(shared):.2f} times as long beside another one: "
          f"the best efficiency of two workers is {1 / statistics.median(shared):.2f}")  # fmt: skip
    for shape in made["shape"].values:
        for workers in made["workers"].values:
            one = made.sel(shape=shape, workers=workers)
            walls = [measuring.spread(one["wall"].sel(run=run), ".1f") for run in one["run"].values]
            told = ", ".join(measuring.spread(one[key]) for key in ("speedup", "efficiency"))
            print(f"{shape} {workers} workers: {walls[0]} s and {walls[1]} s; {told}", flush=True)
    print(by_routine(runs).to_dataframe().round(3).to_string())
    print("published:", published.execution_times()["speedup"].values.tolist())
    made["slowdown"] = ("repeat", shared)
    measuring.keep(made, asked.output)


if __name__ == "__main__":
    main()
