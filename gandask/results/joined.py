"""Runs of one method as one Dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tomli_w

from gandask.core import Array, SettingError
from gandask.results.dataset import EMPTY
from gandask.results.storage import fixed, whole
from gandask.results.tables import settings

if TYPE_CHECKING:
    import xarray as xr

Said = dict[str, Any]
"""What a run says of itself: settings or other attributes, by name."""


def joined(runs: Mapping[str, xr.Dataset]) -> xr.Dataset:
    """Put runs of one method side by side.

    Parameters
    ----------
    runs : mapping of str to Dataset
        By the name that each gets along ``run``.

    Returns
    -------
    Dataset
        Every variable along ``run``, and then as before. Where a run has fewer rounds, slots or
        events than others, or lacks a variable, stand NaN, -1, False and ``""``. Settings and
        other attributes that differ are coordinates along ``run``: numbers as such, all else as
        text, and with ``setting_`` before the name where a variable has it. What they share is in
        the attributes.

    Raises
    ------
    SettingError
        If there is none, if they are of several methods, or one is not a run's Dataset.
    """
    import xarray as xr

    _check(runs)
    datasets = [*runs.values()]
    dims = dict.fromkeys(dim for ds in datasets for dim in ds.dims)
    labels = {str(dim): _labels(datasets, str(dim)) for dim in dims}
    names = dict.fromkeys(str(name) for ds in datasets for name in ds.data_vars)
    variables = {name: _variable(name, datasets, labels) for name in names}
    coords = {dim: (dim, labels[dim], _attributes(dim, datasets)) for dim in labels}
    coords["run"] = "run", np.array([*runs]), {"long_name": "run", "units": ""}
    given = [settings(ds) for ds in datasets]
    others = [{key: ds.attrs[key] for key in ds.attrs if key != "settings"} for ds in datasets]
    shared, shared_settings = _shared(others), _shared(given)
    told = [other | one for other, one in zip(others, given, strict=True)]
    for key in dict.fromkeys(key for one in told for key in one):
        if key not in shared and key not in shared_settings:
            name = f"setting_{key}" if key in variables or key in coords else key
            column = _column([one.get(key) for one in told])
            coords[name] = "run", column, {"long_name": key, "units": ""}
    attributes = shared | {"settings": tomli_w.dumps(shared_settings)}
    made = xr.Dataset(variables, coords, attributes)
    # netCDF-3 takes a dimension of nobody's events for one that may grow, which has to come first
    return made.transpose(*(dim for dim in made.dims if not made.sizes[dim]), ...)


def _check(runs: Mapping[str, xr.Dataset]) -> None:
    if not runs:
        raise SettingError("no runs are given: expected one or more, of the same method")
    for name, ds in runs.items():
        if "run" in ds.dims or not {"method", "settings"} <= ds.attrs.keys():
            raise SettingError(f"{name}: expected the Dataset of one run, with its attributes")
    methods = {name: str(ds.attrs["method"]) for name, ds in runs.items()}
    if len({*methods.values()}) > 1:
        told = ", ".join(f"{name} is of {method}" for name, method in methods.items())
        raise SettingError(f"expected runs of one method, but {told}: open those of each apart")


def _labels(datasets: Sequence[xr.Dataset], dim: str) -> Array:
    """Give the labels that any run has along a dimension: numbers sorted, names as they come."""
    every = np.concatenate([fixed(ds[dim].values) for ds in datasets if dim in ds.dims])
    found, first = np.unique(every, return_index=True)
    return every[np.sort(first)] if every.dtype.kind == "U" else found


def _variable(
    name: str, datasets: Sequence[xr.Dataset], labels: Mapping[str, Array]
) -> tuple[Any, ...]:
    """Give one variable of all runs: each run's where its labels are, the rest empty."""
    having = {number: ds[name] for number, ds in enumerate(datasets) if name in ds.data_vars}
    dims = [str(dim) for dim in next(iter(having.values())).dims]
    for values in having.values():
        if {*values.dims} != {*dims}:
            raise SettingError(
                f"{name} lies along {', '.join(map(str, values.dims))} in one run and along "
                f"{', '.join(dims)} in another: open those apart"
            )
    parts = {number: fixed(values.transpose(*dims).values) for number, values in having.items()}
    dtype = np.result_type(*(part.dtype for part in parts.values()))
    if dtype.kind == "u":
        dtype = np.result_type(dtype, np.int8)  # which has -1
    shape = [len(datasets), *(len(labels[dim]) for dim in dims)]
    made = np.full(shape, EMPTY[dtype.kind], dtype)
    for number, part in parts.items():
        along = [_positions(having[number][dim].values, labels[dim]) for dim in dims]
        made[number, ...][np.ix_(*along)] = part
    return ["run", *dims], made, _attributes(name, datasets)


def _positions(found: Array, labels: Array) -> Array:
    """Tell where labels are among all."""
    order = np.argsort(labels)
    return order[np.searchsorted(labels, fixed(found), sorter=order)]


def _attributes(name: str, datasets: Sequence[xr.Dataset]) -> Said:
    return next(dict(ds[name].attrs) for ds in datasets if name in ds.variables or name in ds.dims)


def _shared(told: Sequence[Said]) -> Said:
    """Give what all runs say alike."""
    plain = [{key: np.asarray(value).tolist() for key, value in one.items()} for one in told]
    return {
        key: told[0][key]
        for key in plain[0]
        if all(key in one and one[key] == plain[0][key] for one in plain)
    }


def _column(values: Sequence[Any]) -> Array:
    """Give what runs say as an array: numbers if all of them are, or else text."""
    plain = [whole(value) if type(value) is int else value for value in values]
    kinds = {type(value) for value in plain}
    if kinds in ({bool}, {int}):
        return np.array(plain)
    if kinds <= {int, float, type(None)}:
        return np.array([np.nan if value is None else value for value in plain], "float64")
    return np.array(["" if value is None else str(value) for value in plain])
