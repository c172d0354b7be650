"""PrivacyGAN: a teacher of public data restrains students of private data that never leave.

After Wu (PhD thesis, Warwick 2022, chapter 5). Each client keeps its data and a discriminator to
itself, and answers a student's fakes with feedback: the gradient of the loss for each number of
them. A round is `exchange_every` steps of the client's discriminator and one of the student.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar, Self

import numpy as np

from gandask import config
from gandask.checks import refuse_address, spelt_out
from gandask.clients.auditing import Audit
from gandask.clients.client import check_private
from gandask.clients.held import Held, Part, public_part
from gandask.clients.spending import DPSGD
from gandask.clients.terms import FEEDBACK_NORMS, Terms
from gandask.config import setting, settings
from gandask.core import (
    NON_FINITE,
    Array,
    Event,
    Figure,
    Hosted,
    Hosting,
    Layout,
    Plan,
    Record,
    Report,
    Role,
    SettingError,
    Stage,
    Task,
)
from gandask.methods.adversarial import Adversarial
from gandask.methods.privacy import hosting as hosts
from gandask.methods.privacy.proxies import REMEDY, examine, exchange, meet
from gandask.methods.privacy.settled import check_alpha, check_clients, check_loss
from gandask.methods.privacy.students import Rules, begin, learn, score, show, teach
from gandask.methods.privacy.view import AUDITED, COORDS, Couple, PrivacyView, variables
from gandask.scores import metrics
from gandask.scores.metrics import Statistics
from gandask.training import networks
from gandask.training.losses import LOSSES
from gandask.training.settings import Training
from gandask.training.trial import check_networks
from gandask.training.wire import WIRES

TEACHER = "teacher/0"
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
class PrivacyGAN(Adversarial[PrivacyView]):
    """Train a student for each client that holds private data; its fields are its settings."""

    name: ClassVar[str] = "privacy"
    schedules: ClassVar[Mapping[str, str]] = {"alpha": "alpha_schedule"}

    clients: Any = setting(2, "how many, simulated here; or the names of those that dial in")
    server: str | None = setting(
        None, "HOST:PORT to listen at for clients that are named, as they reach it"
    )
    authority: str | None = setting(
        None, "folder of the authority that signs credentials; the user's own by default"
    )
    private_store: str | None = setting(
        None, "folder in which clients that are simulated keep theirs; the user's own by default"
    )
    base: str = setting("dcgan", "name in NETWORKS of all generators and discriminators")
    loss: str | None = setting(None, "name in LOSSES of clients; that of the base by default")
    alpha: Any = setting(
        0.9, "share of the client in what its student learns from: one number, or one per client"
    )
    alpha_schedule: Mapping[str, float] = setting(
        {}, "of all clients from given rounds on: {1000: 0.5}", above=0, maximum=1
    )
    warmup: int = setting(0, "rounds in which students learn from clients alone", minimum=0)
    teacher: str | None = setting(None, "folder of a stored run whose networks are the teacher's")
    teacher_iterations: int | None = setting(
        None,
        "to train a teacher for, on public data, where no run is given and one is needed; as many "
        "as iterations by default",
        minimum=0,
    )
    teacher_mode: str = setting(
        "frozen",
        "whether the teacher's discriminator stays as it is, or goes on learning from public data "
        "and the student's fakes",
        choices=("frozen", "live"),
    )
    teacher_loss: str = setting("bce", "name in LOSSES of the teacher's term: bounded below")
    start_from_teacher: bool = setting(False, "whether students and clients begin as the teacher")
    public_fraction: float = setting(
        0.5,
        "share of the data that is public, and that no simulated client holds",
        above=0,
        below=1,
    )
    split: str = setting(
        "iid", "of the rest among simulated clients: iid, dirichlet:0.3, classes:2"
    )
    local_samples: int | None = setting(
        None, "that a simulated client trains on; the rest of its part is kept apart", minimum=1
    )
    iterations: int = setting(3000, "steps of a client's discriminator", minimum=1)
    exchange_every: int = setting(1, "such steps in a round, between two answers", minimum=1)
    batch_size: int = setting(64, "samples per batch", minimum=1)
    learning_rate: float = setting(1e-4, "initial Adam learning rate", above=0)
    adam_betas: tuple[float, float] = setting((0.0, 0.99), "Adam β", minimum=0, below=1)
    wire: str = setting("float32", "what fakes and feedback travel as", choices=WIRES)
    feedback_norm: str = setting(
        "none",
        "unit: feedback on each fake leaves with the norm 1, which tells less of members",
        choices=FEEDBACK_NORMS,
    )
    privacy: DPSGD | None = setting(None, "differential privacy of clients' discriminators")
    epsilon_limit: float | None = setting(
        None, "epsilon that no client's answers may pass: it answers no more", above=0
    )
    report_private_scores: bool = setting(
        False,
        "with privacy: whether losses, fid_local and audits leave the client all the same, which "
        "epsilon does not cover",
    )
    score_every: int = setting(500, "rounds between scores, the last one among them", minimum=1)
    audit_every: int = setting(0, "rounds between audits; 0: at the end alone", minimum=0)
    audit_samples: int = setting(1000, "of a student, that attackers are given", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        config.lookup("base", self.base, networks.NETWORKS)
        object.__setattr__(self, "clients", check_clients(self.clients, self.server))
        object.__setattr__(self, "alpha", check_alpha(self.alpha, len(self.names)))
        for key in ("teacher", "authority", "private_store"):
            refuse_address(key, getattr(self, key) or "")
        if self.loss is not None:
            config.lookup("loss", self.loss, LOSSES)
        check_loss(self.teacher_loss)
        if self.features == "inception":
            raise SettingError(
                "features='inception': clients score with what they are sent, and InceptionV3 is "
                "too large for that; choose 'auto', 'classifier' or 'coordinates'"
            )
        if self.teacher and self.teacher_iterations:
            raise SettingError(
                f"teacher={self.teacher!r} and teacher_iterations={self.teacher_iterations}: "
                "expected one of both; a run's networks are not trained again"
            )
        if self._needs_teacher and self.teacher_iterations == 0 and not self.teacher:
            raise SettingError(
                "teacher_iterations=0: students learn from a teacher where alpha is below 1, "
                "start_from_teacher is set or teacher_mode='live', and there is none; give "
                "teacher='runs/...' or leave it out"
            )
        if self.init:
            raise SettingError("init: students begin as the teacher by start_from_teacher=True")

    # ---- what follows from settings

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the clients."""
        if isinstance(self.clients, int):
            return tuple(f"client-{index}" for index in range(self.clients))
        return tuple(self.clients)

    @property
    def simulated(self) -> bool:
        """Whether clients are started here."""
        return isinstance(self.clients, int)

    @property
    def rounds(self) -> int:
        """Number of rounds."""
        return -(-self.iterations // self.exchange_every)

    @property
    def _alphas(self) -> tuple[float, ...]:
        return self.alpha if isinstance(self.alpha, tuple) else (self.alpha,) * len(self.names)

    @property
    def _needs_teacher(self) -> bool:
        alphas = [*self._alphas, *map(float, self.alpha_schedule.values())]
        return min(alphas) < 1 or self.start_from_teacher or self.teacher_mode == "live"

    @property
    def _taught(self) -> bool:
        return bool(self.teacher or self.teacher_iterations or self._needs_teacher)

    @property
    def _lessons(self) -> int:
        """Iterations of a teacher that is trained here."""
        if self.teacher:
            return 0
        return self.iterations if self.teacher_iterations is None else self.teacher_iterations

    @property
    def _live(self) -> bool:
        return self._taught and self.teacher_mode == "live"

    @functools.cached_property
    def training(self) -> Training:
        """What tasks of students are given."""
        network = networks.NETWORKS[self.base]
        return self._training(network, [LOSSES[self.loss or network.loss]])

    @functools.cached_property
    def _teaching(self) -> Training:
        return replace(self.training, init=self.teacher and spelt_out(self.teacher))

    def training_of(self, slot: str) -> Training:
        """What the tasks of a slot are given: the teacher's may be another run's."""
        return self._teaching if slot == TEACHER else self.training

    @functools.cached_property
    def rules(self) -> Rules:
        """How a round goes."""
        return Rules(
            steps=self.exchange_every * self.discriminator_steps,
            answered=self.exchange_every,
            wire=self.wire,
            unit=self.feedback_norm == "unit",
            live=self._live,
            teacher_loss=self.teacher_loss,
            public=self.public_fraction,
        )

    def terms(self, index: int) -> Mapping[str, Any]:
        """Give what a client is asked to train, as JSON holds it."""
        made = Terms(
            base=self.base,
            loss=self.loss or networks.NETWORKS[self.base].loss,
            activation=self.activation,
            initial_std=self.initial_std,
            shape=self.training.data.shape,
            batch_size=self.batch_size,
            steps=self.rules.steps,
            answered=self.rules.answered,
            learning_rate=self.learning_rate,
            adam_betas=self.adam_betas,
            wire=self.wire,
            feedback_norm=self.feedback_norm,
            privacy=self.privacy,
            epsilon_limit=self.epsilon_limit,
            report_private_scores=self.report_private_scores,
            precision=self.precision,
            torch_threads=self.torch_threads,
            seed=self.seed,
            slot=f"client/{index}",
        )
        told = asdict(made)
        return {key: [*value] if isinstance(value, tuple) else value for key, value in told.items()}

    def part(self, index: int) -> Part:
        """Give the part of the data that a simulated client holds."""
        assert isinstance(self.clients, int)
        return Part(
            self.clients, index, self.split, self.public_fraction, self.local_samples, self.seed
        )

    # ---- before a run

    def resolved(self) -> Self:
        """Give the same settings with paths spelt out."""
        keys = ("teacher", "authority", "private_store")
        given = {key: getattr(self, key) for key in keys}
        paths = {key: spelt_out(path) for key, path in given.items() if path is not None}
        return config.replace(super().resolved(), paths)

    def check(self) -> None:
        """Load public data, and refuse what could not work there or at simulated clients.

        Raises
        ------
        SettingError, DataError
        """
        loaded = self._load("public")
        network = networks.NETWORKS[self.base]
        networks.check(self.base, network, loaded.shape, loaded.classes, "base")
        if network.conditional:
            raise SettingError(
                f"base={self.base!r}: takes labels, and how often a client has each is private; "
                "choose one that does not"
            )
        public = len(public_part(len(loaded), self.public_fraction, self.seed))
        if self._taught and self.batch_size > public:
            raise SettingError(
                f"batch_size={self.batch_size}: {public} samples are public (public_fraction="
                f"{self.public_fraction}); make the batch smaller or that share larger"
            )
        for index in range(len(self.names) if self.simulated else 0):
            held = Held.part(self.training.source, self.part(index))
            if self.batch_size > len(held.members):
                raise SettingError(
                    f"batch_size={self.batch_size}: client {index} trains on {len(held.members)} "
                    "samples; make the batch smaller, or the clients fewer"
                )
        check_networks(self.training, "base")
        if self.privacy is not None:
            module = networks.build(self.training.build_discriminator, seed=0)
            check_private(self.training, module)
        hosts.check_private(self)
        self._check_teacher()

    def _check_teacher(self) -> None:
        self._teaching.check_init()
        if self.teacher and "discriminator" not in self._teaching.starting_pair():
            raise SettingError(
                f"teacher={self.teacher!r}: its last checkpoint holds no discriminator beside its "
                "best generator; give a run that trains pairs, such as one of the method grid"
            )

    def prepare(self) -> dict[str, Any]:
        """Tell, besides, how large the networks are, and what a reader of epsilon has to know."""
        facts = super().prepare()
        built = {
            kind: networks.build(self.training.builder(kind), seed=0)
            for kind in ("generator", "discriminator")
        }
        sizes = {
            kind: sum(part.nbytes for part in module.state_dict().values())
            for kind, module in built.items()
        }
        facts["network_bytes"] = json.dumps(sizes)
        if self.privacy is not None:
            facts["epsilon_covers_scores"] = not self.report_private_scores
        return facts | {"secrets": "seeded" if self.simulated else "the clients' own"}

    def hosted(self, hosting: Hosting) -> contextlib.AbstractContextManager[Hosted]:
        """Keep up what clients are asked by: themselves, or a hub that they dial."""
        return hosts.hosted(self, hosting)

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
        return Layout(coords, roles, variables(self.score_samples, self.final_samples))

    def term(self, state: str) -> str:
        """Say what a state is, by its name: ``slot/number/kind/round``."""
        if state.endswith("/moments"):
            return "moments"
        return TERMS[state.split("/")[2]]

    def figures(self) -> Mapping[str, Figure]:
        """Give the drawings of its own, by name."""
        from gandask.methods.privacy.figures import FIGURES

        return FIGURES

    # ---- plans

    def start(self) -> tuple[PrivacyView, Plan]:
        """Make teacher, students and clients' discriminators, and begin the first round."""
        couples = tuple(Couple(index) for index in range(len(self.names)))
        plan: list[Stage] = []
        if self._taught:
            writes = [f"{TEACHER}/generator/0", f"{TEACHER}/discriminator/0"]
            given = {"slot": TEACHER, "iterations": self._lessons, "rules": self.rules}
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
        taught = {"training": self.training, "rules": self.rules, "slot": one.student}
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
        shape = (self.rules.answered * self.batch_size, *self.training.data.shape)
        asking = Task(
            one.client,
            round,
            exchange,
            (f"{token}/{round - 1}", made),
            (f"{token}/{round}", said),
            {"client": self.names[one.index], "round": round, "shape": shape},
        )
        last, scored, audited = self._last(round), self._scored(round), self._audited(round)
        teacher = _judge(one, round - 1) if self._live else self._frozen
        writes = [*_pair(one, round)]
        writes += [] if last else [f"{one.student}/fakes/{round + 1}"]
        writes += _judge(one, round) if self._live else ()
        shown = [f"{one.student}/statistics/{round}"] if scored else []
        shown += [f"{one.student}/exhibit/{round}"] if audited else []
        given = {
            "training": self.training,
            "rules": self.rules,
            "slot": one.student,
            "round": round,
            "alpha": self.share(one.index, round),
            "forges": not last,
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
            return done, [], [Record(one.client, one.round, values)], []
        round = one.round + 1
        values, statistics, found = self._measured(heard, "")
        asked, learnt = heard["exchange"].values, heard["learn"].values
        values |= {name: asked[name] for name in asked if name not in ("ended", "nonsense")}
        values |= {name: learnt[name] for name in learnt if name == "teacher_fooled"}
        values["alpha"] = self.share(one.index, round)
        ended = bool(asked.get("ended"))
        events = self._happened(one, round, asked, learnt)
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
            return [Event(round, "nonsense", one.client, f"{name}: {asked['nonsense']}")]
        if not learnt["finite"]:
            return [Event(round, NON_FINITE, one.student, "the step was discarded")]
        return []

    def _measured(
        self, heard: Mapping[str, Report], prefix: str
    ) -> tuple[dict[str, Any], Array | None, float]:
        """Give scores of a student by its reports, its statistics, and what tells the best."""
        told = {name: value for one in heard.values() for name, value in one.values.items()}
        values: dict[str, Any] = {}
        statistics, found = None, np.nan
        if "statistics" in told:
            statistics = np.asarray(told["statistics"][0])
            values |= metrics.scores(self._real, Statistics.from_array(statistics), prefix=prefix)
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
        return [[scoring], [self._examining(one, one.round, after, shown, True, True)]]

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
        return kept if self._last(round) else kept | {f"{one.student}/fakes/{round + 1}"}

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
