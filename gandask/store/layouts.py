"""How a run's result is laid out, as JSON: with it a run is read without its method.

Who reads a run need not have its data, its networks, or a method of the user's own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gandask import results
from gandask.core import Layout, Role, SettingError, Variable
from gandask.core.files import parsed

LARGEST = 100_000_000
"""Rounds of slots that there is room for: each takes some hundred bytes of memory."""


def written(layout: Layout, rounds: int) -> str:
    """Write a layout, and how many rounds there can be.

    Examples
    --------
    >>> layout = Layout({"node": range(2)}, {"node": Role.numbered("node", ["node"], 2)}, {})
    >>> read(written(layout, 5)) == (layout, 5)
    True
    """
    told = {
        "rounds": rounds,
        "coords": {dim: _coordinate(labels) for dim, labels in layout.coords.items()},
        "roles": {name: asdict(role) for name, role in layout.roles.items()},
        "variables": {name: asdict(variable) for name, variable in layout.variables.items()},
    }
    return json.dumps(told, indent=1)


def read(text: str) -> tuple[Layout, int]:
    """Read what `written` wrote.

    Raises
    ------
    ValueError, TypeError, KeyError, AttributeError
        If it did not.
    """
    told = parsed(text)
    json.dumps(told, ensure_ascii=False).encode()  # no Dataset can be written of other labels
    ends = [max(map(abs, c["range"])) for c in told["coords"].values() if isinstance(c, dict)]
    if max(ends, default=0) > LARGEST:
        raise ValueError(f"a coordinate up to {max(ends)}: this is more than fits")
    layout = Layout(
        {
            dim: range(*labels["range"]) if isinstance(labels, dict) else labels
            for dim, labels in told["coords"].items()
        },
        {name: Role(**_tuples(role)) for name, role in told["roles"].items()},
        {name: Variable(**_tuples(variable)) for name, variable in told["variables"].items()},
    )
    rounds = int(told["rounds"])
    refuse_larger(layout, rounds)
    return layout, rounds


def refuse_larger(layout: Layout, rounds: int) -> None:
    """Refuse a result that could not be read once it is there.

    Raises
    ------
    SettingError
        If there are too many rounds of slots, or what is known of them takes too many bytes.
    """
    slots, size = len(layout.slots), results.Results(layout, rounds).size
    told = f"rounds = {rounds}: of {slots} slots this is more than fits"
    if rounds * max(1, slots) > LARGEST:
        raise SettingError(f"{told}: at most {LARGEST} rounds of slots")
    if size > results.LARGEST:
        raise SettingError(f"{told}: {size} bytes, of at most {results.LARGEST}")


def _coordinate(labels: Sequence[Any]) -> Any:
    """Write labels one by one, but for ranges, which may be long."""
    if isinstance(labels, range):
        return {"range": [labels.start, labels.stop, labels.step]}
    return [label.item() if hasattr(label, "item") else label for label in labels]


def _tuples(told: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in told.items()}
