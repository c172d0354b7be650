"""Random draws: each from a stream of its own, which follows from the seed and a key."""

from __future__ import annotations

import zlib

import numpy as np


def seed_sequence(seed: int, *key: int | str) -> np.random.SeedSequence:
    """Make the seed sequence of one draw, apart from every other key's.

    Examples
    --------
    >>> a, b = seed_sequence(1, 3, "cell/0", "init"), seed_sequence(1, 3, "cell/1", "init")
    >>> bool((a.generate_state(2) == b.generate_state(2)).any())
    False
    """
    words = (zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key)
    return np.random.SeedSequence(seed, spawn_key=tuple(words))


def rng(seed: int, *key: int | str) -> np.random.Generator:
    """Make the NumPy generator of one draw: round, slot and purpose in `key`.

    Examples
    --------
    >>> rng(1, "tournament").integers(100) == rng(1, "tournament").integers(100)
    np.True_
    """
    return np.random.default_rng(seed_sequence(seed, *key))


def torch_seed(seed: int, *key: int | str) -> int:
    """Derive a 63-bit seed for a torch generator, from the same streams as `rng`."""
    return int(seed_sequence(seed, *key).generate_state(1, np.uint64)[0] >> np.uint64(1))
