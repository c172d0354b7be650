"""The braid: discriminators as strands that go from generator to generator at each regrouping.

Its lower part shows, on the same axis, where the samples of the generators lay at regroupings.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import HoverTool, ImageURL
from PIL import Image

from gandask.core import Array
from gandask.data import Plane
from gandask.methods.mggan.density import COLOUR, COORDINATES, FULLEST, counted
from gandask.methods.mggan.meetings import reached, regrouped_at, stretches
from gandask.plots.selection import numbers
from gandask.plots.style import COLOURS, MUTED, STILL, dimension, legend, message

if TYPE_CHECKING:
    import xarray as xr

POINTS = 800  # of a strand's edge: more cannot be seen apart
BEND = 0.022  # of the axis: half of a bend
THIN, THICK = 0.05, 0.8  # of the distance between two generators
HIGHEST = 0.99  # of the losses: those above are as thick
ROWS, ALL = (24, 46), 420  # pixels: smallest and largest of a generator, and of all
AROUND = 100  # pixels of title, legend and axis
MARGIN = 4  # pixels between pictures
PICTURES = 6  # at most: as many lie side by side on a phone
GAP = 0.4  # between the strands and the pictures, in rows


@dataclass(frozen=True)
class Strand:
    """The course of one discriminator.

    Parameters
    ----------
    discriminator : int
    x : (n,) array
        Iterations.
    height : (n,) array
        The generator that it trains with, as its place; in between where it goes to another.
    loss : (n,) array
        NaN where it is not known.
    """

    discriminator: int
    x: Array
    height: Array
    loss: Array


def strands(ds: xr.Dataset) -> list[Strand]:
    """Give the course of every discriminator, in the order of their numbers.

    Parameters
    ----------
    ds : Dataset
        Of a method with groups, with ``partner``, ``last_iteration`` and ``discriminator_loss``.
    """
    rows = stretches(ds)
    ends = reached(ds)
    losses = numbers(ds, "discriminator_loss").transpose("group", "iteration")
    done, known = ds["iteration"].values.astype(float), losses.values
    made = []
    for discriminator in sorted({met for *_, met in rows}):
        own = sorted((begin, end, group) for group, begin, end, met in rows if met == discriminator)
        x = np.linspace(own[0][0], own[-1][1], POINTS)
        begins = np.array([begin for begin, *_ in own])
        groups = np.array([group for *_, group in own])
        place = np.searchsorted(begins, x, "right") - 1
        # an iteration is done at the end of its step
        step = np.searchsorted(done, x, "left").clip(max=len(done) - 1)
        made.append(
            Strand(
                discriminator,
                x,
                _bent(x, begins, groups, BEND * ends[1]),
                _smooth(known, groups[place], step, max(1, round(len(done) / POINTS))),
            )
        )
    return made


def _bent(x: Array, begins: Array, groups: Array, half: float) -> Array:
    """Give the height at each iteration: level, and 3t² − 2t³ from group to group."""
    height = np.full(len(x), float(groups[0]))
    shortest = np.diff(begins).min() if len(begins) > 1 else half
    half = max(min(half, shortest / 2), np.finfo(float).tiny)
    for at, before, after in zip(begins[1:], groups, groups[1:], strict=False):
        share = ((x - at) / half / 2 + 0.5).clip(0, 1)
        height += (float(after) - float(before)) * share**2 * (3 - 2 * share)
    return height


def _smooth(losses: Array, groups: Array, step: Array, span: int) -> Array:
    """Give the mean loss over the last iterations of the group at each step."""
    known = np.isfinite(losses)
    sums = np.pad(np.cumsum(np.where(known, losses, 0.0), 1), ((0, 0), (1, 0)))
    counts = np.pad(np.cumsum(known, 1), ((0, 0), (1, 0)))
    begin = (step + 1 - span).clip(min=0)
    total = sums[groups, step + 1] - sums[groups, begin]
    number = counts[groups, step + 1] - counts[groups, begin]
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def braid(ds: xr.Dataset) -> hv.Element:
    """Draw discriminators as strands across the generators over the iterations.

    A strand is where its discriminator trains, as thick as its loss, and goes to another generator
    where groups were regrouped. Below are, of runs on points that keep samples, densities of each
    generator's samples at regroupings: the last that were kept before, on the plane of the data.

    Parameters
    ----------
    ds : Dataset
        Of a method with groups.

    Raises
    ------
    ValueError
        If the Dataset does not tell who met, or no losses.
    """
    found = strands(ds)
    if not found:
        return message("no iterations yet")
    names, ends = ds["group"].values, reached(ds)
    losses = np.concatenate([strand.loss for strand in found])
    losses = np.append(losses[np.isfinite(losses)], 0.0)  # thickness is from 0 on, or from below
    low, high = float(losses.min()), float(np.quantile(losses, HIGHEST))
    drawn = [_drawn(strand, low, high, names) for strand in found]
    row = min(ROWS[1], max(ROWS[0], ALL // len(names)))
    below = _pictures(ds, row - MARGIN)
    rows = len(names) * (2 if below else 1) + (GAP if below else 0)
    ticks = [(float(place), str(name)) for place, name in enumerate(names)]
    if below:
        ticks += [(len(names) + GAP + place, f"samples {name}") for place, name in ticks]
    told = [layer.label for layer in drawn]
    options = legend(told, height=AROUND + int(row * rows)) | {
        "title": f"thickness: loss, {low:.3g} to {high:.3g}",
        "xlabel": dimension(ds["iteration"]).pprint_label,
        "ylabel": "generator",
        "xlim": ends,
        "ylim": (-0.5, rows - 0.5),
        "yticks": ticks,
        "invert_yaxis": True,
    }
    marks = hv.VLines(regrouped_at(ds), kdims=["iteration"]).opts(color=MUTED, line_width=0.8)
    return hv.Overlay([*drawn, marks, *below]).opts(hv.opts.Overlay(**options))


def _drawn(strand: Strand, low: float, high: float, names: Array) -> hv.Polygons:
    """Draw one strand."""
    share = (strand.loss - low) / (high - low) if high > low else np.zeros(len(strand.x))
    half = (THIN + (THICK - THIN) * np.nan_to_num(share).clip(0, 1)) / 2
    x = np.concatenate([strand.x, strand.x[::-1]])
    y = np.concatenate([strand.height - half, (strand.height + half)[::-1]])
    level = np.unique(strand.height[strand.height == np.round(strand.height)]).astype(int)
    known = strand.loss[np.isfinite(strand.loss)]
    told = {
        "discriminator": str(strand.discriminator),
        "generators": ", ".join(str(names[place]) for place in level),
        "loss": f"{known.mean():.3g}" if len(known) else "not known",
    }
    colour = COLOURS[strand.discriminator % len(COLOURS)]
    tooltips = [("discriminator", "@discriminator"), ("mean loss", "@loss")]
    tooltips += [("generators", "@generators")]
    shape: dict[Any, Any] = {("iteration", "depth"): np.stack([x, y], 1), **told}
    # apart for each: of several in one layer a legend does not tell
    return hv.Polygons(
        [shape],
        ["iteration", "depth"],
        [*told],
        label=f"discriminator {strand.discriminator}",
    ).opts(
        **STILL,
        show_legend=True,
        color=colour,
        fill_alpha=0.85,
        line_color=colour,
        line_width=0.6,
        tools=[HoverTool(tooltips=tooltips)],
    )


def _pictures(ds: xr.Dataset, side: int) -> list[hv.Labels]:
    """Draw densities of every generator's samples at regroupings, if there are any."""
    if "samples" not in ds or ds.sizes["value"] != COORDINATES or not ds.sizes["snapshot"]:
        return []
    kept = ds["samples"].transpose("group", "snapshot", "sample", "value").values
    done = np.isfinite(kept).all((2, 3))
    if not done.any():
        return []
    plane = Plane.of(ds.attrs) or Plane.around(kept[done].reshape(-1, COORDINATES))
    when = ds["snapshot_iteration"].transpose("group", "snapshot").values
    found = []
    for at in _spread(regrouped_at(ds), reached(ds)[1]):
        for place in range(len(kept)):
            before = np.flatnonzero(done[place] & (when[place] <= at))
            if len(before):
                counts = counted(kept[place, before[-1]], plane)
                found.append((at, len(kept) + GAP + place, counts))
    if not found:
        return []
    fullest = max(1.0, float(np.quantile([counts for *_, counts in found], FULLEST)))
    drawn = [(at, depth, _png(counts / fullest)) for at, depth, counts in found]
    layer = hv.Labels(drawn, ["iteration", "depth"], "picture")
    return [layer.opts(**STILL, text_alpha=0, hooks=[_as_pictures(side)])]


