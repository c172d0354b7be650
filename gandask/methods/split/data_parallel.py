"""Data parallelism: every node trains copies of both networks on its own data, and all average.

The baseline of BPGAN (Wu, PhD thesis, Warwick 2022, chapter 4): by a server that holds the
networks, or among the nodes, each of which averages one slice of the gradients (reduce-scatter) and
hands it to all (all-gather). Where nodes take steps of their own and a server averages their
weights, it is federated averaging (McMahan et al. 2017; FL-GAN of Hardy et al. 2019).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch

from gandask.config import setting, settings
from gandask.core import Layout, Plan, Role, SettingError, Stage, Task
from gandask.methods.split.copies import apply, differentiate, reduce, train_both
from gandask.methods.split.draws import Rules
from gandask.methods.split.generators import begin
from gandask.methods.split.method import SERVER, Split
from gandask.methods.split.pace import Paced, Pupil, reported, waited_for
from gandask.methods.split.servers import combine
from gandask.methods.split.states import DISCRIMINATOR, GENERATOR, weights
from gandask.methods.split.view import Place, SplitView, Standing, variables
from gandask.training.learner import buffer_names
from gandask.training.wire import remembers

BOTH = (DISCRIMINATOR, GENERATOR)
Phase = tuple[str, tuple[str, ...], int]
"""A part of an exchange: its name, whose gradients are asked, and of which discriminator step."""


@settings
class DataParallel(Split):
    """Train one GAN on the data of several nodes; its fields are its settings."""

    name: ClassVar[str] = "data_parallel"

    nodes: int = setting(4, "that hold data, and copies of both networks", minimum=1)
    combine: str = setting(
        "server",
        "what is averaged, and where: gradients by a server, or among the nodes; or weights, by a "
        "server, after steps that each node takes by itself",
        choices=("server", "all_reduce", "local"),
    )

    quorum: float = setting(
        0.0,
        "where slots go at their own pace (synchronous=False), share of the nodes that the server "
        "waits for before each step; 0: it takes what there is",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quorum and self.combine != "server":
            raise SettingError(
                f"quorum={self.quorum}: by combine={self.combine!r} all nodes wait for all; choose "
                "combine='server', or quorum=0"
            )
        if self.wire != "float32" and self.combine == "local":
            raise SettingError(
                f"wire={self.wire!r}: by combine='local' weights alone travel, and these whole; "
                "choose combine='server' or 'all_reduce', or wire='float32'"
            )
        if self.buffers == "own" and self.combine == "local":
            raise SettingError(
                "buffers='own': by combine='local' what is counted goes with the weights; choose "
                "combine='server' or 'all_reduce', or buffers='server'"
            )

    @functools.cached_property
    def rules(self) -> Rules:
        """How an exchange goes."""
        return Rules(
            self.nodes,
            self.exchange_every,
            self.discriminator_steps,
            simultaneous=self.schedule == "simultaneous",
            wire=self.wire,
            sliced=not self._served,
        )

    @property
    def holders(self) -> tuple[str, ...]:
        """Slots that hold data: the nodes."""
        return tuple(f"node/{index}" for index in range(self.nodes))

    @property
    def _served(self) -> bool:
        """Whether there is a server."""
        return self.combine != "all_reduce"

    @property
    def generator_slots(self) -> tuple[str, ...]:
        """The slot whose generator is scored: the server's, or the first of equal ones."""
        return (SERVER,) if self._served else self.holders[:1]

    def layout(self) -> Layout:
        """Describe the result: ``(round, node)``."""
        roles = {"node": Role(("node",), self.holders)}
        if self._served:
            roles["server"] = Role((), (SERVER,))
        scored = "server" if self._served else "node"
        known = variables(
            "node",
            scored,
            [],
            self.score_samples,
            self.final_samples,
            paced=self.paced is not None,
        )
        layout = Layout({"node": range(self.nodes)}, roles, known)
        layout = self.with_best(self.with_modes(layout, {scored: "the generator"}))
        return self.with_final_scores(layout, {scored: "the final generator"})

    @functools.cached_property
    def _buffered(self) -> dict[str, bool]:
        """Whether each network counts statistics."""
        with torch.device("meta"):
            built = self.training.build_discriminator(), self.training.build_generator()
        return {kind: bool(buffer_names(one)) for kind, one in zip(BOTH, built, strict=True)}

    @property
    def _keepers(self) -> tuple[str, ...]:
        """Slots that hold the weights that count."""
        return (SERVER,) if self._served else self.holders

    @functools.cached_property
    def _phases(self) -> Sequence[Phase]:
        """The parts of an exchange, after each of which networks take a step."""
        steps = range(1, self.discriminator_steps + 1)
        judged = [(f"{DISCRIMINATOR}_{step}", (DISCRIMINATOR,), step) for step in steps]
        judged[0] = (DISCRIMINATOR, (DISCRIMINATOR,), 1)
        if self.schedule == "simultaneous":
            return [("both", BOTH, 1), *judged[1:]]
        return [*judged, (GENERATOR, (GENERATOR,), 1)]

    # ---- names of states

    def _held(self, slot: str, kind: str, round: int, phase: int) -> tuple[str, str]:
        """Name a network and its moments after a phase of an exchange; -1: before the first."""
        asked = [kind in which for _, which, _ in self._phases]
        if phase >= 0 and any(asked[: phase + 1]):
            if not any(asked[phase + 1 :]):
                return weights(slot, kind, round)
            done = sum(asked[: phase + 1])
            return f"{slot}/{kind}/{round}/{done}", f"{slot}/{kind}/{round}/{done}/moments"
        return weights(slot, kind, round - 1)

    def _counts(self, slot: str, round: int, phase: int) -> dict[str, str]:
        """Name what a node's networks have counted after a phase, by network."""
        after = self._phases[phase][0]
        return {
            kind: f"{slot}/buffers/{round}/{after}/{kind}" for kind in BOTH if self._buffered[kind]
        }

    def _newer(self, slot: str, round: int, phase: int) -> dict[str, str]:
        """Name what a node goes on from that it has counted itself, by network."""
        if phase > 0:
            return self._counts(slot, round, phase - 1)
        own = self.buffers == "own" and round > 1
        return self._counts(slot, round - 1, len(self._phases) - 1) if own else {}

    def _averaged_counts(self, slot: str, round: int, phase: int, kind: str) -> list[str]:
        """Name what a node averages of what all have counted, or its own."""
        senders = self.holders if self.buffers == "server" else (slot,)
        found = [self._counts(slot, round, phase) for slot in senders]
        return [counts[kind] for counts in found if kind in counts]

    def _gradients(self, slot: str, round: int, phase: int, kinds: Sequence[str]) -> list[str]:
        """Name a node's gradients: whole, of each network, or in slices of them all, for all."""
        if self._served:
            return [_of_phase(f"{slot}/gradients/{round}", phase, (kind,)) for kind in kinds]
        whole = _of_phase(f"{slot}/gradients/{round}", phase, kinds)
        return [f"{whole}/{index}" for index in range(self.nodes)]

    def _left(self, slot: str, round: int, phase: int, asked: Sequence[str]) -> list[str]:
        """Name what the wire leaves of a node's gradients, where that is kept."""
        if not remembers(self.wire):
            return []
        return [f"{slot}/residual/{round}/{phase}/{kind}" for kind in asked]

    def _last_left(self, slot: str, round: int, phase: int, asked: Sequence[str]) -> list[str]:
        """Name what the wire left of the gradients of the step before."""
        found = []
        for kind in asked:
            earlier = [at for at in range(phase) if kind in self._phases[at][1]]
            if earlier:
                found += self._left(slot, round, earlier[-1], (kind,))
            elif round > 1:
                every = [at for at, (_, which, _) in enumerate(self._phases) if kind in which]
                found += self._left(slot, round - 1, every[-1], (kind,))
        return found

    # ---- plans

    def begin(self) -> tuple[SplitView, list[Task]]:
        """Give the view before the first exchange, and the tasks that make all networks."""
        made = []
        local = self.holders if self.combine == "local" else ()  # these for their moments
        copied = self.combine == "server"
        for keeper in (*self._keepers, *local):
            for kind in BOTH:
                held, moments = weights(keeper, kind, 0)
                writes = (held, moments, *(self._copies(held) if copied else ()))
                # all draw as the first node does: copies of one network
                given = {"kind": kind, "slot": self.holders[0], "copied": copied}
                made.append(self._task(keeper, 0, begin, (), writes, f"begin_{kind}", **given))
        generators = {slot: f"{slot}/generator/0" for slot in self.generator_slots}
        view = SplitView(0, generators, frozenset(), weights=(1.0,), metric=self.score)
        return view, made

    def _networks(self, round: int) -> list[str]:
        return [
            name
            for keeper in self._keepers
            for kind in BOTH
            for name in weights(keeper, kind, round)[: 1 if self.combine == "local" else 2]
        ]

    def exchange(self, round: int) -> Plan:
        """Plan an exchange: both networks at once, or the generator by the new discriminator."""
        if self.combine == "local":
            return self._by_steps(round)
        return self._by_server(round) if self._served else self._by_all(round)

    def _by_server(self, round: int) -> list[Stage]:
        """Let a server average what all nodes gave, and take the steps."""
        steps = {DISCRIMINATOR: (round - 1) * self.discriminator_steps, GENERATOR: round - 1}
        plan: list[Stage] = []
        for phase, (_, asked, _) in enumerate(self._phases):
            at = dict.fromkeys(self.holders, Place(round, phase))
            plan.append([self.asking(slot, place, steps) for slot, place in at.items()])
            plan.append(
                [
                    self.taking(kind, at, steps[kind], round, self._scores(kind, round))
                    for kind in asked
                ]
            )
            steps |= {kind: steps[kind] + 1 for kind in asked}
        return plan

    def _by_all(self, round: int) -> list[Stage]:
        """Let nodes average slices among themselves, and take the steps of their own copies."""
        plan: list[Stage] = []
        for phase in range(len(self._phases)):
            asking = []
            for slot in self.holders:
                held = {kind: self._held(slot, kind, round, phase - 1)[0] for kind in BOTH}
                asking.append(self._differentiating(slot, round, phase, held))
            plan += [asking, *self._reducing(round, phase)]
        return plan

    def _differentiating(self, slot: str, round: int, phase: int, held: Mapping[str, str]) -> Task:
        """Make a node's task: gradients of one network, or of both, as they are held."""
        after, asked, step = self._phases[phase]
        newer = self._newer(slot, round, phase)
        reads: list[str] = []
        for kind in BOTH:
            reads += [held[kind], *([newer[kind]] if kind in newer else [])]
        sent = self._gradients(slot, round, phase, asked)
        left = self._left(slot, round, phase, asked)
        return self._task(
            slot,
            round,
            differentiate,
            (*reads, *self._last_left(slot, round, phase, asked)),
            (*sent, *left, *self._counts(slot, round, phase).values()),
            f"differentiate_{after}",
            node=self.holders.index(slot),
            counted=tuple(kind in newer for kind in BOTH),
            asked=asked,
            step=step,
        )

    def _scores(self, kind: str, round: int) -> bool:
        return kind == GENERATOR and self.is_scored(round)

    def _reducing(self, round: int, phase: int) -> list[list[Task]]:
        """Let each node average one slice, and take the steps of its own copies by all slices."""
        after, asked, _ = self._phases[phase]
        means = [_of_phase(f"{slot}/mean/{round}", phase, asked) for slot in self.holders]
        parts = [self._gradients(slot, round, phase, asked) for slot in self.holders]
        slices = zip(self.holders, means, zip(*parts, strict=True), strict=True)
        reducing = [
            Task(slot, round, reduce, reads, (mean,), {"wire": self.wire}, name=f"reduce_{after}")
            for slot, mean, reads in slices
        ]
        applying = [self._applying(slot, round, phase, means) for slot in self.holders]
        return [reducing, applying]

    def _applying(self, slot: str, round: int, phase: int, means: Sequence[str]) -> Task:
        """Make a node's task: the steps of its copies."""
        after, asked, _ = self._phases[phase]
        held, writes = (
            [name for kind in asked for name in self._held(slot, kind, round, at)]
            for at in (phase - 1, phase)
        )
        counts = [self._averaged_counts(slot, round, phase, kind) for kind in asked]
        return self._task(
            slot,
            round,
            apply,
            (*held, *means, *(name for names in counts for name in names)),
            writes,
            f"apply_{after}",
            asked=asked,
            counts=tuple(map(len, counts)),
            scored=slot == self.holders[0] and any(self._scores(kind, round) for kind in asked),
        )

    # ---- at the nodes' own pace

    @property
    def paced(self) -> Paced | None:
        """Itself, if there is a server of gradients: it takes what there is."""
        return self if self.combine == "server" else None

    @property
    def own_pace(self) -> bool:
        """Whether slots have to go at their own pace: to wait for some means nothing otherwise."""
        return self.quorum > 0 and waited_for(self.quorum, self.nodes) < self.nodes

    @property
    def asked(self) -> Sequence[Sequence[str]]:
        """Of which networks a node gives gradients, in each phase of a round."""
        return [asked for _, asked, _ in self._phases]

    def asking(self, slot: str, place: Place, steps: Mapping[str, int]) -> Task:
        """Make a node's task, from the server's networks after so many steps."""
        held = {kind: self._sent(f"{SERVER}/{kind}/{steps[kind]}") for kind in BOTH}
        return self._differentiating(slot, place.round, place.phase, held)

    def taking(
        self, kind: str, taken: Mapping[str, Place], steps: int, round: int, scored: bool
    ) -> Task:
        """Make the server's task: a step of a network from the gradients taken."""
        told: list[str] = []
        counts: list[str] = []
        for slot, place in taken.items():
            told += self._gradients(slot, place.round, place.phase, (kind,))
            if self.buffers == "server" or slot == self.holders[0]:
                known = self._counts(slot, place.round, place.phase)
                counts += [known[kind]] if kind in known else []
        phase = next(iter(taken.values())).phase
        label, _, step = self._phases[phase]
        before, after = (weights(SERVER, kind, number) for number in (steps, steps + 1))
        return self._task(
            SERVER,
            round,
            combine,
            (*before, *told, *counts),
            (*after, *self._copies(after[0])),
            f"combine_{kind if step == 1 else label}",
            kind=kind,
            count=len(taken),
            scored=scored,
        )

    def pupils(self) -> Mapping[str, Pupil]:
        """Give the generators that learn by themselves: none."""
        return {}

    def generators_at(self, standing: Standing) -> Mapping[str, str]:
        """Name the server's generator."""
        return {SERVER: f"{SERVER}/generator/{reported(standing, GENERATOR)}"}

    def _by_steps(self, round: int) -> list[list[Task]]:
        """Let nodes take steps of their own, and the server average their weights."""
        training = []
        for node, slot in enumerate(self.holders):
            reads: list[str] = []
            writes: list[str] = []
            for kind in BOTH:
                held, moments = weights(slot, kind, round)
                reads += [f"{SERVER}/{kind}/{round - 1}", weights(slot, kind, round - 1)[1]]
                writes += [held, moments]
            training.append(self._task(slot, round, train_both, reads, writes, node=node))
        averaging = []
        for kind in BOTH:
            own = [f"{slot}/{kind}/{round}" for slot in self.holders]
            averaging.append(self._averaging(round, kind, own, self._scores(kind, round)))
        return [training, averaging]


def _of_phase(name: str, phase: int, kinds: Sequence[str]) -> str:
    """Name what is of some networks in a phase of an exchange: of the first, without a number."""
    return "/".join((name, *kinds, *([str(phase)] if phase else [])))
