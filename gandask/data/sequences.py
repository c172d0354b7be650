"""Sequences: those that are made here, and the bands that real ones lie in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gandask.core import Array, rng
from gandask.core.shown import CHANNELS, STEPS, thinned

COUNT, LENGTH, WIDTH = 5_000, 24, 2  # sines, their steps and channels
LOOKED_THROUGH = 10_000
"""Real sequences whose quantiles are taken, at most."""
SHARES = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Of real sequences that lie below each line of `Bands`."""
DIGITS = 4  # of quantiles that a run writes down


def sines() -> tuple[Array, Array]:
    """Make sine waves with random amplitudes, frequencies and phases.

    Amplitudes are uniform in [0.1, 0.9], frequencies in [1, 5] periods a sequence and phases in
    [-π, π], as in Esteban et al. (2017, section 4.1), of whose waves each has one channel and 30
    steps. Here both channels of a wave share its frequency, and have amplitudes and phases of their
    own.

    Returns
    -------
    (5000, 24, 2) float32 array
    (5000,) int64 array
        Labels: whole periods beyond the first, from 0 to 3.
    """
    generator = rng(0, "sines")
    frequency = generator.uniform(1, 5, (COUNT, 1, 1))
    amplitude = generator.uniform(0.1, 0.9, (COUNT, 1, WIDTH))
    phase = generator.uniform(-np.pi, np.pi, (COUNT, 1, WIDTH))
    steps = np.arange(LENGTH)[:, None] / LENGTH
    waves = amplitude * np.sin(2 * np.pi * frequency * steps + phase)
    # the last bit of a sine is not the same on all processors
    return waves.round(6).astype(np.float32), frequency.ravel().astype(np.int64) - 1


@dataclass(frozen=True, eq=False)
class Bands:
    """Where real sequences lie at each step: how many of them lie below each of five lines.

    Parameters
    ----------
    lines : (5, steps, channels) array
        Quantiles, by `SHARES`: of at most 64 steps and 4 channels.
    """

    lines: Array

    @classmethod
    def around(cls, sequences: Array) -> Bands:
        """Find the bands of sequences.

        Parameters
        ----------
        sequences : (n, steps, channels) array

        Examples
        --------
        >>> waves, _ = sines()
        >>> Bands.around(waves).lines.shape
        (5, 24, 2)
        """
        seen = thinned(sequences[:: max(1, len(sequences) // LOOKED_THROUGH)])
        return cls(np.quantile(seen.astype(float), SHARES, axis=0).round(DIGITS))

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Bands | None:
        """Give the bands of a run's data by its facts, which are attributes of its Dataset.

        None where the data are no sequences, or the facts are none that a run wrote.
        """
        try:
            channels = int(facts["band_channels"])
            lines = np.asarray(facts["band_lines"], float).reshape(len(SHARES), -1, channels)
        except (KeyError, TypeError, ValueError, OverflowError):
            return None
        within = 0 < channels <= CHANNELS and 0 < lines.shape[1] <= STEPS
        return cls(lines) if within and np.isfinite(lines).all() else None

    @property
    def facts(self) -> dict[str, Any]:
        """Give what a run writes down of them; see `of`."""
        # flat, as attributes of a Dataset have to be
        return {"band_lines": self.lines.ravel().tolist(), "band_channels": self.lines.shape[2]}
