"""When each generator met which discriminator, as the Dataset of a run tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gandask.core import Array
from gandask.plots.selection import numbers

if TYPE_CHECKING:
    import xarray as xr

END = "last_iteration"
"""Tells with which iteration each round ends."""
MET = ("partner", END)


def stretches(ds: xr.Dataset) -> list[tuple[int, float, float, int]]:
    """Give group, first and last iteration, and partner, of the rounds with the same partner.

    Parameters
    ----------
    ds : Dataset
        Of a method with groups.

    Returns
    -------
    list of (int, float, float, int)
        The group as its place among all. Rounds that a group has not done are left out.

    Raises
    ------
    ValueError
        If the Dataset does not tell who met.
    """
    partner, ends = (numbers(ds, name).transpose("round", "group").values for name in MET)
    rows: list[tuple[int, float, float, int]] = []
    for group, (met, last) in enumerate(zip(partner.T, ends.T, strict=True)):
        known = np.isfinite(met) & np.isfinite(last)
        met, last = met[known].astype(int), last[known]
        changes = np.flatnonzero(np.diff(met)) + 1
        for part, reached in zip(np.split(met, changes), np.split(last, changes), strict=True):
            if len(part):
                begin = rows[-1][2] if rows and rows[-1][0] == group else 0.0
                rows.append((group, begin, float(reached[-1]), int(part[0])))
    return rows


def regrouped_at(ds: xr.Dataset) -> Array:
    """Give the iterations after which regroupings took place."""
    rounds = ds["event_round"].values[ds["event_kind"].values == "regrouped"]
    return np.asarray(ds[END].max("group").sel(round=np.unique(rounds)).values)


def reached(ds: xr.Dataset) -> tuple[float, float]:
    """Give the ends of the axis that all figures over iterations share: as far as any group is."""
    last = float(ds[END].max()) if ds[END].size else 0.0
    return 0.0, last if last > 0 else 1.0
