"""Several tasks in one go."""

import pytest

from gandask import core
from gandask.core import Task, TaskError, progress
from gandask.execution.serial import Serial
from gandask.execution.together import perform_all

now = [0.0]  # seconds, for a clock that only `double_all` moves on


def double(state, by=2):
    return ({"x": by * state["x"]},), {"alone": True}


def double_all(calls):
    progress(0.5)
    now[0] += 1.0
    return [(({"x": a.get("by", 2) * s["x"]},), {"alone": False}) for (s,), a in calls]


def lose_a_state(calls):
    return [((), {}) for _ in calls]


def fail(calls):
    raise ValueError("by hand")


def task(number, round=1, together=double_all, **arguments):
    name = (f"cell/{number}/x",)
    return Task(f"cell/{number}", round, double, name, name, arguments, together=together)


def performed(*tasks, **options):
    told = []
    states = [({"x": index + 1},) for index in range(len(tasks))]
    found = perform_all(tasks, states, lambda *a: told.append(a), seed=3, **options)
    return found, told


def test_tasks_at_once_come_to_what_each_comes_to(monkeypatch):
    monkeypatch.setattr(core.time, "perf_counter", lambda: now[0])
    gather = [(1.0, 10), (2.0, 20)]
    found, told = performed(task(0), task(1, by=10), worker="w", gather=gather)
    assert [states for states, _ in found] == [({"x": 2},), ({"x": 20},)]
    first, second = (report for _, report in found)
    assert (first.slot, second.slot) == ("cell/0", "cell/1")
    assert (first.worker, first.gathered, second.gathered) == ("w", 10, 20)
    assert first.values == second.values == {"alone": False}
    assert told == [(slice(0, 2), "running", 0.0), (slice(0, 2), "running", 0.5)]
    # what they took together is shared out; what each waited for is its own
    assert first.seconds["other"] == second.seconds["other"] == 0.5
    assert (first.seconds["gather"], second.seconds["gather"]) == (1.0, 2.0)


def test_a_task_alone_needs_no_form_for_several():
    found, told = performed(task(0))
    assert found[0][1].values == {"alone": True}
    assert told == [(slice(0, 1), "running", 0.0)]
    found, told = performed(task(0, together=None), task(1, together=None))
    assert [report.values for _, report in found] == [{"alone": True}] * 2
    # the report of the first waits for the second's
    first, second = slice(0, 1), slice(1, 2)
    assert told == [(first, "running", 0.0), (first, "ended", 1.0), (second, "running", 0.0)]


@pytest.mark.parametrize(
    ("together", "told"),
    [(fail, "ValueError: by hand"), (lose_a_state, "it returned 0 states of cell/0")],
)
def test_what_fails_names_every_task(together, told):
    with pytest.raises(TaskError, match=told) as caught:
        performed(task(0, 4, together), task(1, 4, together))
    assert "double failed in cell/0, cell/1, round 4, seed 3" in str(caught.value)


def make():
    return ({"x": 1},), {}


def test_in_process_a_stage_goes_at_once_and_the_next_after_it():
    executor = Serial(1)
    executor.submit([Task(f"cell/{i}", 0, make, (), (f"cell/{i}/x",)) for i in range(3)])
    first = executor.submit([task(i, 1) for i in range(3)])
    second = executor.submit([task(i, 2) for i in range(3)])
    for _ in range(3):
        assert len(executor.next_reports()) == 1
    assert list(executor.next_reports()) == first
    assert list(executor.next_reports()) == second
    assert [executor.states[f"cell/{i}/x"][0]["x"] for i in range(3)] == [4, 4, 4]
