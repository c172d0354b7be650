"""The demonstration: a small grid on the embedded digits, beside a single GAN."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandask import cluster, engine, pictures, presets, report, results, runs
from gandask.methods.grid import Grid
from gandask.store import Store

if TYPE_CHECKING:
    import xarray as xr


def run(store: Path, workers: int = 2, **changes: Any) -> str:
    """Train the demo preset and its control, write pictures and report, and tell the outcome.

    Parameters
    ----------
    store : path
        Folder of the grid's run; the control's is beside it.
    workers : int
        Worker processes.
    **changes
        Settings to change.
    """
    preset = presets.read("demo")
    preset.pop("method")
    grid = Grid(**preset | changes)
    single = control(grid)
    beside = store.with_name(f"{store.name}-single")
    for path in (store, beside):
        Store(path).refuse_existing()
    with cluster.local(workers) as client:
        dataset = engine.run(grid, client=client, store=store, progress=True)
        control_dataset = engine.run(single, client=client, store=beside, progress=True)
    opened = runs.open_run(store)
    picture = store / "samples" / "best.png"
    pictures.save_png(opened.best_mixture().sample(64, seed=0), picture)
    page = report.write(opened)
    return f"{compared(dataset, control_dataset)}\n\nsamples: {picture}\nreport:  {page}"


def control(grid: Grid) -> Grid:
    """Make the single GAN that takes as many batches as all of a grid's cells together."""
    cells = grid.shape[0] * grid.shape[1]
    return dataclasses.replace(
        grid, shape=(1, 1), selection=False, epochs_per_round=grid.epochs_per_round * cells
    )


def compared(grid: xr.Dataset, single: xr.Dataset) -> str:
    """Lay the outcome of a grid beside that of a single GAN, and tell where its time went."""
    ours, theirs = results.best(grid), results.best(single)
    if ours is None or theirs is None:
        raise ValueError("expected two finished runs")
    lines = [
        f"best neighbourhood: row {int(ours.row)}, col {int(ours.col)}",
        f"{'':28}{'grid':>10}{'single GAN':>12}",
    ]
    rows = {
        "FID (lower is better)": "final_fid",
        "TVD (lower is better)": "final_tvd",
        "inception score (higher)": "final_inception_score",
    }
    lines += [f"{t:28}{float(ours[n]):10.3f}{float(theirs[n]):12.3f}" for t, n in rows.items()]
    batches = [int(dataset.batches.sum()) for dataset in (grid, single)]
    walls = [float(dataset.elapsed.max()) for dataset in (grid, single)]
    lines += [
        f"{'batches, all cells together':28}{batches[0]:10}{batches[1]:12}",
        f"{'wall time, s':28}{walls[0]:10.1f}{walls[1]:12.1f}",
        "",
        "time of the grid's workers by routine:",
    ]
    seconds = results.profile(grid).to_series()
    lines += [
        f"  {name!s:10}{value:8.1f} s {value / seconds.sum():5.0%}"
        for name, value in seconds.items()
    ]
    return "\n".join(lines)
