"""Every page with axe, which looks for what keeps people with a screen reader or keyboard out."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import urllib.parse

import pytest
from browser import Tab, served
from conftest import tiny

import gandask as gd
from gandask.store import about
from gandask.store.about import About

AXE = "axe-core@4.10.2"
DIGEST = "RE3mdQ7P3FRSe7eqCWoeQ/Z9QXrtniSjp1wUjt5nRC3WIpz5rSCve6o3fsZ2aCpJtrZjSZgjwXAoTO5k4tEI0w=="
FOREIGN = ("choices__", "tabulator")
"""Classes of the widgets of others: Panel's list of choices, and its table."""


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """Give axe as it is published: it is under another licence, and no part of this project."""
    folder = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("needs npm, to fetch axe-core")
    told = subprocess.run(["npm", "pack", AXE], cwd=folder, capture_output=True, timeout=300)
    if told.returncode:
        pytest.skip(f"needs a network, to fetch axe-core: {told.stderr.decode()[-200:]}")
    (packed,) = folder.glob("*.tgz")
    assert base64.b64encode(hashlib.sha512(packed.read_bytes()).digest()).decode() == DIGEST
    with tarfile.open(packed) as archive:
        return archive.extractfile("package/axe.min.js").read().decode()


@pytest.fixture(scope="module")
def address(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("accessible") / "runs"
    gd.run(tiny(), store=folder / "first", progress=False)
    gd.run(tiny(seed=2), store=folder / "second", progress=False)
    about.write(folder / "first", About(("tag",), "a note"))
    with served(folder, command=("gandask", "dashboard", str(folder))) as found:
        yield found


PAGES = {
    "home": ({}, "tags and note of second"),
    "live": ({"run": "first"}, "take this figure away"),
    "speedup": ({"runs": "first,second"}, "take this figure away"),
    "compare": ({"runs": "first,second"}, "take this figure away"),
}


@pytest.mark.parametrize(("theme", "width"), [("default", 400), ("dark", 1366)])
@pytest.mark.parametrize("page", PAGES)
def test_nothing_serious_keeps_anybody_out(new_context, address, axe, page, theme, width):
    arguments, awaited = PAGES[page]
    tab = Tab(new_context, width)
    tab.open(f"{address}/{page}?{urllib.parse.urlencode(arguments | {'theme': theme})}")
    tab.page.get_by_label(awaited).last.wait_for()
    if page == "live":
        tab.page.get_by_role("slider", name="round").wait_for()
    tab.page.get_by_role("status", name="loading").wait_for(state="hidden")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.page.evaluate(axe)
    found = tab.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (one["id"], node["html"][:200])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
        if not any(words in node["html"] for words in FOREIGN)
    ]
    assert serious == []
    assert tab.wrong == []
