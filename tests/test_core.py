import time

import numpy as np
import pytest

from gandask.core import (
    StoreError,
    TaskError,
    perform,
    progress,
    rng,
    routine,
    seed_sequence,
    torch_seed,
)


def double(state, *, extra):
    with routine("train"):
        time.sleep(0.02)
    return ({"w": state["w"] * 2},), {"extra": extra}


def run(function, *states, writes=("cell/0/a",), **arguments):
    return perform(function, "cell/0", 4, writes, arguments, *states, seed=7, worker="w1")


def test_perform_returns_states_and_a_report():
    state = {"w": np.arange(3.0)}
    (written,), report = run(double, state, extra=5)
    np.testing.assert_array_equal(written["w"], [0, 2, 4])
    assert (report.slot, report.round, report.values) == ("cell/0", 4, {"extra": 5})
    assert report.worker == "w1"
    assert abs(report.started - time.time()) < 60


def test_seconds_by_routine_add_up_to_the_task():
    def nested(*, pause):
        with routine("train"):
            time.sleep(pause)
        with routine("train"):
            time.sleep(pause)
        time.sleep(pause)
        return (), {}

    begun = time.perf_counter()
    _, report = run(nested, writes=(), pause=0.02)
    whole = time.perf_counter() - begun
    assert report.seconds["train"] >= 0.04
    assert report.seconds["other"] >= 0.02
    assert sum(report.seconds.values()) == pytest.approx(whole, rel=0.2)


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

    perform(count, "cell/0", 1, (), {"upto": 4}, seed=1, listener=heard.append)
    assert heard == [0, 0.25, 0.5, 0.75]
    progress(0.9)
    perform(count, "cell/0", 1, (), {"upto": 4}, seed=1)
    assert heard == [0, 0.25, 0.5, 0.75], "nobody listens outside, or to another task"


def test_a_wrong_number_of_states_is_refused():
    with pytest.raises(TaskError, match=r"returned 1 states for 2"):
        run(double, {"w": np.ones(1)}, writes=("a", "b"), extra=0)


def test_streams_differ_by_every_part_of_their_key():
    keys = [(1, 3, "cell/0", "a"), (2, 3, "cell/0", "a"), (1, 4, "cell/0", "a")]
    keys += [(1, 3, "cell/1", "a"), (1, 3, "cell/0", "b"), (1, 3, "cell/0")]
    draws = {tuple(seed_sequence(*key).generate_state(4)) for key in keys}
    assert len(draws) == len(keys)


def test_streams_are_reproducible():
    np.testing.assert_array_equal(rng(1, "x").normal(size=9), rng(1, "x").normal(size=9))


def test_torch_seeds_fit_torch():
    seeds = [torch_seed(1, number) for number in range(100)]
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    assert len(set(seeds)) == 100
