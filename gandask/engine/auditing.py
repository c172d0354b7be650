"""Audit a run that is finished: attackers try again what they can tell of its clients' data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask import results
from gandask.core import Event, Hosting, Layout, Record, Report, State, StoreError
from gandask.engine import resuming
from gandask.engine.session import lines, logger
from gandask.execution.perform import Around
from gandask.execution.serial import Serial
from gandask.runs import Run, open_run
from gandask.store import Store
from gandask.training.stored import read_checkpoint

if TYPE_CHECKING:
    import xarray as xr


def audit(run: Run | str | os.PathLike[str]) -> xr.Dataset:
    """Let attackers try on the clients of a finished run what they can tell of its data.

    Clients that are simulated are opened here, from the folders that they keep; those that have
    names are waited for until they dial in. Nothing is trained, and nothing is spent.

    Parameters
    ----------
    run : Run or path-like
        One that was kept.

    Returns
    -------
    Dataset
        ``audit_auc``, ``audit_auc_error``, ``audit_tpr`` with the ends of its interval, and
        ``memorised``, by client, attack and false positive rate; NaN is what a client keeps to
        itself.

    Raises
    ------
    StoreError
        If there is no such run, it is not finished, its method has nothing to audit, or a client
        has lost what it kept.
    """
    opened = run if isinstance(run, Run) else open_run(run)
    kept, method = opened.store, opened.method
    if kept.state != "finished":
        raise StoreError(
            f"{kept.path} is {kept.state}: audit it when it is finished; while it goes on, its own "
            "settings say when it is audited"
        )
    states = _states(kept)
    plan = method.examination(states)
    method.check()
    facts = method.prepare()
    resuming.refuse_others(kept, facts)
    with method.hosted(Hosting(store=kept.path, tell=_tell)) as hosted:
        executor = Serial(method.seed, around=Around(hosted.reach))
        executor.states = {name: [state] for name, state in states.items()}
        left, reports = set(executor.submit(*plan)), dict[int, Report]()
        while left - reports.keys():
            reports |= executor.next_reports()
    records = method.examined([reports[number] for number in sorted(reports)])
    return _dataset(method.layout(), records, results.attributes(method, facts))


def _tell(event: Event) -> None:
    for line in lines([event]):
        logger.info(line)


def _states(kept: Store) -> dict[str, State]:
    """Read all that the last checkpoint holds.

    Raises
    ------
    StoreError
        If there is none.
    """
    found = kept.checkpoints.last()
    if found is None:
        raise StoreError(f"{kept.path} has no checkpoint: there is nothing to audit")
    return read_checkpoint(*found)


def _dataset(layout: Layout, records: Sequence[Record], attributes: dict[str, Any]) -> xr.Dataset:
    """Put records side by side along their units, under the names that they have in rounds."""
    import xarray as xr

    variables: dict[str, Any] = {}
    for name in dict.fromkeys(name for record in records for name in record.values):
        variable = layout.variables[name]
        role = layout.roles[variable.role]
        dims = (*role.unit, *variable.dims)
        sizes = [len(layout.coords[dim]) for dim in dims]
        rows = np.full((len(role.slots), *sizes[len(role.unit) :]), np.nan)
        for record in records:
            rows[role.slots.index(record.slot)] = record.values[name]
        told = layout.variables[variable.final_of or name].attributes
        variables[variable.final_of or name] = (dims, rows.reshape(sizes), told)
    used = {dim for dims, _, _ in variables.values() for dim in dims}
    coords = {dim: list(layout.coords[dim]) for dim in layout.coords if dim in used}
    return xr.Dataset(variables, coords, attributes)
