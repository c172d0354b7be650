"""Steering: what is asked of a run from outside, by a page, a notebook or another process.

A command is a line in the store's ``commands.jsonl``; the run looks there after every step. A
change is an entry in one of the method's schedules, from the next round on, and nothing else: the
run's ``config.toml`` says it too, so that the same settings give the same run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gandask.config import in_force, replace
from gandask.core import Method, SettingError
from gandask.display import suggestion

PAUSE, RESUME, STOP, CHANGE = COMMANDS = ("pause", "resume", "stop", "change")


@dataclass(frozen=True)
class Command:
    """One thing that is asked of a run.

    Parameters
    ----------
    name : str
        ``pause``, ``resume``, ``stop`` after this round, or ``change``.
    changes : mapping
        New values of settings, by name.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in COMMANDS:
            raise SettingError(f"command={self.name!r}: expected one of {', '.join(COMMANDS)}")


def steered(method: Method[Any], changes: Mapping[str, Any], begun: int) -> Method[Any]:
    """Give a method other settings from the next round on.

    Parameters
    ----------
    method : Method
        Its `schedules` tell what may change.
    changes : mapping
        New values by name, such as ``{"mutation_scale": 0.01}``.
    begun : int
        The last round that any slot has begun.

    Raises
    ------
    SettingError
        For a setting that cannot change, a value that cannot work, or when no round is left.

    Examples
    --------
    >>> from gandask.methods.grid import Grid
    >>> steered(Grid(rounds=20), {"neighbourhood": "moore"}, 7).neighbourhood_schedule
    {'8': 'moore'}
    """
    if not changes:
        raise SettingError(f"nothing to change: {method.name} takes {', '.join(method.schedules)}")
    entries = {}
    for key, value in changes.items():
        if key not in method.schedules:
            known = suggestion(key, method.schedules) if method.schedules else "none can"
            raise SettingError(f"{key}={value!r}: this cannot be changed while running; {known}")
        scheduled = method.schedules[key]
        entries[scheduled] = {**getattr(method, scheduled), str(begun + 1): value}
    if begun >= method.rounds:
        raise SettingError(f"round {begun} is the last: there is none left to change")
    return replace(method, entries)


def told(method: Method[Any], changes: Mapping[str, Any], round: int) -> str:
    """Say what was changed: the values in force, as the method understood them."""
    said = ", ".join(f"{key} = {in_force(method, key, round)!r}" for key in changes)
    return f"{said} from round {round} on"
