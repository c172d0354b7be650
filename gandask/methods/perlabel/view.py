"""What the client knows of the labels' GANs, and what it writes down of them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gandask.core import Array, Event, Record, Variable
from gandask.scores.metrics import METRICS, Metric

ALL = "all"
"""Where the mixture of all labels is found."""


@dataclass(frozen=True)
class Label:
    """The GAN of one label.

    Parameters
    ----------
    label : int
    share : float
        Of the label in the data of all labels that are trained.
    serial : int
        The round that its networks are of: an earlier one where later ones were discarded.
    round, iteration : int
        Completed.
    seconds : float
        Spent on training.
    scorings : mapping of int to array
        By round, the statistics of the generator's samples, packed: as far as the scores of the
        mixture of all labels still need them.
    final : array, optional
        Those of the large sample at the end.
    phase : str
        "waiting" to begin, "train", "score" at the end, or "done".
    made : bool
        Whether there are networks.
    """

    label: int
    share: float
    serial: int = 0
    round: int = 0
    iteration: int = 0
    seconds: float = 0.0
    scorings: Mapping[int, Array] = field(default_factory=dict)
    final: Array | None = None
    phase: str = "waiting"
    made: bool = False

    @property
    def slot(self) -> str:
        """Name of the label's slot."""
        return f"label/{self.label}"

    @property
    def generator(self) -> str:
        """Name of the generator's weights."""
        return self.named(self.serial)[0]

    def named(self, serial: int) -> tuple[str, str, str, str]:
        """Name weights and moments of a round: of the generator, of the discriminator."""
        generator, discriminator = (
            f"{self.slot}/generator/{serial}",
            f"{self.slot}/discriminator/{serial}",
        )
        return generator, f"{generator}/moments", discriminator, f"{discriminator}/moments"

    @property
    def begun(self) -> bool:
        """Whether its first tasks have been planned."""
        return self.phase != "waiting"

    @property
    def at_work(self) -> bool:
        """Whether there is something left to do for it, and it has begun."""
        return self.phase in ("train", "score")

    def reached(self, round: int) -> bool:
        """Tell whether it will have no other score of a round than it has."""
        return self.round >= round or self.phase in ("score", "done")

    def forgetting(self, round: int) -> Label:
        """Give it without the statistics that no mixture after a round needs."""
        last = max((number for number in self.scorings if number <= round), default=0)
        kept = {number: packed for number, packed in self.scorings.items() if number >= last}
        # as it is, if nothing is forgotten: there may be thousands of labels
        return self if len(kept) == len(self.scorings) else replace(self, scorings=kept)

    def statistics(self, round: int) -> Array | None:
        """Give those of the last scoring up to a round, if there was one."""
        known = [number for number in self.scorings if number <= round]
        return self.scorings[max(known)] if known else None


@dataclass(frozen=True)
class LabelView:
    """What the client knows of all labels.

    Parameters
    ----------
    labels : tuple of Label
        Those that are trained.
    mixed : int
        The last round of which the mixture of all labels was scored, or could have been.
    """

    labels: tuple[Label, ...]
    mixed: int = 0
    records: tuple[Record, ...] = ()
    events: tuple[Event, ...] = ()

    @property
    def over(self) -> bool:
        """Whether all labels are done."""
        return all(label.phase == "done" for label in self.labels)

    @property
    def round(self) -> int:
        """Number of rounds completed: on average, since labels begin and end by themselves."""
        rounds = [label.round for label in self.labels]
        return max(rounds) if self.over else sum(rounds) // len(rounds)

    @property
    def best(self) -> str | None:
        """The mixture of all labels: what makes samples of one label is compared with no other."""
        return ALL if self.mixtures else None

    @property
    def keeps(self) -> frozenset[str]:
        """Names of every label's states: with more of a budget it is trained on, too."""
        made = [label.named(label.serial) for label in self.labels if label.made]
        return frozenset(name for names in made for name in names)

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """By slot its generator alone; under ``all`` those of all labels, as the data have them."""
        made = [label for label in self.labels if label.made]
        if not made:
            return {}
        total = sum(label.share for label in made)
        alone = {label.slot: {label.generator: 1.0} for label in made}
        return alone | {ALL: {label.generator: label.share / total for label in made}}


@functools.cache
def variables(samples: int, final_samples: int) -> Mapping[str, Variable]:
    """List what the records of a run may hold, its samples apart."""
    of_label = functools.partial(Variable, role="label")
    once = functools.partial(of_label, by_round=False)
    made = {
        "label_share": once("share of the label in the data"),
        "label_samples": once("samples of the label", "samples", dtype="int64"),
        "last_iteration": of_label("last iteration of the round", "iterations", dtype="int64"),
        "batches": of_label("generator steps in the round", "batches", dtype="int64"),
        "training_seconds": of_label("time spent on training in the round", "s", timing=True),
        "progress": of_label("share of the label's budget that is used", shown=("map",)),
        "generator_training_loss": of_label("mean generator loss in training", shown=("trace",)),
        "discriminator_training_loss": of_label("mean discriminator loss in training"),
    }
    for name, metric in METRICS.items():
        made |= _scores(name, metric, samples, final_samples)
    return made


def _scores(name: str, metric: Metric, samples: int, final_samples: int) -> dict[str, Variable]:
    """List the variables of one score: of each label by its own samples, and of all together."""
    score = functools.partial(Variable, units=metric.units, better=metric.direction)
    told = functools.partial(score, samples=samples)
    final = functools.partial(score, by_round=False, samples=final_samples)
    title, shown = metric.long_name, ("map", "report") if name in REPORTED else ("map",)
    own, whole = f"{title} against the label's own samples", f"{title} of the mixture of all labels"
    return {
        name: told(own, role="label", shown=shown),
        f"final_{name}": final(f"{own}, at the end", role="label", final_of=name),
        f"mixture_{name}": told(whole),
        f"final_mixture_{name}": final(f"{whole}, at the end", final_of=f"mixture_{name}"),
    }


REPORTED = ("fid",)
"""Scores whose course a report draws."""
SAMPLES = {
    "samples": Variable(
        "samples of the generator as it was scored last, from the same noise each time",
        dims=("sample", "value"),
        dtype="float32",
        role="label",
        by_round=False,
    )
}
