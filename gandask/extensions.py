"""Modules of a user's own, which register methods, networks and losses when they are imported.

Named by ``--import`` and by the environment variable ``GANDASK_IMPORT``, and by nothing else:
what lies in a run's folder, which may be a stranger's, is not imported, whoever names it, and what
comes over the network imports nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from gandask import config
from gandask.checks import spelt_out
from gandask.core import SettingError

VARIABLE = "GANDASK_IMPORT"
"""Environment variable with modules or files to import, ``:`` between them (``;`` on Windows)."""

_files: dict[str, Path] = {}  # by name of the module


def load(references: Iterable[str], run: Path | None = None, trust: bool = False) -> None:
    """Import modules, or files that hold one, once each.

    Parameters
    ----------
    references : iterable of str
        ``FILE.py``, or the name of a module: one in the current folder comes first.
    run : Path, optional
        A folder that counts as a run's, whatever lies in it.
    trust : bool
        Whether one may lie in a run's folder.

    Raises
    ------
    SettingError
        If one is not there, fails, or lies in a run's folder.
    """
    for reference in references:
        file = Path(spelt_out(reference if reference.endswith(".py") else f"{reference}.py"))
        if not trust:
            _refuse_strangers(reference, file, run)
        try:
            if file.is_file():
                _load_file(file.resolve())
            elif reference.endswith(".py"):
                raise FileNotFoundError("there is no such file")
            else:
                importlib.import_module(reference)
        except Exception as error:  # whatever a user's module raises
            where = traceback.extract_tb(error.__traceback__)[-1]
            raise SettingError(
                f"--import or {VARIABLE}: {reference}: {type(error).__name__}: {error} "
                f"({where.filename}, line {where.lineno}); expected FILE.py, or a module that can "
                "be imported"
            ) from error


def load_named(run: Path | None = None, trust: bool = False) -> None:
    """Import what the environment variable names; see `load`."""
    load(filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)), run, trust)


def files() -> list[Path]:
    """List the files that were imported: what workers elsewhere do not have."""
    return [*_files.values()]


def _refuse_strangers(reference: str, file: Path, run: Path | None) -> None:
    """Raise SettingError for what lies in a run's folder: it may bear the name of what is meant."""
    for place in [file] if file.is_file() else config.folders_of(reference):
        inside = run is not None and place.resolve().is_relative_to(run.resolve())
        if inside or config.lies_in_a_run(place):
            raise SettingError(
                f"--import or {VARIABLE}: {reference}: {place} is within a run, and nothing there "
                "is imported; name a file elsewhere (copy it out if it is your own), or say "
                "--trust if the run is your own (train, resume, sample)"
            )


def _load_file(file: Path) -> None:
    """Import a file under its own name, by which workers will ask for it."""
    name = file.stem
    known = getattr(sys.modules.get(name), "__file__", None)
    if known is not None and Path(known).resolve() == file:
        _files[name] = file
        return
    if not name.isidentifier() or name in sys.modules:
        raise ImportError(f"there is another module {name!r}, or none can be called so: rename it")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError("it cannot be loaded")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _files[name] = file
