"""What can be read off a Dataset: the best unit, the time by routine, speedups."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask import config, display
from gandask.core import IDENTITY, WHERE, Array, SettingError
from gandask.results.dataset import EMPTY
from gandask.scores.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


def to_dataframe(dataset: xr.Dataset, *along: str) -> pd.DataFrame:
    """Give what lies along the same dimensions as a table of pandas.

    xarray's own `Dataset.to_dataframe` has a row for each combination of all dimensions: none,
    where a run has no events.

    Parameters
    ----------
    dataset : Dataset
        Of a run, or of several as `gandask.open_runs` gives it.
    *along : str
        Dimensions besides ``run``, such as ``"event"``: round and the unit by default.

    Returns
    -------
    DataFrame
        A row for each place along these where anything is known, and a column for each variable
        that lies along just these; the settings in which several runs differ, too.

    Raises
    ------
    SettingError
        If no variable lies along these.

    Examples
    --------
    >>> import xarray as xr
    >>> ds = xr.Dataset({"fid": ("round", [7.5, 7.0])}, {"round": [1, 2]})
    >>> to_dataframe(ds, "round")["fid"].to_dict()
    {1: 7.5, 2: 7.0}
    """
    told = [dataset[name].dims for name in ("elapsed", "sent_bytes") if name in dataset]
    usual = [str(dim) for dims in told[:1] for dim in dims if dim != "term"]
    several = ["run"] if "run" in dataset.dims else []
    dims = list(dict.fromkeys([*several, *(along or usual)]))
    names = [str(name) for name, one in dataset.data_vars.items() if {*one.dims} == {*dims}]
    if not names:
        known = sorted({", ".join(map(str, one.dims)) for one in dataset.data_vars.values()})
        raise SettingError(
            f"no variable lies along {', '.join(dims)}: expected the dimensions of one: "
            f"{'; '.join(filter(None, known))}"
        )
    table = dataset[names].to_dataframe(dim_order=dims)
    telling = [name for name in names if dataset[name].dtype.kind != "b"]
    return table[table[telling].apply(_known).any(axis=1)] if telling else table


def _known(column: pd.Series) -> pd.Series:
    """Tell where a variable says anything."""
    return column.notna() & (column != EMPTY.get(column.dtype.kind, ""))


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
    counts = xr.DataArray([len(workers(serial)), len(workers(parallel))], dims="run")
    by_routine = xr.concat([_longest(serial), _longest(parallel)], "run", join="outer")
    gained = wall[0] / wall[1]
    made = xr.Dataset(
        {
            "wall": wall,
            "workers": counts,
            "speedup": gained,
            "efficiency": gained * counts[0] / counts[1],
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


def workers(dataset: xr.Dataset) -> list[str]:
    """Name the workers that performed anything."""
    return sorted({str(name) for name in np.unique(dataset["worker"].values)} - {""})


def _longest(dataset: xr.Dataset) -> xr.DataArray:
    """Give, by routine, the most time that one worker spent on it."""
    units = list(dataset["worker"].dims)
    flat = dataset[["seconds", "worker"]].stack(task=units)
    sums = flat["seconds"].groupby(flat["worker"]).sum("task")
    return sums.max("worker").assign_attrs(units="s", long_name="time by routine")


def outcome(dataset: xr.Dataset) -> xr.Dataset | None:
    """Give what a run came to: the scores of the best unit at the end, or else so far.

    Returns
    -------
    Dataset, optional
        Of one unit, by the names that scores have by round; with a coordinate ``round`` unless they
        are the final ones. None where nothing is scored, or nothing can be better.
    """
    final = best(dataset)
    return latest(dataset) if final is None else final.rename(_finals(dataset))


def best(dataset: xr.Dataset) -> xr.Dataset | None:
    """Give the final scores of the unit that is best by the run's own score, if it is finished."""
    final = _finals(dataset)
    score = _score(dataset)
    last = next((name for name, of in final.items() if of == score), None)
    place = None if last is None else place_of_best(_told_by(dataset, dataset[last]))
    return None if place is None else dataset[list(final)].sel(place)


def _told_by(dataset: xr.Dataset, final: xr.DataArray) -> xr.DataArray:
    """Give what tells the best: final scores, unless the run names scores of other samples."""
    by = dataset.get(str(dataset.attrs.get("best_by", "")))
    if by is None or set(by.dims) != {"round", *final.dims} or not by.sizes["round"]:
        return final
    return by.isel(round=-1, drop=True)


