"""Runs on sequences, on every page in a real browser, in the report and as a film."""

import re

import pytest
from browser import Tab, served
from conftest import tiny

import gandask as gd
from gandask.pages import report

SMALL = {"data": "sines", "batch_size": 20, "data_fraction": 0.01}
SCORES = ("autocorrelation_distance", "prediction_error")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("sequences") / "runs"
    gd.run(tiny(**SMALL, network="lstm", rounds=2, final_scores=SCORES), store=folder / "grid")
    gd.run(tiny("mggan", **SMALL, base="small_mlp"), store=folder / "groups")
    return folder


@pytest.fixture(scope="module")
def address(runs):
    with served(runs, command=("gandask", "dashboard", str(runs))) as found:
        yield found


def test_home_shows_their_samples(new_context, address):
    tab = Tab(new_context).open(f"{address}/home")
    for slot in ("cell/0", "group/0"):
        tab.page.locator(f"img.thumbnail[alt*='{slot}']").wait_for()
    assert tab.wrong == []


@pytest.mark.parametrize(("run", "told"), [("grid", "row 0, col 1"), ("groups", "group 1")])
def test_the_live_page_shows_them_and_takes_a_unit(new_context, address, run, told):
    tab = Tab(new_context).open(f"{address}/live?run={run}")
    picture = tab.page.locator("img[alt^='samples of']")
    box = picture.bounding_box()
    picture.click(position={"x": 0.5 * box["width"], "y": 0.4 * box["height"]})
    tab.page.locator("h2", has_text=told).wait_for()
    assert tab.wrong == []


def test_a_dark_page_shows_them_on_a_dark_ground(new_context, address):
    corner = """picture => {
      const drawn = document.createElement("canvas").getContext("2d")
      drawn.drawImage(picture, 0, 0)
      return drawn.getImageData(0, 0, 1, 1).data[0]
    }"""
    found = {}
    for theme in ("dark", "default"):
        tab = Tab(new_context).open(f"{address}/live?run=groups&theme={theme}")
        tab.see("real ones")
        pictures = tab.page.locator("img[src^='data:image/png']")
        tab.page.locator("img[alt=samples]").wait_for()
        found[theme] = [one.evaluate(corner) for one in pictures.all()]
        assert tab.wrong == []
    assert len(found["dark"]) == len(found["default"]) == 3
    assert max(found["dark"]) < 40 < 250 < min(found["default"])


@pytest.mark.parametrize("run", ["grid", "groups"])
def test_the_report_and_the_film_are_of_them(runs, run, tmp_path):
    opened = gd.open_run(runs / run)
    page = report.page(opened)
    assert "no samples" not in page
    assert re.search(r"data:image/png;base64,\w", page)
    assert ("prediction error taught by real sequences" in page) == (run == "grid")
    assert opened.film(tmp_path / "film.gif").stat().st_size > 1000
