"""From reports and records to one xarray.Dataset."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import math
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask import config
from gandask.core import Array, Event, Layout, Method, Report, Variable, View
from gandask.results.columns import Columns, Traffic, columns, event_of
from gandask.results.storage import fixed, spelt, whole
from gandask.version import VERSION

if TYPE_CHECKING:
    import xarray as xr

TIMINGS = {
    "worker": Variable("worker of the round", "", dtype="str", timing=True),
    "started": Variable("start of the round's first task, since 1970-01-01 UTC", "s", timing=True),
    "elapsed": Variable("time from the run's start to the round's end", "s", timing=True),
    "gathered": Variable("bytes fetched from other workers", "B", dtype="int64", timing=True),
}
SECONDS = Variable("time spent", "s", ("routine",), timing=True)
SENT = Variable("bytes of states read from other slots", "B", ("term",), "int64")
"""What is known of every method's rounds, along the unit of the layout: measurements of the
machine, and what would travel if every slot had a machine of its own."""

COMMON = (*TIMINGS.values(), SECONDS, SENT)
EMPTY: Mapping[str, Any] = {
    "f": np.nan,
    "c": np.nan,
    "i": -1,
    "b": False,
    "U": "",
    "S": b"",
    "M": np.datetime64("NaT"),
    "m": np.timedelta64("NaT"),
}
"""What stands where nothing is known, by the kind of the dtype."""


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
        self.terms: dict[str, Array] = {}
        self.words: dict[str, dict[str, int]] = {}
        self.arrays: dict[str, Array] = {}

    @property
    def variables(self) -> dict[str, Variable]:
        """What rounds may hold, but for time by routine and bytes by term."""
        return dict(self.layout.variables) | TIMINGS

    @property
    def size(self) -> int:
        """Bytes of the Dataset of all rounds: at least, since text may be long."""
        return sum(
            math.prod(self._shape(variable)) * _dtype(variable).itemsize
            for variable in self.variables.values()
        )

    def add(
        self, view: View, reports: Sequence[Report], elapsed: float, sent: Iterable[Traffic] = ()
    ) -> Columns:
        """Add one step: reports, what the method made of them, and what travelled; give it back."""
        told = columns(view, reports, elapsed, sent)
        self.take(told)
        return told

    def take(self, told: Columns) -> None:
        """Add one step in the form of `columns`."""
        self._time(told["timings"], told["elapsed"])
        # of an older gandask there are none
        for term, sent in told.get("sent", {}).items():
            rounds = _counted(sent["round"])
            self._sum(self.terms, term, "int64", sent["slot"], rounds, sent["bytes"])
        for table in told["records"]:
            self._record(table)
        self.events += [event_of(**event) for event in told["events"]]

    def latest(self, name: str) -> float | None:
        """Give the best value of a score in the last round in which any unit has one."""
        return next((best for _, best in self._course(name, latest_first=True)), None)

    def best_round(self, name: str) -> tuple[int, int]:
        """Give the first round of the best value of a score, and the last that has one, or 0 and 0.

        Examples
        --------
        >>> Results(Layout({}, {}, {}), 3).best_round("fid")
        (0, 0)
        """
        course = dict(self._course(name))
        if not course:
            return 0, 0
        best = best_of(np.array([*course.values()]), self.layout.variables[name].better)
        return next(number for number, value in course.items() if value == best), max(course)

    def _course(self, name: str, latest_first: bool = False) -> Iterator[tuple[int, float]]:
        """Give the best value of a score by round, of those in which any unit has one."""
        variable, values = self.layout.variables.get(name), self.arrays.get(name)
        if values is None or variable is None or not (variable.better and variable.by_round):
            return
        for index in range(self.done)[:: -1 if latest_first else 1]:
            best = best_of(values[index], variable.better)
            if best is not None:
                yield index + 1, best

    def relay(self, layout: Layout, rounds: int) -> None:
        """Go on with another layout, or fewer rounds; what has no room in it was never filled."""
        self.rounds = rounds
        for parts in (self.routines, self.terms):
            parts.update({name: part[:rounds] for name, part in parts.items()})
        before, self.layout, self.arrays = self.arrays, layout, {}
        for name, values in before.items():
            made = self._array(name)
            shared = tuple(
                slice(min(sizes)) for sizes in zip(made.shape, values.shape, strict=True)
            )
            made[shared] = values[shared]

    def _time(self, told: Columns, elapsed: float) -> None:
        """Add what tasks took to their slots' rounds."""
        rounds = _counted(told["round"])
        known = self._known(told["slot"], rounds)
        if not known:
            return
        slots = [told["slot"][i] for i in known]
        for name, seconds in told["seconds"].items():
            if np.isfinite(seconds[known]).any():
                spent = np.nan_to_num(seconds[known])
                self._sum(self.routines, name, "float64", slots, rounds[known], spent)
        place = (rounds[known] - 1, *self._positions(slots, self.layout.positions))
        self._array("worker")[place] = self._coded("worker", (told["worker"][i] for i in known))
        np.fmin.at(self._array("started"), place, told["started"][known])
        self._array("elapsed")[place] = elapsed
        gathered = self._array("gathered")
        gathered[place] = np.maximum(0, gathered[place])
        np.add.at(gathered, place, told["gathered"][known])

    def _known(self, slots: Sequence[str], rounds: Array) -> list[int]:
        """Tell which reports have a place in the result: that of a last plan's may be none."""
        positions = self.layout.positions
        return [i for i, s in enumerate(slots) if s in positions and rounds[i] <= self.rounds]

    def _sum(
        self,
        into: dict[str, Array],
        name: str,
        dtype: str,
        slots: Sequence[str],
        rounds: Array,
        amounts: Array,
    ) -> None:
        """Add amounts to the rounds of slots."""
        if name not in into:
            into[name] = np.zeros(self._shape(TIMINGS["elapsed"]), dtype)
        known = self._known(slots, rounds)
        if not known:
            return
        place = self._positions([slots[i] for i in known], self.layout.positions)
        np.add.at(into[name], (rounds[known] - 1, *place), amounts[known])

    def _record(self, table: Columns) -> None:
        """Add the outcome of rounds of slots, or of the whole population."""
        slots, rounds = table["slot"], _counted(table["round"])
        positions = self._positions(slots, self.layout.slots) if slots[0] else ()
        for name, values in table["values"].items():
            if name not in self.variables:  # a newer gandask went on with the run, and tells more
                continue
            variable = self.variables[name]
            place: tuple[Any, ...] = (rounds - 1,) if variable.by_round else ()
            place += positions if variable.role else ()
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

    @staticmethod
    def _positions(
        slots: Sequence[str], positions: Mapping[str, tuple[int, ...]]
    ) -> tuple[Array, ...]:
        """Give the positions of slots, one array for each dimension."""
        return tuple(np.array([positions[slot] for slot in slots], "int64").T)

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
        variables["seconds"] = self._variable(SECONDS, self._stacked(self.routines, "float64"))
        variables["sent_bytes"] = self._variable(SENT, self._stacked(self.terms, "int64"))
        for key, title in (
            ("round", "round of the event"),
            ("kind", "what happened"),
            ("slot", "where"),
            ("detail", "more about it"),
        ):
            values = [getattr(event, key) for event in events]
            array = np.array(values, "int64") if key == "round" else spelt(values)
            variables[f"event_{key}"] = ("event", array, {"long_name": title, "units": ""})
        machine = np.array([event.machine for event in events], bool)
        told = {"long_name": "whether the machine did it, not the method", "units": ""}
        variables["event_machine"] = ("event", machine, told)
        # along some nothing may lie: a stored Dataset would lack them
        along = xr.Dataset(variables).dims
        coords: dict[str, list[Any]] = {
            name: list(values) for name, values in layout.coords.items() if name in along
        }
        coords |= {"round": list(range(1, done + 1))}
        for name, parts in (("routine", self.routines), ("term", self.terms)):
            coords[name] = spelt(sorted(parts)).tolist()
        if layout.unit == ("slot",):
            coords["slot"] = list(layout.slots)
        made = xr.Dataset(variables, coords, dict(attributes))
        for name in coords:
            made[name].attrs |= {"long_name": name, "units": ""}
        return _numbered(made)

    def _variable(
        self, variable: Variable, values: Array, words: Iterable[str] = ()
    ) -> tuple[Any, ...]:
        dims = self._dims(variable)
        if variable.by_round:
            dims, values = ("round", *dims), values[: self.done]
        # the last word is that of the number -1: none
        if variable.dtype == "str":
            return dims, spelt([*words, ""], values.size)[values], variable.attributes
        return dims, values.copy(), variable.attributes

    def _dims(self, variable: Variable) -> tuple[str, ...]:
        if variable in COMMON:
            return (*self.layout.unit, *variable.dims)
        unit = self.layout.roles[variable.role].unit if variable.role else ()
        return (*unit, *variable.dims)

    def _shape(self, variable: Variable) -> tuple[int, ...]:
        sizes = {"slot": len(self.layout.slots)}
        sizes |= {dim: len(values) for dim, values in self.layout.coords.items()}
        shape = tuple(sizes[dim] for dim in self._dims(variable))
        return (self.rounds, *shape) if variable.by_round else shape

    def _array(self, name: str) -> Array:
        if name not in self.arrays:
            variable = self.variables[name]
            dtype = _dtype(variable)
            self.arrays[name] = np.full(self._shape(variable), EMPTY[dtype.kind], dtype)
        return self.arrays[name]

    def _stacked(self, parts: Mapping[str, Array], dtype: str) -> Array:
        """Put sums side by side, in the order of their names."""
        empty = np.zeros((*self._shape(TIMINGS["elapsed"]), 0), dtype)
        return np.concatenate([empty, *(parts[name][..., None] for name in sorted(parts))], -1)


