"""How well discriminators of cells tell classes, which few labelled samples have taught them.

What tasks report of it, on held-out samples, and what a record says: of a cell's own
discriminator, and of those of its neighbourhood together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from gandask.core import Array, Made, State, Values, Variable, routine
from gandask.methods.grid.view import Cell, Population, centre
from gandask.methods.tasks import score
from gandask.scores.accuracy import ACCURACY, accuracy, held_out, probabilities
from gandask.training.learner import load_module
from gandask.training.settings import Training

OWN = f"discriminator_{ACCURACY}"
WHOSE = {
    ACCURACY: "the neighbourhood's discriminators",
    OWN: "the cell's own discriminator",
}


def _variable(whose: str, final_of: str = "") -> Variable:
    return Variable(
        f"{'final ' if final_of else ''}held-out accuracy of {whose}",
        role="cell",
        by_round=not final_of,
        better="higher",
        shown=() if final_of else ("map", "report"),
        final_of=final_of,
    )


VARIABLES: Mapping[str, Variable] = {
    **{name: _variable(whose) for name, whose in WHOSE.items()},
    **{f"final_{name}": _variable(whose, final_of=name) for name, whose in WHOSE.items()},
}
"""What records hold of discriminators that tell classes."""


def accuracies(
    training: Training,
    discriminators: Sequence[nn.Module],
    own: int,
    samples: int,
    device: torch.device,
    *,
    offspring: bool = True,
) -> dict[str, Array]:
    """Measure how well the discriminators of a neighbourhood tell classes of held-out samples.

    Parameters
    ----------
    discriminators : sequence of Module
        The cell's own first, and its offspring last, if there is `offspring`.
    own : int
        How many are the cell's own.
    samples : int
        How many are held out, at most.

    Returns
    -------
    mapping
        ``accuracies`` of the cell's own, and of its offspring; ``ensemble_accuracies`` of all
        together, by the mean of their probabilities: with the offspring in the place of each of
        the cell's own in turn, and without it.
    """
    with routine("score"):
        drawn, classes = held_out(training, samples, device)
        found = probabilities(discriminators, drawn)
        newest = [len(found) - 1] if offspring else []
        together = found[: len(found) - len(newest)].sum(0)
        changed = [together - found[i] + found[j] for i in range(own) for j in newest]
        alone = [found[index] for index in (*range(own), *newest)]
        return {
            "accuracies": np.array([accuracy(one, classes) for one in alone]),
            "ensemble_accuracies": np.array([accuracy(o, classes) for o in (*changed, together)]),
        }


def score_all(
    *states: State, training: Training, slot: str, round: int, samples: int, generators: int
) -> Made:
    """Measure a cell's generators on many samples, and its neighbourhood's discriminators.

    Parameters
    ----------
    *states
        Weights of its `generators`, and of the neighbourhood's discriminators, of which as many,
        the first ones, are its own.

    Returns
    -------
    values
        As of `gandask.methods.tasks.score`, and `accuracies`.
    """
    made, judges = states[:generators], states[generators:]
    _, values = score(*made, training=training, slot=slot, round=round, samples=samples)
    with training.settled() as device:
        with routine("load"):
            loaded = [load_module(training.build_discriminator, state, device) for state in judges]
        found = accuracies(training, loaded, generators, samples, device, offspring=False)
    return (), {**values, **found}


def taken_in(cell: Cell, pool: Population, values: Values) -> Cell:
    """Take in what a task reports, once it is known who stays in the cell.

    Parameters
    ----------
    pool : Population
        What the task read, the cell's own first.
    """
    if "accuracies" not in values:
        return cell
    names = [one.name for one in cell.own.discriminators]
    known = [one.name for one in pool.discriminators[: len(names)]]
    gone = [index for index, name in enumerate(known) if name not in names]
    fittest = centre(cell.own.discriminators).name
    # what is told of the offspring comes last, and so does what is told of all as they were read
    alone = values["accuracies"][known.index(fittest) if fittest in known else -1]
    together = values["ensemble_accuracies"][gone[0] if gone else -1]
    return replace(cell, accuracy=float(together), discriminator_accuracy=float(alone))


def recorded(cell: Cell, prefix: str = "") -> dict[str, float]:
    """Record how well a cell's discriminators tell classes."""
    return {f"{prefix}{ACCURACY}": cell.accuracy, f"{prefix}{OWN}": cell.discriminator_accuracy}
