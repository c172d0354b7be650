"""A run in one paragraph: sentences by what a Dataset says, and no others."""

import numpy as np
import pytest
import xarray as xr
from conftest import TINY, tiny

import gandask as gd
from gandask.core import NON_FINITE
from gandask.results import story


def dataset(values, better="lower", events=(), rounds=None, attrs=(), **variables):
    """A run of cells scored by round; events are (round, kind, slot) of the machine."""
    values = np.array(values, float)
    rounds = range(1, len(values) + 1) if rounds is None else rounds
    kinds = [kind for _, kind, _ in events]
    made = {
        "fid": (("round", "cell"), values, {"better": better, "samples": 100}),
        "event_round": ("event", np.array([at for at, *_ in events], int)),
        "event_kind": ("event", np.array(kinds, dtype=str)),
        "event_slot": ("event", np.array([slot for *_, slot in events], dtype=str)),
    }
    coords = {"round": [*rounds], "cell": range(values.shape[1] if values.ndim > 1 else 0)}
    return xr.Dataset(made | variables, coords, {"score": "fid", **dict(attrs)})


FALLING = [[90, 80], [40, 60], [30, 20]]


def test_a_fall_is_told_with_when_it_was_the_most_and_whose():
    assert story(dataset(FALLING)) == [
        "The best FID fell from 80 in round 1 to 20 in round 3, the most in round 2, from 80 to "
        "40: cell 0.",
        "So far cell 1 is best in round 3.",
    ]


def test_where_higher_is_better_it_rises():
    (told, *_) = story(dataset(FALLING[::-1], better="higher"))
    assert told == (
        "The best FID rose from 30 in round 1 to 90 in round 3, the most in round 2, from 30 to "
        "60: cell 1."
    )


def test_a_score_that_got_worse_again_says_what_its_best_was():
    (told, *_) = story(dataset([[50], [10], [60]]))
    assert told == (
        "The best FID rose from 50 in round 1 to 60 in round 3; it fell the most in round 2, from "
        "50 to 10: cell 0. Its best was 10, in round 2."
    )


def test_a_score_that_never_got_better_says_nothing_of_a_fall():
    (told, *_) = story(dataset([[50], [60], [70]]))
    assert told == (
        "The best FID rose from 50 in round 1 to 70 in round 3. Its best was 50, in round 1."
    )
    assert story(dataset([[5], [5]]))[0] == "The best FID was 5 in round 1 and again in round 2."


def test_rounds_between_that_were_not_scored_are_not_made_up():
    none = [np.nan]
    (told, *_) = story(dataset([none, [80], none, none, [30], [29]]))
    assert told == (
        "The best FID fell from 80 in round 2 to 29 in round 6, the most between rounds 2 and 5, "
        "from 80 to 30: cell 0."
    )


def test_one_round_that_was_scored():
    assert story(dataset([[7, 9]])) == [
        "The best FID was 7, in round 1.",
        "So far cell 0 is best in round 1.",
    ]


def test_without_rounds_or_scores():
    assert story(dataset(np.empty((0, 2)))) == ["No round is done yet."]
    assert story(dataset(np.empty((0, 2))), state="failed") == [
        "No round is done yet.",
        "It failed after 0 rounds.",
    ]
    assert story(dataset([[np.nan, np.nan]] * 3)) == ["No round was scored."]
    assert story(xr.Dataset()) == ["No round is done yet."]
    assert story(xr.Dataset({"loss": ("round", [1.0, 2.0])}, {"round": [1, 2]})) == []


def test_what_diverged_is_told():
    infinite = [[np.inf, np.inf]] * 2
    assert story(dataset(infinite))[0] == (
        "No FID was finite in any of the 2 rounds that were scored."
    )
    told = story(dataset([[9, np.inf], *infinite, [np.nan, 4]]))
    assert told[:2] == [
        "The best FID fell from 9 in round 1 to 4 in round 4.",
        "In 2 scored rounds no unit had a finite FID.",
    ]
    events = [(2, NON_FINITE, "cell/1"), (3, NON_FINITE, "cell/0")]
    told = story(dataset(FALLING, events=events))
    assert "Losses or weights were not finite 2 times, first in round 2 (cell/1)." in told


def test_the_winner_is_that_of_the_final_scores():
    final = ("cell", [21.0, 19.5], {"better": "lower", "samples": 5000, "final_of": "fid"})
    told = story(dataset(FALLING, final_fid=final))
    assert told[1] == "At the end cell 1 is best: FID 19.5 of 5,000 samples."
    whole = ((), 12.0, {"final_of": "mixture_fid", "long_name": "FID of all", "samples": 10})
    mixture = ("round", [3.0, 2.0, 1.0])
    told = story(dataset(FALLING, final_fid=final, final_mixture_fid=whole, mixture_fid=mixture))
    assert told[2] == "FID of all, 10 samples: 12."


