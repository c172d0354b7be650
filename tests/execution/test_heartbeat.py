"""The heartbeat: what it concludes, by signals and clocks made by hand; and its thread."""

import dataclasses
import json
import queue
import threading
import time
from types import SimpleNamespace

import pytest

from gandask.core import ClusterError, SettingError, Signal
from gandask.execution import heartbeat
from gandask.execution.heartbeat import PEERS, Heard, Heartbeat, Monitor, Noticed, Watch

A, B = "tcp://1.1.1.1:1", "tcp://2.2.2.2:2"
NAMES = {A: "ann", B: "bob"}


def signal(state, cell=0, worker=A, round=1, task="train", fraction=0.0, copy=""):
    slot = f"cell/{cell}"
    key = f"{task}-{round}-{slot}{copy}"
    return Signal(state, key, slot, round, task, worker, fraction)


def sent(*place, **changes):
    return signal("sent", *place, **changes)


def running(*place, **changes):
    return signal("running", *place, **changes)


def reported(cell=0, **changes):
    return signal("reported", cell, "", **changes)


def ended(*place, **changes):
    return signal("ended", *place, fraction=1.0, **changes)


def dropped(cell=0, **changes):
    return signal("dropped", cell, "", **changes)


def workers(*addresses, **silent):
    """Make what the scheduler tells: addresses, and by name the seconds of silence."""
    return {a: Heard(NAMES[a], silent.get(NAMES[a], 0.0)) for a in addresses}


BOTH = workers(A, B)


def looked(monitor, now, known):
    if known is not None:
        monitor.meet(known)
    return monitor.look(now)


def play(*steps, **settings):
    """Play to a monitor what happens when: signals, and looks at the workers."""
    monitor, noticed = Monitor(Heartbeat(**settings)), Noticed()
    for now, step in steps:
        if isinstance(step, Signal):
            monitor.take(step, now)
        else:
            found = looked(monitor, now, step)
            noticed.events += found.events
            noticed.silent += found.silent
            noticed.delayed += found.delayed
    return monitor, noticed


def said(noticed, kind=None):
    """Give the events as tuples, but for workers that joined; or those of one kind alone."""
    return [
        (event.kind, event.slot, event.detail)
        for event in noticed.events
        if (event.kind == kind if kind else event.kind != "worker joined")
    ]


def peers(*seconds, task="train", begin=0.0):
    """Make tasks of other cells that took so many seconds."""
    steps = []
    for cell, taken in enumerate(seconds, start=100):
        steps += [
            (begin - 5, sent(cell, task=task)),  # waiting does not count
            (begin, running(cell, task=task)),
            (begin + taken / 2, running(cell, task=task, fraction=0.5)),
            (begin + taken, reported(cell, task=task)),
        ]
    return steps


# ---- what a slot is doing

SLOW = peers(1, 1)

STATES = {
    "a task that was sent waits": ("inactive", [(0, sent())]),
    "it runs": ("processing", [(0, sent()), (1, running())]),
    "it goes on": ("processing", [(0, sent()), (1, running()), (9, running(fraction=0.5))]),
    "it has reported": ("finished", [(0, sent()), (1, running()), (2, reported())]),
    "it was too quick to be seen": ("finished", [(0, sent()), (2, reported())]),
    "its next one waits": (
        "inactive",
        [(0, sent()), (1, running()), (2, reported()), (2, sent(round=2))],
    ),
    "it takes long": ("delayed", [*SLOW, (0, sent()), (1, running()), (20, BOTH)]),
    "it takes long, and goes on": (
        "delayed",
        [*SLOW, (0, sent()), (1, running()), (20, BOTH), (21, running(fraction=0.9)), (22, BOTH)],
    ),
    "it took long": (
        "finished",
        [*SLOW, (0, sent()), (1, running()), (20, BOTH), (21, reported())],
    ),
    "its worker left": ("lost", [(0, BOTH), (0, sent()), (1, running()), (2, workers(B))]),
    "the worker it was sent to left": ("lost", [(0, BOTH), (0, sent()), (2, workers(B))]),
    "its worker left while it was delayed": (
        "lost",
        [*SLOW, (0, sent()), (1, running()), (20, BOTH), (21, workers(B))],
    ),
    "it runs elsewhere": (
        "processing",
        [(0, BOTH), (0, sent()), (1, running()), (2, workers(B)), (3, running(0, B))],
    ),
    "its worker came back": (
        "processing",
        [(0, BOTH), (0, sent()), (1, running()), (2, workers(B)), (3, BOTH), (4, running())],
    ),
    "another worker left": (
        "processing",
        [(0, BOTH), (0, sent()), (1, running()), (2, workers(A))],
    ),
    "it reported before its worker left": (
        "finished",
        [(0, BOTH), (0, sent()), (1, running()), (2, reported()), (3, workers(B))],
    ),
    "one copy was first": (
        "finished",
        [
            (0, sent()),
            (1, running()),
            (2, sent(0, B, copy="'")),
            (3, running(0, B, copy="'")),
            (4, reported(copy="'")),
            (4, dropped()),
        ],
    ),
}


