"""MGGAN on MNIST beside a plain GAN, at equal batches per generator and at equal wall time.

    python benchmarks/mggan_mnist.py --data-dir ../shared/data --seeds 3

The nets are the preset's (DCGAN). For each number of groups a second plain GAN gets as many
iterations as fit into the wall time that the groups took on the same workers; it has one of them
to itself. "Best" is the generator that is best by FID, "all" the mixture of all generators.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import xarray as xr
from distributed import Client

import gandask as gd
from gandask import cluster, presets

SCORES = ("fid", "tvd", "inception_score")


def outcome(method: gd.MGGAN, client: Client) -> xr.Dataset:
    """Train, and summarise."""
    ds = gd.run(method, client=client, progress=False)
    best = ds.isel(group=int(ds.final_fid.values.argmin()))
    found = {f"best_{name}": float(best[f"final_{name}"]) for name in SCORES}
    found |= {f"mean_{name}": float(ds[f"final_{name}"].mean()) for name in SCORES}
    found |= {f"all_{name}": float(ds[f"final_mixture_{name}"]) for name in SCORES}
    found |= {"seconds": float(ds.elapsed.max()), "iterations": method.iterations}
    return xr.Dataset(found)


def compared(asked: argparse.Namespace, client: Client, seed: int) -> dict[str, xr.Dataset]:
    """Train a plain GAN, and every number of groups with its control."""
    settings = presets.read("mggan-mnist")
    settings.pop("method")
    settings |= {
        "data_dir": str(asked.data_dir),
        "interval": asked.interval,
        "adjust_learning_rate": True,
        "score_every": asked.iterations,
        "iterations": asked.iterations,
        "seed": seed,
    }
    # workers load the data when they first need it: not in the time of the first run
    outcome(gd.MGGAN(**settings | {"groups": asked.workers, "iterations": 1}), client)
    single = outcome(gd.MGGAN(**settings | {"groups": 1}), client)
    found = {"plain GAN": single}
    for groups in asked.groups:
        made = outcome(gd.MGGAN(**settings | {"groups": groups}), client)
        longer = round(asked.iterations * float(made.seconds / single.seconds))
        found[f"{groups} groups"] = made
        found[f"plain GAN, time of {groups}"] = outcome(
            gd.MGGAN(**settings | {"groups": 1, "iterations": longer}), client
        )
    for name, one in found.items():
        told = ", ".join(f"{key} {float(value):.4g}" for key, value in one.items())
        print(f"seed {seed}  {name:22} {told}", flush=True)
    return found


def main() -> None:
    """Measure every seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=1000)
    parser.add_argument("--interval", type=int, default=100)
    parser.add_argument("--groups", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    with cluster.local(asked.workers) as client:
        seeds = [compared(asked, client, seed) for seed in range(1, asked.seeds + 1)]
    rows = [xr.concat([found[name] for found in seeds], "seed") for name in seeds[0]]
    table = xr.concat(rows, "trained").assign_coords(trained=list(seeds[0]))
    print(f"\n{asked.seeds} seeds, {asked.workers} workers; mean ± deviation over seeds")
    print(f"{'':23} {'iterations':>10} {'s':>5}  best: FID, TVD, IS; all: FID, TVD, IS")
    for name in table.trained.values:
        one = table.sel(trained=name)
        columns = [one[f"{which}_{score}"] for which in ("best", "all") for score in SCORES]
        told = [f"{float(c.mean()):.3g} ± {float(c.std()):.2g}" for c in columns]
        wall, count = float(one.seconds.median()), float(one.iterations.mean())
        print(f"{name:23} {count:10.0f} {wall:5.0f}  {', '.join(told)}")
    if asked.output:
        table.to_zarr(asked.output, mode="w", zarr_format=2)


if __name__ == "__main__":
    main()
