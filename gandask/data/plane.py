"""The plane that points lie in: one scale for whatever is drawn of one data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gandask.core import Array

NEAR = 3.0
"""Standard deviations from a mode within which a sample is on it, and of high quality."""
MOST = 1000  # modes that can be seen apart
MARGIN = 1.2  # of what is drawn over what the data need


@dataclass(frozen=True, eq=False)
class Plane:
    """A square of the plane, and the modes in it.

    Parameters
    ----------
    centre : (2,) array
    reach : float
        From the centre to each side.
    modes : (K, 2) array
        Centres of the true modes; none where they are not known.
    radius : float
        Within which a sample is on a mode.
    """

    centre: Array
    reach: float
    modes: Array
    radius: float

    @classmethod
    def around(
        cls, points: Array, modes: Array | None = None, mode_std: float | None = None
    ) -> Plane:
        """Lay a square around points, the finite ones of them, with some room.

        Parameters
        ----------
        points : (n, 2) array
        modes : (K, 2) array, optional
        mode_std : float, optional
            As `gandask.data.Data` has them.

        Examples
        --------
        >>> plane = Plane.around(np.array([[0.0, 1.0], [4.0, 2.0]]))
        >>> plane.centre.tolist(), plane.reach
        ([2.0, 1.5], 2.4)
        """
        finite = np.asarray(points, float)[np.isfinite(points).all(1)]
        low, high = (finite.min(0), finite.max(0)) if len(finite) else (np.zeros(2), np.zeros(2))
        reach = MARGIN * float((high - low).max()) / 2
        known = np.empty((0, 2)) if modes is None else np.asarray(modes, float)
        return cls((low + high) / 2, reach or 1.0, known, NEAR * (mode_std or 0.0))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Plane | None:
        """Give the plane of a run's data by its facts, which are attributes of its Dataset.

        None where the data are no points, the run is of an older gandask, or the facts are none
        that it wrote.
        """
        try:
            centre, reach = np.asarray(facts["plane_centre"], float), float(facts["plane_reach"])
            modes = np.asarray(facts.get("mode_centres", ()), float).reshape(-1, 2)
            radius = float(facts.get("mode_radius", 0.0))
        except (KeyError, TypeError, ValueError):
            return None
        finite = all(np.isfinite(value).all() for value in (centre, reach, modes, radius))
        sound = finite and centre.shape == (2,) and reach > 0 <= radius and len(modes) <= MOST
        return cls(centre, reach, modes, radius) if sound else None

    @property
    def facts(self) -> dict[str, Any]:
        """Give what a run writes down of it; see `of`."""
        told = {"plane_centre": self.centre.tolist(), "plane_reach": self.reach}
        if not len(self.modes):
            return told
        # flat, as attributes of a Dataset have to be
        return told | {"mode_centres": self.modes.ravel().tolist(), "mode_radius": self.radius}

    @property
    def ends(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Give the ends of both axes."""
        (left, right), (low, high) = (
            (c - self.reach, c + self.reach) for c in self.centre.tolist()
        )
        return (left, right), (low, high)

    def shares(self, points: Array) -> Array:
        """Give the share of points that is on each mode, shape (K,); they may add up to less."""
        if not len(self.modes) or not len(points):
            return np.zeros(len(self.modes))
        away = np.linalg.norm(np.asarray(points, float)[:, None] - self.modes, axis=2)
        away = np.where(np.isfinite(away), away, np.inf)
        nearest = away.argmin(1)[away.min(1) <= self.radius]
        return np.bincount(nearest, minlength=len(self.modes)) / len(points)

    def outside(self, points: Array) -> int:
        """Count the points that lie outside, or are not finite."""
        inside = (np.abs(np.asarray(points, float) - self.centre) <= self.reach).all(1)
        return int((~inside).sum())
