"""The data that a client holds: what it trains on, and what it keeps apart to compare with."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gandask import data
from gandask.core import Array, SettingError, rng
from gandask.data import Data

APART = 0.2
"""Share of a client's samples that it keeps apart, unless it says otherwise."""
MOST_APART = 10_000


@dataclass(frozen=True)
class Part:
    """Which part of a data set each of several clients holds, in a simulation.

    Parameters
    ----------
    clients, client : int
        How many there are, and which one it is, from 0.
    split : str
        As of `gandask.data.by_client`.
    public : float
        Share of the data set that no client holds: the teacher's.
    samples : int, optional
        How many to train on; all but those kept apart if not given.
    seed : int
        Of the draws, alike for all clients.
    """

    clients: int
    client: int
    split: str
    public: float
    samples: int | None
    seed: int


def public_part(size: int, share: float, seed: int) -> Array:
    """Draw the samples that no client holds, sorted."""
    return np.sort(_order(size, seed)[: round(share * size)])


@functools.lru_cache(maxsize=4)
def _order(size: int, seed: int) -> Array:
    return rng(seed, "clients", "public").permutation(size).astype(np.int64)


@dataclass(frozen=True)
class Held:
    """What a client holds.

    Parameters
    ----------
    source : mapping
        Arguments of `gandask.data.load`.
    members : (n,) array
        Indices of the samples that it trains on.
    apart : (m,) array
        Indices of samples from the same distribution, which no network is trained on.
    """

    source: Mapping[str, Any]
    members: Array
    apart: Array

    @property
    def data(self) -> Data:
        """The data set that the indices are of."""
        return data.load(**self.source)

    @classmethod
    def own(cls, source: Mapping[str, Any], share: float, seed: int) -> Held:
        """Hold a whole data set, of which a share is kept apart.

        Parameters
        ----------
        seed : int
            Of the draw: the client's secret, as the server is to know no index.

        Raises
        ------
        SettingError
            If one of both has no sample.
        """
        order = np.random.default_rng(seed).permutation(len(data.load(**source)))
        return cls._divided(source, order, round(share * len(order)), None)

    @classmethod
    def part(cls, source: Mapping[str, Any], part: Part) -> Held:
        """Hold a part of a data set, as in a simulation.

        Raises
        ------
        SettingError
            If there are too few samples, or the split leaves a client without.
        """
        loaded = data.load(**source)
        private = np.setdiff1d(
            np.arange(len(loaded)), public_part(len(loaded), part.public, part.seed)
        )
        if not len(private):
            raise SettingError(
                f"public_fraction={part.public}: nothing is left for clients; make it smaller"
            )
        chance = rng(part.seed, "clients", "split")
        found = data.by_client(
            loaded.labels[private], part.clients, part.client, chance, part.split
        )
        own = private[found]
        order = rng(part.seed, "clients", part.client).permutation(own)
        return cls._divided(source, order, round(APART * len(order)), part.samples)

    @classmethod
    def _divided(
        cls, source: Mapping[str, Any], order: Array, apart: int, samples: int | None
    ) -> Held:
        """Divide samples in a given order; of those that are asked for none is kept apart."""
        count = len(order) - apart if samples is None else samples
        if not 0 < count < len(order):
            raise SettingError(
                f"a client holds {len(order)} samples: expected some to train on and some to keep "
                f"apart, got {count} to train on; hold more, or set local_samples below"
            )
        return cls(source, np.sort(order[:count]), np.sort(order[count : count + MOST_APART]))
