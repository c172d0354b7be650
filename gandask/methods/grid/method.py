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

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from gandask import config
from gandask.config import setting, settings
from gandask.core import (
    NON_FINITE,
    Event,
    Figure,
    Layout,
    Plan,
    Record,
    Report,
    Role,
    SettingError,
    Task,
    rng,
)
from gandask.methods.best import Best
from gandask.methods.grid import classes, lineage, topology
from gandask.methods.grid import view as cells
from gandask.methods.grid.evolving import Evolving
from gandask.methods.grid.mutable import variables as of_mutable
from gandask.methods.grid.tasks import CellSettings, fitness, train, train_together
from gandask.methods.grid.topology import Schedule
from gandask.methods.grid.view import FITNESS, Cell, GridView, Individual, Population
from gandask.methods.tasks import initialise, score
from gandask.scores import metrics
from gandask.scores.accuracy import ACCURACY
from gandask.scores.metrics import Statistics
from gandask.training import losses, networks
from gandask.training.settings import Training
from gandask.training.supervision import check_labelled, semi_supervised
from gandask.training.trial import check_networks

if TYPE_CHECKING:
    import xarray as xr

LOSS_SETS = {"mustangs": ("bce", "least_squares", "heuristic")}


@settings
class Grid(Evolving):
    """Train a grid of GANs by cellular coevolution; its fields are its settings."""

    name: ClassVar[str] = "grid"
    schedules: ClassVar[Mapping[str, str]] = {
        "neighbourhood": "neighbourhood_schedule",
        "mutation_scale": "mutation_scale_schedule",
    }

    shape: tuple[int, int] = setting((2, 2), "rows and columns of the torus", minimum=1)
    rounds: int = setting(200, "rounds of every cell", minimum=1)
    epochs_per_round: int = setting(
        1,
        "passes over the data per round: of a generator, a step for every batch, or for every "
        "discriminator_steps of them",
        minimum=1,
    )
    network: str = setting("mlp", f"name in NETWORKS, such as {', '.join(networks.NETWORKS)}")
    loss: str | tuple[str, ...] = setting(
        "bce",
        f"name in LOSSES, such as {', '.join(losses.LOSSES)}; several to draw from, of which the "
        "first measures fitness for all; or mustangs",
    )
    loss_draw: str = setting("round", "when a generator draws a loss", choices=("round", "batch"))
    neighbourhood: Any = setting(
        "cross",
        "cross, moore, ring, isolated; a map {(row, col): [(row, col), ...]}, where a cell left "
        "out has no neighbours; or a function from the view (its round and cells) to one of these, "
        "which a store needs by name, as 'package.module:function'",
        suggested=tuple(topology.NEIGHBOURHOODS),
        function=True,
    )
    neighbourhood_schedule: Mapping[str, Any] = setting(
        {}, "neighbourhoods from given rounds on: {10: 'moore'}"
    )
    exchange: bool = setting(True, "see the neighbours' individuals")
    selection: bool = setting(True, "tournament and replacement by fitness")
    population_size: int = setting(1, "individuals per cell", minimum=1)
    tournament_size: int = setting(2, "individuals per tournament", minimum=1)
    mutation_probability: float = setting(
        0.5, "that a learning rate mutates at a step", minimum=0, maximum=1
    )
    mutation_scale: float = setting(1e-4, "of learning rates (α)", minimum=0)
    mutation_scale_schedule: Mapping[str, float] = setting(
        {}, "mutation scales from given rounds on: {10: 0.01}", minimum=0
    )
    skip_discriminator_steps: int = setting(1, "batches between discriminator steps", minimum=0)
    training_order: str = setting(
        "generator_first",
        "order of steps in a batch",
        choices=("generator_first", "discriminator_first"),
    )
    fitness_mode: str = setting("average", "over opponents", choices=tuple(FITNESS))
    fitness_samples: int = setting(1000, "real and generated samples for fitness", minimum=1)
    labelled: int = setting(
        0,
        "samples, as many of each class, whose labels discriminators learn, which tell classes "
        "then; held-out samples tell how well (score='accuracy'); 0: none",
        minimum=0,
    )
    mixture_evolution: str = setting("round", "when mixtures evolve", choices=("round", "end"))

    def __post_init__(self) -> None:
        if self.score == ACCURACY and not self.labelled:
            raise SettingError(
                f"score={ACCURACY!r}: is that of discriminators which labelled samples teach; give "
                "labelled=100, say, or choose another score"
            )
        super().__post_init__()
        config.lookup("network", self.network, networks.NETWORKS)
        if self.labelled:
            semi_supervised(self.network, networks.NETWORKS)
        if isinstance(self.loss, str):
            config.lookup("loss", self.loss, losses.LOSSES | LOSS_SETS)
        for name in self.loss_names:
            config.lookup("loss", name, losses.LOSSES)
        object.__setattr__(self, "neighbourhood", self._schedule.first)
        object.__setattr__(self, "neighbourhood_schedule", self._schedule.later)
        # a lone pair has nothing to select from: the default size of 2 is no mistake there
        seen = min(self._schedule.sizes, default=1) if self.exchange else 1
        smallest = max(2, seen * self.population_size)
        if self.selection and self.tournament_size > smallest:
            raise SettingError(
                f"tournament_size={self.tournament_size}: the smallest sub-population has only "
                f"{smallest} individuals (neighbours × population_size); choose at most {smallest}"
            )

        if self.discriminator_steps > 1 and self.skip_discriminator_steps:
            raise SettingError(
                f"discriminator_steps={self.discriminator_steps}: contradicts "
                f"skip_discriminator_steps={self.skip_discriminator_steps}, with which "
                "discriminators take fewer steps than generators; set that to 0"
            )
        self._read_mutable(self.selection, self.mutation_probability)

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Names of the losses a generator may draw from."""
        if isinstance(self.loss, str):
            return LOSS_SETS.get(self.loss, (self.loss,))
        if not self.loss:
            raise SettingError("loss=[]: expected a name in LOSSES, or several")
        return self.loss

    @functools.cached_property
    def _schedule(self) -> Schedule:
        return Schedule.read(self.shape, self.neighbourhood, self.neighbourhood_schedule)

    @functools.cached_property
    def training(self) -> Training:
        """What tasks are given."""
        chosen = [losses.LOSSES[name] for name in self.loss_names]
        known = networks.NETWORKS
        network = semi_supervised(self.network, known) if self.labelled else known[self.network]
        return self._training(network, chosen)

    @property
    def mixed_by(self) -> str:
        """Name the score that mixtures improve: FID where that of the run is discriminators'."""
        return "fid" if self.labelled and self.score == ACCURACY else self.score

    def check(self) -> None:
        """Load the data and refuse what does not fit it.

        Raises
        ------
        SettingError, DataError
        """
        if self.mutable:  # what both can do, whatever lies between can
            for extreme in self._extremes():
                extreme.check()
            return
        loaded = self._load("cell/0")
        if isinstance(self.neighbourhood, str) and topology.is_function(self.neighbourhood):
            config.load_object(self.neighbourhood)
        batches = self.epochs_per_round * (
            len(self.training.shard("cell/0")) // self.training.batch_size
        )
        if self.discriminator_steps > batches:
            raise SettingError(
                f"discriminator_steps={self.discriminator_steps}: a round of {batches} batches has "
                "no step of the generator; take smaller batches or more epochs_per_round"
            )
        networks.check(self.network, self.training.network, loaded.shape, loaded.classes)
        if self.labelled:
            check_labelled(self.training)
        check_networks(self.training, f"network={self.network!r}")
        self.training.check_init()

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
                weights = cells.mixed(grid, grid[index].weights or {})
                found = Best(report.round, report.slot, weights, grid[index].score)
                kept = self.better(kept, found)
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

    def cell_settings(self, number: int) -> CellSettings:
        """Give the settings of cells in a round."""
        names = {f.name for f in dataclasses.fields(CellSettings)}
        scale = config.in_force(self, "mutation_scale", number)
        return CellSettings(
            **{name: getattr(self, name) for name in names} | {"mutation_scale": scale}
        )

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
