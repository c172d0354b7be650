"""Pages of the reference: one for each folder of the package, from its docstrings.

What a module offers is described once, under its shortest name: ``gandask.Grid``, not
``gandask.methods.grid.method.Grid``. Run it before Sphinx: ``python docs/reference.py``.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from sphinx.pycode import ModuleAnalyzer

MARKS = "=-~^"  # under headings, by depth


def main(package: str, folder: Path) -> None:
    """Write the pages of a package, and a page that lists them."""
    folder.mkdir(exist_ok=True)
    found = importlib.import_module(package)
    pages = {package: page(package, 0)} | {name: page(name, 0) for name in _below(found)}
    pages = {name: text for name, text in pages.items() if text}
    pages["index"] = index([*pages])
    for file in folder.glob("*.rst"):  # of modules that are gone
        if file.stem not in pages:
            file.unlink()
    for name, text in pages.items():
        file = folder / f"{name}.rst"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def index(names: Sequence[str]) -> str:
    """Write the page that lists the others, with what each module is for."""
    toctree = [".. toctree::", "   :hidden:", "", *(f"   {name}" for name in names), ""]
    told = [f"- :doc:`{name}`: {_first_line(name)}\n{_listed(name)}" for name in names]
    return "\n".join(["Reference", MARKS[0] * len("Reference"), "", *toctree, *told])


def page(name: str, depth: int) -> str:
    """Write the part of a module, and below it those of the modules of a folder."""
    module = importlib.import_module(name)
    # the package itself has a page apart from those of its folders
    below = [page(each, depth + 1) for each in _below(module)] if "." in name else []
    described = list(_described(module))
    if not any([*below, *described]):
        return ""
    unindexed = ["   :no-index:"] if _hidden(name) else []
    heading = [name, MARKS[depth] * len(name), ""]
    itself = [f".. automodule:: {name}", "   :no-members:", *unindexed, ""]
    members = [f".. auto{kind}:: {name}.{each}" for kind, each in described]
    return "\n".join([*heading, *itself, *members, "", *below])


def _listed(name: str, indent: str = "  ") -> str:
    """List the modules of a folder, each with what it is for."""
    below = _below(importlib.import_module(name)) if "." in name else []
    lines = []
    for each in below:
        last, inner = each.rpartition(".")[2], _listed(each, indent + "  ")
        lines.append(f"{indent}- ``{last}``: {_first_line(each)}\n{inner}")
    return "\n" + "\n".join(lines) if lines else ""


def _first_line(name: str) -> str:
    """Give the first line of a module's docstring."""
    return (importlib.import_module(name).__doc__ or "").partition("\n")[0]


def _below(module: ModuleType) -> list[str]:
    """List the modules of a folder, but for ``__main__``."""
    names = [each.name for each in pkgutil.iter_modules(getattr(module, "__path__", ()))]
    return [f"{module.__name__}.{each}" for each in names if not each.startswith("_")]


def _described(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Give kind and name of what a module describes."""
    name = module.__name__
    parents = [importlib.import_module(name[:at]) for at, sign in enumerate(name) if sign == "."]
    shorter = [getattr(parent, each) for parent in parents for each in _offered(parent)]
    for scope, each in ModuleAnalyzer.for_module(name).find_attr_docs():
        if not scope and not each.startswith("_"):
            yield "data", each
    for each in _offered(module):
        made = getattr(module, each)
        if _kind(made) != "data" and not any(made is known for known in shorter):
            yield _kind(made), each


def _offered(module: ModuleType) -> list[str]:
    """List the public names of a module: those in its ``__all__``, or what it defines."""
    own = [
        each
        for each, made in vars(module).items()
        if not each.startswith("_") and getattr(made, "__module__", "") == module.__name__
    ]
    offered = getattr(module, "__all__", own)
    return [each for each in offered if not inspect.ismodule(getattr(module, each))]


def _hidden(name: str) -> bool:
    """Tell whether a package offers something else under the name of this module."""
    package, _, last = name.rpartition(".")
    return bool(package) and last in _offered(importlib.import_module(package))


def _kind(made: object) -> str:
    """Say what autodoc calls this kind of object."""
    if inspect.isclass(made):
        return "exception" if issubclass(made, BaseException) else "class"
    return "function" if inspect.isroutine(made) else "data"


if __name__ == "__main__":
    main("gandask", Path(__file__).with_name("api"))
