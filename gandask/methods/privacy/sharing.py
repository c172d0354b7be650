"""Settings of PrivacyGAN, what follows from them, and what is refused before a run."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from gandask import config
from gandask.checks import refuse_address, spelt_out
from gandask.clients.held import Held, Part, public_part
from gandask.clients.learning import check_private
from gandask.clients.process import Simulated
from gandask.clients.spending import DPSGD
from gandask.clients.terms import FEEDBACK_NORMS, Terms
from gandask.config import setting, settings
from gandask.core import (
    Hosted,
    Hosting,
    SettingError,
    nearest_multiple,
)
from gandask.methods.adversarial import Adversarial
from gandask.methods.practice import PRACTICES
from gandask.methods.privacy import hosting as hosts
from gandask.methods.privacy.hosting import Parties
from gandask.methods.privacy.settled import check_alpha, check_clients, check_loss
from gandask.methods.privacy.students import Lesson
from gandask.methods.privacy.view import TEACHER, PrivacyView
from gandask.training import networks
from gandask.training.losses import LOSSES
from gandask.training.rounding import BF16
from gandask.training.settings import Training
from gandask.training.trial import check_networks
from gandask.training.wire import WIRES


@settings
class Sharing(Adversarial[PrivacyView]):
    """Settings of clients that share what they have learnt, and of a teacher."""

    schedules: ClassVar[Mapping[str, str]] = {"alpha": "alpha_schedule"}
    extends: ClassVar[tuple[str, ...]] = ("iterations", "teacher_iterations")

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
        "unit: feedback on each fake leaves with the norm 1; its direction still tells of members",
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
        if self.precision == BF16:
            raise SettingError(
                f"precision={BF16!r}: clients train by terms that have no such precision; "
                "choose 'highest', 'high' or 'medium'"
            )
        self.refuse_practices(
            PRACTICES, "clients train their discriminators by terms that have no such setting"
        )
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
        if self.private_store is not None and not self.simulated:
            raise SettingError(
                "private_store: clients that are named keep their own; it is given to gandask "
                "client"
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

    def nearest(self) -> Mapping[str, Any]:
        """Give the nearest length that ends where scores are due."""
        stride = self.exchange_every * (self.score_every if self.score_samples else 1)
        return {"iterations": nearest_multiple(self.iterations, stride)}

    def grows(self, key: str, longer: Self) -> bool:
        """Tell whether a run may be extended: with the teacher that it has.

        Raises
        ------
        SettingError
            If the teacher would have learnt for longer from the start.
        """
        if self._taught and longer._lessons != self._lessons:
            raise SettingError(
                f"iterations={longer.iterations}: the teacher would have learnt for "
                f"{longer._lessons}, and it has for {self._lessons}; say "
                f"teacher_iterations={self._lessons} as well"
            )
        return key == "teacher_iterations" or super().grows(key, longer)

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
    def lesson(self) -> Lesson:
        """How a round goes."""
        return Lesson(
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
            steps=self.lesson.steps,
            answered=self.lesson.answered,
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
        self._check_teacher()

    def _check_teacher(self) -> None:
        self._teaching.check_init("teacher")
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
        return hosts.hosted(self._parties, hosting)

    @property
    def _parties(self) -> Parties:
        """Who the clients are."""
        started = {
            name: Simulated(
                self.training.source,
                self.part(index),
                hashlib.blake2b(f"{self.seed} {index}".encode(), digest_size=32).digest(),
                None,
                self.device,
            )
            for index, name in enumerate(self.names if self.simulated else ())
        }
        return Parties(
            self.names,
            started,
            self.server,
            Path(self.authority) if self.authority else None,
            Path(self.private_store) if self.private_store else None,
            mark=json.dumps([self.seed, self.terms(0), repr(started)]),
        )
