"""Samples as PNG pictures: images side by side, points as a scatter, sequences as lines."""

from __future__ import annotations

import base64
import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gandask.core import Array, SettingError
from gandask.core.shown import shades
from gandask.data import Bands, Plane
from gandask.plots import sequences

if TYPE_CHECKING:
    from torch import Tensor

GAP = 2  # pixels between tiles
SMALLEST_TILE = 64  # pixels; smaller images are enlarged
SCATTER_SIZE = 512  # pixels
SQUARE, FONT_SIZE = 448, 19  # pixels of its side without axes, and of their numbers


@dataclass(frozen=True)
class Greys:
    """The greys of a picture, from 0, which is black, to 255.

    Parameters
    ----------
    ground, shade, faint, ink, strong : int
        From that of the background on, each is farther from it.
    """

    ground: int
    shade: int
    faint: int
    ink: int
    strong: int


LIGHT, DARK = Greys(255, 225, 150, 60, 0), Greys(24, 56, 120, 205, 255)


def save_png(
    images: Tensor | Array,
    path: str | os.PathLike[str],
    columns: int = 8,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write samples as one PNG picture.

    Parameters
    ----------
    images : (n, C, H, W), (n, 2) or (n, T, C) tensor or array
        Images in [-1, 1], points, or sequences.
    path : path-like
    columns : int
        Images per row.
    facts : mapping, optional
        Of the run they are of, or the attributes of its Dataset: points are then drawn in the plane
        of its data, and sequences over the bands of the real ones.

    Raises
    ------
    SettingError
        For the name of another kind of picture.
    ValueError
        If `images` are neither images nor points nor sequences.
    """
    target = Path(path)
    if target.suffix.lower() not in ("", ".png"):
        raise SettingError(f"{target}: expected a name that ends in .png, the kind that is written")
    target.write_bytes(png_bytes(images, columns, facts))


def png_bytes(
    images: Tensor | Array,
    columns: int = 8,
    facts: Mapping[str, Any] | None = None,
    dark: bool = False,
) -> bytes:
    """Give samples as the bytes of one PNG picture, perhaps on a dark ground; see `save_png`."""
    samples = to_array(images)
    if is_points(samples):
        drawn = scatter(samples, Plane.of(facts or {}), dark)
    elif is_sequences(samples):
        drawn = sequences.picture(samples, Bands.of(facts or {}), dark)
    else:
        drawn = Image.fromarray(tiles(samples, columns, dark))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")  # optimize=True takes up to ten times as long, to save a tenth
    return buffer.getvalue()


def png_text(
    images: Tensor | Array,
    columns: int = 8,
    facts: Mapping[str, Any] | None = None,
    dark: bool = False,
) -> str:
    """Give samples as a PNG picture in base64, for a page's ``data:`` address; see `png_bytes`."""
    return base64.b64encode(png_bytes(images, columns, facts, dark)).decode()


def to_array(images: Tensor | Array) -> Array:
    """Bring a tensor to the host as an array, and refuse what cannot be drawn.

    Raises
    ------
    ValueError
        Naming the shape it has.
    """
    # torch takes a second to import: what is no array is taken for a tensor
    samples = images if isinstance(images, np.ndarray) else images.detach().cpu().float().numpy()
    pictures = samples.ndim == 4 and samples.shape[1] > 0
    known = pictures or is_points(samples) or is_sequences(samples)
    if not (len(samples) and known):
        raise ValueError(
            f"samples have shape {samples.shape}: expected images (n, channels, height, width), "
            "points (n, 2) or sequences (n, steps, channels), at least one"
        )
    return samples


def is_points(samples: Array) -> bool:
    """Tell whether samples are points in the plane rather than images."""
    return samples.ndim == 2 and samples.shape[1] == 2


def is_sequences(samples: Array) -> bool:
    """Tell whether samples are sequences rather than images."""
    return samples.ndim == 3 and min(samples.shape[1:]) > 0


def tiles(images: Array, columns: int = 8, dark: bool = False) -> Array:
    """Lay images out side by side, row by row, with a gap between them.

    Parameters
    ----------
    images : (n, C, H, W) array
        In [-1, 1]; what is not a number is black.
    columns : int
        Images per row.
    dark : bool
        With a dark gap.

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
    made = np.full(size, _greys(dark).ground, np.uint8)
    for index, image in enumerate(shades(images)):
        top, left = (index // columns) * (height + GAP), (index % columns) * (width + GAP)
        large = image.repeat(factor, 1).repeat(factor, 2)
        made[top : top + height, left : left + width] = large.transpose(1, 2, 0)
    return made[..., 0] if channels == 1 else made


def scatter(points: Array, plane: Plane | None = None, dark: bool = False) -> Image.Image:
    """Draw points in the plane of their data, over its modes with the share that is on each.

    How many lie outside is told above.

    Parameters
    ----------
    points : (n, 2) array
    plane : Plane, optional
        That of the data; one around the points by default.
    dark : bool
        On a dark ground.
    """
    greys = _greys(dark)
    plane = Plane.around(points) if plane is None else plane
    # drawn at twice the size, then reduced: Pillow does not smooth edges
    side = 2 * SQUARE
    drawn = Image.new("L", (side, side), greys.ground)
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(2 * FONT_SIZE)
    modes, radius = side * placed(plane.modes, plane), side * plane.radius / plane.reach / 2
    for centre in modes:
        pen.circle(tuple(centre), radius, fill=greys.shade, outline=greys.faint, width=2)
    for place in side * placed(points[np.isfinite(points).all(1)], plane):
        pen.circle(tuple(place), 5, fill=greys.ink)
    for (x, y), share in zip(modes, plane.shares(points), strict=True):
        at, edge = (x, y - radius - 4), greys.ground
        pen.text(at, f"{share:.0%}", greys.strong, font, "mb", stroke_width=4, stroke_fill=edge)
    outside = plane.outside(points)
    told = f"{outside:,} of {len(points):,} lie outside" if outside else ""
    return _framed(drawn, plane, told, greys).resize((SCATTER_SIZE,) * 2, Image.Resampling.LANCZOS)


def placed(points: Array, plane: Plane) -> Array:
    """Give where points lie on the square of a plane, from 0 to 1: from the left and the top."""
    shares = (np.asarray(points, float) - plane.centre) / plane.reach / 2 + 0.5
    return np.stack([shares[:, 0], 1 - shares[:, 1]], 1)


def _greys(dark: bool) -> Greys:
    return DARK if dark else LIGHT


def _framed(drawn: Image.Image, plane: Plane, told: str, greys: Greys) -> Image.Image:
    """Put axes around a square of the plane, and a line above it."""
    left, top, side = 2 * (SCATTER_SIZE - SQUARE - GAP), 2 * FONT_SIZE + 8, drawn.width
    made = Image.new("L", (2 * SCATTER_SIZE,) * 2, greys.ground)
    made.paste(drawn, (left, top))
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(2 * FONT_SIZE)
    pen.rectangle((left, top, left + side, top + side), outline=greys.faint, width=2)
    across, up = (_ticks(*ends) for ends in plane.ends)
    for value, (x, _) in zip(across, placed(np.stack([across, across], 1), plane), strict=True):
        at = left + side * x
        pen.line((at, top + side, at, top + side + 8), fill=greys.faint, width=2)
        pen.text((at, top + side + 12), f"{value:g}", fill=greys.ink, font=font, anchor="mt")
    for value, (_, y) in zip(up, placed(np.stack([up, up], 1), plane), strict=True):
        at = top + side * y
        pen.line((left - 8, at, left, at), fill=greys.faint, width=2)
        pen.text((left - 12, at), f"{value:g}", fill=greys.ink, font=font, anchor="rm")
    pen.text((left + side, top - 4), told, fill=greys.strong, font=font, anchor="rb")
    return made


def _ticks(low: float, high: float) -> Array:
    """Give about five round numbers between the ends of an axis.

    Examples
    --------
    >>> _ticks(-2.9, 2.9).tolist()
    [-2.0, 0.0, 2.0]
    """
    coarse = (high - low) / 5
    decade = 10.0 ** math.floor(math.log10(coarse))
    step = next(step for step in (1, 2, 5, 10) if step * decade >= coarse) * decade
    return step * np.arange(math.ceil(low / step), math.floor(high / step) + 1)
