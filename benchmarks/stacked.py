"""Milliseconds per batch and cell of Table I's nets, cells as one beside one after the other.

    python benchmarks/stacked.py --data-dir ../shared/data --cells 1 4 16

On a GPU, where gandask trains in batched steps, `--device cuda`; on a CPU it trains cells one after
the other, and this shows why: a step has 16 rows, however many cells there are. Both do the same
arithmetic on the same batches.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import measuring
import xarray as xr

import gandask as gd
from gandask import presets
from gandask.methods.grid.tasks import train_batches
from gandask.training import stacked


def trained(grid: gd.Grid, cells: int, batches: int, together: bool) -> float:
    """Train cells for some batches; give milliseconds per batch and cell."""
    training = grid.training
    fraction = batches * training.batch_size / len(training.data)
    with training.settled() as device:
        offspring = [
            measuring.offspring(grid, f"cell/{index}", device, fraction) for index in range(cells)
        ]

        def train() -> None:
            if together:
                pairs = stacked.Pairs([one.pair for one in offspring])
                train_batches(offspring, pairs)
                pairs.unstack()
            else:
                for one in offspring:
                    train_batches([one], one)
            for one in offspring:
                one.pair.outcome()  # a GPU may still be at work

        return 1000 * measuring.seconds(train) / offspring[0].step_count / cells


def main() -> None:
    """Measure all in turn, and print their medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="highest")
    parser.add_argument("--cells", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--batches", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    settings = presets.read("table1-mnist-4x4")
    settings.pop("method")
    changes = {key: getattr(asked, key) for key in ("data_dir", "device", "precision")}
    grid = gd.Grid(**settings | changes | {"score_samples": 0})
    contenders = {
        f"{cells} cells, {'as one' if as_one else 'one by one'}": (cells, as_one)
        for cells in asked.cells
        for as_one in (False, True)
    }
    print(f"{measuring.machine()}; {asked.device}, {asked.precision}", flush=True)
    runs = {
        name: lambda cells=cells, as_one=as_one: trained(grid, cells, asked.batches, as_one)
        for name, (cells, as_one) in contenders.items()
    }
    for run in runs.values():
        run()  # the first time loads libraries and data
    found = measuring.interleaved(runs, asked.repeats)
    for name, (cells, _) in contenders.items():
        rival = f"{cells} cells, one by one"
        ratio = found.sel(contender=name) / found.sel(contender=rival)
        told = measuring.spread(found.sel(contender=name))
        print(f"{name:22} {told:22} ms per batch and cell; {measuring.spread(ratio)} of one by one")
    found.attrs |= {"long_name": "time per batch and cell", "units": "ms"}
    measuring.keep(xr.Dataset({"time": found}), asked.output)


if __name__ == "__main__":
    main()
