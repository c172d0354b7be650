"""PrivacyGAN: a teacher of public data restrains students of private data that never leave.

After Wu (PhD thesis, Warwick 2022, chapter 5). Each client keeps its data and a discriminator to
itself, and answers a student's fakes with feedback: the gradient of the loss for each number of
them. A round is `exchange_every` steps of the client's discriminator and one of the student.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gandask import config
from gandask.clients.auditing import Audit
from gandask.config import settings
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
    Stage,
    Task,
)
from gandask.methods.privacy.proxies import REMEDY, examine, exchange, meet
from gandask.methods.privacy.sharing import Sharing
from gandask.methods.privacy.students import begin, learn, score, show, teach
from gandask.methods.privacy.view import AUDITED, COORDS, TEACHER, Couple, PrivacyView, variables
from gandask.scores.metrics import Statistics

if TYPE_CHECKING:
    import xarray as xr

TERMS: Mapping[str, str] = {
    "generator": "weights",
    "discriminator": "weights",
    "fakes": "fakes",
    "feedback": "feedback",
    "token": "names",
    "statistics": "statistics",
    "exhibit": "exhibits",
}
"""What travels, by the third part of a state's name."""


@settings
class PrivacyGAN(Sharing):
    """Train a student for each client that holds private data; its fields are its settings."""

    name: ClassVar[str] = "privacy"

    # ---- the result

    def layout(self) -> Layout:
        """Describe the result: ``(round, client)``."""
        count = len(self.names)
        named: Sequence[Any] = range(count) if self.simulated else self.names
        roles = {
            "client": Role.numbered("client", ["client"], count),
            "student": Role.numbered("student", ["student"], count),
        }
        if self._taught:
            roles["teacher"] = Role((), (TEACHER,))
        coords = {"client": named, "student": named, **COORDS}
        layout = Layout(coords, roles, variables(self.score_samples, self.final_samples))
        layout = self.with_modes(layout, {"client": "the student"})
        return self.with_final_scores(layout, {"client": "the final student"})

    def real_samples(self) -> None:
        """Show none: they are of private clients."""

    def term(self, state: str) -> str:
        """Say what a state is, by its name: ``slot/number/kind/round``."""
        if state.endswith("/moments"):
            return "moments"
        return TERMS[state.split("/")[2]]

    def figures(self) -> Mapping[str, Figure]:
        """Give the drawings of its own, by name: of epsilon where there is privacy."""
        from gandask.methods.privacy.figures import FIGURES

        return {
            name: figure
            for name, figure in FIGURES.items()
            if self.privacy is not None or "epsilon" not in figure.needs
        }

    def sentences(self, dataset: xr.Dataset) -> Sequence[str]:
        """Tell what was spent of epsilon, at most, where it was."""
        spent = dataset["epsilon"].values if "epsilon" in dataset else np.array([])
        if not np.isfinite(spent).any():
            return []
        most = float(np.nanmax(spent))
        return [f"Clients had spent an epsilon of at most {most:.3g}."]

    # ---- plans

    def start(self) -> tuple[PrivacyView, Plan]:
        """Make teacher, students and clients' discriminators, and begin the first round."""
        couples = tuple(Couple(index) for index in range(len(self.names)))
        plan: list[Stage] = []
        if self._taught:
            writes = [f"{TEACHER}/generator/0", f"{TEACHER}/discriminator/0"]
            given = {"slot": TEACHER, "iterations": self._lessons, "lesson": self.lesson}
            given["training"] = self._teaching
            plan.append([Task(TEACHER, 0, teach, (), tuple(writes), given)])
            shown = {"training": self._teaching, "slot": TEACHER, "round": 0}
            shown["shown"] = self.audit_samples
            exhibit = (f"{TEACHER}/exhibit/0",)
            plan.append([Task(TEACHER, 0, show, (writes[0],), exhibit, shown)])
        plan.append([task for one in couples for task in self._beginning(one)])
        following = [self._round(one, 1) for one in couples]
        counts = [2 + sum(map(len, each)) for each in following]
        couples = tuple(
            replace(one, expected=count) for one, count in zip(couples, counts, strict=True)
        )
        return PrivacyView(couples, frozenset(), self.score), [*plan, *_merged(following)]

    def _beginning(self, one: Couple) -> list[Task]:
        """Plan how a client and its student begin."""
        started = self.start_from_teacher
        judge, maker = f"{TEACHER}/discriminator/0", f"{TEACHER}/generator/0"
        given = {"client": self.names[one.index], "terms": self.terms(one.index)}
        reads = (judge,) if started else ()
        meeting = Task(one.client, 0, meet, reads, (f"{one.client}/token/0",), given)
        taught = {"training": self.training, "lesson": self.lesson, "slot": one.student}
        reads = (*((maker,) if started else ()), *((judge,) if self._live else ()))
        writes = [*_pair(one, 0), f"{one.student}/fakes/1", *(_judge(one, 0) if self._live else ())]
        return [
            meeting,
            Task(one.student, 0, begin, reads, tuple(writes), taught | {"live": self._live}),
        ]

    def _round(self, one: Couple, round: int) -> list[list[Task]]:
        """Plan a round of a client and its student."""
        made, token = f"{one.student}/fakes/{round}", f"{one.client}/token"
        said = f"{one.client}/feedback/{round}"
        shape = (self.lesson.answered * self.batch_size, *self.training.data.shape)
        asking = Task(
            one.client,
            round,
            exchange,
            (f"{token}/{round - 1}", made),
            (f"{token}/{round}", said),
            {"client": self.names[one.index], "round": round, "shape": shape},
        )
        scored, audited = self._scored(round), self._audited(round)
        teacher = _judge(one, round - 1) if self._live else self._frozen
        # those of the last round too: a longer run goes on from them
        writes = [*_pair(one, round), f"{one.student}/fakes/{round + 1}"]
        writes += _judge(one, round) if self._live else ()
        shown = [f"{one.student}/statistics/{round}"] if scored else []
        shown += [f"{one.student}/exhibit/{round}"] if audited else []
        given = {
            "training": self.training,
            "lesson": self.lesson,
            "slot": one.student,
            "round": round,
            "alpha": self.share(one.index, round),
            "scored": scored,
            "shown": self.audit_samples if audited else 0,
        }
        reads = (*_pair(one, round - 1), made, said, *teacher)
        learning = Task(one.student, round, learn, reads, (*writes, *shown), given)
        stages = [[asking], [learning]]
        if shown:
            stages.append([self._examining(one, round, round, shown, scored, audited)])
        return stages

    def _examining(
        self, one: Couple, state: int, round: int, shown: Sequence[str], scored: bool, audited: bool
    ) -> Task:
        """Have a client measure and attack."""
        calibration = (f"{TEACHER}/exhibit/0",) if audited and self._taught else ()
        given = {
            "client": self.names[one.index],
            "training": self.training,
            "round": round,
            "measured": scored,
            "audited": audited,
        }
        reads = (f"{one.client}/token/{state}", *shown, *calibration)
        return Task(one.client, round, examine, reads, (), given)

    @property
    def _frozen(self) -> tuple[str, ...]:
        return (f"{TEACHER}/discriminator/0",) if self._taught else ()

    def share(self, index: int, round: int) -> float:
        """Give the share of a client in what its student learns from in a round."""
        if round <= self.warmup:
            return 1.0
        value = config.in_force(self, "alpha", round)
        return float(value[index] if isinstance(value, tuple) else value)

    def _last(self, round: int) -> bool:
        return round >= self.rounds

    def _scored(self, round: int) -> bool:
        if not self.score_samples:
            return False
        return round % self.score_every == 0 or self._last(round)

    def _audited(self, round: int) -> bool:
        return bool(self.audit_every) and round % self.audit_every == 0

    # ---- audits

    def examination(self, names: Collection[str]) -> Plan:
        """Plan the last audit again: the same samples, shown to the same clients."""
        stages: tuple[list[Task], list[Task]] = [], []
        for index in range(len(self.names)):
            one = Couple(index)
            one = replace(one, round=max(map(_round_of, _among(names, f"{one.client}/token"))))
            after, exhibit = self.rounds + 1, f"{one.student}/exhibit/{self.rounds + 1}"
            given = {"training": self.training, "slot": one.student, "round": after}
            given["shown"] = self.audit_samples
            stages[0].append(Task(one.student, after, show, (one.generator,), (exhibit,), given))
            stages[1].append(self._examining(one, one.round, after, [exhibit], False, True))
        return stages

    def examined(self, reports: Sequence[Report]) -> Sequence[Record]:
        """Give what clients told of an audit; NaN is what they keep to themselves."""
        silent = dict.fromkeys(AUDITED, np.nan)
        found = {
            report.slot: _columns(report.values["audit"]) if "audit" in report.values else silent
            for report in reports
            if report.task == "examine"
        }
        return [
            Record(slot, self.rounds, {f"final_{name}": value for name, value in values.items()})
            for slot, values in found.items()
        ]

    # ---- decisions

    def advance(self, view: PrivacyView, reports: Sequence[Report]) -> tuple[PrivacyView, Plan]:
        """Take in what came back, and let every couple go on that has completed its round."""
        couples, records, events, plans = [], [], [], []
        for one in view.couples:
            own = [report for report in reports if report.slot in (one.client, one.student)]
            one = replace(one, heard=(*one.heard, *own))
            if own and len(one.heard) >= one.expected:
                one, plan, found, happened = self._completed(one)
                records += found
                events += happened
                plans.append(plan)
            couples.append(one)
        after = PrivacyView(tuple(couples), frozenset(), view.metric, records, events)
        return replace(after, keeps=self._kept(after)), _merged(plans)

    def _completed(self, one: Couple) -> tuple[Couple, list[list[Task]], list[Record], list[Event]]:
        """Take in a couple's round, or its last scores, and plan what follows."""
        heard = {report.task: report for report in one.heard if report.round > 0}
        if one.phase == "score":
            values, statistics, found = self._measured(heard, "final_")
            done = replace(one, heard=(), phase="done", statistics=statistics, score=found)
            wrong = self._nonsense(one, one.round, heard["examine"].values)
            records = [Record(one.client, one.round, values)]
            return done, [], [*records, *self.compared([*heard.values()], one.round)], wrong
        round = one.round + 1
        values, statistics, found = self._measured(heard, "")
        asked, learnt = heard["exchange"].values, heard["learn"].values
        values |= {name: asked[name] for name in asked if name not in ("ended", "nonsense")}
        values |= {name: learnt[name] for name in learnt if name == "teacher_fooled"}
        values["alpha"] = self.share(one.index, round)
        ended = bool(asked.get("ended"))
        events = self._happened(one, round, asked, learnt)
        if "examine" in heard:
            events += self._nonsense(one, round, heard["examine"].values)
        now = replace(one, round=round, heard=())
        if statistics is not None:
            now = replace(now, statistics=statistics, score=found)
        if ended or self._last(round):
            plan = self._scoring(now)
            now = replace(now, phase="score")
        else:
            plan = self._round(now, round + 1)
        now = replace(now, expected=sum(map(len, plan)))
        return now, plan, [Record(one.client, round, values)], events

    def _happened(
        self, one: Couple, round: int, asked: Mapping[str, Any], learnt: Mapping[str, Any]
    ) -> list[Event]:
        """Tell what was special about a round."""
        name = self.names[one.index]
        if asked.get("ended"):
            kind = "spent" if asked["ended"] == REMEDY["spent"] else "ended"
            return [Event(round, kind, one.client, f"{name} answers no more: {asked['ended']}")]
        if asked.get("nonsense"):
            return self._nonsense(one, round, asked)
        if not learnt["finite"]:
            return [Event(round, NON_FINITE, one.student, "the step was discarded")]
        return []

    def _nonsense(self, one: Couple, round: int, told: Mapping[str, Any]) -> list[Event]:
        """Tell what was wrong with an answer, if something was."""
        wrong = told.get("nonsense")
        named = f"{self.names[one.index]}: {wrong}"
        return [Event(round, "nonsense", one.client, named)] if wrong else []

    def _measured(
        self, heard: Mapping[str, Report], prefix: str
    ) -> tuple[dict[str, Any], Array | None, float]:
        """Give scores of a student by its reports, its statistics, and what tells the best."""
        told = {name: value for one in heard.values() for name, value in one.values.items()}
        values: dict[str, Any] = {}
        statistics, found = None, np.nan
        if "statistics" in told:
            statistics = np.asarray(told["statistics"][0])
            values |= self.scored(self._real, Statistics.from_array(statistics), prefix)
            found = float(values[f"{prefix}{self.score}"])
        if "fid_local" in told:
            values[f"{prefix}fid_local"] = told["fid_local"]
        if "audit" in told:
            values |= {f"{prefix}{name}": value for name, value in _columns(told["audit"]).items()}
        return values, statistics, found

    def _scoring(self, one: Couple) -> list[list[Task]]:
        """Plan the last scores, and the last audit."""
        after = self.rounds + 1
        given = {"training": self.training, "slot": one.student, "round": after}
        given |= {"samples": self.final_samples, "shown": self.audit_samples}
        shown = [f"{one.student}/statistics/{after}", f"{one.student}/exhibit/{after}"]
        scoring = Task(one.student, after, score, (one.generator,), tuple(shown), given)
        comparing = self.comparing({one.client: {one.generator: 1.0}}, after)
        examining = self._examining(one, one.round, after, shown, True, True)
        return [[scoring, *(task for stage in comparing for task in stage)], [examining]]

    def _kept(self, view: PrivacyView) -> frozenset[str]:
        """Name what is shown, and what tasks to come read."""
        kept = {*self._frozen, *((f"{TEACHER}/exhibit/0",) if self._taught else ())}
        for one in view.couples:
            kept |= self._standing(one, one.round) | self._halfway(one)
        return frozenset(kept)

    def _standing(self, one: Couple, round: int) -> set[str]:
        """Name what a couple goes on from after a round."""
        kept = {*_pair(one, round), f"{one.client}/token/{round}"}
        kept |= {*_judge(one, round)} if self._live else set()
        return kept | {f"{one.student}/fakes/{round + 1}"}

    def _halfway(self, one: Couple) -> set[str]:
        """Name what of the round under way is there already, and others read, of it or later."""
        if one.phase != "train" or not one.heard:
            return set()
        done, following = {report.key for report in one.heard}, one.round + 1
        tasks = [task for stage in self._round(one, following) for task in stage]
        read = {name for task in tasks if task.key not in done for name in task.reads}
        read |= self._standing(one, following)
        return {name for task in tasks if task.key in done for name in task.writes if name in read}


