"""Where the weights in a grid's cells came from: ancestors, back to the founders of round 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import holoviews as hv
import numpy as np

from gandask.core import Array
from gandask.plots import selection
from gandask.plots.style import (
    BEST,
    MUTED,
    STILL,
    WIDE,
    dimension,
    message,
    whole_numbers,
)

if TYPE_CHECKING:
    import xarray as xr

KINDS = ("generator", "discriminator")
MOST = 64  # cells that are drawn beside a marked one
TICKS = 24  # cells that can be named on an axis
CELL_HEIGHTS = (180, 520, 18)  # pixels: smallest and largest of all cells, and of one


def lineage(
    ds: xr.Dataset, marked: tuple[int, int] | None = None, kind: str = "generator"
) -> hv.Element:
    """Draw through which cells the ancestors of the last round's individuals went.

    The line of every cell is muted; where lines meet, an individual spread. With several
    individuals in a cell this follows the newest: see `ancestors`.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    marked : (row, col), optional
        The cell whose line stands out.
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
        return message("no round is done yet")
    axes = ["round", "cell", "next_round", "next_cell"]
    width = 1.2 if cells <= TICKS else 0.6
    # among so many lines the marked one could not be followed
    shown = places.values if marked is None or cells <= MOST else places.values[:, :0]
    everyone = hv.Segments(_steps(shown), axes).opts(color=MUTED, line_width=width, **STILL)
    cell = None if marked is None else selection.cell(ds, marked)
    own = np.empty((0, 2)) if cell is None else np.stack([places["round"], places[:, cell]], 1)
    line = hv.Curve(own, *axes[:2]).opts(
        color=BEST, line_width=2.5, interpolation="steps-mid", **STILL
    )
    founders = len(np.unique(places[0]))
    return (everyone * line).opts(
        hv.opts.Overlay(
            **_axis_of_cells(ds),
            title=f"{founders:,} of {cells:,} founders left",
            xlabel=dimension(ds["round"]).pprint_label,
            xlim=(0, rounds - 1),
            xticks=whole_numbers(),
        )
    )


def ancestors(
    ds: xr.Dataset, cell: tuple[int, int] | None = None, kind: str = "generator"
) -> xr.DataArray:
    """Tell in which cell the ancestor of each final individual lived after each round.

    One that took its place in a round was cloned from the cell ``generator_parent`` as it was
    before the round; any other stayed. Where cells have several individuals, the records tell of
    the cell as a whole: this follows the newest, as if an offspring took the place of all.

    Parameters
    ----------
    ds : Dataset
        Of a grid.
    cell : (row, col), optional
        The final cell to follow back; all of them by default.
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
    if f"{kind}_parent" not in ds or not {"row", "col"} <= set(ds.dims):
        raise ValueError(
            f"the Dataset has no {kind}_parent by row and col: a lineage needs the run of a grid"
        )
    final = np.arange(ds.sizes["row"] * ds.sizes["col"])
    if cell is not None:
        final = final[[selection.cell(ds, cell)]]
    parents, replaced = (
        ds[f"{kind}_{name}"].transpose("round", "row", "col").values
        for name in ("parent", "replaced")
    )
    rounds = [0, *ds["round"].values.tolist()]
    told = {"long_name": f"cell of the {kind}'s ancestor", "units": "cell"}
    coords = {
        "round": ("round", rounds, ds["round"].attrs),
        "cell": ("cell", final, {"long_name": "final cell", "units": "cell"}),
    }
    places = _walked(final, parents, replaced)
    return xr.DataArray(places, coords, list(coords), "ancestor", told)


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