@pytest.mark.parametrize("story", STATES)
def test_the_state_of_a_slot(story):
    state, steps = STATES[story]
    monitor, _ = play(*steps)
    assert monitor.states()["cell/0"]["state"] == state


def test_of_two_tasks_of_a_slot_the_one_that_runs_is_told():
    """As at the start of every run: a plan's stages are sent together."""
    first = {"round": 0, "task": "initialise"}
    monitor, _ = play((0, sent(**first)), (0, sent(task="fitness")), (1, running(**first)))
    told = monitor.states()["cell/0"]
    assert (told["state"], told["task"]) == ("processing", "initialise")


def test_what_is_told_of_a_slot():
    monitor, _ = play(
        (0, BOTH),
        (0, sent(1, B, round=7, task="fitness")),
        (0, sent(0, A, round=7)),
        (0, sent(2, "", round=8)),
        (1, running(1, B, round=7, task="fitness", fraction=1 / 3)),
        (2, sent(10, B, round=3)),
        (3, reported(10, round=3)),
    )
    told = monitor.states()
    assert told == {
        "cell/0": {
            "state": "inactive",
            "round": 7,
            "task": "train",
            "fraction": 0.0,
            "worker": "ann",
        },
        "cell/1": {
            "state": "processing",
            "round": 7,
            "task": "fitness",
            "fraction": 0.333,
            "worker": "bob",
        },
        "cell/10": {
            "state": "finished",
            "round": 3,
            "task": "train",
            "fraction": 1.0,
            "worker": "bob",
        },
        "cell/2": {
            "state": "inactive",
            "round": 8,
            "task": "train",
            "fraction": 0.0,
            "worker": "",
        },
    }
    assert json.loads(json.dumps(told)) == told


def test_progress_is_the_last_fraction_that_was_told():
    monitor, _ = play((0, sent()), (1, running()))
    for fraction in (0.25, 0.5, 1.0):
        monitor.take(running(fraction=fraction), 2)
        assert monitor.states()["cell/0"]["fraction"] == fraction
        assert monitor.states()["cell/0"]["state"] == "processing"
    monitor.take(running(0, B), 3)
    assert monitor.states()["cell/0"]["fraction"] == 0.0, "it has begun again elsewhere"
    monitor.take(reported(), 4)
    assert monitor.states()["cell/0"]["fraction"] == 1.0


def test_a_checkpoint_does_not_hide_what_a_slot_came_to():
    save = {"round": 0, "task": "save_states"}
    monitor, _ = play((0, sent(round=4)), (1, reported(round=4)), (2, sent(**save)))
    assert monitor.states()["cell/0"]["task"] == "save_states"
    monitor.take(reported(**save), 3)
    told = monitor.states()["cell/0"]
    assert (told["state"], told["round"], told["task"]) == ("finished", 4, "train")
    # at the very beginning there is nothing else to tell
    monitor, _ = play((0, sent(1, **save)), (1, reported(1, **save)))
    assert monitor.states()["cell/1"]["task"] == "save_states"


def test_nothing_is_known_of_tasks_that_were_not_sent():
    monitor, noticed = play((0, running()), (1, reported()), (2, dropped(1)), (3, None))
    assert monitor.states() == {}
    assert noticed == Noticed()


# ---- delays


@pytest.mark.parametrize(
    ("seconds", "taken", "settings", "delayed"),
    [
        # the factor: more than it, not as much
        ((4, 4), 12.0, {}, False),
        ((4, 4), 12.1, {}, True),
        ((10, 10), 15.0, {"delay_factor": 1.5}, False),
        ((10, 10), 15.1, {"delay_factor": 1.5}, True),
        # of the median, not the mean
        ((1, 1, 100), 10.0, {}, True),
        ((1, 100, 100), 200.0, {}, False),
        ((2, 4), 9.0, {"delay_minimum": 0}, False),
        ((2, 4), 9.1, {"delay_minimum": 0}, True),
        # never before some seconds
        ((1, 1), 9.9, {}, False),
        ((1, 1), 10.0, {}, True),
        ((1, 1), 10.0, {"delay_minimum": 20}, False),
        ((0.1, 0.1), 0.4, {"delay_minimum": 0}, True),
        # of one peer, or none, nothing can be said
        ((), 1e6, {}, False),
        ((1,), 1e6, {}, False),
        ((1, 1), 1e6, {}, True),
    ],
)
@pytest.mark.parametrize("where", [BOTH, None], ids=["on workers", "in process"])
def test_a_task_is_delayed_by_the_median_of_its_peers(seconds, taken, settings, delayed, where):
    story = [*peers(*seconds), (1000, sent()), (2000, running()), (2000 + taken, where)]
    monitor, noticed = play(*story, **settings)
    assert bool(noticed.delayed) == delayed
    assert bool(said(noticed)) == delayed
    assert monitor.states()["cell/0"]["state"] == ("delayed" if delayed else "processing")


