"""A run that goes on as a longer one, as if it had been asked for so much from its start.

The method decides twice over the run's log: with the settings that it had, and with the longer
ones. Reports of tasks that both ask for, of the same states by the same arguments, are taken; what
only the shorter run asked for, such as its last scores, falls away. The longer run then goes on
from a checkpoint that holds what it asks for next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gandask import config
from gandask.core import IDENTITY, Event, Method, Plan, Report, SettingError, StoreError, Task, View
from gandask.core.journal import Bookmark
from gandask.engine import resuming
from gandask.engine.ledger import Key, Ledger
from gandask.engine.options import Options
from gandask.methods import STORED
from gandask.store import LIVE, Store, extension
from gandask.store.extension import Extension


def complete(kept: Store, force: bool) -> None:
    """Complete an extension that was interrupted, or forget one that had not come to be."""
    if extension.is_open(kept):
        kept.claim(force)
        try:
            extension.settle(kept)
        finally:
            kept.release()


def asked(kept: Store, given: Method[Any], force: bool) -> Method[Any] | None:
    """Give the settings of the longer run, or None if they are the run's own.

    As when a run is continued, who extends it need not repeat how it was changed while it ran.

    Raises
    ------
    SettingError, StoreError
        For what cannot be larger, is not, or is another; or a run that is going on.
    """
    found = kept.method(STORED)
    resuming.refuse_functions(kept, found, given)
    places = resuming.places_of(kept)
    fixed = places | set(found.extends)
    if resuming.differing(given, kept.begun_with(STORED), fixed):
        for key, here, there in resuming.differing(given, found, fixed):
            raise StoreError(
                f"{key}={here!r}: the run in {str(kept.path)!r} has {there!r}, and is extended by "
                f"{', '.join(found.extends)} alone; begin another run, or leave {key} as it is"
            )
    changes = _changes(found, given)
    if not changes:
        return None
    if kept.state in LIVE and not force:
        raise StoreError(
            f"the run in {str(kept.path)!r} is {kept.state}: extend it once it is finished, or "
            "stop it first (run.stop())"
        )
    longer = config.replace(resuming.moved(found, given, places), changes)
    for key, value in changes.items():
        if not found.grows(key, longer):
            raise SettingError(
                f"{key}={value!r}: the run in {str(kept.path)!r} has {getattr(found, key)!r}; "
                "expected more"
            )
    return longer


def _changes(found: Method[Any], given: Method[Any]) -> dict[str, Any]:
    """Give the settings that are to be larger, with their new values."""
    keys = [key for key, _, _ in resuming.differing(given, found, ())]
    return {key: getattr(given, key) for key in keys if key in found.extends}


def planned(
    kept: Store, longer: Method[Any], facts: Mapping[str, Any], options: Options
) -> Extension:
    """Find what of a run is the beginning of the longer one: nothing is changed yet.

    Parameters
    ----------
    longer : Method
    facts : mapping
        What its preparation finds.
    options : Options
        How it is to go on.

    Raises
    ------
    StoreError
        If the run went on at its slots' own pace, or no checkpoint is the longer run's too.
    """
    path = str(kept.path)
    if kept.description.get("own_pace") or not options.synchronous:
        raise StoreError(
            f"the run in {path!r}: where slots go on at their own pace, what a run comes to "
            "depends on theirs, and no longer one can be the same; begin another run"
        )
    found = kept.method(STORED)
    changes = _changes(found, longer)
    reasons = []
    for folder, told in kept.checkpoints.examined(kept.log):
        if isinstance(told, StoreError):
            reasons.append(str(told))
            continue
        shared = _shared(kept, found, longer, told["log_bytes"])
        needed = shared.needed
        files = {file: sorted(needed & {*names}) for file, names in told["files"].items()}
        lacking = needed.difference(*told["files"].values())
        if not lacking:
            steered = kept.description.get("begun_with")
            known = kept.description["facts"]
            return Extension(
                longer,
                known | {key: value for key, value in facts.items() if key not in IDENTITY},
                config.replace(kept.begun_with(STORED), changes) if steered else None,
                shared.taken,
                folder,
                told,
                {file: names for file, names in files.items() if names},
                shared.view,
                Event(shared.view.round, "extended", "", _told(found, changes), machine=True),
            )
        reasons.append(shared.reason or f"{folder.name} does not hold {min(lacking)}")
    raise StoreError(f"the run in {path!r} cannot be extended: {_why(found, reasons)}")


def claim(kept: Store, planned: Extension | None, force: bool) -> None:
    """Become the one who writes a run, and make it the longer one if that is planned.

    Raises
    ------
    StoreError
        If another process is writing it, or has gone on with it meanwhile.
    """
    before = kept.description
    kept.claim(force)
    if planned is None:
        return
    try:
        if kept.described.fence != before["fence"] + 1 or not planned.folder.is_dir():
            raise StoreError(f"{str(kept.path)!r} was continued by another process meanwhile")
        extension.extend(kept, planned)
    except BaseException:
        if not extension.is_open(kept):  # else it is completed, or forgotten, by who comes next
            kept.describe(before["state"], before["round"])
        kept.release()
        raise


def _told(found: Method[Any], changes: Mapping[str, Any]) -> str:
    """Say what grows, from and to what."""
    return ", ".join(f"{key} = {v!r}, before {getattr(found, key)!r}" for key, v in changes.items())


def _why(found: Method[Any], reasons: list[str]) -> str:
    """Say why no checkpoint will do, and which length would have done."""
    if not reasons:
        return "it has no checkpoint; continue it first (resume=True)"
    nearest = ", ".join(f"{key}={value!r}" for key, value in found.nearest().items())
    told = f"; the nearest length that can be is {nearest}" if nearest else ""
    return (
        f"{reasons[0]}; checkpoints before that (checkpoint_every) would help{told}; begin the "
        "longer run anew"
    )


@dataclass
class _Shared:
    """How far a run is the beginning of a longer one.

    Parameters
    ----------
    view : View
        What the longer run's method knows then.
    taken : list
        What is taken of each step; see `gandask.store.extension`.
    needed : set of str
        States that the longer run goes on from.
    reason : str
        The first task of the shorter run that is another in the longer one.
    """

    view: View
    taken: list[set[Key] | None] = field(default_factory=list)
    needed: set[str] = field(default_factory=set)
    reason: str = ""


def _shared(kept: Store, shorter: Method[Any], longer: Method[Any], size: int) -> _Shared:
    """Decide anew with both settings, up to byte `size` of the log.

    Raises
    ------
    StoreError
        If the log is not one of the run's settings.
    """
    before, after = _Course(shorter), _Course(longer)
    shared, written = _Shared(after.view), set[str]()
    mark = Bookmark()
    for _, reports in kept.steps(mark):
        if mark.byte > size:
            break
        try:
            then, now = before.planned(), after.planned()
            same = []
            for report in (report for report in reports if report.key in now):
                task = then[report.key]
                differs = _difference(task, now[report.key], written)
                shared.reason = shared.reason or differs
                if not differs:
                    same.append(report)
                    written.update(task.writes)
            before.advance(reports)
            # a step without reports is one for which nothing is under way
            goes_on = bool(same) or not (reports or now)
            if goes_on:
                after.advance(same)
        except Exception as error:  # whatever a method says to reports that are none of its own
            raise StoreError(
                f"{kept.log.path} is not the log of a run with the settings beside it "
                f"({type(error).__name__}: {error})"
            ) from error
        shared.taken.append({report.key for report in same} if goes_on else None)
    shared.view, shared.needed = after.view, after.needed()
    return shared


class _Course:
    """A method that decides over a log."""

    def __init__(self, method: Method[Any]) -> None:
        self.method, self.ledger = method, Ledger(method)
        self.view: View
        self.plan: Plan
        self.view, self.plan = method.start()

    def planned(self) -> dict[Key, Task]:
        """Take up the last plan, and give all tasks that have not reported."""
        self.ledger.plan(self.plan)
        self.plan = ()
        return dict(self.ledger.outstanding)

    def advance(self, reports: Iterable[Report]) -> None:
        """Let the method decide."""
        reports = [*reports]
        self.ledger.report(reports)
        self.view, self.plan = self.method.advance(self.view, reports)
        self.ledger.keep(self.view.keeps)

    def needed(self) -> set[str]:
        """Name the states that it goes on from."""
        tasks = self.planned().values()
        read = self.view.keeps.union(*(task.reads for task in tasks))
        return set(read.difference(name for task in tasks for name in task.writes))


def _difference(task: Task, other: Task, written: set[str]) -> str:
    """Say in what a task is another than that of a longer run, or nothing.

    Parameters
    ----------
    written : set of str
        States that both runs have in common.
    """
    told = f"{task.name} of {task.slot}, round {task.round}, is not that of a longer run"
    if (task.function, task.reads, task.writes) != (other.function, other.reads, other.writes):
        return told
    if not written.issuperset(task.reads):
        return told
    for key in {**task.arguments, **other.arguments}:
        if not _equal(task.arguments.get(key), other.arguments.get(key)):
            return f"{told} ({key})"
    return ""


def _equal(one: Any, other: Any) -> bool:
    """Tell whether two arguments are the same; NaN is NaN."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, np.ndarray | float) and isinstance(other, np.ndarray | float):
        a, b = np.asarray(one), np.asarray(other)
        return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")
    return bool(one == other)
