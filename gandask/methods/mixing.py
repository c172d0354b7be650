"""What methods are given besides whose mixtures evolve: those of generators of one data set.

Others mix as the data have it, or not at all, and have none of these settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from gandask.config import setting, settings
from gandask.core import Array, View
from gandask.methods.adversarial import Adversarial
from gandask.scores import mixture
from gandask.scores.metrics import Statistics

V = TypeVar("V", bound=View)


@settings
class Mixing(Adversarial[V]):
    """Settings of methods that evolve the weights of mixtures."""

    mixture_sigma: float = setting(0.01, "mutation of mixture weights", minimum=0)
    mixture_generations: int = setting(1, "of the mixture's evolution", minimum=0)

    def _evolved(
        self,
        weights: Array,
        packed: Sequence[Array | None],
        generations: int,
        chance: np.random.Generator,
    ) -> tuple[Array, Statistics | None]:
        """Evolve the weights of a mixture, once the statistics of all its members are there."""
        known = [Statistics.from_array(p) for p in packed if p is not None]
        if len(known) < len(packed):
            return weights, None
        return mixture.evolve(
            weights, known, self._real, self.mixed_by, self.mixture_sigma, generations, chance
        )
