"""From reports and records to one xarray.Dataset, and what can be read off it."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask import config
from gandask.core import Array, Event, Layout, Record, Report, StoreError, Variable, View
from gandask.metrics import METRICS

if TYPE_CHECKING:
    import xarray as xr

TIMINGS = {
    "worker": Variable("worker of the round", "", dtype="str", timing=True),
    "started": Variable("start of the round's first task, since 1970-01-01 UTC", "s", timing=True),
    "elapsed": Variable("time from the run's start to the round's end", "s", timing=True),
    "gathered": Variable("bytes fetched from other workers", "B", dtype="int64", timing=True),
    "seconds": Variable("time spent", "s", ("routine",), timing=True),
}
"""What is known of every method's rounds: measurements of the machine."""

EMPTY = {"f": np.nan, "i": -1, "b": False, "U": "", "T": ""}


class Results:
    """Collect a run's rounds as they complete.

    Arrays are made once for all rounds, so that memory does not grow with the rounds done.
    """

    def __init__(self, layout: Layout, rounds: int) -> None:
        self.layout, self.rounds = layout, rounds
        self.done = 0
        self.events: list[Event] = []
        self.routines: dict[str, Array] = {}
        self.variables = dict(layout.variables) | {
            name: variable for name, variable in TIMINGS.items() if name != "seconds"
        }
        self.arrays: dict[str, Array] = {}

    def add(self, view: View, reports: Sequence[Report], elapsed: float) -> None:
        """Add one step: the reports that came, and what the method made of them."""
        for report in reports:
            self.report(report, elapsed)
        for record in view.records:
            self.record(record)
        self.events += view.events

    def report(self, report: Report, elapsed: float) -> None:
        """Add what a task took to its slot's round; preparation counts for the first round."""
        place = self._place(max(1, report.round), report.slot)
        if place is None:
            return
        for name, seconds in report.seconds.items():
            if name not in self.routines:
                self.routines[name] = np.zeros(self._shape(TIMINGS["elapsed"]))
            self.routines[name][place] += seconds
        self._array("worker")[place] = report.worker
        started = self._array("started")
        started[place] = np.fmin(started[place], report.started)
        self._array("elapsed")[place] = elapsed
        gathered = self._array("gathered")
        gathered[place] = max(0, gathered[place]) + report.gathered

    def record(self, record: Record) -> None:
        """Add the outcome of a slot's round."""
        position = self.layout.slots.get(record.slot, ())
        for name, value in record.values.items():
            variable = self.variables[name]
            place: tuple[Any, ...] = (record.round - 1,) if variable.by_round else ()
            place += position if variable.by_unit else ()
            if variable.dims:
                begin = record.begins.get(variable.dims[0], 0)
                place += (slice(begin, begin + len(value)),)
            self._array(name)[place] = value
        self.done = max(self.done, record.round)

    def dataset(self, attributes: Mapping[str, Any]) -> xr.Dataset:
        """Give the rounds done so far as a labelled Dataset."""
        import xarray as xr

        done, layout = self.done, self.layout
        variables = {
            name: self._variable(variable, self._array(name))
            for name, variable in self.variables.items()
        }
        events = sorted(self.events, key=lambda event: event.round)
        names = sorted(self.routines)
        stacked = np.stack([self.routines[n] for n in names], -1) if names else self._no_routine()
        variables["seconds"] = self._variable(TIMINGS["seconds"], stacked)
        for key, title in (
            ("round", "round of the event"),
            ("kind", "what happened"),
            ("slot", "where"),
            ("detail", "more about it"),
        ):
            values = [getattr(event, key) for event in events]
            array = np.array(values, "int64" if key == "round" else np.dtypes.StringDType())
            variables[f"event_{key}"] = ("event", fixed(array), {"long_name": title, "units": ""})
        machine = np.array([event.machine for event in events], bool)
        told = {"long_name": "whether the machine did it, not the method", "units": ""}
        variables["event_machine"] = ("event", machine, told)
        coords: dict[str, list[Any]] = {
            name: list(values) for name, values in layout.coords.items()
        }
        coords |= {"round": list(range(1, done + 1)), "routine": names}
        made = xr.Dataset(variables, coords, dict(attributes))
        for name in coords:
            made[name].attrs |= {"long_name": name, "units": ""}
        return made

    def _variable(self, variable: Variable, values: Array) -> tuple[Any, ...]:
        dims = self._dims(variable)
        if variable.by_round:
            dims, values = ("round", *dims), values[: self.done]
        attributes: dict[str, Any] = {"long_name": variable.long_name, "units": variable.units}
        if variable.timing:
            attributes["timing"] = 1
        return dims, fixed(values), attributes

    def _place(self, round: int, slot: str) -> tuple[int, ...] | None:
        position = self.layout.slots.get(slot)
        return None if position is None or round > self.rounds else (round - 1, *position)

    def _dims(self, variable: Variable) -> tuple[str, ...]:
        return (*(self.layout.unit if variable.by_unit else ()), *variable.dims)

    def _shape(self, variable: Variable) -> tuple[int, ...]:
        sizes = [len(self.layout.coords[dim]) for dim in self._dims(variable)]
        return (self.rounds, *sizes) if variable.by_round else tuple(sizes)

    def _array(self, name: str) -> Array:
        if name not in self.arrays:
            variable = self.variables[name]
            dtype = np.dtypes.StringDType() if variable.dtype == "str" else np.dtype(variable.dtype)
            self.arrays[name] = np.full(self._shape(variable), EMPTY[dtype.kind], dtype)
        return self.arrays[name]

    def _no_routine(self) -> Array:
        return np.zeros((*self._shape(TIMINGS["elapsed"]), 0))


