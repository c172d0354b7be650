"""The live page in a real browser: stored runs, runs under way, steering, and runs gone wrong."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import psutil
import pytest
from browser import Tab, served
from conftest import tiny

import gandask as gd
from gandask import extensions, results
from gandask.methods.testing import Toy

ROOT = Path(__file__).parents[2]
OWN = ROOT / "docs" / "examples" / "own_method.py"
EVIL = "<img src=x onerror=alert(1)>"
# what was replaced is forgotten late unless asked to
MODELS = (
    "(Bokeh.documents[0]._recompute_all_models(), [...Bokeh.documents[0]._all_models.values()])"
)
FIGURES = f"{MODELS}.filter(m => m.type === 'Figure')"
TITLES = f"{FIGURES}.map(f => f.title ? f.title.text : '')"
TOYS = 4  # figures of a run of the toy, samples included
LINES = f"{MODELS}.filter(m => m.type === 'Span')"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache):
    """A folder of runs: whole ones, and whatever can be wrong with one."""
    folder = tmp_path_factory.mktemp("pages") / "runs"
    gd.run(tiny(shape=(2, 3)), store=folder / "whole", checkpoint_every=2)
    gd.run(tiny("mggan"), store=folder / "groups")
    whole = folder / "whole"
    for name in ("half", "no-description", "no-number", "zarr", "lines", "nested/deep", EVIL):
        shutil.copytree(whole, folder / name)
    cut = (folder / "half" / "config.toml").read_bytes()
    (folder / "half" / "config.toml").write_bytes(cut[: len(cut) // 2])
    tell(folder / "half", state="failed")
    (folder / "no-description" / "run.json").unlink()
    (folder / "no-number" / "run.json").write_text("[1, 2")
    shutil.rmtree(folder / "zarr" / "dataset.zarr" / "fid")
    (folder / "lines" / "steps.jsonl").write_text("{}\n")
    tell(folder / "lines", state="stopped")
    tell(
        folder / EVIL, state="failed", error=f"{EVIL} & more",
        dask_dashboard=f"javascript:alert(1)//{EVIL}",
    )  # fmt: skip
    (folder / "foreign").mkdir()
    (folder / "foreign" / "config.toml").write_text("[tool.other]\nname = 'something else'\n")
    (folder / "no-run").mkdir()
    shutil.copytree(whole, folder.parent / "secret")
    (folder / "link").symlink_to(folder.parent / "secret")
    return folder


def tell(path, **changes):
    told = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(told | changes))


@pytest.fixture(scope="module")
def address(runs):
    with served(runs) as found:
        yield f"{found}/dashboards"


@pytest.fixture
def tab(new_context):
    return Tab(new_context)


def show(tab, address, **arguments):
    tab.open(f"{address}?{urllib.parse.urlencode(arguments)}")
    return tab


def shown(tab, figures=6):
    """Wait until all views of a run are there."""
    tab.wait(f"window.Bokeh && Bokeh.documents.length && {FIGURES}.length >= {figures}")


# ---- a run that is finished


def test_a_finished_run_is_shown(tab, address):
    shown(show(tab, address, run="whole"))
    tab.see("finished · round 3 of 3 · best FID of the final mixture, 200 samples")
    tab.see("of the mixture after round 3")
    text = tab.text()
    names = ("Samples", "FID of the mixture, 100 samples", "Mean generator loss in training")
    own = ("Mixture", "Where its weights came from", "Neighbourhood", "Replacements")
    for words in (*names, *own, "Events"):
        assert words in text
    assert "Stop after this round" not in visible_buttons(tab), "there is nothing to steer"
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 1366
    assert tab.wrong == []


def visible_buttons(tab):
    return [b.inner_text() for b in tab.page.locator("button").all() if b.is_visible()]


def test_the_cursor_moves_all_views(tab, address):
    shown(show(tab, address, run="whole"))
    tab.wait(f"{TITLES}.some(t => t === 'round 3')")
    assert tab.page.evaluate(f"{LINES}.map(l => l.location)") == [3] * 6
    tab.page.get_by_role("button", name="◀", exact=True).click()
    tab.wait(f"{TITLES}.some(t => t === 'round 2') && {TITLES}.some(t => /in round 2$/.test(t))")
    tab.wait(f"{LINES}.every(l => l.location === 2)")
    tab.page.keyboard.press("Escape")
    tab.page.evaluate("document.activeElement.blur()")
    tab.page.keyboard.press("Home")
    tab.wait(f"{TITLES}.some(t => t === 'round 1') && {LINES}.every(l => l.location === 1)")
    tab.page.keyboard.press("ArrowRight")
    tab.wait(f"{TITLES}.some(t => t === 'round 2')")
    tab.page.keyboard.press(" ")
    tab.wait(f"{TITLES}.some(t => t === 'round 3') && {LINES}.every(l => l.location === 3)")
    assert tab.wrong == []


SELECTED = """() => [...Bokeh.documents[0]._all_models.values()]
  .filter(model => model.type == "Selection").some(selection => selection.indices.length)"""
TOLD = """() => new Promise(done => {
  let told = 0
  Bokeh.documents[0].on_change(() => { told += 1 })
  setTimeout(() => done(told), 2500)
})"""


def test_a_click_on_a_cell_shows_what_is_known_of_it(tab, address, runs):
    shown(show(tab, address, run="whole"))
    tab.see("of the mixture after round 3")
    before = tab.page.locator("img[alt=samples]").get_attribute("src")
    best = gd.open_run(runs / "whole").ds["fid"].isel(round=-1).argmin(...)
    row, col = (0, 2) if (int(best["row"]), int(best["col"])) != (0, 2) else (1, 0)
    place = tab.page.evaluate(
        """([row, col]) => {
          const views = [...Bokeh.index.roots].flatMap(function all(view) {
            return [view, ...[...(view.child_views ?? [])].flatMap(all)] })
          const map = views.find(v => v.model?.type === "Figure" &&
            v.model.renderers.some(r => r.glyph?.type === "Rect"))
          const box = map.el.getBoundingClientRect()
          const frame = map.frame ?? map
          return [box.x + frame.x_scale.compute(col),
                  box.y + frame.y_scale.compute(row)]
        }""",
        [row, col],
    )
    assert all(place)
    tab.page.mouse.click(*place)
    tab.wait(f"{TITLES}.some(t => t.startsWith('row {row}, col {col} in round'))")
    assert not tab.page.evaluate(SELECTED), "what is not clicked does not fade"
    until = time.monotonic() + 20
    while tab.page.locator("img[alt=samples]").get_attribute("src") == before:
        assert time.monotonic() < until, "the samples are still those of the other cell"
    ds = gd.open_run(runs / "whole").ds
    for name in ("loss", "generator_learning_rate", "generator_replaced", "fid"):
        tab.page.get_by_label("colour").select_option(label=results.label(ds[name]))
        tab.wait(f"location.search.includes('variable={name}') && {FIGURES}.length >= 6")
    until = time.monotonic() + 60
    while tab.page.evaluate(TOLD):
        assert time.monotonic() < until, "the page is told something where nothing happens"
    assert tab.wrong == []


def test_groups_and_their_regroupings_are_shown(tab, address, runs):
    show(tab, address, run="groups", page="groups")  # as before there was one page for all
    tab.wait(f"window.Bokeh && Bokeh.documents.length && {FIGURES}.length >= 9")
    tab.see("finished · round")
    tab.see("of the mixture after round")
    tab.see("after iteration 15, generators with discriminators")
    text = tab.text()
    titles = "Who met whom, Mixture of all, Generator loss, Discriminator loss, Learning rate"
    for words in (
        *titles.split(", "),
        "Discriminators across generators",
        "Samples over time",
        "What the method decided",
        "group 0",
    ):
        assert words in text
    braid = f"{FIGURES}.find(m => m.title?.text?.startsWith('thickness'))"
    tab.wait(f"{braid}.inner_width > 1000")  # in a row of its own
    # the cursor goes through all that is over iterations, at the end of its round
    run = gd.open_run(runs / "groups")
    ends = run.ds.last_iteration.max("group").values.tolist()
    count = sum(figure.along == "last_iteration" for figure in run.figures.values())
    along = f"{LINES}.map(line => line.location)"
    tab.wait(f"{along}.filter(at => at === {ends[-1]}).length === {count}")
    tab.page.keyboard.press("Home")
    tab.wait(f"{along}.filter(at => at === {ends[0]}).length === {count}")
    tab.page.get_by_label("colour").select_option(label="regrouping interval T")
    tab.see("Regrouping interval T")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 1366
    assert tab.wrong == []


# ---- the address


def asked(tab):
    """What the page's address asks for."""
    return dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(tab.page.url).query))


