"""PerLabel: a GAN for each label of the data, trained by itself.

Lupo Pasini and Yin: Stable Parallel Training of Wasserstein Conditional Generative Adversarial
Neural Networks (2021), and Lupo Pasini et al.: Scalable Balanced Training of Conditional Generative
Adversarial Neural Networks on Image Data (2021). With ``base="dcgan"`` it is their DC-CGAN, with
``base="wgan"`` their W-CGAN. Nothing is read from another label's slot, no draw and no task knows
of another label or of how long the run is to be: what becomes of a label is the same whichever
others there are.

A round is a task of a label: `iterations_per_round` iterations. Rounds are the label's own, counted
from when it begins. A last task scores its generator on a large sample.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from gandask import config
from gandask.config import setting, settings
from gandask.core import (
    NON_FINITE,
    Array,
    Event,
    Figure,
    Layout,
    Plan,
    Record,
    Report,
    Role,
    SettingError,
    StoreError,
    Task,
    nearest_multiple,
)
from gandask.methods import tasks
from gandask.methods.adversarial import Adversarial
from gandask.methods.perlabel.budget import EPOCHS, ITERATIONS, SECONDS, Budget
from gandask.methods.perlabel.tasks import score, train
from gandask.methods.perlabel.view import ALL, SAMPLES, Label, LabelView, variables
from gandask.scores import features, metrics
from gandask.scores.metrics import Reference, Statistics
from gandask.training import losses, networks
from gandask.training.settings import Training
from gandask.training.trial import check_networks

if TYPE_CHECKING:
    import xarray as xr

WASSERSTEIN_STEPS = 5
"""Steps of a critic for each of its generator's (Arjovsky et al. 2017; Gulrajani et al. 2017)."""


