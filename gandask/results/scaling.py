"""How the wall time of a run falls with the number of workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gandask.results.tables import workers

if TYPE_CHECKING:
    import xarray as xr

TITLES = {
    "shape": ("shape of the population", ""),
    "units": ("units of the population", ""),
    "workers": ("workers", ""),
    "rounds": ("rounds done", ""),
    "wall": ("wall time", "s"),
    "serial_workers": ("workers of the run compared with", ""),
    "serial": ("wall time of as many rounds on the fewest workers", "s"),
    "speedup": ("speedup", "1"),
    "efficiency": ("parallel efficiency", "1"),
}


def scaling(runs: Sequence[xr.Dataset]) -> xr.Dataset:
    """Compare the wall times of runs by their numbers of workers.

    Each run is held against that of the same settings with the fewest workers, the first of
    several. Runs that have done different numbers of rounds are compared per round.

    Parameters
    ----------
    runs : sequence of Dataset
        Of any method; the same settings once or several times.

    Returns
    -------
    Dataset
        Along ``run``, in the order given: ``shape``, such as "2×2", ``units``, ``workers``,
        ``rounds``, ``wall`` in seconds, ``serial_workers`` and ``serial`` of the run compared with,
        ``speedup``, and ``efficiency``, the share of the ideal speedup, which is as many times
        as there are more workers. A run of which no round is done has no times.
    """
    import xarray as xr

    rows = [_measured(run) for run in runs]
    for one, run in zip(rows, runs, strict=True):
        same = [
            other
            for other, candidate in zip(rows, runs, strict=True)
            if candidate.attrs["settings"] == run.attrs["settings"] and other["rounds"]
        ]
        fewest = min(same, key=lambda other: other["workers"], default=one)
        one["serial_workers"] = fewest["workers"]
        one["serial"] = fewest["wall"] / max(1, fewest["rounds"]) * one["rounds"]
        one["speedup"] = one["serial"] / one["wall"]
        one["efficiency"] = one["speedup"] * fewest["workers"] / max(1, one["workers"])
    return xr.Dataset(
        {
            name: ("run", [one[name] for one in rows], {"long_name": title, "units": units})
            for name, (title, units) in TITLES.items()
        }
    )


def _measured(run: xr.Dataset) -> dict[str, Any]:
    """Give what is known of a run by itself."""
    elapsed = run["elapsed"]
    sizes = [run.sizes[dim] for dim in elapsed.dims if dim != "round"]
    return {
        "shape": "×".join(map(str, sizes)),
        "units": math.prod(sizes),
        "workers": len(workers(run)),
        "rounds": run.sizes["round"],
        "wall": float(elapsed.max()) if elapsed.size else math.nan,
    }
