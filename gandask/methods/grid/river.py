"""The river of a grid: founders as streams over rounds, as wide as the cells they hold.

Its lower part shows, on the same axis, how various the grid is.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np
from bokeh.models import HoverTool

from gandask.core import Array
from gandask.methods.grid.lineage import ancestors, founders, variety
from gandask.plots.style import (
    COLOURS,
    INKS,
    MUTED,
    STILL,
    dimension,
    legend,
    message,
    whole_numbers,
)

if TYPE_CHECKING:
    import xarray as xr

NO_ROUND = "no round is done yet"
TICKS = 24  # founders that can be named on an axis
HEIGHTS = (300, 560, 26)  # pixels: smallest and largest of all, and of a cell
AROUND = 110  # pixels of title, legend and axis
GAP, STRIP = 0.08, 0.35  # of the river's height: above the lower part, and of that
STEPS, SEEN = 6, 600  # points of a bend, where there is room for so many along the river
STREAMS = 36  # with a colour of their own
DOTS = 60  # rounds in which a line has one each
POINTS = 500  # rounds: more cannot be seen apart
PRINTED, NAMED = 22, 0.25  # pixels of a stream, and share of its length, that a name fits into
LEFT, EFFECTIVE = COLOURS[1], COLOURS[0]
OUTLINE = "white"  # around what lies over streams of any colour


@dataclass(frozen=True)
class Streams:
    """Where the streams of a river run.

    Parameters
    ----------
    rounds : (n,) array
        From 0, before the first.
    edges : (n, founders + 1) array
        The upper edge of each stream after each round, in cells from the top, and the last one's
        lower edge.
    """

    rounds: Array
    edges: Array

    @classmethod
    def of(cls, cells: Array, rounds: Array) -> Streams:
        """Lay streams below each other, in the order of their founders.

        Parameters
        ----------
        cells : (n, founders) array
            Cells that each holds after each of the rounds.
        rounds : (n,) array

        Examples
        --------
        >>> Streams.of(np.array([[1, 1, 1], [2, 0, 1]]), np.array([0, 1])).edges.tolist()
        [[0, 1, 2, 3], [0, 2, 2, 3]]
        """
        return cls(rounds, np.pad(np.cumsum(cells, 1), ((0, 0), (1, 0))))

    def outline(self, first: int, last: int) -> tuple[Array, Array]:
        """Give the points around the streams from one founder to another, up to where all end."""
        upper, lower = self.edges[:, first], self.edges[:, last + 1]
        # one round longer than it lives: there it tapers off
        end = int(np.flatnonzero(upper < lower)[-1]) + 2
        x, above = bent(self.rounds[:end], upper[:end])
        _, below = bent(self.rounds[:end], lower[:end])
        return np.concatenate([x, x[::-1]]), np.concatenate([above, below[::-1]])

    def strand(self, held: Array, places: Array) -> Array:
        """Give the height of one cell's line in its stream after each round: (n,).

        Parameters
        ----------
        held : (n, cells) array
            The founder of each cell.
        places : (n,) array
            The cell that the line is in.
        """
        rows = np.arange(len(held))
        own = held[rows, places]
        above = (held == own[:, None]) & (np.arange(held.shape[1]) < places[:, None])
        return np.asarray(self.edges[rows, own] + above.sum(1) + 0.5)

    def room(self, founder: int, line: Array | None = None) -> tuple[float, float]:
        """Give the upper and the lower end of the room for a name where a stream reaches the end.

        Parameters
        ----------
        founder : int
        line : (n,) array, optional
            The height of a line, which the name lies beside.

        Examples
        --------
        >>> streams = Streams.of(np.array([[1, 3], [1, 3]]), np.array([0, 1]))
        >>> streams.room(1), streams.room(1, np.array([3.5, 3.5]))
        ((1.0, 4.0), (1.0, 3.5))
        """
        x, _ = bent(self.rounds, self.edges[:, founder])
        last = x >= x[-1] - NAMED * (x[-1] - x[0])
        upper, lower = (bent(self.rounds, edge)[1][last] for edge in self.edges.T[founder:][:2])
        if line is None:
            return float(upper.max()), float(lower.min())
        beside = bent(self.rounds, line)[1][last]
        parts = (upper, np.minimum(lower, beside)), (np.maximum(upper, beside), lower)
        ends = [(float(top.max()), float(bottom.min())) for top, bottom in parts]
        return max(ends, key=lambda part: part[1] - part[0])


def bent(x: Array, y: Array) -> tuple[Array, Array]:
    """Lay a curve through points that is level at each: 3t² − 2t³ from one to the next.

    Between very many points there is no room for a bend.

    Examples
    --------
    >>> x, y = bent(np.array([0, 1]), np.array([2.0, 4.0]))
    >>> x.tolist()[::3], y.tolist()[::3]
    ([0.0, 0.5, 1.0], [2.0, 3.0, 4.0])
    >>> [len(bent(np.arange(points), np.zeros(points))[0]) for points in (2, 100, 500)]
    [7, 595, 500]
    """
    steps = min(STEPS, max(1, SEEN // len(x)))
    share = np.linspace(0, 1, steps, endpoint=False)
    eased = share**2 * (3 - 2 * share)
    across = x[:-1, None] + np.diff(x)[:, None] * share
    up = y[:-1, None] + np.diff(y)[:, None] * eased
    return np.append(across.ravel(), x[-1]), np.append(up.ravel(), y[-1])


def river(
    ds: xr.Dataset, marked: Mapping[str, Any] | None = None, kind: str = "generator"
) -> hv.Element:
    """Draw founders as streams over the rounds, each as wide as the cells that descend from it.

    A stream bends where individuals were replaced: it widens where its own spread, and ends where
    the last of them went. Below, on the same axis, are the founders left, and their effective
    number: see `gandask.methods.grid.lineage.variety`.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    marked : mapping, optional
        The place of a cell, such as ``{"row": 0, "col": 1}``: a line through the river tells the
        cells that the ancestors of its last individual lived in.
    kind : str
        "generator" or "discriminator".

    Raises
    ------
    ValueError
        If `ds` is no grid, or there is no such cell or kind.
    """
    held, counted = founders(ds, kind), variety(ds, kind)
    places = None if marked is None else ancestors(ds, marked, kind)
    if not ds.sizes["round"]:
        return message(NO_ROUND)
    # always the first and the last
    size = held.sizes["round"]
    chosen = np.unique(np.linspace(0, size - 1, min(size, POINTS)).round().astype(int))
    held, counted = held.isel(round=chosen), counted.isel(round=chosen)
    cells = counted["cells"].values
    streams = Streams.of(cells, counted["round"].values)
    layers, depth = [_streams(ds, streams, counted), *_lower(counted)], None
    if marked is not None and places is not None:
        line = places.isel(round=chosen).values[:, 0]
        depth = streams.strand(held.values, line)
        layers += _traced(ds, streams, depth, line)
    layers += _named(ds, streams, cells, depth)
    labels = [*dict.fromkeys(layer.label for layer in layers if layer.label)]
    number, left = held.sizes["cell"], int(counted["left"][-1])
    return hv.Overlay(layers).opts(
        hv.opts.Overlay(
            **_axes(ds, number, labels),
            title=f"{left:,} of {number:,} founders left",
            xlabel=dimension(ds["round"]).pprint_label,
            xlim=(0, float(streams.rounds[-1])),
            xticks=whole_numbers(),
        )
    )


def told_apart(cells: Array) -> list[tuple[int, int, str]]:
    """Give the first and the last founder of each stream, and its colour; most of many share one.

    Those that held the most cells for the longest have their own; those between two of them share
    one, as hundreds of streams could not be told apart, nor drawn fast.

    Examples
    --------
    >>> [(first, last) for first, last, _ in told_apart(np.ones((2, 3), int))]
    [(0, 0), (1, 1), (2, 2)]
    """
    own = {*np.argsort(-cells.sum(0), kind="stable")[:STREAMS].tolist()}
    colours = itertools.cycle(COLOURS)
    found: list[tuple[int, int, str]] = []
    for founder in range(cells.shape[1]):
        if founder in own:
            found.append((founder, founder, next(colours)))
        elif found and found[-1][2] == MUTED:
            found[-1] = (found[-1][0], founder, MUTED)
        else:
            found.append((founder, founder, MUTED))
    return found


def _streams(ds: xr.Dataset, streams: Streams, counted: xr.Dataset) -> hv.Polygons:
    """Draw every stream, with what its founders came to."""
    cells, rounds = counted["cells"].values, streams.rounds
    drawn = []
    for first, last, colour in told_apart(cells):
        x, y = streams.outline(first, last)
        held = cells[:, first : last + 1].sum(1)
        peak, end = int(held.argmax()), int(np.flatnonzero(held)[-1])
        several = f"{last - first + 1} from {name_of(ds, first)} to {name_of(ds, last)}"
        drawn.append(
            {
                ("round", "depth"): np.stack([x, y], 1),
                "founder": name_of(ds, first) if first == last else several,
                "most": f"{held[peak]} in round {rounds[peak]}",
                "end": "still there" if end == len(held) - 1 else f"after round {rounds[end]}",
                "colour": colour,
            }
        )
    tooltips = [("founder", "@founder"), ("most cells", "@most"), ("last seen", "@end")]
    return hv.Polygons(drawn, ["round", "depth"], ["founder", "most", "end", "colour"]).opts(
        **STILL,
        color="colour",
        line_color=OUTLINE,
        line_width=0.6,
        tools=[HoverTool(tooltips=tooltips)],
    )


def _lower(counted: xr.Dataset) -> list[hv.Element]:
    """Draw the founders left and their effective number, below the river."""
    cells = counted.sizes["founder"]
    made = []
    for name, colour in (("left", LEFT), ("effective", EFFECTIVE)):
        values = counted[name].values
        title = counted[name].attrs["long_name"]
        columns = counted["round"].values, _below(cells, values), values
        hover = HoverTool(tooltips=[("round", "@round"), (title, "@value{0.[00]}")])
        curve = hv.Curve(
            columns, "round", ["depth", "value"], label=title.removesuffix(" of founders")
        )
        made.append(curve.opts(**STILL, color=colour, line_width=2, tools=[hover]))
    return made


def _below(cells: int, value: Any) -> Any:
    """Give the height, from the top, at which the lower part shows a number of founders."""
    return cells * (1 + GAP + STRIP * (1 - value / cells))


def _traced(ds: xr.Dataset, streams: Streams, depth: Array, places: Array) -> list[hv.Element]:
    """Draw through which cells the ancestors of one cell's individual went."""
    x, y = bent(streams.rounds, depth)
    # the same for every cell: a page draws another one into the same figure; of line and outline,
    # so that the legend shows both, and can be seen on a dark ground too
    label = "line of the cell"
    hover = HoverTool(tooltips=[("round", "@round"), ("ancestor in cell", "@cell")])
    dots = [
        (when, at, name_of(ds, place))
        for when, at, place in zip(streams.rounds, depth, places.tolist(), strict=True)
    ]
    size = 6 if len(dots) <= DOTS else 0
    return [
        hv.Curve((x, y), "round", "depth", label=label).opts(
            **STILL, color=OUTLINE, line_width=4.5
        ),
        hv.Curve((x, y), "round", "depth", label=label).opts(
            **STILL, color="black", line_width=1.8
        ),
        hv.Points(dots, ["round", "depth"], "cell").opts(
            **STILL, color="black", line_color=OUTLINE, size=size, tools=[hover]
        ),
    ]


