"""What a Dask worker does with the tasks it is sent."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from distributed.protocol import dumps, loads, to_serialize

from gandask.core import Task, TaskError, progress
from gandask.execution import worker
from gandask.execution.worker import Fetched, Telling, Work


def test_what_was_fetched_is_told_once():
    def entry(start, stop, **keys):
        return {"start": start, "stop": stop, "keys": keys}

    fetched = Fetched()
    log = [entry(0, 2, a=10, b=20), entry(1, 3, c=5)]
    held = {"a", "b", "c"}
    assert fetched.take(log, ["a", "c", "x"], held) == (3.0, 15), "at the same time, in part"
    assert fetched.take(log, ["a", "c"], held) == (0.0, 0), "the second finds it there"
    log.append(entry(5, 6, a=10))
    assert fetched.take(log, ["a", "b"], held) == (3.0, 30), "it was let go, and fetched again"
    log.append(entry(7, 8, d=1))
    fetched.take(log, ["a"], {"a"})
    assert fetched.take(log, ["d"], {"d"}) == (0.0, 0), "what is gone is forgotten"
    assert Fetched().take([], ["a"], held) == (0.0, 0)


def test_threads_of_a_worker_may_fetch_at_the_same_time():
    """A thread that is interrupted in its middle would see what another has half changed."""
    fetched, held, before = Fetched(), [], sys.getswitchinterval()
    log = [{"keys": {str(n): 1 for n in range(200)}, "start": 0.0, "stop": 1.0} for _ in range(3)]

    def take(number):
        return [fetched.take(log[: i % 4], [str(number)], held) for i in range(300)]

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            assert all(map(len, pool.map(take, range(4))))
    finally:
        sys.setswitchinterval(before)


class Deaf:
    """A worker as far as telling goes."""

    address = "tcp://1.2.3.4:5"

    def __init__(self):
        self.sent = []

    def log_event(self, topic, signals):
        told = [(s["key"], s["state"], s["fraction"], s["age"]) for s in signals]
        self.sent.append((topic, told))
        assert {s["worker"] for s in signals} == {self.address}


def works(*keys):
    return [Work(Task(f"cell/{key}", 1, len), 1, key, "topic", ()) for key in keys]


def test_every_beginning_is_told_and_not_each_by_itself(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: now[0]))
    deaf = Deaf()
    telling = Telling(deaf, works("a", "b", "c"))
    a, b, c = (slice(index, index + 1) for index in range(3))
    telling.tell(a, "running", 0.0)  # the first at once: a worker that freezes now is missed
    telling.tell(a, "running", 0.5)
    now[0] += 0.25
    telling.tell(a, "ended", 1.0)
    telling.tell(b, "running", 0.0)
    assert deaf.sent == [("topic", [("a", "running", 0.0, 0.0)])]
    now[0] += 0.5
    telling.tell(b, "running", 0.7)
    telling.tell(c, "running", 0.0)
    # late, but with the time since
    ended, began, goes_on = ("a", "ended", 1.0, 0.5), ("b", "running", 0.0, 0.5), ("b", "running")
    assert deaf.sent[1:] == [("topic", [ended, began, (*goes_on, 0.7, 0.0)])]
    telling.send()
    assert deaf.sent[2:] == [("topic", [("c", "running", 0.0, 0.0)])]
    telling.send()
    assert len(deaf.sent) == 3
    telling = Telling(deaf, works("a", "b"))
    telling.tell(slice(0, 2), "running", 0.0)
    assert deaf.sent[3:] == [("topic", [(key, "running", 0.0, 0.0) for key in "ab"])]


def double(*states, by=2):
    progress(0.5)
    return tuple({"x": by * state["x"]} for state in states), {"states": len(states)}


def fail(*states):
    raise ValueError("by hand")


def bundle(client, *tasks):
    """Perform tasks on a worker as one, with the numbers 1, 2, ... for states."""
    sent, given = [], []
    for number, task in enumerate(tasks):
        given += [{"x": len(given) + i + 1} for i in range(len(task.reads))]
        sent.append(Work(task, 7, f"task-{number}", "topic", task.reads))
    return client.submit(worker.perform_on_worker, sent, False, *given, pure=False).result()


def test_each_task_of_a_bundle_reads_its_own_states(clients):
    tasks = [
        Task("cell/0", 1, double, ("a", "b"), ("a", "b")),
        Task("cell/1", 2, double, (), ()),
        Task("cell/2", 3, double, ("c",), ("c",), {"by": 10}),
    ]
    performed = bundle(clients[1], *tasks)
    assert [states for states, _ in performed] == [({"x": 2}, {"x": 4}), (), ({"x": 30},)]
    assert [(r.slot, r.round, r.values["states"]) for _, r in performed] == [
        ("cell/0", 1, 2),
        ("cell/1", 2, 0),
        ("cell/2", 3, 1),
    ]
    assert worker.pick_state(performed, 2, 0) == {"x": 30}
    assert worker.pick_reports(performed) == [((), report) for _, report in performed]


def test_a_state_of_many_arrays_travels_with_less_than_a_kilobyte_of_headers():
    state = {f"layers.{number}.weight": np.ones((8, 8), np.float32) for number in range(10)}
    picked = worker.pick_state([((state,), None)], 0, 0)
    frames = dumps({"status": "OK", "data": {"state-01234567-1-0": to_serialize(picked)}})
    sent = sum(memoryview(frame).nbytes for frame in frames)
    assert sent < 1000 + sum(array.nbytes for array in state.values())
    (arrived,) = loads(frames)["data"].values()
    assert arrived.keys() == state.keys()
    assert all(np.array_equal(arrived[name], state[name]) for name in state)


def test_the_end_of_a_bundle_tells_of_every_task_in_it(clients):
    client, heard = clients[1], []
    told = "{key} {state}".format_map
    client.subscribe_topic("topic", lambda event: heard.extend(map(told, event[1])))
    try:
        bundle(client, *[Task(f"cell/{i}", 1, double) for i in range(3)])
        for _ in range(100):
            if len(heard) == 5:
                break
            time.sleep(0.05)
    finally:
        client.unsubscribe_topic("topic")
    whole = [f"task-{number} {state}" for number in range(3) for state in ("running", "ended")]
    assert heard == whole[:-1]  # with the last, all are reported


def test_a_task_that_fails_in_a_bundle_is_named(clients):
    tasks = [Task("cell/0", 1, double), Task("cell/1", 4, fail)]
    with pytest.raises(TaskError, match="fail failed in cell/1, round 4, seed 7: ValueError"):
        bundle(clients[1], *tasks)
