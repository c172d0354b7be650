"""Table I of Pérez et al. (2020) on MNIST: seconds per cell-round, quality, and where time goes.

python benchmarks/table1.py --data-dir ../shared/data --shape 2 2 --rounds 5 --workers 2
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import gandask as gd
from gandask import cluster, presets, results


def main() -> None:
    """Run the preset for some rounds, and print what it took and reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--shape", type=int, nargs=2, default=(2, 2))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="highest")
    parser.add_argument("--output", type=Path, help="zarr to keep the Dataset in")
    asked = parser.parse_args()
    settings = presets.read("table1-mnist-2x2")
    settings.pop("method")
    changes = {key: getattr(asked, key) for key in ("data_dir", "shape", "rounds", "precision")}
    grid = gd.Grid(**settings | changes)
    grid.check()
    grid.prepare()  # the classifier is trained once, and not what is timed
    with cluster.local(asked.workers) as client:
        ds = gd.run(grid, client=client, progress=True)
    later = ds.isel(round=slice(1, None))  # the first round starts processes and loads torch
    seconds = results.profile(later)
    cell_rounds = later.worker.size
    print("{}×{}".format(*asked.shape), end=", ")
    print(f"{asked.rounds} rounds, {asked.workers} workers, {os.cpu_count()} cores")
    print(f"seconds per cell-round: {float(seconds.sum()) / cell_rounds:.2f}")
    for name, value in seconds.to_series().items():
        print(f"  {name!s:10}{value / cell_rounds:8.3f} s {value / float(seconds.sum()):6.1%}")
    training = float(seconds.sel(routine="train") / seconds.sum())
    print(f"share outside forward, backward and optimiser: {1 - training:.1%}")
    wall = float(ds.elapsed.max() - ds.elapsed.isel(round=0).max())
    print(f"wall time of rounds 2 to {asked.rounds}: {wall:.1f} s")
    final = results.best(ds)
    assert final is not None
    print(", ".join(f"{name} {float(value):.3f}" for name, value in final.data_vars.items()))
    print(f"classifier accuracy {ds.attrs['classifier_accuracy']:.2%}")
    if asked.output:
        ds.to_zarr(asked.output, mode="w", zarr_format=2)


if __name__ == "__main__":
    main()
