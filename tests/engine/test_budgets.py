"""Runs that end early: as those that were asked for no more, wherever that is told."""

import time

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import tiny

import gandask as gd
from gandask.__main__ import main
from gandask.core import SettingError
from gandask.methods.testing import Toy, assert_same
from gandask.store import Store

LONG = {
    "grid": {"rounds": 9},
    "mggan": {"iterations": 90},
    "bpgan": {"iterations": 90},
    "data_parallel": {"iterations": 90},
    "toy": {"rounds": 9},
}
STILL = Toy(rate=0.0, rounds=9)
"""It never comes closer."""


def quiet(method, **options):
    return gd.run(method, progress=False, **options)


def ended(store):
    return [event for event in Store.open(store).noted() if event.kind == "ended early"]


@pytest.mark.parametrize("name", LONG)
def test_it_is_the_run_that_was_asked_for_no_more(name, tmp_path):
    method = tiny(name, **LONG[name])
    found = quiet(method, store=tmp_path / "run", max_seconds=1e-9)
    run = gd.open_run(tmp_path / "run")
    assert run.state == "finished"
    assert run.method.rounds < method.rounds
    assert run.method == method.ended(1)
    assert_same(found, quiet(run.method))
    assert_same(run.ds, found)
    (event,) = ended(tmp_path / "run")
    assert "max_seconds=1e-09" in event.detail
    assert_same(found, quiet(method, max_seconds=1e-9))  # without a store, too


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_counts_rounds_without_a_better_score(tmp_path, patience):
    found = quiet(STILL, store=tmp_path / "run", patience=patience)
    best = int(np.argmin(found.distance.min("node").values)) + 1
    assert found.sizes["round"] == best + patience < 9
    assert f"since round {best}" in ended(tmp_path / "run")[0].detail
    earlier = quiet(STILL).distance.min("node").values[: best + patience]
    assert (np.diff(np.minimum.accumulate(earlier)) < 0).any() == (best > 1)


def test_slots_at_their_own_pace_all_come_to_the_last_round_begun(clients):
    method = Toy(rounds=500, sleep=0.02)
    found = quiet(method, client=clients[2], synchronous=False, max_seconds=0.2)
    assert 0 < found.sizes["round"] < 500
    assert not found.distance.isnull().any()


def test_who_resumes_it_comes_to_the_same(tmp_path):
    def killed(view, records):
        if view.round == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quiet(STILL, store=tmp_path / "run", patience=4, on_step=killed, checkpoint_every=1)
    found = quiet(STILL, store=tmp_path / "run", resume=True)
    assert_same(found, quiet(STILL, patience=4))
    assert 3 < found.sizes["round"] < 9


def test_who_resumes_it_after_the_end_was_decided_comes_to_the_same(tmp_path):
    def killed(view, records):
        if view.round == 3:
            raise KeyboardInterrupt

    method, store = tiny(rounds=9), tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        quiet(method, store=store, patience=2, on_step=killed, checkpoint_every=1)
    if not ended(store):  # the score may have fallen in each of three rounds
        pytest.fail("choose another seed")
    found = quiet(method, store=store, resume=True)
    assert_same(found, quiet(tiny(rounds=found.sizes["round"])))


def test_seconds_before_count_and_pauses_do_not(tmp_path):
    store = tmp_path / "run"

    def killed(view, records):
        if view.round == 2:
            time.sleep(0.5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quiet(Toy(rounds=9, sleep=0.1), store=store, max_seconds=100, on_step=killed)
    found = quiet(Toy(rounds=9, sleep=0.1), store=store, resume=True, max_seconds=0.15)
    assert found.sizes["round"] < 9
    assert len(ended(store)) == 1


def test_who_extends_it_has_no_budget_but_the_one_given(tmp_path):
    quiet(STILL, store=tmp_path / "run", patience=1)
    longer = Toy(rate=0.0, rounds=7)
    assert_same(quiet(longer, store=tmp_path / "run", extend=True), quiet(longer))


@pytest.mark.parametrize(
    ("method", "given", "told"),
    [
        (Toy(), {"max_seconds": 0}, "more than 0"),
        (Toy(), {"max_seconds": float("nan")}, "more than 0"),
        (Toy(), {"patience": 0}, "at least 1"),
        (tiny(score_samples=0), {"patience": 2}, "score_samples"),
        (tiny("per_label"), {"max_seconds": 9}, "no setting rounds"),
        (tiny("mggan", interval="adaptive"), {"max_seconds": 9}, "adaptive"),
    ],
)
def test_what_cannot_end_it_is_refused_before_anything_starts(tmp_path, method, given, told):
    with pytest.raises(SettingError, match=told):
        quiet(method, store=tmp_path / "run", **given)
    assert not (tmp_path / "run").exists()


def test_the_shell_has_both(tmp_path):
    store = str(tmp_path / "run")
    order = ["train", "ring8", "--store", store, "--max-seconds", "0.001"]
    for setting in ("rounds=50", "shape=[1,2]", "data_fraction=0.1", "final_samples=100"):
        order += ["--set", setting]
    answer = CliRunner().invoke(main, order)
    assert answer.exit_code == 0, answer.output
    assert gd.open_run(store).method.rounds < 50
    assert "ended early" in CliRunner().invoke(main, ["show", store]).output
