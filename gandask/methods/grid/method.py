"""Cellular coevolution on a toroidal grid.

Pérez, Nesmachnow, Toutouh, Hemberg, O'Reilly: Parallel/distributed implementation of cellular
training for generative adversarial neural networks (PDCO 2020). Lipizzaner, Mustangs, SPaGAN,
IsoCoGAN and PaGAN are settings of this one method.

A round of a cell is two plans. *Fitness*: every generator of its neighbourhood against every
discriminator; the client holds the tournament. *Training*: the winners train for an epoch and the
offspring is evaluated; the client decides replacement and evolves the mixture. Without selection
only the second. A last plan scores every generator on a large sample.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gandask.config import settings
from gandask.core import (
    NON_FINITE,
    Event,
    Figure,
    Layout,
    Plan,
    Record,
    Report,
    Role,
    Task,
    rng,
)
from gandask.methods.best import Best
from gandask.methods.grid import classes, lineage, topology
from gandask.methods.grid import view as cells
from gandask.methods.grid.mutable import variables as of_mutable
from gandask.methods.grid.settings import Cellular
from gandask.methods.grid.tasks import fitness, train, train_together
from gandask.methods.grid.view import Cell, GridView, Individual, Population
from gandask.methods.tasks import initialise, score
from gandask.scores import metrics
from gandask.scores.metrics import Statistics

if TYPE_CHECKING:
    import xarray as xr


@settings
class Grid(Cellular):
    """Train a grid of GANs by cellular coevolution; its fields are its settings."""

    name: ClassVar[str] = "grid"
    schedules: ClassVar[Mapping[str, str]] = {
        "neighbourhood": "neighbourhood_schedule",
        "mutation_scale": "mutation_scale_schedule",
    }

    def layout(self) -> Layout:
        """Describe the result: ``(round, row, col)``."""
        rows, cols = self.shape
        layout = Layout(
            coords={"row": range(rows), "col": range(cols), "neighbour": range(self._width)},
            roles={"cell": Role.numbered("cell", ("row", "col"), rows * cols)},
            variables={
                **cells.variables(self.score_samples, self.final_samples),
                **(classes.VARIABLES if self.labelled else {}),
                **of_mutable(self.mutable),
            },
        )
        layout = self.with_best(self.with_modes(layout, {"cell": "the mixture"}))
        return self.with_final_scores(layout, {"cell": "the final mixture"})

    def figures(self) -> Mapping[str, Figure]:
        """Give the drawings of its own, by name."""
        from gandask.methods.grid.figures import FIGURES

        return FIGURES

    def sentences(self, dataset: xr.Dataset) -> Sequence[str]:
        """Tell how many founders are left."""
        return lineage.sentences(dataset)

    def start(self) -> tuple[GridView, Plan]:
        """Make every cell's individuals, and begin the first round."""
        size = range(self.population_size)
        born = [
            Cell(
                index,
                Population(
                    *(tuple(self._founder(index, kind, i) for i in size) for kind in cells.KINDS)
                ),
            )
            for index in range(self.shape[0] * self.shape[1])
        ]
        arguments = {"training": self.training, "population_size": self.population_size}
        stage = [
            Task(
                cell.slot,
                0,
                initialise,
                writes=tuple(
                    name
                    for individual in (*cell.own.generators, *cell.own.discriminators)
                    for name in individual.names
                ),
                arguments=arguments | {"slot": cell.slot},
            )
            for cell in born
        ]
        begun = self._begun(GridView(tuple(born)), range(len(born)))
        view = GridView(tuple(begun), metric=self.score)
        return view, [stage, [self._task(cell) for cell in begun]]

    def advance(self, view: GridView, reports: Sequence[Report]) -> tuple[GridView, Plan]:
        """Decide selection, replacement and mixtures, and say what each cell does next."""
        reports, records = self.rescored(view.kept, reports, self.rounds)
        compared = self.compared(reports, self.rounds)
        if compared or not reports:
            return replace(view, records=(*records, *compared), events=()), []
        grid, events = list(view.cells), []
        news = {topology.cell_of(report.slot): report for report in reports if report.round}
        for report in reports:
            index = topology.cell_of(report.slot)
            grid[index], happened = self._decide(grid[index], report)
            events += happened
        if all(cell.phase == "scored" for cell in grid):
            now = replace(view, cells=tuple(grid), records=tuple(records), events=tuple(events))
            done = self._conclude(now)
            return done, self.comparing(done.ensembles, self.rounds + 1)
        # mixtures see what all these reports brought, and the next round all these mixtures
        kept = view.kept
        for index, report in news.items():
            if grid[index].phase == "trained":
                grid[index], record = self._evolve(grid, index, report)
                records.append(record)
                if self.keep_best:
                    weights = cells.mixed(grid, grid[index].weights or {})
                    found = Best(report.round, report.slot, weights, grid[index].score)
                    kept = self.better(kept, found)
        records += self.noted(view.kept, kept)
        now = GridView(tuple(grid), tuple(records), tuple(events), self.score, kept)
        for cell in self._begun(now, news):
            grid[cell.index] = cell
        busy = [grid[i] for i in news if grid[i].phase in ("fitness", "train")]
        if all(cell.phase == "trained" for cell in grid):
            busy = grid = [
                replace(cell, phase="score", pool=self._judges(grid, cell)) for cell in grid
            ]
        ended = bool(busy) and busy[0].phase == "score"
        last = self.rescoring(kept, self.rounds + 1) if ended else []
        return replace(now, cells=tuple(grid)), [[*(self._task(cell) for cell in busy), *last]]

    def _begun(self, view: GridView, indices: Iterable[int]) -> list[Cell]:
        """Take cells into their next round, where there is one, with the neighbours of then."""
        ready = [view.cells[index] for index in indices]
        ready = [cell for cell in ready if cell.phase == "trained" and cell.round < self.rounds]
        numbers = {cell.round + 1 for cell in ready} if self.exchange else set()
        found = {number: self._schedule.neighbours(number, view) for number in numbers}
        return [
            self._begin(view, cell, found[cell.round + 1][cell.index] if found else ())
            for cell in ready
        ]

    def _begin(self, view: GridView, cell: Cell, neighbours: Sequence[int]) -> Cell:
        """Take a cell into its next round."""
        number = cell.round + 1
        others = [view.cells[index].own for index in neighbours]
        chance = rng(self.seed, number, cell.slot, "begin")
        # without selection, one of the cell's own pairs is trained: it goes first in the pool
        first = 0 if self.selection else int(chance.integers(self.population_size))
        own = [cell.own.rotated(first), *others]
        pool = Population(
            tuple(individual for part in own for individual in part.generators),
            tuple(individual for part in own for individual in part.discriminators),
        )
        drawn = int(chance.integers(len(self.loss_names))) if self.loss_draw == "round" else 0
        return replace(
            cell,
            phase="fitness" if self.selection else "train",
            members=(cell.index, *neighbours),
            pool=pool,
            parents=Population(pool.generators[:1], pool.discriminators[:1]),
            loss=drawn,
        )

    def _judges(self, grid: Sequence[Cell], cell: Cell) -> Population:
        """Give the discriminators of a cell's neighbourhood, where they tell classes."""
        members = cell.members if self.labelled else ()
        return Population((), tuple(one for m in members for one in grid[m].own.discriminators))

    def _task(self, cell: Cell) -> Task:
        """Make the task that a cell's phase asks for."""
        number = cell.round + 1
        opponents = tuple(i.name for i in (*cell.pool.generators, *cell.pool.discriminators))
        arguments: dict[str, Any] = {"training": self.training, "slot": cell.slot, "round": number}
        if cell.phase == "score":
            names = tuple(individual.name for individual in cell.own.generators)
            arguments |= {"samples": self.final_samples}
            if self.labelled:
                arguments |= {"generators": len(names)}
                names = (*names, *(judge.name for judge in cell.pool.discriminators))
            task = classes.score_all if self.labelled else score
            return Task(cell.slot, number, task, names, arguments=arguments)
        arguments["settings"] = self.cell_settings(number)
        if cell.phase == "fitness":
            arguments |= {"generators": len(cell.pool.generators)}
            return Task(cell.slot, number, fitness, opponents, arguments=arguments)
        parents = (*cell.parents.generators[0].names, *cell.parents.discriminators[0].names)
        serial = self.population_size + cell.round
        children = [Individual(f"{cell.slot}/{kind}/{serial}", cell.index) for kind in cells.KINDS]
        arguments |= {
            "loss": cell.loss,
            "rivals": len(cell.pool.generators),
            "train_against_rivals": not self.selection,
        }
        if self.mutable:
            arguments |= self._evolved_arguments(self._explored(cell))
        writes = (*children[0].names, *children[1].names)
        reads = (*parents, *opponents)
        return Task(cell.slot, number, train, reads, writes, arguments, train_together)

    def _decide(self, cell: Cell, report: Report) -> tuple[Cell, list[Event]]:
        """Take one report into the cell it is about."""
        values = report.values
        if report.round == 0:
            return cell.measured(values), []
        if cell.phase == "score":
            scored = classes.taken_in(cell.measured(values), cell.pool, values)
            return replace(scored, phase="scored"), []
        if cell.phase == "fitness":
            chance = rng(self.seed, report.round, cell.slot, "tournament")
            chosen = cells.select(cell, values, self.fitness_mode, self.tournament_size, chance)
            return replace(chosen, phase="train"), []
        done = replace(cell, round=report.round, phase="trained", pool=Population())
        if values["finite"]:
            serial = self.population_size + cell.round
            evolved = self._explored(cell)
            child = cells.offspring(cell, values, self.fitness_mode, serial, evolved)
            done = replace(done, own=cells.succeed(cell, child, self.selection))
            return classes.taken_in(done, cell.pool, values), []
        detail = "a loss or weight of the offspring is not finite; it was discarded"
        done = classes.taken_in(done, cell.pool, values)
        return done, [Event(report.round, NON_FINITE, cell.slot, detail)]

    def _evolve(self, grid: Sequence[Cell], index: int, report: Report) -> tuple[Cell, Record]:
        """Evolve a cell's mixture, and record its round."""
        generations = self.mixture_generations if self.mixture_evolution == "round" else 0
        cell, merged = self._mix(grid, index, generations, report.round)
        values = cells.outcome(cell, report, self.loss_names)
        values |= self._padded(cell)
        if self.labelled:
            values |= classes.recorded(cell)
        if merged is not None:
            values |= self.scored(self._real, merged)
            packed = cells.centre(cell.own.generators).statistics
            if packed is not None:
                alone = Statistics.from_array(packed)
                values |= metrics.scores(self._real, alone, prefix="generator_")
            cell = replace(cell, score=values[self.score])
        return cell, Record(cell.slot, report.round, values)

    def _mix(
        self, grid: Sequence[Cell], index: int, generations: int, number: int
    ) -> tuple[Cell, Statistics | None]:
        """Evolve the mixture of a cell over its neighbours' newest generators."""
        cell = grid[index]
        members = [(m, i) for m in cell.members for i in range(self.population_size)]
        weights = cells.aligned(cell, members)
        packed = [grid[m].own.generators[i].statistics for m, i in members]
        chance = rng(self.seed, number, cell.slot, "mixture")
        weights, merged = self._evolved(weights, packed, generations, chance)
        return replace(cell, weights=dict(zip(members, weights.tolist(), strict=True))), merged

    def _conclude(self, view: GridView) -> GridView:
        """Compare the mixtures on the large samples, and name the best."""
        grid, records = list(view.cells), list(view.records)
        generations = self.mixture_generations if self.mixture_evolution == "end" else 0
        for index in range(len(grid)):
            cell, merged = self._mix(view.cells, index, generations, self.rounds + 1)
            if merged is None:
                raise AssertionError("the last plan measures every generator")
            values = metrics.scores(self._real, merged, prefix="final_")
            if self.labelled:
                values |= classes.recorded(cell, prefix="final_")
            grid[index] = replace(cell, score=values[f"final_{self.score}"])
            values["final_mixture_weight"] = self._padded(cell)["mixture_weight"]
            records.append(Record(cell.slot, self.rounds, values))
        return replace(view, cells=tuple(grid), records=tuple(records))

    def _padded(self, cell: Cell) -> dict[str, Any]:
        """Give mixture weights and the cells they belong to, for the result's fixed width."""
        weights = cell.weights or {}
        values, owners = np.full(self._width, np.nan), np.full(self._width, -1)
        values[: len(weights)] = list(weights.values())
        owners[: len(weights)] = [member for member, _ in weights]
        return {"mixture_weight": values, "neighbour_cell": owners}

    @functools.cached_property
    def _width(self) -> int:
        """Individuals in the largest sub-population."""
        return (self._schedule.largest if self.exchange else 1) * self.population_size
