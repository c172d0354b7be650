"""MGGAN: groups of a generator and a discriminator, regrouped from time to time.

Wu: Optimizing GAN for Generating High Quality Samples (PhD thesis, Warwick 2022), chapter 3. Each
group keeps its generator; every T iterations the discriminators change places. T is fixed, or
follows from the loss, and so may the learning rate; `regrouping.py` holds that strategy.

A round is one task per group: the iterations up to the next regrouping, or fewer, so that tasks
stay short. A last plan scores every generator on a large sample.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gandask.config import settings
from gandask.core import (
    NON_FINITE,
    Event,
    Figure,
    Layout,
    Plan,
    Record,
    Report,
    Role,
    Task,
    rng,
)
from gandask.methods import tasks
from gandask.methods.best import Best
from gandask.methods.mggan.regrouping import ADAPTIVE, POLICIES, settled
from gandask.methods.mggan.settings import Grouping
from gandask.methods.mggan.tasks import train
from gandask.methods.mggan.view import SNAPSHOTS, Group, GroupView, group_of, variables
from gandask.scores import metrics
from gandask.scores.metrics import Statistics

if TYPE_CHECKING:
    import xarray as xr


@settings
class MGGAN(Grouping):
    """Train groups of GANs that are regrouped; its fields are its settings."""

    name: ClassVar[str] = "mggan"
    extends: ClassVar[tuple[str, ...]] = ("iterations",)

    def layout(self) -> Layout:
        """Describe the result: ``(round, group)`` and ``(group, iteration)``."""
        coords: dict[str, Sequence[Any]] = {
            "group": range(self.groups),
            "iteration": range(1, self.iterations + 1),
        }
        known = dict(variables(self.score_samples, self.final_samples))
        if self.kept_samples:
            coords["snapshot"] = range(self._scorings(self.iterations))
            coords["sample"] = range(self.kept_samples)
            coords["value"] = range(math.prod(self.training.data.shape))
            known |= SNAPSHOTS
        roles = {"group": Role.numbered("group", ("group",), self.groups)}
        whose = {"group": "the final generator", "": "the final mixture"}
        told = {"group": "the generator", "": "the mixture of all"}
        layout = self.with_best(self.with_modes(Layout(coords, roles, known), told))
        return self.with_final_scores(layout, whose)

    def figures(self) -> Mapping[str, Figure]:
        """Give the drawings of its own, by name."""
        from gandask.methods.mggan.figures import FIGURES

        return FIGURES

    def sentences(self, dataset: xr.Dataset) -> Sequence[str]:
        """Tell how often discriminators changed places, and when the first and the last time."""
        known = dataset["event_kind"].values == "regrouped"
        rounds = np.intersect1d(dataset["event_round"].values[known], dataset["round"].values)
        if not len(rounds):
            return []
        ends = dataset["last_iteration"].max("group").sel(round=rounds[[0, -1]]).values.tolist()
        if len(rounds) == 1:
            return [f"Discriminators changed places once, after iteration {ends[0]:,}."]
        return [
            f"Discriminators changed places {len(rounds)} times, first after iteration "
            f"{ends[0]:,} and last after {ends[1]:,}."
        ]

    def start(self) -> tuple[GroupView, Plan]:
        """Make every group's pair, and begin to train."""
        born = [
            Group(i, f"group/{i}/generator/0", f"group/{i}/discriminator/0", i, self.learning_rate)
            for i in range(self.groups)
        ]
        view = GroupView(tuple(born), weights=(1 / self.groups,) * self.groups, metric=self.score)
        made = []
        for group in born:
            training = replace(self.pair(group.index, group.index), score_samples=0)
            arguments = {"training": training, "slot": group.slot, "population_size": 1}
            made.append(
                Task(group.slot, 0, tasks.initialise, writes=group.names, arguments=arguments)
            )
        return view, [made, [self._task(view, group) for group in born]]

    def advance(self, view: GroupView, reports: Sequence[Report]) -> tuple[GroupView, Plan]:
        """Take the reports in, regroup where it is time, and say what each group does next."""
        reports, rescored = self.rescored(view.kept, reports, view.round)
        compared = self.compared(reports, view.round)
        if compared or not reports:
            return replace(view, records=(*rescored, *compared), events=()), []
        if any(group.phase == "score" for group in view.groups):
            view = self._scored(replace(view, records=tuple(rescored)), reports)
            over = all(group.phase == "scored" for group in view.groups)
            return view, self.comparing(view.ensembles, view.round + 1) if over else []
        groups, records, events, kept = list(view.groups), [], [], view.kept
        told = {group_of(report.slot): report for report in reports if report.round}
        for index, report in told.items():
            groups[index], record, happened = self._take(groups[index], report, view.regroupings)
            records.append(record)
            events += happened
            if self.keep_best and "statistics" in report.values and report.values["finite"]:
                group = groups[index]
                found = Best(report.round, group.slot, {group.generator: 1.0}, group.score)
                kept = self.better(kept, found)
        records += self.noted(view.kept, kept)
        now = replace(view, groups=tuple(groups), kept=kept)
        scored = min(group.scored for group in groups)
        if scored > min(group.scored for group in view.groups):
            weights, mixed = self._mix(now, scored, "")
            now = replace(now, weights=weights)
            records += mixed
        now, ready, happened = self._released(now, told)
        now = replace(now, records=tuple(records), events=(*events, *happened))
        if not ready:
            return now, []
        last = self.rescoring(kept, now.round + 1) if ready[0].phase == "score" else []
        return now, [[*(self._task(now, group) for group in ready), *last]]

    def _take(
        self, group: Group, report: Report, regroupings: Sequence[int]
    ) -> tuple[Group, Record, list[Event]]:
        """Take one report into the group it is about."""
        values = report.values
        known = variables(self.score_samples, self.final_samples)
        ours = {key: values[key] for key in (*known, *SNAPSHOTS) if key in values}
        ours |= {"partner": group.partner, "last_iteration": values["last_iteration"]}
        ours |= {"interval": self.intervals.after(regroupings)} | self.adjustment.constants
        done = replace(
            group,
            round=report.round,
            iteration=values["last_iteration"],
            learning_rate=float(values["learning_rate"][-1]),
            loss=float(values["generator_loss"][-1]),
            scored=report.round if values["scored"] else group.scored,
        )
        if done.iteration in (self.intervals.stop(group.iteration, regroupings), self.iterations):
            done = replace(done, phase="waiting")
        events, seen = [], values["generator_loss"]
        if values["finite"]:
            generator, discriminator = group.named(report.round)
            done = replace(done, generator=generator, discriminator=discriminator)
        else:
            # the next task trains the networks of before, and these losses are to decide nothing
            seen = np.full(len(seen), math.nan)
            done = replace(done, learning_rate=self.learning_rate, loss=math.nan)
            detail = "a loss or weight is not finite; the iterations of the round were discarded"
            events.append(Event(report.round, NON_FINITE, group.slot, detail))
        done = replace(done, losses=np.concatenate([group.losses, seen]))
        if "statistics" in values:
            packed = values["statistics"][0]
            scores = self.scored(self._real, Statistics.from_array(packed))
            done = replace(done, statistics=packed, score=scores[self.score])
            ours |= scores
        begins = {"iteration": group.iteration, "snapshot": self._scorings(done.iteration) - 1}
        return done, Record(group.slot, report.round, ours, begins), events

    def _released(
        self, view: GroupView, told: Collection[int]
    ) -> tuple[GroupView, list[Group], list[Event]]:
        """Give the groups that have something to do, once all have arrived where they wait."""
        if any(group.phase == "train" for group in view.groups):
            return view, [view.groups[i] for i in told if view.groups[i].phase == "train"], []
        at, events = view.groups[0].iteration, []
        groups, phase = view.groups, "score" if at == self.iterations else "train"
        if phase == "train" and self._is_time(view):
            number = len(view.regroupings) + 1
            means = np.array([group.mean_loss for group in groups])
            taken = POLICIES[self.regrouping](means, rng(self.seed, number, "regrouping"))
            groups = view.regrouped(taken)
            met = ", ".join(f"{group.index} with {group.partner}" for group in groups)
            detail = f"after iteration {at}, generators with discriminators: {met}"
            events = [Event(view.round, "regrouped", "", detail)]
            if number == 1 and self.interval == ADAPTIVE:
                why = "the limit" if at == self.interval_limit else "the loss falls no more"
                detail = f"period A took {at} iterations: {why}"
                events.insert(0, Event(view.round, "period B", "", detail))
            view = replace(view, regroupings=(*view.regroupings, at))
        view = replace(view, groups=tuple(replace(group, phase=phase) for group in groups))
        return view, list(view.groups), events

    def _is_time(self, view: GroupView) -> bool:
        """Tell whether to regroup where all groups wait: in period A, whether it has ended."""
        if self.interval != ADAPTIVE or view.regroupings:
            return True
        return view.groups[0].iteration >= self.interval_limit or all(
            settled(group.losses, self.window, self.least_fall) for group in view.groups
        )

    def _scorings(self, done: int) -> int:
        """Count the times that a generator is to be scored by an iteration, the end among them."""
        rest = done % self.score_every > 0
        return done // self.score_every + (done == self.iterations and rest)

    def _task(self, view: GroupView, group: Group) -> Task:
        """Make a group's next task."""
        number = group.round + 1
        training = self.pair(group.index, group.partner)
        arguments: dict[str, Any] = {"training": training, "slot": group.slot, "round": number}
        if group.phase == "score":
            arguments |= {"samples": self.final_samples}
            return Task(group.slot, number, tasks.score, group.names[:1], arguments=arguments)
        place = group.iteration, view.regroupings
        last = min(self.intervals.end(*place), self.iterations)
        stop = self.intervals.stop(*place)
        # Algorithm 1 begins with period B: it looks to no regrouping before the second, but to the
        # next one though the run may end before
        known = [*view.regroupings, *([] if stop is None else [stop])]
        arguments |= {
            "first": group.iteration + 1,
            "last": last,
            "adjustment": self.adjustment,
            "regroupings": tuple(
                at for at in known[1:] if at + self.adjustment_region >= group.iteration
            ),
            "learning_rate": group.learning_rate,
            "loss_before": group.loss,
            "scored": self._scorings(last) > self._scorings(group.iteration),
            "kept_samples": self.kept_samples,
        }
        generator, discriminator = group.named(number)
        writes = (generator, f"{generator}/moments", discriminator, f"{discriminator}/moments")
        return Task(group.slot, number, train, group.names, writes, arguments)

    def _mix(
        self, view: GroupView, number: int, prefix: str
    ) -> tuple[tuple[float, ...], list[Record]]:
        """Evolve the mixture of all groups' generators, once all are scored."""
        packed = [group.statistics for group in view.groups]
        chance = rng(self.seed, number, f"{prefix}mixture")
        weights, merged = self._evolved(
            np.array(view.weights), packed, self.mixture_generations, chance
        )
        if merged is None:
            return view.weights, []
        values = self.scored(self._real, merged, f"{prefix}mixture_")
        values[f"{prefix}mixture_weight"] = weights
        return tuple(weights.tolist()), [Record("", number, values)]

    def _scored(self, view: GroupView, reports: Sequence[Report]) -> GroupView:
        """Take in the scores on the large samples, and compare when all are there."""
        groups, records = list(view.groups), list(view.records)
        for report in reports:
            index, packed = group_of(report.slot), report.values["statistics"][0]
            scores = metrics.scores(self._real, Statistics.from_array(packed), prefix="final_")
            score = scores[f"final_{self.score}"]
            groups[index] = replace(groups[index], statistics=packed, score=score, phase="scored")
            records.append(Record(report.slot, groups[index].round, scores))
        view = replace(view, groups=tuple(groups), events=())
        if all(group.phase == "scored" for group in groups):
            weights, mixed = self._mix(view, view.round, "final_")
            view = replace(view, weights=weights)
            records += mixed
        return replace(view, records=tuple(records))
