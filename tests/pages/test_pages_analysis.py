"""The pages speedup and compare in a real browser: plots, tables, messages."""

import json
import shutil
import urllib.parse

import numpy as np
import pytest
import xarray as xr
from browser import Tab, served
from conftest import tiny

import gandask as gd
from gandask import results
from gandask.pages.compare import labels, scores

EVIL = "<img src=x onerror=alert(1)>"
MODELS = "[...Bokeh.documents[0]._all_models.values()]"
FIGURES = f"{MODELS}.filter(m => m.type === 'Figure').length"
AXES = f"{MODELS}.filter(m => m.type.endsWith('Axis')).map(m => m.axis_label)"
BAD = {
    "half": "config.toml cannot be read",
    "cut": "run.json cannot be read",
    "foreign": "KeyError",
    "empty": "failed: no round is done yet",
    "../secret": "there is no run '../secret' in",
    EVIL: "run.json cannot be read",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache):
    """A folder of runs: seeds, numbers of workers, groups, and whatever can be wrong with one."""
    folder = tmp_path_factory.mktemp("analysis") / "runs"
    for seed in (1, 2, 3):
        gd.run(tiny(seed=seed), store=folder / f"seed-{seed}")
    gd.run(tiny(rounds=2, shape=(1, 2)), store=folder / "on-1")
    shutil.copytree(folder / "on-1", folder / "on-2")
    ds = gd.open_run(folder / "on-1").ds
    shared = ds["worker"].copy(data=ds["worker"].values.astype("U9"))
    shared[:, 0, 1] = "another"
    results.write(
        ds.assign(worker=shared, elapsed=ds["elapsed"] / 1.5), folder / "on-2" / "dataset.zarr"
    )
    tell(folder / "on-2", dataset=results.digest(folder / "on-2" / "dataset.zarr"))
    gd.run(tiny("mggan"), store=folder / "nested" / "met")
    whole = folder / "seed-1"
    for path in (*(folder / name for name in BAD), folder / "7"):
        shutil.copytree(whole, path)
    (folder / "half" / "config.toml").write_text("method = ")
    for name in ("cut", EVIL):
        (folder / name / "run.json").write_text("[1, 2")
    shutil.rmtree(folder / "foreign" / "dataset.zarr" / "elapsed")
    tell(folder / "foreign", dataset=results.digest(folder / "foreign" / "dataset.zarr"))
    (folder / "empty" / "steps.jsonl").write_text("")
    tell(folder / "empty", state="failed")
    return folder


def tell(run, **facts):
    """Change what run.json says."""
    file = run / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | facts))


@pytest.fixture(scope="module")
def folder(runs):
    """What the server is told to serve: a link to the runs."""
    link = runs.parent / "served"
    link.symlink_to(runs)
    return link


@pytest.fixture(scope="module")
def address(folder):
    with served(folder, command=("gandask", "dashboard", str(folder))) as found:
        yield found


@pytest.fixture
def show(new_context, address):
    """Open a page with arguments; in the end, nothing may have gone wrong in it."""
    tabs = []

    def shown(page, width=1366, server=address, **arguments):
        tabs.append(Tab(new_context, width))
        query = urllib.parse.urlencode(arguments)
        return tabs[-1].open(f"{server}/{page}?{query}" if query else f"{server}/{page}")

    yield shown
    for tab in tabs:
        assert tab.wrong == []


def drawn(tab, figures):
    """Wait for as many figures, and see that none sticks out."""
    tab.wait(f"window.Bokeh && Bokeh.documents.length && {FIGURES} >= {figures}")
    width = tab.page.viewport_size["width"]
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width


def several(tab, line, seeds):
    """Wait for the line of several seeds, which says what it is."""
    told = f"{line}: mean and range of {seeds} seeds"
    named = "m => m.type === 'LegendItem' && m.label.value === " + json.dumps(told)
    tab.wait(f"window.Bokeh && Bokeh.documents.length && {MODELS}.some({named})")


def chosen(tab, key):
    """What the page's address says is chosen."""
    return urllib.parse.parse_qs(urllib.parse.urlsplit(tab.page.url).query)[key][0]


# ---- speedup


@pytest.mark.parametrize(("theme", "width"), [("default", 1366), ("dark", 1920)])
def test_speedup_and_time_by_routine_are_shown(show, theme, width):
    tab = show("speedup", width, theme=theme)
    drawn(tab, 3)
    tab.wait("location.search.includes('runs=')")
    found = json.loads(chosen(tab, "runs"))
    assert {"on-1", "on-2"} <= set(found)
    assert not {"seed-2", "seed-3", "nested/met"} & set(found), "no other has their settings"
    tab.see("parallel efficiency")
    text = tab.text()
    for words in ("Speedup", "Efficiency", "Time by routine", "E. Pérez, S. Nesmachnow", "1×2"):
        assert words in text
    row = tab.page.locator(".tabulator-row", has_text="on-2").inner_text().split()
    assert row == ["on-2", "1×2", "2", "2", "2", *row[5:]] and row[-2:] == ["1.5", "0.75"]


# ---- compare


@pytest.mark.parametrize(("theme", "width"), [("default", 1366), ("dark", 1920)])
def test_several_runs_are_compared(show, theme, width):
    names = ["seed-1", "seed-2", "seed-3", "nested/met"]
    tab = show("compare", width, runs=json.dumps(names), theme=theme)
    drawn(tab, 1)
    tab.see("Samples of the best")
    tab.page.locator("img[alt=samples]").nth(3).wait_for()
    text = tab.text()
    several(tab, "seed-1", 3)
    assert "mggan" in text and "ring8" in text and "finished" in text
    for label, axis in (
        ("wall time", "wall time"),
        ("batches", "generator steps"),
        ("bytes", "bytes that slots"),
    ):
        tab.page.get_by_role("button", name=label).click()
        tab.wait(f"{AXES}.some(label => label && label.startsWith('{axis}'))")
    tab.page.get_by_label("quality").select_option("modes covered of the mixture, 100 samples")
    tab.wait(f"{AXES}.some(label => label && label.includes('modes'))")


