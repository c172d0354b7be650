"""What methods are given that score generators: each round, and ensembles at the end."""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from gandask import config
from gandask.config import setting, settings
from gandask.core import (
    DataError,
    Layout,
    Plan,
    Record,
    Report,
    SettingError,
    Task,
    Variable,
    View,
    slot_of,
)
from gandask.data import Data
from gandask.methods.comparing import Member, compare
from gandask.methods.practice import Practice
from gandask.scores import features, final, metrics
from gandask.scores.metrics import METRICS, Reference, Statistics
from gandask.training.settings import Training

V = TypeVar("V", bound=View)
COMPARE = "compare "
"""What the name of a task that compares an ensemble begins with; the ensemble's follows."""
MODES = 100
"""Classes whose shares each round tells: those of more would be most of the result."""


@settings
class Scored(Practice[V]):
    """Settings of scores, what layouts say of them, and the plans of the last ones."""

    score: str = setting(
        "fid",
        f"what is shown of a run, and what mixtures improve: {', '.join(METRICS)}",
        suggested=tuple(METRICS),
    )
    score_samples: int = setting(
        1000, "samples per generator whenever it is scored; 0: at the end alone", minimum=0
    )
    final_samples: int = setting(10_000, "samples per generator at the end", minimum=1)
    final_scores: tuple[str, ...] = setting(
        (),
        "scores that are computed from samples themselves, at the end, of every ensemble",
        choices=tuple(final.SCORES),
    )
    features: str = setting("auto", "what samples are scored by", choices=features.FEATURES)
    inception_weights: str | None = setting(None, "InceptionV3 weights file")

    def __post_init__(self) -> None:
        if self.score in final.SCORES:
            raise SettingError(
                f"score={self.score!r}: is computed from samples themselves, where mixtures "
                f"improve by what follows from sums over samples: {', '.join(METRICS)}; ask for it "
                f"at the end with final_scores=[{self.score!r}]"
            )
        config.lookup("score", self.mixed_by, METRICS)

    @property
    @abc.abstractmethod
    def training(self) -> Training:
        """What tasks are given: the same each time, for it takes `identity` along."""

    def training_of(self, slot: str) -> Training:
        """What the tasks of a slot are given."""
        return self.training

    @property
    def mixed_by(self) -> str:
        """Name the score that mixtures improve."""
        return self.score

    # ---- scores of each round

    def scored(self, real: Reference, statistics: Statistics, prefix: str = "") -> dict[str, Any]:
        """Compute every metric, and by round the share of the samples on each mode.

        Parameters
        ----------
        real : Reference
            What is compared with.
        statistics : Statistics
            Of the samples.
        prefix : str
            Of the scores' names: that of the last ones begins with ``final_``.
        """
        found: dict[str, Any] = {**metrics.scores(real, statistics, prefix)}
        if self._modes and not prefix.startswith("final_"):
            found[f"{prefix}mode_share"] = np.array(statistics.shares, "float32")
        return found

    def with_modes(self, layout: Layout, whose: Mapping[str, str]) -> Layout:
        """Describe the shares of modes that rounds tell.

        Parameters
        ----------
        layout : Layout
        whose : mapping of str to str
            By role, whose samples they are of; under ``""`` those of the whole population.
        """
        if not self._modes:
            return layout
        made = dict(layout.variables)
        for role, of in whose.items():
            made["mode_share" if role else "mixture_mode_share"] = Variable(
                f"share of the samples on each mode, of {of}",
                dims=("class",),
                dtype="float32",
                role=role,
                samples=self.score_samples,
            )
        return Layout({**layout.coords, "class": range(self._modes)}, layout.roles, made)

    @property
    def _modes(self) -> int:
        """Modes whose shares rounds tell: none of one or too many, or where rounds have no scores.

        None, too, where samples are not told apart by class, as sequences are not, and without the
        data: then there is nothing to train, and a layout to look at.
        """
        if not self.score_samples:
            return 0
        try:
            loaded = self.training.data
        except DataError:
            return 0
        told_apart = features.sees_classes(loaded, self.features)
        return loaded.classes if told_apart and 1 < loaded.classes <= MODES else 0

    # ---- final scores that need samples

    def label_of(self, generator: str) -> int | None:
        """Give the label of all samples of a generator: of one that makes those of one alone."""
        return None

    @property
    def compared_labels(self) -> tuple[int, ...]:
        """Labels whose real samples ensembles are compared with; none for all."""
        return ()

    def _member(self, generator: str, weight: float) -> Member:
        return Member(self.training_of(slot_of(generator)), weight, self.label_of(generator))

    def comparing(self, mixtures: Mapping[str, Mapping[str, float]], round: int) -> Plan:
        """Plan the comparison of ensembles with real samples: nothing where none is asked for."""
        if not self.final_scores:
            return []
        wanted = tuple(dict.fromkeys(self.final_scores))
        return [
            [
                Task(
                    slot_of(next(iter(weights))),
                    round,
                    compare,
                    tuple(weights),
                    arguments={
                        "members": [self._member(*one) for one in weights.items()],
                        "ensemble": ensemble,
                        "round": round,
                        "wanted": wanted,
                        "samples": self._compared_samples,
                        "of": self.compared_labels,
                    },
                    name=f"{COMPARE}{ensemble}",
                )
                for ensemble, weights in mixtures.items()
            ]
        ]

    def compared(self, reports: Sequence[Report], round: int) -> tuple[Record, ...]:
        """Record what comparisons came to: of a slot's ensemble, or of the whole population's."""
        found = []
        for report in reports:
            if report.task.startswith(COMPARE):
                ensemble = report.task.removeprefix(COMPARE)
                slot = ensemble if ensemble in self.layout().slots else ""
                prefix = "final_" if slot else "final_mixture_"
                values = {f"{prefix}{name}": value for name, value in report.values.items()}
                found.append(Record(slot, round, values))
        return tuple(found)

    def with_final_scores(self, layout: Layout, whose: Mapping[str, str]) -> Layout:
        """Describe `final_scores`, too.

        Parameters
        ----------
        layout : Layout
        whose : mapping of str to str
            By role, what its slots' ensembles are; under ``""`` what that of the population is.
        """
        if not self.final_scores:
            return layout
        made = dict(layout.variables)
        for role, of in whose.items():
            prefix = "final_" if role else "final_mixture_"
            count = self._compared_samples
            made |= final.variables(self.final_scores, count, of, prefix=prefix, role=role)
        classes = {"class": range(self.training.data.classes)} if self._of_classes else {}
        return Layout({**layout.coords, **classes}, layout.roles, made)

    @property
    def _of_classes(self) -> bool:
        return any(final.SCORES[name].of_classes for name in self.final_scores)

    @property
    def _teaches(self) -> bool:
        return any(final.SCORES[name].of_labels for name in self.final_scores)

    @property
    def _compared_samples(self) -> int:
        shape = self.training.data.shape
        return final.count(self.final_scores, self.final_samples, shape)

    @property
    def measured_by(self) -> tuple[Data, str, str | None]:
        """What samples are compared with, and by which features: as `scores.features` takes it."""
        return self.training.data, self.features, self.training.inception_weights

    @functools.cached_property
    def _real(self) -> Reference:
        return features.reference(*self.measured_by)
