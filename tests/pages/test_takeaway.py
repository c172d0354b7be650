"""Figures taken away: pictures in a real browser, numbers, and Python that works by itself."""

import csv
import io
import json
import subprocess
import sys
import urllib.parse
from pathlib import Path

import holoviews as hv
import pytest
from browser import Tab, served
from conftest import tiny
from PIL import Image

import gandask as gd
from gandask.pages.takeaway import python, table

FIGURES = (
    "(Bokeh.documents[0]._recompute_all_models(), "
    "[...Bokeh.documents[0]._all_models.values()]).filter(m => m.type === 'Figure')"
)
EVIL = "it's {a} 'run"
MENUS = "take this figure away"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("takeaway") / "runs"
    gd.run(tiny(shape=(2, 2)), store=folder / "a run", progress=False)
    gd.run(tiny(shape=(1, 2)), store=folder / EVIL, progress=False)
    return folder


@pytest.fixture(scope="module")
def address(runs):
    with served(runs, command=("gandask", "dashboard", str(runs))) as found:
        yield found


def opened(new_context, address, page, figures, **arguments):
    tab = Tab(new_context, accept_downloads=True)
    tab.open(f"{address}/{page}?{urllib.parse.urlencode(arguments)}")
    tab.wait(f"window.Bokeh && Bokeh.documents.length && {FIGURES}.length >= {figures}")
    tab.page.get_by_label(MENUS).nth(figures - 1).wait_for()
    return tab


def taken(tab, number, kind):
    """Take a figure away; give the name of the file, and its bytes."""
    tab.page.get_by_label(MENUS).nth(number).click()
    with tab.page.expect_download() as download:
        tab.page.get_by_role("button", name=kind, exact=True).locator("visible=true").click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def run_all(folder):
    """Run each file of Python there: in one process, each in a name space of its own."""
    runner = "import pathlib, runpy\n[runpy.run_path(str(p)) for p in pathlib.Path().glob('*.py')]"
    subprocess.run([sys.executable, "-c", runner], cwd=folder, check=True)


def test_every_figure_is_taken_away(new_context, address, runs, tmp_path):
    tab = opened(new_context, address, "live", 9, run="a run", round="2")
    count = tab.page.get_by_label(MENUS).count()
    assert count == tab.page.evaluate(f"{FIGURES}.length")
    tab.wait(f"{FIGURES}.some(f => f.title?.text === 'round 2')")
    for number in range(count):
        name, png = taken(tab, number, "PNG")
        picture = Image.open(io.BytesIO(png)).convert("RGB")
        assert name.endswith(".png") and min(picture.size) > 60
        assert len(picture.getcolors(1 << 24)) > 2, "something is drawn"
        assert picture.getpixel((0, 0)) == (255, 255, 255), "over the page's colour"
        name, svg = taken(tab, number, "SVG")
        assert name.endswith(".svg") and svg.startswith(b"<svg") and b"<path" in svg
        name, numbers = taken(tab, number, "CSV")
        rows = [*csv.reader(io.StringIO(numbers.decode()))]
        assert len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])}
        name, code = taken(tab, number, "Python")
        assert name.endswith(".py")
        (tmp_path / f"figure_{number}.py").write_bytes(code)
    run_all(tmp_path)
    made = {file.stem for file in tmp_path.glob("*.html")}
    assert {"map", "trace", "events", "mixture", "river"} <= made
    first = (tmp_path / "figure_0.py").read_text()
    assert f"gd.open_run({str(runs / 'a run')!r})" in first
    assert "run.plot.map(variable='fid', round=2, marked={'row'" in first
    assert tab.wrong == []


@pytest.mark.parametrize(
    ("page", "figures", "made"),
    [
        ("compare", 3, {"compare", "parallel", "effect"}),
        ("speedup", 3, {"speedup", "efficiency", "routines"}),
    ],
)
def test_what_is_of_several_runs_is_drawn_by_python_too(
    new_context, address, runs, tmp_path, page, figures, made
):
    names = json.dumps(["a run", EVIL])
    tab = opened(new_context, address, page, figures, runs=names, variable="modes")
    tab.wait("location.search.includes('runs=')")
    assert tab.page.get_by_label(MENUS).count() == figures
    for number in range(figures):
        name, code = taken(tab, number, "Python")
        assert name.endswith(".py")
        (tmp_path / f"figure_{number}.py").write_bytes(code)
    run_all(tmp_path)
    assert {file.stem for file in tmp_path.glob("*.html")} == made
    first = (tmp_path / "figure_0.py").read_text()
    assert f"{EVIL!r}: {str(runs / EVIL)!r}" in first
    assert ("variable='modes', along='round'" in first) is (page == "compare")
    tab.page.get_by_label(MENUS).first.click()
    assert tab.page.get_by_role("button", name="CSV", exact=True).locator("visible=true").count()
    tab.page.keyboard.press("Escape")
    assert not tab.page.get_by_role("button", name="CSV", exact=True).first.is_visible()
    assert tab.wrong == []


def test_numbers_are_those_that_are_drawn(runs):
    run = gd.open_run(runs / "a run")
    ds = run.ds
    rows = [*csv.DictReader(io.StringIO(table(run.plot.map("fid", 3))))]
    known = {(row["row"], row["col"]): row for row in rows if row.get("fid")}
    values = ds["fid"].sel(round=3)
    for (row, col), told in known.items():
        value = float(values.sel(row=int(float(row)), col=int(float(col))))
        assert float(told["fid"]) == pytest.approx(value)
    assert len(known) == 4
    assert table(hv.Text(0, 0, "nothing to see")) == ""


def test_any_name_of_a_folder_is_python(tmp_path):
    code = python(tmp_path / "a 'quoted\"\n\\ name", "map", round=1)
    compile(code, "figure", "exec")
    assert repr(str(tmp_path / "a 'quoted\"\n\\ name")) in code
