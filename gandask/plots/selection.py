"""What of a variable is drawn: its numbers, those of a round, the latest, the best unit's."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask.config import suggestion
from gandask.core import Array
from gandask.scores.metrics import METRICS

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


def cell(ds: xr.Dataset, marked: tuple[int, int]) -> int:
    """Give the index of a cell of the grid, counted row by row.

    Raises
    ------
    ValueError
        If `ds` is no grid, or `marked`, as (row, col), is not in it.
    """
    if not {"row", "col"} <= set(ds.dims):
        raise ValueError(f"the Dataset has dimensions {tuple(ds.dims)}: expected row and col")
    rows, cols = ds.sizes["row"], ds.sizes["col"]
    row, col = marked
    if not (0 <= row < rows and 0 <= col < cols):
        raise ValueError(
            f"there is no cell {tuple(marked)}: expected a row from 0 to {rows - 1} and a column "
            f"from 0 to {cols - 1}"
        )
    return row * cols + col


def place(labels: Mapping[Any, Any]) -> str:
    """Write the place of a unit for people.

    Examples
    --------
    >>> place({"row": 0, "col": 1})
    'row 0, col 1'
    """
    return ", ".join(f"{dim} {value}" for dim, value in labels.items())


def direction(name: str) -> Callable[[float, float], bool] | None:
    """Give the order that tells the better of a variable's values: its metric's, or that of losses.

    Returns
    -------
    callable, optional
        From one value and another to whether the one is better. None where neither can be.
    """
    metric = METRICS.get(re.sub("^(final_)?(generator_|mixture_)?", "", name))
    if metric is not None:
        return metric.better
    return operator.lt if name.endswith("_fitness") else None


def best(values: xr.DataArray, along: str = "round") -> dict[str, Any] | None:
    """Tell whose latest value is best.

    Parameters
    ----------
    values : DataArray
        Of a metric or a fitness, as its name tells.
    along : str
        Dimension to take the latest values along, if it is there.

    Returns
    -------
    dict, optional
        The place along every other dimension, such as ``{"row": 0, "col": 1}``. None where no
        value is finite, or none can be better than another, as of a learning rate.
    """
    better = direction(str(values.name))
    last = latest(values, along)
    places = np.argwhere(np.isfinite(last.values))
    if better is None or not len(places):
        return None

    def winner(one: Array, other: Array) -> Array:  # the first of equals
        return other if better(last.values[*other], last.values[*one]) else one

    won = functools.reduce(winner, places)
    return {str(dim): last[dim].values[i].item() for dim, i in zip(last.dims, won, strict=True)}


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
