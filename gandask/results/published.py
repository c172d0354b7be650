"""Figures from the literature to hold own runs against, exactly as they were printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

PEREZ = (
    "E. Pérez, S. Nesmachnow, J. Toutouh, E. Hemberg, U.-M. O'Reilly: Parallel/distributed "
    "implementation of cellular training for generative adversarial neural networks (2020)"
)


def execution_times() -> xr.Dataset:
    """Give Table III of Pérez et al. (2020): training on MNIST on one core, and distributed.

    The cores are those of Table II: one for each cell, and one for the master.

    Returns
    -------
    Dataset
        Along ``run``, with the names of `gandask.results.scaling.scaling`: ``shape``, ``units``,
        ``workers``, ``serial`` and ``wall`` in minutes, ``wall_deviation`` over ten runs,
        ``speedup`` as printed, and its share per core, the ``efficiency``.
    """
    import xarray as xr

    speedup, cores = [8.53, 13.65, 15.17], [5, 10, 17]
    return xr.Dataset(
        {
            "shape": ("run", ["2×2", "3×3", "4×4"], _told("grid size")),
            "units": ("run", [4, 9, 16], _told("units of the population: cells of a grid")),
            "workers": ("run", cores, _told("cores")),
            "serial": ("run", [339.6, 999.5, 1920.0], _told("time on a single core", "min")),
            "wall": ("run", [39.81, 73.24, 126.68], _told("time distributed", "min")),
            "wall_deviation": (
                "run",
                [0.01, 2.56, 3.42],
                _told("standard deviation of the time distributed", "min"),
            ),
            "speedup": ("run", speedup, _told("speedup", "1")),
            "efficiency": (
                "run",
                [gain / number for gain, number in zip(speedup, cores, strict=True)],
                _told("parallel efficiency", "1"),
            ),
        },
        attrs={"source": f"{PEREZ}, Tables II and III"},
    )


def routine_times() -> xr.Dataset:
    """Give Table IV of Pérez et al. (2020): the time by routine, on a grid of 4×4.

    Returns
    -------
    Dataset
        Along ``routine``, of which "overall" is the sum: ``serial`` and ``parallel`` in minutes,
        ``acceleration``, the share of the time that was saved, in percent, and ``speedup``.
    """
    import xarray as xr

    return xr.Dataset(
        {
            "serial": (
                "routine",
                [19.4, 264.9, 199.8, 25.6, 509.6],
                _told("time on a single core", "min"),
            ),
            "parallel": (
                "routine",
                [19.4, 43.8, 16.8, 17.9, 97.9],
                _told("time distributed", "min"),
            ),
            "acceleration": ("routine", [0.0, 83.5, 91.6, 29.9, 80.8], _told("time saved", "%")),
            "speedup": ("routine", [1.00, 6.05, 11.87, 1.43, 5.21], _told("speedup", "1")),
        },
        {"routine": ["gather", "train", "update_genomes", "mutate", "overall"]},
        {"source": f"{PEREZ}, Table IV"},
    )


def _told(long_name: str, units: str = "") -> dict[str, str]:
    return {"long_name": long_name, "units": units}