def best_of(values: Array, better: str) -> float | None:
    """Give the best of scores: None where none is known, infinite only where all are.

    Examples
    --------
    >>> best_of(np.array([np.nan, 3.0, 2.0, -np.inf]), "lower")
    2.0
    """
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    finite = known[np.isfinite(known)]
    best = np.max if better == "higher" else np.min
    return float(best(finite if finite.size else known))


def _dtype(variable: Variable) -> np.dtype[Any]:
    """Give that of its array, where text is the numbers of its words."""
    return np.dtype("int64" if variable.dtype == "str" else variable.dtype)


def _counted(rounds: Array) -> Array:
    """Give rounds that are counted from 1; ValueError for others, which would end up elsewhere."""
    if (rounds < 1).any():
        raise ValueError(f"of round {rounds.min()}: expected at least 1")
    return rounds


def attributes(method: Method[Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a run in a Dataset's attributes: method, settings, seed, versions, facts."""
    return described(method.name, config.to_toml(method, strict=False), method.seed, facts)


def described(name: str, settings: str, seed: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a run by its method's name and settings as TOML; see `attributes`.

    The versions are those of today, unless `facts` say others; of all else they may say nothing.
    """
    known = {"method": name, "settings": settings, "seed": whole(seed)}
    return {**known, **versions(), **facts, **known}


def versions() -> dict[str, str]:
    """Give what a run is made with: versions, and the kind of the client's processor.

    Its bits differ between kinds of processors, and so do those of results.
    """
    # gandask's by itself: it may be a checkout on the path that nobody installed
    others = {
        f"{package}_version": importlib.metadata.version(package) for package in ("torch", "numpy")
    }
    return {"gandask_version": VERSION, **others, "processor": _processor()}


@functools.cache
def _processor() -> str:
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def labelled(dataset: xr.Dataset, layout: Layout) -> xr.Dataset:
    """Put a Dataset that was read in the order of its layout, and let it say what it says today.

    That of an older gandask says less of its variables.
    """
    ordered = [name for name in layout.variables if name in dataset]
    made = dataset[[*ordered, *(name for name in dataset.data_vars if name not in ordered)]]
    for name in ordered:
        made[name].attrs = layout.variables[name].attributes | made[name].attrs
    return _numbered(made)


def without_timings(dataset: xr.Dataset) -> xr.Dataset:
    """Drop what the machine took and did: what is left is the same in every repetition."""
    timings = [name for name, variable in dataset.variables.items() if "timing" in variable.attrs]
    kept = dataset.drop_vars(timings).drop_dims("routine", errors="ignore")
    kept = _numbered(kept.isel(event=~kept["event_machine"].values))
    # strings are as wide as the longest of them
    return kept.map(
        lambda v: v.copy(data=fixed(v.values.astype(object))) if v.dtype.kind == "U" else v,
        keep_attrs=True,
    )


def _numbered(dataset: xr.Dataset) -> xr.Dataset:
    """Number the events, so that those of several runs can be put side by side."""
    numbers = np.arange(dataset.sizes["event"])
    return dataset.assign_coords(event=("event", numbers, {"long_name": "event", "units": ""}))
