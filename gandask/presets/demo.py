"""The demonstration: a small grid on the embedded digits, beside single GANs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandask import cluster, presets, results, runs
from gandask.display import place
from gandask.engine import run as engine
from gandask.methods.grid.method import Grid
from gandask.pages import report
from gandask.plots import pictures
from gandask.store import Store, refuse_existing

if TYPE_CHECKING:
    import xarray as xr


CAVEAT = (
    "The grid's figures are those of a mixture of generators, the best of its neighbourhoods by\n"
    "the FID shown; a single GAN has one generator. They are of one seed."
)


def run(store: Path, workers: int = 2, **changes: Any) -> str:
    """Train the demo preset and its controls, write pictures and report, and tell the outcome.

    Parameters
    ----------
    store : path
        Folder of the grid's run; the controls' are beside it.
    workers : int
        Worker processes.
    **changes
        Settings to change.
    """
    preset = presets.read("demo")
    preset.pop("method")
    grid = Grid(**preset | changes)
    cells = grid.shape[0] * grid.shape[1]
    compared = {
        "grid": (grid, store),
        "single, as one cell": (control(grid, 1), store.with_name(f"{store.name}-single")),
        "single, as all": (control(grid, cells), store.with_name(f"{store.name}-single-long")),
    }
    for _, path in compared.values():
        refuse_existing(Store(path))
    with cluster.local(workers) as client:
        datasets = {
            name: engine.run(method, client=client, store=path, progress=True)
            for name, (method, path) in compared.items()
        }
    opened = runs.open_run(store)
    picture = store / "samples" / "best.png"
    drawn = opened.best_mixture().sample(64, seed=0)
    pictures.save_png(drawn, picture, facts=opened.store.description["facts"])
    page = report.write(opened)
    return "\n\n".join(
        [table(datasets), CAVEAT, spent(datasets["grid"]), f"samples: {picture}\nreport:  {page}"]
    )


def control(grid: Grid, cells: int) -> Grid:
    """Make the single GAN that takes as many batches as `cells` of a grid's cells together."""
    epochs = grid.epochs_per_round * cells
    return dataclasses.replace(grid, shape=(1, 1), selection=False, epochs_per_round=epochs)


def table(datasets: Mapping[str, xr.Dataset]) -> str:
    """Lay the outcomes of runs side by side: of the best neighbourhood of each."""
    rows: dict[str, list[str]] = {"": list(datasets)}
    for name, dataset in datasets.items():
        best = results.best(dataset)
        if best is None:
            raise ValueError(f"{name}: expected a finished run")
        told = {
            "best neighbourhood": place(results.place(best)),
            "FID (lower is better)": f"{float(best.final_fid):.1f}",
            "TVD (lower is better)": f"{float(best.final_tvd):.3f}",
            "inception score (higher)": f"{float(best.final_inception_score):.2f}",
            "batches, all cells": f"{int(dataset.batches.sum())}",
            "wall time, s": f"{float(dataset.elapsed.max()):.1f}",
        }
        for title, value in told.items():
            rows.setdefault(title, []).append(value)
    return "\n".join(f"{t:26}" + "".join(f"{v:>21}" for v in values) for t, values in rows.items())


def spent(dataset: xr.Dataset) -> str:
    """Tell where a run's time went."""
    seconds = results.profile(dataset).to_series()
    lines = [
        f"  {n!s:10}{value:8.1f} s {value / seconds.sum():5.0%}" for n, value in seconds.items()
    ]
    return "\n".join(["time of the grid's workers by routine:", *lines])
