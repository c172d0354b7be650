"""The house: imports go upwards only, and only its own folder knows a method."""

from __future__ import annotations

import ast
import collections
from pathlib import Path

import pytest

import gandask
from gandask.methods import METHODS
from gandask.scores.metrics import METRICS

ROOT = Path(gandask.__file__).parent
ORDER = (
    "version", "core", "display", "schedule", "checks", "config", "extensions", "loggers", "data",
    "training", "scores", "clients", "results", "plots", "methods", "execution", "cluster", "store",
    "runs", "repurposing", "engine", "pages", "presets", "commands", "__main__", "methods.testing",
)  # fmt: skip
"""Each may import those before it; `gandask/__init__.py`, the front door, any.

What tests methods runs them: it lies beside them, and above all that it runs.
"""


def modules() -> dict[str, Path]:
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = path
    return found


MODULES = modules()


def imported(name: str) -> set[str]:
    """Name the modules of gandask that one imports: lazily, or for type checkers, too."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                # a package's module, or else a name in it
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else str(node.module))
    return {one for one in found if one.split(".")[0] == "gandask"}


def floor(name: str) -> int:
    parts = name.split(".")
    whole = ".".join(parts[1:3])
    return ORDER.index(whole if whole in ORDER else parts[1])


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Find circles: of modules that reach each other, by Tarjan's algorithm."""
    numbers: dict[str, int] = {}
    lows: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        numbers[node] = lows[node] = len(numbers)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in numbers:
                visit(other)
                lows[node] = min(lows[node], lows[other])
            elif other in stack:
                lows[node] = min(lows[node], numbers[other])
        if lows[node] == numbers[node]:
            circle = []
            while not circle or circle[-1] != node:
                circle.append(stack.pop())
            if len(circle) > 1 or node in graph.get(node, ()):
                found.append(sorted(circle))

    for node in sorted(graph):
        if node not in numbers:
            visit(node)
    return found


INSIDE = {name for name in MODULES if name != "gandask"}


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_imports_go_upwards_only(name):
    below = {one for one in imported(name) - {"gandask"} if floor(one) > floor(name)}
    assert not below, f"{name} may not import {sorted(below)}: see ORDER"


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_nobody_inside_goes_through_the_front_door(name):
    assert "gandask" not in imported(name) or name in ALLOWED


ALLOWED = {"gandask.__main__"}
"""What may ask the front door for its version."""


def test_there_is_no_circle():
    # a package stands for its __init__, which its modules may import parts of
    graph = {name: imported(name) - {name} for name in INSIDE}
    assert circles(graph) == []


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles({"a": {"a"}}) == [["a"]]
    assert circles({"a": {"b"}, "b": set()}) == []


def test_every_module_has_its_floor():
    assert {name.split(".")[1] for name in INSIDE} <= set(ORDER)


def test_no_name_says_nothing():
    said = {"utils", "util", "helpers", "helper", "common", "base", "misc", "manager", "factory"}
    assert not said & {name.rpartition(".")[2] for name in MODULES}


def types_of(tree: ast.Module) -> set[str]:
    """Name the classes of a module and what it calls other types."""
    found = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
            found |= {one.id for one in node.targets if isinstance(one, ast.Name)}
    return {name for name in found if not name.isupper()}  # constants are none


def test_a_name_stands_for_one_type():
    homes = collections.defaultdict(list)
    for module, path in MODULES.items():
        for name in types_of(ast.parse(path.read_text(encoding="utf-8"))):
            homes[name].append(module)
    assert "Samples" in homes
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


# --- Only its own folder knows a method -----------------------------------------------------------

HOMES = ("gandask.methods.", "gandask.presets")


def words_of(method) -> set[str]:
    """Name what is a method's own: itself, its roles, dimensions and variables."""
    layout = method.layout()
    units = {dim for role in layout.roles.values() for dim in role.unit}
    own = {method.name, type(method).__name__, *layout.roles, *units, *layout.coords}
    return own | set(layout.variables)


REAL = [METHODS[name]() for name in ("grid", "mggan", "bpgan", "data_parallel")]
OF_TRAINING = {
    "generator",
    "loss",
    "learning_rate",
    "generator_learning_rate",
    "discriminator_learning_rate",
}
"""What training a pair, which is no method's own, speaks of and reports."""


def own_words(methods) -> set[str]:
    """Name what one method alone says: what several share is a word of the field."""
    said = collections.Counter(word for method in methods for word in words_of(method))
    return {word for word, count in said.items() if count == 1} - set(METRICS) - OF_TRAINING


def said_in(path: Path) -> list[tuple[int, str]]:
    """Give what a module says by name: texts but for docstrings, keywords, what it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    told = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            found.append((node.lineno, node.value))
        elif isinstance(node, ast.keyword) and node.arg:
            found.append((node.value.lineno, node.arg))
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found += [(node.lineno, alias.name.rpartition(".")[2]) for alias in node.names]
    return found


def test_only_its_own_folder_knows_a_method():
    words = own_words(REAL)
    known = []
    for name in sorted(INSIDE):
        if not name.startswith(HOMES) and name != "gandask.methods":
            known += [
                f"{name}:{line} {text!r}" for line, text in said_in(MODULES[name]) if text in words
            ]
    assert known == []


def test_what_a_method_calls_its_own_is_found(tmp_path):
    assert {"grid", "Grid", "cell", "row", "neighbour", "generator_fitness", "group"} <= own_words(
        REAL
    )
    path = tmp_path / "module.py"
    path.write_text('"""row"""\nfrom a import Grid\nf(row=1)\nx = "col"\nrow = 2\n')
    assert [text for _, text in said_in(path)] == ["Grid", "col", "row"]


# ---- text is read and written as UTF-8, whatever the locale


def unspoken(tree: ast.Module) -> list[int]:
    """Give the lines that read or write text in the locale's encoding."""

    def text_mode(call: ast.Call) -> bool:
        modes = [one.value for one in call.args if isinstance(one, ast.Constant)]
        return any(mode in ("r", "w", "a", "x") for mode in modes)

    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [(getattr(c.func, "attr", getattr(c.func, "id", "")), c) for c in calls]
    return [
        call.lineno
        for name, call in named
        if "encoding" not in {keyword.arg for keyword in call.keywords}
        if name in ("read_text", "write_text")
        or (name in ("open", "fdopen", "NamedTemporaryFile") and text_mode(call))
    ]


def test_text_is_utf_8_whatever_the_locale():
    found = {
        module: lines
        for module, path in MODULES.items()
        if (lines := unspoken(ast.parse(path.read_text(encoding="utf-8"))))
    }
    assert found == {}
    assert unspoken(ast.parse("a.write_text('b')\na.open('w')\na.open('wb')")) == [1, 2]
