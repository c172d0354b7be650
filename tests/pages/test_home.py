"""The home page in a real browser: cards of runs, found, opened, chosen, and what is wrong."""

import dataclasses
import datetime
import json
import shutil
import urllib.parse

import numpy as np
import pytest
from browser import Tab, served
from conftest import tiny

import gandask as gd
from gandask.methods.testing import Toy
from gandask.pages import catalogue
from gandask.pages.cards import AWAITED, card, spark
from gandask.pages.home import drawn as drawn_of
from gandask.pages.home import known
from gandask.pages.thumbnail import thumbnail
from gandask.runs.course import ScoreCourse
from gandask.runs.film import Film
from gandask.store import about
from gandask.store.about import About

EVIL = "<img src=x onerror=alert(1)>"
MANY = 60


def tell(path, **changes):
    told = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(told | changes))


def toy(path, **settings):
    gd.run(Toy(**{"nodes": 2, "rounds": 3} | settings), store=path, progress=False)
    return path


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache):
    """A folder of runs: of two methods, nested, by a link, broken, and with markup for a name."""
    folder = tmp_path_factory.mktemp("home") / "runs"
    gd.run(tiny(), store=folder / "grid", progress=False)
    for seed in (1, 2):
        toy(folder / "deep" / "er" / f"toy-{seed}", seed=seed, rate=0.25 * seed)
    toy(folder.parent / "elsewhere")
    (folder / "linked").symlink_to(folder.parent / "elsewhere")
    shutil.copytree(folder.parent / "elsewhere", folder / EVIL)
    tell(folder / EVIL, state="failed", error=EVIL, best={"score": EVIL, "value": 1.0})
    for name in ("cut", "other"):
        shutil.copytree(folder / "grid", folder / name)
        (folder / name / "run.json").write_text("[1, 2")
    return folder


@pytest.fixture(scope="module")
def address(runs):
    with served(runs, command=("gandask", "dashboard", str(runs))) as found:
        yield found


@pytest.fixture
def tab(new_context):
    tab = Tab(new_context)
    yield tab
    assert tab.wrong == []


def named(tab):
    """Name the runs that cards are shown of, in their order."""
    return [one.inner_text() for one in tab.page.locator("article h3").all()]


def count(tab, cards):
    """Wait for as many cards, each with its line."""
    tab.page.wait_for_function(
        """cards => {
          const found = [...document.querySelectorAll("*")].flatMap(function all(node) {
            return [...(node.shadowRoot?.querySelectorAll("*") ?? [])].flatMap(
              inner => [inner, ...all(inner)]) })
          return found.filter(one => one.tagName === "ARTICLE").length === cards
            && !found.some(one => one.classList?.contains("awaited"))
        }""",
        arg=cards,
    )


def asked(tab):
    """What the page's address asks for."""
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(tab.page.url).query))


@pytest.mark.parametrize(("theme", "width"), [("default", 1366), ("dark", 1920), ("default", 400)])
def test_each_run_has_a_card(new_context, address, theme, width):
    tab = Tab(new_context, width).open(f"{address}/?theme={theme}")
    count(tab, 5)
    assert sorted(named(tab)) == sorted(["grid", "deep/er/toy-1", "deep/er/toy-2", "linked", EVIL])
    text = tab.page.locator("article", has_text="toy-2").inner_text()
    for words in ("finished", "3/3", "toy", "rate 0.5", "seed 2"):
        assert words in text
    assert "FID" in tab.page.locator("article", has_text="grid").inner_text()
    tab.page.get_by_label("samples of cell/0 in round 3").wait_for()
    line = tab.page.locator("article", has_text="grid").locator("polyline")
    assert len(line.get_attribute("points").split()) == 3
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    beside = [one.bounding_box()["y"] for one in tab.page.locator("article").all()[:2]]
    assert (beside[0] == beside[1]) is (width > 400)
    tab.see("2 runs cannot be shown: cut, other; gandask show RUN says why")
    assert tab.page.title() == "5 runs · gandask"
    assert tab.page.locator("img[src=x]").count() == 0
    assert tab.wrong == [], "no dialog, no request"


