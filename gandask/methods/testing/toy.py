"""A toy method: a population of points that learn where a target is, and forget none of the rules.

It has all that a method may have and needs no network: a run takes milliseconds. The engine is
tested with it, and whoever writes a method may begin with a copy of it.

A round of a node is one task, which reads its own point and its left neighbour's, or, with a
server, three stages: all nodes step, the server averages, all nodes move towards the average. Alone
each node may go on at its own pace; a server waits for all. A last plan scores every node.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from gandask import config
from gandask.config import setting, settings
from gandask.core import (
    NON_FINITE,
    Array,
    Event,
    Figure,
    Layout,
    Made,
    Method,
    Plan,
    Record,
    Report,
    Role,
    State,
    Task,
    Variable,
    progress,
    rng,
    routine,
)

SERVER = "server/0"
TARGET = np.array([0.6, -0.3])
PARTS = 5  # in which a task sleeps


# ---- what tasks perform, on workers: states and arguments in, new states and values out


def make(*, seed: int, slot: str) -> Made:
    """Make the first point of a node."""
    return ({"point": rng(seed, 0, slot, "make").normal(size=2)},), {}


def step(
    own: State,
    left: State,
    *,
    seed: int,
    slot: str,
    round: int,
    rate: float,
    sleep: float = 0.0,
    trouble: str = "",
) -> Made:
    """Step towards the target, and a little towards the neighbour.

    Parameters
    ----------
    rate : float
        Share of the way to the target.
    sleep : float
        Seconds to take over it.
    trouble : {"", "fails", "diverges"}
        What goes wrong.

    Returns
    -------
    values
        ``distance`` to the target; ``finite``: if not, the point stays what it was.
    """
    for part in range(PARTS if sleep else 0):
        progress(part / PARTS)
        time.sleep(sleep / PARTS)
    if trouble == "fails":
        raise ArithmeticError("no such number")
    with routine("train"):
        noise = rng(seed, round, slot, "step").normal(scale=0.01, size=2)
        point = own["point"] + rate * (TARGET - own["point"]) + noise
        point = point + 0.1 * (left["point"] - own["point"])
    finite = trouble != "diverges"
    state = {"point": point} if finite else own
    return (state,), {"distance": _distance(state), "finite": finite}


def average(*states: State) -> Made:
    """Average the points of all nodes."""
    mean = {"point": np.mean([state["point"] for state in states], axis=0)}
    return (mean,), {"distance": _distance(mean)}


def approach(own: State, mean: State) -> Made:
    """Move half the way to the average."""
    state = {"point": (own["point"] + mean["point"]) / 2}
    return (state,), {"distance": _distance(state)}


def score(*states: State, weights: Sequence[float]) -> Made:
    """Measure how far from the target the mixture of some points is."""
    mixed = np.average([state["point"] for state in states], axis=0, weights=weights)
    return (), {"distance": _distance({"point": mixed})}


def _distance(state: State) -> float:
    return float(np.linalg.norm(state["point"] - TARGET))


# ---- what the method knows and decides, in the client


@dataclass(frozen=True)
class ToyView:
    """What is known of the nodes: rounds begun and done, distances and names of states."""

    begun: Mapping[str, int]
    done: Mapping[str, int]
    distances: Mapping[str, float] = field(default_factory=dict)
    met: bool = False
    records: Sequence[Record] = ()
    events: Sequence[Event] = ()

    @property
    def round(self) -> int:
        """Number of rounds that every node has completed."""
        return min(self.done.values())

    @property
    def keeps(self) -> frozenset[str]:
        """Names of the nodes' newest points."""
        return frozenset(point(slot, done) for slot, done in self.done.items())

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """By node, the weights of its own point and of its left neighbour's."""
        nodes = [*self.done]
        return {slot: _mixture(slot, nodes, self.done) for slot in nodes}

    @property
    def best(self) -> str | None:
        """The node that is nearest to the target."""
        return min(self.distances, key=lambda slot: self.distances[slot], default=None)


def point(slot: str, round: int) -> str:
    """Name the point of a node after a round."""
    return f"{slot}/point/{round}"


