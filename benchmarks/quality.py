"""Quality over rounds and over time: Lipizzaner, SPaGAN, PaGAN, IsoCoGAN and a single GAN.

    python benchmarks/quality.py --data-dir ../shared/data --rounds 16 --seeds 3

Table I's nets on MNIST, 3×3, each cell with as many batches as the single GAN; another single GAN
takes the batches of all nine cells. The score is that of the best mixture, or of the only
generator, on the samples of each round; the published ordering after 200 epochs is Lipizzaner,
SPaGAN, PaGAN, and IsoCoGAN far behind (Toutouh et al. 2020).
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
from gandask import cluster, presets

PRESETS = {
    "Lipizzaner": "table1-mnist-3x3",
    "SPaGAN": "spagan",
    "PaGAN": "pagan",
    "IsoCoGAN": "isocogan",
}
SCORES = ("fid", "tvd")


def methods(changes: dict[str, Any]) -> dict[str, gd.Grid]:
    """Make the grids, and single GANs with the batches of one cell and of all."""
    made = {}
    for name, preset in PRESETS.items():
        settings = presets.read(preset)
        settings.pop("method")
        made[name] = gd.Grid(**settings | changes)
    grid = made["Lipizzaner"]
    singles = {"single GAN": 1, "single GAN ×9": grid.shape[0] * grid.shape[1]}
    return made | {name: measuring.single(grid, cells) for name, cells in singles.items()}


def trained(grid: gd.Grid, client: Client) -> xr.Dataset:
    """Train, and give the scores of the best cell by FID in each round, and when it was done."""
    ds = gd.run(grid, client=client, progress=False)
    flat = ds[[*SCORES, "elapsed"]].stack(cell=("row", "col")).reset_index("cell", drop=True)
    best = flat["fid"].argmin("cell")
    found = {name: flat[name].isel(cell=best) for name in SCORES}
    found["own_fid"] = ds["generator_fid"].min(["row", "col"])
    found["elapsed"] = flat["elapsed"].max("cell")
    return xr.Dataset(found).drop_vars("cell", errors="ignore")


def main() -> None:
    """Train every method with every seed, in turn, and print means over seeds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="medium")
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    rows: dict[str, list[xr.Dataset]] = {}
    with cluster.local(asked.workers) as client:
        for seed in range(1, asked.seeds + 1):
            changes = {key: getattr(asked, key) for key in ("data_dir", "rounds", "precision")}
            for name, grid in methods(changes | {"seed": seed}).items():
                grid.prepare()
                rows.setdefault(name, []).append(trained(grid, client))
                last = rows[name][-1].isel(round=-1)
                print(f"seed {seed} {name:13} FID {float(last['fid']):.1f}, "
                      f"{float(last['elapsed']):.0f} s", flush=True)  # fmt: skip
            tell(rows)
    table = xr.concat([xr.concat(one, "seed") for one in rows.values()], "method")
    measuring.keep(table.assign_coords(method=list(rows)), asked.output)


def tell(rows: dict[str, list[xr.Dataset]]) -> None:
    """Print means and deviations over seeds, after some rounds and some seconds."""
    rounds = rows["Lipizzaner"][0].sizes["round"]
    for name, found in rows.items():
        table = xr.concat(found, "seed")
        shown = [r for r in (1, 2, 4, 8, 16, 32, 64, 128) if r < rounds] + [rounds]
        told = [
            f"{float(table[score].sel(round=r).mean()):.{digits}f}"
            f" ± {float(table[score].sel(round=r).std()):.{digits}f}"
            for score, digits in (("fid", 0), ("tvd", 2))
            for r in shown
        ]
        print(f"{name:13} {float(table['elapsed'].isel(round=-1).mean()):5.0f} s, "
              f"rounds {shown}: FID {', '.join(told[: len(shown)])}; "
              f"TVD {', '.join(told[len(shown) :])}")  # fmt: skip
    limit = min(float(one["elapsed"].isel(round=-1)) for one in rows["Lipizzaner"])
    for share in (0.25, 0.5, 1.0):
        at = {name: [_at(one, share * limit) for one in found] for name, found in rows.items()}
        told = [f"{name} {np.mean(values):.0f}" for name, values in at.items()]
        print(f"FID within {share * limit:.0f} s: {', '.join(told)}")


def _at(one: xr.Dataset, seconds: float) -> float:
    """Give the FID of the last round that was done by then."""
    done = one["fid"].values[one["elapsed"].values <= seconds]
    return float(done[-1]) if len(done) else np.nan


if __name__ == "__main__":
    main()
