"""A method of your own in one file: a server's generator learns from nodes that keep their data.

    gandask train own.toml --import own_method.py --store runs/own

A method is a frozen set of settings with a few functions. Its *view* is what the client knows;
`start` and `advance` answer what the workers report with a *plan*: stages of tasks. A task is a
plain function from states (named arrays that stay on the workers) to new states and values (small
numbers that travel to the client). Here a round is a plan of three stages: the server forges
samples, every node judges them against its own data, and the server learns from the feedback.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

import gandask as gd
from gandask import config
from gandask.config import setting, settings
from gandask.core import (
    Array, Event, Figure, Layout, Method, Plan, Record, Report, Role, State, Task, Variable, rng,
    routine,
)  # fmt: skip

Made = tuple[tuple[State, ...], Mapping[str, Any]]

# Tasks: pure functions, which change nothing that they are given. A draw has a stream of its own.


def begin() -> Made:
    """Make a generator: points from a normal distribution."""
    return ({"centre": np.zeros(2), "width": np.ones(2)},), {}


def forge(generator: State, *, seed: int, round: int, count: int) -> Made:
    """Draw fakes, for the nodes to judge."""
    return ({"points": drawn(generator, count, seed, round, "fakes")},), {}


def judge(fakes: State, *, seed: int, slot: str) -> Made:
    """Compare fakes with the node's own data, which nobody else sees."""
    with routine("judge"):  # its time has a name of its own in ds.seconds
        chance = rng(seed, slot, "data")
        own = chance.normal([3.0, 1.0], 0.5, (200, 2)) + chance.normal(0.0, 0.2, 2)
        off = {
            "centre": own.mean(0) - fakes["points"].mean(0),
            "width": own.std(0) - fakes["points"].std(0),
        }
    return (off,), {"distance": float(np.hypot(*off["centre"]) + np.hypot(*off["width"]))}


def learn(generator: State, *feedback: State, rate: float) -> Made:
    """Move the generator by what all nodes said."""
    made = {name: generator[name] + rate * mean(name, feedback) for name in generator}
    return (made,), {"centre": made["centre"]}


def mean(name: str, feedback: Sequence[State]) -> Array:
    """Average one array over the nodes."""
    return np.mean([one[name] for one in feedback], axis=0)


def drawn(generator: State, count: int, *key: Any) -> Array:
    """Draw points from a generator."""
    return rng(*key).normal(generator["centre"], np.abs(generator["width"]), (count, 2))


@dataclass(frozen=True)
class OwnView:
    """What the client knows: names of states and numbers."""

    round: int = 0
    phase: str = "round"
    heard: tuple[Report, ...] = ()
    records: tuple[Record, ...] = ()
    events: tuple[Event, ...] = ()
    best: str | None = "server/0"

    @property
    def generator(self) -> str:
        """The newest generator's state. A state is written once, so the round is in its name."""
        return f"server/0/generator/{self.round}"

    @property
    def keeps(self) -> frozenset[str]:
        """States that a later plan still reads: all others are dropped."""
        return frozenset({self.generator})

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """What ``gandask sample`` draws from."""
        return {"server/0": {self.generator: 1.0}}