def test_why_a_task_is_delayed_is_told():
    late = running(fraction=0.2, round=3)
    _, noticed = play(*peers(2, 3, 9), (100, sent(round=3)), (100, late), (120, BOTH))
    assert noticed.delayed == [late]
    (event,) = [event for event in noticed.events if event.kind != "worker joined"]
    assert (event.kind, event.slot, event.round) == ("delayed", "cell/0", 3)
    assert event.detail == "train has run for 20 s, its peers' median 3.0"
    assert event.machine


def test_a_task_is_delayed_only_once():
    story = [*peers(1, 1), (100, sent()), (100, running())]
    looks = [(now, BOTH) for now in (110, 120, 200)]
    more = [(210, running(fraction=0.5)), (220, BOTH)]
    _, noticed = play(*story, *looks, *more)
    assert len(noticed.delayed) == len(said(noticed, "delayed")) == 1


def test_elsewhere_a_task_gets_its_time_anew():
    story = [*peers(1, 1), (100, sent()), (100, running()), (120, BOTH)]
    moved = [*story, (121, workers(B)), (125, running(0, B)), (134, workers(B))]
    monitor, noticed = play(*moved)
    assert len(noticed.delayed) == 1
    assert monitor.states()["cell/0"]["state"] == "processing"
    monitor, noticed = play(*moved, (135, workers(B)))
    assert [late.worker for late in noticed.delayed] == [A, B]
    assert monitor.states()["cell/0"]["state"] == "delayed"


def test_a_task_that_runs_anew_is_not_delayed_by_where_it_ran_before():
    """Another worker has taken it between two looks, and the first has not left yet."""
    story = [*peers(1, 1), (100, sent()), (100, running()), (105, running(0, B))]
    assert play(*story, (114, BOTH))[1].delayed == []
    assert [late.worker for late in play(*story, (115, BOTH))[1].delayed] == [B]


def test_telling_its_progress_gives_a_task_no_more_time():
    story = [*peers(1, 1), (100, sent())]
    story += [(100 + second, running(fraction=second / 20)) for second in range(12)]
    _, noticed = play(*story, (111, BOTH))
    assert len(noticed.delayed) == 1


@pytest.mark.parametrize("state", ["inactive", "lost", "finished"])
def test_only_a_task_that_runs_is_delayed(state):
    story = {
        "inactive": [(100, sent())],
        "lost": [(100, BOTH), (100, sent()), (100, running()), (105, workers(B))],
        "finished": [(100, sent()), (100, running()), (101, reported())],
    }
    monitor, noticed = play(*peers(1, 1), *story[state], (1e6, workers(B)))
    assert noticed.delayed == []
    assert monitor.states()["cell/0"]["state"] == state


def test_a_task_that_ended_before_it_is_reported_is_not_delayed():
    """It was sent with others, and its report waits for theirs."""
    story = [*peers(1, 1), (100, BOTH), (100, sent()), (100, sent(1))]
    story += [(100, running()), (102, ended()), (102, running(1))]
    monitor, noticed = play(*story, (109, BOTH))
    assert noticed.delayed == []
    told = monitor.states()
    assert (told["cell/0"]["state"], told["cell/0"]["fraction"]) == ("processing", 1.0)
    assert list(monitor.durations["train"]) == [1, 1, 2]
    monitor, noticed = play(*story, (200, BOTH), (201, reported()), (201, reported(1)))
    assert [late.slot for late in noticed.delayed] == ["cell/1"]
    # it took as long as it ran, however long its report waited
    assert list(monitor.durations["train"]) == [1, 1, 2, 99]
    assert monitor.states()["cell/0"]["state"] == "finished"


# the worker of the first had a task that was hedged and never ends; then it is sent another
BLOCKED = [
    *((now + 100, step) for now, step in peers(1, 1)),
    (110, BOTH),
    (110, sent()),
    (110, running()),
    (125, sent(0, B, copy="'")),
    (125, running(0, B, copy="'")),
    (126, reported(copy="'")),
    (126, dropped()),
    (130, sent(round=2)),
]


