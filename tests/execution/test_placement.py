"""Where tasks go, and which go together."""

import pytest

from gandask.core import Report, Task
from gandask.execution.placement import TOGETHER, bundled, place, spent


@pytest.mark.parametrize(
    ("threads", "homes", "expected"),
    [
        ({"a": 1, "b": 1}, {}, {"0": "a", "1": "a", "2": "b", "3": "b"}),
        ({"a": 1, "b": 3}, {}, {"0": "a", "1": "b", "2": "b", "3": "b"}),
        ({"b": 1}, {"0": "a", "1": "a", "2": "b"}, dict.fromkeys("0123", "b")),
        # those that can stay do; a worker that joins takes the surplus
        ({"a": 1, "b": 1}, dict.fromkeys("0123", "a"), {"0": "a", "1": "a", "2": "b", "3": "b"}),
        ({"a": 1, "b": 1}, {"0": "b", "3": "a"}, {"0": "b", "3": "a", "1": "a", "2": "b"}),
    ],
)
def test_every_slot_has_a_worker(threads, homes, expected):
    assert place(list("0123"), threads, homes) == expected


def idle():
    return (), {}


def other():
    return (), {}


def tasks(count, function=idle):
    return {n: Task(f"cell/{n}", 1, function) for n in range(count)}


def test_short_tasks_of_a_worker_go_together_and_long_ones_alone():
    ten, homes = tasks(10), dict.fromkeys(range(10), "a")
    # as many as fit the time, in bundles of much the same size, each task once
    assert bundled(ten, homes, {"a": 1}, {"idle": TOGETHER / 4}) == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    assert bundled(ten, homes, {"a": 1}, {"idle": 0.0}) == [list(range(10))]
    alone = [[number] for number in range(10)]
    assert bundled(ten, homes, {"a": 1}, {"idle": TOGETHER}) == alone
    assert bundled(ten, homes, {"a": 1}, {"other": 0.0}) == alone
    assert bundled({}, {}, {"a": 1}, {}) == []


def test_every_thread_of_a_worker_has_its_share():
    ten, homes = tasks(10), dict.fromkeys(range(10), "a")
    assert bundled(ten, homes, {"a": 3}, {"idle": 0.0}) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_what_does_not_belong_together_stays_apart():
    short = {"idle": 0.0, "other": 0.0}
    homes = {0: "a", 1: "b", 2: "a", 3: "b"}
    assert bundled(tasks(4), homes, {"a": 1, "b": 1}, short) == [[0, 2], [1, 3]]
    mixed = tasks(2) | {2: Task("cell/2", 1, other), 3: Task("cell/3", 1, other)}
    assert bundled(mixed, dict.fromkeys(range(4), "a"), {"a": 1}, short) == [[0, 1], [2, 3]]
    # a slot that has a place may go nowhere else, whatever the others may do
    placed = {"cell/0", "cell/2", "cell/3"}
    homes = {0: "a", 1: "a", 2: "a", 3: "b"}
    apart = bundled(tasks(4), homes, {"a": 1, "b": 1}, short, placed=placed)
    assert sorted(apart) == [[0, 2], [1], [3]]
    # without a worker nothing is known of where a task will run
    assert bundled(tasks(2), {0: "", 1: ""}, {}, short) == [[0], [1]]


def test_what_can_be_performed_at_once_goes_together_however_long_it_takes():
    long, homes = {"idle": 60.0}, dict.fromkeys(range(4), "a")
    at_once = {n: Task(f"cell/{n}", 1, idle, together=list) for n in range(4)}
    alone = [[0], [1], [2], [3]]
    assert bundled(at_once, homes, {"a": 1}, long, {"b"}) == alone, "there they had better not"
    assert bundled(at_once, homes, {"a": 1}, long, {"a"}) == [[0, 1, 2, 3]]
    assert bundled(at_once, homes, {"a": 1}, {}, {"a"}) == [[0, 1, 2, 3]]
    assert bundled(at_once, homes, {"a": 2}, long, {"a"}) == [[0, 1], [2, 3]]
    assert bundled(at_once, dict.fromkeys(range(4), ""), {}, long, {""}) == [[0], [1], [2], [3]]
    some = tasks(1) | {1: at_once[1], 2: at_once[2]}
    assert bundled(some, homes, {"a": 1}, long, {"a"}) == [[0], [1, 2]]


def test_waiting_for_states_is_no_work():
    report = Report("cell/0", 1, "idle", {}, {"gather": 5.0, "train": 0.25, "other": 0.5})
    assert spent(report) == 0.75
