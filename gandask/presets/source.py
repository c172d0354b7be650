"""What a command is given: settings from a TOML file, a preset or a run, and what the shell adds.

A run may be a stranger's. From its folder come the settings of its method and heartbeat alone: no
cluster is contacted and no function imported that it names, unless the user trusts it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gandask import config, display, presets
from gandask.core import Method, SettingError, StoreError
from gandask.core.files import read_whole, refuse_deep
from gandask.execution.heartbeat import Heartbeat
from gandask.methods import STORED


@dataclass(frozen=True)
class RunSettings:
    """What to train, where, and how to watch over it."""

    method: Method[Any]
    cluster: dict[str, Any]
    heartbeat: Heartbeat | None


def read_run_settings(
    source: str, assignments: tuple[str, ...], where: dict[str, Any], trust: bool = False
) -> RunSettings:
    """Read a method from a TOML file, a preset or a run, with settings changed.

    Parameters
    ----------
    source : str
        ``FILE.toml``, the name of a preset, or a run's folder.
    assignments : tuple of str
        ``KEY=VALUE``; ``cluster.KEY`` and ``heartbeat.KEY`` too.
    where : dict
        What options say of the cluster.
    trust : bool
        Whether a run may name functions to import and a cluster to use.

    Raises
    ------
    SettingError
        For an unknown preset, setting or value.
    StoreError
        If a run that is not trusted names a function.
    """
    file = Path(source)
    if (file / config.SETTINGS_FILE).is_file():
        file /= config.SETTINGS_FILE
    table = _toml(file) if file.suffix == ".toml" else presets.read(source)
    if not trust and (file != Path(source) or _within_a_run(file)):
        _leave_out_cluster(table, file)
        given = {config.parse_assignment(text)[0] for text in assignments}
        table.pop("download", None)  # what is missing is fetched where the user says so
        _refuse_functions({key: value for key, value in table.items() if key not in given}, file)
    table = read_where(table, assignments, where)
    cluster, watch = table.pop("cluster"), table.pop("heartbeat")
    heartbeat = Heartbeat(**watch) if watch else None  # that of a run that is resumed is its own
    return RunSettings(config.from_dict(table, STORED), cluster, heartbeat)


def _within_a_run(file: Path) -> bool:
    """Tell whether a file lies in a run's folder, be it by a link, or was taken out of one."""
    if config.SETTINGS_FILE in (file.name, file.resolve().name):
        return True
    return config.lies_in_a_run(file)


def _toml(file: Path) -> dict[str, Any]:
    try:
        # editors of Windows begin files with a mark of their encoding
        table = tomllib.loads(read_whole(file).decode("utf-8-sig"))
        refuse_deep(table)
        return table
    except (OSError, ValueError, RecursionError) as error:
        raise SettingError(f"{file} cannot be read as TOML: {error}") from error


def _leave_out_cluster(table: dict[str, Any], file: Path) -> None:
    """Leave out where to train and how to watch over it: no part of a run."""
    left_out = [part for part in config.ELSEWHERE if table.pop(part, None) is not None]
    if left_out:
        display.say(
            f"{file} has [{'] and ['.join(left_out)}], which is not used: give yours (--cluster, "
            "--workers, --set cluster.KEY=VALUE), or say --trust if the run is your own",
            err=True,
        )


def _refuse_functions(table: dict[str, Any], file: Path) -> None:
    """Refuse functions that a run names, before a method is made of it."""
    known = STORED.get(str(table.get("method", next(iter(STORED)))))
    named = config.functions(config.unchecked(table, known)) if known else set()
    if named:
        raise StoreError(
            f"{', '.join(sorted(named))}: {file} names a function, which training would import; "
            "name it yourself (--set KEY=MODULE:FUNCTION), or say --trust if the run is your own"
        )


def read_where(
    table: dict[str, Any], assignments: tuple[str, ...], where: dict[str, Any]
) -> dict[str, Any]:
    """Put settings of the shell into a table; ``PART.KEY=VALUE`` goes into the table of a part.

    Raises
    ------
    SettingError
        For what is no assignment, or no table.
    """
    changed: dict[str, Any] = {"cluster": {}, "heartbeat": {}, **table}
    given = dict(map(config.parse_assignment, assignments))
    for key in sorted(given, key=lambda key: "." in key):  # tables first, then what goes into them
        part, _, name = key.partition(".")
        within = changed.get(part, {})
        if name and isinstance(within, dict):
            changed[part] = within | {name: given[key]}
        else:
            changed[key] = given[key]
    for part in config.ELSEWHERE:
        if not isinstance(changed[part], dict):
            raise SettingError(
                f"{part}={changed[part]!r}: expected a table, [{part}], or --set {part}.KEY=VALUE"
            )
    told = {"kind" if key == "cluster" else key: value for key, value in where.items()}
    changed["cluster"] = changed["cluster"] | {k: v for k, v in told.items() if v is not None}
    return changed
