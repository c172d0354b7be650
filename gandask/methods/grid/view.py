"""What the client knows of a grid's cells, and the evolution it decides from reported numbers.

Selection, replacement and the mixture of Lipizzaner, as pure functions: a cell and what a task
reported in, a new cell out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from gandask.core import Array, Event, Record, Report, Values, Variable
from gandask.methods.best import Best, states_of, with_kept
from gandask.methods.grid.mutable import RATES
from gandask.scores.accuracy import ACCURACY
from gandask.scores.metrics import METRICS, better

KINDS = ("generator", "discriminator")
REPORTED = ("fid", "tvd")
"""Scores whose course a report draws."""
FITNESS: dict[str, Callable[..., Any]] = {"worst": np.max, "average": np.mean, "best": np.min}
"""How an individual's losses against all its opponents make one fitness; lower is better."""


@dataclass(frozen=True)
class Individual:
    """A generator or a discriminator, as the client knows it: never its weights.

    `name` is that of its state; `parent` the cell it was cloned from; `loss` the index of the loss
    it was trained with; `statistics` those of a generator's samples, packed; `evolved` its values
    of settings that evolve.
    """

    name: str
    parent: int
    learning_rate: float = np.nan
    loss: int = 0
    fitness: float = np.nan
    statistics: Array | None = None
    evolved: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, str]:
        """Names of its weights and of its moments."""
        return self.name, f"{self.name}/moments"

    @property
    def cell(self) -> int:
        """The cell it was made in."""
        return int(self.name.split("/")[1])


