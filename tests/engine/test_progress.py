"""How far a run is: in a terminal, and in the log of a batch job."""

import logging

import pytest
from tqdm import tqdm

import gandask as gd
from gandask.engine import progress
from gandask.engine.progress import Bar, HowFar, LogLines
from gandask.methods.testing import Toy


@pytest.fixture(autouse=True)
def lines_are_logged(caplog):
    caplog.set_level(logging.INFO, "gandask")


def at(round, **more):
    return HowFar(4 * round, round, 120, ("fid", 50.0 - round), **more)


def test_a_line_every_half_minute_says_where_a_run_is(said):
    now = [1000.0]
    lines = LogLines(lambda: now[0])
    lines.begin(at(0))
    for round in range(1, 40):
        now[0] += 2.0
        lines.tell(at(round))
    assert said() == [
        "round 15 of 120 · fid 35 · 2 s a round · about 3 min 30 s left",
        "round 30 of 120 · fid 20 · 2 s a round · about 3 min 0 s left",
    ]


def test_what_was_done_before_says_nothing_of_the_pace(said):
    now = [0.0]
    lines = LogLines(lambda: now[0])
    lines.begin(at(100))
    now[0] = 40.0
    lines.tell(at(104))
    assert said() == ["round 104 of 120 · fid -54 · 10 s a round · about 2 min 40 s left"]


def test_a_long_round_has_no_pace_yet_and_the_end_no_time_left(said):
    now = [0.0]
    lines = LogLines(lambda: now[0])
    lines.begin(HowFar(0, 0, 1))
    now[0] = 31.0
    lines.tell(HowFar(1, 0, 1))
    now[0] = 33.0
    lines.tell(HowFar(2, 1, 1, ("fid", 4.0), over=True))
    assert said() == ["round 0 of 1", "round 1 of 1 · fid 4 · 2 s a round"]


def test_a_short_run_says_nothing(said):
    lines = LogLines(lambda: 0.0)
    lines.begin(at(0))
    lines.tell(at(120, over=True))
    assert said() == []


def test_a_bar_shows_the_score_and_begins_where_the_run_does(tmp_path):
    with (tmp_path / "terminal").open("w") as file:
        bar = Bar(tqdm(total=480, file=file, mininterval=0))
        bar.begin(at(100))
        assert (bar.drawn.n, bar.drawn.initial) == (400, 400)
        bar.tell(at(101))
        assert bar.drawn.n == 404
        bar.tell(at(103, over=True))
        assert bar.drawn.total == 412
        bar.drawn.close()
    assert "fid -51" in (tmp_path / "terminal").read_text()


def test_a_run_without_a_terminal_logs_where_it_is(said, monkeypatch, tmp_path):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    gd.run(Toy(nodes=2, rounds=3), store=tmp_path / "run")
    assert any(line.startswith("round 1 of 3 ·") and "a round" in line for line in said())
    before = len(said())
    gd.run(Toy(nodes=2, rounds=2), progress=False)
    assert not any(line.startswith("round 1 of 2") for line in said()[before:])
