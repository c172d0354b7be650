"""Every notebook runs from top to bottom, with one round, and is stored with its outputs."""

import os
import re
import socket
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from gandask import display

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cells):
    """What cells printed, but for warnings of Dask's own when a machine is busy."""
    outputs = [output for cell in cells for output in cell.outputs]
    texts = [output.text for output in outputs if output.output_type == "stream"]
    return [text for text in texts if " - distributed." not in text]


def test_there_is_a_notebook_for_each_purpose():
    assert {path.stem for path in NOTEBOOKS} == {
        "00-quickstart",
        "ensembles",
        "grid",
        "hpc",
        "labels",
        "mggan",
        "privacy",
        "split",
    }


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_with_one_round(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    first = code(notebook)[0]
    first.source, replaced = re.subn(r"^ROUNDS = \d+", "ROUNDS = 1", first.source, flags=re.M)
    assert replaced == 1, "the first cell sets ROUNDS"
    for cell in code(notebook):
        cell.outputs = []
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert any(cell.outputs for cell in code(notebook))
    assert not printed(code(notebook)), "nothing is printed"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_with_the_outputs_of_one_full_run(path):
    notebook = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert any(output.output_type in ("display_data", "execute_result") for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    assert not printed(code(notebook))
    text = path.read_text(encoding="utf-8")
    assert len(text) < 600_000, "more is too much for a repository"
    places = [f"/{name}/" for name in ("tmp", "root", "home", "work", "Users")]
    assert not [place for place in places if place in text], "a path of one machine"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_figure_has_a_still_picture_below_it(path):
    """Code hosts run no scripts: `python notebooks/still.py` puts the pictures there."""
    outputs = [out for cell in code(nbformat.read(path, as_version=4)) for out in cell.outputs]
    figures = [
        place
        for place, output in enumerate(outputs)
        if "application/vnd.holoviews_exec.v0+json" in output.get("data", {})
        and "text/plain" in output.data
    ]
    stills = [place for place, out in enumerate(outputs) if out.get("metadata", {}).get("still")]
    assert figures
    assert stills == [place + 1 for place in figures]


def test_the_first_cell_tells_what_a_notebook_shows():
    for path in NOTEBOOKS:
        first = nbformat.read(path, as_version=4).cells[0]
        assert first.cell_type == "markdown" and re.match(r"# .+\n\n\w", first.source), path.stem


@pytest.fixture
def kernel(monkeypatch):
    """Be a notebook's kernel, with nothing settled."""
    monkeypatch.setattr(display, "in_notebook", lambda: True)
    monkeypatch.setenv(display.INLINE, "")  # so that it is set back in the end
    monkeypatch.delenv(display.INLINE)


def test_outputs_carry_what_draws_them_where_the_network_does_not(kernel, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as origin:
        monkeypatch.setattr(display, "ORIGIN", origin.getsockname())
        display.settle_resources()
        assert os.environ[display.INLINE] == "false"
        del os.environ[display.INLINE]
    display.settle_resources()
    assert os.environ[display.INLINE] == "true", "nobody listens there any more"


def test_who_sets_the_variable_decides(kernel, monkeypatch):
    monkeypatch.setenv(display.INLINE, "false")
    monkeypatch.setattr(display, "ORIGIN", None)  # it is not asked
    display.settle_resources()
    assert os.environ[display.INLINE] == "false"


def test_outside_a_notebook_nothing_is_asked(kernel, monkeypatch):
    monkeypatch.setattr(display, "in_notebook", lambda: False)
    display.settle_resources()
    assert display.INLINE not in os.environ
