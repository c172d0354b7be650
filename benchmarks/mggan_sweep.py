"""The strategy's settings, one at a time: where MGGAN's defaults come from.

    python benchmarks/mggan_sweep.py --seeds 4

Four groups on the embedded digits, beside plain GANs (interval 0) and a fixed interval. Each
setting of the adaptive strategy takes several values while the others stay where they were guessed
first; "chosen" is what became the defaults. Scores are those of the groups' generators, averaged,
and of the mixture of all.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import xarray as xr
from distributed import Client

import gandask as gd
from gandask import cluster

SETTINGS: dict[str, Any] = {
    "groups": 4,
    "data": "digits",
    "base": "small_mlp",
    "batch_size": 64,
    "learning_rate": 5e-4,
    "score_every": 500,
}
GUESSED: dict[str, Any] = {
    "adjustment_ratio": 0.05,
    "interval_growth": 1.5,
    "variation_threshold": 0.1,
    "interval_limit": 2000,
}
SWEPT: dict[str, tuple[float, ...]] = {
    "adjustment_ratio": (0.0, 0.02, 0.05, 0.1),
    "interval_growth": (1.0, 1.25, 1.5, 2.0),
    "variation_threshold": (0.02, 0.05, 0.1, 0.5),
    "interval_limit": (500, 1000, 2000),
}


def variants() -> dict[str, dict[str, Any]]:
    """Name the settings to compare: the guess, every other value of one setting, the chosen."""
    made: dict[str, dict[str, Any]] = {
        "plain GANs": {"interval": 0},
        "fixed interval 300": {"interval": 300},
        "guessed": GUESSED,
    }
    for name, values in SWEPT.items():
        made |= {f"{name} {v}": GUESSED | {name: v} for v in values if v != GUESSED[name]}
    return made | {"chosen": {}}


def outcome(method: gd.MGGAN, client: Client) -> xr.Dataset:
    """Train, and summarise."""
    ds = gd.run(method, client=client, progress=False)
    return xr.Dataset(
        {
            "fid": ds.final_fid.mean(),
            "tvd": ds.final_tvd.mean(),
            "mixture_fid": ds.final_mixture_fid,
            "regroupings": float((ds.event_kind == "regrouped").sum()),
            "first": float(ds.last_iteration.where(ds.interval == -1).max()),
        }
    )


def main() -> None:
    """Measure every variant with every seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=[*variants()], default=[*variants()])
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    found: dict[str, list[xr.Dataset]] = {name: [] for name in asked.only}
    with cluster.local(asked.workers) as client:
        for seed in range(1, asked.seeds + 1):
            for name in asked.only:
                settings = SETTINGS | {"iterations": asked.iterations, "seed": seed}
                settings |= variants()[name]
                one = outcome(gd.MGGAN(**settings), client)
                found[name].append(one)
                print(f"seed {seed}  {name:26} FID {float(one.fid):7.2f}", flush=True)
    rows = [xr.concat(each, "seed") for each in found.values()]
    table = xr.concat(rows, "variant").assign_coords(variant=list(found))
    print(f"\n{asked.iterations} iterations, {asked.seeds} seeds; mean ± deviation over seeds")
    print(f"{'':26} {'FID of generators':>18} {'TVD':>6} {'of all':>15}  regroupings, first at")
    for name in found:
        one = table.sel(variant=name)
        mean, spread = one.mean(), one.std()
        print(
            f"{name:26} {float(mean.fid):9.1f} ± {float(spread.fid):5.1f}"
            f" {float(mean.tvd):7.3f} {float(mean.mixture_fid):7.1f} ± "
            f"{float(spread.mixture_fid):4.1f}"
            f"  {float(mean.regroupings):.1f}, {float(mean['first']):.0f}"
        )
    if asked.output:
        table.to_zarr(asked.output, mode="w", zarr_format=2)


if __name__ == "__main__":
    main()
