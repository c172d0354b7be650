"""Neighbourhoods: known ones by hand, and what must hold on any grid."""

from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gandask import SettingError
from gandask.methods.grid import topology
from gandask.methods.grid.topology import NEIGHBOURHOODS

SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 7))
on_any_grid = settings(deadline=None, derandomize=True, max_examples=60)

# Cross in the order west, north, east, south; Moore goes on with the corners from the north-west.
BY_HAND = [
    ("cross", (1, 1), [()]),
    ("moore", (1, 1), [()]),
    ("ring", (1, 1), [()]),
    ("isolated", (1, 1), [()]),
    ("cross", (2, 2), [(1, 2), (0, 3), (3, 0), (2, 1)]),
    ("moore", (2, 2), [(1, 2, 3), (0, 3, 2), (3, 0, 1), (2, 1, 0)]),
    ("ring", (2, 2), [(3, 1), (0, 2), (1, 3), (2, 0)]),
    ("isolated", (2, 2), [(), (), (), ()]),
    ("cross", (1, 4), [(3, 1), (0, 2), (1, 3), (2, 0)]),
    ("moore", (1, 4), [(3, 1), (0, 2), (1, 3), (2, 0)]),
    ("ring", (1, 4), [(3, 1), (0, 2), (1, 3), (2, 0)]),
    ("ring", (1, 2), [(1,), (0,)]),
    ("cross", (4, 1), [(3, 1), (0, 2), (1, 3), (2, 0)]),
    (
        "cross",
        (3, 3),
        [
            (2, 6, 1, 3),
            (0, 7, 2, 4),
            (1, 8, 0, 5),
            (5, 0, 4, 6),
            (3, 1, 5, 7),
            (4, 2, 3, 8),
            (8, 3, 7, 0),
            (6, 4, 8, 1),
            (7, 5, 6, 2),
        ],
    ),
    (
        "cross",
        (2, 5),
        [
            (4, 5, 1),
            (0, 6, 2),
            (1, 7, 3),
            (2, 8, 4),
            (3, 9, 0),
            (9, 0, 6),
            (5, 1, 7),
            (6, 2, 8),
            (7, 3, 9),
            (8, 4, 5),
        ],
    ),
    ("ring", (2, 5), [(9, 1), *((i - 1, i + 1) for i in range(1, 9)), (8, 0)]),
]


@pytest.mark.parametrize(("name", "shape", "expected"), BY_HAND)
def test_neighbourhoods_known_by_hand(name, shape, expected):
    assert topology.resolve(name, shape) == tuple(expected)


def test_moore_of_the_middle_and_of_a_corner():
    found = topology.moore((3, 3))
    assert found[4] == (3, 1, 5, 7, 0, 2, 8, 6)
    assert found[0] == (2, 6, 1, 3, 8, 7, 4, 5)
    assert topology.moore((2, 5))[0] == (4, 5, 1, 9, 6)


@on_any_grid
@given(SHAPES, st.sampled_from(sorted(NEIGHBOURHOODS)))
def test_on_any_grid(shape, name):
    found = topology.resolve(name, shape)
    assert len(found) == prod(shape)
    for cell, neighbours in enumerate(found):
        assert cell not in neighbours
        assert len(set(neighbours)) == len(neighbours)
        assert set(neighbours) <= set(range(prod(shape)))
        assert all(cell in found[other] for other in neighbours), "symmetric"


@on_any_grid
@given(st.tuples(st.integers(3, 9), st.integers(3, 9)))
def test_sizes_where_no_directions_meet(shape):
    sizes = {"cross": 4, "moore": 8, "ring": 2, "isolated": 0}
    assert sizes.keys() == NEIGHBOURHOODS.keys()
    for name, size in sizes.items():
        assert {len(neighbours) for neighbours in topology.resolve(name, shape)} == {size}