def test_grey_shapes_are_in_the_place_of_cards_and_of_what_is_on_them(tab, address):
    tab.page.add_init_script(
        """window.grey = { shapes: 0 }
        setInterval(() => {
          const all = [...document.querySelectorAll("*")].flatMap(function inner(one) {
            return [one, ...[...(one.shadowRoot?.querySelectorAll("*") ?? [])].flatMap(inner)] })
          grey.shapes ||= all.filter(one => one.matches(".skeleton.runs > div")).length
        }, 5)"""
    )
    tab.open(f"{address}/home")
    count(tab, 5)
    tab.wait("grey.shapes === 6")
    assert not tab.page.locator(".skeleton").is_visible()


def test_runs_are_found_by_words_and_what_they_are(tab, address):
    tab.open(f"{address}/home")
    count(tab, 5)
    tab.page.get_by_label("find").press_sequentially("DEEP rate=0.5")
    count(tab, 1)
    assert named(tab) == ["deep/er/toy-2"]
    tab.wait("location.search.endsWith('0.5')")  # the last letter comes when it comes
    assert asked(tab) == {"find": "DEEP rate=0.5"}
    tab.page.get_by_label("find").fill("")
    count(tab, 5)
    tab.page.get_by_label("method").select_option("grid")
    count(tab, 1)
    assert named(tab) == ["grid"]
    tab.wait("location.search.endsWith('method=grid')")
    tab.page.reload()
    count(tab, 1)
    assert tab.page.get_by_label("method").input_value() == "grid"
    tab.page.get_by_label("state").select_option("failed")
    tab.see("None of 5 runs is like this.")
    count(tab, 0)
    tab.page.get_by_label("method").select_option("any")
    count(tab, 1)
    assert named(tab) == [EVIL]


def test_several_are_compared_and_one_is_opened(tab, address):
    tab.open(f"{address}/?theme=dark")
    count(tab, 5)
    for name in ("deep/er/toy-1", "deep/er/toy-2"):
        tab.page.get_by_label(f"choose {name}").check()
    tab.see("2 chosen")
    tab.page.get_by_label("method").select_option("toy")
    count(tab, 4)
    assert tab.page.get_by_label("choose deep/er/toy-1").is_checked()
    tab.page.locator(".chosen a").click()
    tab.see("Samples of the best")
    assert json.loads(asked(tab)["runs"]) == ["deep/er/toy-1", "deep/er/toy-2"]
    tab.page.go_back()
    count(tab, 4)
    tab.page.locator("article a", has_text="linked").click()
    tab.see("finished · round 3 of 3")
    assert asked(tab)["run"] == "linked"
    assert asked(tab)["theme"] == "dark"


@pytest.mark.parametrize(
    "nonsense",
    ["sheet=-1", "sheet=1e9", "sheet=999999999999999999999", "method=none", "state=[1]", "find="],
)
def test_nonsense_in_the_address_is_left_alone(tab, address, nonsense):
    tab.open(f"{address}/?{nonsense}")
    count(tab, 5)


def test_runs_come_and_go_while_they_are_looked_at(tab, address, runs):
    tab.open(f"{address}/")
    count(tab, 5)
    box = tab.page.get_by_label("choose grid")
    box.focus()
    shutil.copytree(runs / "grid", runs / "fleeting")
    count(tab, 6)
    assert box.evaluate("box => box.getRootNode().activeElement === box"), "the focus stays"
    shutil.rmtree(runs / "fleeting")
    count(tab, 5)


def test_a_run_that_is_gone_is_told_when_it_is_opened(tab, address, runs):
    shutil.copytree(runs / "grid", runs / "fleeting")
    tab.open(f"{address}/?find=fleeting")
    count(tab, 1)
    shutil.rmtree(runs / "fleeting")
    tab.page.goto(f"{address}/live?run=fleeting")
    tab.see("there is no run 'fleeting'")