@pytest.mark.parametrize(
    ("between", "now", "known", "delayed"),
    [
        ([], 139.9, BOTH, False),
        ([], 140, BOTH, True),
        # what was dropped may go on for long, and does not count
        ([(138, running(fraction=0.5))], 140, BOTH, True),
        # another task runs there, or did so of late
        ([(135, sent(1)), (136, running(1))], 145, BOTH, False),
        ([(135, sent(1)), (136, running(1)), (137, reported(1))], 146.9, BOTH, False),
        ([(135, sent(1)), (136, running(1)), (137, reported(1))], 147, BOTH, True),
        # nothing is known of the worker
        ([], 1e6, None, True),
        ([], 1e6, workers(B), False),
    ],
)
def test_a_task_is_delayed_by_a_worker_that_begins_nothing(between, now, known, delayed):
    _, noticed = play(*BLOCKED, *between, (now, known))
    assert bool(noticed.delayed) == delayed
    if delayed:
        (event,) = said(noticed, "delayed")
        assert event[2].startswith("train has waited ")
        assert event[2].endswith(" s for worker ann, idle or stuck")


def test_a_worker_that_has_not_begun_yet_is_given_time():
    _, noticed = play(*peers(1, 1), (100, BOTH), (100, sent(0, B)), (1e6, BOTH))
    assert noticed.delayed == []


def test_peers_are_tasks_of_the_same_name():
    story = [*peers(100, 100), *peers(1, 1, task="fitness"), (500, sent()), (500, running())]
    _, noticed = play(*story, (600, BOTH))
    assert noticed.delayed == []
    _, noticed = play(
        *story,
        (500, sent(1, task="fitness")),
        (500, running(1, task="fitness")),
        (600, BOTH),
    )
    assert [late.slot for late in noticed.delayed] == ["cell/1"]


def test_peers_of_long_ago_are_forgotten():
    story = [*peers(*[1] * 1000), *peers(*[100] * PEERS), (500, sent()), (500, running())]
    monitor, noticed = play(*story, (800, BOTH))
    assert noticed.delayed == []
    assert list(monitor.durations["train"]) == [100] * PEERS


def test_a_copy_that_was_dropped_does_not_count():
    """Neither as a peer, nor as what its slot came to; nor is it watched any more."""
    hedged = [(0, sent()), (0, running()), (50, sent(0, B, copy="'"))]
    hedged += [(50, running(0, B, copy="'")), (52, reported(copy="'")), (52, dropped())]
    monitor, noticed = play(*hedged, (1e6, BOTH))
    assert list(monitor.durations["train"]) == [2]
    assert monitor.tasks == {}
    assert monitor.states()["cell/0"]["worker"] == "bob"
    assert said(noticed, "recomputed") == said(noticed, "delayed") == []


def test_a_copy_that_was_dropped_goes_on_without_being_noticed():
    hedged = [(0, BOTH), (0, sent()), (0, running()), (50, sent(0, B, copy="'"))]
    over = [(51, reported(copy="'")), (51, dropped()), (60, running()), (60, running())]
    monitor, noticed = play(*hedged, *over, (61, BOTH))
    assert said(noticed) == []
    assert monitor.states()["cell/0"]["state"] == "finished"


@pytest.mark.parametrize("left", [True, False])
def test_a_slot_has_moved_only_if_its_worker_is_gone(left):
    """One that was taken by a worker with nothing to do, or performed twice, has not."""
    story = [(0, BOTH), (0, sent()), (0, running()), (1, workers(B) if left else BOTH)]
    _, noticed = play(*story, (2, running(0, B)), (3, workers(B) if left else BOTH))
    assert said(noticed, "moved") == [("moved", "cell/0", "ann to bob")] * left


# ---- silence


@pytest.mark.parametrize(
    ("silence", "delayed", "silent"),
    [
        (0.0, [], []),
        (30.0, [], []),
        (30.1, ["cell/0"], []),
        (60.0, ["cell/0"], []),
        (60.1, ["cell/0"], [A]),
        (1e6, ["cell/0"], [A]),
    ],
)
def test_a_worker_that_is_silent_delays_its_slots_and_is_given_up(silence, delayed, silent):
    story = [(0, BOTH), (0, sent(0)), (0, sent(1, B)), (0, sent(2)), (1, running(0))]
    story += [(1, running(1, B)), (2, workers(A, B, ann=silence))]
    _, noticed = play(*story)
    assert [late.slot for late in noticed.delayed] == delayed, "cell 1 is elsewhere, cell 2 waits"
    assert noticed.silent == silent
    told = [("worker silent", "", f"ann: {silence:.0f} s, given up")] if silent else []
    late = f"worker ann was not heard from for {silence:.0f} s"
    told += [("delayed", slot, late) for slot in delayed]
    assert said(noticed) == told


def test_silence_is_a_setting():
    story = [(0, BOTH), (0, sent()), (1, running()), (2, workers(A, B, ann=4.0))]
    _, noticed = play(*story, lost_after=6)
    assert (len(noticed.delayed), noticed.silent) == (1, [])
    _, noticed = play(*story, lost_after=3)
    assert (len(noticed.delayed), noticed.silent) == (1, [A])


def test_a_silent_worker_delays_a_slot_only_once():
    story = [(0, BOTH), (0, sent()), (1, running())]
    story += [(now, workers(A, B, ann=now)) for now in (31.0, 40.0, 59.0)]
    _, noticed = play(*story)
    assert len(noticed.delayed) == 1
    assert noticed.silent == []