@settings
class PerLabel(Adversarial[LabelView]):
    """Train a GAN for each label of the data; its fields are its settings."""

    name: ClassVar[str] = "per_label"
    extends: ClassVar[tuple[str, ...]] = ("budget", "labels")

    labels: tuple[int, ...] | None = setting(
        None, "which labels of the data; all by default", minimum=0
    )
    base: str = setting("mlp", "base GAN of every label: a name in NETWORKS, not conditional")
    loss: str | None = setting(None, "name in LOSSES; that of the base GAN by default")
    discriminator_steps: int = setting(
        0,
        "discriminator steps for each of the generator, each on a batch of real samples of its "
        f"own; 0: {WASSERSTEIN_STEPS} where the loss bounds the discriminator by clipping or a "
        "gradient penalty (wgan, wgan_gp: base='wgan' has it), else 1",
        minimum=0,
    )
    budget: str = setting(
        "iterations:2000",
        "of each label: iterations:N steps of the generator, epochs:N passes over the label's "
        "samples, or seconds:N of training, at the end of the round that uses them up",
    )
    share: str = setting(
        "equal",
        "equal: every label has this budget; samples: in proportion to its samples, so that the "
        "average label of the data has it",
        choices=("equal", "samples"),
    )
    iterations_limit: int = setting(
        100_000, "of a label, where the budget is in seconds", minimum=1
    )
    min_samples: int = setting(1, "labels of fewer samples are refused", minimum=1)
    at_once: int = setting(
        0, "labels in training at a time: the next begins when one is done; 0: all", minimum=0
    )
    iterations_per_round: int = setting(100, "how long a task is", minimum=1)
    score_every: int = setting(500, "iterations between scores, each at a round's end", minimum=1)
    kept_samples: int = setting(
        0, "samples of each generator to keep in the Dataset, as it was scored last", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        network = config.lookup("base", self.base, networks.NETWORKS)
        if network.conditional:
            raise SettingError(
                f"base={self.base!r}: takes labels, where each label has a GAN of its own here; "
                "choose 'mlp', 'dcgan' or 'wgan', or train one conditional GAN by Grid or MGGAN"
            )
        if self.loss is not None:
            config.lookup("loss", self.loss, losses.LOSSES)
        if self.labels is not None and len({*self.labels}) < max(1, len(self.labels)):
            raise SettingError(
                f"labels={[*self.labels]}: expected one or more, each once, or None for all"
            )
        if self.labels is not None:
            # what they come to together is added up in this order
            object.__setattr__(self, "labels", tuple(sorted(self.labels)))
        if Budget.read(self.budget).unit == EPOCHS and self.share == "samples":
            raise SettingError(
                f"budget={self.budget!r}, share='samples': epochs are in proportion to a label's "
                "samples already; choose share='equal', or a budget in iterations or seconds"
            )

    def nearest(self) -> Mapping[str, Any]:
        """Give the nearest budget that ends with a round, where it is told in iterations."""
        budget = Budget.read(self.budget)
        if budget.unit != ITERATIONS or self.share != "equal":
            return {}
        iterations = nearest_multiple(int(budget.amount), self.iterations_per_round)
        return {"budget": f"{ITERATIONS}:{iterations}"}

    def grows(self, key: str, longer: Self) -> bool:
        """Tell whether a run may be extended: to more of a budget, to more labels, or fewer."""
        then, now = Budget.read(self.budget), Budget.read(longer.budget)
        return key == "labels" or (now.unit == then.unit and now.amount > then.amount)

    # ---- what it is of

    @functools.cached_property
    def training(self) -> Training:
        """What the tasks of every label are given."""
        network = networks.NETWORKS[self.base]
        loss = losses.LOSSES[self.loss or network.loss]
        bounded = loss.clip is not None or bool(loss.gradient_penalty)
        steps = self.discriminator_steps or (WASSERSTEIN_STEPS if bounded else 1)
        return replace(self._training(network, [loss]), discriminator_steps=steps)

    @functools.cached_property
    def counts(self) -> tuple[int, ...]:
        """Samples that there are to train on, by label of the data."""
        loaded = self.training.data
        counts = np.bincount(loaded.labels, minlength=loaded.classes)
        return tuple(max(1, round(self.data_fraction * int(count))) for count in counts)

    @property
    def chosen(self) -> tuple[int, ...]:
        """The labels that are trained."""
        return tuple(range(len(self.counts))) if self.labels is None else self.labels

    def iterations(self, label: int) -> int:
        """Give the iterations of a label, or the most there can be."""
        passes = self.counts[label] // self.batch_size
        steps = self.training.discriminator_steps
        found = Budget.read(self.budget).iterations(passes, steps, self._factor(label))
        return self.iterations_limit if found is None else found

    def seconds(self, label: int) -> float:
        """Give the seconds of a label: infinitely many where the budget is in iterations."""
        budget = Budget.read(self.budget)
        return budget.amount * self._factor(label) if budget.unit == SECONDS else math.inf

    def _factor(self, label: int) -> float:
        """Give the label's share of the budget, where the average label of the data has 1."""
        return self.counts[label] / float(np.mean(self.counts)) if self.share == "samples" else 1.0

    @property
    def rounds(self) -> int:
        """Number of rounds of the label that has the most, or the most there can be."""
        return max(
            math.ceil(self.iterations(label) / self.iterations_per_round) for label in self.chosen
        )

    def check(self) -> None:
        """Load the data, and refuse labels that are not there or too small, and other networks.

        Raises
        ------
        SettingError, DataError
        """
        loaded = self._load("label/0")
        if loaded.classes < 2:
            raise SettingError(
                f"data={self.data!r}: has no labels; give a folder with a folder of images for "
                "each label, or a .npz with samples and labels, or train one GAN by MGGAN"
            )
        absent = [label for label in self.chosen if label >= loaded.classes]
        if absent:
            raise SettingError(
                f"labels: {self.data} has no label {absent[0]}; expected 0 to {loaded.classes - 1}"
            )
        least = max(self.batch_size, self.min_samples)
        small = [label for label in self.chosen if self.counts[label] < least]
        if small:
            told = ", ".join(f"{label} ({self.counts[label]} samples)" for label in small[:5])
            more = f" and {len(small) - 5} more" if len(small) > 5 else ""
            raise SettingError(
                f"labels: {told}{more} of {self.data} have fewer than batch_size={self.batch_size} "
                f"or min_samples={self.min_samples}; make those smaller, or leave the labels out"
            )
        networks.check(self.base, self.training.network, loaded.shape, loaded.classes, "base")
        check_networks(self.training, f"base={self.base!r}")
        self.training.check_init()

    def prepare(self) -> dict[str, Any]:
        """Train or load the classifier and the real statistics, those of each label too."""
        facts = super().prepare()
        with self.training.settled():
            features.references(*self.measured_by)
        counts = [self.counts[label] for label in self.chosen]
        if "real_mode_share" in facts:  # of the labels that are trained
            facts["real_mode_share"] = self._whole.statistics.shares
        return facts | {"labels": [*self.chosen], "label_samples": counts}

    def makers(self, facts: Mapping[str, Any]) -> Mapping[int, tuple[str, float]]:
        """Tell who makes samples of a label, and how many the data have; see `Method.makers`.

        Raises
        ------
        StoreError
            For facts that cannot be.
        """
        labels, counts = (facts.get(key, ()) for key in ("labels", "label_samples"))
        told = [
            one for part in (labels, counts) for one in (part if isinstance(part, list) else "?")
        ]
        if any(type(one) is not int or one < 0 for one in told) or len(labels) != len(counts):
            raise StoreError(
                f"labels={labels!r}, label_samples={counts!r} in the facts of the run: expected as "
                "many whole numbers of each; put its run.json back as it was"
            )
        return {a: (f"label/{a}", float(b)) for a, b in zip(labels, counts, strict=True)}

    def layout(self) -> Layout:
        """Describe the result: ``(round, label)``."""
        coords: dict[str, Sequence[Any]] = {"label": self.chosen}
        known = dict(variables(self.score_samples, self.final_samples))
        if self.kept_samples:
            coords["sample"] = range(self.kept_samples)
            coords["value"] = range(math.prod(self.training.data.shape))
            known |= SAMPLES
        slots = tuple(f"label/{label}" for label in self.chosen)
        layout = Layout(coords, {"label": Role(("label",), slots)}, known)
        layout = self.with_modes(layout, {"": "the mixture of all labels"})
        return self.with_final_scores(layout, {"": "the final mixture of all labels"})

    def sentences(self, dataset: xr.Dataset) -> Sequence[str]:
        """Tell how many labels have used up their budgets."""
        if not dataset.sizes["round"]:
            return []
        used = dataset["progress"].max("round").values
        done = int((used >= 1).sum())
        return [f"{done} of {used.size} labels have used up their budgets."]

    def label_of(self, generator: str) -> int:
        """Give the label of all samples of a generator."""
        return int(generator.split("/")[1])

    @property
    def compared_labels(self) -> tuple[int, ...]:
        """Labels whose real samples the mixture is compared with: those that are trained."""
        return () if len(self.chosen) == len(self.counts) else tuple(sorted(self.chosen))

    def retired(self, view: LabelView) -> frozenset[str]:
        """Name the states of labels that are done, but for generators that final scores compare."""
        first = 1 if self.final_scores else 0
        done = [label.named(label.serial) for label in view.labels if label.phase == "done"]
        return frozenset(name for names in done for name in names[first:])

    def figures(self) -> Mapping[str, Figure]:
        """Give the drawings of its own, by name."""
        from gandask.methods.perlabel.figures import FIGURES

        return FIGURES

    # ---- what it does

    def start(self) -> tuple[LabelView, Plan]:
        """Make the pairs of the first labels, and begin to train."""
        total = sum(self.counts[label] for label in self.chosen)
        waiting = tuple(Label(label, self.counts[label] / total) for label in self.chosen)
        return self._planned(LabelView(waiting), ())

    def advance(self, view: LabelView, reports: Sequence[Report]) -> tuple[LabelView, Plan]:
        """Take the reports in, and say what each label does next."""
        compared = self.compared(reports, view.round)
        if compared:
            return replace(view, records=compared, events=()), []
        labels = {label.slot: label for label in view.labels}
        records: list[Record] = []
        events: list[Event] = []
        for report in reports:
            label = labels[report.slot]
            if not report.round:
                labels[report.slot] = replace(label, made=True)
                continue
            labels[report.slot], record, happened = self._take(label, report)
            records.append(record)
            events += happened
        now = replace(view, labels=tuple(labels.values()))
        now, mixed = self._mixed(now)
        now = replace(now, records=(*records, *mixed), events=tuple(events))
        if now.over:
            return now, self.comparing({ALL: now.mixtures[ALL]}, now.round + 1)
        return self._planned(now, {report.slot for report in reports if report.round})

    def _take(self, label: Label, report: Report) -> tuple[Label, Record, list[Event]]:
        """Take one report into the label it is about."""
        values = report.values
        kept = {key: values[key] for key in SAMPLES if key in values}
        if label.phase == "score":
            done = replace(label, final=values["statistics"][0], phase="done")
            scores = self._scores(label, values["statistics"][0], "final_")
            return done, Record(label.slot, label.round, scores | kept), []
        done = replace(
            label,
            round=report.round,
            iteration=values["last_iteration"],
            seconds=label.seconds + values["training_seconds"],
        )
        used = done.iteration / self.iterations(label.label)
        used = max(used, done.seconds / self.seconds(label.label))
        if used >= 1:
            done = replace(done, phase="score")
        known = variables(self.score_samples, self.final_samples)
        ours = {key: values[key] for key in known if key in values} | kept
        ours |= {"progress": min(1.0, used)}
        ours |= {"label_share": label.share, "label_samples": self.counts[label.label]}
        if "statistics" in values:
            packed = values["statistics"][0]
            ours |= self._scores(label, packed)
            if not self._in_turn:
                done = replace(done, scorings={**label.scorings, report.round: packed})
        events = []
        if values["finite"]:
            done = replace(done, serial=report.round)
        else:
            detail = "a loss or weight is not finite; the iterations of the round were discarded"
            events.append(Event(report.round, NON_FINITE, label.slot, detail))
        return done, Record(label.slot, report.round, ours), events

    def _planned(self, view: LabelView, told: Collection[str]) -> tuple[LabelView, Plan]:
        """Plan what follows of those that have reported, and let others begin in free places."""
        labels = {label.slot: label for label in view.labels}
        free = (self.at_once or len(labels)) - sum(one.at_work for one in labels.values())
        waiting = [slot for slot, label in labels.items() if not label.begun]
        begun = waiting[: max(0, free)]
        for slot in begun:
            labels[slot] = replace(labels[slot], phase="train")
        view = replace(view, labels=tuple(labels.values()))
        made = [self._initialise(labels[slot]) for slot in begun]
        ready = [one for slot, one in labels.items() if slot in (*told, *begun) and one.at_work]
        following = [self._task(label) for label in ready]
        return view, [stage for stage in (made, following) if stage]

    def _initialise(self, label: Label) -> Task:
        """Make the task that makes a label's pair."""
        training = replace(self.training, score_samples=0)
        arguments = {"training": training, "slot": label.slot, "population_size": 1}
        return Task(label.slot, 0, tasks.initialise, (), label.named(0), arguments)

    def _task(self, label: Label) -> Task:
        """Make a label's next task."""
        number = label.round + 1
        arguments: dict[str, Any] = {"training": self.training, "slot": label.slot, "round": number}
        arguments |= {"kept_samples": self.kept_samples}
        reads = label.named(label.serial)
        if label.phase == "score":
            arguments |= {"samples": self.final_samples}
            return Task(label.slot, number, score, reads[:1], arguments=arguments)
        last = min(number * self.iterations_per_round, self.iterations(label.label))
        arguments |= {
            "label": label.label,
            "first": label.iteration + 1,
            "last": last,
            # not at the end as such: what a task does is not to hang on how long the run is
            "scored": last // self.score_every > label.iteration // self.score_every,
        }
        return Task(label.slot, number, train, reads, label.named(number), arguments)

    # ---- how good it is

    def _scores(self, label: Label, packed: Array, prefix: str = "") -> dict[str, Any]:
        """Score a label's generator against the label's own samples."""
        known = features.references(*self.measured_by)[label.label]
        return {**metrics.scores(known, Statistics.from_array(packed), prefix=prefix)}

    @functools.cached_property
    def _whole(self) -> Reference:
        """Real samples of the labels that are trained."""
        if len(self.chosen) == len(self.counts):
            return self._real
        known = features.references(*self.measured_by)
        return Reference.of(metrics.merge([known[label].statistics for label in self.chosen]))

    def _mixed(self, view: LabelView) -> tuple[LabelView, list[Record]]:
        """Score the mixture of all labels: in rounds that all have reached, and at the end.

        Its shares are the data's, and its statistics weighted sums of the labels': no samples are
        drawn. Where labels take turns there is no round that all have reached before the end.
        """
        records: list[Record] = []
        mixed, last = view.mixed, max(label.round for label in view.labels)
        while mixed < last and all(label.reached(mixed + 1) for label in view.labels):
            mixed += 1
            if any(mixed in label.scorings for label in view.labels):
                records += self._mix(view, [one.statistics(mixed) for one in view.labels], mixed)
        labels = tuple(label.forgetting(mixed) for label in view.labels)
        view = replace(view, labels=labels, mixed=mixed)
        if view.over:
            finals = [label.final for label in labels]
            records += self._mix(view, finals, view.round, "final_")
        return view, records

    def _mix(
        self, view: LabelView, packed: Sequence[Array | None], round: int, prefix: str = ""
    ) -> list[Record]:
        """Score the mixture of all labels, once the statistics of all are there."""
        known = [Statistics.from_array(one) for one in packed if one is not None]
        if len(known) < len(packed):
            return []
        merged = metrics.merge(known, [label.share for label in view.labels])
        return [Record("", round, self.scored(self._whole, merged, f"{prefix}mixture_"))]

    @property
    def _in_turn(self) -> bool:
        """Whether labels wait for others to be done."""
        return 0 < self.at_once < len(self.chosen)
