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
from gandask import config, core
from gandask.config import setting, settings

# --- Tasks: pure functions, which change nothing that they are given ------------------------------


def begin() -> core.Made:
    """Make a generator: points from a normal distribution."""
    return ({"centre": np.zeros(2), "width": np.ones(2)},), {}


def forge(generator: core.State, *, seed: int, round: int, count: int) -> core.Made:
    """Draw fakes, for the nodes to judge."""
    return ({"points": drawn(generator, count, seed, round, "fakes")},), {}


def judge(fakes: core.State, *, seed: int, slot: str) -> core.Made:
    """Compare fakes with the node's own data, which nobody else sees."""
    with core.routine("judge"):  # its time has a name of its own in ds.seconds
        chance = core.rng(seed, slot, "data")  # every draw has a stream of its own
        own = chance.normal([3.0, 1.0], 0.5, (200, 2)) + chance.normal(0.0, 0.2, 2)
        off = {
            "centre": own.mean(0) - fakes["points"].mean(0),
            "width": own.std(0) - fakes["points"].std(0),
        }
    return (off,), {"distance": float(np.hypot(*off["centre"]) + np.hypot(*off["width"]))}


def learn(generator: core.State, *feedback: core.State, rate: float) -> core.Made:
    """Move the generator by what the nodes said on average."""
    said = {name: np.mean([one[name] for one in feedback], axis=0) for name in generator}
    made = {name: generator[name] + rate * said[name] for name in generator}
    return (made,), {"centre": made["centre"]}


def drawn(generator: core.State, count: int, *key: Any) -> core.Array:
    """Draw points from a generator."""
    return core.rng(*key).normal(generator["centre"], np.abs(generator["width"]), (count, 2))


# --- What the client knows: names of states, and numbers ------------------------------------------


@dataclass(frozen=True)
class OwnView:
    """What is known between two plans."""

    round: int = 0
    concluding: bool = False
    heard: tuple[core.Report, ...] = ()
    records: tuple[core.Record, ...] = ()
    events: tuple[core.Event, ...] = ()
    best: str | None = "server/0"

    @property
    def generator(self) -> str:
        """The newest generator's state: it is written once, so the round is in its name."""
        return f"server/0/generator/{self.round}"

    @property
    def keeps(self) -> frozenset[str]:
        """States that a later plan still reads: all others are dropped."""
        return frozenset({self.generator})

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """What ``gandask sample`` draws from: by slot, the shares of generators."""
        return {"server/0": {self.generator: 1.0}}


# --- The method -----------------------------------------------------------------------------------


@settings
class Own(core.Method[OwnView]):
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

    def layout(self) -> core.Layout:
        """Describe the Dataset: two roles, and the variables that records hold."""
        far: dict[str, Any] = {"role": "node", "better": "lower"}
        shown = ("map", "trace", "report")
        return core.Layout(
            coords={"node": range(self.nodes), "axis": ["x", "y"]},
            roles={
                "server": core.Role((), ("server/0",)),
                "node": core.Role.numbered("node", ["node"], self.nodes),
            },
            variables={
                "distance": core.Variable("distance of fakes from own data", shown=shown, **far),
                "final_distance": core.Variable(
                    "distance in the end", by_round=False, final_of="distance", **far
                ),
                "centre": core.Variable("centre of the generator", dims=("axis",), role="server"),
            },
        )

    def start(self) -> tuple[OwnView, core.Plan]:
        """Make the generator, and then begin the first round."""
        view = OwnView()
        born = core.Task("server/0", 0, begin, writes=(view.generator,))
        return view, [[born], *self._round(view)]

    def advance(self, view: OwnView, reports: Sequence[core.Report]) -> tuple[OwnView, core.Plan]:
        """Decide what follows from reports: all of a plan's, or the next few if asynchronous."""
        heard = {report.slot: report for report in (*view.heard, *reports) if report.round}
        if view.concluding:  # a step without tasks: there are no reports
            return replace(view, concluding=False, records=recorded(heard, "final_distance")), []
        if "server/0" not in heard or heard["server/0"].task != "learn":
            return replace(view, heard=(*heard.values(),), records=()), []  # more are under way
        records = recorded(heard, "distance") + recorded(heard, "centre")
        view = replace(view, round=view.round + 1, heard=(), records=records)
        if view.round < self.rounds:
            return view, self._round(view)
        return replace(view, concluding=True, heard=(*heard.values(),)), [[]]

    def _round(self, view: OwnView) -> core.Plan:
        """Plan one round: later stages read what earlier ones write."""
        number = view.round + 1
        fakes, learned = f"server/0/fakes/{number}", f"server/0/generator/{number}"
        said = {f"node/{i}": f"node/{i}/feedback/{number}" for i in range(self.nodes)}
        forging = {"seed": self.seed, "round": number, "count": self.samples}
        learning = {"rate": config.in_force(self, "rate", number)}
        reads = view.generator, *said.values()
        return [
            [core.Task("server/0", number, forge, (view.generator,), (fakes,), forging)],
            [
                core.Task(
                    node, number, judge, (fakes,), (writes,), {"seed": self.seed, "slot": node}
                )
                for node, writes in said.items()
            ],
            [core.Task("server/0", number, learn, reads, (learned,), learning)],
        ]

    def generate(
        self, name: str, state: core.State, count: int, seed: int, facts: Mapping[str, Any]
    ) -> core.Array:
        """Draw samples from a generator that was kept."""
        return drawn(state, count, seed, name)

    def figures(self) -> Mapping[str, core.Figure]:
        """Draw what is special: on the live page, in the report, and as ``run.plot.path()``."""
        return {"path": core.Figure("Where the generator went", path, needs=("centre",))}


def recorded(heard: Mapping[str, core.Report], name: str) -> tuple[core.Record, ...]:
    """Make the rows of one variable, from the reports that tell it."""
    told = {slot: report.values.get(name.removeprefix("final_")) for slot, report in heard.items()}
    known = {slot: value for slot, value in told.items() if value is not None}
    return tuple(core.Record(s, heard[s].round, {name: value}) for s, value in known.items())


def path(ds: Any) -> Any:
    """Draw the way of the generator's centre."""
    import holoviews as hv

    x, y = ds["centre"].transpose("axis", "round").values
    return hv.Curve((x, y), "x", "y").opts(responsive=True, height=260, toolbar=None)


gd.METHODS["own"] = Own
