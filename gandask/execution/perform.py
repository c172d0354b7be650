"""Tasks performed where their states are: one by one, or at once where they have a form for that.

>>> from gandask.core import Task
>>> def double(state, scale):
...     return ({"x": 2 * state["x"]},), {"scale": scale}
>>> task = Task("cell/0", 1, double, ("cell/0/a",), ("cell/0/b",), {"scale": 2})
>>> (written, report), = perform_all([task], [[{"x": np.arange(3)}]], seed=1)
>>> written[0]["x"], report.task, report.values, report.sizes
(array([0, 2, 4]), 'double', {'scale': 2}, (24,))
"""

from __future__ import annotations

import contextlib
import functools
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from gandask.core import Made, Report, State, StoreError, Task, TaskError, Told, Values, listening

T = TypeVar("T")
Outcomes = Sequence[tuple[tuple[State, ...], Report]]
"""What tasks came to, in their order: the states that each wrote, and its report."""
Gather = tuple[float, int]
"""Seconds and bytes that fetching the states of a task took."""
Tell = Callable[[slice, str, float], None]
"""Takes tasks, by their places in a sequence, whether they are running or ended, and the fraction
of them that is done."""


@dataclass(frozen=True)
class Around:
    """What tasks find where they are performed.

    Parameters
    ----------
    reach : optional
        What the run keeps up for them.
    apart : callable
        Makes the block in which one waits for others.
    """

    reach: Any = None
    apart: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext

    def told(self, waited: float, listener: Callable[[float], None]) -> Told:
        """Begin to take down what a task tells that waited for its states so many seconds."""
        return Told({"gather": waited}, listener, reach=self.reach, apart=self.apart)


AROUND = Around()


def perform_all(
    tasks: Sequence[Task],
    states: Sequence[Sequence[State]],
    tell: Tell = lambda part, state, fraction: None,
    *,
    seed: int,
    worker: str = "client",
    gather: Sequence[Gather] | None = None,
    at_once: bool = False,
    around: Around = AROUND,
) -> Outcomes:
    """Run tasks, each on the states that it reads.

    Parameters
    ----------
    tasks : sequence of Task
        All of one kind.
    tell : callable
        Called with the fraction 0 when tasks begin, and when one ends before others.
    gather : sequence of (seconds, bytes), optional
        What fetching the states of each took.
    at_once : bool
        Whether to use the form for several, which the tasks then have.
    around : Around
        What tasks find where they are performed.

    Raises
    ------
    StoreError
        As a function raised it: its message says what to do.
    TaskError
        Whatever else a function raised, with slot, round, seed and its traceback.
    """
    gather = gather or [(0.0, 0)] * len(tasks)
    if at_once and len(tasks) > 1:
        return _perform_at_once(tasks, states, tell, seed, worker, gather, around)
    performed = []
    for index, (task, reads) in enumerate(zip(tasks, states, strict=True)):
        this = slice(index, index + 1)
        tell(this, "running", 0.0)
        call = functools.partial(_outcome, task, reads)
        told = around.told(gather[index][0], functools.partial(tell, this, "running"))
        started = time.time()
        written, values = _called(call, told, task, task.slot, seed)
        performed.append(_reported(task, written, values, told, started, worker, gather[index][1]))
        if index + 1 < len(tasks):
            tell(this, "ended", 1.0)
    return performed


def _outcome(task: Task, reads: Sequence[State]) -> Made:
    written, values = task.function(*reads, **task.arguments)
    return _checked(task, written), values


def _checked(task: Task, written: Sequence[State]) -> tuple[State, ...]:
    if len(written) != len(task.writes):
        raise ValueError(
            f"it returned {len(written)} states of {task.slot} for "
            f"{len(task.writes)}: {task.writes}"
        )
    return tuple(written)


def _perform_at_once(
    tasks: Sequence[Task],
    states: Sequence[Sequence[State]],
    tell: Tell,
    seed: int,
    worker: str,
    gather: Sequence[Gather],
    around: Around,
) -> Outcomes:
    """Run tasks by the form that they have for several, and share the time out evenly."""
    every = slice(0, len(tasks))
    tell(every, "running", 0.0)
    told = around.told(0.0, functools.partial(tell, every, "running"))
    slots, started = ", ".join(task.slot for task in tasks), time.time()
    done = _called(functools.partial(_outcomes, tasks, states), told, tasks[0], slots, seed)
    performed = []
    for task, (written, values), (waited, size) in zip(tasks, done, gather, strict=True):
        shared = {name: taken / len(tasks) for name, taken in told.seconds.items()}
        own = Told(shared | {"gather": waited}, together=told.together)
        performed.append(_reported(task, written, values, own, started, worker, size))
    return performed


def _outcomes(tasks: Sequence[Task], states: Sequence[Sequence[State]]) -> list[Made]:
    together = tasks[0].together
    if together is None:
        raise TypeError("there is no form for several")
    done = together([(reads, task.arguments) for reads, task in zip(states, tasks, strict=True)])
    return [
        (_checked(task, made), values) for task, (made, values) in zip(tasks, done, strict=True)
    ]


def _called(call: Callable[[], T], told: Told, task: Task, slots: str, seed: int) -> T:
    """Call a function, and take down its time: the parts add up to the whole."""
    waited, begun = told.seconds["gather"], time.perf_counter()
    try:
        with listening(told):
            return call()
    except StoreError:
        raise
    except Exception as error:
        raise _failed(task, slots, seed, error) from error
    finally:
        # what no routine claimed is "other"
        inside = sum(told.seconds.values()) - waited
        told.seconds["other"] = max(0.0, time.perf_counter() - begun - inside)


def _failed(task: Task, slots: str, seed: int, error: Exception) -> TaskError:
    return TaskError(
        f"{task.name} failed in {slots}, round {task.round}, seed "
        f"{seed}: {type(error).__name__}: {error}\n\n{traceback.format_exc()}"
    )


def _reported(
    task: Task,
    written: Sequence[State],
    values: Values,
    told: Told,
    started: float,
    worker: str,
    gathered: int,
) -> tuple[tuple[State, ...], Report]:
    """Put what a task came to beside its report."""
    sizes = tuple(sum(np.asarray(a).nbytes for a in state.values()) for state in written)
    report = Report(
        task.slot,
        task.round,
        task.name,
        values,
        told.seconds,
        started,
        worker,
        gathered,
        sizes,
        told.together,
    )
    return tuple(written), report