def test_modes_that_are_lost_are_told():
    shares = np.full((3, 2, 4), 0.25)
    shares[2, 1, :3] = 0
    told = story(dataset(FALLING, mode_share=(("round", "cell", "class"), shares)))
    assert "In round 3, the best had samples on 1 of 4 modes; in round 1, on 4." in told


def worked(*names):
    return {"worker": (("round", "cell"), np.array([names] * 3))}


def test_workers_and_what_happened_to_tasks():
    told = story(dataset(FALLING, **worked("a", "b")))
    assert "2 workers did the work; none was lost, moved or delayed." in told
    events = [(1, "worker left", ""), (1, "lost", "cell/0"), (2, "moved", "cell/0")]
    events += [(2, "delayed", "cell/1"), (3, "moved", "cell/1")]
    told = story(dataset(FALLING, events=events, **worked("a", "b")))
    assert (
        "2 workers did the work; of workers, 1 left; of tasks, 1 lost with a worker, 2 moved to "
        "another, 1 delayed."
    ) in told
    assert not [one for one in story(dataset(FALLING, **worked("client", ""))) if "worker" in one]


def test_how_it_ended_and_what_was_asked():
    elapsed = (("round", "cell"), np.array([[10.0, 20], [30, 40], [50, 75]]))
    seconds = (("round", "cell", "routine"), np.full((3, 2, 2), [3.0, 1.0]))
    routine = np.array(["train", "score"])
    ds = dataset(FALLING, elapsed=elapsed, seconds=seconds).assign_coords(routine=routine)
    tail = "3 rounds in 1 min 15 s; 75% of the tasks' time went to train."
    assert story(ds, state="stopped")[-1] == f"It was stopped after {tail}"
    assert story(ds)[-1] == ("Its 3 rounds took 1 min 15 s; 75% of the tasks' time went to train.")
    events = [(1, "changed", ""), (2, "changed", ""), (2, "paused", "")]
    told = story(dataset(FALLING, events=events), state="running")
    assert told[-3:] == [
        "Settings were changed after rounds 1 and 2.",
        "It was paused after round 2.",
        "It is still running after 3 rounds.",
    ]


def test_what_a_method_tells_of_its_own_is_between():
    told = story(dataset(FALLING), ["One is left."], "finished")
    assert told[-2:] == ["One is left.", "It finished after 3 rounds."]


@pytest.mark.parametrize("name", TINY)
def test_every_method_tells_a_story_of_a_run_and_of_its_beginning(name):
    method = tiny(name)
    ds = gd.run(method)
    told = story(ds, method.sentences(ds), "finished")
    assert len(told) >= 3 and all(one[0].isupper() or one[0].isdigit() for one in told)
    assert all(one.endswith(".") for one in told)
    assert "nan" not in " ".join(told)
    for rounds in (0, 1):
        part = ds.isel(round=slice(rounds))
        assert story(part, method.sentences(part), "running")[-1].startswith("It is still running")


def test_the_founders_of_a_grid_and_the_regroupings_of_mggan_are_told():
    unit = ("round", "row", "col")
    parents = np.array([[[0, 0, 2]], [[0, 0, 0]]])
    replaced = np.array([[[0, 1, 0]], [[0, 0, 0]]], bool)
    made = {"generator_parent": (unit, parents), "generator_replaced": (unit, replaced)}
    coords = {"round": [1, 2], "row": [0], "col": [0, 1, 2]}
    assert gd.Grid().sentences(xr.Dataset(made, coords)) == [
        "Of 3 founders 2 are left, as various as 1.8 of equal shares: that of row 0, col 0 holds "
        "2 cells."
    ]
    made["generator_replaced"] = (unit, np.array([[[0, 1, 0]], [[0, 0, 1]]], bool))
    assert gd.Grid().sentences(xr.Dataset(made, coords)) == [
        "All 3 cells' generators descend from one founder, that of row 0, col 0, since round 2."
    ]
    made["generator_replaced"] = (unit, np.zeros((2, 1, 3), bool))
    assert gd.Grid().sentences(xr.Dataset(made, coords)) == []
    ds = gd.run(tiny("mggan"))
    assert gd.METHODS["mggan"]().sentences(ds) == [
        "Discriminators changed places 2 times, first after iteration 15 and last after 30."
    ]
