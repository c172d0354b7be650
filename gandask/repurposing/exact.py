"""The ensemble of least total variation distance: a mixed-integer programme.

TVD is a sum of absolute values of what is linear in the weights, so that the least one over all
ensembles of a size can be found and proven: minimise ``½ Σ t`` with ``t ≥ |q − p|`` for each class,
weights that add up to 1, and for each candidate a number that is 1 if it is a member, 0 if not.
The Fréchet distance is none of this kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gandask.core import Array, SettingError
from gandask.repurposing.genomes import Limit
from gandask.repurposing.pool import Pool

NODES = 100_000  # of the tree that is searched: a count, as a time would differ between machines


@dataclass(frozen=True)
class Optimum:
    """The best ensemble there is, by TVD.

    Parameters
    ----------
    weights : (candidates,) array
    value : float
        Its TVD.
    """

    weights: Array
    value: float


def optimum(pool: Pool, limit: Limit, least_weight: float) -> Optimum:
    """Find the ensemble of least TVD among all of a size, or of at most that size.

    Raises
    ------
    SettingError
        If it is not proven within `NODES` nodes of the search tree.
    """
    from scipy import sparse
    from scipy.optimize import Bounds, LinearConstraint, milp

    candidates, classes = pool.classes.shape
    one, other = sparse.eye(candidates), sparse.eye(classes)
    none = sparse.csr_matrix((classes, candidates))
    empty = sparse.csr_matrix((candidates, classes))
    shares, wanted = sparse.csr_matrix(pool.classes.T), pool.wanted
    # weights, then who is a member, then distances by class
    rows = [
        LinearConstraint(sparse.hstack([shares, none, -other]), ub=wanted),
        LinearConstraint(sparse.hstack([shares, none, other]), lb=wanted),
        LinearConstraint(sparse.hstack([one, -one, empty]), ub=0),
        LinearConstraint(sparse.hstack([one, -least_weight * one, empty]), lb=0),
        LinearConstraint(_summing(slice(candidates), 2 * candidates + classes), 1, 1),
        LinearConstraint(
            _summing(slice(candidates, 2 * candidates), 2 * candidates + classes),
            limit.members if limit.exactly else 1,
            limit.members,
        ),
    ]
    cost = np.concatenate([np.zeros(2 * candidates), np.full(classes, 0.5)])
    whole = np.concatenate([np.zeros(candidates), np.ones(candidates), np.zeros(classes)])
    options = {"mip_rel_gap": 0.0, "node_limit": NODES}
    found = milp(cost, integrality=whole, bounds=Bounds(0, 1), constraints=rows, options=options)
    if found.status != 0:
        raise SettingError(
            f"search='exact' ({limit}): the best of {candidates} generators is not proven within "
            f"{NODES:,} steps; give fewer runs or another size, or search='evolve'"
        )
    members = found.x[candidates : 2 * candidates] > 0.5
    weights = np.where(members, found.x[:candidates].clip(least_weight), 0.0)
    weights = weights / weights.sum()
    return Optimum(weights, float(pool.scores("tvd", weights[None])[0]))


def _summing(chosen: slice, width: int) -> Array:
    row = np.zeros((1, width))
    row[:, chosen] = 1.0
    return row
