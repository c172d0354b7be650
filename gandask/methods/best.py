"""The best round's ensemble: kept while later rounds go on, and scored anew at the end.

The score of a round is of few samples, and the best of many such scores is better than it is by
chance: the ensemble that it chose is measured once more, on as many samples as the last ones.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from gandask.config import setting, settings
from gandask.core import BEST, Layout, Record, Report, SettingError, Task, Variable, View
from gandask.methods.adversarial import Adversarial
from gandask.methods.tasks import score
from gandask.scores import metrics
from gandask.scores.metrics import METRICS, Statistics

V = TypeVar("V", bound=View)
Mixtures = Mapping[str, Mapping[str, float]]
RESCORE = "score_best"
"""The name of the task that scores the best round's ensemble anew."""


@dataclass(frozen=True)
class Best:
    """The ensemble that scored best so far.

    Parameters
    ----------
    round : int
        After which it did.
    slot : str
        Whose ensemble it is.
    weights : mapping of str to float
        By the name of its state, the share of each generator.
    score : float
        On the samples of its round.
    """

    round: int
    slot: str
    weights: Mapping[str, float]
    score: float


def states_of(kept: Best | None) -> frozenset[str]:
    """Name the states of the ensemble that is kept, if one is."""
    return frozenset(kept.weights) if kept else frozenset()


def with_kept(ensembles: Mixtures, kept: Best | None) -> Mixtures:
    """Give a view's mixtures: its slots' ensembles, and the one that is kept, if one is."""
    return {**ensembles, BEST: kept.weights} if kept else ensembles


@settings
class KeepingBest(Adversarial[V]):
    """The setting of methods that can keep the best round, and what they do about it."""

    keep_best: bool = setting(
        False,
        "keep the generators of the round with the best score, and score them anew at the end: "
        "best_mixture() gives them",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_best and not self.score_samples:
            raise SettingError(
                "keep_best=True: no score is computed round by round with score_samples=0; ask for "
                "one, or leave it out"
            )
        if self.keep_best and self.own_pace:
            raise SettingError(
                "keep_best=True: generators of slots that go at their own pace are scored when the "
                "next ones are there; let all wait for all (quorum), or leave it out"
            )
        if self.keep_best and self.score not in METRICS:
            raise SettingError(
                f"keep_best=True: keeps generators, and score={self.score!r} is that of "
                f"discriminators; choose another score, such as {next(iter(METRICS))!r}"
            )

    def better(self, best: Best | None, found: Best) -> Best | None:
        """Give the better of two ensembles, the first of equals."""
        before = best.score if best else math.nan
        return found if METRICS[self.score].better(found.score, before) else best

    def noted(self, before: Best | None, now: Best | None) -> list[Record]:
        """Record which ensemble is kept from now on, if it is another one."""
        if now is None or now is before:
            return []
        return [Record("", now.round, {"best_round": now.round, "best_slot": now.slot})]

    def rescoring(self, best: Best | None, round: int) -> list[Task]:
        """Plan the scores of the ensemble that was kept, on many samples."""
        if best is None:
            return []
        given = {"training": self.training_of(best.slot), "slot": best.slot, "round": round}
        given |= {"samples": self.final_samples}
        return [Task(best.slot, round, score, tuple(best.weights), arguments=given, name=RESCORE)]

    def rescored(
        self, best: Best | None, reports: Sequence[Report], round: int
    ) -> tuple[list[Report], list[Record]]:
        """Give all reports but that of `rescoring`, and the record of what it came to."""
        others = [report for report in reports if report.task != RESCORE]
        records = []
        for report in reports:
            if report.task == RESCORE and best is not None:
                parts = [Statistics.from_array(packed) for packed in report.values["statistics"]]
                merged = metrics.merge(parts, [*best.weights.values()])
                values = metrics.scores(self._real, merged, prefix="final_best_")
                records.append(Record("", round, values))
        return others, records

    def with_best(self, layout: Layout) -> Layout:
        """Describe what is told of the best round, where it is kept."""
        if not self.keep_best:
            return layout
        told = functools.partial(Variable, by_round=False)
        made = {
            "best_round": told(f"round with the best {self.score}", dtype="int64"),
            "best_slot": told(f"whose ensemble had the best {self.score}", "", dtype="str"),
        }
        for name, metric in METRICS.items():
            made[f"final_best_{name}"] = told(
                f"{metric.long_name} of the best round's ensemble",
                metric.units,
                better=metric.direction,
                samples=self.final_samples,
            )
        return replace(layout, variables={**layout.variables, **made})
