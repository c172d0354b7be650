"""One step of a run as columns: what the result is collected from, here and by who watches.

The reports of a step and what the method made of them come row by row; a line of columns is an
order of magnitude faster to write and to read, and leaves out what only the method needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gandask.core import Event, Record, Report, View

Columns = dict[str, Any]
Traffic = tuple[str, int, str, int]
"""Slot, round, term and bytes of what a slot has read from others."""

LAST = 2**31
"""Round of an event that there can be."""


def columns(
    view: View, reports: Sequence[Report], elapsed: float, sent: Iterable[Traffic] = ()
) -> Columns:
    """Turn one step into columns.

    Parameters
    ----------
    view : View
        What the method made of the reports: its records and events.
    reports : sequence of Report
    elapsed : float
        Seconds since the run's start.
    sent : iterable of Traffic
        What travelled.

    Returns
    -------
    dict
        ``elapsed``, ``timings`` with one item per report, ``sent`` by term, ``records`` as a list
        of tables with the same variables each, and ``events``.
    """
    return {
        "elapsed": elapsed,
        "timings": _timings(reports),
        "sent": _sent(sent),
        "records": [_table(records) for records in _alike(view.records)],
        "events": [asdict(event) for event in view.events],
    }


def event_of(round: int, kind: str, slot: str, detail: str = "", machine: bool = False) -> Event:
    """Make an event of what a file says of it.

    Raises
    ------
    TypeError, ValueError, OverflowError
        If it says too little, or there is no such round.
    """
    if not 0 <= int(round) <= LAST:
        raise ValueError(f"an event of round {round}")
    return Event(int(round), str(kind), str(slot), str(detail), bool(machine))


def _timings(reports: Sequence[Report]) -> Columns:
    routines = dict.fromkeys(name for report in reports for name in report.seconds)
    return {
        "slot": [report.slot for report in reports],
        # preparation counts for the first round
        "round": np.array([max(1, report.round) for report in reports], "int64"),
        "worker": [report.worker for report in reports],
        "started": np.array([report.started for report in reports], "float64"),
        "gathered": np.array([report.gathered for report in reports], "int64"),
        "seconds": {
            name: np.array([report.seconds.get(name, np.nan) for report in reports])
            for name in routines
        },
    }


def _sent(sent: Iterable[Traffic]) -> dict[str, Columns]:
    by_term: dict[str, list[Traffic]] = {}
    for one in sent:
        by_term.setdefault(one[2], []).append(one)
    return {
        term: {
            "slot": [slot for slot, *_ in rows],
            "round": np.array([max(1, round) for _, round, *_ in rows], "int64"),
            "bytes": np.array([size for *_, size in rows], "int64"),
        }
        for term, rows in by_term.items()
    }


def _alike(records: Iterable[Record]) -> Iterable[list[Record]]:
    """Gather records that hold the same variables, of the same shapes and places."""
    groups: dict[Any, list[Record]] = {}
    for record in records:
        shapes = tuple((name, np.shape(value)) for name, value in record.values.items())
        key = (bool(record.slot), shapes, tuple(record.begins.items()))
        groups.setdefault(key, []).append(record)
    return groups.values()


def _table(records: Sequence[Record]) -> Columns:
    return {
        "slot": [record.slot for record in records],
        "round": np.array([record.round for record in records], "int64"),
        "begins": dict(records[0].begins),
        "values": {
            name: np.array([record.values[name] for record in records])
            for name in records[0].values
        },
    }
