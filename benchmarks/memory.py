"""Memory of one worker for Table I, and of many on one machine, which share the data.

    python benchmarks/memory.py --data-dir ../shared/data --workers 1 2 8 16

Resident memory counts a page in every process that has it; proportional memory shares it out, so
that its sum over the workers is what they take together. The data set is a memory map of one file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import measuring
import psutil
import xarray as xr
from distributed import Client

import gandask as gd
from gandask import cluster, presets

MIB = 2**20


def mapped(client: Client) -> dict[str, dict[str, float]]:
    """Ask every worker what it has in memory, and how much of that is the data set's file."""
    return client.run(in_memory)


def in_memory() -> dict[str, float]:
    """Give this process's memory in MiB: resident, proportional, its own, and of the data set."""
    process = psutil.Process()
    told = process.memory_full_info()
    data = [m for m in process.memory_maps(grouped=True) if "mnist-" in m.path]
    return {
        "resident": told.rss / MIB,
        "proportional": told.pss / MIB,
        "own": told.uss / MIB,
        "data resident": sum(m.rss for m in data) / MIB,
        "data proportional": sum(m.pss for m in data) / MIB,
    }


def measured(settings: dict[str, Any], workers: int) -> xr.Dataset:
    """Train one cell on each worker; give the mean over workers before and after."""
    cells = {"shape": (1, workers), "rounds": 2, "data_fraction": 0.1}
    with cluster.local(workers) as client:
        before = mapped(client)
        gd.run(gd.Grid(**settings | cells), client=client, progress=False)
        after = mapped(client)
    made = {}
    for when, found in (("idle", before), ("trained", after)):
        for key in next(iter(found.values())):
            made[f"{when}, {key}"] = sum(told[key] for told in found.values()) / workers
    return xr.Dataset(made)


def main() -> None:
    """Measure each number of workers, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 8, 16])
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    settings = presets.read("table1-mnist-2x2")
    settings.pop("method")
    settings["data_dir"] = asked.data_dir
    gd.Grid(**settings).prepare()
    rows = [measured(settings, workers) for workers in asked.workers]
    table = xr.concat(rows, "workers").assign_coords(workers=asked.workers)
    print("MiB for each worker\n" + table.to_dataframe().round(0).astype(int).T.to_string())
    measuring.keep(table, asked.output)


if __name__ == "__main__":
    main()