def test_what_is_looked_at_is_in_the_address(tab, address):
    kept = {"run": "whole", "round": "2", "unit": "cell/4", "variable": "loss"}
    shown(show(tab, address, **kept))
    tab.wait(f"{TITLES}.some(t => t === 'round 2') && {LINES}.every(l => l.location === 2)")
    assert tab.page.get_by_label("unit", exact=True).input_value() == "row 1, col 1"
    tab.page.get_by_role("button", name="◀", exact=True).click()
    tab.wait("location.search.includes('round=1')")
    assert asked(tab) == kept | {"round": "1"}
    tab.page.get_by_label("unit", exact=True).select_option("row 0, col 1")
    tab.wait("location.search.includes('unit=cell/1')")
    tab.page.reload()
    tab.wait(f"window.Bokeh && Bokeh.documents.length && {TITLES}.some(t => t === 'round 1')")
    assert tab.page.get_by_label("unit", exact=True).input_value() == "row 0, col 1"
    tab.page.get_by_role("button", name="▶|", exact=True).click()
    tab.wait("!location.search.includes('round')")
    tab.page.get_by_label("run", exact=True).select_option("nested/deep")
    tab.wait("location.search.includes('run=nested/deep')")
    tab.wait("document.title.endsWith('nested/deep')")
    assert tab.wrong == []