def latest(dataset: xr.Dataset) -> xr.Dataset | None:
    """Give the scores of the unit that is best in the last round scored, if there is one."""
    scores = dataset.get(_score(dataset))
    if scores is None:
        return None
    scored = scores.notnull().any([dim for dim in scores.dims if dim != "round"]).values
    if not scored.any():
        return None
    then = dataset.isel(round=np.flatnonzero(scored)[-1])
    place = place_of_best(then[str(scores.name)])
    known = [name for name in _finals(dataset).values() if name in then]
    names = dict.fromkeys([str(scores.name), *known])
    return None if place is None else then[[*names]].sel(place)


def place(found: xr.Dataset) -> dict[str, Any]:
    """Tell whose scores `outcome`, `best` or `latest` gave."""
    return {str(dim): found[dim].item() for dim in found.coords if dim != "round"}


def place_of_best(values: xr.DataArray) -> dict[str, Any] | None:
    """Tell where the best of values is, as their attribute ``better`` says; the first of equals.

    Returns
    -------
    dict, optional
        A label for each dimension. None where no value is known, or none can be better.
    """
    (first,) = best_of_rows(values.values.reshape(1, -1), values.attrs.get("better", ""))
    if first < 0:
        return None
    where = np.unravel_index(first, values.shape)
    return {
        str(dim): values[dim].values[index].item()
        for dim, index in zip(values.dims, where, strict=True)
    }


def best_of_rows(values: Array, better: str) -> Array:
    """Tell where in each row of values the best is; the first of equals.

    Parameters
    ----------
    values : (n, units) array
    better : str
        "higher", "lower", or nothing where none can be better.

    Returns
    -------
    (n,) array
        Of whole numbers: -1 where no value of the row is known, or none can be better.

    Examples
    --------
    >>> best_of_rows(np.array([[2.0, np.inf, 3.0], [np.nan, np.nan, np.inf]]), "higher").tolist()
    [2, 2]
    """
    if not values.size:
        return np.full(len(values), -1)
    finite = np.isfinite(values)
    # what diverged is best of all only where all did
    known = np.where(finite | ~finite.any(1, keepdims=True), values, np.nan)
    none = np.asarray(np.isnan(known).all(1) | (not better))
    chosen = np.nanargmax if better == "higher" else np.nanargmin
    return np.where(none, -1, chosen(np.where(none[:, None], 0, known), axis=1))


def of_all(dataset: xr.Dataset) -> xr.Dataset:
    """Give the final scores of the whole population, where there are any."""
    return dataset[[*_finals(dataset, of_all=True)]]


def kept(dataset: xr.Dataset) -> str:
    """Say which ensemble a run keeps, if it keeps that of the best round."""
    if "best_round" not in dataset or int(dataset["best_round"]) < 1:
        return ""
    return f"{dataset['best_slot'].item()} after round {int(dataset['best_round'])}"


def title(found: xr.Dataset, name: str) -> str:
    """Call a score what it is called of any run: final or by round, and of how many samples.

    Parameters
    ----------
    found : Dataset
        As `outcome` gives it.
    name : str
        Of the score.
    """
    values = found[name]
    if name not in METRICS:
        return label(values)
    when = "by round" if "round" in found.coords else "final"
    return label(values, f"{METRICS[name].long_name}, {when}")


def label(values: xr.DataArray, title: str = "") -> str:
    """Call a variable by its title, or the one given; a score says of how many samples it is."""
    title = title or str(values.attrs.get("long_name", values.name))
    samples = values.attrs.get("samples")
    return f"{title}, {samples:,} samples" if samples else title


def summary(dataset: xr.Dataset) -> str:
    """Say in a few lines what a run came to."""
    if not dataset.sizes["round"]:
        return "no round is done yet"
    done = dataset.sizes["round"]
    found, lines = outcome(dataset), []
    if found is not None:
        early = f" after {done} rounds" if "round" in found.coords else ""
        samples = found[_score(dataset)].attrs.get("samples")
        counted = f" (scores of {samples:,} samples)" if samples else ""
        lines.append(f"best{early}: {display.place(place(found))}{counted}")
        lines += [f"  {name!s:16} {value.item():.4g}" for name, value in found.data_vars.items()]
    together = of_all(dataset) if found is not None else dataset[[]]
    lines += ["of all:"] if together else []
    lines += [f"  {name!s:16} {value.item():.4g}" for name, value in together.data_vars.items()]
    lines += [f"kept: {kept(dataset)}"] if kept(dataset) else []
    kinds, counts = np.unique(dataset["event_kind"].values, return_counts=True)
    lines += [f"events: {count} × {kind}" for kind, count in zip(kinds, counts, strict=True)]
    seconds = profile(dataset).to_series()
    spent = ", ".join(f"{name} {value / seconds.sum():.0%}" for name, value in seconds.items())
    if spent:  # where tasks were performed
        lines.append(f"time: {float(dataset.elapsed.max()):.1f} s; by routine: {spent}")
    return "\n".join(lines)


