"""How efficiency falls with the number of cells, from what was measured of one.

    python benchmarks/engine.py --cells 16 256 1024 4096 --rounds 8 --output engine.zarr
    python benchmarks/simulate.py engine.zarr --seconds 3.9 --deviation 0.1 --tasks 1 6

The model: every cell has a core of its own. A cell-round is two stages one after the other, fitness
and training, together `seconds` long with a relative `deviation` from round to round (log-normal).
They are one and six of Dask's tasks: what performs them, and what picks the report and four states
apart. Client and scheduler are one process each, and handle tasks one by one, each at the CPU time
per task of Dask's that the engine was measured with; the slower of the two sets the pace.
Synchronously, a stage begins when all tasks of the one before are reported; asynchronously, a cell
goes on by itself. The time that weights travel is left out: it does not depend on the number of
cells, where each has its own link.

First the model is held against the engine's own measurement, whose processes share the cores of one
machine: there it says that all of them are busy all the time.
"""

from __future__ import annotations

import argparse
import os

import numpy as np
import xarray as xr
from engine import ALONE, SETTINGS

CELLS = (10, 100, 1_000, 10_000)
ROUNDS = 20


def check(measured: xr.Dataset, cores: int) -> None:
    """Print what the model says of the measured runs beside what was measured."""
    for cells in measured["cells"].values:
        for name in measured["setting"].values:
            one = measured.sel(cells=cells, setting=name)
            busy = sum(one[f"{name}_cpu"] for name in ("client", "scheduler", "workers"))
            expected = 1000 * cores / float(busy.median())
            found = float(one["rate"].median())
            print(f"{cells:6} cells of no work, {name}: {found:6.0f} cell-rounds/s measured, "
                  f"{expected:6.0f} by the model: {found / expected:.2f} of it")  # fmt: skip


def synchronous(cells: int, paces: np.ndarray, times: np.ndarray) -> float:
    """Give the seconds of a round: `times` (stages, cells), `paces` seconds per task (stages)."""
    total = 0.0
    for stage, pace in zip(times, paces, strict=True):
        # tasks leave one by one, and reports are taken in one by one as they arrive
        left = np.arange(1, cells + 1) * pace
        arrived = np.sort(left + stage)
        handled = 0.0
        for moment in arrived:
            handled = max(handled, moment) + pace
        total += handled
    return total


def asynchronous(cells: int, paces: np.ndarray, times: np.ndarray) -> float:
    """Give the mean seconds of a round when no cell waits for another."""
    alone = float(times.sum(0).mean()) + 2 * paces.sum()
    return max(alone, 2 * cells * paces.sum())


def main() -> None:
    """Hold the model against the measurement, then print efficiencies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", help="what benchmarks/engine.py wrote")
    parser.add_argument("--seconds", type=float, default=3.9, help="of a cell-round")
    parser.add_argument("--deviation", type=float, default=0.1, help="of that, relative")
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 6], help="of Dask's, by stage")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    measured = xr.open_zarr(asked.engine).load()
    print(measured.attrs["machine"])
    check(measured, asked.cores)
    last = measured.sel(setting=SETTINGS[-1]).isel(cells=-1)
    cpu = {
        name: float(last[f"{name}_cpu"].median()) / 1000 / ALONE for name in ("client", "scheduler")
    }
    slowest = max(cpu, key=cpu.__getitem__)
    # half of it to send a task, half to take in its report
    paces = cpu[slowest] / 2 * np.array(asked.tasks)
    print(f"the {slowest} sets the pace: {1 / cpu[slowest]:.0f} of Dask's tasks/s")
    chance = np.random.default_rng(1)
    sigma = np.sqrt(np.log(1 + asked.deviation**2))
    for cells in CELLS:
        rounds = []
        for _ in range(ROUNDS):
            drawn = chance.lognormal(-(sigma**2) / 2, sigma, (len(paces), cells))
            times = asked.seconds / len(paces) * drawn
            slowest_cell = float(times.max(1).sum())
            rounds.append((synchronous(cells, paces, times), slowest_cell,
                           asynchronous(cells, paces, times)))  # fmt: skip
        together, waiting, apart = np.mean(rounds, axis=0)
        shares = [f"{asked.seconds / each:6.1%}" for each in (together, waiting, apart)]
        told = "{:6} cells: synchronous {} (waiting for the slowest alone {}), asynchronous {}"
        print(told.format(cells, *shares))


if __name__ == "__main__":
    main()
