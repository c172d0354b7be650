"""Modes of the ring of eight Gaussians: MGGAN over intervals, groups and seeds.

    python benchmarks/mggan_ring8.py --seeds 10

The experiment of Wu (2022, section 3.3.2), at equal batches per generator. Interval 0 is plain
GANs: groups never meet, and each depends on the seed and its number alone, so that the largest
number of groups holds all smaller ones. A generator covers a mode with at least one of 2,500
samples within three standard deviations. "Together" is an equal mixture of all generators, from
the samples kept of each.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import torch
import xarray as xr
from distributed import Client

import gandask as gd
from gandask import cluster, presets
from gandask.scores import features, metrics

KEPT = 500


def outcome(ds: xr.Dataset, count: int, method: gd.MGGAN) -> xr.Dataset:
    """Summarise the first `count` groups of a finished run."""
    chosen = ds.isel(group=slice(count))
    data = method.training.data
    real, measure = features.reference(data), features.extractor(data)
    last = torch.from_numpy(chosen.samples.isel(snapshot=-1).values.reshape(-1, 2))
    together = measure.statistics(iter([last]))
    best = int(chosen.final_fid.values.argmin())
    return xr.Dataset(
        {
            "modes": float(chosen.final_modes.mean()),
            "all_modes": float((chosen.final_modes == len(data.modes)).mean()),
            "high_quality": float(chosen.final_high_quality.mean()),
            "best_modes": float(chosen.final_modes[best]),
            "best_high_quality": float(chosen.final_high_quality[best]),
            "together_modes": metrics.modes(real, together),
            "together_high_quality": metrics.high_quality(real, together),
            "seconds": float(ds.elapsed.max()),
        }
    )


def measured(asked: argparse.Namespace, client: Client, seed: int) -> xr.Dataset:
    """Train every interval and number of groups with one seed."""
    settings = presets.read("mggan-ring8")
    settings.pop("method")
    settings |= {"iterations": asked.iterations, "kept_samples": KEPT, "seed": seed}
    found = {}
    for interval in asked.intervals:
        counts = [count for count in asked.groups if interval == 0 or count > 1]
        for trained in [max(counts)] if interval == 0 else counts:
            method = gd.MGGAN(**settings | {"groups": trained, "interval": interval})
            store = asked.keep and asked.keep / f"seed{seed}-interval{interval}-groups{trained}"
            ds = gd.run(method, client=client, store=store, checkpoint_every=10_000, progress=False)
            for count in counts if interval == 0 else [trained]:
                found[interval, count] = one = outcome(ds, count, method)
                scores = ", ".join(f"{name} {float(value):.3g}" for name, value in one.items())
                print(f"seed {seed:2}  T {interval:3}  groups {count}  {scores}", flush=True)
    rows = [
        xr.concat([found.get((t, n), xr.Dataset()) for n in asked.groups], "groups")
        for t in asked.intervals
    ]
    return xr.concat(rows, "interval")


def main() -> None:
    """Measure every seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--intervals", type=int, nargs="+", default=[0, 25, 300])
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 2, 3, 4, 6])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="folder to keep the runs in")
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    with cluster.local(asked.workers) as client:
        seeds = [measured(asked, client, seed) for seed in range(1, asked.seeds + 1)]
    table = xr.concat(seeds, "seed").assign_coords(
        seed=range(1, asked.seeds + 1), interval=asked.intervals, groups=asked.groups
    )
    print(f"\n{asked.iterations} iterations, {asked.seeds} seeds; mean ± deviation over seeds")
    print(
        f"{'T':>4} {'groups':>6}  {'modes':>11} {'all 8':>6} {'high quality':>13}  best, together"
    )
    for interval, count in itertools.product(asked.intervals, asked.groups):
        one = table.sel(interval=interval, groups=count)
        if one.modes.notnull().any():
            mean, spread = one.mean(), one.std()
            print(
                f"{interval:4} {count:6}  {float(mean.modes):4.1f} ± {float(spread.modes):4.1f}"
                f" {float(mean.all_modes):6.0%}"
                f" {float(mean.high_quality):6.0%} ± {float(spread.high_quality):4.0%}"
                f"  {float(mean.best_modes):.1f} at {float(mean.best_high_quality):.0%},"
                f" {float(mean.together_modes):.1f} at {float(mean.together_high_quality):.0%}"
            )
    if asked.output:
        table.to_zarr(asked.output, mode="w", zarr_format=2)


if __name__ == "__main__":
    main()
