"""The card of what every unit shows, in a real browser."""

import pytest
from browser import Tab, served
from conftest import tiny

import gandask as gd

PICTURE = "img[alt^='samples of']"
SIGN = "[...Bokeh.documents[0]._all_models.values()].find(m => m.data?.asked != null).data"
AT_REST = f"({SIGN}.asked === {SIGN}.answered)"


@pytest.fixture(scope="module")
def address(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("mosaic") / "runs"
    gd.run(tiny(shape=(2, 3)), store=folder / "shown")
    gd.run(tiny(shape=(1, 2), shown_samples=0), store=folder / "hidden")
    with served(folder, command=("gandask", "dashboard", str(folder))) as found:
        yield found


def test_a_cell_that_is_clicked_is_the_unit_that_is_shown(new_context, address):
    tab = Tab(new_context).open(f"{address}/live?run=shown")
    picture = tab.page.locator(PICTURE)
    tab.see("its own, as of round 3")
    box = picture.bounding_box()
    for across, down, told in ((0.17, 0.3, "row 0, col 0"), (0.4, 0.72, "row 1, col 1")):
        picture.click(position={"x": across * box["width"], "y": down * box["height"]})
        tab.page.locator("h2", has_text=told).wait_for()
    assert tab.wrong == []


def test_samples_follow_the_cursor_at_once(new_context, address):
    tab = Tab(new_context).open(f"{address}/live?run=shown")
    tab.see("its own, as of round 3")
    before = tab.page.locator(PICTURE).get_attribute("src")
    tab.page.keyboard.press("Home")
    tab.see("its own, as of round 1")
    tab.page.locator(f"{PICTURE}[alt*='round 1']").wait_for()
    assert tab.page.locator(PICTURE).get_attribute("src") != before
    assert tab.wrong == []


def test_after_many_keys_what_is_seen_is_of_where_the_cursor_came_to(new_context, address):
    tab = Tab(new_context).open(f"{address}/live?run=shown")
    tab.see("its own, as of round 3")
    for key in ("Home", "End", "ArrowLeft", "ArrowLeft", "ArrowRight"):
        tab.page.keyboard.press(key)
    tab.see("its own, as of round 2")
    tab.page.locator(f"{PICTURE}[alt*='round 2']").wait_for()
    tab.page.wait_for_timeout(500)
    assert tab.page.locator(f"{PICTURE}[alt*='round 2']").count() == 1
    assert tab.wrong == []


def test_a_run_that_shows_nothing_has_no_such_card(new_context, address):
    tab = Tab(new_context).open(f"{address}/live?run=hidden")
    tab.see("of the mixture after round 3")
    assert not tab.page.get_by_text("Samples of all, round by round").is_visible()
    assert tab.wrong == []


def test_a_page_that_is_at_work_says_so_until_it_is_done(new_context, address):
    tab = Tab(new_context).open(f"{address}/live?run=shown")
    tab.see("its own, as of round 3")
    tab.wait(AT_REST)
    tab.page.evaluate(
        f"() => {{ window.busy = 0; setInterval(() => {{ window.busy += !{AT_REST} }}, 5) }}"
    )
    tab.page.keyboard.press("Home")
    tab.see("its own, as of round 1")
    tab.wait(f"window.busy > 0 && {AT_REST}")
    assert tab.wrong == []


def test_the_sign_of_work_lays_nothing_out(new_context, address):
    tab = Tab(new_context).open(f"{address}/live?run=shown")
    tab.see("its own, as of round 3")
    tab.page.locator(PICTURE).wait_for()  # with it all figures are drawn
    tab.page.wait_for_timeout(2000)
    tab.page.evaluate(
        f"""() => {{
          window.laid = 0
          for (const view of [...Bokeh.index].filter(view => view.compute_layout)) {{
            const before = view.compute_layout.bind(view)
            view.compute_layout = () => {{ window.laid += 1; before() }}
          }}
          {SIGN}.asked += 1
        }}"""
    )
    tab.wait(f"{SIGN}.asked > 0 && {AT_REST}")
    tab.page.wait_for_timeout(2000)
    assert tab.page.evaluate("window.laid") == 0
    assert tab.wrong == []
