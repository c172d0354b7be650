"""What is known of students and their clients, and what a run of PrivacyGAN writes down."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gandask.clients.auditing import ATTACKS, RATES
from gandask.core import Array, Event, Record, Report, Variable
from gandask.scores.metrics import METRICS

TEACHER = "teacher/0"
REPORTED = ("fid",)
"""Scores whose course a report draws."""


@dataclass(frozen=True)
class Couple:
    """A student and its client.

    Parameters
    ----------
    index : int
    round : int
        Completed.
    state : int
        The round whose state the client had when it answered last.
    heard : tuple of Report
        Of the round under way.
    expected : int
        Tasks of it.
    statistics : array, optional
        Of the student's samples, packed, as they were scored last.
    score : float
    phase : {"train", "score", "done"}
    """

    index: int
    round: int = 0
    heard: tuple[Report, ...] = ()
    expected: int = 0
    statistics: Array | None = None
    score: float = math.nan
    phase: str = "train"

    @property
    def client(self) -> str:
        """The slot whose tasks ask the client."""
        return f"client/{self.index}"

    @property
    def student(self) -> str:
        """The slot of the student."""
        return f"student/{self.index}"

    @property
    def generator(self) -> str:
        """The state of the student's generator."""
        return f"{self.student}/generator/{self.round}"


@dataclass(frozen=True)
class PrivacyView:
    """What is known between two plans.

    Parameters
    ----------
    couples : tuple of Couple
    keeps : frozenset of str
        States that are shown, or that tasks to come read.
    metric : str
        What tells the best.
    """

    couples: tuple[Couple, ...]
    keeps: frozenset[str]
    metric: str = "fid"
    records: Sequence[Record] = ()
    events: Sequence[Event] = ()

    @property
    def round(self) -> int:
        """Rounds that all couples have completed, but for those whose client answers no more."""
        under_way = [one.round for one in self.couples if one.phase == "train"]
        return min(under_way) if under_way else max(one.round for one in self.couples)

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """By student, its generator alone."""
        return {one.student: {one.generator: 1.0} for one in self.couples}

    @property
    def best(self) -> str | None:
        """The student that scores best."""
        best: Couple | None = None
        for one in self.couples:
            if METRICS[self.metric].better(one.score, best.score if best else math.nan):
                best = one
        return best.student if best else None


AUDITED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "audit_auc": ("area under the curve of an attacker of members", ("attack",)),
    "audit_auc_error": ("standard error of that area", ("attack",)),
    "audit_tpr": ("share of members that an attacker finds", ("attack", "fpr")),
    "audit_tpr_low": ("lower end of the 95 % interval of that share", ("attack", "fpr")),
    "audit_tpr_high": ("upper end of the 95 % interval of that share", ("attack", "fpr")),
    "memorised": ("share of samples nearer to a member than held-out samples are", ()),
}
COORDS: Mapping[str, Sequence[Any]] = {"attack": ATTACKS, "fpr": RATES}


def variables(samples: int, final_samples: int) -> Mapping[str, Variable]:
    """List what the records of a run may hold."""
    own = functools.partial(Variable, role="client")
    traced = functools.partial(own, shown=("map", "trace"))
    made = {
        "discriminator_loss": traced("loss of the client's discriminator"),
        "generator_loss": traced("loss of the student against the client"),
        "teacher_fooled": traced("mean output of the teacher's discriminator on fakes"),
        "alpha": own("share of the client in what the student learns from"),
        "epsilon": traced("epsilon spent by the client", better="lower"),
    }
    for name, metric in METRICS.items():
        scored = functools.partial(own, units=metric.units, better=metric.direction)
        shown = ("map", "report") if name in REPORTED else ("map",)
        title = metric.long_name
        made[name] = scored(f"{title} of the student", shown=shown, samples=samples)
        made[f"final_{name}"] = scored(
            f"{title} of the final student", by_round=False, final_of=name, samples=final_samples
        )
    local = functools.partial(own, better="lower")
    title = "Fréchet distance to the client's own held-out data"
    made["fid_local"] = local(f"{title}, of the student", shown=("map", "report"), samples=samples)
    made["final_fid_local"] = local(
        f"{title}, of the final student",
        by_round=False,
        final_of="fid_local",
        samples=final_samples,
    )
    for name, (title, dims) in AUDITED.items():
        made[name] = own(title, dims=dims, better="" if "error" in name else "lower")
        made[f"final_{name}"] = own(
            f"{title}, at the end", dims=dims, by_round=False, final_of=name
        )
    return made
