"""What settings did to the score of several runs: which can be compared, and what each came to."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask.core import Array
from gandask.results.tables import differing, outcome, seeds, settings, title

if TYPE_CHECKING:
    import xarray as xr

SEED = "seed"


@dataclass(frozen=True)
class Compared:
    """Runs that one score compares, with the settings in which they differ.

    Parameters
    ----------
    score : str
        What it is called, final or by round.
    better : str
        Which of two is: "lower" or "higher".
    values : mapping of str to float
        By run.
    settings : mapping of str to sequence
        By name but for the seed, the value of each run, in the order of `values`.
    seeds : sequence
        Of each run.
    left_out : mapping of str to sequence of str
        By reason, the runs that cannot be compared with these.
    """

    score: str
    better: str
    values: Mapping[str, float]
    settings: Mapping[str, Sequence[Any]]
    seeds: Sequence[Any]
    left_out: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Effect:
    """What runs with one value of a setting came to.

    Parameters
    ----------
    value : object
    scores : (n,) array
        Of its runs.
    seeds : int
        How many differ.
    """

    value: Any
    scores: Array
    seeds: int


def compared(runs: Mapping[str, xr.Dataset]) -> Compared:
    """Find the runs that most have a score in common with: of the same data, final or so far.

    Parameters
    ----------
    runs : mapping of str to Dataset
        By name. A repetition of another, by settings, seed and data, does not count.
    """
    left: dict[str, list[str]] = collections.defaultdict(list)
    single = {id(ds) for ds in seeds([*runs.values()])}
    found: dict[str, tuple[str, float]] = {}
    for name, ds in runs.items():
        outcome_of, score = outcome(ds), str(ds.attrs.get("score", ""))
        if id(ds) not in single:
            left["repetitions of another: same settings, seed and data"].append(name)
        elif outcome_of is None:
            left["nothing was scored"].append(name)
        elif not np.isfinite(outcome_of[score]):
            left["the score is not finite"].append(name)
        else:
            found[name] = title(outcome_of, score), float(outcome_of[score])
    told = {name: (str(settings(runs[name]).get("data", "")), found[name][0]) for name in found}
    counted = collections.Counter(told.values()).most_common(1)
    data, score = counted[0][0] if counted else ("", "")
    for name, (other, by) in told.items():
        if other != data:
            left[f"on {other}, and not on {data}"].append(name)
        elif by != score:
            left[f"known is {by}, and not {score}"].append(name)
    names = [name for name in told if told[name] == (data, score)]
    datasets = [runs[name] for name in names]
    columns = {key: values for key, values in differing(datasets).items() if key != SEED}
    first = datasets[0][str(datasets[0].attrs["score"])] if datasets else None
    return Compared(
        score,
        "" if first is None else str(first.attrs.get("better", "")),
        {name: found[name][1] for name in names},
        columns,
        [ds.attrs.get(SEED) for ds in datasets],
        dict(left),
    )


def effects(found: Compared, key: str) -> list[Effect]:
    """Give what runs came to by the value of one setting, whatever their others are.

    Parameters
    ----------
    found : Compared
    key : str
        Name of the setting.

    Returns
    -------
    list of Effect
        Numbers from the least on, other values as they come.
    """
    groups: dict[str, tuple[Any, list[float], set[Any]]] = {}
    scores = found.values.values()
    for value, score, seed in zip(found.settings[key], scores, found.seeds, strict=True):
        _, known, drawn = groups.setdefault(repr(value), (value, [], set()))
        known.append(score)
        drawn.add(seed)
    made = [Effect(value, np.array(known), len(drawn)) for value, known, drawn in groups.values()]
    return sorted(made, key=lambda one: one.value) if numeric(found.settings[key]) else made


def numeric(values: Sequence[Any]) -> bool:
    """Tell whether all values of a setting are numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