def attributes(method: Any, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a run in a Dataset's attributes: method, settings, seed, versions, facts."""
    versions = {
        f"{package}_version": importlib.metadata.version(package)
        for package in ("gandask", "torch", "numpy")
    }
    return {
        "method": method.name,
        "settings": config.to_toml(method, strict=False),
        "seed": method.seed,
        **versions,
        **facts,
    }


def without_timings(dataset: xr.Dataset) -> xr.Dataset:
    """Drop what the machine took and did: what is left is the same in every repetition."""
    timings = [name for name, variable in dataset.variables.items() if "timing" in variable.attrs]
    kept = dataset.drop_vars(timings).drop_dims("routine", errors="ignore")
    # strings are as wide as the longest of them
    return kept.isel(event=~kept["event_machine"].values).map(
        lambda v: v.copy(data=fixed(v.values.astype(object))) if v.dtype.kind == "U" else v,
        keep_attrs=True,
    )


def profile(dataset: xr.Dataset) -> xr.DataArray:
    """Sum the time spent by routine, in seconds over all rounds and slots.

    The share of a run that is not forward, backward and optimiser steps is
    ``1 - profile(ds).sel(routine="train") / profile(ds).sum()``.
    """
    seconds = dataset["seconds"]
    total = seconds.sum([dim for dim in seconds.dims if dim != "routine"], keep_attrs=True)
    return total.sortby(total, ascending=False).rename("profile")


def speedup(serial: xr.Dataset, parallel: xr.Dataset) -> xr.Dataset:
    """Compare two runs of the same settings, as Tables III and IV of Pérez et al. (2020) do.

    Returns
    -------
    Dataset
        ``wall`` (run) in seconds, ``workers`` (run), ``speedup`` and ``efficiency`` of the whole;
        ``seconds`` (run, routine): the longest that any one worker spent on each routine; and its
        ``routine_speedup``.
    """
    import xarray as xr

    wall = xr.DataArray([_wall(serial), _wall(parallel)], dims="run", attrs={"units": "s"})
    workers = xr.DataArray([_workers(serial), _workers(parallel)], dims="run")
    by_routine = xr.concat([_longest(serial), _longest(parallel)], "run", join="outer")
    gained = wall[0] / wall[1]
    made = xr.Dataset(
        {
            "wall": wall,
            "workers": workers,
            "speedup": gained,
            "efficiency": gained * workers[0] / workers[1],
            "seconds": by_routine,
            "routine_speedup": by_routine.isel(run=0) / by_routine.isel(run=1),
        },
        {"run": ["serial", "parallel"]},
    )
    titles = {"wall": "wall time", "speedup": "speedup", "efficiency": "parallel efficiency"}
    for name, title in titles.items():
        made[name].attrs |= {"long_name": title}
    return made


def _wall(dataset: xr.Dataset) -> float:
    return float(dataset["elapsed"].max())


def _workers(dataset: xr.Dataset) -> int:
    return len(np.unique(dataset["worker"].values))


def _longest(dataset: xr.Dataset) -> xr.DataArray:
    """Give, by routine, the most time that one worker spent on it."""
    units = list(dataset["worker"].dims)
    flat = dataset[["seconds", "worker"]].stack(task=units)
    sums = flat["seconds"].groupby(flat["worker"]).sum("task")
    return sums.max("worker").assign_attrs(units="s", long_name="time by routine")


def fixed(values: Array) -> Array:
    """Give strings a fixed width: the plain form, which netCDF stores too."""
    if values.dtype.kind not in "TO":
        return values.copy()
    width = max([1, *(len(text) for text in values.ravel())])
    return values.astype(f"U{width}")


def write(dataset: xr.Dataset, path: Path) -> None:
    """Write a Dataset as zarr, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    # zarr's specification knows strings of any length only
    plain = _with_strings(dataset, "U", lambda texts: texts.astype(np.dtypes.StringDType()))
    try:
        plain.to_zarr(partial, consolidated=False, zarr_format=3)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def read(path: Path) -> xr.Dataset:
    """Read a Dataset that `write` wrote.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    import xarray as xr

    try:
        # format 3 alone: format 2 has a codec that unpickles
        stored = xr.open_zarr(path, consolidated=False, zarr_format=3).load()
    except Exception as error:  # zarr's codecs raise what they like
        raise StoreError(
            f"{path} cannot be read: {type(error).__name__}: {error}; delete it, and the "
            "Dataset is made from the log"
        ) from error
    return _with_strings(stored, "TO", fixed)


def _with_strings(dataset: xr.Dataset, kinds: str, change: Callable[[Array], Array]) -> xr.Dataset:
    """Give strings another form."""
    return dataset.assign(
        {
            name: (variable.dims, change(variable.values), variable.attrs)
            for name, variable in dataset.variables.items()
            if variable.dtype.kind in kinds
        }
    )


def best(dataset: xr.Dataset) -> xr.Dataset | None:
    """Give the final scores of the unit that is best by the run's own score, if it is finished."""
    return _best(dataset, "final_")


def latest(dataset: xr.Dataset) -> xr.Dataset | None:
    """Give the scores of the unit that is best in the last round scored, if there is one."""
    scores = dataset.get(dataset.attrs.get("score", "fid"))
    if scores is None:
        return None
    scored = scores.notnull().any([dim for dim in scores.dims if dim != "round"]).values
    return _best(dataset.isel(round=np.flatnonzero(scored)[-1]), "") if scored.any() else None


def _best(dataset: xr.Dataset, prefix: str) -> xr.Dataset | None:
    score = dataset.attrs.get("score", "fid")
    values = dataset.get(f"{prefix}{score}")
    if values is None or not bool(values.notnull().any()):
        return None
    metric = METRICS[score]
    place = values.argmax(...) if metric.higher_is_better else values.argmin(...)
    # every sample of an image counts as one of high quality: only points have modes to be near to
    images = len(dataset.attrs.get("sample_shape", ())) > 1
    names = [name for name in METRICS if not (images and name == "high_quality")]
    return dataset[[prefix + name for name in names]].isel(place)
