"""What the engine adds to an exchange of split training, and how many batches make that small.

    python benchmarks/split_overhead.py --data-dir ../shared/data --workers 1 2 3 4

The seconds of an exchange on workers of this machine, less those of computing: the longest slot of
each stage, as `gandask.cost` adds them up. First with tiny networks, whose computing is next to
nothing, by the number of workers; then with those of the guide's tables, by the number of batches
in an exchange. With `--device cuda` workers share a GPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import xarray as xr
from distributed import Client

import gandask as gd
from gandask import cluster
from gandask.methods.split.method import Split

EXCHANGES = 20
SHARE = 0.05
TINY = {"data": "digits", "base": "small_mlp", "batch_size": 10}


def methods(settings: dict[str, Any]) -> dict[str, Split]:
    """Give what is compared, on two nodes but for servers."""
    common = settings | {"iterations": EXCHANGES + 1, "score_samples": 0, "final_samples": 100}
    return {
        "BPGAN": gd.BPGAN(discriminators=1, generators=1, **common),
        "DP, server": gd.DataParallel(nodes=2, combine="server", **common),
        "DP, all-reduce": gd.DataParallel(nodes=2, combine="all_reduce", **common),
    }


def measure(method: Split, client: Client) -> xr.Dataset:
    """Give the seconds of exchanges but for the first, and of computing in one."""
    computing = float(gd.cost(method, None)["seconds"].sum())
    gd.run(gd.config.replace(method, {"iterations": 2}), client=client, progress=False)
    ds = gd.run(method, client=client, progress=False)
    elapsed = ds["elapsed"].max([dim for dim in ds["elapsed"].dims if dim != "round"])
    made = {"seconds": ("exchange", elapsed.diff("round").values), "computing": ((), computing)}
    return xr.Dataset(made)


def tell(title: str, one: xr.Dataset) -> None:
    """Print what is added, and its share."""
    added = one["seconds"] - one["computing"]
    share = float((added / one["seconds"]).median())
    print(
        f"{title}: {measuring.spread(1e3 * one['seconds'], '.0f')} ms, computing "
        f"{1e3 * float(one['computing']):.0f}; added {measuring.spread(1e3 * added, '.0f')}, "
        f"{share:.0%}",
        flush=True,
    )


def by_batches(asked: argparse.Namespace, base: str, client: Client) -> xr.Dataset:
    """Measure a network's exchanges by the number of batches in them."""
    settings = {"data": "mnist", "data_dir": asked.data_dir, "base": base, "device": asked.device}
    rows = []
    for batches in asked.batches:
        found = []
        for name, method in methods(settings | {"exchange_every": batches}).items():
            found.append(measure(method, client))
            tell(f"{base}, {batches} batches, {name}", found[-1])
        rows.append(xr.concat(found, "method").assign_coords(method=[*methods(settings)]))
    made = xr.concat(rows, "batches").assign_coords(batches=asked.batches)
    each = (made["computing"] / made["batches"]).isel(batches=-1)
    added = (made["seconds"].median("exchange") - made["computing"]).isel(batches=0)
    enough = np.ceil(added / each * (1 - SHARE) / SHARE)
    told = ", ".join(
        f"{name} {int(count)}" for name, count in zip(made["method"].values, enough, strict=True)
    )
    print(f"{base}: batches in an exchange from which less than {SHARE:.0%} is added: {told}")
    return made.assign(enough=enough)


def main() -> None:
    """Measure tiny networks by workers, and others by batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3, 4])
    parser.add_argument("--bases", nargs="+", default=["mlp", "dcgan"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, help="folder of zarrs to keep the tables in")
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    rows = []
    for workers in asked.workers:
        with cluster.local(workers) as client:
            found = []
            for name, method in methods(TINY | {"device": asked.device}).items():
                found.append(measure(method, client))
                tell(f"tiny, {workers} workers, {name}", found[-1])
            rows.append(xr.concat(found, "method").assign_coords(method=[*methods(TINY)]))
            if workers == asked.workers[-1]:
                bases = [by_batches(asked, base, client) for base in asked.bases]
    tables = {
        "workers": xr.concat(rows, "workers").assign_coords(workers=asked.workers),
        "batches": xr.concat(bases, "base").assign_coords(base=asked.bases),
    }
    for name, table in tables.items():
        measuring.keep(table, asked.output and asked.output / f"{name}.zarr")


if __name__ == "__main__":
    main()
