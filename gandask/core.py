"""The nouns of gandask: tasks, plans, reports, events and the methods that speak them.

A *method* is a pure state machine in the client: it reads reports and answers with a plan of
tasks. A task is a pure function from states to states, performed wherever its slot lives. This
module knows neither torch nor Dask.
"""

from __future__ import annotations

import contextlib
import contextvars
import time
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np

Array = np.ndarray[Any, Any]
State = Mapping[str, Array]
"""Named arrays: weights, moments. It stays on a worker; nothing in it is ever changed in place."""
Values = Mapping[str, Any]
"""Numbers and small arrays that travel back to the client."""
Call = tuple[Sequence[State], Mapping[str, Any]]
"""States and arguments that a task's function is called with."""


class SettingError(ValueError):
    """A setting that cannot work; the message names key, value and remedy."""


class DataError(ValueError):
    """Data that is missing, unreadable or of the wrong form."""


class StoreError(RuntimeError):
    """A store that cannot be created, read or continued."""


class TaskError(RuntimeError):
    """A task that failed; the message names slot, round and seed and holds the traceback."""


class ClusterError(RuntimeError):
    """A cluster that cannot be started or reached, or that was lost."""


@dataclass(frozen=True)
class Task:
    """Describe one piece of work on one slot.

    Parameters
    ----------
    slot : str
        The place the work belongs to, such as ``"cell/3"``. Tasks of one slot run on one worker,
        next to the states they wrote before.
    round : int
        The round it belongs to, counted from 1; 0 is preparation.
    function : callable
        Pure ``(*states, **arguments) -> (new states, values)``, one new state for each of
        `writes`.
    reads : tuple of str
        Names of the states passed to `function`, in this order.
    writes : tuple of str
        Names of the states it returns, in this order.
    arguments : mapping
        Small keyword arguments: settings, seeds.
    pin : str, optional
        Name of the one worker that may perform it (private data live there).
    together : callable, optional
        What performs several such tasks of one worker at once, where that is faster: from the
        states and arguments of each to what `function` gives for each.
    """

    slot: str
    round: int
    function: Callable[..., tuple[Sequence[State], Values]]
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    pin: str | None = None
    together: Callable[[Sequence[Call]], Sequence[tuple[Sequence[State], Values]]] | None = None

    @property
    def kind(self) -> tuple[Any, ...]:
        """What tasks that are performed in one go have in common."""
        return self.function, self.round, self.together


Stage = Sequence[Task]
"""Independent tasks: each of them reads the states as they were before the stage."""
Plan = Sequence[Stage]
"""Stages in order. An empty plan with nothing under way ends the run."""


@dataclass(frozen=True)
class Report:
    """Tell the client what a task found: the only thing that travels back.

    Parameters
    ----------
    slot, round
        Those of the task.
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
    """

    slot: str
    round: int
    values: Values
    seconds: Mapping[str, float] = field(default_factory=dict)
    started: float = 0.0
    worker: str = ""
    gathered: int = 0


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
    slot, round, function
        Those of the task, the function by name.
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
    function: str = ""
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


@dataclass(frozen=True)
class Variable:
    """Describe one variable of the result.

    `dims` come after ``round`` (where `by_round`) and the method's unit (where `by_unit`); `dtype`
    is a NumPy one. A `timing` variable is a measurement of the machine: it differs from run to run.
    """

    long_name: str
    units: str = "1"
    dims: tuple[str, ...] = ()
    dtype: str = "float64"
    by_round: bool = True
    by_unit: bool = True
    timing: bool = False


@dataclass(frozen=True)
class Layout:
    """Describe the result of a method.

    Parameters
    ----------
    coords : mapping of str to sequence
        The method's unit first (``row`` and ``col`` for a grid), then every further dimension.
    unit : tuple of str
        Which of `coords` are the unit.
    slots : mapping of str to tuple of int
        Position of each slot along the unit.
    variables : mapping of str to Variable
        What records hold.
    """

    coords: Mapping[str, Sequence[Any]]
    unit: tuple[str, ...]
    slots: Mapping[str, tuple[int, ...]]
    variables: Mapping[str, Variable]


class View(Protocol):
    """What a method knows between two plans: numbers and names, never weights."""

    @property
    def round(self) -> int:
        """Number of rounds that every slot has completed."""

    @property
    def records(self) -> Sequence[Record]:
        """Rounds completed by the last step."""

    @property
    def events(self) -> Sequence[Event]:
        """What happened in the last step."""

    @property
    def keeps(self) -> frozenset[str]:
        """Names of the states that a later plan may still read."""

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """By slot, the weights of the generator states that make up its ensemble."""

    @property
    def best(self) -> str | None:
        """The slot whose ensemble scores best so far."""


V = TypeVar("V")