@dataclass(frozen=True)
class Population:
    """Generators and discriminators: a cell's own, or those of its neighbourhood."""

    generators: tuple[Individual, ...] = ()
    discriminators: tuple[Individual, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """Names of all their states."""
        return frozenset(n for i in (*self.generators, *self.discriminators) for n in i.names)

    def rotated(self, first: int) -> Population:
        """Begin with the individuals at `first`."""
        return Population(
            self.generators[first:] + self.generators[:first],
            self.discriminators[first:] + self.discriminators[:first],
        )


@dataclass(frozen=True)
class Cell:
    """One cell of the grid.

    Parameters
    ----------
    index : int
    own : Population
        Its individuals.
    round : int
        Completed rounds.
    phase : str
        The task under way ("fitness", "train", "score"), or "trained" and "scored" after them.
    members : tuple of int
        The cells of its neighbourhood, itself first.
    pool : Population
        Their individuals, its own first, as the round's tasks read them.
    parents : Population
        The pair in training.
    loss : int
        Index of the loss it trains with.
    weights : mapping of (cell, individual) to float
        Its mixture.
    score : float
        That of its mixture, or of its neighbourhood's discriminators together.
    accuracy, discriminator_accuracy : float
        Of these together, and of its own fittest, where they tell classes.
    """

    index: int
    own: Population
    round: int = 0
    phase: str = "trained"
    members: tuple[int, ...] = ()
    pool: Population = Population()
    parents: Population = Population()
    loss: int = 0
    weights: Mapping[tuple[int, int], float] | None = None
    score: float = np.nan
    accuracy: float = np.nan
    discriminator_accuracy: float = np.nan

    @property
    def slot(self) -> str:
        """Name of the cell's slot."""
        return f"cell/{self.index}"

    def measured(self, values: Values) -> Cell:
        """Take in the statistics of its generators, where they were reported."""
        if "statistics" not in values:
            return self
        generators = tuple(
            replace(individual, statistics=row)
            for individual, row in zip(self.own.generators, values["statistics"], strict=True)
        )
        return replace(self, own=replace(self.own, generators=generators))


@dataclass(frozen=True)
class GridView:
    """What the client knows of the grid, and the best round's mixture, where that is kept."""

    cells: tuple[Cell, ...]
    records: tuple[Record, ...] = ()
    events: tuple[Event, ...] = ()
    metric: str = "fid"
    kept: Best | None = None

    @property
    def round(self) -> int:
        """Number of rounds that every cell has completed."""
        return min(cell.round for cell in self.cells)

    @property
    def best(self) -> str | None:
        """The cell whose mixture scores best so far."""
        best = None
        higher = self.metric == ACCURACY or METRICS[self.metric].higher_is_better
        for cell in self.cells:
            if better(cell.score, best.score if best else np.nan, higher):
                best = cell
        return best.slot if best else None

    @property
    def keeps(self) -> frozenset[str]:
        """Names of every living individual's states, and of those under evaluation or kept."""
        populations = [p for cell in self.cells for p in (cell.own, cell.pool)]
        return states_of(self.kept).union(*(population.names for population in populations))

    @property
    def ensembles(self) -> Mapping[str, Mapping[str, float]]:
        """By slot, the weights of its neighbourhood's generators."""
        return {cell.slot: mixed(self.cells, cell.weights) for cell in self.cells if cell.weights}

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """The same, and what is kept."""
        return with_kept(self.ensembles, self.kept)


def mixed(cells: Sequence[Cell], weights: Mapping[tuple[int, int], float]) -> Mapping[str, float]:
    """Give the weights of a mixture by the names of its generators."""
    return {
        cells[member].own.generators[individual].name: weight
        for (member, individual), weight in weights.items()
    }


@functools.cache
def variables(samples: int, final_samples: int) -> Mapping[str, Variable]:
    """List what a record of a cell's round may hold."""
    of_cell = functools.partial(Variable, role="cell")
    made = {"batches": of_cell("generator steps in the round", "batches", dtype="int64")}
    made["loss"] = of_cell("loss function of the round", "", dtype="str", shown=("map",))
    for kind in KINDS:
        loss = ("trace",) if kind == "generator" else ()
        made |= {
            f"{kind}_fitness": of_cell(
                f"{kind} fitness (a loss: lower is better)", better="lower", shown=("map", "report")
            ),
            f"{kind}_training_loss": of_cell(f"mean {kind} loss in training", shown=loss),
            f"{kind}_learning_rate": of_cell(f"{kind} learning rate", shown=("map",)),
            f"{kind}_parent": of_cell(
                f"cell the trained {kind} came from",
                "cell",
                dtype="int64",
                shown=("origin",) if kind == "generator" else (),
            ),
            f"{kind}_replaced": of_cell(
                f"whether the {kind} was replaced",
                dtype="bool",
                shown=("map", "accepted") if kind == "generator" else ("map",),
            ),
        }
    for name, metric in METRICS.items():
        title, units, better = metric.long_name, metric.units, metric.direction
        shown = ("map", "report") if name in REPORTED else ("map",)
        score = functools.partial(of_cell, units=units, better=better)
        made[name] = score(f"{title} of the mixture", shown=shown, samples=samples)
        made[f"generator_{name}"] = score(f"{title} of the cell's own generator", samples=samples)
        made[f"final_{name}"] = score(
            f"{title} of the final mixture", by_round=False, final_of=name, samples=final_samples
        )
    ring = ("neighbour",)
    made["mixture_weight"] = of_cell("share of a neighbour in the mixture", dims=ring)
    made["neighbour_cell"] = of_cell("cell of a neighbour", "cell", ring, "int64")
    made["final_mixture_weight"] = of_cell("share in the final mixture", dims=ring, by_round=False)
    return made


def aggregate(losses: Array, mode: str, axis: int) -> Array:
    """Turn losses against opponents into fitness; what is not finite is worst of all."""
    values = np.asarray(FITNESS[mode](losses, axis=axis))
    return np.where(np.isfinite(values), values, np.inf)


def tournament(fitness: Array, size: int, chance: np.random.Generator) -> int:
    """Draw `size` individuals without replacement and give the fittest."""
    drawn = chance.choice(len(fitness), min(size, len(fitness)), replace=False)
    return int(drawn[np.argmin(fitness[drawn])])


def select(cell: Cell, values: Values, mode: str, size: int, chance: np.random.Generator) -> Cell:
    """Choose the parents of a cell's offspring from the fitness tables of its neighbourhood."""
    parents = []
    for kind, axis in (("generators", 1), ("discriminators", 0)):
        table = values[f"{kind[:-1]}_losses"]
        fitness = aggregate(table, mode, axis)
        # the cell's own come first in the pool; what was learned of them meanwhile stays
        own = tuple(
            replace(individual, fitness=float(value))
            for individual, value in zip(getattr(cell.own, kind), fitness, strict=False)
        )
        cell = replace(cell, own=replace(cell.own, **{kind: own}))
        parents.append(getattr(cell.pool, kind)[tournament(fitness, size, chance)])
    return replace(cell, parents=Population((parents[0],), (parents[1],)))


def offspring(
    cell: Cell,
    values: Values,
    mode: str,
    serial: int,
    evolved: Mapping[str, Mapping[str, float]],
) -> Population:
    """Describe the pair that a cell's training task made, with its evolved values by kind."""
    pair = []
    for kind in KINDS:
        parent = getattr(cell.parents, f"{kind}s")[0]
        pair.append(
            Individual(
                name=f"{cell.slot}/{kind}/{serial}",
                parent=parent.cell,
                learning_rate=float(values[f"{kind}_learning_rate"]),
                loss=cell.loss,
                fitness=float(aggregate(values[f"{kind}_losses"], mode, 0)),
                statistics=values["statistics"][0]
                if kind == "generator" and "statistics" in values
                else None,
                evolved=evolved[kind],
            )
        )
    return Population((pair[0],), (pair[1],))


def succeed(cell: Cell, child: Population, selection: bool) -> Population:
    """Let the offspring take its place among a cell's individuals.

    With selection each replaces the worst, if strictly fitter; without, the one it was trained
    from.
    """
    survivors = {}
    for kind in ("generators", "discriminators"):
        own, one = getattr(cell.own, kind), getattr(child, kind)[0]
        parent = getattr(cell.parents, kind)[0]
        names = [individual.name for individual in own]
        fitness = [individual.fitness for individual in own]
        place = int(np.argmax(fitness)) if selection else names.index(parent.name)
        accepted = not selection or one.fitness < fitness[place]
        survivors[kind] = (*own[:place], one, *own[place + 1 :]) if accepted else own
    return Population(**survivors)


def aligned(cell: Cell, members: list[tuple[int, int]]) -> Array:
    """Give the cell's mixture weights for `members`; newcomers start at the mean weight."""
    known = cell.weights or {}
    usual = float(np.mean(list(known.values()))) if known else 1.0
    weights = np.array([known.get(member, usual) for member in members])
    return weights / weights.sum() if weights.sum() > 0 else np.full(len(members), 1 / len(members))


def centre(own: Sequence[Individual]) -> Individual:
    """Give the fittest of a cell's individuals; one that was never evaluated comes last."""
    return min(own, key=lambda one: np.inf if np.isnan(one.fitness) else one.fitness)


def outcome(cell: Cell, report: Report, loss_names: Sequence[str]) -> dict[str, Any]:
    """Record what a cell's round came to, from its training report."""
    values: dict[str, Any] = {"batches": report.values["batches"], "loss": loss_names[cell.loss]}
    for kind in KINDS:
        own = getattr(cell.own, f"{kind}s")
        parent = getattr(cell.parents, f"{kind}s")[0]
        fittest = centre(own)
        newest = f"{cell.slot}/{kind}/{len(own) + report.round - 1}"
        values[f"{kind}_fitness"] = fittest.fitness
        values[f"{kind}_learning_rate"] = fittest.learning_rate
        values |= {key: one for key, one in fittest.evolved.items() if key not in RATES}
        values[f"{kind}_training_loss"] = report.values[f"{kind}_training_loss"]
        values[f"{kind}_parent"] = parent.cell
        values[f"{kind}_replaced"] = newest in [individual.name for individual in own]
    return values
