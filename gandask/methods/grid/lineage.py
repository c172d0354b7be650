"""Where the weights in cells came from: ancestors, and the founders of round 0 they descend from.

Each is read off two variables, ``generator_parent`` and ``generator_replaced``, or those of
discriminators. One that took its place in a round was cloned from the cell that the parent lived in
as it was before the round; any other stayed. Where cells have several individuals, the records tell
of the cell as a whole: this follows the newest, as if an offspring took the place of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask.core import Array
from gandask.methods.grid.view import KINDS

if TYPE_CHECKING:
    import xarray as xr

UNIT = ("row", "col")


def ancestors(
    ds: xr.Dataset, marked: Mapping[str, Any] | None = None, kind: str = "generator"
) -> xr.DataArray:
    """Tell in which cell the ancestor of each final individual lived after each round.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    marked : mapping, optional
        The place of the final cell to follow back; all of them by default.
    kind : str
        "generator" or "discriminator".

    Returns
    -------
    DataArray
        Cells, counted row by row: (round, cell), from round 0, before the first; by final cell.

    Raises
    ------
    ValueError
        If `ds` is no grid, or there is no such cell or kind.
    """
    import xarray as xr

    origins = _origins(ds, kind)
    final = np.arange(ds.sizes["row"] * ds.sizes["col"])
    if marked is not None:
        final = final[[cell(ds, marked)]]
    places = [final]
    for origin in origins[::-1]:
        places.append(origin[places[-1]])
    told = {"long_name": f"cell of the {kind}'s ancestor", "units": "cell"}
    coords = {"round": _rounds(ds), "cell": _cells(final)}
    return xr.DataArray(np.stack(places[::-1]), coords, list(coords), "ancestor", told)


def founders(ds: xr.Dataset, kind: str = "generator") -> xr.DataArray:
    """Tell whose descendant lives in each cell after each round.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    kind : str
        "generator" or "discriminator".

    Returns
    -------
    DataArray
        Cells of round 0, counted row by row: (round, cell), from round 0, before the first.

    Raises
    ------
    ValueError
        If `ds` is no grid, or there is no such kind.
    """
    import xarray as xr

    origins = _origins(ds, kind)
    held = [np.arange(ds.sizes["row"] * ds.sizes["col"])]
    for origin in origins:
        held.append(held[-1][origin])
    told = {"long_name": f"founder of the {kind}", "units": "cell"}
    coords = {"round": _rounds(ds), "cell": _cells(held[0])}
    return xr.DataArray(np.stack(held), coords, list(coords), "founder", told)


def variety(ds: xr.Dataset, kind: str = "generator") -> xr.Dataset:
    """Count the cells that each founder's descendants hold, and how various that leaves the grid.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    kind : str
        "generator" or "discriminator".

    Returns
    -------
    Dataset
        ``cells`` (round, founder); ``left`` (round), the founders that hold any; ``effective``
        (round), how many founders of equal shares would be as various: 1 / Σ pᵢ² (Simpson's index
        of 1949, inverted; the diversity of order 2 of Hill, 1973).

    Raises
    ------
    ValueError
        If `ds` is no grid, or there is no such kind.
    """
    import xarray as xr

    found = founders(ds, kind)
    number = found.sizes["cell"]
    cells = np.stack([np.bincount(row, minlength=number) for row in found.values])
    shares = cells / number
    told = {
        "cells": ("cells that descend from the founder", "cells"),
        "left": ("founders left", "1"),
        "effective": ("effective number of founders", "1"),
    }
    made = xr.Dataset(
        {
            "cells": (("round", "founder"), cells),
            "left": ("round", (cells > 0).sum(1)),
            "effective": ("round", 1 / (shares**2).sum(1)),
        },
        {"round": _rounds(ds), "founder": np.arange(number)},
    )
    for name, (title, units) in told.items():
        made[name].attrs = {"long_name": title, "units": units}
    return made


def sentences(ds: xr.Dataset) -> list[str]:
    """Tell how many founders are left, and which of them holds most: nothing where all are."""
    if not ds.sizes.get("round") or "generator_parent" not in ds:
        return []
    found = variety(ds)
    left, number = int(found["left"][-1]), found.sizes["founder"]
    if left == number:
        return []
    held = found["cells"][-1]
    most = int(held.values.argmax())
    row, col = divmod(most, ds.sizes["col"])
    if left == 1:
        since = int(found["round"][(found["left"] == 1).values][0])
        return [
            f"All {number} cells' generators descend from one founder, that of row {row}, col "
            f"{col}, since round {since}."
        ]
    return [
        f"Of {number} founders {left} are left, as various as {float(found['effective'][-1]):.1f} "
        f"of equal shares: that of row {row}, col {col} holds {int(held[most])} cells."
    ]


def cell(ds: xr.Dataset, marked: Mapping[str, Any]) -> int:
    """Give the index of a cell of the grid, counted row by row.

    Raises
    ------
    ValueError
        If `ds` is no grid, or `marked` is not in it.
    """
    if not set(UNIT) <= set(ds.dims):
        raise ValueError(f"the Dataset has dimensions {tuple(ds.dims)}: expected row and col")
    rows, cols = (range(ds.sizes[dim]) for dim in UNIT)
    if set(marked) != set(UNIT) or marked["row"] not in rows or marked["col"] not in cols:
        raise ValueError(
            f"there is no unit {dict(marked)}: expected row from 0 to {len(rows) - 1}, col from 0 "
            f"to {len(cols) - 1}"
        )
    return int(marked["row"]) * len(cols) + int(marked["col"])


def _origins(ds: xr.Dataset, kind: str) -> Array:
    """Give the cell that what lives in each cell came from in each round: (rounds, cells)."""
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    if f"{kind}_parent" not in ds or not set(UNIT) <= set(ds.dims):
        raise ValueError(
            f"the Dataset has no {kind}_parent by row and col: a lineage needs the run of a grid"
        )
    shape = ds.sizes["round"], ds.sizes["row"] * ds.sizes["col"]
    parents, replaced = (
        ds[f"{kind}_{name}"].transpose("round", *UNIT).values.reshape(shape)
        for name in ("parent", "replaced")
    )
    # a parent of -1 is not known
    return np.where(replaced & (parents >= 0), parents, np.arange(parents.shape[1]))


def _rounds(ds: xr.Dataset) -> tuple[str, list[int], Mapping[str, Any]]:
    return "round", [0, *ds["round"].values.tolist()], ds["round"].attrs


def _cells(cells: Array) -> tuple[str, Array, Mapping[str, str]]:
    return "cell", cells, {"long_name": "cell", "units": "cell"}
