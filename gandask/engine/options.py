"""How a run is carried out, beside its settings: what it keeps when it is continued elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gandask.core import SettingError, StoreError
from gandask.execution.heartbeat import Heartbeat
from gandask.store import Store


@dataclass(frozen=True)
class Options:
    """How a run is carried out, wherever that is.

    Parameters
    ----------
    synchronous : bool
        Wait for all tasks of a plan before the next.
    checkpoint_every : int
        Rounds between checkpoints.
    heartbeat : Heartbeat
        How slots and workers are watched over.
    max_seconds : float, optional
        After which the run ends early.
    patience : int, optional
        Rounds without a better score after which it does.

    Raises
    ------
    SettingError
        For a number that cannot work.
    """

    synchronous: bool = True
    checkpoint_every: int = 10
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    max_seconds: float | None = None
    patience: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.synchronous, bool):
            raise SettingError(f"synchronous={self.synchronous!r}: expected True or False")
        if self.checkpoint_every < 1:
            raise SettingError(f"checkpoint_every={self.checkpoint_every}: expected at least 1")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise SettingError(f"max_seconds={self.max_seconds!r}: expected more than 0")
        if self.patience is not None and self.patience < 1:
            raise SettingError(f"patience={self.patience!r}: expected at least 1")

    def given(self, options: Mapping[str, Any]) -> Options:
        """Replace what is given: what is not None."""
        return replace(self, **{key: value for key, value in options.items() if value is not None})

    def unlimited(self) -> Options:
        """Give them without budgets: those of a run that was to end are none of a longer one."""
        return replace(self, max_seconds=None, patience=None)

    def told(self) -> dict[str, Any]:
        """Give them as plain values, which `of` reads."""
        return asdict(self)


def of(store: Store) -> Options:
    """Give the options of a stored run.

    Raises
    ------
    StoreError
        If they cannot be read.
    """
    try:
        told = dict(store.description.get("options", {}))
        told |= {"heartbeat": Heartbeat(**told["heartbeat"])} if "heartbeat" in told else {}
        return Options(**told)
    except (ValueError, TypeError) as error:
        raise StoreError(f"{store.described.file} cannot be read: options: {error}") from error