def test_many_runs_are_shown_a_sheet_at_a_time(tab, tmp_path):
    toy(tmp_path / "runs" / "first")
    for number in range(MANY):
        folder = tmp_path / "runs" / "many" / f"{number:03}"
        folder.mkdir(parents=True)
        for name in ("run.json", "config.toml", "layout.json"):
            shutil.copy(tmp_path / "runs" / "first" / name, folder)
    with served(tmp_path / "runs", command=("gandask", "dashboard", str(tmp_path / "runs"))) as at:
        tab.open(f"{at}/")
        count(tab, 24)
        tab.see(f"1–24 of {MANY + 1}")
        before = named(tab)
        tab.page.get_by_role("button", name="older ▶").click()
        tab.see(f"25–48 of {MANY + 1}")
        tab.page.locator("article", has_text=f"many/{MANY - 25:03}").wait_for()
        assert not set(before) & set(named(tab))
        assert asked(tab)["sheet"] == "2"
        tab.page.get_by_role("button", name="older ▶").click()
        tab.see(f"49–61 of {MANY + 1}")
        count(tab, 13)
        assert tab.page.get_by_role("button", name="older ▶").is_disabled()


def test_a_folder_without_runs_says_so(tab, tmp_path):
    with served(tmp_path, command=("gandask", "dashboard", str(tmp_path))) as address:
        for page in ("", "live", "speedup", "compare"):
            tab.open(f"{address}/{page}")
            tab.see("There are no runs in")
        assert tab.wrong == []


# ---- what people say of runs


@pytest.fixture
def remarked(tmp_path):
    """A folder of two runs that tests may write tags and notes into, and its address."""
    for seed in (1, 2):
        toy(tmp_path / "runs" / f"toy-{seed}", seed=seed)
    folder = tmp_path / "runs"
    with served(folder, command=("gandask", "dashboard", str(folder))) as address:
        yield folder, address


def test_tags_and_notes_are_kept_beside_the_run(tab, remarked):
    folder, address = remarked
    tab.open(f"{address}/")
    count(tab, 2)
    assert not tab.page.get_by_label("tag", exact=True).is_visible()
    tab.page.get_by_label("tags and note of toy-2").click()
    tags = tab.page.get_by_label("tags, with spaces between")
    tags.fill(f"good, {'x' * 50}")
    tab.page.get_by_role("button", name="save").click()
    tab.see("expected a word of at most 40 characters")
    tags.fill("good paper <b>bold</b> good")
    tab.page.get_by_label("note", exact=True).fill(f"{EVIL}\nin two lines")
    tab.page.get_by_role("button", name="save").click()
    tab.see("in two lines")
    assert about.read(folder / "toy-2") == About(
        ("good", "paper", "<b>bold</b>"), f"{EVIL}\nin two lines"
    )
    assert tab.page.locator(".tag").all_inner_texts() == ["good", "paper", "<b>bold</b>"]
    tab.page.get_by_label("tag", exact=True).select_option("<b>bold</b>")
    count(tab, 1)
    assert asked(tab)["tag"] == "<b>bold</b>"
    tab.page.get_by_label("tag", exact=True).select_option("any")
    tab.page.get_by_label("find").press_sequentially("two lines")
    count(tab, 1)
    about.write(folder / "toy-2", About())  # elsewhere
    tab.see("None of 2 runs is like this.")


def test_what_cannot_be_kept_is_said(tab, remarked):
    folder, address = remarked
    tab.open(f"{address}/")
    count(tab, 2)
    tab.page.get_by_label("tags and note of toy-1").click()
    shutil.rmtree(folder / "toy-1")
    tab.page.get_by_role("button", name="save").click()
    tab.see("there is no run 'toy-1'")
    tab.page.get_by_role("button", name="cancel").click()
    count(tab, 1)


# ---- the same addresses, whoever serves


HOMES = ("", "dashboards?page=home")
LIVE = ("?run=linked", "dashboards?page=live&run=linked")


