"""Plots of any method's run: time by routine, shares of a mixture, samples."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import BasicTicker, HoverTool

from gandask import results
from gandask.core import Array
from gandask.data import Bands, Plane
from gandask.plots import pictures, sequences
from gandask.plots.style import (
    BEST,
    MUTED,
    STILL,
    WIDE,
    as_large_as_its_frame,
    dimension,
    message,
)

if TYPE_CHECKING:
    import xarray as xr
    from torch import Tensor

BAR = 24  # pixels of a bar of a mixture, with its gap


def profile(ds: xr.Dataset) -> hv.Element:
    """Draw the time spent by routine as bars, the longest on top, with their shares."""
    seconds = results.profile(ds)[::-1]  # a categorical axis begins at the bottom
    total = float(seconds.sum())
    if not total:
        return message("no timings yet")
    shares = (100 * seconds / total).values
    names = [str(name) for name in seconds["routine"].values]
    labels = [f"{name}  {share:.1f} %" for name, share in zip(names, shares, strict=True)]
    time = dimension(seconds, "seconds")
    hover = HoverTool(
        tooltips=[
            ("routine", "@name"),
            (time.pprint_label, "@seconds{0.00}"),
            ("share", "@share{0.0} %"),
        ]
    )
    bars = hv.Bars((labels, seconds.values, names, shares), "routine", [time, "name", "share"])
    return bars.opts(
        **WIDE | {"height": 80 + 24 * len(names)},
        invert_axes=True,
        color=BEST,
        line_color=None,
        bar_width=0.7,
        xlabel="",
        tools=[hover],
    )


def mixture(
    names: Sequence[str],
    weights: Sequence[float],
    highlighted: Collection[str] = (),
    rows: int | None = None,
    share: hv.Dimension | str = "share",
    title: str = "",
) -> hv.Rectangles:
    """Draw as bars what a mixture is made of, the first on top.

    Parameters
    ----------
    names : sequence of str
        Of its members, each once.
    weights : sequence of float
        Their shares.
    highlighted : collection of str
        Members in colour.
    rows : int, optional
        For how many members there is room: the frame is then the same for mixtures of fewer.
    share : Dimension or str
        What the axis of the weights says.
    title : str
    """
    rows = len(names) if rows is None else rows
    share = hv.Dimension(share)
    # rectangles on an axis of numbers: the categories of hv.Bars cannot change once drawn
    boxes = [
        (0.0, y - 0.35, weight, y + 0.35, name, BEST if name in highlighted else MUTED)
        for y, (name, weight) in enumerate(zip(names, weights, strict=True))
    ]
    hover = HoverTool(tooltips=[("", "@name"), (share.pprint_label, "@x1{0.0%}")])
    return hv.Rectangles(boxes, vdims=["name", "colour"]).opts(
        **WIDE | {"height": 90 + BAR * rows},
        title=title,
        color="colour",
        line_color=None,
        xlim=(0, 1),
        ylim=(-0.5, rows - 0.5),
        xlabel=share.pprint_label,
        ylabel="",
        xticks=BasicTicker(num_minor_ticks=0),
        yticks=[*enumerate(names)] or [(0, "")],
        invert_yaxis=True,
        tools=[hover],
    )


def image_grid(
    images: Tensor | Array, columns: int = 8, facts: Mapping[str, Any] | None = None
) -> hv.Element:
    """Draw samples: images side by side, points in the plane of their data, sequences as lines.

    Points lie over the modes of the data, where those are known, with the share of them that is on
    each; sequences over the bands that nine tenths and half of the real ones lie in.

    Parameters
    ----------
    images : (n, C, H, W), (n, 2) or (n, T, C) tensor or array
        Images in [-1, 1], points, or sequences.
    columns : int
        Images per row.
    facts : mapping, optional
        The attributes of the Dataset of the run they are of, where the plane or the bands of its
        data are told; a plane around the points by default, and no bands.

    Raises
    ------
    ValueError
        If `images` are neither images nor points nor sequences.
    """
    samples = pictures.to_array(images)
    if pictures.is_points(samples):
        return _points(samples, Plane.of(facts or {}) or Plane.around(samples))
    if pictures.is_sequences(samples):
        picture = np.asarray(sequences.picture(samples, Bands.of(facts or {})))
    else:
        picture = pictures.tiles(samples, columns)
    height, width = picture.shape[:2]
    element = hv.Image if picture.ndim == 2 else hv.RGB
    drawn = element(picture, bounds=(0, 0, width, height)).opts(
        **STILL,
        frame_width=width,
        frame_height=height,
        hooks=[as_large_as_its_frame],
        xaxis=None,
        yaxis=None,
    )
    return drawn.opts(cmap="gray", clim=(0, 255)) if picture.ndim == 2 else drawn


def _points(points: Array, plane: Plane) -> hv.Overlay:
    """Draw points over the modes of their plane, and the share that is on each."""
    shares = plane.shares(points)
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = plane.radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    rings = [
        {("x", "y"): mode + circle, "share": share}
        for mode, share in zip(plane.modes, shares, strict=True)
    ]
    told = [
        (x, y + plane.radius, f"{share:.0%}")
        for (x, y), share in zip(plane.modes, shares, strict=True)
    ]
    outside = plane.outside(points)
    title = f"{outside:,} of {len(points):,} lie outside" if outside else ""
    across, up = plane.ends
    finite = points[np.isfinite(points).all(1)]
    layers = [
        hv.Polygons(rings, ["x", "y"], "share").opts(
            **STILL, color=MUTED, fill_alpha=0.25, line_color=MUTED
        ),
        hv.Points(finite, ["x", "y"]).opts(**STILL, color=BEST, alpha=0.6, size=3),
        hv.Labels(told, ["x", "y"], "share").opts(
            **STILL, text_color="black", text_font_size="9pt", text_baseline="bottom"
        ),
    ]
    options = hv.opts.Overlay(
        **STILL, xlim=across, ylim=up, data_aspect=1, title=title, xlabel="", ylabel=""
    )
    return hv.Overlay(layers).opts(options)
