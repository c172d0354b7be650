"""The mosaic: what every unit shows at one round, each at its place, as one picture.

Units along two dimensions make rows and columns. Where what they show came from each other, they
lie on a torus, whose cells come again around its edges, fainter, and arrows say who took whose
place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from gandask.core import Array
from gandask.core.shown import shades
from gandask.data import Bands, Plane
from gandask.plots.pictures import is_points, is_sequences, placed
from gandask.plots.sequences import SHADES, lines

Spot = tuple[int, int]  # row and column
Box = tuple[int, int, int, int]

LEAST, MOST = 18, 200  # pixels of a cell
BORDER, GAP, MARGIN, LINE = 3, 1, 10, 22  # pixels
SMALLEST = 20  # pixels of an image, where there is room for several
LINES = 6  # sequences that a cell has room for
DOTTED = 90  # pixels of a side, for each of which a point is a pixel wider
LIGHTER = 0.35  # of the ground that shows through a point
GHOST = 0.32  # of a cell, around the edges
FAINT = 0.72  # of what lies around the edges is background
ARROW = 0.3  # of the way between two cells, half of it before the edge
ACCENT = "#D55E00"


@dataclass(frozen=True)
class Scene:
    """What there is to see at one round.

    Parameters
    ----------
    samples : mapping of (row, column) to array
        Of every unit that shows any: images (n, channels, height, width) in [-1, 1], points, or
        sequences.
    colours : mapping of (row, column) to str
        Of their borders, as ``"#rrggbb"``.
    size : (rows, columns)
        Of all units.
    title : str
        The line above.
    real : array, optional
        Real samples, shown beside.
    arrows : sequence of pairs of places
        From where what a unit shows was taken, and where it is now.
    wraps : bool
        Whether the units lie on a torus.
    done : float
        How much of the run is done, from 0 to 1.
    plane : Plane, optional
        That of points.
    bands : Bands, optional
        Those of sequences.
    """

    samples: Mapping[Spot, Array]
    colours: Mapping[Spot, str]
    size: tuple[int, int]
    title: str
    real: Array | None = None
    arrows: Sequence[tuple[Spot, Spot]] = ()
    wraps: bool = False
    done: float = 1.0
    plane: Plane | None = None
    bands: Bands | None = None


@dataclass(frozen=True)
class Frame:
    """Where things lie in a picture, in pixels.

    Parameters
    ----------
    size : (rows, columns)
    cell : int
        The side of one.
    ghost : int
        What is seen of the cells around the edges.
    """

    size: tuple[int, int]
    cell: int
    ghost: int

    @classmethod
    def fitting(cls, scene: Scene, width: int) -> Frame:
        """Lay cells out, as large as fits into a width."""
        rows, columns = scene.size
        share = GHOST if scene.wraps else 0.0
        beside = 0 if scene.real is None else 1
        across = columns + 2 * share + beside
        cell = int((width - 2 * MARGIN - beside * MARGIN) / across)
        cell = min(MOST, max(LEAST, cell))
        return cls((rows, columns), cell, int(share * cell))

    @property
    def units(self) -> tuple[int, int]:
        """Width and height of all units with what is around them."""
        rows, columns = self.size
        return columns * self.cell + 2 * self.ghost, rows * self.cell + 2 * self.ghost

    def at(self, scene: Scene, x: float, y: float) -> Spot | None:
        """Give the unit at a point of the picture, also of those around the edges."""
        wide, high = self.units
        across, down = x - MARGIN, y - LINE - MARGIN
        if not (0 <= across < wide and 0 <= down < high):
            return None
        row, column = ((each - self.ghost) // self.cell for each in (down, across))
        rows, columns = self.size
        return int(row % rows), int(column % columns)


def draw(scene: Scene, width: int = 640, dark: bool = False) -> Image.Image:
    """Draw what there is to see.

    Parameters
    ----------
    scene : Scene
    width : int
        Pixels that there are for it; a picture of very many units is wider.
    dark : bool
        On a dark ground.

    Returns
    -------
    Image
        Of three colours.
    """
    frame = Frame.fitting(scene, width)
    wide, high = frame.units
    ground, ink, mute = SHADES[dark]
    beside = 0 if scene.real is None else MARGIN + frame.cell
    whole = (wide + beside + 2 * MARGIN, LINE + high + 2 * MARGIN)
    made = Image.new("RGB", whole, ground)
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(13)
    pen.text((MARGIN, LINE - 4), scene.title, ink, font, "ls")
    made.paste(_units(scene, frame, ground, ink), (MARGIN, LINE + MARGIN))
    if scene.real is not None:
        left, top = MARGIN + wide + MARGIN, LINE + MARGIN + frame.ghost
        made.paste(_cell(scene.real, frame.cell, mute, ground, ink, scene), (left, top))
        pen.text((left + BORDER, top + frame.cell + 4), "real", mute, font, "la")
    bar = whole[1] - 4
    pen.line((MARGIN, bar, whole[0] - MARGIN, bar), fill=mute, width=1)
    end = MARGIN + (whole[0] - 2 * MARGIN) * scene.done
    pen.line((MARGIN, bar, end, bar), fill=ACCENT, width=3)
    return made


def _units(scene: Scene, frame: Frame, ground: str, ink: str) -> Image.Image:
    """Draw all units, those around the edges too, and the arrows over them."""
    (rows, columns), side = frame.size, frame.cell
    core = Image.new("RGB", (columns * side, rows * side), ground)
    for (row, column), samples in scene.samples.items():
        colour = scene.colours.get((row, column), SHADES[False][2])
        drawn = _cell(samples, side, colour, ground, ink, scene)
        core.paste(drawn, (column * side, row * side))
    if not frame.ghost:
        return core
    made = Image.new("RGB", frame.units, ground)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            at = frame.ghost + across * core.width, frame.ghost + down * core.height
            made.paste(core, at)
    made = Image.blend(made, Image.new("RGB", made.size, ground), FAINT)
    made.paste(core, (frame.ghost, frame.ghost))
    pen = ImageDraw.Draw(made)
    for arrow in scene.arrows:
        _arrow(pen, arrow, frame, ground)
    return made


def _cell(
    samples: Array, side: int, colour: str, ground: str, ink: str, scene: Scene
) -> Image.Image:
    """Draw what one unit shows within a border."""
    made = Image.new("RGB", (side, side), ground)
    inner = side - 2 * (BORDER + GAP)
    if is_points(samples):
        drawn = _scatter(samples, inner, ground, ink, scene.plane)
    elif is_sequences(samples):
        drawn = lines(samples[:LINES], (inner, inner), scene.bands, ground, ink)
    else:
        drawn = _tiles(samples, inner, ground)
    made.paste(drawn, ((side - drawn.width) // 2, (side - drawn.height) // 2))
    box = (GAP, GAP, side - GAP - 1, side - GAP - 1)
    ImageDraw.Draw(made).rectangle(box, outline=colour, width=BORDER)
    return made


def _tiles(samples: Array, side: int, ground: str) -> Image.Image:
    """Lay out as many images as can be seen, row by row, in a square."""
    colours = samples if samples.shape[1] in (1, 3) else samples[:, :1]
    images = shades(colours).transpose(0, 2, 3, 1)
    along = max(1, min(math.isqrt(len(images)), side // (SMALLEST + GAP)))
    each = (side - (along - 1) * GAP) // along
    height, width = images.shape[1:3]
    scale = each / max(height, width)
    # whole pixels look best where there is room for them; else smooth ones
    way = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    size = max(1, round(width * scale)), max(1, round(height * scale))
    made = Image.new("RGB", (along * (each + GAP) - GAP,) * 2, ground)
    for index in range(min(len(images), along**2)):
        one = Image.fromarray(images[index] if images.shape[3] == 3 else images[index, ..., 0])
        at = (index % along) * (each + GAP), (index // along) * (each + GAP)
        made.paste(one.resize(size, way).convert("RGB"), at)
    return made


def _scatter(
    points: Array, side: int, ground: str, ink: str, plane: Plane | None = None
) -> Image.Image:
    """Draw points over the modes of their data: the darker, the more of them are in one place."""
    plane = Plane.around(points) if plane is None else plane
    at = placed(points[np.isfinite(points).all(1)], plane)
    x, y = np.floor(side * at[((at >= 0) & (at < 1)).all(1)]).astype(int).T
    dot = range(1 + side // DOTTED)
    counts = np.zeros(side**2)
    for down, across in np.ndindex(len(dot), len(dot)):
        within = (x + across < side) & (y + down < side)
        places = (y[within] + down) * side + x[within] + across
        counts += np.bincount(places, minlength=side**2)
    shares = (1 - LIGHTER**counts)[:, None]
    back, front = (np.array(ImageColor.getrgb(colour)) for colour in (ground, ink))
    shaded = (back + shares * (front - back)).round().astype(np.uint8)
    made = Image.fromarray(shaded.reshape(side, side, 3))
    pen, radius = ImageDraw.Draw(made), side * plane.radius / plane.reach / 2
    for centre in side * placed(plane.modes, plane):
        pen.circle(tuple(centre), radius, outline=SHADES[False][2])
    return made


def _arrow(pen: ImageDraw.ImageDraw, arrow: tuple[Spot, Spot], frame: Frame, ground: str) -> None:
    """Draw an arrow over the edge between two cells, the short way around the torus."""
    (origin, target), side = arrow, frame.cell
    step = np.array([_short(b - a, n) for a, b, n in zip(origin, target, frame.size, strict=True)])
    step = step / max(1, np.abs(step).max())
    end = np.array(target) + 0.5
    tip, tail = end - (0.5 - ARROW / 2) * step, end - (0.5 + ARROW / 2) * step
    (y, x), (back_y, back_x) = ((side * each + frame.ghost).tolist() for each in (tip, tail))
    along = math.atan2(y - back_y, x - back_x)
    head = max(5.0, side / 16)
    wings = [
        (x - head * math.cos(along + turn), y - head * math.sin(along + turn))
        for turn in (-0.45, 0.45)
    ]
    for colour, width in ((ground, 7), (ACCENT, 3)):
        pen.line((back_x, back_y, x, y), fill=colour, width=width)
        pen.line((*wings[0], x, y, *wings[1]), fill=colour, width=width, joint="curve")


def _short(way: int, size: int) -> int:
    """Give the short way around a circle of so many cells.

    Examples
    --------
    >>> _short(2, 3), _short(-2, 3), _short(1, 3)
    (-1, 1, 1)
    """
    return (way + size // 2) % size - size // 2
