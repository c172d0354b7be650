"""Generators of finished runs, measured: what ensembles are chosen from.

Each generator is sampled once, two halves of its samples apart: what is chosen by the one is judged
by the other. The sums are kept in the cache folder, so that whoever chooses again draws no sample.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gandask import config
from gandask.core import Array, Method, SettingError, State, StoreError, torch_seed
from gandask.data import cache_dir
from gandask.methods import STORED
from gandask.methods.adversarial import Adversarial
from gandask.methods.ensemble.method import named
from gandask.repurposing.pool import Pool
from gandask.runs import Run
from gandask.scores import cached, features, metrics
from gandask.scores.features import CHUNK, Extractor
from gandask.scores.metrics import Reference, Statistics
from gandask.scores.mixture import Generate, Mixture
from gandask.training import stored

logger = logging.getLogger("gandask")

SHARED = {"fingerprint": "the data", "extractor": "what samples are scored by"}
"""Facts in which all runs agree, and what they tell."""
VERSION = 1  # of how generators are sampled: part of the cache's key
HALVES = 2


@dataclass(frozen=True)
class Source:
    """One run that candidates are from.

    Parameters
    ----------
    label : str
        What its generators are called by, before their own names.
    path : Path
        Of its store.
    method : Method
    facts : mapping
        What its preparation found.
    generators : Mixture
        All of them.
    """

    label: str
    path: Path
    method: Method[Any]
    facts: Mapping[str, Any]
    generators: Mixture


@dataclass(frozen=True)
class Candidate:
    """One generator.

    Parameters
    ----------
    label : str
        What people call it.
    name : str
        What an ensemble's store calls it.
    own : str
        What its run calls it.
    state : State
    source : Source
    """

    label: str
    name: str
    own: str
    state: State
    source: Source

    def key(self, samples: int) -> str:
        """Say in a digest what its sums follow from: its weights, and what makes samples of them.

        Where its run lies is no part of it.
        """
        facts = self.source.facts
        of = [VERSION, samples, self.own, config.to_toml(self.source.method)]
        of += [[key, facts.get(key)] for key in ("sample_shape", "classes", "networks_digest")]
        of += [[key, facts[key]] for key in SHARED]
        known = hashlib.blake2b(repr(of).encode(), digest_size=16)
        known.update(stored.digest_of(self.state).encode())
        return known.hexdigest()


def sources(runs: Sequence[Run]) -> list[Source]:
    """Read the runs, and refuse those that do not go together.

    Raises
    ------
    SettingError
        If there is none, one is given twice, or one is of other data or features.
    StoreError
        If one has no checkpoint, or cannot be read.
    """
    if not runs:
        raise SettingError("runs=[]: expected stores of finished runs, such as ['runs/a']")
    paths = [run.store.path for run in runs]
    twice = [path for number, path in enumerate(paths) if path in paths[:number]]
    if twice:
        raise SettingError(f"{twice[0]} is given twice: give each run once")
    names = [path.name for path in paths]
    labels = names if len({*names}) == len(names) else [str(path) for path in paths]
    facts = [run.store.description["facts"] for run in runs]
    _refuse_others(paths, facts)
    return [
        Source(label, run.store.path, run.store.method(STORED), fact, run.generators())
        for label, run, fact in zip(labels, runs, facts, strict=True)
    ]


def _refuse_others(paths: Sequence[Path], facts: Sequence[Mapping[str, Any]]) -> None:
    for path, known in zip(paths, facts, strict=True):
        for key, what in SHARED.items():
            if not isinstance(known.get(key), str):
                raise SettingError(
                    f"{path} does not say what {what} was ({key}): give runs of methods that train "
                    "on data, of this version"
                )
            if known[key] != facts[0][key]:
                raise SettingError(
                    f"{path} and {paths[0]} differ in {what} ({key}: {known[key]}, "
                    f"{facts[0][key]}): an ensemble is of runs that share both; leave one out"
                )


def candidates(known: Sequence[Source]) -> list[Candidate]:
    """List the generators of all runs."""
    return [
        Candidate(f"{one.label}/{own}", named(number, own), own, state, one)
        for number, one in enumerate(known)
        for own, state in one.generators.states.items()
    ]


class Scale:
    """What generators are measured by: the data and features that all runs share.

    Parameters
    ----------
    known : sequence of Source

    Raises
    ------
    SettingError
        If no run's method tells where its data are.
    DataError
        If they are not there, or are others now.
    """

    def __init__(self, known: Sequence[Source]) -> None:
        made = [one for one in known if isinstance(one.method, Adversarial)]
        if not made:
            raise SettingError(
                f"{', '.join(one.label for one in known)}: none is of a method that tells where "
                "its data are, which ensembles are compared with; give one that is, too"
            )
        self.source = made[0]
        self.method: Adversarial[Any] = made[0].method  # type: ignore[assignment]
        with self.method.training.settled():
            self.extractor: Extractor = features.extractor(*self.method.measured_by)
            self._refuse_changed()
            self.real: Sequence[Reference] = features.halves(*self.method.measured_by)

    def _refuse_changed(self) -> None:
        now = {"fingerprint": self.method.measured_by[0].fingerprint}
        now["extractor"] = self.extractor.key
        for key, what in SHARED.items():
            then = self.source.facts[key]
            if now[key] != then:
                raise SettingError(
                    f"{self.source.path}: {what} is another one here ({now[key]}) than it was when "
                    f"the run began ({then}); put its data, and the cache they were scored by "
                    "(GANDASK_CACHE), where they were"
                )

    def measured(self, candidate: Candidate, samples: int) -> Array:
        """Sample a generator, and sum up each half of its samples.

        Returns
        -------
        (2, length) array
            Packed as `Statistics.to_array` does.
        """
        generate, own, state = candidate.source.generators.generate, candidate.own, candidate.state
        rows = []
        for half in range(HALVES):
            batches = drawn(generate, own, state, samples, half)
            parts = []
            for batch in batches:
                with self.method.training.settled() as device:
                    parts.append(self.extractor.statistics(iter([batch.to(device)])))
            rows.append(metrics.merge(parts).to_array())
        return np.stack(rows)


def drawn(
    generate: Generate, name: str, state: State, samples: int, half: int
) -> Iterator[torch.Tensor]:
    """Draw one half of a generator's samples, in batches: none of them is in the other half."""
    for start in range(0, samples, CHUNK):
        seed = torch_seed(0, "ensembles", half, start)
        count = min(CHUNK, samples - start)
        yield torch.from_numpy(np.asarray(generate(name, state, count, seed)))


