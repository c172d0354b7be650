"""Where each group's samples lie in the plane: small pictures of densities, over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import holoviews as hv
import numpy as np

from gandask.core import Array
from gandask.data import Plane
from gandask.plots.style import MEDIAN, MUTED, STILL, as_large_as_its_frame, message

if TYPE_CHECKING:
    import xarray as xr

COORDINATES = 2  # of a point
BINS = 36  # of a density plot, along each axis
PANEL = 92  # pixels of a density plot's side
FULLEST = 0.995  # of all squares: those with more samples have the same colour
COLOUR = "#1E88E5"  # of samples; where there are few the ground shows through, white or dark


def density(ds: xr.Dataset, iterations: int = 10) -> hv.Overlay | hv.Text:
    """Draw where each group's samples lie in the plane, over time: groups down, iterations across.

    Every panel shows the plane of the data, with rings around the true modes; the share of the
    samples that is on one of them is printed in its corner.

    Parameters
    ----------
    ds : Dataset
        Of a run on points, with ``kept_samples``.
    iterations : int
        How many of the times at which samples were kept, evenly spread.

    Raises
    ------
    ValueError
        If the Dataset holds no samples.
    """
    if iterations < 1:
        raise ValueError(f"iterations={iterations}: expected at least 1")
    if "samples" not in ds:
        raise ValueError("there are no samples: expected a run with kept_samples above 0")
    if ds.sizes["value"] != COORDINATES:
        return message("these samples are no points: those of all, round by round, show them")
    kept = ds["samples"].dropna("snapshot", how="all")
    if not kept.sizes["snapshot"]:
        return message("no samples yet")
    chosen = np.unique(np.linspace(0, kept.sizes["snapshot"] - 1, iterations).astype(int))
    shown = kept.isel(snapshot=chosen).transpose("snapshot", ...)
    last = shown.isel(snapshot=-1).values.reshape(-1, COORDINATES)
    plane = Plane.of(ds.attrs) or Plane.around(last)
    rows = [
        np.hstack([counted(one.sel(group=group).values, plane) for one in shown])
        for group in shown["group"].values
    ]
    wide, high = shown.sizes["snapshot"], shown.sizes["group"]
    # each panel is one unit wide and high, and centred on its tick
    ends = ds["snapshot_iteration"].max("group").sel(snapshot=shown["snapshot"]).values
    counts = hv.Image(
        np.vstack(rows),
        bounds=(-0.5, -0.5, wide - 0.5, high - 0.5),
        kdims=[hv.Dimension("iteration"), hv.Dimension("group")],
        vdims=hv.Dimension("samples"),
    ).opts(
        **STILL,
        cmap=[f"{COLOUR}{alpha:02x}" for alpha in range(256)],
        clim=(0, max(1.0, float(np.quantile(rows, FULLEST)))),
        frame_width=PANEL * wide,
        frame_height=PANEL * high,
        xticks=[(place, f"{end:,}") for place, end in enumerate(ends)],
        yticks=[(high - 1 - place, str(g)) for place, g in enumerate(shown["group"].values)],
    )
    (left, right), (low, top) = plane.ends
    title = f"each panel from {left:.3g} to {right:.3g} across, {low:.3g} to {top:.3g} up"
    return hv.Overlay([counts, *_over_modes(shown, plane)]).opts(
        hv.opts.Overlay(title=title, hooks=[as_large_as_its_frame])
    )


def _over_modes(shown: xr.DataArray, plane: Plane) -> list[hv.Element]:
    """Draw each panel's edge, a ring around every mode, and the share of its samples on them."""
    wide, high = shown.sizes["snapshot"], shown.sizes["group"]
    places = (plane.modes - plane.centre) / plane.reach / 2
    edges, rings, told = [], [], []
    for x, y in np.ndindex(wide, high):
        samples = shown.isel(snapshot=x, group=high - 1 - y).values
        edges.append((x - 0.5, y - 0.5, x + 0.5, y + 0.5))
        rings += [(x + across, y + up) for across, up in places]
        if len(places) and np.isfinite(samples).any():
            told.append((x - 0.48, y + 0.48, f"{plane.shares(samples).sum():.0%} on modes"))
    size = PANEL * plane.radius / plane.reach
    return [
        hv.Rectangles(edges).opts(**STILL, fill_alpha=0, line_color=MUTED, line_width=0.4),
        hv.Points(rings, ["iteration", "group"]).opts(
            **STILL, size=size, fill_alpha=0, line_color=MEDIAN, line_width=0.8
        ),
        hv.Labels(told, ["iteration", "group"], "share").opts(
            **STILL,
            text_color=MUTED,
            text_font_size="7pt",
            text_align="left",
            text_baseline="top",
        ),
    ]


def counted(samples: Array, plane: Plane) -> Array:
    """Count the samples in each square of the plane, the top row first.

    Parameters
    ----------
    samples : (n, 2) array
    plane : Plane

    Returns
    -------
    (BINS, BINS) array
    """
    across, up = (np.linspace(*ends, BINS + 1) for ends in plane.ends)
    counts, _, _ = np.histogram2d(samples[:, 1], samples[:, 0], (up, across))
    return np.asarray(counts[::-1])
