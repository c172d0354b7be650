"""How well samples cover each mode of the data, round by round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask.results.tables import best_of_rows

if TYPE_CHECKING:
    import xarray as xr

SHARE, MIXTURE, REAL = "mode_share", "mixture_mode_share", "real_mode_share"
"""Variables of units and of the whole population; the attribute that tells the data's own."""


def covered(
    ds: xr.Dataset, marked: Mapping[str, Any] | None = None, variable: str = SHARE
) -> xr.DataArray:
    """Tell how many samples there are of each mode, beside real ones.

    Parameters
    ----------
    ds : Dataset
        Of a run that was scored by round.
    marked : mapping, optional
        The place of the unit whose samples count, such as ``{"row": 0, "col": 1}``; by default, or
        where it makes none, the unit that scores best in each round.
    variable : str
        ``"mode_share"`` of units, or ``"mixture_mode_share"`` of the whole population.

    Returns
    -------
    DataArray
        (round, class), of the rounds that were scored: 0 where no sample is on a mode, 1 where as
        many are as of real samples. NaN where no real sample is.

    Raises
    ------
    ValueError
        If the run does not tell, or there is no such unit.
    """
    if variable not in ds:
        raise ValueError(
            f"there is no {variable}: expected a run scored by round (score_samples above 0), of "
            "data with 2 to 100 classes"
        )
    values = ds[variable]
    units = [str(dim) for dim in values.dims if dim not in ("round", "class")]
    if units and marked is not None and set(marked) == set(units):
        if any(marked[dim] not in values[dim].values.tolist() for dim in units):
            raise ValueError(f"there is no unit {dict(marked)}")
        values = values.sel(marked)
    elif units:
        values = _of_best(ds, values)
    values = values.transpose("round", "class").dropna("round", how="all").astype(float)
    real = np.ravel(ds.attrs.get(REAL, ())).astype(float)
    if len(real) != values.sizes["class"]:  # of a run that does not tell
        real = np.full(values.sizes["class"], 1 / values.sizes["class"])
    made = values / np.where(real > 0, real, np.nan)
    told = {"long_name": "samples on the mode, beside real ones", "units": "1"}
    return made.rename("covered").assign_attrs(told)


def _of_best(ds: xr.Dataset, values: xr.DataArray) -> xr.DataArray:
    """Give in each round the values of the unit that scores best then."""
    import xarray as xr

    scores = ds[str(ds.attrs["score"])]
    units = [dim for dim in scores.dims if dim != "round"]
    ordered = scores.transpose("round", *units)
    rows = ordered.values.reshape(len(ordered), math.prod(ordered.shape[1:]))
    best = best_of_rows(rows, scores.attrs.get("better", ""))
    scored = np.flatnonzero(best >= 0)
    places = np.unravel_index(best[scored], ordered.shape[1:])
    at = dict(zip(["round", *units], [scored, *places], strict=True))
    found = values.isel({dim: xr.DataArray(index, dims="round") for dim, index in at.items()})
    return found.reset_coords(drop=True)
