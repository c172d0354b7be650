"""The command that lists runs."""

from __future__ import annotations

import collections
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gandask.commands import plain_errors
from gandask.display import printable, say

if TYPE_CHECKING:
    from gandask.store.listing import Broken, Listed

TITLES = ("run", "state", "method", "data", "round", "best", "written", "differing settings")
OWN_COLUMNS = ("method", "data", "rounds")
"""Settings that are not told among those that differ."""
LONG = 30  # characters of a value
NAMED = 5  # broken runs that are named
SPANS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


@click.command("list")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@click.option("--state", "states", multiple=True, help="Only those; may be repeated.")
@plain_errors
def list_runs(folder: Path, states: tuple[str, ...]) -> None:
    """List the runs in a folder, the one written last first.

    Example: gandask list runs

    Example: gandask list runs --state failed --state interrupted
    """
    from gandask.core import SettingError, StoreError
    from gandask.display import suggestion
    from gandask.store import STATES
    from gandask.store.listing import listed

    for state in states:
        if state not in STATES:
            raise SettingError(f"--state {state}: no run has this; {suggestion(state, STATES)}")
    if not folder.is_dir():
        raise StoreError(f"{folder}: expected a folder of runs; name it: gandask list FOLDER")
    found, broken = listed(folder)
    chosen = [run for run in found if not states or run.state in states]
    if chosen:
        say(table(chosen, datetime.datetime.now(datetime.UTC)))
    elif not broken:
        say(f"no run {'of this state ' if found else ''}in {folder}")
    if broken:
        say(told(broken), err=True)
    halted = collections.Counter(run.state for run in chosen)
    ended = [f"{halted[state]} {state}" for state in ("failed", "interrupted", "stopped")]
    if any(halted[text.split()[1]] for text in ended):
        counts = ", ".join(text for text in ended if not text.startswith("0 "))
        say(f"{counts}: gandask show RUN says why, gandask resume RUN goes on", err=True)


def table(runs: Sequence[Listed], now: datetime.datetime) -> str:
    """Write runs as a table, one on a line.

    Parameters
    ----------
    runs : sequence of Listed
    now : datetime
        What their ages are told by.
    """
    differing = _differing(runs)
    rows = [TITLES, *((*_facts(run, now), text) for run, text in zip(runs, differing, strict=True))]
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def told(broken: Sequence[Broken]) -> str:
    """Say on one line what cannot be read, and what to do."""
    if len(broken) == 1:
        return f"{broken[0].name} cannot be shown: {broken[0].why}"
    names = ", ".join(one.name for one in broken[:NAMED])
    more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
    return (
        f"{len(broken)} runs cannot be shown: {names}{more}; gandask show RUN says why; take them "
        "from a copy, or remove their folders"
    )


def age(updated: str, now: datetime.datetime) -> str:
    """Say how long ago a time was.

    Examples
    --------
    >>> at = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
    >>> [age(f"2026-01-0{day}T11:58:30+00:00", at) for day in (1, 2, 3)]
    ['1 d ago', '1 min ago', '0 s ago']
    >>> age("yesterday", at)
    '–'
    """
    try:
        seconds = (now - datetime.datetime.fromisoformat(updated)).total_seconds()
    except (ValueError, TypeError):  # a run may be a stranger's
        return "–"
    unit, size = next(((unit, size) for unit, size in SPANS if seconds >= size), SPANS[-1])
    return f"{max(0, int(seconds // size))} {unit} ago"


def _facts(run: Listed, now: datetime.datetime) -> tuple[str, ...]:
    rounds = run.settings.get("rounds")
    best = f"{run.best['value']:.4g} {run.best.get('score', '')}" if run.best else "–"
    return (
        run.name,
        run.state,
        str(run.settings.get("method", "–")),
        _short(run.settings.get("data", "–")),
        f"{run.round} of {rounds}" if isinstance(rounds, int) else str(run.round),
        best if not run.best or run.best.get("final") else f"{best} so far",
        age(run.updated, now),
    )


def _differing(runs: Sequence[Listed]) -> list[str]:
    """Write, for each run, the settings in which those of its method differ."""
    values: dict[tuple[str, str], set[str]] = collections.defaultdict(set)
    counts = collections.Counter(str(run.settings.get("method")) for run in runs)
    having: collections.Counter[tuple[str, str]] = collections.Counter()
    for run in runs:
        for key, value in run.settings.items():
            place = str(run.settings.get("method")), key
            values[place].add(repr(value))
            having[place] += 1

    def differs(method: str, key: str) -> bool:
        # what is None is left out of a table
        alike = len(values[method, key]) == 1 and having[method, key] == counts[method]
        return not (alike or key in OWN_COLUMNS)

    return [
        ", ".join(
            f"{key}={_short(value)}"
            for key, value in run.settings.items()
            if differs(str(run.settings.get("method")), key)
        )
        for run in runs
    ]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"