@on_any_grid
@given(SHAPES)
def test_cross_is_west_north_east_south(shape):
    # The released Lipizzaner gives the transposed cells from 3×3 up.
    rows, cols = shape
    for cell, neighbours in enumerate(topology.cross(shape)):
        row, col = cell // cols, cell % cols
        west = row, (col - 1 if col else cols - 1)
        north = (row - 1 if row else rows - 1), col
        east = row, (col + 1 if col < cols - 1 else 0)
        south = (row + 1 if row < rows - 1 else 0), col
        around = [r * cols + c for r, c in (west, north, east, south)]
        expected = [other for i, other in enumerate(around) if other not in (cell, *around[:i])]
        assert list(neighbours) == expected


@on_any_grid
@given(SHAPES)
def test_cross_lies_within_moore(shape):
    for near, all_around in zip(topology.cross(shape), topology.moore(shape), strict=True):
        assert all_around[: len(near)] == near


@on_any_grid
@given(SHAPES, st.sampled_from(sorted(NEIGHBOURHOODS)), st.booleans())
def test_a_user_map_that_says_the_same_is_the_same(shape, name, as_text):
    def spoken(cell):
        place = topology.position(cell, shape)
        return ",".join(map(str, place)) if as_text else place

    built_in = topology.resolve(name, shape)
    chosen = {spoken(i): [spoken(j) for j in others] for i, others in enumerate(built_in)}
    assert topology.resolve(chosen, shape) == built_in


def test_user_maps_are_directed_and_cleaned():
    chosen = {(0, 1): [(1, 0), (0, 1), (1, 0), (0, 0)], " 1 , 2 ": ((0, 2),)}
    assert topology.from_map(chosen, (2, 3)) == ((), (3, 0), (), (), (), (2,))
    assert topology.from_map({}, (1, 2)) == ((), ())


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({(0, 0): [(0, 3)]}, r"the cell \(0, 3\), which is not in a grid of 2×3: .* to 2"),
        ({(2, 0): []}, r"the cell \(2, 0\), which is not in a grid of 2×3: rows go from 0 to 1"),
        ({(-1, 0): []}, r"the cell \(-1, 0\)"),
        ({(0, 0): [4]}, r"the cell 4: expected \(row, col\) or 'row,col'"),
        ({(0, 0, 0): []}, r"the cell \(0, 0, 0\): expected"),
        ({"a,b": []}, r"the cell 'a,b': expected"),
        ({(0.5, 0): []}, r"the cell \(0.5, 0\): expected"),
        ({None: []}, r"the cell None: expected"),
        ({(0, 0): 4}, r"the cell \(0, 0\) the neighbours 4: expected a list of \(row, col\)"),
        ({(0, 0): None}, r"the neighbours None: expected a list"),
        ({"0,0": "0,1"}, r"the cell '0,0' the neighbours '0,1': expected a list"),
        ("crss", r"neighbourhood='crss': expected one of cross, moore, ring, isolated, or a map"),
        (None, r"neighbourhood=None: expected one of"),
    ],
)
def test_what_is_no_neighbourhood_is_refused(chosen, said):
    with pytest.raises(SettingError, match=said):
        topology.resolve(chosen, (2, 3))


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("os:system", r"neighbourhood='os:system': .* takes the view of a run; .* TypeError"),
        ("os:sep", r"neighbourhood='os:sep': .* TypeError: 'str' object is not callable"),
        ("builtins:id", r"what the function 'builtins:id' gave: neighbourhood=\d+: expected one"),
        (lambda view: {(9, 9): []}, r"what the function .* gave: .* not in a grid of 2×3"),
        (lambda view: view.rounds, r"AttributeError: 'object' object has no attribute 'rounds'"),
    ],
)
def test_functions_that_choose_no_neighbourhood_are_told(function, said):
    with pytest.raises(SettingError, match=said):
        topology.Schedule.read((2, 3), function, {}).neighbours(0, object())


@on_any_grid
@given(SHAPES)
def test_positions_count_row_by_row(shape):
    places = [topology.position(cell, shape) for cell in range(prod(shape))]
    assert places == [(row, col) for row in range(shape[0]) for col in range(shape[1])]


def test_slots_stand_for_cells():
    assert [topology.cell_of(f"cell/{cell}") for cell in (0, 7, 12)] == [0, 7, 12]
