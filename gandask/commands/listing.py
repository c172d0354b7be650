"""The command that lists runs."""

from __future__ import annotations

import collections
import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gandask.commands import plain_errors
from gandask.display import printable, say

if TYPE_CHECKING:
    from gandask.store.listing import Listed

TITLES = ("run", "state", "method", "data", "round", "best", "written", "differing settings")


@click.command("list")
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"))
@click.option("--state", "states", multiple=True, help="Only those; may be repeated.")
@click.option("--tag", "tags", multiple=True, help="Only those that have it; may be repeated.")
@plain_errors
def list_runs(folder: Path, states: tuple[str, ...], tags: tuple[str, ...]) -> None:
    """List the runs in a folder, the one written last first.

    Example: gandask list runs

    Example: gandask list runs --state failed --state interrupted

    Example: gandask list runs --tag baseline
    """
    from gandask.core import SettingError, StoreError
    from gandask.display import suggestion
    from gandask.store import STATES
    from gandask.store.listing import listed, told

    for state in states:
        if state not in STATES:
            raise SettingError(f"--state {state}: no run has this; {suggestion(state, STATES)}")
    if not folder.is_dir():
        raise StoreError(f"{folder}: expected a folder of runs; name it: gandask list FOLDER")
    found, broken = listed(folder)
    chosen = [
        run
        for run in found
        if (not states or run.state in states) and set(tags) <= set(run.about.tags)
    ]
    if chosen:
        say(table(chosen, datetime.datetime.now(datetime.UTC)))
    elif not broken:
        say(f"no run {'like this ' if found else ''}in {folder}")
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
    from gandask.store.listing import differing

    texts = [", ".join(f"{key}={value}" for key, value in one.items()) for one in differing(runs)]
    rows = [TITLES, *((*_facts(run, now), text) for run, text in zip(runs, texts, strict=True))]
    if any(run.about.tags for run in runs):
        tags = ["tags", *(", ".join(run.about.tags) for run in runs)]
        rows = [(*row[:-1], told, row[-1]) for row, told in zip(rows, tags, strict=True)]
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _facts(run: Listed, now: datetime.datetime) -> tuple[str, ...]:
    from gandask.store.listing import age, short

    rounds = run.settings.get("rounds")
    best = f"{run.best['value']:.4g} {run.best.get('score', '')}" if run.best else "–"
    return (
        run.name,
        run.state,
        str(run.settings.get("method", "–")),
        short(run.settings.get("data", "–")),
        f"{run.round} of {rounds}" if isinstance(rounds, int) else str(run.round),
        best if not run.best or run.best.get("final") else f"{best} so far",
        age(run.updated, now),
    )
