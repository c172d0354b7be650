"""The quickstart in a real JupyterLab, in a real browser, without a network."""

import contextlib
import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from browser import TEXT, Tab

ROOT = Path(__file__).parent.parent
QUICKSTART = ROOT / "notebooks" / "00-quickstart.ipynb"
ROUNDS = 6
TURNS = 4 * ROUNDS
LONGEST = 400  # seconds that a busy machine may take; a free one takes forty
CELLS = ".jp-Notebook .jp-CodeCell"
# a number when the cell is done, an asterisk until then
PROMPTS = f"""() => [...document.querySelectorAll("{CELLS} .jp-InputPrompt")]
  .map(prompt => prompt.textContent)"""
LINKS = """links => links.filter(link => link.textContent == "Dask").map(link => link.href)"""
TROUBLES = """() => [
  ...document.querySelectorAll('[data-mime-type*="stderr"], [data-mime-type*=".error"]')
].map(output => output.textContent).filter(text => !text.includes(" - distributed."))"""

# HoloViews asks for style sheets of Panel's whatever is set; its plots do without
STYLES = ("https://cdn.holoviz.org/panel/", "Failed to load resource: net::ERR_NAME_NOT_RESOLVED")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab over a copy of the quickstart, with settings of its own; gives its address."""
    if importlib.util.find_spec("jupyterlab") is None:
        if os.environ.get("GANDASK_REQUIRE_BROWSER") == "1":
            pytest.fail("jupyterlab is missing")
        pytest.skip("needs jupyterlab")
    folder = tmp_path_factory.mktemp("lab")
    (folder / "notebooks").mkdir()
    short(QUICKSTART, folder / "notebooks" / QUICKSTART.name)
    (folder / "config" / "labconfig").mkdir(parents=True)
    # it would ask whether to fetch news
    (folder / "config" / "labconfig" / "page_config.json").write_text(
        json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    )
    # all cells are there, also those out of sight
    settings = folder / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    places = {f"JUPYTER_{name.upper()}_DIR": str(folder / name) for name in ("config", "runtime")}
    places["JUPYTERLAB_SETTINGS_DIR"] = str(folder / "settings")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root"]
    command += [f"--port={port}", "--ServerApp.port_retries=0", "--ServerApp.token="]
    command += [f"--ServerApp.root_dir={folder / 'notebooks'}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | places | {"PYTHONPATH": path, "PANEL_INLINE": "true"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while not answers(f"{address}/api"):
            told = (folder / "log").read_text("utf-8")
            assert server.poll() is None and time.monotonic() < until, told
            time.sleep(0.2)
        yield address
    finally:
        server.terminate()  # it ends its kernels
        server.wait(60)


def short(path, copy):
    """Copy a notebook without its outputs, and with few rounds."""
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            cell.source = re.sub(r"^ROUNDS = \d+", f"ROUNDS = {ROUNDS}", cell.source, flags=re.M)
    nbformat.write(notebook, copy)


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def live_page(tab):
    """Give the frame of the live page, if it is there by now."""
    return next((frame for frame in tab.page.frames if "/live?run=" in frame.url), None)


def found(pattern, text):
    return [int(number) for number in re.findall(pattern, text)]


@pytest.mark.notebook
def test_the_quickstart_runs_and_its_page_follows_the_run(lab, new_context):
    tab = Tab(new_context, height=1000)
    tab.open(f"{lab}/lab/tree/{QUICKSTART.name}")
    tab.see("| Idle")
    tab.page.click(".lm-MenuBar-itemLabel:text-is('Run')")
    tab.page.click(".lm-Menu-itemLabel:text-is('Run All Cells')")
    bars, rounds, at_work, links = [], [], set(), set()
    until = time.monotonic() + LONGEST
    while "*" in (told := "".join(prompts := tab.page.evaluate(PROMPTS))) or "[ ]" in told:
        assert time.monotonic() < until, f"{told} {bars[-1:]} {rounds[-1:]}"
        bars += found(rf"(\d+)/{TURNS}\b", tab.text())
        frame = live_page(tab)
        with contextlib.suppress(Exception):  # the frame may just be loading
            seen = found(rf"round (\d+) of {ROUNDS}\b", frame.evaluate(TEXT)) if frame else []
            rounds += seen
            # the cell after the one that shows the page waits for the run
            at_work |= set(seen) if "*" in prompts[3] else set()
            links |= set(frame.locator("a").evaluate_all(LINKS)) if frame else set()
        tab.page.wait_for_timeout(200)
    assert not tab.page.evaluate(TROUBLES)
    assert bars == sorted(bars) and bars[-1] == TURNS and len(set(bars)) >= 4, "the bar moves"
    assert rounds == sorted(rounds), "the page only goes forward"
    assert len(at_work) >= 3, "the page follows while a cell waits"
    frame = live_page(tab)
    frame.wait_for_function(f"() => ({TEXT}).includes('round {ROUNDS} of {ROUNDS}')")
    frame.wait_for_function(f"() => ({TEXT}).includes('finished ·')")
    assert len(links) == 1 and re.fullmatch(r"http://127\.0\.0\.1:\d+/status", links.pop())
    assert not [trouble for trouble in tab.wrong if not any(known in trouble for known in STYLES)]
