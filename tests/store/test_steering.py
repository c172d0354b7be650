"""Steering: what is asked of a run from outside happens, is told, and can be repeated exactly."""

import dataclasses
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import gandask as gd
from gandask import config
from gandask.core.files import write_whole
from gandask.engine.session import Session
from gandask.methods.testing import Toy
from gandask.store import Store
from gandask.store.steering import Command, steered

ROOT = Path(__file__).parents[2]


def wait_for(condition, seconds=30.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.01)


def events(ds, kind):
    """Round and detail of each event of a kind."""
    chosen = ds.isel(event=ds["event_kind"].values == kind)
    return list(
        zip(chosen["event_round"].values.tolist(), chosen["event_detail"].values, strict=True)
    )


class Asking:
    """Ask for something once a round is done, from within the run: no race with it."""

    def __init__(self, monkeypatch, path, **asked):
        self.asked = {
            int(round.removeprefix("after_")): commands for round, commands in asked.items()
        }
        self.path, self.decide = path, Session.decide
        monkeypatch.setattr(Session, "decide", self._patched())

    def _patched(self):
        def decide(session, reports, elapsed):
            told = self.decide(session, reports, elapsed)
            for command in self.asked.pop(session.view.round, ()):
                Store(self.path).ask(command)
            return told

        return decide


# ---- what a method may be given while it runs


def test_a_change_holds_from_the_next_round_on(grid):
    changed = steered(grid(rounds=9), {"neighbourhood": "moore", "mutation_scale": 0.5}, 3)
    assert changed.neighbourhood_schedule == {"4": "moore"}
    assert changed.mutation_scale_schedule == {"4": 0.5}
    assert (changed.neighbourhood, changed.mutation_scale) == ("cross", 1e-4)
    later = steered(changed, {"mutation_scale": 0}, 5)
    assert later.mutation_scale_schedule == {"4": 0.5, "6": 0.0}


@pytest.mark.parametrize(
    ("changes", "begun", "message"),
    [
        ({"tournament_size": 3}, 1, r"tournament_size=3: this cannot be changed while running"),
        ({"neighborhood": "moore"}, 1, r"did you mean 'neighbourhood'"),
        ({"neighbourhood": "more"}, 1, r"neighbourhood_schedule='more': expected one of cross"),
        ({"neighbourhood": "os:getcwd"}, 1, "expected one of cross"),
        ({"mutation_scale": -1}, 1, r"mutation_scale_schedule.* at least 0"),
        ({"mutation_scale": "much"}, 1, "each a finite number"),
        ({"mutation_scale": float("nan")}, 1, "each a finite number"),
        ({"mutation_scale": 0.5}, 3, "round 3 is the last"),
        ({"neighbourhood": "isolated"}, 1, "tournament_size=3"),
    ],
)
def test_what_cannot_work_is_refused(grid, changes, begun, message):
    with pytest.raises(gd.SettingError, match=message):
        steered(grid(tournament_size=3), changes, begun)


def test_a_method_without_schedules_cannot_be_changed():
    with pytest.raises(gd.SettingError, match="none can"):
        steered(gd.MGGAN(), {"interval": 3}, 1)


@pytest.mark.parametrize(
    ("changes", "begun", "message"),
    [
        ({"nodes": 3}, 1, r"nodes=3: this cannot be changed while running"),
        ({"rtae": 0.1}, 1, r"did you mean 'rate'"),
        ({"rate": 2}, 1, r"rate_schedule.* at least 0 and at most 1"),
        ({"rate": "much"}, 1, "each a finite number"),
        ({"rate": 0.5}, 3, "round 3 is the last"),
        ({}, 1, "nothing to change: toy takes rate"),
    ],
)
def test_whatever_the_method_what_cannot_work_is_refused(changes, begun, message):
    with pytest.raises(gd.SettingError, match=message):
        steered(Toy(), changes, begun)


def test_an_unknown_command_is_refused():
    with pytest.raises(gd.SettingError, match=r"command='sotp': expected one of pause, resume"):
        Command("sotp")


