"""What BPGAN and data parallelism have in common: exchanges, their losses, and scores.

A round is an *exchange*: steps of each network, from batches on each node. Its plan has stages,
which read what travels from node to node.
"""

from __future__ import annotations

import abc
import functools
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from gandask import config
from gandask.config import setting, settings
from gandask.core import (
    Event,
    Figure,
    MethodError,
    Plan,
    Record,
    Report,
    SettingError,
    Task,
    nearest_multiple,
)
from gandask.methods import families, tasks
from gandask.methods.best import Best, KeepingBest
from gandask.methods.split import pace
from gandask.methods.split.draws import Rules
from gandask.methods.split.pace import Paced
from gandask.methods.split.servers import average
from gandask.methods.split.view import SplitView
from gandask.scores.metrics import Statistics
from gandask.training import losses, networks
from gandask.training.rounding import BF16
from gandask.training.settings import Training
from gandask.training.trial import check_networks
from gandask.training.wire import WIRES

if TYPE_CHECKING:
    import xarray as xr

SERVER = "server/0"
PREDICTED = "gandask.methods.split.cost:predicted_bytes"
"""What says what an exchange moves: by name, as it stands on the methods."""
TOLD = ("discriminator_loss", "generator_loss")
SCHEDULES = ("simultaneous", "alternating")
TERMS = {
    "discriminator": "weights",
    "generator": "weights",
    "buffers": "buffers",
    "mean": "gradients",
    "gradients": "gradients",
    "fakes": "fakes",
    "feedback": "feedback",
}
"""What travels, by the third part of a state's name."""


