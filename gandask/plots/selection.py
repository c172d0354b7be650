"""What of a variable is drawn: its numbers, those of a round, the latest, the best unit's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask import results
from gandask.display import suggestion

if TYPE_CHECKING:
    import xarray as xr

POINTS = 500  # along an axis: more cannot be seen apart


def variable(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Give a variable.

    Raises
    ------
    ValueError
        If there is no such variable; the message names the most similar one.
    """
    if name not in ds:
        names = [str(known) for known in ds.data_vars]
        raise ValueError(f"there is no variable {name!r}; {suggestion(name, names)}")
    return ds[name]


def scored(ds: xr.Dataset, name: str | None) -> str:
    """Give the name of a variable, by default that of the run's score.

    Raises
    ------
    ValueError
        If none is given and the run has no score.
    """
    score = ds.attrs.get("score") if name is None else name
    if score is None:
        raise ValueError("variable=None: the run has no score; name one of the Dataset's variables")
    return str(score)


def numbers(ds: xr.Dataset, name: str) -> xr.DataArray:
    """Give a variable as floating-point numbers, where a whole number of -1 stands for none.

    Raises
    ------
    ValueError
        If there is no such variable, or it holds no numbers.
    """
    values = variable(ds, name)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name!r} holds {values.dtype}: expected numbers")
    return floating(values)


def floating(values: xr.DataArray) -> xr.DataArray:
    """Give numbers as floating-point ones, where a whole number of -1 stands for none."""
    made = values.astype(float)
    return made.where(values != -1) if values.dtype.kind == "i" else made


def at_round(values: xr.DataArray, round: int) -> xr.DataArray:
    """Give the values of one round.

    Parameters
    ----------
    values : DataArray
        With dimension ``round``, at least one of them.
    round : int
        Its number; a negative one counts from the last.

    Raises
    ------
    ValueError
        If there is no such round.
    """
    known = values["round"].values.tolist()
    if -len(known) <= round < 0:
        round = known[round]
    if round not in known:
        raise ValueError(f"round={round}: expected {known[0]} to {known[-1]}, or -1, the last")
    return values.sel(round=round)


def check_place(values: xr.DataArray, place: Mapping[str, Any], along: str = "round") -> None:
    """Refuse a place that is not one of a variable's units.

    Parameters
    ----------
    values : DataArray
    place : mapping
        A label for every dimension but `along`, such as ``{"row": 0, "col": 1}``.

    Raises
    ------
    ValueError
        Naming what there is.
    """
    known = {str(dim): values[dim].values.tolist() for dim in values.dims if dim != along}
    if set(place) != set(known) or any(place[dim] not in known[dim] for dim in known):
        choices = ", ".join(f"{dim} from {v[0]} to {v[-1]}" for dim, v in known.items() if v)
        raise ValueError(f"there is no unit {dict(place)}: expected {choices or 'none'}")


def best(values: xr.DataArray, along: str = "round") -> dict[str, Any] | None:
    """Tell whose latest value is best.

    Parameters
    ----------
    values : DataArray
        Its attribute ``better`` says which of two is.
    along : str
        Dimension to take the latest values along, if it is there.

    Returns
    -------
    dict, optional
        The place along every other dimension, such as ``{"row": 0, "col": 1}``. None where no
        value is finite, or none can be better than another, as of a learning rate.
    """
    last = latest(values, along)
    return results.place_of_best(last.where(np.isfinite(last)))


def latest(values: xr.DataArray, along: str = "round") -> xr.DataArray:
    """Give the values of the last round that has any: the very last may be under way."""
    if along not in values.dims or not values.sizes[along]:
        return values
    others = [dim for dim in values.dims if dim != along]
    done = np.flatnonzero(values.where(np.isfinite(values)).notnull().any(others))
    return values.isel({along: done[-1] if len(done) else -1})


def thinned(values: xr.DataArray, along: str) -> xr.DataArray:
    """Keep as many values along a dimension as can be seen apart, the first and last of them."""
    size = values.sizes[along]
    if size <= POINTS:
        return values
    return values.isel({along: np.linspace(0, size - 1, POINTS).round().astype(int)})
