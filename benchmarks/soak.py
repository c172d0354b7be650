"""Whether memory stays flat: thousands of rounds of tiny cells, with checkpoints.

    python benchmarks/soak.py --rounds 2000

Client, scheduler and two workers are processes of their own; prints the memory of each, and the
tasks that the scheduler knows, at 10 %, 50 % and 100 % of the rounds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from pathlib import Path

import numpy as np
import psutil
import xarray as xr
from distributed import Client
from engine import separate_cluster

import gandask as gd
from gandask.core import StoreError
from gandask.store import Store

PROCESSES = ["client", "scheduler", "worker 0", "worker 1"]


class Memory:
    """Note the memory of all processes and the scheduler's tasks whenever a round is done."""

    def __init__(self, client: Client, store: Path) -> None:
        pids = [os.getpid(), client.run_on_scheduler(os.getpid), *client.run(os.getpid).values()]
        self.processes = [psutil.Process(pid) for pid in pids]
        self.client, self.store = client, store
        self.notes: list[tuple[int, int, list[float]]] = []
        self.over = threading.Event()

    def watch(self) -> None:
        """Look once a second."""
        while not self.over.wait(1.0):
            try:
                self.note(Store(self.store).description["round"])
            except StoreError:  # the run has not begun
                continue

    def note(self, done: int) -> None:
        """Note what there is now."""
        tasks = self.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
        memory = [process.memory_info().rss / 2**20 for process in self.processes]
        self.notes.append((done, tasks, memory))

    def dataset(self) -> xr.Dataset:
        """Give the notes, by round."""
        rounds, tasks, memory = zip(*self.notes, strict=True)
        told = {"long_name": "resident memory", "units": "MiB"}
        return xr.Dataset(
            {
                "memory": (("round", "process"), np.array(memory), told),
                "tasks": ("round", np.array(tasks), {"long_name": "tasks the scheduler knows"}),
            },
            {"round": list(rounds), "process": PROCESSES},
        ).drop_duplicates("round")


def main() -> None:
    """Run, and print the memory on the way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    grid = gd.Grid(
        data="ring8",
        network="small_mlp",
        shape=(2, 2),
        rounds=asked.rounds,
        batch_size=500,
        data_fraction=0.1,
        fitness_samples=100,
        score_samples=100,
        final_samples=200,
        learning_rate=1e-3,
    )
    with separate_cluster(2) as client, tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "run"
        memory = Memory(client, store)
        thread = threading.Thread(target=memory.watch)
        thread.start()
        try:
            ds = gd.run(grid, client=client, store=store)
        finally:
            memory.over.set()
            thread.join()
    noted = memory.dataset()
    print(f"{asked.rounds} rounds of 4 cells in {float(ds.elapsed.max()):.0f} s")
    print("round".rjust(8), *(name.rjust(10) for name in PROCESSES), "tasks".rjust(8))
    for share in (0.1, 0.5, 1.0):
        one = noted.sel(round=share * asked.rounds, method="nearest")
        cells = [f"{value:10.0f}" for value in one.memory.values]
        print(f"{int(one['round']):8d}", *cells, f"{int(one.tasks):8d}")
    if asked.output:
        noted.to_zarr(asked.output, mode="w", zarr_format=3)


if __name__ == "__main__":
    main()
