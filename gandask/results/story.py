"""A run in one paragraph: sentences that follow from its Dataset, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gandask.core import NON_FINITE, Array
from gandask.display import duration, number
from gandask.display import place as spoken
from gandask.results.modes import MIXTURE, SHARE, covered
from gandask.results.tables import (
    best,
    label,
    of_all,
    outcome,
    place,
    place_of_best,
    profile,
    workers,
)
from gandask.scores.metrics import METRICS

if TYPE_CHECKING:
    import xarray as xr

ENDED: Mapping[str, str] = {
    "finished": "It finished",
    "failed": "It failed",
    "stopped": "It was stopped",
    "interrupted": "It was interrupted",
    "paused": "It is paused",
    "running": "It is still running",
}
"""How a run is said to stand, by its state."""
OF_SLOTS: Mapping[str, str] = {
    "lost": "lost with a worker",
    "moved": "moved to another",
    "delayed": "delayed",
    "hedged": "begun twice",
    "recomputed": "computed again",
}
OF_WORKERS: Mapping[str, str] = {
    "worker left": "left",
    "worker silent": "fell silent",
    "worker paused": "paused",
}
"""What the machine did, by the kind of its events: to slots' tasks and to workers."""
BY_HAND: Mapping[str, str] = {
    "changed": "settings were changed",
    "paused": "it was paused",
    "ended early": "a budget ended it early",
    "forked": "it was forked",
}
LISTED = 3  # rounds that are named
IN_PROCESS = "client"


def story(dataset: xr.Dataset, own: Sequence[str] = (), state: str = "") -> list[str]:
    """Tell what happened in a run: its score, who won, modes, its workers, and how it ended.

    Parameters
    ----------
    dataset : Dataset
        Of a run, finished or not.
    own : sequence of str
        Sentences of its method's own; see `Method.sentences`.
    state : str
        That of the run, where it is known: a Dataset does not tell.

    Returns
    -------
    list of str
        Sentences. What the Dataset does not say is not told.

    Examples
    --------
    >>> import xarray as xr
    >>> fid = ("round", [9.0, 4.0, 3.0]), {"long_name": "FID", "better": "lower"}
    >>> ds = xr.Dataset({"fid": (*fid[0], fid[1])}, {"round": [1, 2, 3]}, {"score": "fid"})
    >>> story(ds)
    ['The best FID fell from 9 in round 1 to 3 in round 3, the most in round 2, from 9 to 4.']
    """
    if not dataset.sizes.get("round"):
        return ["No round is done yet.", *_ending(dataset, state)]
    return [
        *_course(dataset),
        *_winner(dataset),
        *_modes(dataset),
        *own,
        *_broken(dataset),
        *_machine(dataset),
        *_ending(dataset, state),
    ]


def course(dataset: xr.Dataset) -> xr.DataArray | None:
    """Give the best score of each round that was scored: NaN where none of them is finite."""
    scores = dataset.get(str(dataset.attrs.get("score", "")))
    if scores is None or "round" not in scores.dims or not scores.attrs.get("better"):
        return None
    units = [dim for dim in scores.dims if dim != "round"]
    finite = scores.where(np.isfinite(scores))
    found = finite.max(units) if scores.attrs["better"] == "higher" else finite.min(units)
    return found.isel(round=scores.notnull().any(units).values)


def _named(scores: xr.DataArray) -> str:
    """Call the score without its samples: it is said often."""
    known = METRICS.get(str(scores.name))
    return known.long_name if known else str(scores.attrs.get("long_name", scores.name))


def _course(dataset: xr.Dataset) -> list[str]:
    """Tell how the best score of each round went."""
    found = course(dataset)
    if found is None or not found.sizes["round"]:
        return ["No round was scored."] if found is not None else []
    scores = dataset[str(dataset.attrs["score"])]
    name, higher = _named(scores), scores.attrs["better"] == "higher"
    known = found.dropna("round")
    broken = found.sizes["round"] - known.sizes["round"]
    told = []
    if not known.sizes["round"]:
        return [f"No {name} was finite in any of the {_count(broken, 'round')} that were scored."]
    rounds, values = known["round"].values.tolist(), known.values
    if len(rounds) == 1:
        told.append(f"The best {name} was {number(values[0])}, in round {rounds[0]}.")
    else:
        told.append(_changes(name, rounds, values, higher, scores))
    if broken:
        told.append(f"In {_count(broken, 'scored round')} no unit had a finite {name}.")
    return told


def _changes(
    name: str, rounds: Sequence[int], values: Array, higher: bool, scores: xr.DataArray
) -> str:
    """Tell from where to where the best score went, when the most, and whose it was then."""
    first, last = float(values[0]), float(values[-1])
    went = "fell" if last < first else "rose" if last > first else "stayed"
    to = f" to {number(last)}" if last != first else ""
    text = f"The best {name} {went} from {number(first)} in round {rounds[0]}{to}"
    if last == first:
        text = f"The best {name} was {number(first)} in round {rounds[0]} and again"
    text += f" in round {rounds[-1]}"
    gains = np.diff(values) * (1 if higher else -1)
    most = int(gains.argmax())
    if gains[most] > 0 and len(gains) > 1:
        when = f"in round {rounds[most + 1]}"
        if rounds[most + 1] > rounds[most] + 1:
            when = f"between rounds {rounds[most]} and {rounds[most + 1]}"
        better = "rose the most" if higher else "fell the most"
        same = (went == "rose") == higher and went != "stayed"
        lead = ", the most" if same else f"; it {better}"
        text += f"{lead} {when}, from {number(values[most])} to {number(values[most + 1])}"
        whose = place_of_best(scores.sel(round=rounds[most + 1]))
        text += f": {spoken(whose)}" if whose else ""
    peak = int(values.argmax() if higher else values.argmin())
    if values[peak] != last:
        text += f". Its best was {number(values[peak])}, in round {rounds[peak]}"
    return f"{text}."