# ---- a run that is steered


@pytest.mark.parametrize("server", [False, True])
def test_a_changed_run_is_that_of_its_settings(tmp_path, monkeypatch, assert_same, server):
    path = tmp_path / "run"
    Asking(monkeypatch, path, after_2=[Command("change", {"rate": 0.1})])
    settings = Toy(rounds=5, server=server)
    ds = gd.run(settings, store=path)
    assert events(ds, "changed") == [(2, "rate = 0.1 from round 3 on")]
    assert ds["rate"].isel(node=1).values.tolist() == [0.5, 0.5, 0.1, 0.1, 0.1]
    # replayed from its own settings, in a process that knows nothing of commands
    repeated = config.from_toml(ds.attrs["settings"], gd.METHODS)
    assert repeated == gd.open_run(path).method != settings
    assert_same(gd.run(repeated), ds)
    unchanged = gd.run(settings)
    assert not unchanged["distance"].equals(ds["distance"])
    first = ["distance", "rate", "spread"]
    assert unchanged[first].isel(round=slice(2)).equals(ds[first].isel(round=slice(2)))


@pytest.mark.deep
def test_a_changed_grid_is_that_of_its_settings(grid, tmp_path, monkeypatch, assert_same):
    """With another layout: there are more neighbours than before."""
    path = tmp_path / "run"
    change = Command("change", {"neighbourhood": "moore", "mutation_scale": 0.9})
    Asking(monkeypatch, path, after_2=[change])
    settings = grid(rounds=5, shape=(3, 3))
    ds = gd.run(settings, store=path)
    assert events(ds, "changed") == [
        (2, "neighbourhood = 'moore', mutation_scale = 0.9 from round 3 on")
    ]
    assert ds.sizes["neighbour"] == 9
    members = (ds["neighbour_cell"] >= 0).sum("neighbour").isel(row=0, col=0)
    assert members.values.tolist() == [5, 5, 9, 9, 9]
    again = gd.run(config.from_toml(ds.attrs["settings"], gd.METHODS))
    assert_same(again, ds)
    unchanged = gd.run(settings)
    assert not unchanged["generator_learning_rate"].equals(ds["generator_learning_rate"])
    first = ["generator_learning_rate", "fid", "generator_fitness"]
    assert unchanged[first].isel(round=slice(2)).equals(ds[first].isel(round=slice(2)))


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_steered_run_continues_where_it_was_stopped(tmp_path, monkeypatch, assert_same, stop):
    change, settings = Command("change", {"rate": 0.9}), Toy(rounds=5)
    with monkeypatch.context() as patch:
        Asking(patch, tmp_path / "whole", after_2=[change])
        whole = gd.run(settings, store=tmp_path / "whole")
    asked = {1: [], 2: [change]}
    asked.setdefault(stop, []).append(Command("stop"))
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        Asking(patch, path, **{f"after_{round}": list(c) for round, c in asked.items()})
        broken = gd.run(settings, store=path)
    assert broken.sizes["round"] == stop
    assert gd.open_run(path).state == "stopped"
    assert broken["final_distance"].isnull().all()
    with monkeypatch.context() as patch:
        Asking(patch, path, **({"after_2": [change]} if stop == 1 else {}))
        # with the settings it began with, although they were changed
        resumed = gd.run(settings, store=path, resume=True)
    assert_same(resumed, whole)


def test_stopping_leaves_a_checkpoint_and_a_dataset(tmp_path, monkeypatch):
    path = tmp_path / "run"
    Asking(monkeypatch, path, after_2=[Command("stop")])
    ds = gd.run(Toy(rounds=9), store=path)
    opened = gd.open_run(path)
    assert (opened.state, opened.store.description["round"], ds.sizes["round"]) == ("stopped", 2, 2)
    assert opened.ds["distance"].equals(ds["distance"])
    assert opened.best_mixture().sample(3).shape == (3, 2)
    assert [round for round, _ in events(ds, "checkpoint")] == [2]