class Method(Protocol[V]):
    """A way of training a population of GANs; its fields are its settings.

    `start` gives the first view and plan; `advance` the next ones from the reports of the tasks
    that came back: all of a plan when synchronous, those that have arrived when not. Both are pure,
    so a log of reports replays a run exactly.
    """

    name: ClassVar[str]
    schedules: ClassVar[Mapping[str, str]]
    """Settings that may change while running, with the setting that says from which round on."""
    seed: int

    @property
    def rounds(self) -> int:
        """Number of rounds, or the most there can be."""

    def check(self) -> None:
        """Raise SettingError or DataError for what could not work, before anything starts."""

    def prepare(self) -> Mapping[str, Any]:
        """Compute in the client what every task needs; answer with facts worth recording."""

    def layout(self) -> Layout:
        """Describe the result."""

    def start(self) -> tuple[V, Plan]:
        """Give the first view and plan."""

    def advance(self, view: V, reports: Sequence[Report]) -> tuple[V, Plan]:
        """Give the next view and plan."""


def seed_sequence(seed: int, *key: int | str) -> np.random.SeedSequence:
    """Make the seed sequence of one draw, apart from every other key's.

    Examples
    --------
    >>> a, b = seed_sequence(1, 3, "cell/0", "init"), seed_sequence(1, 3, "cell/1", "init")
    >>> bool((a.generate_state(2) == b.generate_state(2)).any())
    False
    """
    words = (zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key)
    return np.random.SeedSequence(seed, spawn_key=tuple(words))


def rng(seed: int, *key: int | str) -> np.random.Generator:
    """Make the NumPy generator of one draw: round, slot and purpose in `key`.

    Examples
    --------
    >>> rng(1, "tournament").integers(100) == rng(1, "tournament").integers(100)
    np.True_
    """
    return np.random.default_rng(seed_sequence(seed, *key))


def torch_seed(seed: int, *key: int | str) -> int:
    """Derive a 63-bit seed for a torch generator, from the same streams as `rng`."""
    return int(seed_sequence(seed, *key).generate_state(1, np.uint64)[0] >> np.uint64(1))


_clock: contextvars.ContextVar[dict[str, float] | None] = contextvars.ContextVar(
    "gandask_clock", default=None
)


@contextlib.contextmanager
def routine(name: str) -> Iterator[None]:
    """Count the time of a block under `name` in the report of the task that runs it."""
    clock = _clock.get()
    if clock is None:
        yield
        return
    begun = time.perf_counter()
    try:
        yield
    finally:
        clock[name] = clock.get(name, 0.0) + time.perf_counter() - begun


_listener: contextvars.ContextVar[Callable[[float], None] | None] = contextvars.ContextVar(
    "gandask_listener", default=None
)


def progress(fraction: float) -> None:
    """Tell the heartbeat how much of the task that calls this is done, from 0 to 1."""
    listener = _listener.get()
    if listener is not None:
        listener(fraction)


def perform(
    function: Callable[..., tuple[Sequence[State], Values]],
    slot: str,
    round: int,
    writes: tuple[str, ...],
    arguments: Mapping[str, Any],
    *states: State,
    seed: int,
    worker: str = "client",
    gather: tuple[float, int] = (0.0, 0),
    listener: Callable[[float], None] | None = None,
) -> tuple[tuple[State, ...], Report]:
    """Run one task on the states it reads.

    Parameters
    ----------
    gather : (seconds, bytes)
        What fetching the states from other workers took.
    listener : callable, optional
        Called with the fraction done, whenever the function calls `progress`.

    Returns
    -------
    tuple of State
        One for each of `writes`.
    Report

    Raises
    ------
    StoreError
        As the function raised it: its message says what to do.
    TaskError
        Whatever else the function raised, with slot, round, seed and its traceback.
    """
    clock: dict[str, float] = {"gather": gather[0]}
    tokens = _clock.set(clock), _listener.set(listener)
    started = time.time()
    begun = time.perf_counter()
    try:
        written, values = function(*states, **arguments)
        if len(written) != len(writes):
            raise ValueError(f"it returned {len(written)} states for {len(writes)}: {writes}")
    except StoreError:
        raise
    except Exception as error:
        raise TaskError(
            f"{getattr(function, '__name__', function)} failed in {slot}, round {round}, seed "
            f"{seed}: {type(error).__name__}: {error}\n\n{traceback.format_exc()}"
        ) from error
    finally:
        _clock.reset(tokens[0])
        _listener.reset(tokens[1])
    # the parts add up to the whole: what no routine claimed is "other"
    inside = sum(clock.values()) - gather[0]
    clock["other"] = max(0.0, time.perf_counter() - begun - inside)
    return tuple(written), Report(slot, round, values, clock, started, worker, gather[1])
