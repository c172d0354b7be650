"""From reports and records to one xarray.Dataset, and what can be read off it."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask import config
from gandask.core import Array, Event, Layout, Report, StoreError, Variable, View
from gandask.results.columns import Columns, columns
from gandask.scores.metrics import METRICS

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

EMPTY = {"f": np.nan, "i": -1, "b": False}


class Results:
    """Collect a run's rounds as they complete.

    Arrays are made once for all rounds, so that memory does not grow with the rounds done. Text is
    kept as the numbers of its words.
    """

    def __init__(self, layout: Layout, rounds: int) -> None:
        self.layout, self.rounds = layout, rounds
        self.done = 0
        self.events: list[Event] = []
        self.routines: dict[str, Array] = {}
        self.words: dict[str, dict[str, int]] = {}
        self.arrays: dict[str, Array] = {}

    @property
    def variables(self) -> dict[str, Variable]:
        """What rounds may hold, but for the time by routine."""
        timings = {name: v for name, v in TIMINGS.items() if name != "seconds"}
        return dict(self.layout.variables) | timings

    def add(self, view: View, reports: Sequence[Report], elapsed: float) -> Columns:
        """Add one step: the reports that came, and what the method made of them; give it back."""
        told = columns(view, reports, elapsed)
        self.take(told)
        return told

    def take(self, told: Columns) -> None:
        """Add one step in the form of `steps.columns`."""
        self._time(told["timings"], told["elapsed"])
        for table in told["records"]:
            self._record(table)
        self.events += [Event(**event) for event in told["events"]]

    def relay(self, layout: Layout) -> None:
        """Go on with another layout; what it has no room for was never filled."""
        before, self.layout, self.arrays = self.arrays, layout, {}
        for name, values in before.items():
            made = self._array(name)
            shared = tuple(
                slice(min(sizes)) for sizes in zip(made.shape, values.shape, strict=True)
            )
            made[shared] = values[shared]

    def _time(self, told: Columns, elapsed: float) -> None:
        """Add what tasks took to their slots' rounds."""
        slots, rounds = self.layout.slots, told["round"]
        known = [i for i, s in enumerate(told["slot"]) if s in slots and rounds[i] <= self.rounds]
        if not known:
            return
        place = (rounds[known] - 1, *self._positions([told["slot"][i] for i in known]))
        for name, seconds in told["seconds"].items():
            spent = seconds[known]
            if name not in self.routines and np.isfinite(spent).any():
                self.routines[name] = np.zeros(self._shape(TIMINGS["elapsed"]))
            if name in self.routines:
                np.add.at(self.routines[name], place, np.nan_to_num(spent))
        self._array("worker")[place] = self._coded("worker", (told["worker"][i] for i in known))
        np.fmin.at(self._array("started"), place, told["started"][known])
        self._array("elapsed")[place] = elapsed
        gathered = self._array("gathered")
        gathered[place] = np.maximum(0, gathered[place])
        np.add.at(gathered, place, told["gathered"][known])

    def _record(self, table: Columns) -> None:
        """Add the outcome of rounds of slots, or of the whole population."""
        slots, rounds = table["slot"], table["round"]
        positions = self._positions(slots) if slots[0] else ()
        for name, values in table["values"].items():
            variable = self.variables[name]
            place: tuple[Any, ...] = (rounds - 1,) if variable.by_round else ()
            place += positions if variable.by_unit else ()
            if not place:
                values = values[-1]
            if variable.dims:
                begin = table["begins"].get(variable.dims[0], 0)
                along = values.ndim - len(variable.dims)
                # settings that were changed later may leave less room, for what is not there
                room = len(self.layout.coords[variable.dims[0]]) - begin
                values = values[(slice(None),) * along + (slice(room),)]
                place += (slice(begin, begin + values.shape[along]),)
            if variable.dtype == "str":
                values = self._coded(name, np.ravel(values).tolist()).reshape(np.shape(values))
            self._array(name)[place] = values
        self.done = max(self.done, int(rounds.max()))

    def _positions(self, slots: Sequence[str]) -> tuple[Array, ...]:
        """Give the positions of slots along the unit, one array for each of its dimensions."""
        return tuple(np.array([self.layout.slots[slot] for slot in slots], "int64").T)

    def _coded(self, variable: str, texts: Iterable[str]) -> Array:
        words = self.words.setdefault(variable, {})
        return np.array([words.setdefault(text, len(words)) for text in texts], "int64")

    def dataset(self, attributes: Mapping[str, Any], noted: Iterable[Event] = ()) -> xr.Dataset:
        """Give the rounds done so far as a labelled Dataset, with events that were noted apart."""
        import xarray as xr

        done, layout = self.done, self.layout
        variables = {
            name: self._variable(variable, self._array(name), self.words.get(name, {}))
            for name, variable in self.variables.items()
        }
        events = sorted([*self.events, *noted], key=lambda event: event.round)
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
            array = np.array(values, "int64" if key == "round" else "U")
            variables[f"event_{key}"] = ("event", array, {"long_name": title, "units": ""})
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

    def _variable(
        self, variable: Variable, values: Array, words: Iterable[str] = ()
    ) -> tuple[Any, ...]:
        dims = self._dims(variable)
        if variable.by_round:
            dims, values = ("round", *dims), values[: self.done]
        attributes: dict[str, Any] = {"long_name": variable.long_name, "units": variable.units}
        if variable.timing:
            attributes["timing"] = 1
        # the last word is that of the number -1: none
        values = np.array([*words, ""])[values] if variable.dtype == "str" else values.copy()
        return dims, values, attributes

    def _dims(self, variable: Variable) -> tuple[str, ...]:
        return (*(self.layout.unit if variable.by_unit else ()), *variable.dims)

    def _shape(self, variable: Variable) -> tuple[int, ...]:
        sizes = [len(self.layout.coords[dim]) for dim in self._dims(variable)]
        return (self.rounds, *sizes) if variable.by_round else tuple(sizes)

    def _array(self, name: str) -> Array:
        if name not in self.arrays:
            variable = self.variables[name]
            dtype = np.dtype("int64" if variable.dtype == "str" else variable.dtype)
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
    texts = values.astype(np.dtypes.StringDType())
    return texts.astype(f"U{max(1, np.strings.str_len(texts).max(initial=1))}")


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
