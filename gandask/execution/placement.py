"""Where tasks go: a worker for each slot, and the short ones of a worker together."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from gandask.core import Report, Task

TOGETHER = 0.1  # seconds of work that one Dask task is worth: it costs a few milliseconds itself

Bundle = Sequence[int]
"""Numbers of tasks that are performed one after the other, as one Dask task."""


def place(
    slots: Sequence[str], threads: Mapping[str, int], homes: Mapping[str, str]
) -> dict[str, str]:
    """Give each slot a worker: the one it had, unless that is gone or has more than its share.

    Slots without one fill up workers in order, so that neighbours tend to share a worker.

    Examples
    --------
    >>> place(["a", "b", "c"], {"w": 1, "v": 1}, {})
    {'a': 'w', 'b': 'w', 'c': 'v'}
    >>> place(["a", "b", "c"], {"v": 1}, {"c": "v"})
    {'c': 'v', 'a': 'v', 'b': 'v'}
    """
    distinct = list(dict.fromkeys(slots))
    total = sum(threads.values())
    room = {worker: -(-len(distinct) * count // total) for worker, count in threads.items()}
    placed: dict[str, str] = {}
    for slot in distinct:
        home = homes.get(slot)
        if home is not None and room.get(home, 0) > 0:
            placed[slot] = home
            room[home] -= 1
    for slot in distinct:
        if slot not in placed:
            placed[slot] = next(worker for worker, left in room.items() if left > 0)
            room[placed[slot]] -= 1
    return placed


def bundled(
    tasks: Mapping[int, Task],
    homes: Mapping[int, str],
    threads: Mapping[str, int],
    seconds: Mapping[str, float],
    at_once: Container[str] = (),
    placed: Container[str] = (),
) -> list[Bundle]:
    """Put tasks of one kind that go to one worker together, in their order.

    Those that had better be performed at once all go together, others as long as they are short.

    Parameters
    ----------
    tasks : mapping of int to Task
        By number.
    homes : mapping of int to str
        Address of the worker of each; empty without one.
    threads : mapping of str to int
        Of each worker, which all get their share.
    seconds : mapping of str to float
        What a task of a name takes; by default too long to share a Dask task.
    at_once : container of str
        Addresses of workers that had better perform tasks at once, where they have a form for it.
    placed : container of str
        Slots that have a place: they do not share a task with those that may go elsewhere.

    Examples
    --------
    >>> tasks = {number: Task(f"cell/{number}", 1, place) for number in range(4)}
    >>> homes = {0: "v", 1: "v", 2: "w", 3: "v"}
    >>> bundled(tasks, homes, {"v": 1, "w": 1}, {"place": TOGETHER / 2})
    [[0, 1], [3], [2]]
    >>> bundled(tasks, homes, {"v": 1, "w": 1}, {})
    [[0], [1], [3], [2]]
    """
    groups: dict[tuple[str, bool, tuple[Any, ...]], list[int]] = {}
    for number, task in tasks.items():
        key = homes[number], task.slot in placed, task.kind
        groups.setdefault(key, []).append(number)
    made: list[Bundle] = []
    for (home, *_), group in groups.items():
        task = tasks[group[0]]
        share = -(-len(group) // threads.get(home, 1))
        short = int(TOGETHER / max(seconds.get(task.name, TOGETHER), 1e-9))
        gains = task.together is not None and home in at_once
        most = min(share, len(group) if gains else short) if home else 1
        count = -(-len(group) // max(1, most))
        size = -(-len(group) // count)
        made += [group[start : start + size] for start in range(0, len(group), size)]
    return made


def spent(report: Report) -> float:
    """Give the seconds that a task took, but for what it waited for."""
    return sum(report.seconds.values()) - report.seconds.get("gather", 0.0)