def settings(dataset: xr.Dataset) -> dict[str, Any]:
    """Give the settings that a run was made with, by name, as its attributes have them."""
    table = tomllib.loads(str(dataset.attrs.get("settings", "")))
    return {key: value for key, value in table.items() if key not in config.ELSEWHERE}


def setup(dataset: xr.Dataset, but: Collection[str] = ()) -> str:
    """Say in one text what a run was made of: settings, and what their names stand for.

    Parameters
    ----------
    dataset : Dataset
    but : collection of str
        Settings to leave out.

    Returns
    -------
    str
        The same for runs that were set up alike; empty where nothing is known.
    """
    facts = {key: _coarse(dataset.attrs[key]) for key in IDENTITY if key in dataset.attrs}
    places = {name for fact in facts for name in WHERE.get(fact, ())}
    told = {
        key: value
        for key, value in settings(dataset).items()
        if key not in but and key not in places
    }
    return repr(sorted((told | facts).items())) if told else ""


def _coarse(fact: Any) -> Any:
    """Write a fact down so that kinds of processors do not differ in it."""
    if isinstance(fact, str):
        return fact
    numbers = np.ravel(fact)
    return [f"{number:.2e}" for number in numbers] if numbers.dtype.kind == "f" else str(fact)


def differing(datasets: Sequence[xr.Dataset]) -> dict[str, list[Any]]:
    """Give the settings that differ, by name: the value of each run, None where it has none.

    What other methods do not have is told where runs of one method differ in it.
    """
    every = [settings(dataset) for dataset in datasets]
    # what is left out of a table was None; of another method, there is no such setting
    of_method: dict[Any, set[str]] = {}
    for told in every:
        of_method.setdefault(told.get("method"), set()).update(told)
    names = dict.fromkeys(name for told in every for name in told)
    columns = {name: [told.get(name) for told in every] for name in names}
    having = {
        name: [repr(told.get(name)) for told in every if name in of_method[told.get("method")]]
        for name in names
    }
    return {name: values for name, values in columns.items() if len(set(having[name])) > 1}


def seeds(datasets: Sequence[xr.Dataset]) -> list[xr.Dataset]:
    """Give a Dataset for each seed: of runs with the same settings, seed and data, the longest.

    Such runs are repetitions or copies of each other, and no further evidence.
    """
    found: dict[str, xr.Dataset] = {}
    for place, dataset in enumerate(datasets):
        key = setup(dataset) or str(place)
        before = found.get(key)
        if before is None or dataset.sizes["round"] > before.sizes["round"]:
            found[key] = dataset
    return list(found.values())


def _score(dataset: xr.Dataset) -> str:
    return str(dataset.attrs.get("score", ""))


def _finals(dataset: xr.Dataset, of_all: bool = False) -> dict[str, str]:
    """Name the final scores of units, or of all, with what each is called by round.

    Those that are of the end alone are called what they would be.
    """
    scores = dataset.get(_score(dataset))
    if scores is None:
        return {}
    units = () if of_all else tuple(dim for dim in scores.dims if dim != "round")
    # of a list of one, netCDF keeps the number alone
    images = np.size(dataset.attrs.get("sample_shape", ())) > 1
    found = {}
    for name, variable in dataset.data_vars.items():
        of = _ended(dataset, str(name))
        # every sample of an image counts as one of high quality: only points have modes to be near
        if of and variable.dims == units and not (images and _of_points(of)):
            found[str(name)] = of
    return found


def _ended(dataset: xr.Dataset, name: str) -> str:
    """Say what a final score is called by round; nothing of what is none."""
    told, begin = dataset[name].attrs, "final_"
    alone = "final_of" not in told and {"better", "samples"} <= told.keys()
    if alone and name.startswith(begin) and "round" not in dataset[name].dims:
        return name.removeprefix(begin)
    of = str(told.get("final_of", ""))
    return of if of in dataset else ""


def _of_points(name: str) -> bool:
    """Tell whether a variable is a score of points, whatever stands before the score's name."""
    return any(
        metric.of_points and f"_{name}".endswith(f"_{key}") for key, metric in METRICS.items()
    )
