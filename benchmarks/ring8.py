"""Modes of the ring of eight Gaussians: a 3×3 grid beside single GANs.

    python benchmarks/ring8.py --seeds 10

For each seed the best mixture of the grid and two single GANs draw 2,500 new samples: one with as
many batches as one cell, one with as many as all nine together. A mode counts with at least one
sample within three standard deviations (the yardstick of VEEGAN, Srivastava et al. 2017).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import xarray as xr
from distributed import Client

import gandask as gd
from gandask import cluster, presets
from gandask.scores import features, metrics

SAMPLES = 2500


def coverage(method: gd.Grid, client: Client) -> tuple[float, float, float]:
    """Train, and give modes, share of high-quality samples and seconds."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "run"
        ds = gd.run(method, client=client, store=store, checkpoint_every=method.rounds)
        samples = gd.open_run(store).best_mixture().sample(SAMPLES, seed=method.seed)
    data = method.training.data
    drawn = features.extractor(data).statistics(iter([samples]))
    real = features.reference(data)
    return metrics.modes(real, drawn), metrics.high_quality(real, drawn), float(ds.elapsed.max())


def main() -> None:
    """Measure every seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="ring8", choices=("ring8", "grid25"))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    settings = presets.read(asked.preset)
    settings.pop("method")
    rows: dict[str, list[Any]] = {}
    with cluster.local(asked.workers) as client:
        for seed in range(1, asked.seeds + 1):
            grid = gd.Grid(**settings, seed=seed)
            compared = {
                "grid": grid,
                "single, as one cell": measuring.single(grid, 1),
                "single, as all": measuring.single(grid, grid.shape[0] * grid.shape[1]),
            }
            for name, method in compared.items():
                rows.setdefault(name, []).append(coverage(method, client))
                modes, share, seconds = rows[name][-1]
                scores = f"modes {modes:4.0f}  high quality {share:6.1%}  {seconds:5.1f} s"
                print(f"seed {seed:2}  {name:20} {scores}", flush=True)
    table = xr.DataArray(
        np.array(list(rows.values())),
        {
            "trained": list(rows),
            "seed": range(1, asked.seeds + 1),
            "score": ["modes", "high_quality", "seconds"],
        },
    ).to_dataset("score")
    total = len(grid.training.data.modes)
    print(f"\n{asked.preset}: {total} modes, {asked.seeds} seeds, {SAMPLES} samples")
    for name in rows:
        one = table.sel(trained=name)
        everywhere = int((one.modes == total).sum())
        print(
            f"{name:20} modes {float(one.modes.mean()):.1f} (all: {everywhere} of {asked.seeds}), "
            f"high quality {float(one.high_quality.mean()):.1%} ± "
            f"{float(one.high_quality.std()):.1%}, {float(one.seconds.median()):.1f} s"
        )
    if asked.output:
        table.to_zarr(asked.output, mode="w", zarr_format=2)


if __name__ == "__main__":
    main()