@settings
class Split(KeepingBest[SplitView]):
    """Settings of methods that train one GAN, or a few, on several nodes at once."""

    extends: ClassVar[tuple[str, ...]] = ("iterations",)

    base: Any = setting(
        "dcgan",
        "base GAN: a name in NETWORKS, or a pair of them: the generator of one and the "
        "discriminator, with its loss, of the other",
    )
    loss: str | None = setting(None, "name in LOSSES; that of the base GAN by default")
    iterations: int = setting(2000, "exchanges", minimum=1, maximum=100_000)
    batch_size: int = setting(64, "samples per batch, of one node", minimum=1)
    data_fraction: float = setting(
        1.0, "random share of the data that nodes divide among themselves", above=0, maximum=1
    )
    schedule: str = setting(
        "simultaneous",
        "whether generators learn from the discriminator of before, while it learns itself, or "
        "wait for the new one, as in the ordinary loop",
        choices=SCHEDULES,
    )
    exchange_every: int = setting(
        1,
        "batches in an exchange, of each step: gradients are means over all of them, and networks "
        "that a node trains by itself take a step on each",
        minimum=1,
    )
    buffers: str = setting(
        "server",
        "what batch normalisation counts: averaged in every exchange, or each node's own",
        choices=("server", "own"),
    )
    wire: str = setting(
        "float32",
        "what gradients, fakes and feedback travel as; weights as float16 at the coarsest",
        choices=WIRES,
    )
    score_every: int = setting(500, "exchanges between scores, the last one among them", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse_practices(
            ("gradient_accumulation",),
            "a step is made of the batches of several nodes already; take a smaller batch_size",
        )
        if self.precision == BF16:
            raise SettingError(
                f"precision={BF16!r}: what travels between nodes is float32, or as wire says; "
                "choose 'highest', 'high' or 'medium'"
            )
        object.__setattr__(self, "base", families.one(self.base))
        if self.loss is not None:
            config.lookup("loss", self.loss, losses.LOSSES)

    @property
    def rounds(self) -> int:
        """Number of exchanges."""
        return self.iterations

    def nearest(self) -> Mapping[str, Any]:
        """Give the nearest length that ends where scores are due."""
        stride = self.score_every if self.score_samples else 1
        return {"iterations": nearest_multiple(self.iterations, stride)}

    def ended(self, begun: int) -> Self:
        """Give the length of the first scores after exchanges that were begun."""
        stride = self.score_every if self.score_samples else 1
        return config.replace(
            self, {"iterations": min(-(-begun // stride) * stride, self.iterations)}
        )

    @functools.cached_property
    def training(self) -> Training:
        """What tasks are given."""
        ((maker, judge),) = families.by_group((self.base,), 1)
        network = families.paired(maker, judge)
        return self._training(network, [losses.LOSSES[self.loss or network.loss]])

    @property
    @abc.abstractmethod
    def rules(self) -> Rules:
        """How an exchange goes."""

    @property
    @abc.abstractmethod
    def holders(self) -> tuple[str, ...]:
        """Slots that hold data, in order."""

    @property
    @abc.abstractmethod
    def generator_slots(self) -> tuple[str, ...]:
        """Slots that hold a generator, in order."""

    @abc.abstractmethod
    def begin(self) -> tuple[SplitView, list[Task]]:
        """Give the view before the first exchange, and the tasks that make all networks."""

    @abc.abstractmethod
    def exchange(self, round: int) -> Plan:
        """Plan an exchange."""

    @abc.abstractmethod
    def _networks(self, round: int) -> list[str]:
        """Name the networks and moments that an exchange leaves."""

    def _kept(self, round: int) -> frozenset[str]:
        """Name what an exchange leaves: networks, and all that the next one reads."""
        tasks = [task for stage in self.exchange(round + 1) for task in stage]
        written = {name for task in tasks for name in task.writes}
        read = (name for task in tasks for name in task.reads if name not in written)
        # of the last one too: a longer run goes on from it
        return frozenset((*self._networks(round), *read))

    def check(self) -> None:
        """Load the data, and refuse networks that do not fit and batches that a node cannot fill.

        Raises
        ------
        SettingError, DataError
        """
        loaded = self._load("nodes")
        for name in dict.fromkeys(families.by_group((self.base,), 1)[0]):
            networks.check(name, networks.NETWORKS[name], loaded.shape, loaded.classes, "base")
        smallest = len(self.training.shard("nodes")) // len(self.holders)
        if self.batch_size > smallest:
            raise SettingError(
                f"batch_size={self.batch_size}: a node's share of {self.data} is {smallest} "
                f"samples ({len(self.holders)} nodes, data_fraction={self.data_fraction}); make "
                "the batch smaller, or the nodes fewer"
            )
        check_networks(self.training, "base")
        self.training.check_init()

    def prepare(self) -> dict[str, Any]:
        """Tell, besides, what an exchange is predicted to move: JSON of bytes by term."""
        predicted = config.load_object(PREDICTED)(self)
        return super().prepare() | {"predicted_bytes": json.dumps(predicted)}

    def places(self) -> dict[str, str]:
        """Give every node a label, such as ``judge-0``: a worker of that name is its own."""
        return {slot: slot.replace("/", "-") for slot in self.layout().slots}

    def sentences(self, dataset: xr.Dataset) -> Sequence[str]:
        """Tell what travelled between slots."""
        total = int(dataset["sent_bytes"].sum())
        return [f"Slots read {total / 1e6:,.1f} MB from each other."] if total else []

    def term(self, state: str) -> str:
        """Say what a state is, by its name: ``slot/number/kind/round``."""
        if state.endswith("/moments"):
            return "moments"
        return TERMS[state.split("/")[2]]

    def _sent(self, name: str) -> str:
        """Name what other slots read of weights: a copy in fewer bits, where they travel so."""
        return name if self.wire == "float32" else f"{name}/sent"

    def _copies(self, name: str) -> tuple[str, ...]:
        """Name the copy of weights that others read, where it is another state."""
        return () if self.wire == "float32" else (self._sent(name),)

    def _task(
        self,
        slot: str,
        round: int,
        function: Any,
        reads: Sequence[str],
        writes: Sequence[str],
        task: str = "",
        /,
        **given: Any,
    ) -> Task:
        """Make a task that is told the rules."""
        arguments = {"training": self.training, "rules": self.rules, "slot": slot}
        arguments |= ({"round": round} if round else {}) | given
        return Task(slot, round, function, tuple(reads), tuple(writes), arguments, name=task)

    def _averaging(self, round: int, kind: str, own: Sequence[str], scored: bool = False) -> Task:
        """Let the server average the weights of networks."""
        given = {"training": self.training, "slot": SERVER, "round": round, "kind": kind}
        mean = (f"{SERVER}/{kind}/{round}",)
        arguments = given | {"scored": scored}
        return Task(SERVER, round, average, tuple(own), mean, arguments, name=f"average_{kind}")

    def figures(self) -> Mapping[str, Figure]:
        """Give the drawings of its own, by name."""
        from gandask.methods.split.figures import FIGURES

        return FIGURES

    def start(self) -> tuple[SplitView, Plan]:
        """Make every network, and begin with the first exchange."""
        view, born = self.begin()
        if self.paced:
            return pace.begin(self.paced, view, born)
        plan = [born, *self.exchange(1)]
        return replace(view, expected=sum(map(len, plan))), plan

    def advance(self, view: SplitView, reports: Sequence[Report]) -> tuple[SplitView, Plan]:
        """Take an exchange in, once all of it is told, and plan the next, or the last scores."""
        if view.phase == "done":
            return replace(view, records=self.compared(reports, view.round), events=()), []
        if self.paced and view.phase == "train":
            return self._went_on(self.paced, view, reports)
        heard = (*view.heard, *reports)
        if len(heard) < view.expected:
            keeps = view.keeps | self._written(view, heard)
            return replace(view, heard=heard, keeps=keeps, records=(), events=()), []
        if view.phase == "score":
            view = self._concluded(view, heard)
            return view, self.comparing(view.ensembles, self.iterations + 1)
        done = view.round + 1
        told = {(report.slot, report.task): report for report in heard if report.round == done}
        records, events = self._told(told, done)
        events += self._happened(done)
        generators = {slot: f"{slot}/generator/{done}" for slot in self.generator_slots}
        now = replace(view, round=done, heard=(), generators=generators, keeps=self._kept(done))
        if self.is_scored(done):
            now, scored = self._scored(now, told, "")
            now = self._challenged(now)
            records += [*scored, *self.noted(view.kept, now.kept)]
        now = replace(now, records=tuple(records), events=tuple(events)).keeping()
        if done == self.iterations:
            return self._scoring(now)
        plan = self.exchange(done + 1)
        return replace(now, expected=sum(map(len, plan))), plan

    @property
    def paced(self) -> Paced | None:
        """What goes on with a server that need not wait for all, if there is one."""
        return None

    def _went_on(
        self, paced: Paced, view: SplitView, reports: Sequence[Report]
    ) -> tuple[SplitView, Plan]:
        """Let everybody go on who can, and take scores in."""
        before = view.kept
        view, now, plan, told = pace.advance(paced, view, reports)
        scores: list[Record] = []
        for round in sorted({report.round for report in told}):
            known = {(one.slot, one.task): one for one in told if one.round == round}
            scored, records = self._scored(replace(view, round=round), known, "")
            # where all wait for all, those that were scored are the newest
            scored = self._challenged(replace(scored, generators=paced.generators_at(now)))
            view, scores = replace(scored, round=view.round), scores + records
        generators = paced.generators_at(now)
        scores += self.noted(before, view.kept)
        view = replace(view, generators=generators, records=(*view.records, *scores)).keeping()
        if plan or now.pending:
            return view, plan
        if view.round < self.iterations:
            raise MethodError(
                f"method {self.name!r}: in round {view.round} all wait for each other"
            )
        return self._scoring(view)

    def _written(self, view: SplitView, heard: Sequence[Report]) -> frozenset[str]:
        """Name what is there already of all that the exchange under way is to leave."""
        if view.phase == "score":
            return frozenset()
        round, told = view.round + 1, {report.key for report in heard}
        tasks = [task for stage in self.exchange(round) for task in stage]
        kept = self._kept(round)
        if round == 1:  # the generators that were made are shown until it is over
            tasks += self.begin()[1]
            kept |= {*view.generators.values()}
        done = (task for task in tasks if task.key in told)
        return kept.intersection(name for task in done for name in task.writes)

    def _happened(self, round: int) -> list[Event]:
        """Tell what was special about an exchange."""
        return []

    def is_scored(self, round: int) -> bool:
        """Tell whether generators are scored after an exchange."""
        return bool(self.score_samples) and (
            round % self.score_every == 0 or round == self.iterations
        )

    def _told(
        self, told: Mapping[tuple[str, str], Report], round: int
    ) -> tuple[list[Record], list[Event]]:
        """Give the losses by slot, and tell what was discarded."""
        known: dict[str, dict[str, list[float]]] = {slot: {} for slot in self.holders}
        events: list[Event] = []
        for slot, task in sorted(told):
            values = told[slot, task].values
            for name in (name for name in TOLD if slot in known and name in values):
                known[slot].setdefault(name, []).append(values[name])
            events += pace.discarded(told[slot, task])
        means = {
            slot: {name: statistics.fmean(values) for name, values in found.items()}
            for slot, found in known.items()
        }
        return [Record(slot, round, found) for slot, found in means.items()], events

    def _scored(
        self, view: SplitView, told: Mapping[tuple[str, str], Report], prefix: str
    ) -> tuple[SplitView, list[Record]]:
        """Take in the statistics of all generators, and mix them."""
        packed = {
            slot: report.values["statistics"][0]
            for (slot, _), report in told.items()
            if "statistics" in report.values
        }
        records, scores = [], {}
        for slot in self.generator_slots:
            found = self.scored(self._real, Statistics.from_array(packed[slot]), prefix)
            scores[slot] = found[f"{prefix}{self.score}"]
            records.append(Record(slot, view.round, found))
        view, mixed = self._mixed(replace(view, packed=packed, scores=scores), prefix)
        return view, [*records, *mixed]

    def _challenged(self, view: SplitView) -> SplitView:
        """Keep a generator that was scored just now, if it is the best so far."""
        if not self.keep_best:
            return view
        kept = view.kept
        for slot, name in view.generators.items():
            kept = self.better(kept, Best(view.round, slot, {name: 1.0}, view.scores[slot]))
        return replace(view, kept=kept)

    def _mixed(self, view: SplitView, prefix: str) -> tuple[SplitView, list[Record]]:
        """Mix all generators that were scored: a single one is not mixed."""
        return view, []

    def _scoring(self, view: SplitView) -> tuple[SplitView, Plan]:
        """Plan the scores of many samples."""
        arguments = {"training": self.training, "samples": self.final_samples}
        stage = [
            Task(
                slot,
                self.iterations + 1,
                tasks.score,
                (name,),
                arguments=arguments | {"slot": slot, "round": self.iterations + 1},
            )
            for slot, name in view.generators.items()
        ]
        stage += self.rescoring(view.kept, self.iterations + 1)
        return replace(view, phase="score", expected=len(stage)), [stage]

    def _concluded(self, view: SplitView, heard: Sequence[Report]) -> SplitView:
        others, rescored = self.rescored(view.kept, heard, self.iterations)
        told = {(report.slot, report.task): report for report in others}
        view, records = self._scored(view, told, "final_")
        told_of_all = (*rescored, *records)
        return replace(view, phase="done", heard=(), records=told_of_all, events=())