def test_an_asynchronous_run_stops_and_continues(tmp_path, monkeypatch):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        Asking(patch, path, after_1=[Command("stop")])
        ds = gd.run(Toy(rounds=6), store=path, synchronous=False)
    assert gd.open_run(path).state == "stopped"
    assert 1 <= ds.sizes["round"] < 6
    whole = gd.run(Toy(rounds=6), store=path, resume=True, synchronous=False)
    assert whole["distance"].notnull().all()
    assert whole["final_distance"].notnull().all()


def test_a_pause_holds_the_run_and_is_none_of_its_time(tmp_path):
    begun = time.monotonic()
    run = gd.start(Toy(rounds=4000, sleep=0.02), store=tmp_path / "run")
    wait_for(lambda: run.ds.sizes["round"] >= 1)
    run.pause()
    wait_for(lambda: run.state == "paused")
    before = run.ds
    time.sleep(1.0)
    assert run.ds.equals(before), "nothing happens"
    with pytest.raises(TimeoutError):
        run.wait(0.1)
    run.change(rate=0.25)
    run.resume()
    wait_for(lambda: run.state == "running")
    run.stop()
    ds = run.wait(60)
    assert run.state == "stopped"
    (pause,) = events(ds, "paused")
    resumed = events(ds, "resumed")
    assert len(resumed) == 1
    assert "after a pause of" in resumed[0][1]
    (changed,) = events(ds, "changed")
    assert (
        f"from round {pause[0] + 1} on" in changed[1]
        or f"from round {pause[0] + 2} on" in changed[1]
    )
    taken = time.monotonic() - begun
    assert float(ds["elapsed"].max()) < taken - 1.0, "a second of pause is in no round"


def test_a_paused_run_can_be_stopped(tmp_path):
    run = gd.start(Toy(rounds=500, sleep=0.02), store=tmp_path / "run")
    run.pause()
    wait_for(lambda: run.state == "paused")
    run.stop()
    assert run.wait(60).sizes["round"] < 500
    assert run.state == "stopped"


def test_a_change_that_cannot_be_made_is_an_event_and_the_run_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "run"
    wrong = [Command("change", {"rate": 2}), Command("change", {"seed": 3})]
    Asking(monkeypatch, path, after_1=wrong)
    ds = gd.run(Toy(), store=path)
    refused = events(ds, "refused")
    assert len(refused) == 2
    assert "at least 0" in refused[0][1]
    assert "cannot be changed" in refused[1][1]
    assert ds.sizes["round"] == 3


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "{}", '{"name": "explode", "changes": {}}', '{"name": "stop", "changes": 3}'],
)
def test_what_cannot_be_read_is_told_and_the_run_goes_on(tmp_path, monkeypatch, line):
    path = tmp_path / "run"
    decide = Session.decide

    def damage(session, reports, elapsed):
        told = decide(session, reports, elapsed)
        if session.view.round == 1:
            with (path / "commands.jsonl").open("a") as file:
                file.write(line + "\n")
        return told

    monkeypatch.setattr(Session, "decide", damage)
    ds = gd.run(Toy(), store=path)
    assert events(ds, "refused")
    assert all("commands.jsonl" in detail for _, detail in events(ds, "refused"))
    assert gd.open_run(path).state == "finished"


def test_a_run_without_the_file_of_commands_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "run"
    decide = Session.decide

    def remove(session, reports, elapsed):
        (path / "commands.jsonl").unlink(missing_ok=True)
        return decide(session, reports, elapsed)

    monkeypatch.setattr(Session, "decide", remove)
    assert gd.run(Toy(), store=path).sizes["round"] == 3


def test_old_commands_are_not_heeded_again(tmp_path, monkeypatch):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        Asking(patch, path, after_1=[Command("stop")])
        gd.run(Toy(), store=path)
    assert gd.run(Toy(), store=path, resume=True).sizes["round"] == 3
    assert gd.open_run(path).state == "finished"


