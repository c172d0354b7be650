"""What all benchmarks share: what the machine is, and fair comparisons by interleaved medians."""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import gandask as gd
from gandask.methods.grid.tasks import Offspring
from gandask.methods.tasks import initialise


def machine() -> str:
    """State the machine and the versions that a figure was taken with."""
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    load = os.getloadavg()[0]
    return (
        f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, load {load:.1f} "
        f"before, Python {platform.python_version()}, PyTorch {torch.__version__}"
    )


def interleaved(contenders: Mapping[str, Callable[[], float]], repeats: int) -> xr.DataArray:
    """Let contenders run in turn, again and again; none has the quiet minutes to itself.

    Returns
    -------
    DataArray
        What each gave, by ``contender`` and ``repeat``.
    """
    found = [[run() for run in contenders.values()] for _ in range(repeats)]
    coords = {"contender": list(contenders)}
    return xr.DataArray(np.array(found).T, coords, dims=("contender", "repeat"))


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def processor_seconds(function: Callable[[], object]) -> float:
    """Time one call by the processor's time of this process: other work beside it counts less."""
    begun = time.process_time()
    function()
    return time.process_time() - begun


def single(grid: gd.Grid, cells: int) -> gd.Grid:
    """Make the single GAN that takes as many batches as `cells` of a grid's cells together."""
    epochs = grid.epochs_per_round * cells
    return dataclasses.replace(grid, shape=(1, 1), selection=False, epochs_per_round=epochs)


def offspring(grid: gd.Grid, slot: str, device: torch.device, fraction: float) -> Offspring:
    """Make what a cell trains in its first round, on a fraction of the data."""
    training = dataclasses.replace(grid.training, data_fraction=fraction)
    states, _ = initialise(training=training, slot=slot, population_size=1)
    return Offspring.load(
        device,
        *states,
        training=training,
        settings=grid.cell_settings(1),
        slot=slot,
        round=1,
        loss=0,
        rivals=0,
        train_against_rivals=False,
    )


def spread(values: xr.DataArray, format: str = ".2f") -> str:
    """Write a median, and the least and the largest."""
    low, middle, high = (f"{value:{format}}" for value in np.quantile(values, [0, 0.5, 1]))
    return f"{middle} ({low} to {high})"


def keep(table: xr.Dataset, path: Path | None) -> None:
    """Write a table as zarr, with the machine it was measured on, where a place is given."""
    if path is not None:
        table.assign_attrs(machine=machine()).to_zarr(path, mode="w", zarr_format=2)