def test_the_scale_is_in_the_address_and_beside_the_variable(tab, address):
    axes = f"{FIGURES}.filter(f => f.y_scale.type === 'LogScale').length"
    colours = f"{MODELS}.filter(m => m.type === 'LogColorMapper').length"
    shown(show(tab, address, run="whole", scale="log"))
    tab.wait(f"{axes} === 1 && {colours} >= 1")
    assert tab.page.get_by_label("scale", exact=True).input_value() == "logarithmic"
    tab.page.get_by_label("scale", exact=True).select_option("linear")
    tab.wait("location.search.includes('scale=linear')")
    tab.wait(f"{axes} === 0")
    tab.page.get_by_label("scale", exact=True).select_option("by values")
    tab.wait("!location.search.includes('scale')")
    assert tab.wrong == []


@pytest.mark.parametrize(
    "nonsense",
    [
        {"round": "9" * 30, "unit": "cell/99", "variable": "elapsed"},
        {"round": EVIL, "unit": EVIL, "variable": EVIL},
        {"round": "2", "unit": "generator/0", "variable": "seconds", "scale": EVIL, "more": "1"},
    ],
)
def test_nonsense_in_the_address_gives_what_there_would_be_without(tab, address, nonsense):
    shown(show(tab, address, run="whole", **nonsense))
    tab.see("finished · round 3 of 3")
    at = nonsense["round"] if nonsense.get("round") == "2" else "3"
    tab.wait(f"{TITLES}.some(t => t === 'round {at}')")
    assert "FID" in tab.page.get_by_label("colour").input_value()
    assert tab.page.get_by_label("scale", exact=True).input_value() == "by values"
    assert ("expected linear or log" in tab.text()) == ("scale" in nonsense)
    assert tab.wrong == []


def test_the_browsers_title_says_how_a_run_stands_and_its_link_is_copied(new_context, address):
    tab = Tab(new_context, permissions=["clipboard-read", "clipboard-write"])
    shown(show(tab, address, run="whole", round="2"))
    tab.wait("/^3\\/3 · FID [0-9.]+ · whole$/.test(document.title)")
    tab.page.get_by_role("button", name="copy link").click()
    tab.see("copied")
    assert tab.page.evaluate("navigator.clipboard.readText()") == tab.page.url
    assert asked(tab)["round"] == "2"
    assert tab.wrong == []


# ---- runs that cannot be shown


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("half", "config.toml cannot be read"),
        ("no-description", "run.json cannot be read"),
        ("no-number", "run.json cannot be read"),
        ("foreign", "run.json cannot be read"),
        ("lines", "steps.jsonl, line 1 is damaged"),
        ("missing", "there is no run 'missing'"),
        ("no-run", "there is no run 'no-run'"),
        ("../secret", "there is no run '../secret'"),
        ("whole/../../secret", "there is no run"),
        ("link/../../secret", "there is no run"),
        (".", "there is no run '.'"),
        ("/etc", "there is no run '/etc'"),
    ],
)
def test_what_cannot_be_shown_is_told(tab, address, name, words):
    show(tab, address, run=name)
    tab.see(words)
    assert tab.wrong == []


