"""What the client knows of MGGAN's groups, and what it writes down of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from gandask.core import Array, Event, Record, Variable
from gandask.methods.best import Best, states_of, with_kept
from gandask.scores.metrics import METRICS, Metric


@dataclass(frozen=True)
class Group:
    """One generator, and the discriminator that it trains against at present.

    Parameters
    ----------
    index : int
    generator, discriminator : str
        Names of their states.
    partner : int
        The group that the discriminator began in.
    round, iteration : int
        Completed.
    learning_rate : float
        L.
    loss : float
        The generator's in the last iteration.
    losses : array
        The generator's since the last regrouping.
    statistics : array, optional
        Those of the generator's samples, packed, when it was scored last.
    score : float
    scored : int
        The round after which it was scored last.
    phase : str
        "train", "waiting" for the other groups, or "score" and "scored" at the end.
    """

    index: int
    generator: str
    discriminator: str
    partner: int
    learning_rate: float
    round: int = 0
    iteration: int = 0
    loss: float = math.nan
    losses: Array = field(default_factory=lambda: np.empty(0))
    statistics: Array | None = None
    score: float = math.nan
    scored: int = 0
    phase: str = "train"

    @property
    def slot(self) -> str:
        """Name of the group's slot."""
        return f"group/{self.index}"

    @property
    def mean_loss(self) -> float:
        """Mean of the losses since the last regrouping; infinite where none is known."""
        known = self.losses[np.isfinite(self.losses)]
        return float(known.mean()) if len(known) else math.inf

    @property
    def names(self) -> tuple[str, str, str, str]:
        """Names of weights and moments: of the generator, of the discriminator."""
        return (
            self.generator,
            f"{self.generator}/moments",
            self.discriminator,
            f"{self.discriminator}/moments",
        )

    def named(self, serial: int) -> tuple[str, str]:
        """Name the states that the group's next task makes."""
        return f"{self.slot}/generator/{serial}", f"{self.slot}/discriminator/{serial}"


@dataclass(frozen=True)
class GroupView:
    """What the client knows of the groups.

    Parameters
    ----------
    groups : tuple of Group
    regroupings : tuple of int
        Iterations after which regroupings took place.
    weights : tuple of float
        Shares of the groups' generators in the mixture of all.
    kept : Best, optional
        The generator that scored best of all rounds, where it is kept.
    """

    groups: tuple[Group, ...]
    regroupings: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()
    records: tuple[Record, ...] = ()
    events: tuple[Event, ...] = ()
    metric: str = "fid"
    kept: Best | None = None

    @property
    def round(self) -> int:
        """Number of rounds that every group has completed."""
        return min(group.round for group in self.groups)

    @property
    def best(self) -> str | None:
        """The group whose generator scores best."""
        best = None
        for group in self.groups:
            if METRICS[self.metric].better(group.score, best.score if best else math.nan):
                best = group
        return best.slot if best else None

    @property
    def keeps(self) -> frozenset[str]:
        """Names of every group's states, and of what is kept."""
        return states_of(self.kept).union(*(group.names for group in self.groups))

    @property
    def ensembles(self) -> Mapping[str, Mapping[str, float]]:
        """By slot its generator alone; under ``all`` the mixture of all groups' generators."""
        alone = {group.slot: {group.generator: 1.0} for group in self.groups}
        names = [group.generator for group in self.groups]
        return alone | {"all": dict(zip(names, self.weights, strict=True))}

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """The same, and what is kept."""
        return with_kept(self.ensembles, self.kept)

    def regrouped(self, taken: Array) -> tuple[Group, ...]:
        """Give each group the discriminator of the group that `taken` says."""
        empty = np.empty(0)
        return tuple(
            replace(
                group,
                discriminator=self.groups[other].discriminator,
                partner=self.groups[other].partner,
                losses=empty,
            )
            for group, other in zip(self.groups, taken, strict=True)
        )


def group_of(slot: str) -> int:
    """Give the index of the group whose slot it is."""
    return int(slot.removeprefix("group/"))


@functools.cache
def variables(samples: int, final_samples: int) -> Mapping[str, Variable]:
    """List what the records of a run may hold, its samples apart."""
    of_group = functools.partial(Variable, role="group")
    made = {
        "partner": of_group(
            "discriminator the generator trained against", "group", dtype="int64", shown=("map",)
        ),
        "last_iteration": of_group("last iteration of the round", "iterations", dtype="int64"),
        "interval": of_group("regrouping interval T", "iterations", dtype="int64", shown=("map",)),
        "generator_training_loss": of_group("mean generator loss in training", shown=("trace",)),
        "discriminator_training_loss": of_group("mean discriminator loss in training"),
        "batches": of_group("generator steps in the round", "batches", dtype="int64"),
    }
    for name, metric in METRICS.items():
        made |= _scores(name, metric, samples, final_samples)
    shares = ("group",)
    made["mixture_weight"] = Variable("share in the mixture of all", dims=shares)
    made["final_mixture_weight"] = Variable(
        "share in the final mixture", dims=shares, by_round=False
    )
    for name, title in (
        ("learning_rate", "learning rate L"),
        ("generator_loss", "generator loss"),
        ("discriminator_loss", "discriminator loss"),
        ("loss_variation", "variation ratio of the generator loss γ"),
    ):
        made[name] = of_group(title, dims=("iteration",), by_round=False)
    made["regrouping"] = of_group(
        "regrouping that Algorithm 1 looks to iᵀ (−1: none)",
        "iteration",
        ("iteration",),
        "int64",
        by_round=False,
    )
    for name, title, units in (
        ("initial_learning_rate", "learning rate at the beginning L₀", "1"),
        ("learning_rate_limit", "upper limit of the learning rate L̄", "1"),
        ("adjustment_region", "learning rate adjusting region α", "iterations"),
        ("adjustment_ratio", "learning rate adjusting ratio δ", "1"),
        ("variation_threshold", "threshold of the variation ratio γ̄", "1"),
    ):
        made[name] = Variable(title, units, by_round=False)
    return made


def _scores(name: str, metric: Metric, samples: int, final_samples: int) -> dict[str, Variable]:
    """List the variables of one score: of each generator, and of the mixture of all."""
    score = functools.partial(Variable, units=metric.units, better=metric.direction)
    told = functools.partial(score, samples=samples)
    final = functools.partial(score, by_round=False, samples=final_samples)
    title, shown = metric.long_name, ("map", "report") if name in REPORTED else ("map",)
    return {
        name: told(f"{title} of the generator", role="group", shown=shown),
        f"final_{name}": final(f"{title} of the final generator", role="group", final_of=name),
        f"mixture_{name}": told(f"{title} of the mixture of all"),
        f"final_mixture_{name}": final(f"{title} of the final mixture", final_of=f"mixture_{name}"),
    }


REPORTED = ("fid", "tvd")
"""Scores whose course a report draws."""
SNAPSHOTS = {
    "samples": Variable(
        "samples of the generator, from the same noise each time",
        dims=("snapshot", "sample", "value"),
        dtype="float32",
        role="group",
        by_round=False,
    ),
    "snapshot_iteration": Variable(
        "iteration after which samples were kept",
        "iteration",
        ("snapshot",),
        "int64",
        role="group",
        by_round=False,
    ),
}