def test_settings_survive_a_crash_between_the_two_files(tmp_path, monkeypatch):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        Asking(patch, path, after_1=[Command("stop")])
        gd.run(Toy(), store=path)
    store = Store.open(path)
    store.claim()
    before, after = (
        store.method(gd.METHODS),
        steered(store.method(gd.METHODS), {"rate": 1}, 1),
    )
    # at the settings, and at the second of two writings of the description
    for which in ("config.toml", "run.json run.json"):
        with monkeypatch.context() as patch:
            failing = failing_at(which)
            for module in ("folder", "description"):
                patch.setattr(f"gandask.store.{module}.write_whole", failing)
            with pytest.raises(OSError, match="power"):
                store.change(after)
        assert Store.open(path).method(gd.METHODS) in (before, after)
        assert Store.open(path).begun_with(gd.METHODS) == before


def failing_at(names):
    """Write files until those of these names were to be written, then no more."""
    left = names.split()

    def write(path, text):
        if path.name == left[0]:
            left.pop(0)
        if not left:
            raise OSError("power failure")
        write_whole(path, text)

    return write


# ---- commands from outside


def test_nobody_is_there_to_steer_a_run_that_has_ended(tmp_path):
    run = gd.start(Toy(rounds=1), store=tmp_path / "run")
    run.wait()
    for ask in (run.pause, run.resume, run.stop):
        with pytest.raises(gd.StoreError, match="is finished, so nobody is there"):
            ask()
    assert (tmp_path / "run" / "commands.jsonl").read_text() == ""


def test_a_change_is_checked_before_it_is_asked(tmp_path):
    run = gd.start(Toy(rounds=500, sleep=0.02), store=tmp_path / "run")
    try:
        with pytest.raises(gd.SettingError, match="at least 0"):
            run.change(rate=2)
    finally:
        run.stop()
        run.wait(60)
    asked = [json.loads(line) for line in (tmp_path / "run" / "commands.jsonl").open()]
    assert [told["name"] for told in asked] == ["stop"]


# ---- training without blocking


def test_a_started_run_is_the_same_run(assert_same):
    run = gd.start(Toy())
    assert_same(run.wait(60), gd.run(Toy()))
    assert run.state == "finished"
    assert_same(run.ds, run.wait())


