"""The demonstration: groups of GANs on the ring of eight Gaussians, beside single GANs.

All that are compared train on as many batches in all: a step of a generator is one. A mode is held
with at least one of 2,500 samples within three standard deviations of it (the yardstick of VEEGAN,
Srivastava et al. 2017); who misses one has failed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from gandask import cluster, presets, results, runs
from gandask.engine import run as engine
from gandask.methods.mggan.method import MGGAN
from gandask.pages import report
from gandask.plots import pictures
from gandask.store import Store, refuse_existing

if TYPE_CHECKING:
    import xarray as xr

SEEDS = 3
SUITED = 1e-3
"""The learning rate that suits a single GAN best here: see docs/results.md."""
POPULATION, APART = "the groups, mixed", "as many that never meet, mixed"
SINGLE, BEST = "single GAN", "best of as many single GANs"
TUNED = f"single GAN, learning rate {SUITED:g}"
RIVALS = (SINGLE, BEST)
"""Who has the settings of the population, and gives one generator."""
SAMPLES = 1000


class Outcome(NamedTuple):
    """What one contender came to with one seed."""

    modes: int
    high_quality: float
    tvd: float


Comparison = Mapping[str, Sequence[Outcome]]
"""By contender, one for each seed."""


def run(store: Path, workers: int = 2, seed: int = 1, **changes: Any) -> str:
    """Train the groups and single GANs, write picture, film and report, and tell the outcome.

    Parameters
    ----------
    store : path
        Folder of the first seed's groups.
    workers : int
        Worker processes.
    seed : int
        The first of the seeds.
    **changes
        Settings of the groups to change.

    Returns
    -------
    str
    """
    refuse_existing(Store(store))
    settings = presets.read("mggan-demo")
    settings.pop("method")
    found: dict[str, list[Outcome]] = {}
    with cluster.local(workers) as client:
        for one in range(seed, seed + SEEDS):
            population = MGGAN(**settings | changes | {"seed": one})
            datasets = {
                name: engine.run(
                    method,
                    client=client,
                    store=store if (name, one) == ("population", seed) else None,
                    progress=True,
                )
                for name, method in trained(population).items()
            }
            for name, outcome in outcomes(datasets).items():
                found.setdefault(name, []).append(outcome)
    modes = population.training.data.classes
    said = [table(found, modes), verdict(found, modes), kept(store)]
    return "\n\n".join(said)


def trained(population: MGGAN) -> dict[str, MGGAN]:
    """Give what is trained for the comparison: each with as many batches as all groups together."""
    alone = replace(population, interval=0, score_samples=0)
    single = replace(alone, groups=1, iterations=population.groups * population.iterations)
    return {
        "population": population,
        "apart": alone,
        "single": single,
        "tuned": replace(single, learning_rate=SUITED),
    }


def outcomes(datasets: Mapping[str, xr.Dataset]) -> dict[str, Outcome]:
    """Read the contenders' outcomes from the Datasets of what was `trained`, or of some of it."""
    read = {
        POPULATION: ("population", _mixed),
        SINGLE: ("single", _best),
        BEST: ("apart", _best),
        APART: ("apart", _mixed),
        TUNED: ("tuned", _best),
    }
    return {name: how(datasets[key]) for name, (key, how) in read.items() if key in datasets}


def _mixed(dataset: xr.Dataset) -> Outcome:
    """Give what the mixture of all generators came to."""
    return _outcome(dataset, "final_mixture_")


def _best(dataset: xr.Dataset) -> Outcome:
    """Give what the generator came to that is best by the run's own score."""
    found = results.best(dataset)
    if found is None:
        raise ValueError("expected a finished run")
    return _outcome(found, "final_")


def _outcome(found: xr.Dataset, prefix: str) -> Outcome:
    modes, share, tvd = (
        float(found[f"{prefix}{name}"]) for name in ("modes", "high_quality", "tvd")
    )
    return Outcome(int(modes), share, tvd)


def failures(found: Sequence[Outcome], modes: int) -> int:
    """Count the seeds with which a contender misses a mode."""
    return sum(outcome.modes < modes for outcome in found)


def table(found: Comparison, modes: int) -> str:
    """Lay the outcomes side by side."""
    lines = [
        f"{'':32}{'failed':>10}  {'modes held, of ' + str(modes):20}{'high quality':>13}{'TVD':>7}"
    ]
    for name, of in found.items():
        failed = f"{failures(of, modes)} of {len(of)}"
        held = " ".join(str(outcome.modes) for outcome in of)
        share, tvd = (np.median([getattr(one, key) for one in of]) for key in Outcome._fields[1:])
        lines.append(f"{name:32}{failed:>10}  {held:20}{share:13.0%}{tvd:7.2f}")
    return "\n".join(lines)


def verdict(found: Comparison, modes: int) -> str:
    """Say who missed modes less often, whoever that is, and what it tells.

    Parameters
    ----------
    found : mapping of str to sequence of Outcome
        By contender, as `outcomes` names them.
    modes : int
        That there are.

    Returns
    -------
    str
    """
    failed = {name: failures(of, modes) for name, of in found.items()}
    seeds = len(found[POPULATION])
    ours, least = failed[POPULATION], min(failed[name] for name in RIVALS)
    rivals = " and ".join(f"the {name} with {failed[name]}" for name in RIVALS)
    counts = f"The groups miss modes with {ours} of {seeds} seeds, {rivals}: "
    if ours < least:
        counts += "the population gains here."
    elif ours > least:
        counts += "the population loses here."
    else:
        counts += "no difference here."
    return "\n".join([counts, _why(ours, failed[APART]), _tuned(ours, failed[TUNED])])


def _why(ours: int, apart: int) -> str:
    """Say whether meeting other discriminators matters, or mixing alone."""
    told = f"Groups that never meet, mixed alike, miss some with {apart}: "
    if ours == apart:
        return told + "it is mixing that counts, and not regrouping."
    return told + ("regrouping helps." if ours < apart else "regrouping harms.")


def _tuned(ours: int, tuned: int) -> str:
    """Say how a single GAN does whose learning rate was chosen for it."""
    told = f"At a learning rate chosen for it ({SUITED:g}) a single GAN misses some with {tuned}: "
    if tuned > ours:
        return told + "the groups are ahead of that, too."
    return told + "with that, it needs no population."


def kept(store: Path) -> str:
    """Write picture, film and report of a run, and say where they are."""
    opened = runs.open_run(store)
    picture = store / "samples" / "mixture.png"
    drawn = opened.mixture("all").sample(SAMPLES, seed=0)
    pictures.save_png(drawn, picture, facts=opened.store.description["facts"])
    told = {"samples": picture, "film": opened.film(), "report": report.write(opened)}
    return "\n".join(f"{name + ':':9}{path}" for name, path in told.items())
