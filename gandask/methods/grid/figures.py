"""What is drawn of a grid alone: neighbourhoods and mixtures, replacements, and the river."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import holoviews as hv

from gandask import display, plots
from gandask.core import Array, Figure
from gandask.methods.grid import topology
from gandask.methods.grid.lineage import UNIT, cell
from gandask.methods.grid.river import river
from gandask.methods.grid.view import KINDS
from gandask.plots import selection
from gandask.plots.strip import MODES
from gandask.plots.style import (
    COLOURS,
    ON_TOP,
    WIDE,
    dimension,
    line,
    message,
    whole_numbers,
)

if TYPE_CHECKING:
    import xarray as xr

NO_ROUND = "no round is done yet"


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


FIGURES = {
    "mixture": Figure(
        "Mixture", mixture, ("mixture_weight", "neighbour_cell"), takes=("marked", "round")
    ),
    "neighbourhood": Figure(
        "Neighbourhood", neighbourhood, ("neighbour_cell",), takes=("marked", "round")
    ),
    "modes": MODES,
    "river": Figure(
        "Where its weights came from",
        river,
        ("generator_parent", "generator_replaced"),
        takes=("marked",),
        along="round",
        wide=True,
    ),
    "replacements": Figure(
        "Replacements",
        replacements,
        tuple(f"{kind}_replaced" for kind in KINDS),
        along="round",
    ),
}
"""What pages and reports show of a grid beside what they show of every run."""
