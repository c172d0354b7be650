"""What of a grid's settings evolves with its networks: see `gandask.methods.grid.mutable`."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from gandask import config
from gandask.config import setting, settings
from gandask.core import SettingError, rng
from gandask.methods.best import KeepingBest
from gandask.methods.grid.mutable import OWNERS, RATES, Evolvable, drawn, explored, options, read
from gandask.methods.grid.view import KINDS, Cell, GridView, Individual
from gandask.methods.mixing import Mixing

Evolved = dict[str, dict[str, float]]
"""By kind of network, the values of its settings that evolve."""


@settings
class Evolving(KeepingBest[GridView], Mixing[GridView]):
    """Settings that say which settings evolve, and what tasks are given then."""

    mutable: Mapping[str, Any] = setting(
        {},
        "settings that evolve with the networks, each between two numbers, [1e-5, 1e-3], or of "
        f"some, {{1, 2, 5}} (in TOML {{choices = [1, 2, 5]}}): {', '.join(OWNERS)}",
    )
    explore_probability: float = setting(
        0.5, "that an offspring changes a value that evolves", minimum=0, maximum=1
    )

    def _read_mutable(self, selection: bool, mutation_probability: float) -> None:
        """Refuse to let settings evolve to what they may not be, or beside what contradicts it.

        Raises
        ------
        SettingError
        """
        object.__setattr__(self, "mutable", read(self.mutable))
        for key, option in self._options.items():
            for value in option.tried:
                try:
                    self._with({key: value})
                except SettingError as error:
                    raise SettingError(f"mutable: {error}") from None
        if self.mutable and not selection:
            raise SettingError(
                f"mutable={self.mutable!r}: evolves by selection, and selection=False; choose "
                "selection=True, or leave mutable out"
            )
        rates = [key for key in RATES if key in self.mutable]
        if rates and mutation_probability:
            raise SettingError(
                f"mutable: {rates[0]} is an offspring's for a whole round, and "
                f"mutation_probability={mutation_probability} changes it at steps within; set that "
                "to 0"
            )

    def _with(self, values: Mapping[str, Any]) -> Self:
        """Give the same settings with values of those that evolve, which then do not."""
        return config.replace(self, {**values, "mutable": {}})

    def _extremes(self) -> tuple[Self, ...]:
        """Give the same settings with the smallest and with the largest values."""
        values = [{key: one.tried[at] for key, one in self._options.items()} for at in (0, -1)]
        return tuple(map(self._with, values))

    @functools.cached_property
    def _options(self) -> Evolvable:
        return options(self.mutable, self.discriminator_learning_rate is not None)

    def _founder(self, cell: int, kind: str, number: int) -> Individual:
        """Describe an individual of round 0, with values of its own."""
        name = f"cell/{cell}/{kind}/{number}"
        chance = rng(self.seed, 0, f"cell/{cell}", kind, number, "mutable")
        evolved = drawn(self._options, kind, chance)
        rates = [value for key, value in evolved.items() if key in RATES]
        rate = rates[0] if rates else self.training.rate(kind)
        return Individual(name, cell, rate, evolved=evolved)

    def _explored(self, cell: Cell) -> Evolved:
        """Give an offspring's values: its parents', some of them changed a little."""
        made = {}
        for kind in KINDS:
            parent = getattr(cell.parents, f"{kind}s")[0]
            chance = rng(self.seed, cell.round + 1, cell.slot, kind, "mutable")
            probability = self.explore_probability
            made[kind] = explored(self._options, parent.evolved, probability, chance)
        return made

    def _evolved_arguments(self, evolved: Evolved) -> dict[str, Any]:
        """Give what the training of an offspring is told of its values."""
        values = {key: one for found in evolved.values() for key, one in found.items()}
        known = dict(self.training.identity)
        known.pop("losses_digest", None)  # it counts the weights of penalties, which may evolve
        training = replace(self._with(values).training, identity=known)
        rates = {RATES[key]: one for key, one in values.items() if key in RATES}
        return {"training": training, "learning_rates": rates}