def _winner(dataset: xr.Dataset) -> list[str]:
    """Name the best unit, and what it and all together came to."""
    found = outcome(dataset)
    if found is None:
        return []
    score, whose = str(dataset.attrs["score"]), spoken(place(found))
    samples = found[score].attrs.get("samples")
    told = f"{_named(found[score])} {number(float(found[score]))}"
    told += f" of {samples:,} samples" if samples else ""
    if best(dataset) is None:
        made = [f"So far {whose} is best in round {int(found['round'])}."] if whose else []
    else:
        made = [f"At the end {whose} is best: {told}." if whose else f"At the end: {told}."]
    together = of_all(dataset)
    same = [v for v in together.data_vars.values() if str(v.name).endswith(f"_{score}")]
    made += [f"{label(v)}: {number(float(v))}." for v in same if bool(v.notnull())]
    return [text[:1].upper() + text[1:] for text in made]


def _modes(dataset: xr.Dataset) -> list[str]:
    """Tell how many modes have samples at the end, and whether more had any before."""
    variable = SHARE if SHARE in dataset else MIXTURE
    if variable not in dataset or str(dataset.attrs.get("score", "")) not in dataset:
        return []
    found = covered(dataset, variable=variable)
    if not found.sizes["round"]:
        return []
    held, rounds = (found > 0).sum("class").values, found["round"].values
    whose = "the mixture of all" if variable == MIXTURE else "the best"
    modes = f"{held[-1]} of {found.sizes['class']} modes"
    text = f"In round {rounds[-1]}, {whose} had samples on {modes}"
    most = int(held.argmax())
    if held[most] > held[-1]:
        text += f"; in round {rounds[most]}, on {held[most]}"
    return [f"{text}."]


def _broken(dataset: xr.Dataset) -> list[str]:
    """Tell of losses and weights that were not finite."""
    kinds = dataset["event_kind"].values if "event_kind" in dataset else np.array([])
    where = np.flatnonzero(kinds == NON_FINITE)
    if not len(where):
        return []
    first = dataset.isel(event=where[0])
    times = _count(len(where), "time")
    at = f"round {int(first['event_round'])}"
    whose = str(first["event_slot"].item())
    return [
        f"Losses or weights were not finite {times}, first in {at}{f' ({whose})' if whose else ''}."
    ]


def _machine(dataset: xr.Dataset) -> list[str]:
    """Tell what happened to workers and to the tasks of slots."""
    if "worker" not in dataset or "event_kind" not in dataset:
        return []
    names = [name for name in workers(dataset) if name != IN_PROCESS]
    counts = {kind: int((dataset["event_kind"] == kind).sum()) for kind in (*OF_SLOTS, *OF_WORKERS)}
    told = [f"{n} {OF_SLOTS[kind]}" for kind, n in counts.items() if n and kind in OF_SLOTS]
    gone = [f"{n} {OF_WORKERS[kind]}" for kind, n in counts.items() if n and kind in OF_WORKERS]
    made = []
    if names:
        made.append(f"{_count(len(names), 'worker')} did the work")
    if gone:
        made.append(f"of workers, {', '.join(gone)}")
    if told:
        made.append(f"of tasks, {', '.join(told)}")
    if names and not told and not gone:
        made.append("none was lost, moved or delayed")
    text = "; ".join(made)
    return [f"{text[:1].upper()}{text[1:]}."] if made else []


def _ending(dataset: xr.Dataset, state: str) -> list[str]:
    """Tell what was asked of the run, how long it took, and how it stands."""
    made = []
    for kind, told in BY_HAND.items():
        rounds = _rounds_of(dataset, kind)
        if rounds:
            made.append(f"{told[:1].upper()}{told[1:]} {rounds}.")
    done = dataset.sizes.get("round", 0)
    text = f"{ENDED[state]} after {_count(done, 'round')}" if state in ENDED else ""
    taken = dataset["elapsed"].values if "elapsed" in dataset else np.array([])
    if np.isfinite(taken).any():
        spent = duration(float(np.nanmax(taken)))
        text = f"{text} in {spent}" if text else f"Its {_count(done, 'round')} took {spent}"
        seconds = profile(dataset)
        if seconds.sizes["routine"] and float(seconds.sum()) > 0:
            share = float(seconds[0] / seconds.sum())
            text += f"; {share:.0%} of the tasks' time went to {seconds['routine'].values[0]}"
    return [*made, *([f"{text}."] if text else [])]


def _rounds_of(dataset: xr.Dataset, kind: str) -> str:
    """Name the rounds in which something happened, or how often it did."""
    if "event_kind" not in dataset:
        return ""
    rounds = np.unique(dataset["event_round"].values[dataset["event_kind"].values == kind]).tolist()
    if len(rounds) > LISTED:
        return f"in {_count(len(rounds), 'round')}, first in round {rounds[0]}"
    *others, last = rounds or [None]
    named = f"{', '.join(map(str, others))} and {last}" if others else str(last)
    return f"after round{'s' if others else ''} {named}" if rounds else ""


def _count(number: int, noun: str) -> str:
    """Count things: 1 round, 2 rounds."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