def test_what_is_refused_is_refused_at_once(tmp_path):
    with pytest.raises(gd.SettingError, match="checkpoint_every"):
        gd.start(Toy(), checkpoint_every=0)
    with pytest.raises(gd.StoreError, match="extend=True need store="):
        gd.start(Toy(), resume=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").touch()
    with pytest.raises(gd.StoreError, match="exists already"):
        gd.start(Toy(), store=tmp_path / "run")


def test_whoever_waits_gets_the_error(tmp_path, monkeypatch):
    def fail(session, reports, elapsed):
        raise RuntimeError("no luck")

    monkeypatch.setattr(Session, "decide", fail)
    run = gd.start(Toy(), store=tmp_path / "run")
    with pytest.raises(RuntimeError, match="no luck"):
        run.wait(60)
    assert run.state == "failed"
    # another process, or a notebook that is opened later
    with pytest.raises(gd.StoreError, match="was failed: RuntimeError: no luck"):
        gd.open_run(tmp_path / "run").wait()


def test_another_process_can_wait(tmp_path):
    run = gd.start(Toy(), store=tmp_path / "run")
    ds = gd.open_run(tmp_path / "run").wait(60)
    assert ds.sizes["round"] == 3
    assert run.wait().equals(ds)


SCRIPT = """
import sys, gandask as gd
from toy import Toy
from distributed import Client, LocalCluster
if __name__ == "__main__":
    client = None
    if sys.argv[2] == "workers":
        client = Client(LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0"))
    gd.start(Toy(rounds=4), store=sys.argv[1], client=client)
"""


@pytest.mark.parametrize("where", ["in process", "workers"])
def test_a_script_that_ends_waits_for_its_run(tmp_path, assert_same, where):
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    told = subprocess.run(
        [sys.executable, "script.py", "run", where],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stderr
    run = gd.open_run(tmp_path / "run")
    assert run.state == "finished", told.stderr
    assert_same(run.ds, gd.run(Toy(rounds=4)))


def test_a_run_that_fails_says_so_even_if_nobody_waits(tmp_path, monkeypatch):
    def fail(session, reports, elapsed):
        raise RuntimeError("no luck")

    monkeypatch.setattr(Session, "decide", fail)
    said = []  # not by caplog: a cluster that is to be silent silences it as well
    logger = logging.getLogger("gandask")
    monkeypatch.setattr(logger, "error", lambda line, *parts: said.append(line % parts))
    run = gd.start(Toy(), store=tmp_path / "run")
    wait_for(lambda: run.state == "failed")
    wait_for(lambda: said)
    assert "no luck" in said[0]


def test_a_run_under_way_is_not_started_again_beside_itself(tmp_path, assert_same):
    settings = Toy(rounds=30, sleep=0.1)
    run = gd.start(settings, store=tmp_path / "run")
    wait_for(lambda: run.ds.sizes["round"] >= 1)
    with pytest.raises(gd.StoreError, match="is being written by this process"):
        gd.start(settings, store=tmp_path / "run", resume=True)
    run.stop()
    run.wait(60)
    assert_same(gd.run(settings, store=tmp_path / "run", resume=True), gd.run(settings))


@pytest.mark.deep
@pytest.mark.parametrize(
    ("first", "second", "width"),
    [("moore", "ring", 5), ("ring", "moore", 9), ("moore", "isolated", 5)],
)
def test_of_two_changes_at_once_the_last_holds(
    grid, tmp_path, monkeypatch, assert_same, first, second, width
):
    path = tmp_path / "run"
    changes = [Command("change", {"neighbourhood": chosen}) for chosen in (first, second)]
    Asking(monkeypatch, path, after_2=changes)
    ds = gd.run(grid(rounds=4, shape=(3, 3), tournament_size=1), store=path)
    assert gd.open_run(path).method.neighbourhood_schedule == {"3": second}
    assert ds.sizes["neighbour"] == width
    assert_same(gd.run(gd.open_run(path).method), ds)


@pytest.mark.deep
def test_a_change_may_narrow_what_was_scheduled(grid, tmp_path, monkeypatch, assert_same):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        Asking(patch, path, after_2=[Command("change", {"neighbourhood": "ring"}), Command("stop")])
        settings = grid(rounds=4, shape=(3, 3), neighbourhood="ring", tournament_size=1)
        scheduled = dataclasses.replace(settings, neighbourhood_schedule={3: "moore"})
        gd.run(scheduled, store=path)
    # the first rounds were written with room for all nine
    assert gd.open_run(path).ds.sizes["neighbour"] == 3
    assert_same(gd.run(scheduled, store=path, resume=True), gd.run(gd.open_run(path).method))


def test_a_map_of_cells_can_be_asked_for(grid, tmp_path):
    run = gd.start(grid(rounds=500), store=tmp_path / "run")
    run.change(neighbourhood={(0, 0): [(0, 1)]}, mutation_scale=np.float32(0.5))
    with pytest.raises(gd.SettingError, match="nothing to change"):
        run.change()
    wait_for(lambda: run.method.neighbourhood_schedule)
    run.stop()
    run.wait(60)
    assert [*run.method.neighbourhood_schedule.values()] == [{"0,0": ["0,1"]}]
    assert [*run.method.mutation_scale_schedule.values()] == [0.5]


@pytest.mark.parametrize("left", ["{", "null\n", "{\n", '{"time": "x", "na'])
def test_what_is_left_of_commands_is_no_harm_to_a_continued_run(tmp_path, monkeypatch, left):
    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        Asking(patch, path, after_1=[Command("stop")])
        gd.run(Toy(), store=path)
    with (path / "commands.jsonl").open("a") as file:
        file.write(left)
    Asking(monkeypatch, path, after_2=[Command("stop")])
    assert gd.run(Toy(), store=path, resume=True).sizes["round"] == 2, "a new one is heeded"
