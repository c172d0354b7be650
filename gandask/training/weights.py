"""What the state of a generator holds: weights that are trained, and beside them their average.

Named arrays alone: who lists runs, or reads a checkpoint, loads no torch.
"""

from __future__ import annotations

from gandask.core import State

PREFIX = "ema/"
"""What the names of averages begin with: names of modules have no such character."""


def trained_of(state: State) -> State:
    """Give the weights that are trained.

    Examples
    --------
    >>> trained_of({"weight": 1, "ema/weight": 2})
    {'weight': 1}
    """
    return {name: array for name, array in state.items() if not name.startswith(PREFIX)}


def average_of(state: State) -> State:
    """Give the weights to sample from: the averages, or those that are trained where none are kept.

    Examples
    --------
    >>> average_of({"weight": 1, "count": 5, "ema/weight": 2})
    {'weight': 2, 'count': 5}
    """
    return {name: state.get(PREFIX + name, array) for name, array in trained_of(state).items()}
