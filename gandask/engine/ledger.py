"""What a run has planned: its tasks, the states they write, and the bytes that would travel.

A plan that breaks the method's contract is refused here, before anything of it is sent.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from gandask.core import Method, MethodError, Plan, Record, Report, Task, slot_of
from gandask.results.columns import Traffic

Key = tuple[str, int, str]


class Ledger:
    """Tasks that have not reported, and states by name: never the states themselves.

    Parameters
    ----------
    method : Method
    travels : bool
        Whether tasks go to other processes, so that they must pickle.
    """

    def __init__(self, method: Method[Any], travels: bool = False) -> None:
        self.method, self.layout = method, method.layout()
        self.travels = travels
        self.outstanding: dict[Key, Task] = {}
        self.stages: list[list[Key]] = []
        self.states: set[str] = set()
        self.sizes: dict[str, int] = {}
        self.readers: dict[str, set[str]] = {}  # by state, the slots that have it
        self.owed: list[tuple[Task, str]] = []  # read before their sizes were known
        self.pickled: set[Any] = set()

    def steer(self, method: Method[Any]) -> None:
        """Go on with other settings."""
        self.method, self.layout = method, method.layout()

    def plan(self, plan: Plan) -> None:
        """Take up a plan.

        Raises
        ------
        MethodError
            If it cannot be carried out.
        """
        for stage in plan:
            known = frozenset(self.states)
            for task in stage:
                self._check(task, known)
                self.outstanding[task.key] = task
                self.states.update(task.writes)
            self.stages.append([task.key for task in stage])

    def report(self, reports: Sequence[Report]) -> list[Traffic]:
        """Take up reports, and tell what their tasks have read from other slots.

        A slot that has a state keeps it: it counts once, however many tasks read it.

        Raises
        ------
        MethodError
            If a report is of no task that was planned.
        """
        for report in reports:
            task = self.outstanding.pop(report.key, None)
            if task is None:
                raise self._broken(f"a report of {_said(report.key)}, which was never sent")
            self.sizes |= dict(zip(task.writes, report.sizes, strict=False))
            for name in dict.fromkeys(task.reads):
                readers = self.readers.setdefault(name, set())
                if slot_of(name) != task.slot and task.slot not in readers:
                    readers.add(task.slot)
                    self.owed.append((task, name))
        self.stages = [left for left in map(self._left, self.stages) if left]
        known = [(task, name) for task, name in self.owed if name in self.sizes]
        self.owed = [one for one in self.owed if one[1] not in self.sizes]
        return [
            (task.slot, task.round, self.method.term(name), self.sizes[name])
            for task, name in known
        ]

    def keep(self, names: Collection[str]) -> set[str]:
        """Forget states but these, and those that planned tasks write or read; name all kept.

        Raises
        ------
        MethodError
            If no task has written one of them.
        """
        lacking = sorted(name for name in names if name not in self.states)
        if lacking:
            raise self._broken(
                f"its view keeps {lacking[0]!r}, which no task has written, or which was retired"
            )
        self.states = {*names}
        for task in self.outstanding.values():
            self.states.update(task.writes, task.reads)
        for known in (self.sizes, self.readers):
            for name in known.keys() - self.states:
                del known[name]
        return self.states

    def part(self, names: Collection[str]) -> None:
        """Forget states that are nobody's any more, though a view still keeps them."""
        self.states.difference_update(names)

    def unfinished(self) -> list[list[Task]]:
        """Take back the tasks that have not reported, stage by stage, to be planned again."""
        stages = [[self.outstanding[key] for key in stage] for stage in self.stages]
        self.states.difference_update(
            name for task in self.outstanding.values() for name in task.writes
        )
        self.outstanding, self.stages = {}, []
        return stages

    def check_records(self, records: Iterable[Record]) -> None:
        """Raise MethodError for a record of what the layout does not have, or of no round."""
        variables = self.layout.variables
        for record in records:
            if record.round < 1:
                raise self._broken(f"it records round {record.round}: expected at least 1")
            role = record.slot.partition("/")[0]
            for name in record.values:
                if name not in variables:
                    raise self._broken(f"it records {name!r}, which its layout does not declare")
                if variables[name].role not in ("", role):
                    told = f"it records {name!r} for {role or 'the whole population'!r}"
                    raise self._broken(f"{told}, but it is of {variables[name].role!r}")

    def _check(self, task: Task, known: Collection[str]) -> None:
        """Refuse a task that cannot be performed."""
        told = _said(task.key)
        if task.slot not in self.layout.slots:
            raise self._broken(f"{told}: its layout has no such slot")
        if task.key in self.outstanding:
            raise self._broken(f"{told} is planned twice: give one another name")
        for name in task.reads:
            if name not in known:
                raise self._broken(
                    f"{told} reads {name!r}, which no task before it has written, or which was "
                    "retired"
                )
        for name in task.writes:
            if slot_of(name) != task.slot or name.count("/") < 2:
                raise self._broken(f"{told} writes {name!r}: expected {task.slot}/...")
            if name in self.states:
                raise self._broken(f"{told} writes {name!r} once more: a state is written once")
        if self.travels and task.function not in self.pickled:
            self._check_travels(task)
            self.pickled.add(task.function)

    def _check_travels(self, task: Task) -> None:
        import cloudpickle

        try:
            cloudpickle.dumps(task)
        except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
            raise self._broken(
                f"{_said(task.key)} cannot be sent to a worker ({type(error).__name__}: {error}): "
                "let its function be one of a module, and its arguments plain values"
            ) from error

    def _left(self, stage: Sequence[Key]) -> list[Key]:
        return [key for key in stage if key in self.outstanding]

    def _broken(self, what: str) -> MethodError:
        return MethodError(f"method {self.method.name!r}: {what}")


def _said(key: Key) -> str:
    slot, round, name = key
    return f"{name} of {slot}, round {round}"