def _merged(plans: Sequence[Sequence[Sequence[Task]]]) -> list[list[Task]]:
    """Put plans of several couples side by side, stage by stage."""
    depth = max(map(len, plans), default=0)
    return [[task for plan in plans if len(plan) > at for task in plan[at]] for at in range(depth)]


def _pair(one: Couple, round: int) -> tuple[str, str]:
    """Name a student's weights and moments after a round."""
    name = f"{one.student}/generator/{round}"
    return name, f"{name}/moments"


def _judge(one: Couple, round: int) -> tuple[str, str]:
    """Name the teacher's discriminator that learns with a student, and its moments."""
    name = f"{one.student}/discriminator/{round}"
    return name, f"{name}/moments"


def _among(names: Collection[str], begin: str) -> list[str]:
    """Give the names of states of one kind."""
    return [name for name in names if name.startswith(f"{begin}/")]


def _round_of(name: str) -> int:
    """Give the round of a state by its name."""
    return int(name.split("/")[3])


def _columns(told: Mapping[str, Any]) -> dict[str, Any]:
    """Give an audit as variables of the result."""
    found = Audit.of(told)
    rates = np.array([found.tpr[name] for name in COORDS["attack"]], dtype=np.float64)
    return {
        "audit_auc": np.array([found.auc[name] for name in COORDS["attack"]], float),
        "audit_auc_error": np.array([found.error[name] for name in COORDS["attack"]], float),
        "audit_tpr": rates[..., 0],
        "audit_tpr_low": rates[..., 1],
        "audit_tpr_high": rates[..., 2],
        "memorised": found.memorised,
    }
