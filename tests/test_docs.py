"""What README, CONTRIBUTING and docs/ say: links lead somewhere, commands exist, code runs."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gandask import config
from gandask.__main__ import main
from gandask.cluster.batch import SYSTEMS
from gandask.methods import METHODS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
FENCED = re.compile(r"^```(?P<language>\S*).*?\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
NOT_RUN = re.compile(r"<!-- not run: [^>]+ -->\s*\Z")
BUILT = ("docs/api/", "docs/_build/")  # by make docs
named = pytest.mark.parametrize("guide", PAGES, ids=lambda guide: guide.stem)


def blocks(guide: Path, language: str) -> list[str]:
    """Give the fenced blocks of a language that are to work as they stand."""
    text = guide.read_text(encoding="utf-8")
    return [
        block["code"]
        for block in FENCED.finditer(text)
        if block["language"] == language and not NOT_RUN.search(text[: block.start()])
    ]


def prose(guide: Path) -> str:
    """Give a page without its fenced blocks."""
    return FENCED.sub("", guide.read_text(encoding="utf-8"))


def anchors(guide: Path) -> set[str]:
    """Give the anchors that code hosts and MyST make of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(guide), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def commands(guide: Path) -> Iterator[list[str]]:
    """Give the words of every gandask command in a page's blocks."""
    for block in blocks(guide, ""):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if "gandask" in words and words[0] in ("gandask", "srun"):
                yield words[words.index("gandask") + 1 :]


@named
def test_links_lead_to_files_and_headings(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(guide)):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = (guide.parent / name).resolve() if name else guide
        if linked.relative_to(ROOT).as_posix().startswith(BUILT):
            continue
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


@named
def test_commands_are_taken_by_the_shell(guide: Path) -> None:
    for words in commands(guide):
        if words[0].startswith("-") or words[0] == "COMMAND":
            continue
        command = main.commands[words[0]]
        assert not command.make_context(words[0], words[1:]).args, words


@named
def test_settings_in_toml_are_known(guide: Path) -> None:
    for block in blocks(guide, "toml"):
        table = tomllib.loads(block)
        assert table.pop("cluster", {"kind": "local"})["kind"] in {"local", *SYSTEMS}
        table.pop("heartbeat", None)
        if table["method"] in METHODS:  # a reader's own is not
            assert config.from_dict(table, METHODS).name == table["method"]


SIZES = re.compile(r"\b(rounds|epochs_per_round)=\d+")
"""What makes examples take a minute: here each runs for one of them."""


@pytest.mark.deep
@named
def test_code_runs_in_an_empty_folder(guide: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(guide, "python")):
        script = tmp_path / f"block_{number}.py"
        script.write_text(SIZES.sub(r"\1=1", block), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"