def test_a_silent_worker_is_given_up_once():
    story = [(now, workers(A, B, ann=now)) for now in (61.0, 62.0, 63.0)]
    _, noticed = play(*story)
    assert len(noticed.silent) == len(said(noticed, "worker silent")) == 1


@pytest.mark.parametrize(("stuck", "given_up"), [(0.0, False), (60.0, False), (60.1, True)])
def test_a_worker_with_full_memory_is_told_and_given_up(stuck, given_up):
    full = BOTH | {A: Heard("ann", 0.0, stuck)}
    _, noticed = play((0, BOTH), (0, sent(0)), (2, full), (3, full))
    assert noticed.silent == [A] * given_up
    told = ["ann: its memory is all but full, and it begins no task"]
    told += ["ann: 60 s, given up"] * given_up
    assert said(noticed, "worker paused") == [("worker paused", "", detail) for detail in told]


def test_a_worker_with_full_memory_is_kept_where_nothing_waits_and_told_of_again():
    full = BOTH | {A: Heard("ann", 0.0, 100.0)}
    flapping = [(1, full), (2, BOTH), (3, full), (4, BOTH)]
    _, noticed = play((0, BOTH), *flapping, (5, sent(round=2)), (6, reported(round=2)), *flapping)
    assert noticed.silent == []
    assert len(said(noticed, "worker paused")) == 2, "once a round"


# ---- workers that come and go


def test_workers_that_join_and_leave_are_noticed():
    three = workers(A, B) | {"tcp://3": Heard("carol", 0.0)}
    monitor = Monitor(Heartbeat())
    monitor.take(sent(round=4), 0)
    looks = [BOTH, BOTH, three, workers(B), workers(A, B), {}]
    told = [
        sorted(
            (event.kind, event.slot, event.detail) for event in looked(monitor, now, look).events
        )
        for now, look in enumerate(looks)
    ]
    assert told == [
        [("worker joined", "", "ann"), ("worker joined", "", "bob")],
        [],
        [("worker joined", "", "carol")],
        [
            ("lost", "cell/0", "worker ann"),
            ("worker left", "", "ann"),
            ("worker left", "", "carol"),
        ],
        [("worker joined", "", "ann")],
        [
            ("waiting", "", "there is no worker"),
            ("worker left", "", "ann"),
            ("worker left", "", "bob"),
        ],
    ]


def test_events_tell_the_round_and_that_the_machine_did_it():
    story = [(0, sent(0, round=4)), (0, sent(1, round=6)), (0, sent(2, round=5))]
    story += [(1, BOTH), (1, running(1, A, round=6)), (2, workers(B)), (3, running(1, B, round=6))]
    _, noticed = play(*story, (4, {}))
    rounds = [(event.kind, event.slot, event.round) for event in noticed.events]
    assert sorted(rounds) == [
        ("lost", "cell/0", 4),
        ("lost", "cell/1", 6),
        ("lost", "cell/1", 6),
        ("lost", "cell/2", 5),
        ("moved", "cell/1", 6),
        ("waiting", "", 6),
        ("worker joined", "", 6),
        ("worker joined", "", 6),
        ("worker left", "", 6),
        ("worker left", "", 6),
    ]
    assert all(event.machine for event in noticed.events)


def test_of_workers_that_cannot_be_asked_nothing_is_concluded():
    story = [(0, BOTH), (0, sent()), (1, running()), (2, None), (3, None), (4, BOTH)]
    monitor, noticed = play(*story)
    assert said(noticed) == []
    assert len(said(noticed, "worker joined")) == 2
    assert monitor.states()["cell/0"]["state"] == "processing"
    # what left meanwhile is noticed afterwards
    monitor, noticed = play(*story[:-1], (4, workers(B)))
    assert said(noticed) == [("worker left", "", "ann"), ("lost", "cell/0", "worker ann")]


def test_a_slot_whose_worker_left_is_lost_and_moves():
    story = [(0, BOTH), (0, sent(0)), (0, sent(1, B)), (1, running(0)), (1, running(1, B))]
    story += [(2, workers(B)), (3, workers(B))]
    monitor, noticed = play(*story)
    assert said(noticed) == [("worker left", "", "ann"), ("lost", "cell/0", "worker ann")]
    assert monitor.states()["cell/0"]["state"] == "lost"
    monitor, noticed = play(*story, (4, running(0, B)), (5, workers(B)))
    assert said(noticed)[2:] == [("moved", "cell/0", "ann to bob")]
    assert monitor.states()["cell/0"]["worker"] == "bob"
    assert monitor.states()["cell/0"]["state"] == "processing"
    # once
    _, noticed = play(*story, (4, running(0, B)), (5, running(0, B, fraction=0.5)), (6, BOTH))
    assert len(said(noticed, "moved")) == 1


