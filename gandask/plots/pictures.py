"""Samples as PNG pictures: images side by side, or points as a scatter."""

from __future__ import annotations

import base64
import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from gandask.core import Array

if TYPE_CHECKING:
    from torch import Tensor

GAP = 2  # pixels between tiles
SMALLEST_TILE = 64  # pixels; smaller images are enlarged
SCATTER_SIZE = 512  # pixels
BACKGROUND = 255


def save_png(images: Tensor | Array, path: str | os.PathLike[str], columns: int = 8) -> None:
    """Write samples as one PNG picture.

    Parameters
    ----------
    images : (n, C, H, W) or (n, 2) tensor or array
        Images in [-1, 1], or points.
    path : path-like
    columns : int
        Images per row.

    Raises
    ------
    ValueError
        If `images` are neither images nor points.
    """
    Path(path).write_bytes(png_bytes(images, columns))


def png_bytes(images: Tensor | Array, columns: int = 8) -> bytes:
    """Give samples as the bytes of one PNG picture; see `save_png`."""
    samples = to_array(images)
    drawn = scatter(samples) if is_points(samples) else Image.fromarray(tiles(samples, columns))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def png_text(images: Tensor | Array, columns: int = 8) -> str:
    """Give samples as a PNG picture in base64, for a page's ``data:`` address; see `save_png`."""
    return base64.b64encode(png_bytes(images, columns)).decode()


def to_array(images: Tensor | Array) -> Array:
    """Bring a tensor to the host as an array, and refuse what is neither images nor points.

    Raises
    ------
    ValueError
        Naming the shape it has.
    """
    # torch takes a second to import: what is no array is taken for a tensor
    samples = images if isinstance(images, np.ndarray) else images.detach().cpu().float().numpy()
    pictures = samples.ndim == 4 and samples.shape[1] > 0
    if not len(samples) or not (pictures or is_points(samples)):
        raise ValueError(
            f"samples have shape {samples.shape}: expected images (n, channels, height, width) "
            "or points (n, 2), at least one"
        )
    return samples


def is_points(samples: Array) -> bool:
    """Tell whether samples are points in the plane rather than images."""
    return samples.ndim == 2 and samples.shape[1] == 2


def tiles(images: Array, columns: int = 8) -> Array:
    """Lay images out side by side, row by row, with a gap between them.

    Parameters
    ----------
    images : (n, C, H, W) array
        In [-1, 1]; what is not a number is black.
    columns : int
        Images per row.

    Returns
    -------
    (height, width) or (height, width, 3) uint8 array
        Grey for one channel; those of 2 or 4, which have no colours, lie side by side in grey.
        Images under 64 pixels are enlarged by a whole factor.
    """
    if images.shape[1] not in (1, 3):
        images = np.concatenate(np.split(images, images.shape[1], axis=1), axis=3)
    count, channels, height, width = images.shape
    factor = math.ceil(SMALLEST_TILE / min(height, width, SMALLEST_TILE))
    height, width = height * factor, width * factor
    columns = max(1, min(columns, count))
    rows = math.ceil(count / columns)
    size = (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels)
    made = np.full(size, BACKGROUND, np.uint8)
    for index, image in enumerate(_bytes(images)):
        top, left = (index // columns) * (height + GAP), (index % columns) * (width + GAP)
        large = image.repeat(factor, 1).repeat(factor, 2)
        made[top : top + height, left : left + width] = large.transpose(1, 2, 0)
    return made[..., 0] if channels == 1 else made


def scatter(points: Array) -> Image.Image:
    """Draw points with the same scale in both directions; what is not finite is left out."""
    finite = points[np.isfinite(points).all(1)]
    # drawn at twice the size, then reduced: Pillow does not smooth edges
    drawn = Image.new("L", (2 * SCATTER_SIZE, 2 * SCATTER_SIZE), BACKGROUND)
    pen = ImageDraw.Draw(drawn)
    if len(finite):
        low, high = finite.min(0), finite.max(0)
        span = float((high - low).max()) or 1.0
        places = ((finite - (low + high) / 2) / span * 0.9 + 0.5) * 2 * SCATTER_SIZE
        for x, y in places:
            pen.circle((float(x), 2 * SCATTER_SIZE - float(y)), 5, fill=60)
    return drawn.resize((SCATTER_SIZE, SCATTER_SIZE), Image.Resampling.LANCZOS)


def _bytes(images: Array) -> Array:
    """Map [-1, 1] to 0..255."""
    scaled = (np.nan_to_num(images, nan=-1.0).clip(-1, 1) + 1) * 127.5
    return np.asarray(scaled.round().astype(np.uint8))
