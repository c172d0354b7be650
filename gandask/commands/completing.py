"""What a shell completes when Tab is pressed: runs, presets, settings, kinds of clusters."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

KINDS = ("local", "slurm", "pbs", "lsf", "sge", "oar", "htcondor", "srun")
"""Clusters that are started by name."""


class RunPath(click.Path):
    """The folder of a run."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Give the runs below the folder typed so far, or leave folders to the shell."""
        found = runs(incomplete)
        return _items(found) if found else [CompletionItem(incomplete, type="dir")]


RUN = RunPath(path_type=Path)


def sources(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give presets and runs, or leave files to the shell."""
    from gandask import presets

    known = [name for name in presets.names() if name.startswith(incomplete)]
    found = known + runs(incomplete)
    return _items(found) if found else [CompletionItem(incomplete, type="file")]


def kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the kinds of clusters."""
    return _items(kind for kind in KINDS if kind.startswith(incomplete))


def settings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the settings of the method that the command is about, or those that may change."""
    from gandask import config

    given = ctx.params.get("source") or ctx.params.get("run")
    # of a line that ends in an option without its value, click leaves arguments unread
    method = _method(given or next(iter(ctx.args), None))
    if method is None:
        return []
    helps = {f.name: f.metadata["help"] for f in config.fields(method)}
    names: Iterable[str] = method.schedules if ctx.command.name == "change" else helps
    return [
        CompletionItem(f"{name}=", help=helps[name])
        for name in names
        if name.startswith(incomplete)
    ]


def runs(typed: str) -> list[str]:
    """List the runs whose path begins with what was typed.

    Those below the folder that it names are looked for, as far down as `gandask list` does.
    """
    from gandask.store.listing import folders

    folder = typed.rpartition("/")[0] + "/" if "/" in typed else ""
    found = (str(path) for path in folders(Path(folder or ".")))
    lead = "./" if folder == "./" else ""  # paths are written without
    return sorted(lead + path for path in found if (lead + path).startswith(typed))


def _method(source: Any) -> Any:
    """Give the class of a method by a file, a preset or a run; None where there is none."""
    from gandask import config, presets
    from gandask.methods import STORED

    file = Path(str(source))
    file = file / config.SETTINGS_FILE if file.is_dir() else file
    try:
        in_file = file.suffix == ".toml"
        table = (
            tomllib.loads(file.read_text(encoding="utf-8"))
            if in_file
            else presets.read(str(source))
        )
        return STORED[str(table.get("method", next(iter(STORED))))]
    except Exception:  # whatever is wrong with it is said when the command is carried out
        return None


def _items(values: Iterable[str]) -> list[CompletionItem]:
    return [CompletionItem(value) for value in values]