@pytest.mark.parametrize(("name", "words"), [("half", "config.toml"), ("/etc", "there is no run")])
def test_others_stay_usable_beside_what_cannot_be_shown(tab, address, name, words):
    show(tab, address, run=name)
    tab.see(words)
    tab.page.get_by_label("run", exact=True).select_option("whole")
    shown(tab)
    tab.see("finished · round 3 of 3")
    assert tab.wrong == []


def test_a_dataset_without_a_variable_is_told(tab, address):
    show(tab, address, run="zarr")
    tab.wait("window.Bokeh && Bokeh.documents.length")
    tab.page.wait_for_timeout(1500)
    tab.page.get_by_label("run", exact=True).select_option("nested/deep")
    shown(tab)
    tab.see("finished · round 3 of 3")
    assert tab.wrong == []


def test_names_and_texts_of_a_run_are_no_markup(tab, address):
    shown(show(tab, address, run=EVIL))
    tab.see("failed · round 3 of 3")
    tab.see(f"{EVIL} & more")
    assert tab.page.locator("img[src=x]").count() == 0
    links = [a.get_attribute("href") for a in tab.page.locator("a").all()]
    assert not [link for link in links if link.startswith("javascript")]
    assert tab.wrong == [], "no dialog, no request"


def test_a_method_of_a_users_own_has_its_pages(new_context, tmp_path):
    extensions.load([str(OWN)])
    for seed in (1, 2):
        gd.run(gd.METHODS["own"](rounds=3, seed=seed), store=tmp_path / f"own-{seed}")
    with served(tmp_path, imported=OWN) as address:
        tab = show(Tab(new_context), f"{address}/dashboards", run="own-1")
        shown(tab, figures=TOYS)
        tab.see("Where the generator went")
        tab.see("of the mixture of server/0 after round 3")
        assert tab.wrong == []
        tab = show(Tab(new_context), f"{address}/dashboards", page="compare", runs="own-1,own-2")
        tab.wait(f"window.Bokeh && Bokeh.documents.length && {FIGURES}.length >= 1")
        seeds = "'own-1: mean and range of 2 seeds'"
        tab.wait(f"{MODELS}.some(m => m.type === 'LegendItem' && m.label.value === {seeds})")
        assert tab.page.get_by_label("quality").input_value() == "distance of fakes from own data"
        assert tab.wrong == []


def test_what_cannot_be_imported_is_told(tab, tmp_path):
    with served(tmp_path, imported="absent.py") as address:
        show(tab, f"{address}/dashboards")
        tab.see("GANDASK_IMPORT: absent.py: FileNotFoundError: there is no such file")
        assert tab.wrong == []


# ---- a run that is being written


def unhurried():
    """Make a run that goes on for long and leaves the machine to pages and browser."""
    return Toy(rounds=100_000, sleep=0.2)


def test_a_run_under_way_is_followed_and_steered(tab, address, runs):
    run = gd.start(unhurried(), store=runs / "live", checkpoint_every=2)
    try:
        show(tab, address, run="live")
        tab.see("running · round")
        shown(tab, figures=TOYS)
        first = run.store.description["round"]
        tab.wait(f"{TITLES}.some(t => Number(t.replace('round ', '')) > {first + 2})")
        tab.page.get_by_role("button", name="Pause").click()
        tab.see("paused · round")
        assert run.state == "paused"
        rounds = run.store.description["round"]
        tab.see(f"round {rounds} of {run.method.rounds}")
        tab.wait(f"{TITLES}.some(t => t === 'round {rounds}')")
        tab.page.get_by_label("rate", exact=True).fill("0.25")
        tab.page.get_by_label("rate", exact=True).press("Tab")
        tab.page.get_by_role("button", name="Change from the next round on").click()
        tab.page.get_by_role("button", name="Go on").click()
        tab.see("running · round")
        tab.see("changed")
        tab.page.get_by_role("button", name="Stop after this round").click()
        tab.see("stopped · round")
        tab.see("to continue it from its last checkpoint: gandask resume")
        assert set(run.wait(30)["rate"].values.ravel()) == {0.5, 0.25}
        assert "Pause" not in visible_buttons(tab)
        assert tab.wrong == []
    finally:
        if run.state != "stopped":
            run.stop()
            run.wait(60)


