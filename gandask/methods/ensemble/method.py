"""What a stored ensemble is: how it was chosen, what is known of it, and how it is sampled.

Generators that were trained for one objective make an ensemble for another (Toutouh, Hemberg and
O'Reilly 2020, "Re-purposing Heterogeneous Generative Ensembles with Evolutionary Computation").
Each member is sampled by the method, the settings and the facts of the run that trained it, which
the store holds too: the run itself may be gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from gandask import config
from gandask.config import setting, settings
from gandask.core import (
    Array,
    Event,
    Figure,
    Layout,
    Method,
    Plan,
    Record,
    Report,
    Role,
    SettingError,
    State,
    StoreError,
    Variable,
    torch_seed,
)
from gandask.core.files import DAMAGED, parsed
from gandask.methods import STORED
from gandask.methods.ensemble import figures
from gandask.scores.metrics import METRICS

OBJECTIVES = ("tvd", "fid")
SEARCHES = ("evolve", "greedy", "random", "exact")
SOURCES = "sources"
"""Fact that holds the settings and facts of each run that members are from, as JSON."""


@dataclass(frozen=True)
class EnsembleView:
    """What is known of ensembles that were found: all at once, in one round."""

    mixtures: Mapping[str, Mapping[str, float]]
    best: str | None
    records: Sequence[Record] = ()
    events: Sequence[Event] = ()
    round: int = field(default=1, init=False)

    @property
    def keeps(self) -> frozenset[str]:
        """Names of the generators that are in any ensemble."""
        return frozenset(name for weights in self.mixtures.values() for name in weights)


@settings
class Ensemble(Method[EnsembleView]):
    """Say how ensembles were chosen from generators of finished runs: see `gandask.repurposing`."""

    name: ClassVar[str] = "ensemble"

    runs: tuple[str, ...] = setting((), "stores that the generators are from")
    objective: tuple[str, ...] = setting(
        ("tvd",), "what ensembles improve; two give a Pareto front", choices=OBJECTIVES
    )
    size: tuple[int, ...] = setting(
        (), "numbers of members, of each an ensemble of exactly so many", minimum=1
    )
    at_most: int | None = setting(None, "the most members, of an ensemble of any size", minimum=1)
    search: str = setting("evolve", "what chooses members and weights", choices=SEARCHES)
    least_weight: float = setting(0.01, "that a member has", above=0, below=1)
    samples: int = setting(
        10_000, "of each generator to choose by, and as many others to judge by", minimum=2
    )
    candidates: tuple[str, ...] = setting((), "generators that were chosen from; found in the runs")
    found: tuple[str, ...] = setting((), "what each ensemble is called; found by the search")
    seed: int = setting(1, "of the search", minimum=0)

    def __post_init__(self) -> None:
        if len({*self.objective}) != len(self.objective) or not self.objective:
            raise SettingError(
                f"objective={self.objective!r}: expected one, or two that differ, of "
                f"{', '.join(OBJECTIVES)}"
            )
        if len({*self.size}) != len(self.size):
            raise SettingError(f"size={self.size!r}: expected sizes that differ")

    @property
    def rounds(self) -> int:
        """One: the search as a whole."""
        return 1

    def layout(self) -> Layout:
        """Describe the result."""
        coords = {"ensemble": self.found, "member": self.candidates}
        roles = {"ensemble": Role.numbered("ensemble", ["ensemble"], len(self.found))}
        return Layout(coords, roles, self._variables())

    def _variables(self) -> dict[str, Variable]:
        of: dict[str, Any] = {"role": "ensemble"}
        lower: dict[str, Any] = {"better": "lower"}
        made: dict[str, Variable] = {}
        for name in OBJECTIVES:
            title, judged = METRICS[name].long_name, f"final_{name}"
            made[name] = Variable(
                f"{title}, by the half that chooses", samples=self.samples, **of, **lower
            )
            final: dict[str, Any] = {"by_round": False, "samples": self.samples, **lower}
            made[judged] = Variable(
                f"{title}, by the half that judges", final_of=name, **of, **final
            )
            made[f"member_{name}"] = Variable(
                f"{title} of one generator, by the half that judges", dims=("member",), **final
            )
        tvd = METRICS["tvd"].long_name
        made["optimum"] = Variable(f"least {tvd}, by the half that chooses", **of, by_round=False)
        made["gap"] = Variable(f"{tvd} above the optimum", **of, **lower, by_round=False)
        made["weight"] = Variable("share in the ensemble", "1", ("member",), by_round=False, **of)
        whole: dict[str, Any] = {"dtype": "int64", "by_round": False}
        made["members"] = Variable("generators in the ensemble", **of, **whole)
        made["limit"] = Variable("generators that were asked for, or the most", **of, **whole)
        made["evaluations"] = Variable("ensembles that were tried", **of, **whole)
        return made

    def check(self) -> None:
        """Refuse to be trained."""
        self._refuse()

    def start(self) -> tuple[EnsembleView, Plan]:
        """Refuse to be trained."""
        self._refuse()

    def advance(self, view: EnsembleView, reports: Sequence[Report]) -> tuple[EnsembleView, Plan]:
        """Refuse to be trained."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise SettingError(
            "method='ensemble': an ensemble is chosen, not trained: gd.ensembles(RUNS, ...), or "
            "gandask ensemble RUNS -o FOLDER in the shell"
        )

    def generate(
        self, name: str, state: State, count: int, seed: int, facts: Mapping[str, Any]
    ) -> Array:
        """Draw samples from a member, as the run that trained it would.

        Members of two runs that have one name draw apart.

        Raises
        ------
        StoreError
            If what is stored of that run cannot be read.
        """
        number, own = parted(name)
        made, known = source(facts, number)
        return made.generate(own, state, count, torch_seed(seed, name), known)

    def figures(self) -> Mapping[str, Figure]:
        """Give the drawings of its own."""
        return figures.FIGURES