def _spread(regroupings: Array, last: float) -> Array:
    """Choose regroupings whose pictures lie side by side, the last among them.

    Examples
    --------
    >>> _spread(np.array([100, 110, 300, 500, 900]), 1000).tolist()
    [110, 300, 500, 900]
    """
    chosen: list[float] = []
    for at in regroupings[::-1].tolist():
        if not chosen or chosen[-1] - at >= last / (PICTURES + 1):
            chosen.append(at)
    return np.array(chosen[::-1])


def _png(shares: Array) -> str:
    """Give a picture of a density as an address: the fuller, the more samples."""
    made = Image.new("RGB", shares.shape[::-1], COLOUR)
    made.putalpha(Image.fromarray((shares.clip(0, 1) * 255).round().astype(np.uint8)))
    buffer = io.BytesIO()
    made.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _as_pictures(side: int) -> Any:
    """Make a hook that shows pictures where labels hold their addresses, as large on any page."""
    size: dict[str, Any] = {"w": side, "h": side, "w_units": "screen", "h_units": "screen"}

    def show(plot: Any, element: hv.Element) -> None:
        figure, source = plot.state, plot.handles["source"]
        if not figure.select({"tags": ["pictures"]}):
            glyph = ImageURL(url="picture", x="iteration", y="depth", anchor="center", **size)
            figure.add_glyph(source, glyph, tags=["pictures"])

    return show
