"""Neighbourhoods of a toroidal grid: index arithmetic only.

Cells are counted row by row from 0. A neighbourhood lists, for each cell, its neighbours in a
fixed order, each once and never the cell itself: on grids narrower than three cells two directions
meet in one cell. Cross and Moore: Pérez et al. (2020), Fig. 1; ring: Toutouh's slides (2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gandask.core import SettingError

Neighbours = tuple[tuple[int, ...], ...]
"""For each cell, the indices of its neighbours."""

CROSS = ((0, -1), (-1, 0), (0, 1), (1, 0))
MOORE = (*CROSS, (-1, -1), (-1, 1), (1, 1), (1, -1))


def position(cell: int, shape: tuple[int, int]) -> tuple[int, int]:
    """Give row and column of a cell.

    Examples
    --------
    >>> position(5, (2, 3))
    (1, 2)
    """
    return divmod(cell, shape[1])


def cell_of(slot: str) -> int:
    """Give the cell that a slot stands for.

    Examples
    --------
    >>> cell_of("cell/3")
    3
    """
    return int(slot.removeprefix("cell/"))


def around(shape: tuple[int, int], offsets: Sequence[tuple[int, int]]) -> Neighbours:
    """List the cells at the given (row, column) offsets on the torus.

    Examples
    --------
    >>> around((2, 2), CROSS)
    ((1, 2), (0, 3), (3, 0), (2, 1))
    """
    rows, cols = shape
    return tuple(
        _distinct(
            cell,
            [(row + down) % rows * cols + (col + right) % cols for down, right in offsets],
        )
        for cell in range(rows * cols)
        for row, col in [position(cell, shape)]
    )


def cross(shape: tuple[int, int]) -> Neighbours:
    """List the west, north, east and south neighbours: the five-cell neighbourhood."""
    return around(shape, CROSS)


def moore(shape: tuple[int, int]) -> Neighbours:
    """List all eight neighbours: the nine-cell neighbourhood."""
    return around(shape, MOORE)


def ring(shape: tuple[int, int]) -> Neighbours:
    """List the cells before and after, row by row in a circle."""
    size = shape[0] * shape[1]
    return tuple(_distinct(cell, [(cell - 1) % size, (cell + 1) % size]) for cell in range(size))


def isolated(shape: tuple[int, int]) -> Neighbours:
    """List no neighbours at all."""
    return ((),) * (shape[0] * shape[1])


NEIGHBOURHOODS = {"cross": cross, "moore": moore, "ring": ring, "isolated": isolated}


def from_map(chosen: Mapping[Any, Sequence[Any]], shape: tuple[int, int]) -> Neighbours:
    """Read a user's map from cells to neighbours.

    Parameters
    ----------
    chosen : mapping
        From ``(row, col)``, or ``"row,col"`` as TOML writes it, to the neighbours in the same
        form. A cell that is left out has no neighbours.

    Raises
    ------
    SettingError
        If a cell is not in the grid.

    Examples
    --------
    >>> from_map({(0, 0): [(0, 1)], "0,1": ["0,0"]}, (1, 2))
    ((1,), (0,))
    """
    cells = {
        _index(cell, shape): [_index(neighbour, shape) for neighbour in neighbours]
        for cell, neighbours in chosen.items()
    }
    return tuple(_distinct(cell, cells.get(cell, [])) for cell in range(shape[0] * shape[1]))


def resolve(chosen: object, shape: tuple[int, int]) -> Neighbours:
    """Turn a name or a user's map into neighbours of each cell.

    Raises
    ------
    SettingError
        If the name is unknown or the map does not fit the grid.
    """
    if isinstance(chosen, Mapping):
        return from_map(chosen, shape)
    if isinstance(chosen, str) and chosen in NEIGHBOURHOODS:
        return NEIGHBOURHOODS[chosen](shape)
    raise SettingError(
        f"neighbourhood={chosen!r}: expected one of {', '.join(NEIGHBOURHOODS)}, or a map from "
        "(row, col) to a list of (row, col)"
    )


def _distinct(cell: int, neighbours: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(other for other in neighbours if other != cell))


def _index(cell: object, shape: tuple[int, int]) -> int:
    parts = cell.split(",") if isinstance(cell, str) else cell
    try:
        if not isinstance(parts, Sequence):
            raise TypeError
        row, col = (int(part) for part in parts)
    except (TypeError, ValueError):
        raise SettingError(
            f"neighbourhood names the cell {cell!r}: expected (row, col) or 'row,col'"
        ) from None
    if not (0 <= row < shape[0] and 0 <= col < shape[1]):
        raise SettingError(
            f"neighbourhood names the cell ({row}, {col}), which is not in a grid of "
            f"{shape[0]}×{shape[1]}: rows go from 0 to {shape[0] - 1}, columns to {shape[1] - 1}"
        )
    return row * shape[1] + col