def named(number: int, generator: str) -> str:
    """Name a generator of one of the runs: apart from that of another run.

    Examples
    --------
    >>> named(1, "cell/0/generator/7"), parted("source/1/cell/0/generator/7")
    ('source/1/cell/0/generator/7', (1, 'cell/0/generator/7'))
    """
    return f"source/{number}/{generator}"


def parted(name: str) -> tuple[int, str]:
    """Give the number of the run, and what the run itself calls a generator.

    Raises
    ------
    StoreError
        If it is not as `named` makes it.
    """
    first, _, rest = name.partition("/")
    number, _, own = rest.partition("/")
    if first != "source" or not number.isdecimal() or not own:
        raise StoreError(f"{name!r}: expected the name of a member, source/NUMBER/GENERATOR")
    return int(number), own


def told(sources: Sequence[tuple[Method[Any], Mapping[str, Any]]]) -> str:
    """Write down methods and facts of runs, for `source` to read."""
    return json.dumps(
        [{"settings": config.to_toml(method), "facts": dict(facts)} for method, facts in sources]
    )


def source(facts: Mapping[str, Any], number: int) -> tuple[Method[Any], Mapping[str, Any]]:
    """Read method and facts of the run that a member is from.

    Nothing that its settings name is imported: its functions are never called.

    Raises
    ------
    StoreError
        If they cannot be read: an ensemble may be a stranger's.
    """
    try:
        one = parsed(facts[SOURCES])[number]
        text, known = one["settings"], dict(one["facts"])
        return config.from_toml(text, STORED), known
    except DAMAGED as error:
        raise StoreError(
            f"{SOURCES} in the facts of the ensemble cannot be read: {type(error).__name__}: "
            f"{error}; put its run.json back as it was (methods, networks and losses of your own "
            "are registered before: import the module that does, in the shell by --import FILE.py)"
        ) from error
