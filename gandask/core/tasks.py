"""Tasks and what becomes of them: plans out, reports in, signals on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
State = Mapping[str, Array]
"""Named arrays: weights, moments. It stays on a worker; nothing in it is ever changed in place."""
Values = Mapping[str, Any]
"""Numbers and small arrays that travel back to the client."""
Call = tuple[Sequence[State], Mapping[str, Any]]
"""States and arguments that a task's function is called with."""
Made = tuple[tuple[State, ...], Values]
"""What a task's function gives: the states that it writes, in order, and values for the report."""


@dataclass(frozen=True)
class Task:
    """Describe one piece of work on one slot.

    Parameters
    ----------
    slot : str
        Whose work it is, such as ``"cell/3"``: a role and a number or name. Tasks of one slot run
        on one worker, next to the states they wrote before.
    round : int
        The round it belongs to, counted from 1; 0 is preparation.
    function : callable
        Pure ``(*states, **arguments) -> (new states, values)``, one new state for each of
        `writes`.
    reads : tuple of str
        Names of the states passed to `function`, in this order.
    writes : tuple of str
        Names of the states it returns, in this order: each begins with its slot, and is written
        once in a run.
    arguments : mapping
        Small keyword arguments: settings, seeds.
    together : callable, optional
        What performs several such tasks of one worker at once, where that is faster: from the
        states and arguments of each to what `function` gives for each.
    name : str
        What its report calls it; the function's own name by default. A slot has no two tasks of
        one name in a round.
    """

    slot: str
    round: int
    function: Callable[..., tuple[Sequence[State], Values]]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    together: Callable[[Sequence[Call]], Sequence[tuple[Sequence[State], Values]]] | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            known = getattr(self.function, "__name__", type(self.function).__name__)
            object.__setattr__(self, "name", str(known))

    @property
    def key(self) -> tuple[str, int, str]:
        """Slot, round and name: which of a run's tasks it is."""
        return self.slot, self.round, self.name

    @property
    def kind(self) -> tuple[Any, ...]:
        """What tasks that are performed in one go have in common."""
        return self.function, self.name, self.round, self.together


Stage = Sequence[Task]
"""Independent tasks: each of them reads the states as they were before the stage."""
Plan = Sequence[Stage]
"""Stages in order. With nothing under way, a plan of stages without tasks is decided upon at once,
by `advance` without reports, and an empty plan ends the run."""


SHOWN = "shown_samples"
"""Among the values of a report, samples to look at, as `gandask.core.shown.packed` makes them: they
are kept in files of their own, and no method reads them."""


@dataclass(frozen=True)
class Report:
    """Tell the client what a task found: the only thing that travels back.

    Parameters
    ----------
    slot, round, task
        Those of the task; `task` is its name.
    values : mapping
        What the task's function reported.
    seconds : mapping
        Time spent by routine (gather, fitness, train, ...), in seconds.
    started : float
        When the task began on its worker, in seconds since the epoch.
    worker : str
        Name of the worker.
    gathered : int
        Bytes fetched from other workers to begin.
    sizes : tuple of int
        Bytes of each state it wrote, in the task's order.
    together : bool
        Whether several such tasks of this worker had better be performed at once.
    """

    slot: str
    round: int
    task: str
    values: Values
    seconds: Mapping[str, float] = field(default_factory=dict)
    started: float = 0.0
    worker: str = ""
    gathered: int = 0
    sizes: tuple[int, ...] = ()
    together: bool = False

    @property
    def key(self) -> tuple[str, int, str]:
        """Slot, round and name of the task."""
        return self.slot, self.round, self.task


@dataclass(frozen=True)
class Signal:
    """Tell what becomes of a task: what the heartbeat listens to.

    Parameters
    ----------
    state : str
        ``sent`` to the workers, ``running`` on one, ``ended`` there while its report waits for
        those of others, ``reported``, or ``dropped`` because another copy was first; ``saved`` of
        no task, but of all states.
    key : str
        Which task; two copies of one task have two keys.
    slot, round, task
        Those of the task.
    worker : str
        Address of the worker: where it runs, or where it was sent to.
    fraction : float
        How much of it is done, from 0 to 1.
    age : float
        Seconds since it was so, when it was told.
    """

    state: str
    key: str = ""
    slot: str = ""
    round: int = 0
    task: str = ""
    worker: str = ""
    fraction: float = 0.0
    age: float = 0.0


@dataclass(frozen=True)
class Event:
    """Something that happened to a slot in a round, worth a line in the result.

    The method decides some, in every repetition alike; those of the `machine` differ.
    """

    round: int
    kind: str
    slot: str
    detail: str = ""
    machine: bool = False


NON_FINITE = "non_finite"
"""Kind of an event: training diverged, and what it made was discarded."""


@dataclass(frozen=True)
class Record:
    """The outcome of one round of one slot, as the method decided it: a row of the result.

    A record of the whole population has no slot. Values that belong to a part of a dimension, such
    as the round's iterations, begin at the index that `begins` gives for it, or at 0.
    """

    slot: str
    round: int
    values: Values
    begins: Mapping[str, int] = field(default_factory=dict)


def slot_of(name: str) -> str:
    """Give the slot of a state: the first two parts of its name.

    Examples
    --------
    >>> slot_of("cell/3/generator/17/moments")
    'cell/3'
    """
    return "/".join(name.split("/")[:2])
