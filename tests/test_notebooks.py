"""Every notebook runs from top to bottom, with one round, and is stored with its outputs."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    assert NOTEBOOKS


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
    shown = [output for cell in code(notebook) for output in cell.outputs]
    assert shown
    assert not [output for output in shown if output.output_type == "stream"], "nothing is printed"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_with_the_outputs_of_one_full_run(path):
    notebook = nbformat.read(path, as_version=4)
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert any(output.output_type in ("display_data", "execute_result") for output in outputs)
    assert not [output for output in outputs if output.output_type == "error"]
    text = path.read_text(encoding="utf-8")
    assert len(text) < 4_000_000, "outputs of a few megabytes are too many for a repository"
