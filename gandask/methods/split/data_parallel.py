"""Data parallelism: every node trains copies of both networks on its own data, and all average.

The baseline of BPGAN (Wu, PhD thesis, Warwick 2022, chapter 4): by a server that holds the
networks, or among the nodes, each of which averages one slice of the gradients (reduce-scatter) and
hands it to all (all-gather).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

import torch

from gandask.config import setting, settings
from gandask.core import Layout, Plan, Role, Task
from gandask.methods.split.copies import apply, differentiate, reduce
from gandask.methods.split.method import SERVER, Split, weights
from gandask.methods.split.tasks import DISCRIMINATOR, GENERATOR, begin, combine
from gandask.methods.split.view import SplitView, variables
from gandask.training.learner import buffer_names

BOTH = (DISCRIMINATOR, GENERATOR)


@settings
class DataParallel(Split):
    """Train one GAN on the data of several nodes; its fields are its settings."""

    name: ClassVar[str] = "data_parallel"

    nodes: int = setting(4, "that hold data, and copies of both networks", minimum=1)
    combine: str = setting(
        "server",
        "where gradients are averaged: by a server, or among the nodes",
        choices=("server", "all_reduce"),
    )

    @property
    def holders(self) -> tuple[str, ...]:
        """Slots that hold data: the nodes."""
        return tuple(f"node/{index}" for index in range(self.nodes))

    @property
    def generator_slots(self) -> tuple[str, ...]:
        """The slot whose generator is scored: the server's, or the first of equal ones."""
        return (SERVER,) if self.combine == "server" else self.holders[:1]

    def layout(self) -> Layout:
        """Describe the result: ``(round, node)``."""
        roles = {"node": Role(("node",), self.holders)}
        if self.combine == "server":
            roles["server"] = Role((), (SERVER,))
        scored = "server" if self.combine == "server" else "node"
        known = variables("node", scored, [], self.score_samples, self.final_samples)
        return Layout({"node": range(self.nodes)}, roles, known)

    @functools.cached_property
    def _buffered(self) -> dict[str, bool]:
        """Whether each network counts statistics."""
        with torch.device("meta"):
            built = self.training.build_discriminator(), self.training.build_generator()
        return {kind: bool(buffer_names(one)) for kind, one in zip(BOTH, built, strict=True)}

    @property
    def _keepers(self) -> tuple[str, ...]:
        """Slots that hold the weights and moments."""
        return (SERVER,) if self.combine == "server" else self.holders

    def _begin(self) -> tuple[SplitView, list[Task]]:
        # all draw as the first does: copies of one network
        given = {"training": self.training, "slot": self.holders[0]}
        made = [
            Task(
                keeper,
                0,
                begin,
                (),
                weights(keeper, kind, 0),
                given | {"kind": kind},
                name=f"begin_{kind}",
            )
            for keeper in self._keepers
            for kind in BOTH
        ]
        generators = {slot: f"{slot}/generator/0" for slot in self.generator_slots}
        view = SplitView(0, generators, frozenset(), weights=(1.0,), metric=self.score)
        return view, made

    def _kept(self, round: int) -> tuple[dict[str, str], list[str]]:
        kept = [
            name
            for keeper in self._keepers
            for kind in BOTH
            for name in weights(keeper, kind, round)
        ]
        kept += [name for slot in self.holders for name in self._counts(slot, round, self._last)]
        return {slot: f"{slot}/generator/{round}" for slot in self.generator_slots}, kept

    @property
    def _last(self) -> str:
        """What a node's last task of an exchange differentiates."""
        return "both" if self.schedule == "simultaneous" else GENERATOR

    def _counts(self, slot: str, round: int, after: str) -> tuple[str, ...]:
        """Name what a node's networks have counted after one of its tasks."""
        return tuple(
            f"{slot}/buffers/{round}/{after}/{kind}" for kind in BOTH if self._buffered[kind]
        )

    def _sent_counts(self, round: int, after: str, kind: str) -> list[str]:
        """Name what all nodes have counted of one network after their tasks."""
        counts = [name for slot in self.holders for name in self._counts(slot, round, after)]
        return [name for name in counts if name.endswith(f"/{kind}")]

    def exchange(self, round: int) -> Plan:
        """Plan an exchange: both networks at once, or the generator by the new discriminator."""
        steps: list[tuple[str, Sequence[str]]] = [("both", BOTH)]
        if self.schedule == "alternating":
            steps = [(kind, (kind,)) for kind in BOTH]
        plan: list[Sequence[Task]] = []
        for after, asked in steps:
            plan.append([self._differentiating(slot, round, after, asked) for slot in self.holders])
            combining = self._served if self.combine == "server" else self._reduced
            plan += combining(round, after, asked)
        return plan

    def _differentiating(self, slot: str, round: int, after: str, asked: Sequence[str]) -> Task:
        """Make a node's task: gradients of one network, or of both."""
        keeper = SERVER if self.combine == "server" else slot
        late = after == GENERATOR  # the discriminator has taken its step
        at = {DISCRIMINATOR: round if late else round - 1, GENERATOR: round - 1}
        counts = self._counts(slot, round, DISCRIMINATOR) if late else ()
        if not late and round > 1:
            counts = self._counts(slot, round - 1, self._last)
        newer = dict(zip((kind for kind in BOTH if self._buffered[kind]), counts, strict=False))
        reads: list[str] = []
        for kind in BOTH:
            reads += [f"{keeper}/{kind}/{at[kind]}", *([newer[kind]] if kind in newer else [])]
        given = {
            "training": self.training,
            "slot": slot,
            "round": round,
            "node": self.holders.index(slot),
            "nodes": self.nodes,
            "counted": tuple(kind in newer for kind in BOTH),
            "asked": tuple(asked),
            "slices": self.nodes if self.combine == "all_reduce" else 0,
        }
        sent = [name for kind in asked for name in self._gradients(slot, round, kind)]
        writes = (*sent, *self._counts(slot, round, after))
        return Task(
            slot, round, differentiate, tuple(reads), writes, given, name=f"differentiate_{after}"
        )

    def _gradients(self, slot: str, round: int, kind: str) -> list[str]:
        """Name a node's gradients of a network: whole, or in slices for all."""
        name = f"{slot}/gradients/{round}/{kind}"
        if self.combine == "server":
            return [name]
        return [f"{name}/{index}" for index in range(self.nodes)]

    def _served(self, round: int, after: str, asked: Sequence[str]) -> list[list[Task]]:
        """Let the server average, and take the steps."""
        stage = []
        for kind in asked:
            sent = [name for slot in self.holders for name in self._gradients(slot, round, kind)]
            counts = self._sent_counts(round, after, kind)
            given = {"training": self.training, "slot": SERVER, "round": round, "kind": kind}
            given |= {"nodes": self.nodes, "counted": bool(counts)}
            given |= {"scored": kind == GENERATOR and self._is_scored(round)}
            reads = (*weights(SERVER, kind, round - 1), *sent, *counts)
            writes = weights(SERVER, kind, round)
            stage.append(Task(SERVER, round, combine, reads, writes, given, name=f"combine_{kind}"))
        return [stage]

    def _reduced(self, round: int, after: str, asked: Sequence[str]) -> list[list[Task]]:
        """Let each node average one slice, and take the steps of its own copies by all slices."""
        reducing, applying = [], []
        for kind in asked:
            means = [f"{slot}/mean/{round}/{kind}" for slot in self.holders]
            counts = self._sent_counts(round, after, kind)
            for index, slot in enumerate(self.holders):
                parts = tuple(self._gradients(one, round, kind)[index] for one in self.holders)
                reducing.append(
                    Task(slot, round, reduce, parts, (means[index],), name=f"reduce_{kind}")
                )
                given = {"training": self.training, "slot": slot, "round": round, "kind": kind}
                scored = kind == GENERATOR and index == 0 and self._is_scored(round)
                given |= {"nodes": self.nodes, "scored": scored}
                reads = (*weights(slot, kind, round - 1), *means, *counts)
                writes = weights(slot, kind, round)
                applying.append(
                    Task(slot, round, apply, reads, writes, given, name=f"apply_{kind}")
                )
        return [reducing, applying]
