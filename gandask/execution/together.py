"""Tasks of one place performed in one go: at once, where they have a form for that, or in turn."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

from gandask.core import Report, State, Task, Values, perform

Performed = Sequence[tuple[tuple[State, ...], Report]]
"""What tasks came to, in their order: the states that each wrote, and its report."""
Gather = tuple[float, int]
"""Seconds and bytes that fetching the states of a task took."""
Tell = Callable[[slice, str, float], None]
"""Takes tasks, by their places in a sequence, whether they are running or ended, and the fraction
of them that is done."""


def perform_all(
    tasks: Sequence[Task],
    states: Sequence[Sequence[State]],
    tell: Tell,
    *,
    seed: int,
    worker: str = "client",
    gather: Sequence[Gather] | None = None,
) -> Performed:
    """Run tasks, each on the states that it reads.

    Parameters
    ----------
    tasks : sequence of Task
        All of one kind.
    tell : callable
        Called with the fraction 0 when tasks begin, and when one ends before others.
    gather : sequence of (seconds, bytes), optional
        What fetching the states of each took.

    Raises
    ------
    StoreError, TaskError
        As `perform` does.
    """
    gather = gather or [(0.0, 0)] * len(tasks)
    if tasks[0].together and len(tasks) > 1:
        return _perform_at_once(tasks, states, tell, seed, worker, gather)
    performed = []
    for index, (task, reads) in enumerate(zip(tasks, states, strict=True)):
        this = slice(index, index + 1)
        tell(this, "running", 0.0)
        performed.append(
            perform(
                task.function,
                task.slot,
                task.round,
                task.writes,
                task.arguments,
                *reads,
                seed=seed,
                worker=worker,
                gather=gather[index],
                listener=functools.partial(tell, this, "running"),
            )
        )
        if index + 1 < len(tasks):
            tell(this, "ended", 1.0)
    return performed


def _perform_at_once(
    tasks: Sequence[Task],
    states: Sequence[Sequence[State]],
    tell: Tell,
    seed: int,
    worker: str,
    gather: Sequence[Gather],
) -> Performed:
    """Run tasks by the form that they have for several, and share the time out evenly."""
    every = slice(0, len(tasks))
    tell(every, "running", 0.0)
    named = functools.update_wrapper(functools.partial(_at_once, tasks, states), tasks[0].function)
    written, report = perform(
        named,
        ", ".join(task.slot for task in tasks),
        tasks[0].round,
        tuple(name for task in tasks for name in task.writes),
        {},
        seed=seed,
        listener=functools.partial(tell, every, "running"),
    )
    given = iter(written)
    shared = {name: taken / len(tasks) for name, taken in report.seconds.items()}
    performed = []
    for task, values, (waited, size) in zip(tasks, report.values["each"], gather, strict=True):
        seconds = shared | {"gather": waited}
        own = Report(task.slot, task.round, values, seconds, report.started, worker, size)
        performed.append((tuple(itertools.islice(given, len(task.writes))), own))
    return performed


def _at_once(
    tasks: Sequence[Task], states: Sequence[Sequence[State]]
) -> tuple[list[State], Values]:
    """Call the form for several, and put what it gives for each in one row."""
    together = tasks[0].together
    if together is None:
        raise TypeError("the tasks have no form for several")
    done = together([(reads, task.arguments) for reads, task in zip(states, tasks, strict=True)])
    for task, (made, _) in zip(tasks, done, strict=True):
        if len(made) != len(task.writes):
            raise ValueError(f"it returned {len(made)} states of {task.slot}: {task.writes}")
    return [state for made, _ in done for state in made], {"each": [values for _, values in done]}