def _mixture(slot: str, nodes: Sequence[str], done: Mapping[str, int]) -> dict[str, float]:
    left = nodes[nodes.index(slot) - 1]
    weights = {point(left, done[left]): 0.25, point(slot, done[slot]): 0.75}
    return weights if len(weights) > 1 else {point(slot, done[slot]): 1.0}


@settings
class Toy(Method[ToyView]):
    """Let nodes find a target."""

    name: ClassVar[str] = "toy"
    schedules: ClassVar[Mapping[str, str]] = {"rate": "rate_schedule"}

    nodes: int = setting(4, "slots that learn", minimum=1)
    rounds: int = setting(3, "rounds of every node", minimum=1)
    server: bool = setting(False, "whether a server averages the nodes: a second role")
    rate: float = setting(0.5, "share of the way to the target in a step", minimum=0, maximum=1)
    rate_schedule: Mapping[str, float] = setting(
        {}, "rates from given rounds on: {10: 0.1}", minimum=0, maximum=1
    )
    meeting: int = setting(0, "round after which all wait, for a step without tasks", minimum=0)
    workers: Mapping[str, str] = setting({}, "label of the place of a slot: {'node/0': 'a'}")
    sleep: float = setting(0.0, "seconds that a step of the first node takes longer", minimum=0)
    fails: int = setting(0, "round in which the first node's step fails", minimum=0)
    diverges: int = setting(0, "round in which the first node's step diverges", minimum=0)
    seed: int = setting(1, "of every random draw", minimum=0)

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return Role.numbered("node", ["node"], self.nodes).slots

    def layout(self) -> Layout:
        """Describe the result."""
        roles = {"server": Role((), (SERVER,))} if self.server else {}
        roles |= {"node": Role.numbered("node", ["node"], self.nodes)}
        variables = {
            "distance": Variable(
                "distance to the target",
                role="node",
                better="lower",
                shown=("map", "trace", "report"),
            ),
            "final_distance": Variable(
                "distance of the final mixture to the target",
                role="node",
                by_round=False,
                better="lower",
                final_of="distance",
            ),
            "mixture_weight": Variable("share in the mixture", dims=("member",), role="node"),
            "rate": Variable("share of the way to the target", shown=("map",), role="node"),
            "spread": Variable("standard deviation of the distances"),
        }
        if self.server:
            variables["average_distance"] = Variable(
                "distance of the average to the target", role="server", better="lower"
            )
        coords = {"node": range(self.nodes), "member": ("left", "own")}
        return Layout(coords, roles, variables)

    def prepare(self) -> Mapping[str, Any]:
        """Give the facts: what tells the best, and the form of a sample."""
        return {"score": "distance", "sample_shape": [2]}

    def places(self) -> Mapping[str, str]:
        """Give the label of each slot that has a place."""
        return self.workers

    def term(self, state: str) -> str:
        """Say what kind of thing a state is: an average or a point."""
        return "averages" if state.startswith("server") else "points"

    def generate(
        self, name: str, state: State, count: int, seed: int, facts: Mapping[str, Any]
    ) -> Array:
        """Draw samples from around a point."""
        noise = rng(seed, name, "samples").normal(scale=0.1, size=(count, 2))
        return np.asarray(state["point"] + noise, "float32")

    def figures(self) -> Mapping[str, Figure]:
        """Give the drawing of its own: how the nodes drift apart and together."""
        figure = Figure("Spread of the nodes", draw_spread, ("spread",), along="round")
        return {"spread": figure}

    def start(self) -> tuple[ToyView, Plan]:
        """Make every node, and begin the first round."""
        view = ToyView(dict.fromkeys(self.slots, 1), dict.fromkeys(self.slots, 0))
        made = [
            Task(slot, 0, make, (), (point(slot, 0),), {"seed": self.seed, "slot": slot})
            for slot in self.slots
        ]
        return view, [made, *self._round(self.slots, view.done)]

    def advance(self, view: ToyView, reports: Sequence[Report]) -> tuple[ToyView, Plan]:
        """Take in what tasks found, and begin the next round of those that are ready."""
        done, distances = dict(view.done), dict(view.distances)
        records: list[Record] = []
        events: list[Event] = []
        for report in reports:
            slot, distance = report.slot, report.values.get("distance", np.nan)
            if not report.values.get("finite", True):
                events.append(Event(report.round, NON_FINITE, slot, "the point stays"))
            if report.task == "average":
                records.append(Record(slot, report.round, {"average_distance": distance}))
            elif report.task == "score":
                records.append(Record(slot, report.round, {"final_distance": distance}))
            elif report.task == ("approach" if self.server else "step"):
                done[slot], distances[slot] = report.round, distance
                records.append(Record(slot, report.round, self._outcome(report)))
        if min(done.values()) > view.round:
            # in the order of the nodes: the last bit of a sum hangs on it
            spread = float(np.std([distances[slot] for slot in self.slots]))
            records.append(Record("", min(done.values()), {"spread": spread}))
        return self._go_on(
            replace(view, done=done, distances=distances, records=records, events=events)
        )

    def _outcome(self, report: Report) -> Mapping[str, Any]:
        shares = [0.25, 0.75] if self.nodes > 1 else [0.0, 1.0]
        rate = config.in_force(self, "rate", report.round)
        distance = report.values["distance"]
        return {"distance": distance, "mixture_weight": np.array(shares), "rate": rate}

    def _go_on(self, view: ToyView) -> tuple[ToyView, Plan]:
        """Plan what those nodes do that have nothing to do."""
        ready = [slot for slot in self.slots if view.done[slot] == view.begun[slot]]
        if len(ready) < self.nodes or view.round < max(view.done.values()):
            waited_for = (self.meeting, self.rounds)
            alone = [slot for slot in ready if view.done[slot] not in waited_for]
            ready = [] if self.server else alone
        elif view.round == self.meeting and not view.met:
            return replace(view, met=True), [[]]
        elif view.round >= self.rounds:
            begun = dict.fromkeys(self.slots, self.rounds + 1)
            return replace(view, begun=begun), [self._scores(view)]
        begun = {**view.begun, **{slot: view.done[slot] + 1 for slot in ready}}
        return replace(view, begun=begun), self._round(ready, view.done) if ready else []

    def _round(self, ready: Sequence[str], done: Mapping[str, int]) -> Plan:
        """Plan the next round of some nodes, or of all with the server's help."""
        if not self.server:
            return [[self._step(slot, done, point(slot, done[slot] + 1)) for slot in ready]]
        round = done[ready[0]] + 1
        drafts = [f"{slot}/draft/{round}" for slot in ready]
        mean = f"{SERVER}/average/{round}"
        return [
            [self._step(slot, done, draft) for slot, draft in zip(ready, drafts, strict=True)],
            [Task(SERVER, round, average, tuple(drafts), (mean,))],
            [
                Task(slot, round, approach, (draft, mean), (point(slot, round),))
                for slot, draft in zip(ready, drafts, strict=True)
            ],
        ]

    def _step(self, slot: str, done: Mapping[str, int], writes: str) -> Task:
        left, round = self.slots[self.slots.index(slot) - 1], done[slot] + 1
        rate = config.in_force(self, "rate", round)
        arguments = {"seed": self.seed, "slot": slot, "round": round, "rate": rate}
        if slot == self.slots[0]:
            trouble = {self.fails: "fails", self.diverges: "diverges"}.get(round, "")
            arguments |= {"sleep": self.sleep, "trouble": trouble}
        reads = point(slot, done[slot]), point(left, done[left])
        return Task(slot, round, step, reads, (writes,), arguments)

    def _scores(self, view: ToyView) -> list[Task]:
        return [
            Task(slot, self.rounds, score, tuple(mixed), (), {"weights": (*mixed.values(),)})
            for slot, mixed in view.mixtures.items()
        ]


def draw_spread(dataset: Any) -> Any:
    """Draw the spread of the nodes over the rounds."""
    import holoviews as hv

    return hv.Curve(dataset["spread"], "round", "spread")
