"""Bytes that move between workers in a round of a grid, against those that must.

    python benchmarks/traffic.py --shape 4 4 --rounds 4

What must move, with the cells where they are: to each worker once, the weights of every individual
that a cell of another worker made and that one of its own cells evaluates; and the Adam moments of
those that were chosen as parents. States are small here (digits); the count does not depend on it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import measuring
import numpy as np
import xarray as xr

import gandask as gd
from gandask import cluster
from gandask.core import State
from gandask.methods import tasks

KINDS = ("generator", "discriminator")


def size(state: State) -> int:
    """Count the bytes of a state."""
    return sum(array.nbytes for array in state.values())


def least(ds: xr.Dataset, sizes: dict[str, tuple[int, int]]) -> np.ndarray:
    """Count the bytes that must move in each round.

    An individual that was not replaced has moved before, and stays where it is read.
    """
    rounds, cells = ds.sizes["round"], ds.sizes["row"] * ds.sizes["col"]
    home = ds["worker"].values.reshape(rounds, cells)
    neighbours = ds["neighbour_cell"].values.reshape(rounds, cells, -1)
    found = np.zeros(rounds, np.int64)
    for kind in KINDS:
        weights, moments = sizes[kind]
        made = np.zeros(cells, int)  # the round in which each cell's individual was made
        parents = ds[f"{kind}_parent"].values.reshape(rounds, cells)
        replaced = ds[f"{kind}_replaced"].values.reshape(rounds, cells)
        known: set[tuple[str, int, int]] = set()
        for round in range(rounds):
            read = {
                (home[round, cell], other, made[other])
                for cell in range(cells)
                for other in neighbours[round, cell]
                if home[round, other] != home[round, cell]
            }
            foreign = {
                (home[round, cell], parents[round, cell])
                for cell in range(cells)
                if home[round, parents[round, cell]] != home[round, cell]
            }
            found[round] = found[round] + weights * len(read - known) + moments * len(foreign)
            known = read
            made[replaced[round]] = round + 1
    return found


def main() -> None:
    """Train a grid, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=2, default=(4, 4))
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--output", type=Path, help="zarr to keep the table in")
    asked = parser.parse_args()
    grid = gd.Grid(shape=tuple(asked.shape), rounds=asked.rounds, data="digits")
    states, _ = tasks.initialise(training=grid.training, slot="cell/0", population_size=1)
    sizes = {kind: (size(states[2 * n]), size(states[2 * n + 1])) for n, kind in enumerate(KINDS)}
    with cluster.local(asked.workers) as client:
        ds = gd.run(grid, client=client, progress=False)
    moved = ds["gathered"].sum(["row", "col"]).values
    must = least(ds, sizes)
    print(f"{measuring.machine()}; {asked.shape}, {asked.workers} workers, sizes {sizes}")
    for round in range(asked.rounds):
        print(f"round {round + 1}: {moved[round] / 2**20:.2f} MiB moved, {must[round] / 2**20:.2f} "
              f"must: {moved[round] / max(1, must[round]):.2f} times")  # fmt: skip
    made = {"moved": ("round", moved), "least": ("round", must)}
    measuring.keep(xr.Dataset(made, {"round": ds["round"].values}), asked.output)


if __name__ == "__main__":
    main()
