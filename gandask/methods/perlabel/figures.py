"""What is drawn of labels alone: a tile for each, and the course of the mixture of all."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np

from gandask.core import Array, Figure
from gandask.display import number
from gandask.plots import pictures
from gandask.plots.selection import numbers, scored
from gandask.plots.strip import MIXTURE_MODES
from gandask.plots.style import (
    BEST,
    MUTED,
    STILL,
    WIDE,
    as_large_as_its_frame,
    dimension,
    line,
    message,
    upright,
    whole_numbers,
    wrapped,
)

if TYPE_CHECKING:
    import xarray as xr

MOST = 60  # tiles of labels: more cannot be looked at
SAMPLES = 4  # in a tile, side by side
ROOM = 540  # pixels side by side, where it is not said
NARROWEST = 120  # pixels of a tile: a caption's width
CAPTION, MARGIN, BAR = 34, 12, 6  # pixels: below a tile's samples, around it, and of its progress
WHITE = 255


def tiles(ds: xr.Dataset, columns: int | None = None) -> hv.Overlay | hv.Text:
    """Draw a tile for each label: samples where they are kept, score, and progress.

    Parameters
    ----------
    ds : Dataset
        Of PerLabel.
    columns : int, optional
        Tiles side by side: by default as many as a report has room for.

    Raises
    ------
    ValueError
        If there is no score or no progress.
    """
    if not ds.sizes["round"]:
        return message("no round is done yet")
    name = scored(ds, None)
    known, progress = _last(ds, name), numbers(ds, "progress").max("round").fillna(0).values
    labels = ds["label"].values[:MOST]
    shown = _pictures(ds, len(labels))
    wide = max(NARROWEST, shown.shape[2]) + MARGIN
    high = shown.shape[1] + CAPTION + MARGIN
    columns = max(1, min(columns or (ROOM + MARGIN) // wide, len(labels)))
    rows = math.ceil(len(labels) / columns)
    canvas = np.full((rows * high, columns * wide - MARGIN, 3), WHITE, np.uint8)
    texts, bars = [], []
    title = numbers(ds, name).attrs["long_name"].split(" against")[0]
    for place, label in enumerate(labels):
        top, left = place // columns * high, place % columns * wide
        canvas[top : top + shown.shape[1], left : left + shown.shape[2]] = shown[place]
        bottom = rows * high - top - shown.shape[1]
        texts.append((left, bottom - 4, f"{label}: {title} {number(known[place])}"))
        end, under = left + wide - MARGIN, bottom - CAPTION + BAR
        done = left + (end - left) * float(progress[place])
        bars += [(left, under - BAR, end, under, "#dddddd"), (left, under - BAR, done, under, BEST)]
    size = (0, 0, canvas.shape[1], canvas.shape[0])
    more = ds.sizes["label"] - len(labels)
    drawn = [
        hv.RGB(canvas, bounds=size).opts(**STILL),
        hv.Rectangles(bars, vdims=["colour"]).opts(**STILL, color="colour", line_color=None),
        hv.Labels(texts, ["x", "y"], "text").opts(
            **STILL,
            text_color="black",
            text_font_size="9pt",
            text_align="left",
            text_baseline="top",
        ),
    ]
    options = hv.opts.Overlay(
        **STILL,
        frame_width=canvas.shape[1],
        frame_height=canvas.shape[0],
        hooks=[as_large_as_its_frame],
        xaxis=None,
        yaxis=None,
        title=f"the first {len(labels)} labels; {more} more" if more else "",
    )
    return hv.Overlay(drawn).opts(options)


def quality(ds: xr.Dataset) -> hv.Element:
    """Draw the score of the mixture of all labels by round, with that of the end as a line."""
    name = f"mixture_{scored(ds, None)}"
    values = numbers(ds, name)
    known = values.dropna("round")
    end = float(numbers(ds, f"final_{name}"))
    if not known.size and not np.isfinite(end):
        return message(f"no {values.attrs['long_name']} yet")
    axes = dimension(values["round"]), dimension(values)
    layers = []
    if known.size:
        layers.append(line((known["round"].values, known.values), axes, "by round", BEST))
    if np.isfinite(end):
        layers.append(hv.HLine(end, label="at the end").opts(color=MUTED, line_dash="dashed"))
    every = [*known.values.tolist(), *([end] if np.isfinite(end) else [])]
    options = WIDE | upright(min(every), max(every)) | {"xticks": whole_numbers()}
    labels = {"xlabel": "round", "ylabel": wrapped(axes[1], WIDE["height"] - 100)}
    return hv.Overlay(layers).opts(hv.opts.Overlay(**options, **labels, show_legend=False))


def _last(ds: xr.Dataset, name: str) -> Array:
    """Give the score of each label at the end, or the last that it has."""
    by_round = numbers(ds, name).transpose("round", "label").values
    found = np.full(ds.sizes["label"], np.nan)
    for values in (*by_round, numbers(ds, f"final_{name}").values):
        found = np.where(np.isnan(values), found, values)
    return found


def _pictures(ds: xr.Dataset, count: int) -> Array:
    """Give the kept images of each label as one picture, or nothing where there are none."""
    shape = tuple(ds.attrs.get("sample_shape", ()))
    kept = "samples" in ds and len(shape) == 3 and math.prod(shape) == ds.sizes["value"]
    if not kept:
        return np.empty((count, 0, 0, 3), np.uint8)
    samples = ds["samples"].transpose("label", "sample", "value").values[:count, :SAMPLES]
    drawn = [pictures.tiles(own.reshape(-1, *shape), SAMPLES) for own in samples]
    return np.stack([one if one.ndim == 3 else np.stack([one] * 3, -1) for one in drawn])


FIGURES = {
    "tiles": Figure("Labels", tiles, ("progress",)),
    "quality": Figure("Mixture of all labels", quality, ("progress",), along="round"),
    "mixture_modes": MIXTURE_MODES,
}
"""What pages and reports show of labels beside what they show of every run."""