def test_a_slot_that_goes_on_elsewhere_has_moved():
    story = [(0, BOTH), (0, sent(0)), (1, running(0)), (2, reported(0))]
    story += [(3, workers(B)), (3, sent(0, B, round=2)), (4, running(0, B, round=2))]
    _, noticed = play(*story, (5, workers(B)))
    assert said(noticed) == [("worker left", "", "ann"), ("moved", "cell/0", "ann to bob")]
    assert noticed.events[-1].round == 2


def test_a_slot_that_begins_has_not_moved():
    _, noticed = play((0, BOTH), (0, sent(0, A)), (1, running(0, B)), (2, BOTH))
    assert said(noticed) == []


def test_without_workers_a_run_waits():
    waiting = ("waiting", "", "there is no worker")
    for story in ([(0, sent())], [(0, BOTH), (0, sent())]):
        _, noticed = play(*story, (1, {}), (2, {}), (3, {}))
        assert said(noticed).count(waiting) == 1
    _, noticed = play((0, BOTH), (1, {}), (2, workers(A)))
    assert said(noticed, "waiting") == [], "there is nothing to do"
    _, noticed = play((0, sent()), (1, {}), (2, workers(A)), (3, {}))
    assert said(noticed, "waiting") == [waiting] * 2


def test_a_run_that_begins_without_workers_waits():
    _, noticed = play((0, {}), (1, sent(0, "")), (2, {}), (3, {}))
    assert said(noticed) == [("waiting", "", "there is no worker")]


# ---- what is computed again


@pytest.mark.parametrize(
    ("between", "again", "expected"),
    [
        ([], running(), 1),
        ([(3, signal("saved"))], running(), 0),  # what a checkpoint holds never runs again
        ([], running(fraction=0.5), 0),  # that it goes on was told when it began
        ([], running(round=2), 0),  # has not reported
        ([], running(1), 0),
        ([(3, sent(round=2))], running(round=2), 0),
    ],
)
def test_what_had_reported_and_runs_again_is_recomputed(between, again, expected):
    story = [(0, sent()), (1, running()), (2, reported()), *between]
    _, noticed = play(*story, (5, again), (6, BOTH))
    assert said(noticed) == [("recomputed", "cell/0", "train")] * expected


def test_preparing_again_is_not_told():
    prepare = {"round": 0, "task": "load_states"}
    story = [(0, sent(**prepare)), (1, running(**prepare)), (2, reported(**prepare))]
    _, noticed = play(*story, (3, running(**prepare)), (4, BOTH))
    assert said(noticed) == []


def test_after_a_checkpoint_it_begins_anew():
    story = [(0, sent()), (1, reported()), (2, signal("saved"))]
    story += [(3, sent(round=2)), (4, reported(round=2)), (5, running()), (6, running(round=2))]
    _, noticed = play(*story, (7, BOTH))
    assert [(event.kind, event.round) for event in noticed.events if event.slot] == [
        ("recomputed", 2)
    ]


def test_what_is_recomputed_is_no_peer():
    story = [(0, sent()), (1, running()), (3, reported()), (10, running()), (90, reported())]
    monitor, _ = play(*story)
    assert list(monitor.durations["train"]) == [2]


def test_what_was_noticed_is_given_once():
    monitor = Monitor(Heartbeat())
    looked(monitor, 0, BOTH)
    monitor.take(sent(), 0)
    monitor.take(running(), 1)
    found = looked(monitor, 3, workers(B)).events
    assert sorted(event.kind for event in found) == ["lost", "worker left"]
    assert looked(monitor, 4, workers(B)) == Noticed()


# ---- settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("interval", 0),
        ("interval", -1),
        ("interval", 30.1),
        ("delay_factor", 1),
        ("delay_factor", 0),
        ("delay_minimum", -0.1),
        ("lost_after", 0),
        ("lost_after", float("inf")),
        ("lost_after", float("nan")),
        ("interval", "1 s"),
        ("interval", None),
        ("hedge", 1),
        ("hedge", "yes"),
    ],
)
def test_settings_out_of_bounds_are_refused(key, value):
    with pytest.raises(SettingError, match=rf"{key}=.*: expected"):
        Heartbeat(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("interval", 30),
        ("interval", 1e-3),
        ("delay_factor", 1.01),
        ("delay_minimum", 0),
        ("lost_after", 0.1),
        ("hedge", True),
    ],
)
def test_settings_within_bounds_are_taken(key, value):
    assert getattr(Heartbeat(**{key: value}), key) == value


def test_a_misspelt_setting_is_refused_with_a_suggestion():
    with pytest.raises(SettingError, match="did you mean 'lost_after'"):
        Heartbeat(lost_afer=3)
    with pytest.raises(SettingError, match="by name only"):
        Heartbeat(1.0)


