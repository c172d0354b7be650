"""Tasks of one place performed in one go: at once, where they have a form for that, or in turn."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

from gandask.core import Call, Report, State, Task, Values, perform

Performed = Sequence[tuple[tuple[State, ...], Report]]
"""What tasks came to, in their order: the states that each wrote, and its report."""
Gather = tuple[float, int]
"""Seconds and bytes that fetching the states of a task took."""


def perform_all(
    tasks: Sequence[Task],
    states: Sequence[Sequence[State]],
    tell: Callable[[slice, float], None],
    *,
    seed: int,
    worker: str = "client",
    gather: Sequence[Gather] | None = None,
) -> Performed:
    """Run tasks, each on the states that it reads.

    Parameters
    ----------
    tasks : sequence of Task
        All with the same function.
    tell : callable
        Called with tasks, by their places in the sequence, and the fraction of them done: 0 when
        they begin.
    gather : sequence of (seconds, bytes), optional
        What fetching the states of each took.

    Raises
    ------
    StoreError, TaskError
        As `perform` does.
    """
    gather = gather or [(0.0, 0)] * len(tasks)
    size = len(tasks) if tasks[0].together else 1
    performed: list[tuple[tuple[State, ...], Report]] = []
    for start in range(0, len(tasks), size):
        part = slice(start, start + size)
        tell(part, 0.0)
        run = perform_one if size == 1 else perform_at_once
        listener = functools.partial(tell, part)
        performed += run(tasks[part], states[part], gather[part], seed, worker, listener)
    return performed


def perform_one(
    tasks: Sequence[Task],
    states: Sequence[Sequence[State]],
    gather: Sequence[Gather],
    seed: int,
    worker: str,
    listener: Callable[[float], None],
) -> Performed:
    """Run a single task."""
    (task,), (reads,), (fetching,) = tasks, states, gather
    return [
        perform(
            task.function,
            task.slot,
            task.round,
            task.writes,
            task.arguments,
            *reads,
            seed=seed,
            worker=worker,
            gather=fetching,
            listener=listener,
        )
    ]


def perform_at_once(
    tasks: Sequence[Task],
    states: Sequence[Sequence[State]],
    gather: Sequence[Gather],
    seed: int,
    worker: str,
    listener: Callable[[float], None],
) -> Performed:
    """Run tasks by the form that they have for several; share the time out evenly."""
    calls = [(reads, task.arguments) for task, reads in zip(tasks, states, strict=True)]
    slots = ", ".join(task.slot for task in tasks)
    arguments = {"tasks": tasks, "calls": calls}
    writes = tuple(name for task in tasks for name in task.writes)
    written, report = perform(
        _at_once, slots, tasks[0].round, writes, arguments, seed=seed, listener=listener
    )
    given = iter(written)
    shared = {name: taken / len(tasks) for name, taken in report.seconds.items()}
    performed = []
    for task, values, (waited, size) in zip(tasks, report.values["each"], gather, strict=True):
        seconds = shared | {"gather": waited}
        own = Report(task.slot, task.round, values, seconds, report.started, worker, size)
        performed.append((tuple(itertools.islice(given, len(task.writes))), own))
    return performed


def _at_once(*, tasks: Sequence[Task], calls: Sequence[Call]) -> tuple[list[State], Values]:
    """Call the form for several, and put what it gives for each in one row."""
    together = tasks[0].together
    if together is None:
        raise TypeError("the tasks have no form for several")
    done = together(calls)
    for task, (states, _) in zip(tasks, done, strict=True):
        if len(states) != len(task.writes):
            raise ValueError(f"it returned {len(states)} states of {task.slot}: {task.writes}")
    return [state for states, _ in done for state in states], {"each": [v for _, v in done]}
