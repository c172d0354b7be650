"""How long the tasks of an exchange take in this process."""

from __future__ import annotations

import collections
import statistics
import time

from gandask import config
from gandask.core import Plan, State
from gandask.methods.split.method import Split

EXCHANGES = 5
"""That are timed, after one that is not."""
Times = dict[tuple[str, str], list[float]]
"""Seconds of each time that a task was performed, by its name and slot."""


def task_seconds(method: Split, exchanges: int = EXCHANGES) -> dict[str, float]:
    """Perform a few exchanges in this process, on the method's own data, and time their tasks.

    Nothing is scored. What it takes to send a task and its states is not in it.

    Parameters
    ----------
    method : BPGAN or DataParallel
    exchanges : int
        How many are timed. One more goes before: what is done once is done there.

    Returns
    -------
    dict
        Seconds by the name of the task: the median over exchanges, of the slot where it takes
        longest.
    """
    last = exchanges + 1
    # one more is to come, or no generator would make fakes in the last
    steady = config.replace(method, {"iterations": last + 1, "score_samples": 0})
    _, born = steady.begin()
    states = _performed([born, *steady.exchange(1)], {}, {})
    taken: Times = collections.defaultdict(list)
    for round in range(2, last + 1):
        states = _performed(steady.exchange(round), states, taken)
    longest: dict[str, float] = {}
    for (name, _), seconds in taken.items():
        longest[name] = max(longest.get(name, 0.0), statistics.median(seconds))
    return longest


def _performed(plan: Plan, states: dict[str, State], taken: Times) -> dict[str, State]:
    """Perform a plan, add what each task takes, and give the states that were written."""
    written: dict[str, State] = {}
    known = collections.ChainMap(written, states)
    for task in (task for stage in plan for task in stage):
        reads = [known[name] for name in task.reads]
        begun = time.perf_counter()
        made, _ = task.function(*reads, **task.arguments)
        taken.setdefault((task.name, task.slot), []).append(time.perf_counter() - begun)
        written |= zip(task.writes, made, strict=True)
    return written