@pytest.mark.parametrize("command", ["gandask dashboard", "panel serve"])
def test_addresses_are_the_same_whoever_serves(new_context, runs, command):
    options = {} if command == "panel serve" else {"command": ("gandask", "dashboard", str(runs))}
    with served(runs, **options) as address:
        tab = Tab(new_context)
        for path in HOMES:
            tab.open(f"{address}/{path}")
            count(tab, 5)
        for path in LIVE:
            tab.open(f"{address}/{path}").see("finished · round 3 of 3")
        tab.open(f"{address}/compare?runs=linked").see("Samples of the best")
        assert tab.wrong == []


# ---- what cards are made of


def test_a_line_is_of_what_is_known():
    assert "polyline" not in spark({}, "FID")
    assert "polyline" not in spark({1: float("nan"), 2: float("inf")}, "FID")
    drawn = spark({1: 10.0, 3: 5.0, 2: 7.5}, "FID")
    assert 'points="3.0,3.0 60.0,18.0 117.0,33.0"' in drawn
    assert "FID by round: 10 at first, 5 in round 3" in drawn
    logarithmic = spark({1: 100.0, 2: 10.0, 3: 1.0}, "FID")
    assert 'points="3.0,3.0 60.0,18.0 117.0,33.0"' in logarithmic
    assert len(spark(dict.fromkeys(range(10_000), 1.0), "FID")) < 2500
    assert "onerror=alert(1)&gt;" in spark({1: 1.0}, EVIL)


def test_points_and_images_are_small_pictures(tmp_path):
    gd.run(tiny(), store=tmp_path / "points", progress=False)
    run = gd.open_run(tmp_path / "points")
    course = ScoreCourse(run.store.path)
    dots = thumbnail(run, course)
    assert "samples of cell/0 in round 3" in dots
    assert 0 < dots.count("h0") <= 200
    # of a stranger's run
    for samples in ([[np.nan, 1.0]] * 3, [[1e4, 1e4], [0.0, 0.0]]):
        run.shown.clear()
        store = gd.open_run(tmp_path / "points").shown
        store.append("cell/0", 1, np.array(samples, np.float16))
        assert thumbnail(run, course).count("h0") == np.isclose(samples, 0).all(1).sum()
    run.shown.clear()
    assert thumbnail(run, course) == ""
    images = np.zeros((16, 3, 8, 8), np.uint8)
    gd.open_run(tmp_path / "points").shown.append("cell/1", 2, images)
    drawn = thumbnail(run, course)
    assert 'alt="samples of cell/1 in round 2" src="data:image/png;base64,' in drawn
    assert thumbnail(run, course, on_dark=True) != drawn


def test_what_was_made_and_refused_is_on_no_card(tmp_path):
    gd.run(tiny(rounds=7, learning_rate=5e-2, seed=0), store=tmp_path / "run", progress=False)
    run = gd.open_run(tmp_path / "run")
    own = run.ds.generator_replaced.isel(row=0, col=0).values
    assert not own[-1], "choose a seed of which the last was refused"
    (found,), _ = catalogue.listed(tmp_path)
    last = int(np.flatnonzero(own)[-1]) + 1
    assert f"samples of cell/0 in round {last}" in drawn_of(found)
    samples = Film(run.ds, run.layout, run.shown).samples("cell/0", 7)
    assert np.array_equal(run.shown.at("cell/0", last), samples)


def test_a_card_that_is_read_has_grey_shapes_for_samples_and_line(tmp_path):
    toy(tmp_path / "run")
    (run,), _ = catalogue.listed(tmp_path)
    made = known(run)
    assert made.count("awaited") == 2 and "thumbnail" in made and "spark" in made
    drawn_of(run)
    assert "awaited" not in known(run)


def test_markup_in_a_card_is_text(tmp_path):
    toy(tmp_path / "run")
    (run,), _ = catalogue.listed(tmp_path)
    evil = dataclasses.replace(
        run, name=EVIL, state=EVIL, updated=EVIL, best={"score": EVIL, "value": 1.0},
        settings={"method": EVIL, "data": EVIL, "rounds": EVIL},
        about=About((EVIL.replace(" ", ""),), f'"{EVIL}'),
    )  # fmt: skip
    now = datetime.datetime.now(datetime.UTC)
    assert "<img" not in card(evil, {EVIL: EVIL}, AWAITED, now, f'"{EVIL}', True)