def _named(ds: xr.Dataset, streams: Streams, cells: Array, line: Array | None) -> list[hv.Labels]:
    """Name the founders of streams that reach the end, where a name fits in beside a line.

    Those of each ink are a layer: in a figure whose labels come and go, Bokeh loses colours that
    are told label by label.
    """
    whole = cells.shape[1]
    pixel = whole * (1 + GAP + STRIP) / (_height(whole) - AROUND)
    rows: dict[str, list[tuple[float, float, str]]] = {"black": [], "white": []}
    for first, _, colour in told_apart(cells):
        upper, lower = streams.room(first, line)
        if colour != MUTED and lower - upper >= PRINTED * pixel:
            told = float(streams.rounds[-1]), (upper + lower) / 2, f"from {name_of(ds, first)} "
            rows[INKS[COLOURS.index(colour)]].append(told)
    return [
        hv.Labels(named, ["round", "depth"], "text").opts(
            **STILL, text_color=ink, text_font_size="9pt", text_align="right"
        )
        for ink, named in rows.items()
    ]


def _axes(ds: xr.Dataset, cells: int, labels: Sequence[str]) -> dict[str, Any]:
    """Give options for an axis of the founders, in their cells, and of their number below."""
    stride = 1 if cells <= TICKS else ds.sizes["col"] * -(-ds.sizes["row"] // TICKS)
    ticks: Sequence[tuple[float, str]] = [
        (founder + 0.5, name_of(ds, founder)) for founder in range(0, cells, stride)
    ]
    counts = [(_below(cells, value), f"{value:,}") for value in (0, cells)]
    return legend(labels, height=_height(cells)) | {
        "ylabel": "number · founder (row, col)",
        "ylim": (-0.02 * cells, cells * (1.02 + GAP + STRIP)),
        "yticks": [*ticks, *counts],
        "invert_yaxis": True,
    }


def _height(cells: int) -> int:
    smallest, largest, each = HEIGHTS
    return min(largest, max(smallest, AROUND + int(each * cells * (1 + GAP + STRIP))))


def name_of(ds: xr.Dataset, index: int) -> str:
    """Name a cell by its row and column."""
    return f"{index // ds.sizes['col']}, {index % ds.sizes['col']}"
