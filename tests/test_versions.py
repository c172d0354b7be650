"""What leans on Dask, xarray, zarr and Panel, in brief: `.ci/oldest` tries it on the oldest."""

import tomllib
import urllib.request

import pytest
from browser import ROOT, served
from conftest import tiny
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import gandask as gd
from gandask.pages import report


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


def test_workers_come_to_what_one_process_does(run, assert_same):
    assert_same(run.ds, gd.run(tiny()))


def test_what_was_stored_is_read_again(run, assert_same):
    kept = run.store.read_dataset()
    assert kept is not None
    assert_same(kept, run.ds)


def test_a_report_draws_everything(run, tmp_path):
    assert "<html" in report.write(run, tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def address(run):
    with served(run.store.path.parent) as address:
        yield address


@pytest.mark.parametrize("page", sorted(path.stem for path in (ROOT / "dashboards").glob("*.py")))
def test_every_page_answers(address, page):
    with urllib.request.urlopen(f"{address}/{page}") as answer:
        assert answer.status == 200
