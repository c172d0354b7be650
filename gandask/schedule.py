"""Settings that change at given rounds: ``{10: "moore", 50: "cross"}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gandask.core import SettingError


def read(key: str, given: Mapping[Any, Any]) -> dict[str, Any]:
    """Check the rounds of a schedule, and write them the way TOML does.

    Raises
    ------
    SettingError
        For what is no round; `key` is the setting to name.

    Examples
    --------
    >>> read("neighbourhood_schedule", {10: "moore"})
    {'10': 'moore'}
    """
    for round in given:
        if not str(round).isdecimal() or int(round) < 1:
            raise SettingError(
                f"{key}={dict(given)!r}: expected rounds from 1 as keys, such as {{10: ...}}, "
                f"not {round!r}"
            )
    return {str(int(round)): value for round, value in given.items()}


def in_force(first: Any, later: Mapping[str, Any], round: int) -> Any:
    """Give the value of a round: the last one scheduled by then, or the first of all.

    Examples
    --------
    >>> [in_force("cross", {"3": "moore"}, round) for round in (2, 3, 4)]
    ['cross', 'moore', 'moore']
    """
    begun = [int(key) for key in later if int(key) <= round]
    return later[str(max(begun))] if begun else first
