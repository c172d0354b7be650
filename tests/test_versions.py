"""What leans on Dask, xarray, zarr and Panel, in brief: `.ci/oldest` tries it on the oldest."""

import tomllib
import urllib.parse
import urllib.request

import pytest
from bokeh.plotting import figure
from browser import ROOT, apart, served, tokens
from conftest import tiny
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gandask as gd
from gandask.pages import PAGES, report


def test_the_oldest_versions_allowed_are_those_that_are_tried():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [Requirement(line) for line in project["dependencies"]]
    pinned = [
        Requirement(line)
        for line in (ROOT / "constraints-oldest.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert {_bound(one, ">=") for one in required} == {_bound(one, "==") for one in pinned}


def _bound(requirement, operator):
    (only,) = requirement.specifier
    assert only.operator == operator
    return canonicalize_name(requirement.name), Version(only.version)


@pytest.fixture(scope="module")
def run(clients, tmp_path_factory):
    """Train on a worker, into a store."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    gd.run(tiny(), client=clients[1], store=folder)
    return gd.open_run(folder)


@pytest.mark.deep
def test_workers_come_to_what_one_process_does(run, assert_same):
    assert_same(run.ds, gd.run(tiny()))


@pytest.mark.deep
def test_what_was_stored_is_read_again(run, assert_same):
    kept = run.store.read_dataset()
    assert kept is not None
    assert_same(kept, run.ds)


@pytest.mark.deep
def test_a_report_draws_everything(run, tmp_path):
    assert "<html" in report.write(run, tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def address(run):
    with served(run.store.path.parent) as address:
        yield f"{address}/dashboards"


@pytest.mark.deep
@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_served(address, page):
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    token = tokens[urllib.parse.urlsplit(address).port]
    browser.open(f"{address}?token={token}").close()
    with browser.open(f"{address}?page={page}") as answer:
        # Panel answers an error in a page with an empty page of another title
        assert "<title>gandask" in answer.read().decode()


@pytest.mark.deep
@pytest.mark.parametrize("page", [page for page in PAGES if page != "home"])  # it has cards
def test_every_page_draws(run, monkeypatch, page):
    monkeypatch.setenv("GANDASK_RUNS", str(run.store.path.parent))

    async def figures():
        return list(PAGES[page]().get_root().select({"type": figure}))

    assert apart(figures())
