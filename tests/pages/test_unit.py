"""What pages show of one unit, and tables of units, of a run that may be anybody's."""

import asyncio
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import gandask as gd
from gandask.methods.testing import Toy
from gandask.pages import parts
from gandask.pages.live import LivePage
from gandask.pages.unit import UnitPanel, picture
from gandask.runs.following import Followed
from gandask.store import Store


def shown(path):
    followed = Followed(path)
    followed.look()
    # Playwright's event loop may run in the main thread of this process
    with ThreadPoolExecutor(1) as pool:
        return str(pool.submit(asyncio.run, picture(followed)).result(120))


def test_headings_of_tables_are_text():
    table = parts.sortable()
    parts.fill(table, {"<img src=x onerror=alert(1)>": [1.0], "a & b": ["c"]})
    assert "<" not in "".join(table.titles.values())


def test_samples_are_shown_of_a_run_that_was_continued(tmp_path):
    gd.run(Toy(rounds=2), store=tmp_path / "run", checkpoint_every=1)
    store = Store.open(tmp_path / "run")
    store.claim()
    store.describe("stopped", 2)
    store.release()
    shutil.rmtree(tmp_path / "run" / "dataset.zarr")
    shutil.rmtree(sorted(store.checkpoints.path.glob("round-*"))[-1])
    gd.run(Toy(rounds=2), store=tmp_path / "run", resume=True)
    assert any("." in folder.name for folder in store.checkpoints.path.glob("round-*"))
    assert "after round 2" in shown(tmp_path / "run")


def test_samples_are_those_of_the_run_that_is_there(tmp_path):
    found = []
    for seed in (1, 2):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        gd.run(Toy(seed=seed, nodes=2), store=tmp_path / "run")
        found.append(shown(tmp_path / "run"))
    assert "data:image/png" in found[0]
    assert found[0] != found[1]


def test_what_follows_the_cursor_is_of_where_it_rests_and_comes_though_it_never_does(
    tmp_path, monkeypatch
):
    gd.run(Toy(rounds=4), store=tmp_path / "run")
    waiting, drawn, now = [], [], [100.0]
    live = sys.modules[LivePage.__module__]
    monkeypatch.setattr(live, "soon", lambda drawing, wait: waiting.append(drawing))
    # the page's clock alone: with that of the process, whatever else waits would wait for ever
    clock = SimpleNamespace(monotonic=lambda: now[0], thread_time=time.thread_time)
    monkeypatch.setattr(live, "time", clock)

    def follow(panel):
        if panel.traces:
            panel.traces = None
            return True
        drawn.append(panel.round)
        panel.whole = False
        return False

    monkeypatch.setattr(UnitPanel, "follow", follow)
    page = LivePage()
    page.open(tmp_path / "run")
    assert drawn == [] and len(waiting) == 1, "the rest comes later"
    waiting.pop()()
    for round in (3, 2, 1):
        page.player.slider.value = round
    for drawing in waiting:
        drawing()
    assert drawn == [4, 1], "where the cursor rests, once"
    waiting.clear()
    for round in (2, 3, 4):  # as of a run that is followed: the next one comes before
        page.player.slider.value = round
        now[0] += 1.5
        if len(waiting) > 1:
            waiting[-2]()
    assert drawn == [4, 1, 3], "after two seconds it is drawn all the same"
    for _ in range(2):
        waiting[-1]()
    assert drawn == [4, 1, 3, 4], "and the last once"


def test_a_page_that_nothing_happens_to_is_left_alone(tmp_path, monkeypatch):
    """Whoever keeps a finished run open costs the others next to nothing."""
    gd.run(Toy(rounds=2), store=tmp_path / "run")
    live = sys.modules[LivePage.__module__]
    at_once, told = [], []
    real = live.at_once
    monkeypatch.setattr(live, "at_once", lambda: (at_once.append(1), real())[1])
    line = live.status.line
    monkeypatch.setattr(live.status, "line", lambda run: (told.append(run.state), line(run))[1])
    page = LivePage()
    page.open(tmp_path / "run")
    opened = len(at_once), len(told)
    assert min(opened) > 0
    page.followed.look = lambda: page.version
    for _ in range(5):
        page.look()
    assert (len(at_once), len(told)) == opened
    page.followed.look = lambda: page.version + 1
    page.look()
    assert (len(at_once), len(told)) > opened