def test_what_is_compared_is_in_the_address(show):
    tab = show("compare", runs="seed-1,seed-2", variable="modes", along="elapsed")
    tab.wait(f"window.Bokeh && Bokeh.documents.length && {FIGURES} >= 1")
    tab.wait(f"{AXES}.some(l => l && l.startsWith('wall time'))")
    tab.wait(f"{AXES}.some(l => l && l.includes('modes'))")
    tab.page.get_by_role("button", name="batches").click()
    tab.wait("location.search.includes('along=batches')")
    tab.wait("document.title === '2 runs · gandask'")
    assert chosen(tab, "variable") == "modes"
    tab = show("compare", runs="seed-1,seed-2", variable="<b>", along="[1]")
    several(tab, "seed-1", 2)
    tab.wait("location.search.includes('along=round')")
    assert chosen(tab, "variable") == "fid"


def test_what_settings_did_is_drawn_and_what_cannot_be_compared_is_told(show):
    names = ["seed-1", "seed-2", "on-1", "nested/met"]
    tab = show("compare", runs=json.dumps(names))
    drawn(tab, 3)
    tab.see("Effect of a setting")
    options = tab.page.get_by_label("setting", exact=True).locator("option").all_inner_texts()
    assert {"shape", "rounds"} <= {*options}
    tab.page.get_by_label("setting", exact=True).select_option("rounds")
    tab.wait(f"{AXES}.some(label => label === 'rounds')")
    tab.wait(f"{AXES}.some(label => label === 'score')")
    assert tab.wrong == []


def test_figures_and_tables_fit_a_phone(show):
    names = json.dumps(["seed-1", "seed-2", "seed-3", "on-1", "nested/met"])
    tab = show("compare", 400, runs=names)
    drawn(tab, 3)
    tab.see("Samples of the best")
    columns = f"{MODELS}.filter(m => m.type === 'Legend').map(m => m.ncols)"
    tab.wait(f"{columns}.every(count => count === 1)")
    tab.wait(f"{MODELS}.some(m => m.type === 'Figure' && m.height === 260 + 2 * 22)")
    assert tab.page.get_by_label("take this figure away").count() == 3, "of each figure"
    for heading in tab.page.locator(".tabulator-headers").all():
        assert heading.bounding_box()["height"] < 130, "a few lines"
    tab.page.set_viewport_size({"width": 1366, "height": 768})
    tab.wait(f"{columns}.every(count => count === 3)")


def test_the_table_can_be_sorted(show):
    tab = show("compare", runs="seed-2,seed-3,seed-1")
    header = tab.page.locator(".tabulator-col", has_text="seed")
    header.click()
    cells = tab.page.locator(".tabulator-cell[tabulator-field=seed]")
    assert cells.all_inner_texts() == ["1", "2", "3"]
    header.click()
    assert cells.all_inner_texts() == ["3", "2", "1"]


def test_runs_can_be_added_and_taken_away(show):
    tab = show("compare", runs="seed-1")
    drawn(tab, 1)
    tab.page.locator(".choices").click()
    tab.page.locator(".choices__list--dropdown").get_by_text("seed-2", exact=True).click()
    several(tab, "seed-1", 2)
    tab.wait("location.search.includes('seed-2')")
    assert json.loads(chosen(tab, "runs")) == ["seed-1", "seed-2"]
    tab.page.reload()
    several(tab, "seed-1", 2)


# ---- what can be wrong


@pytest.mark.parametrize("page", ["speedup", "compare"])
def test_bad_runs_are_told_by_name_and_the_others_shown(show, page):
    tab = show(page, runs=json.dumps([*BAD, "seed-1"]))
    drawn(tab, {"speedup": 3, "compare": 1}[page])
    text = tab.text()
    for name, told in BAD.items():
        assert told in text.split(f"{name} : ", 1)[1][:200]
    assert tab.page.locator(".tabulator-row").count() == 1


@pytest.mark.parametrize("name", ["half", "../secret", EVIL])
def test_a_bad_run_alone_is_told(show, name):
    show("compare", runs=json.dumps([name])).see(BAD[name])


# ---- which runs are one line


def told(**settings):
    """A run of a round, by its settings."""
    table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    return xr.Dataset(coords={"round": [1]}, attrs={"settings": table})


def test_runs_that_differ_in_the_seed_alone_are_one_line():
    found = {
        "a": told(seed=1, x=1),
        "b": told(x=1),
        "c": told(x=1, seed=2),
        "d": told(x=2),
        "e": told(x=1, cluster="slurm"),
        "f": told(x=1).assign_attrs(fingerprint="of other data"),
    }
    assert labels(found) == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "a", "f": "f"}


def test_what_is_final_is_told_apart_from_what_is_of_a_round():
    score = {"better": "lower", "samples": 1000}
    ds = told(x=1).assign_attrs(score="fid").assign_coords(node=[0])
    ds["fid"] = ("round", "node"), [[28.9]], score
    done = ds.assign(final_fid=("node", [26.8], score | {"samples": 10_000, "final_of": "fid"}))
    found = scores([done, ds, told(x=1)])
    assert list(found) == ["FID, final, 10,000 samples", "FID, by round, 1,000 samples"]
    np.testing.assert_array_equal(
        [*found.values()], [[26.8, np.nan, np.nan], [np.nan, 28.9, np.nan]]
    )