def test_settings_are_described():
    for name in ("interval", "delay_factor", "delay_minimum", "lost_after", "hedge"):
        assert f"\n{name} : default " in Heartbeat.__doc__
    assert "at least 0.001 and at most 30" in Heartbeat.__doc__


# ---- the thread

SOON, NEVER = 0.005, 30  # seconds between two looks
PATIENCE = 30  # seconds until a test fails


@pytest.fixture
def heard():
    """What a watch is given: queues of what it wrote, and of how often it nudged."""
    return SimpleNamespace(writes=queue.Queue(), nudges=queue.Queue(), given_up=queue.Queue())


def place(heard, hear=lambda: None):
    return SimpleNamespace(
        hear=hear,
        happened=list,
        nudge=lambda: heard.nudges.put(None),
        give_up=heard.given_up.put,
    )


def over(watch, heard, hear=lambda: None):
    return watch.over(place(heard, hear), heard.writes.put)


def next_write(heard):
    return heard.writes.get(timeout=PATIENCE)


def until(heard, done):
    """Wait until something was written."""
    while not done(told := next_write(heard)):
        pass
    return told


def drained(queue):
    return [queue.get() for _ in range(queue.qsize())]


def test_a_watch_writes_what_slots_do(heard):
    watch = Watch(Heartbeat(interval=SOON))
    with over(watch, heard):
        assert next_write(heard) == {"round": 0, "slots": {}}
        watch.tell(sent(round=5))
        watch.tell(running(round=5, fraction=0.5))
        told = until(heard, lambda told: told["slots"])
        assert told["round"] == 5
        told = until(heard, lambda told: told["slots"]["cell/0"]["state"] == "processing")
        assert told["slots"]["cell/0"]["fraction"] == 0.5
    assert watch.noticed.empty()
    assert heard.nudges.empty(), "nothing happened"


def test_a_watch_looks_from_a_thread_of_its_own_which_ends(heard):
    threads = []

    def hear():
        threads.append(threading.current_thread())

    with over(Watch(Heartbeat(interval=SOON)), heard, hear):
        next_write(heard)
        next_write(heard)
    (thread,) = {*threads[:-1]}
    assert thread is not threading.current_thread()
    assert thread.daemon, "it never keeps a client from exiting"
    assert not thread.is_alive()
    assert threads[-1] is threading.current_thread(), "the last look"


def test_a_watch_goes_on_after_whatever_went_wrong(heard, caplog):
    looks = []

    def hear():
        looks.append(True)
        if len(looks) == 2:
            raise RuntimeError("nobody thought of this")

    with over(Watch(Heartbeat(interval=SOON)), heard, hear):
        for _ in range(3):
            next_write(heard)
    assert len(looks) >= 4
    assert "nobody thought of this" in caplog.text


def test_a_watch_does_not_look_more_often_than_it_is_told_to(heard):
    """Its end does not wait for the next look; and there is one more then, at what came last."""
    watch = Watch(Heartbeat(interval=NEVER))
    begun = time.monotonic()
    with over(watch, heard, lambda: BOTH):
        next_write(heard)
        watch.tell(sent())
        watch.tell(running())
        watch.tell(reported())
    assert time.monotonic() - begun < NEVER / 2
    (last,) = drained(heard.writes)
    assert last["slots"]["cell/0"]["state"] == "finished"


def test_the_last_look_is_taken_up_too(heard):
    watch, found = Watch(Heartbeat(interval=NEVER)), [BOTH]
    with over(watch, heard, lambda: found[0]):
        heard.nudges.get(timeout=PATIENCE)
        watch.tell(sent())
        found[0] = workers(B)
    assert (heard.nudges.qsize(), watch.noticed.qsize()) == (1, 2)
    assert said(drained(watch.noticed)[1]) == [
        ("worker left", "", "ann"),
        ("lost", "cell/0", "worker ann"),
    ]
    assert drained(heard.given_up) == []


def test_a_watch_gives_up_silent_workers(heard):
    watch, found = Watch(Heartbeat(interval=SOON, lost_after=5)), [workers(A)]
    with over(watch, heard, lambda: found[0]):
        next_write(heard)
        assert heard.given_up.empty()
        found[0] = workers(A, ann=6.0)
        assert heard.given_up.get(timeout=PATIENCE) == A
        found[0] = workers(B)
        next_write(heard)
    assert heard.given_up.empty()


def test_a_watch_nudges_when_something_was_noticed(heard):
    watch, found = Watch(Heartbeat(interval=SOON)), [BOTH]
    with over(watch, heard, lambda: found[0]):
        heard.nudges.get(timeout=PATIENCE)
        joined = watch.noticed.get_nowait()
        assert sorted(said(joined, "worker joined")) == [
            ("worker joined", "", "ann"),
            ("worker joined", "", "bob"),
        ]
        drained(heard.writes)
        for _ in range(3):
            next_write(heard)
        assert heard.nudges.empty(), "nothing else happened"
        found[0] = workers(A, B, ann=61.0)
        heard.nudges.get(timeout=PATIENCE)
        assert watch.noticed.get_nowait().silent == [A]


