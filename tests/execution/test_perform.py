"""Tasks performed where their states are: what a function is given, and what is told of it."""

import time

import numpy as np
import pytest

from gandask.core import StoreError, Task, TaskError, better_together, progress, routine
from gandask.execution import perform
from gandask.execution.perform import perform_all
from gandask.execution.serial import Serial

# ---- one task


def run(function, *states, writes=("cell/0/a",), told=None, **arguments):
    task = Task("cell/0", 4, function, writes=writes, arguments=arguments)
    listener = (lambda part, state, done: told.append((state, done))) if told is not None else None
    more = (listener,) if listener else ()
    ((written, report),) = perform_all([task], [states], *more, seed=7, worker="w1")
    return written, report


def twice(state, *, extra):
    with routine("train"):
        pass
    return ({"w": state["w"] * 2},), {"extra": extra}


def test_a_task_comes_to_states_and_a_report():
    (written,), report = run(twice, {"w": np.arange(3.0)}, extra=5)
    np.testing.assert_array_equal(written["w"], [0, 2, 4])
    assert (report.key, report.values) == (("cell/0", 4, "twice"), {"extra": 5})
    assert (report.worker, report.sizes) == ("w1", (24,))
    assert {"gather", "train", "other"} == report.seconds.keys()


def test_a_report_has_the_time_at_which_its_task_began(monkeypatch):
    monkeypatch.setattr(perform.time, "time", lambda: 1234.5)
    assert run(twice, {"w": np.ones(1)}, extra=0)[1].started == 1234.5


def test_seconds_by_routine_add_up_to_the_task(monkeypatch):
    clock = [0.0]

    def passing(seconds):
        clock[0] += seconds

    def nested():
        with routine("train"):
            passing(2.0)
        with routine("train"):
            passing(3.0)
        passing(4.0)
        return (), {}

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    one = Task("cell/0", 4, nested, (), ())
    # what it waited for before is none of its own time
    ((_, report),) = perform_all([one], [()], seed=3, gather=[(7.0, 10)])
    assert report.seconds == {"gather": 7.0, "train": 5.0, "other": 4.0}


def test_time_outside_a_task_is_not_counted():
    with routine("train"):
        pass
    _, report = run(lambda: ((), {}), writes=())
    assert "train" not in report.seconds


def test_a_crash_names_slot_round_seed_and_keeps_the_traceback():
    def crash():
        raise ZeroDivisionError("by hand")

    with pytest.raises(TaskError) as caught:
        run(crash)
    for part in ("crash", "cell/0", "round 4", "seed 7", "ZeroDivisionError: by hand", "Traceback"):
        assert part in str(caught.value)


def test_what_a_store_refuses_is_told_in_its_own_words():
    refusal = StoreError("the disk is full: make room")

    def crash():
        raise refusal

    with pytest.raises(StoreError) as caught:
        run(crash)
    assert caught.value is refusal


def test_progress_is_told_to_whoever_listens():
    heard = []

    def count(*, upto):
        for number in range(upto):
            progress(number / upto)
        return (), {}

    run(count, writes=(), told=heard, upto=4)
    # that it began, and then what it tells
    assert heard == [("running", fraction) for fraction in (0.0, 0, 0.25, 0.5, 0.75)]
    progress(0.9)
    run(count, writes=(), upto=4)
    assert len(heard) == 5, "nobody listens outside, or to another task"


def test_a_wrong_number_of_states_is_refused():
    with pytest.raises(TaskError, match=r"returned 1 states of cell/0 for 2"):
        run(twice, {"w": np.ones(1)}, writes=("a", "b"), extra=0)


# ---- several at once

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


def performed(*tasks, at_once=True, **options):
    told = []
    states = [({"x": index + 1},) for index in range(len(tasks))]
    found = perform_all(
        tasks, states, lambda *a: told.append(a), seed=3, at_once=at_once, **options
    )
    return found, told


def test_tasks_at_once_come_to_what_each_comes_to(monkeypatch):
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
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
    found, told = performed(task(0), task(1), at_once=False)
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


def ask(state, by=2):
    better_together()
    return double(state, by)


def test_in_process_tasks_go_at_once_after_one_has_asked_for_it():
    """Those of a stage, and the next stage after it."""
    executor = Serial(1)

    def stage(round):
        return [
            Task(
                f"cell/{i}",
                round,
                ask,
                (f"cell/{i}/{round - 1}",),
                (f"cell/{i}/{round}",),
                together=double_all,
            )
            for i in range(3)
        ]

    executor.submit([Task(f"cell/{i}", 0, make, (), (f"cell/{i}/0",)) for i in range(3)])
    first, second = executor.submit(stage(1)), executor.submit(stage(2))
    arrived = [list(executor.next_reports()) for _ in range(3 + 2 + 1)]
    assert [len(numbers) for numbers in arrived] == [1, 1, 1, 1, 2, 3]
    assert [n for numbers in arrived[3:5] for n in numbers] == first
    assert arrived[5] == second
    assert [executor.states[f"cell/{i}/2"][0]["x"] for i in range(3)] == [4, 4, 4]


def test_in_process_tasks_go_one_by_one_where_none_asks():
    executor = Serial(1)
    executor.submit([Task(f"cell/{i}", 0, make, (), (f"cell/{i}/x",)) for i in range(2)])
    executor.submit([task(i, 1) for i in range(2)])
    assert [len(executor.next_reports()) for _ in range(4)] == [1] * 4