@settings
class Own(Method[OwnView]):
    """Fit a generator to data that stay on their nodes."""

    name: ClassVar[str] = "own"
    schedules: ClassVar[Mapping[str, str]] = {"rate": "rate_schedule"}  # may change while running

    rounds: int = setting(10, "exchanges between server and nodes", minimum=1)
    nodes: int = setting(3, "that hold data", minimum=1)
    samples: int = setting(200, "fakes per round", minimum=2)
    rate: float = setting(0.3, "how far the generator moves", above=0, maximum=1)
    rate_schedule: Mapping[str, float] = setting({}, "rates from given rounds on", above=0)
    seed: int = setting(1, "of every random draw", minimum=0)

    def prepare(self) -> Mapping[str, Any]:
        """Give facts worth recording: ``score`` names the variable that tells the best."""
        return {"score": "distance", "sample_shape": [2]}

    def places(self) -> Mapping[str, str]:
        """Give the server a place: a worker named ``server``, if there is one."""
        return {"server/0": "server"}

    def term(self, state: str) -> str:
        """Name what travels, for ``ds.sent_bytes``."""
        return {"fakes": "fakes", "feedback": "feedback"}.get(state.split("/")[2], "weights")

    def layout(self) -> Layout:
        """Describe the Dataset: two roles, and the variables that records hold."""
        near: dict[str, Any] = {"role": "node", "better": "lower"}
        return Layout(
            coords={"node": range(self.nodes), "axis": ["x", "y"]},
            roles={
                "server": Role((), ("server/0",)),
                "node": Role.numbered("node", ["node"], self.nodes),
            },
            variables={
                "distance": Variable(
                    "distance of fakes from own data", shown=("map", "trace", "report"), **near
                ),
                "final_distance": Variable(
                    "distance in the end", by_round=False, final_of="distance", **near
                ),
                "centre": Variable("centre of the generator", dims=("axis",), role="server"),
            },
        )

    def start(self) -> tuple[OwnView, Plan]:
        """Make the generator, and begin the first round after it: one plan, four stages."""
        view = OwnView()
        born = Task("server/0", 0, begin, writes=(view.generator,))
        return view, [[born], *self._round(view)]

    def advance(self, view: OwnView, reports: Sequence[Report]) -> tuple[OwnView, Plan]:
        """Decide what follows from reports: all of the plan's, or the next few if asynchronous."""
        if view.phase == "concluding":  # a step without tasks: there are no reports
            return replace(view, phase="done", records=self._conclusion(view)), []
        heard = (*view.heard, *reports)
        view = replace(view, heard=heard, records=(), events=())
        learned = [report for report in heard if report.task == "learn"]
        if not learned:
            return view, []  # more reports are under way
        distances = [report for report in heard if report.task == "judge"]
        records = [Record(r.slot, r.round, {"distance": r.values["distance"]}) for r in distances]
        records += [Record(r.slot, r.round, {"centre": r.values["centre"]}) for r in learned]
        view = replace(view, round=view.round + 1, records=tuple(records))
        if view.round < self.rounds:
            return replace(view, heard=()), self._round(view)
        return replace(view, phase="concluding"), [[]]

    def _round(self, view: OwnView) -> Plan:
        """Plan one round: later stages read what earlier ones write."""
        number, seed = view.round + 1, self.seed
        fakes, learned = f"server/0/fakes/{number}", f"server/0/generator/{number}"
        nodes = [f"node/{i}" for i in range(self.nodes)]
        said = [f"{node}/feedback/{number}" for node in nodes]
        forging = {"seed": seed, "round": number, "count": self.samples}
        rate = config.in_force(self, "rate", number)
        return [
            [Task("server/0", number, forge, (view.generator,), (fakes,), forging)],
            [
                Task(node, number, judge, (fakes,), (name,), {"seed": seed, "slot": node})
                for node, name in zip(nodes, said, strict=True)
            ],
            [Task("server/0", number, learn, (view.generator, *said), (learned,), {"rate": rate})],
        ]

    def _conclusion(self, view: OwnView) -> tuple[Record, ...]:
        """Record what stays: the distances of the last round."""
        last = [r for r in view.heard if r.task == "judge"]
        return tuple(
            Record(r.slot, r.round, {"final_distance": r.values["distance"]}) for r in last
        )

    def generate(self, name: str, state: State, count: int, seed: int) -> Array:
        """Draw samples from a generator that was kept."""
        return drawn(state, count, seed, name)

    def figures(self) -> Mapping[str, Figure]:
        """Draw what is special: on the live page, in the report, and as ``run.plot.path()``."""
        return {"path": Figure("Where the generator went", path, needs=("centre",))}


def path(ds: Any) -> Any:
    """Draw the way of the generator's centre."""
    import holoviews as hv

    x, y = ds["centre"].transpose("axis", "round").values
    return hv.Curve((x, y), "x", "y").opts(responsive=True, height=260)


gd.METHODS["own"] = Own
