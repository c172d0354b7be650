"""What a run keeps up, beside tasks and states, while it goes on: for tasks that ask others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gandask.core.tasks import Event


@dataclass(frozen=True)
class Hosting:
    """Where and how a run goes on.

    Parameters
    ----------
    travels : bool
        Whether tasks are performed in other processes.
    store : Path, optional
        The folder that the run is kept in.
    tell : callable
        Takes what happened, from any thread.
    """

    travels: bool = False
    store: Path | None = None
    tell: Callable[[Event], None] = lambda event: None


class Hosted(Protocol):
    """What is kept up."""

    @property
    def reach(self) -> Any:
        """What tasks find by `gandask.core.reach`: it travels with each of them."""

    def saved(self, names: Iterable[str]) -> None:
        """Take note of the states that a checkpoint holds: the run goes on from these, or later."""


class Nothing:
    """What most methods need."""

    reach: Any = None

    def saved(self, names: Iterable[str]) -> None:
        """Nobody waits for it."""
