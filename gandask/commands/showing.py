"""The command that shows one run."""

from __future__ import annotations

import collections
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gandask.commands import import_option, plain_errors
from gandask.commands.completing import RUN
from gandask.display import printable, printable_lines, say

if TYPE_CHECKING:
    from gandask.runs import Run

WIDTH = 100  # characters of a line


@click.command()
@click.argument("run", type=RUN)
@plain_errors
@import_option
def show(run: Path) -> None:
    """Show what a run came to, how to go on with it, and its settings: the changed ones first.

    Example: gandask show runs/first
    """
    from gandask import results
    from gandask.runs import open_run
    from gandask.runs.advice import advice
    from gandask.store import LIVE

    opened = open_run(run)
    state = opened.state
    say(repr(opened))
    error = opened.store.description.get("error")
    if error and state in ("failed", "stopped"):
        say(f"  error: {error}")
    if state in LIVE:
        states = collections.Counter(told["state"] for told in opened.store.slots().values())
        say(f"  slots: {', '.join(f'{n} {state}' for state, n in states.items())}")
    if then := advice(run, state):
        say(f"  {then}")
    _say_remarks(opened)
    ds = opened.ds
    if ds.sizes["round"]:
        say(textwrap.fill(printable(opened.story(ds)), WIDTH))
    say(results.summary(ds))
    changed = _changed(opened)
    usual = {key: value for key, value in opened.settings.items() if key not in changed}
    _say_settings("settings that are not at their defaults:", changed)
    _say_settings("settings at their defaults:", usual)


def _say_remarks(run: Run) -> None:
    """Say the tags and the note of a run, or why they cannot be read."""
    from gandask.core import StoreError
    from gandask.store import about

    try:
        said = about.read(run.store.path)
    except StoreError as error:
        say(f"  {printable_lines(str(error))}", err=True)
        return
    if said.tags:
        say(f"  tags: {', '.join(map(printable, said.tags))}")
    if said.note:
        say(f"  note: {printable_lines(said.note)}")


def _changed(run: Run) -> dict[str, Any]:
    """Give the settings that are not at their defaults: all, of a method not known here."""
    from gandask import config

    settings, known = run.settings, run.method_class
    if known is None:
        return settings
    others = {key: value for key, value in settings.items() if key not in _names(known)}
    return config.changed(config.unchecked(settings, known)) | others


def _names(method: Any) -> set[str]:
    from gandask import config

    return {f.name for f in config.fields(method)}


def _say_settings(title: str, settings: Mapping[str, Any]) -> None:
    if settings:
        say(title)
    for key, value in settings.items():
        say(f"  {key} = {printable(str(value))}")
