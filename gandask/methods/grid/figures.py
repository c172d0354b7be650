"""What is drawn of a grid alone: neighbourhoods and mixtures, replacements, and lineages.

A lineage tells where the weights in cells came from: ancestors, back to the founders of round 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np

from gandask import display, plots
from gandask.core import Array, Figure
from gandask.methods.grid import topology
from gandask.methods.grid.view import KINDS
from gandask.plots import selection
from gandask.plots.style import (
    BEST,
    COLOURS,
    MUTED,
    ON_TOP,
    STILL,
    WIDE,
    dimension,
    line,
    message,
    whole_numbers,
)

if TYPE_CHECKING:
    import xarray as xr

UNIT = ("row", "col")
MOST = 64  # cells that are drawn beside a marked one
TICKS = 24  # cells that can be named on an axis
NO_ROUND = "no round is done yet"
CELL_HEIGHTS = (180, 520, 18)  # pixels: smallest and largest of all cells, and of one


def neighbourhood(
    ds: xr.Dataset, marked: Mapping[str, Any], round: int = -1, variable: str | None = None
) -> hv.Overlay:
    """Draw a variable over the grid, with a cell and its neighbours of that round outlined.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    marked : mapping
        The place of the cell, such as ``{"row": 0, "col": 1}``.
    round : int
        Its number; a negative one counts from the last.
    variable : str, optional
        As for `gandask.plots.map`.

    Raises
    ------
    ValueError
        If there is no such variable, round or cell.
    """
    cell(ds, marked)
    around = [_place(ds, other) for other in _members(ds, marked, round)]
    return plots.map(ds, variable, round, marked, around)


def mixture(ds: xr.Dataset, marked: Mapping[str, Any], round: int = -1) -> hv.Element:
    """Draw as bars whose generators the mixture of a cell is made of.

    Its own are in colour; several of one cell are counted from 1.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    marked : mapping
        The place of the cell, such as ``{"row": 0, "col": 1}``.
    round : int
        Its number; a negative one counts from the last.

    Returns
    -------
    Rectangles
        On a frame that is the same in every round and for every cell.

    Raises
    ------
    ValueError
        If there are no weights, or no such round or cell.
    """
    weights = selection.numbers(ds, "mixture_weight")
    own, rows, share = cell(ds, marked), weights.shape[-1], dimension(weights)
    if not weights.sizes["round"]:
        return plots.mixture([], [], rows=rows, share=share, title=NO_ROUND)
    weights = selection.at_round(weights, round)
    members = _members(ds, marked, int(weights["round"]))
    several = len(set(members)) < len(members)
    names = []
    for place, member in enumerate(members):
        name = ", ".join(map(str, _place(ds, member).values()))
        names.append(f"{name} · {members[: place + 1].count(member)}" if several else name)
    return plots.mixture(
        names,
        weights.sel(marked).values[: len(names)].tolist(),
        [name for name, member in zip(names, members, strict=True) if member == own],
        rows,
        share,
        f"{display.place(marked)} in round {int(weights['round'])}",
    )


def replacements(ds: xr.Dataset) -> hv.Element:
    """Draw in how many cells an individual was replaced, by round.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    """
    if not ds.sizes["round"]:
        return message(NO_ROUND)
    measured = hv.Dimension("cells", label="cells with a new individual")
    lines = [
        line(
            (ds["round"].values, ds[f"{kind}_replaced"].sum(UNIT).values),
            (dimension(ds["round"]), measured),
            kind,
            colour,
        )
        for kind, colour in zip(KINDS, COLOURS, strict=False)
    ]
    options = hv.opts.Overlay(
        **WIDE, **ON_TOP, ylim=(0, None), xticks=whole_numbers(), yticks=whole_numbers()
    )
    return hv.Overlay(lines).opts(options)


def lineage(
    ds: xr.Dataset, marked: Mapping[str, Any] | None = None, kind: str = "generator"
) -> hv.Element:
    """Draw through which cells the ancestors of the last round's individuals went.

    The line of every cell is muted; where lines meet, an individual spread. With several
    individuals in a cell this follows the newest: see `ancestors`.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    marked : mapping, optional
        The place of the cell whose line stands out, such as ``{"row": 0, "col": 1}``.
    kind : str
        "generator" or "discriminator".

    Raises
    ------
    ValueError
        If `ds` is no grid, or there is no such cell or kind.
    """
    places = ancestors(ds, kind=kind)
    rounds, cells = places.values.shape
    if rounds == 1:
        return message(NO_ROUND)
    axes = ["round", "cell", "next_round", "next_cell"]
    width = 1.2 if cells <= TICKS else 0.6
    # among so many lines the marked one could not be followed
    shown = places.values if marked is None or cells <= MOST else places.values[:, :0]
    everyone = hv.Segments(_steps(shown), axes).opts(color=MUTED, line_width=width, **STILL)
    own = np.empty((0, 2))
    if marked is not None:
        own = np.stack([places["round"], places[:, cell(ds, marked)]], 1)
    traced = hv.Curve(own, *axes[:2]).opts(
        color=BEST, line_width=2.5, interpolation="steps-mid", **STILL
    )
    founders = len(np.unique(places[0]))
    return (everyone * traced).opts(
        hv.opts.Overlay(
            **_axis_of_cells(ds),
            title=f"{founders:,} of {cells:,} founders left",
            xlabel=dimension(ds["round"]).pprint_label,
            xlim=(0, rounds - 1),
            xticks=whole_numbers(),
        )
    )


def ancestors(
    ds: xr.Dataset, marked: Mapping[str, Any] | None = None, kind: str = "generator"
) -> xr.DataArray:
    """Tell in which cell the ancestor of each final individual lived after each round.

    One that took its place in a round was cloned from the cell ``generator_parent`` as it was
    before the round; any other stayed. Where cells have several individuals, the records tell of
    the cell as a whole: this follows the newest, as if an offspring took the place of all.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    marked : mapping, optional
        The place of the final cell to follow back; all of them by default.
    kind : str
        "generator" or "discriminator".

    Returns
    -------
    DataArray
        Cells, counted row by row: (round, cell), from round 0, before the first; by final cell.

    Raises
    ------
    ValueError
        If `ds` is no grid, or there is no such cell or kind.
    """
    import xarray as xr

    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {', '.join(KINDS)}")
    if f"{kind}_parent" not in ds or not set(UNIT) <= set(ds.dims):
        raise ValueError(
            f"the Dataset has no {kind}_parent by row and col: a lineage needs the run of a grid"
        )
    final = np.arange(ds.sizes["row"] * ds.sizes["col"])
    if marked is not None:
        final = final[[cell(ds, marked)]]
    parents, replaced = (
        ds[f"{kind}_{name}"].transpose("round", *UNIT).values for name in ("parent", "replaced")
    )
    rounds = [0, *ds["round"].values.tolist()]
    told = {"long_name": f"cell of the {kind}'s ancestor", "units": "cell"}
    coords = {
        "round": ("round", rounds, ds["round"].attrs),
        "cell": ("cell", final, {"long_name": "final cell", "units": "cell"}),
    }
    places = _walked(final, parents, replaced)
    return xr.DataArray(places, coords, list(coords), "ancestor", told)


def cell(ds: xr.Dataset, marked: Mapping[str, Any]) -> int:
    """Give the index of a cell of the grid, counted row by row.

    Raises
    ------
    ValueError
        If `ds` is no grid, or `marked` is not in it.
    """
    if not set(UNIT) <= set(ds.dims):
        raise ValueError(f"the Dataset has dimensions {tuple(ds.dims)}: expected row and col")
    rows, cols = (range(ds.sizes[dim]) for dim in UNIT)
    if set(marked) != set(UNIT) or marked["row"] not in rows or marked["col"] not in cols:
        raise ValueError(
            f"there is no unit {dict(marked)}: expected row from 0 to {len(rows) - 1}, col from 0 "
            f"to {len(cols) - 1}"
        )
    return int(marked["row"]) * len(cols) + int(marked["col"])


def _place(ds: xr.Dataset, index: int) -> dict[str, int]:
    """Give the place of a cell."""
    return dict(
        zip(UNIT, topology.position(index, (ds.sizes["row"], ds.sizes["col"])), strict=True)
    )


def _members(ds: xr.Dataset, marked: Mapping[str, Any], round: int) -> list[int]:
    """Give the cells of a neighbourhood, as often as they have individuals in it."""
    known = ds.get("neighbour_cell")
    if known is None or not known.sizes["round"]:
        return []
    found: Array = selection.at_round(known, round).sel(marked).values
    return [int(member) for member in found if member >= 0]


def _walked(final: Array, parents: Array, replaced: Array) -> Array:
    """Walk back from final cells: an array (rounds and one, lines)."""
    places = [final]
    for parent, new in zip(parents[::-1], replaced[::-1], strict=True):
        # a parent of -1 is not known
        before = np.where(new & (parent >= 0), parent, np.arange(parent.size).reshape(parent.shape))
        places.append(before.ravel()[places[-1]])
    return np.stack(places[::-1])


def _axis_of_cells(ds: xr.Dataset) -> dict[str, Any]:
    """Give options for an axis of cells, the first on top, that names as many as it can."""
    rows, cols = ds.sizes["row"], ds.sizes["col"]
    stride = 1 if rows * cols <= TICKS else cols * -(-rows // TICKS)
    smallest, largest, each = CELL_HEIGHTS
    return WIDE | {
        "height": min(largest, max(smallest, 80 + each * rows * cols)),
        "ylabel": "cell (row, col)",
        "ylim": (-0.7, rows * cols - 0.3),
        "yticks": [(i, f"{i // cols}, {i % cols}") for i in range(0, rows * cols, stride)],
        "invert_yaxis": True,
    }


def _steps(places: Array) -> Array:
    """Draw lines as few segments: a stay in a cell is one, however many lines share it.

    Returns
    -------
    (n, 4) array
        Round and cell at both ends. A move is halfway between the rounds.
    """
    rounds, cells = places.shape
    lived = np.zeros((rounds + 2, cells), int)  # empty before and after
    lived[np.arange(1, rounds + 1)[:, None], places] = 1
    changes = np.diff(lived, axis=0).T
    cell, begin = np.nonzero(changes == 1)
    end = np.nonzero(changes == -1)[1]
    stays = np.stack([begin - 0.5, cell, end - 0.5, cell], 1)
    stays[:, [0, 2]] = stays[:, [0, 2]].clip(0, rounds - 1)
    round, line = np.nonzero(places[:-1] != places[1:])
    # lines that share a move draw it once; as one number each, they are compared fast
    shape = (rounds, cells, cells)
    ends = places[round, line], places[round + 1, line]
    shared = np.unique(np.ravel_multi_index((round, *ends), shape))
    when, before, after = np.unravel_index(shared, shape)
    moves = np.stack([when + 0.5, before, when + 0.5, after], 1)
    return np.concatenate([stays, moves])


FIGURES = {
    "mixture": Figure(
        "Mixture", mixture, ("mixture_weight", "neighbour_cell"), takes=("marked", "round")
    ),
    "lineage": Figure(
        "Where its weights came from",
        lineage,
        ("generator_parent", "generator_replaced"),
        takes=("marked",),
        along_rounds=True,
    ),
    "neighbourhood": Figure(
        "Neighbourhood", neighbourhood, ("neighbour_cell",), takes=("marked", "round")
    ),
    "replacements": Figure(
        "Replacements",
        replacements,
        tuple(f"{kind}_replaced" for kind in KINDS),
        along_rounds=True,
    ),
}
"""What pages and reports show of a grid beside what they show of every run."""
