"""Sequences as lines, a panel for each channel, over the bands that real ones lie in."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from gandask.core import Array
from gandask.core.shown import CHANNELS
from gandask.data import Bands

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
"""Of the lines of each channel that is shown."""
WIDE, PANEL, LEFT, EDGE, FONT = 512, 150, 40, 28, 15  # pixels of a picture with axes
SHADES = {False: ("#ffffff", "#222222", "#8a8a8a"), True: ("#16181c", "#e8e8e8", "#8a8a8a")}
"""Background, ink and mute ink of pictures, light and dark."""
GAP = 2  # pixels between panels
BANDS = (0.14, 0.26)  # of ink in the bands of nine tenths and of half of the real ones
CROWD = 8  # lines that are drawn in full
TWICE = 2  # the size that all is drawn at, then reduced: Pillow does not smooth edges


def picture(sequences: Array, bands: Bands | None = None, dark: bool = False) -> Image.Image:
    """Draw sequences with axes.

    Parameters
    ----------
    sequences : (n, steps, channels) array
        In [-1, 1].
    bands : Bands, optional
        Those of the data.
    dark : bool
        On a dark ground.
    """
    ground, ink, mute = SHADES[dark]
    steps, channels = sequences.shape[1:]
    shown = min(channels, CHANNELS)
    size = WIDE - LEFT, PANEL
    made = Image.new("RGB", (WIDE, shown * (PANEL + EDGE) + EDGE), ground)
    pen, font = ImageDraw.Draw(made), ImageFont.load_default(FONT)
    for channel in range(shown):
        top = EDGE + channel * (PANEL + EDGE)
        made.paste(_panel(sequences, channel, size, bands, ground, ink), (LEFT, top))
        pen.rectangle((LEFT, top, WIDE - 1, top + PANEL), outline=mute)
        more = f" of {channels}" if channels > shown else ""
        told = f"channel {channel}{more}"
        pen.text((LEFT, top - 4), told, ink, font, "ls")
        for value in (-1, 0, 1):
            at = top + (1 - value) / 2 * PANEL
            pen.text((LEFT - 6, at), str(value), ink, font, "rm")
    pen.text((WIDE - 2, made.height - EDGE + 6), f"{steps} steps", ink, font, "ra")
    return made


def lines(
    sequences: Array, size: tuple[int, int], bands: Bands | None, ground: str, ink: str
) -> Image.Image:
    """Draw sequences without axes, in a picture of so many pixels.

    Parameters
    ----------
    sequences : (n, steps, channels) array
    size : (int, int)
        Width and height.
    bands : Bands, optional
    ground, ink : str
        Colours, as ``"#rrggbb"``.
    """
    wide, high = size
    made = Image.new("RGB", size, ground)
    shown = min(sequences.shape[2], CHANNELS)
    each = max(1, (high - (shown - 1) * GAP) // shown)
    for channel in range(shown):
        drawn = _panel(sequences, channel, (wide, each), bands, ground, ink)
        made.paste(drawn, (0, channel * (each + GAP)))
    return made


def _panel(
    sequences: Array,
    channel: int,
    size: tuple[int, int],
    bands: Bands | None,
    ground: str,
    ink: str,
) -> Image.Image:
    """Draw one channel of sequences."""
    large = TWICE * size[0], TWICE * size[1]
    made = Image.new("RGB", large, ground)
    pen = ImageDraw.Draw(made, "RGBA")
    if bands is not None and channel < bands.lines.shape[2]:
        for (low, high), share in zip(((0, 4), (1, 3)), BANDS, strict=True):
            edge = bands.lines[[low, high], :, channel]
            there, back = (_places(line, large) for line in edge)
            pen.polygon([*there, *back[::-1]], fill=_shade(ink, share))
    colour = _shade(COLOURS[channel], min(1.0, (CROWD / len(sequences)) ** 0.5))
    for line in sequences[..., channel]:
        if np.isfinite(line).all():
            pen.line(_places(line, large), fill=colour, width=TWICE)
    return made.resize(size, Image.Resampling.LANCZOS)


def _places(line: Array, size: tuple[int, int]) -> list[tuple[float, float]]:
    """Give where the values of a line lie in a panel from -1 to 1, its edges if they are beyond.

    Examples
    --------
    >>> _places(np.array([-1.0, 0.0, 5.0]), (3, 5))
    [(0.0, 4.0), (1.0, 2.0), (2.0, 0.0)]
    """
    across = np.linspace(0, size[0] - 1, len(line))
    down = (1 - np.clip(np.asarray(line, float), -1, 1)) / 2 * (size[1] - 1)
    return list(zip(across.tolist(), down.tolist(), strict=True))


def _shade(colour: str, share: float) -> tuple[int, ...]:
    """Give a colour through which the ground shows."""
    return *ImageColor.getrgb(colour)[:3], round(255 * share)
