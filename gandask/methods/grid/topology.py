"""Neighbourhoods of a toroidal grid: index arithmetic only.

Cells are counted row by row from 0. A neighbourhood lists, for each cell, its neighbours in a
fixed order, each once and never the cell itself: on grids narrower than three cells two directions
meet in one cell. Cross and Moore: Pérez et al. (2020), Fig. 1; ring: Toutouh's slides (2021).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gandask import config, schedule
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
    cells = {}
    for cell, neighbours in chosen.items():
        if isinstance(neighbours, str) or not isinstance(neighbours, Sequence):
            raise SettingError(
                f"neighbourhood gives the cell {cell!r} the neighbours {neighbours!r}: expected a "
                "list of (row, col)"
            )
        cells[_index(cell, shape)] = [_index(neighbour, shape) for neighbour in neighbours]
    return tuple(_distinct(cell, cells.get(cell, [])) for cell in range(shape[0] * shape[1]))


def resolve(chosen: object, shape: tuple[int, int], key: str = "neighbourhood") -> Neighbours:
    """Turn a name or a user's map into neighbours of each cell.

    Raises
    ------
    SettingError
        If the name is unknown or the map does not fit the grid; `key` is the setting to name.
    """
    if isinstance(chosen, Mapping):
        return from_map(chosen, shape)
    if isinstance(chosen, str) and chosen in NEIGHBOURHOODS:
        return NEIGHBOURHOODS[chosen](shape)
    raise SettingError(
        f"{key}={chosen!r}: expected one of {', '.join(NEIGHBOURHOODS)}, or a map from "
        "(row, col) to a list of (row, col)"
    )


@dataclass(frozen=True)
class Schedule:
    """Say which neighbourhood holds in which round.

    Parameters
    ----------
    shape : (rows, columns)
    first : str, mapping or callable
        A name, a map of cells, a function from the view to either, or that function's
        ``"package.module:name"``.
    later : mapping of str to (str or mapping)
        What takes its place, by the round from which on it does.
    """

    shape: tuple[int, int]
    first: Any
    later: Mapping[str, Any]

    @classmethod
    def read(cls, shape: tuple[int, int], first: Any, later: Mapping[str, Any]) -> Schedule:
        """Check what a user gave, and write maps the way TOML does.

        Raises
        ------
        SettingError
            For an unknown name, or a cell that is not there.
        """
        key = "neighbourhood_schedule"
        plain = {round: _plain(chosen, shape, key) for round, chosen in later.items()}
        if not is_function(first):
            first = _plain(first, shape, "neighbourhood")
        return cls(shape, first, plain)

    def neighbours(self, round: int, view: object) -> Neighbours:
        """Give the neighbours of each cell in a round.

        Raises
        ------
        SettingError
            For a function that fails, or gives no neighbourhood.
        """
        chosen = schedule.in_force(self.first, self.later, round)
        return self._called(chosen, view) if is_function(chosen) else resolve(chosen, self.shape)

    def _called(self, named: Any, view: object) -> Neighbours:
        """Let a function choose."""
        function = config.load_object(named) if isinstance(named, str) else named
        try:
            chosen = function(view)
        except Exception as error:
            raise SettingError(
                f"neighbourhood={named!r}: expected a function that takes the view of a run; this "
                f"one did not: {type(error).__name__}: {error}"
            ) from error
        try:
            return resolve(chosen, self.shape)
        except SettingError as error:
            raise SettingError(f"what the function {named!r} gave: {error}") from error

    @property
    def sizes(self) -> list[int]:
        """Cells in each neighbourhood that is known beforehand, the cell itself included."""
        known = [one for one in (self.first, *self.later.values()) if not is_function(one)]
        return [len(others) + 1 for one in known for others in resolve(one, self.shape)]

    @property
    def largest(self) -> int:
        """The most cells that a neighbourhood may have: a function may choose all."""
        return self.shape[0] * self.shape[1] if is_function(self.first) else max(self.sizes)


def is_function(neighbourhood: object) -> bool:
    """Tell whether a neighbourhood is chosen by a function, given or named."""
    return callable(neighbourhood) or (isinstance(neighbourhood, str) and ":" in neighbourhood)


def _plain(chosen: object, shape: tuple[int, int], key: str) -> object:
    """Write a map of cells the way TOML does, so that it compares equal after reading."""
    found = resolve(chosen, shape, key)
    if not isinstance(chosen, Mapping):
        return chosen
    spoken = [",".join(map(str, position(cell, shape))) for cell in range(len(found))]
    return {spoken[i]: [spoken[j] for j in found[i]] for i in range(len(found)) if found[i]}


def _distinct(cell: int, neighbours: Sequence[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(other for other in neighbours if other != cell))


def _index(cell: object, shape: tuple[int, int]) -> int:
    parts = cell.split(",") if isinstance(cell, str) else cell
    try:
        if not isinstance(parts, Sequence):
            raise TypeError
        row, col = (int(p) if isinstance(p, str) else operator.index(p) for p in parts)
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
