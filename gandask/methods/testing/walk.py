"""A method walked through a run, one task after the other, with all that happens on the way."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask import results
from gandask.core import Hosting, Method, Plan, Report, State, Task, View
from gandask.engine.ledger import Ledger
from gandask.execution.perform import Around, perform_all

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Performed:
    """A task that was performed: what it read and wrote, and which reads it changed in place."""

    task: Task
    reads: Sequence[State]
    changed: Sequence[str]
    written: Sequence[State]
    report: Report


@dataclass(frozen=True)
class Step:
    """A plan that was performed, and what the method made of its reports: once, and again."""

    plan: Plan
    performed: Sequence[Performed]
    after: View
    following: Plan
    again: tuple[View, Plan]


@dataclass(frozen=True)
class Walk:
    """A whole run.

    Parameters
    ----------
    facts : mapping
        What the method's preparation found.
    steps : sequence of Step
    repeated : sequence of (Performed, sequence of State)
        The first task of each name, and what it wrote when it was performed again at the end.
    states : mapping of str to State
        Those that the last view keeps.
    dataset : Dataset
        What the run came to.
    """

    facts: Mapping[str, Any]
    steps: Sequence[Step]
    repeated: Sequence[tuple[Performed, Sequence[State]]]
    states: Mapping[str, State]
    dataset: xr.Dataset

    @property
    def performed(self) -> Iterator[Performed]:
        """Every task, in order."""
        return itertools.chain.from_iterable(step.performed for step in self.steps)


def walk(method: Method[Any]) -> Walk:
    """Walk a method through a run in process.

    Raises
    ------
    MethodError
        If a plan, a report or a record breaks the contract.
    """
    method.check()
    facts = method.prepare()
    ledger = Ledger(method, travels=True)
    collected = results.Results(method.layout(), method.rounds)
    states: dict[str, State] = {}
    steps: list[Step] = []
    view, plan = method.start()
    with method.hosted(Hosting()) as hosted:
        around = Around(hosted.reach)
        while plan:
            ledger.plan(plan)
            performed = [
                one for stage in plan for one in _performed(stage, states, method.seed, around)
            ]
            reports = [one.report for one in performed]
            sent = ledger.report(reports)
            after, following = method.advance(view, reports)
            again = method.advance(view, reports)
            steps.append(Step(plan, performed, after, following, again))
            ledger.check_records(after.records)
            collected.add(after, reports, 0.0, sent)
            read = {name for stage in following for task in stage for name in task.reads}
            kept = ledger.keep(after.keeps - (method.retired(after) - read)) | after.keeps
            states = {name: state for name, state in states.items() if name in kept}
            view, plan = after, following
        repeated = _repeated(steps, method.seed, around)
    dataset = collected.dataset(results.attributes(method, facts))
    return Walk(facts, steps, repeated, states, dataset)


def _performed(
    stage: Sequence[Task], states: dict[str, State], seed: int, around: Around
) -> list[Performed]:
    """Perform a stage: each task on the states as they were before it."""
    given = [[states[name] for name in task.reads] for task in stage]
    performed = []
    for task, reads in zip(stage, given, strict=True):
        before = copy.deepcopy(reads)
        ((written, report),) = perform_all([task], [reads], seed=seed, around=around)
        known = zip(task.reads, reads, before, strict=True)
        changed = [name for name, state, kept in known if not equal(state, kept)]
        states |= dict(zip(task.writes, written, strict=True))
        performed.append(Performed(task, before, changed, written, report))
    return performed


def _repeated(
    steps: Sequence[Step], seed: int, around: Around
) -> list[tuple[Performed, Sequence[State]]]:
    """Perform the first task of each name once more, on copies of what it read."""
    first: dict[str, Performed] = {}
    for step in steps:
        for one in step.performed:
            first.setdefault(one.task.name, one)
    repeated: list[tuple[Performed, Sequence[State]]] = []
    for one in first.values():
        reads = copy.deepcopy(one.reads)
        ((written, _),) = perform_all([one.task], [reads], seed=seed, around=around)
        repeated.append((one, written))
    return repeated


def equal(one: State, other: State) -> bool:
    """Tell whether two states are the same, bit for bit but for kinds of NaN."""
    return one.keys() == other.keys() and all(
        np.array_equal(array, other[key], equal_nan=np.asarray(array).dtype.kind in "fc")
        for key, array in one.items()
    )