def pools(
    known: Sequence[Candidate], samples: int, scale: Scale
) -> tuple[list[Candidate], tuple[Pool, Pool]]:
    """Measure candidates, each once in all: what was measured before is in the cache.

    Returns
    -------
    list of Candidate
        Those whose samples are finite numbers: the others are left out, with a warning.
    pair of Pool
        By the half that chooses, and by the half that judges.
    """
    folder = cache_dir() / "ensembles"
    places = [folder / f"{one.key(samples)}.safetensors" for one in known]
    kept = [cached.recall(place) for place in places]
    new = [number for number, found in enumerate(kept) if found is None]
    if new:
        logger.warning(
            "%d of %d generators are sampled, %s samples each, which is done once: the sums are "
            "kept in %s", len(new), len(known), f"{HALVES * samples:,}", folder,
        )  # fmt: skip
    for number in new:
        sums = scale.measured(known[number], samples)
        kept[number] = cached.keep(places[number], {"statistics": sums})
    rows = [found["statistics"] for found in kept if found is not None]
    finite = [bool(np.isfinite(row).all()) for row in rows]
    left_out = [one.label for one, well in zip(known, finite, strict=True) if not well]
    if left_out:
        logger.warning("left out, as their samples are no finite numbers: %s", ", ".join(left_out))
    if not any(finite):
        raise StoreError("no generator of these runs gives finite samples; give other runs")
    sound = [row for row, well in zip(rows, finite, strict=True) if well]
    first, second = (
        Pool(scale.real[half], [Statistics.from_array(row[half]) for row in sound])
        for half in range(HALVES)
    )
    return [one for one, well in zip(known, finite, strict=True) if well], (first, second)


def shared_facts(known: Sequence[Source]) -> dict[str, Any]:
    """Give the facts that all runs tell alike: the form of a sample, the data, the features."""
    first = known[0].facts
    return {
        key: value
        for key, value in first.items()
        if all(key in one.facts and _same(one.facts[key], value) for one in known[1:])
    }


def _same(one: Any, other: Any) -> bool:
    both_nan = isinstance(one, float) and isinstance(other, float) and math.isnan(one + other)
    return bool(one == other) or both_nan
