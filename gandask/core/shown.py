"""Samples to look at: small, in few bytes, and back again.

Every round of every generator has some, for pages and films. They are for the eye: images are of
256 shades, and none is larger than 32 pixels a side.
"""

from __future__ import annotations

import math

import numpy as np

from gandask.core.tasks import Array

SIDE = 32
"""Pixels: images that are larger are made smaller by a whole factor."""
POINTS = 32
"""As many points as this for each image that is asked for."""
STEPS, CHANNELS = 64, 4
"""Of a sequence that are shown, at most."""


def shades(images: Array) -> Array:
    """Bring images in [-1, 1] to whole numbers from 0 to 255; what is not a number is 0.

    Examples
    --------
    >>> shades(np.array([-1.0, 0.0, 1.0, 7.0, np.nan])).tolist()
    [0, 128, 255, 255, 0]
    """
    scaled = (np.nan_to_num(images, nan=-1.0).clip(-1, 1) + 1) * 127.5
    return np.asarray(scaled.round().astype(np.uint8))


def packed(samples: Array) -> Array:
    """Give samples in few bytes.

    Parameters
    ----------
    samples : (n, channels, height, width), (n, 2) or (n, steps, channels) array
        Images in [-1, 1], points, or sequences.

    Returns
    -------
    array
        Of uint8, with sides of at most 32 pixels; or of float16, sequences of at most 64 steps and
        4 channels.

    Examples
    --------
    >>> packed(np.zeros((2, 3, 64, 48))).shape, packed(np.zeros((5, 2))).dtype
    ((2, 3, 32, 24), dtype('float16'))
    """
    if samples.ndim < 4:
        return (samples if samples.ndim == 2 else thinned(samples)).astype(np.float16)
    factor = math.ceil(max(samples.shape[2:]) / SIDE)
    if factor > 1:
        count, channels, height, width = samples.shape
        height, width = height // factor, width // factor
        cut = samples[..., : height * factor, : width * factor]
        samples = cut.reshape(count, channels, height, factor, width, factor).mean((3, 5))
    return shades(samples)


def thinned(sequences: Array) -> Array:
    """Give sequences (n, steps, channels) with as many steps and channels as are shown.

    Examples
    --------
    >>> thinned(np.zeros((5, 100, 7))).shape, thinned(np.zeros((5, 24, 2))).shape
    ((5, 64, 4), (5, 24, 2))
    """
    steps = sequences.shape[1]
    chosen = np.linspace(0, steps - 1, min(steps, STEPS)).round().astype(int)
    return sequences[:, chosen, :CHANNELS]


def unpacked(stored: Array) -> Array:
    """Give samples that `packed` made small, of float32.

    They are images in [-1, 1], points, or sequences.

    Examples
    --------
    >>> unpacked(packed(np.array([[[[-1.0, 1.0]]]]))).tolist()
    [[[[-1.0, 1.0]]]]
    """
    if stored.dtype == np.uint8:
        return stored.astype(np.float32) / 127.5 - 1
    return stored.astype(np.float32)