@pytest.mark.parametrize("error", [OSError("no answer"), ClusterError("it is gone")])
def test_a_watch_survives_a_scheduler_that_does_not_answer(heard, error):
    watch, asked = Watch(Heartbeat(interval=SOON)), []

    def hear():
        asked.append(None)
        if len(asked) < 4:
            raise error
        return BOTH

    with over(watch, heard, hear):
        watch.tell(sent(round=2))
        until(heard, lambda told: told["slots"])  # it goes on writing
        heard.nudges.get(timeout=PATIENCE)
        assert len(said(watch.noticed.get_nowait(), "worker joined")) == 2
    assert len(asked) >= 4


def test_a_watch_writes_before_it_asks_a_scheduler_that_may_be_silent_for_long(heard):
    """By what it writes, another host knows that the run is alive."""
    answer, written = threading.Event(), []

    def hear():
        written.append(heard.writes.qsize())
        answer.wait(PATIENCE)

    with over(Watch(Heartbeat(interval=SOON)), heard, hear):
        next_write(heard)
        answer.set()
        next_write(heard)
    assert written[0] <= 1
    assert heard.writes.qsize() >= 1, "and what came last"


def test_a_watch_ends_with_what_it_watches_over(heard):
    threads = []

    def hear():
        threads.append(threading.current_thread())

    def fail():
        with over(Watch(Heartbeat(interval=NEVER)), heard, hear):
            next_write(heard)
            raise ZeroDivisionError("by hand")

    with pytest.raises(ZeroDivisionError, match="by hand"):
        fail()
    assert not threads[0].is_alive()


def test_a_watch_does_not_end_late_because_of_a_scheduler_that_is_gone(heard, monkeypatch):
    asked, answer, patience = threading.Event(), threading.Event(), []

    class Hanging(threading.Thread):
        def join(self, timeout=None):
            patience.append(timeout)
            super().join(0.01)

    def hear():
        asked.set()
        answer.wait(PATIENCE)

    def fail():
        with over(Watch(Heartbeat(interval=NEVER)), heard, hear):
            asked.wait(PATIENCE)
            raise ClusterError("it is gone")

    monkeypatch.setattr(threading, "Thread", Hanging)
    with pytest.raises(ClusterError, match="it is gone"):
        fail()
    answer.set()
    assert 0 < patience[0] <= 10


def test_a_watch_needs_nowhere_to_write(heard):
    watch = Watch(Heartbeat(interval=NEVER))
    with watch.over(place(heard, lambda: BOTH), None):
        watch.tell(sent())
    assert watch.monitor.states()["cell/0"]["state"] == "inactive"
    assert heard.nudges.qsize() == 1


def test_a_signal_has_the_time_at_which_it_was_so(monkeypatch):
    monkeypatch.setattr(heartbeat, "time", SimpleNamespace(monotonic=lambda: 100.0))
    watch = Watch(Heartbeat())
    watch.tell(sent())
    watch.tell(dataclasses.replace(running(), age=2.5))
    assert [watch.signals.get() for _ in range(2)] == [
        (sent(), 100.0),
        (dataclasses.replace(running(), age=2.5), 97.5),
    ]


def test_a_signal_has_the_time_it_was_told_at_not_the_time_of_the_look(heard, monkeypatch):
    now = SimpleNamespace(monotonic=lambda: now.time, perf_counter=time.perf_counter, time=0.0)
    monkeypatch.setattr(heartbeat, "time", now)
    watch = Watch(Heartbeat(interval=NEVER))
    with over(watch, heard):
        next_write(heard)
        for now.time, told in ((1.0, sent()), (5.0, running()), (8.5, reported())):
            watch.tell(told)
        now.time = 100.0
    assert list(watch.monitor.durations["train"]) == [3.5]


def test_a_look_that_takes_long_is_not_taken_often(heard, monkeypatch):
    """Of a client's time, looking at thousands of slots takes a twentieth at most."""
    clock = SimpleNamespace(time=0.0)

    def perf_counter():
        return clock.time

    def hear():
        clock.time += 0.5

    waits = []

    class Ending(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            return len(waits) > 3 or super().wait(0)

    monkeypatch.setattr(
        heartbeat, "time", SimpleNamespace(monotonic=time.monotonic, perf_counter=perf_counter)
    )
    monkeypatch.setattr(
        heartbeat, "threading", SimpleNamespace(Event=Ending, Thread=threading.Thread)
    )
    with over(Watch(Heartbeat(interval=1)), heard, hear):
        for _ in range(3):
            next_write(heard)
    assert waits[:4] == [0.0, 10.0, 10.0, 10.0]
