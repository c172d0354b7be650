"""What a grid's fields are, what is refused of them, and what tasks are given of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from gandask import config
from gandask.config import setting, settings
from gandask.core import SettingError
from gandask.methods.grid import topology
from gandask.methods.grid.evolving import Evolving
from gandask.methods.grid.tasks import CellSettings
from gandask.methods.grid.topology import Schedule
from gandask.methods.grid.view import FITNESS
from gandask.scores.accuracy import ACCURACY
from gandask.training import losses, networks
from gandask.training.settings import Training
from gandask.training.supervision import check_labelled, semi_supervised
from gandask.training.trial import check_networks

LOSS_SETS = {"mustangs": ("bce", "least_squares", "heuristic")}


@settings
class Cellular(Evolving):
    """Settings of grids, and what follows from them."""

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

    def cell_settings(self, number: int) -> CellSettings:
        """Give the settings of cells in a round."""
        names = {f.name for f in dataclasses.fields(CellSettings)}
        scale = config.in_force(self, "mutation_scale", number)
        return CellSettings(
            **{name: getattr(self, name) for name in names} | {"mutation_scale": scale}
        )
