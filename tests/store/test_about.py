"""Tags and a note of a run: in a file that may be anybody's."""

import json

import pytest
from test_cli import call, refused

from gandask.core import SettingError, StoreError
from gandask.methods.testing import Toy
from gandask.store import about, create
from gandask.store.about import LARGEST, LONGEST, MOST, NOTE, About


@pytest.fixture
def run(tmp_path):
    store = create(tmp_path / "run", Toy(nodes=2, rounds=2), {})
    store.describe("stopped", 1)
    store.release()
    return store.path


def test_what_is_said_is_read_and_nothing_leaves_no_file(run):
    assert about.read(run) == About()
    said = About(("a", "bäume", "<b>"), "one\ntwo")
    about.write(run, said)
    assert about.read(run) == said
    about.write(run, About())
    assert not (run / about.FILE).exists()
    about.write(run, About())


@pytest.mark.parametrize(
    "told",
    [
        {"tags": ["two words"]},
        {"tags": ["a,b"]},
        {"tags": [""]},
        {"tags": ["\x1b[31m"]},
        {"tags": ["x" * (LONGEST + 1)]},
        {"tags": [f"t{n}" for n in range(MOST + 1)]},
        {"note": "x" * (NOTE + 1)},
        {"note": "\ud800"},
    ],
)
def test_what_is_not_kept_is_refused_written_or_read(run, told):
    with pytest.raises(SettingError, match=r"expected|UTF-8"):
        About(tuple(told.get("tags", ())), told.get("note", ""))
    (run / about.FILE).write_text(json.dumps({"tags": [], "note": ""} | told))
    with pytest.raises(StoreError, match=r"about\.json cannot be read"):
        about.read(run)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"tags": "ab", "note": ""}', '{"tags": [], "note": 1}']
)
def test_a_damaged_file_is_told_and_never_overwritten_by_a_tag(run, text):
    (run / about.FILE).write_text(text)
    with pytest.raises(StoreError, match="remove it"):
        about.read(run)
    assert "about.json cannot be read" in refused("tag", run, "a")
    assert (run / about.FILE).read_text() == text
    assert call("list", run.parent).exit_code == 0
    assert "about.json cannot be read" in call("show", run).output


def test_a_large_file_and_a_link_are_not_followed(run, tmp_path):
    (run / about.FILE).write_text(json.dumps({"tags": [], "note": "", "more": "x" * LARGEST}))
    with pytest.raises(StoreError, match="larger"):
        about.read(run)
    (run / about.FILE).unlink()
    (tmp_path / "target").write_text("precious")
    (run / about.FILE).symlink_to(tmp_path / "target")
    about.write(run, About(("a",)))
    assert (tmp_path / "target").read_text() == "precious"
    assert about.read(run) == About(("a",))


def test_runs_are_tagged_in_the_shell_and_found_by_it(run):
    assert call("tag", run, "good", "paper", "good").output == "tags: good, paper\n"
    assert call("tag", run).output == "tags: good, paper\n"
    assert call("note", run, " collapsed\nlate ").output == "note: collapsed\nlate\n"
    assert "tags: good, paper" in call("show", run).output
    assert "note: collapsed" in call("show", run).output
    title, row, *_ = call("list", run.parent, "--tag", "paper").output.splitlines()
    assert "tags" in title
    assert "good, paper" in row
    assert "no run like this" in call("list", run.parent, "--tag", "paper", "--tag", "x").output
    assert "did you mean 'paper'?" in refused("tag", run, "papre", "--remove")
    assert call("tag", run, "paper", "--remove").output == "tags: good\n"
    assert call("tag", run, "--remove").output == "tags: none\n"
    assert "it has none" in refused("tag", run, "good", "--remove")
    assert call("note", run).output == "note: collapsed\nlate\n"
    assert call("note", run, "").output == "note: none\n"
    assert not (run / about.FILE).exists()
    assert "tags" not in call("list", run.parent).output
    assert "no space" in refused("tag", run, "a b")
    assert "is not a run" in refused("note", run.parent, "a")