def test_two_tabs_follow_one_run(new_context, address, runs):
    run = gd.start(unhurried(), store=runs / "two", progress=False)
    tabs = [Tab(new_context), Tab(new_context)]
    try:
        shown(show(tabs[0], address, run="two"), figures=TOYS)
        run.change(rate=0.25)
        shown(show(tabs[1], address, run="two"), figures=TOYS)
        done = run.store.description["round"]
        for tab in tabs:
            tab.wait(f"{TITLES}.some(t => Number(t.replace('round ', '')) > {done + 2})")
        run.stop()
        for tab in tabs:
            tab.see("stopped · round")
            assert tab.wrong == []
    finally:
        if run.state == "running":
            run.stop()
        run.wait(60)


def test_a_run_that_appears_and_vanishes_is_noticed(tab, address, runs):
    path = runs / "fleeting"
    shutil.copytree(runs / "whole", path)
    shown(show(tab, address, run="fleeting"))
    shutil.move(path, runs.parent / "elsewhere")
    tab.see("run.json cannot be read")
    shutil.move(runs.parent / "elsewhere", path)
    tab.see("finished · round 3 of 3")
    shown(tab)
    assert tab.wrong == []


# ---- who may see it


def other_address():
    """An address of this machine that is not its own loopback."""
    found = [
        told.address
        for addresses in psutil.net_if_addrs().values()
        for told in addresses
        if told.family == socket.AF_INET and not told.address.startswith("127.")
    ]
    return found[0] if found else None


def test_other_machines_see_nothing_without_a_login(tab, runs):
    host = other_address()
    if host is None:
        pytest.skip("needs an address besides loopback")
    with served(runs, "--address", "0.0.0.0", "--allow-websocket-origin", "*") as address:
        shown(show(tab, f"{address}/dashboards", run="whole"))
        strange = address.replace("localhost", host)
        show(tab, f"{strange}/dashboards", run="whole")
        tab.see("shows runs to its own machine alone")
        assert "round 3" not in tab.text()


GANDASK = ("gandask", "dashboard")


def test_the_command_serves_every_page_to_this_machine(tab, runs):
    with served(runs, command=(*GANDASK, str(runs))) as address:
        shown(show(tab, f"{address}/live", run="whole"))
        links = [a.get_attribute("href") for a in tab.page.locator("nav a").all()]
        assert links[1].startswith("live?run=whole")
        shown(show(tab, f"{address}/", run="link"))
        assert tab.wrong == []
        host = other_address()
        if host is not None:
            with pytest.raises(OSError, match=r"refused|unreachable"):
                urllib.request.urlopen(address.replace("localhost", host), timeout=5)


def test_with_a_login_it_asks_for_it(tab, runs, tmp_path):
    login = tmp_path / "users.json"
    login.write_text('{"ada": "lovelace"}')
    options = ("--login", str(login))
    with served(runs, *options, command=(*GANDASK, str(runs))) as address:
        show(tab, f"{address}/live", run="whole")
        assert "login" in tab.page.url
        assert "whole" not in tab.text()
        tab.page.fill("input[name=username]", "ada")
        tab.page.fill("input[name=password]", "lovelace")
        tab.page.keyboard.press("Enter")
        shown(tab)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--address", "0.0.0.0"], "give a login file"),
        (["--address", ""], "give a login file"),
        (["--address", "0.0.0.0", "--login", "nowhere.json"], "expected a JSON file"),
    ],
)
def test_the_command_refuses_what_would_show_runs_to_all(runs, options, words):
    arguments = [sys.executable, "-m", *GANDASK, str(runs), *options]
    told = subprocess.run(arguments, capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert words in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.deep
def test_a_folder_that_is_not_there_and_a_port_in_use_are_told(runs, tmp_path):
    arguments = [sys.executable, "-m", *GANDASK]
    told = subprocess.run([*arguments, str(tmp_path / "no")], capture_output=True, text=True)
    assert (told.returncode, "expected a folder of runs" in told.stderr) == (1, True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = subprocess.run(
            [*arguments, str(runs), "--port", port], capture_output=True, text=True, timeout=60
        )
    assert told.returncode == 1
    assert f"port={port}" in told.stderr
    assert "Traceback" not in told.stderr
