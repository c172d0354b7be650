"""What commands of the shell share: options, and mistakes said in one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import click

from gandask.commands.completing import KINDS, kinds, settings
from gandask.display import printable, printable_lines

P = ParamSpec("P")


def plain_errors(command: Callable[P, None]) -> Callable[P, None]:
    """Say what gandask refuses in one line: its messages need no traceback."""

    @wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        from gandask.core import (
            ClusterError,
            DataError,
            MethodError,
            SettingError,
            StoreError,
            TaskError,
        )

        refused = SettingError, DataError, MethodError, StoreError, TaskError, ClusterError
        try:
            command(*args, **kwargs)
        except refused as error:
            raise click.ClickException(printable_lines(str(error))) from error
        except OSError as error:  # without a file's name it is no mistake of the user's
            if error.filename is None:
                raise
            told = printable(f"{error.filename}: {error.strerror}")
            raise click.ClickException(told) from error

    return guarded


def import_option(command: Callable[P, None]) -> Callable[P, None]:
    """Add the option that names modules of the user's own, which are imported first."""

    @click.option(
        "--import",
        "imports",
        metavar="MODULE|FILE.py",
        multiple=True,
        help="Import methods, networks or losses of your own; GANDASK_IMPORT names them too.",
    )
    @wraps(command)
    def importing(*args: P.args, **kwargs: P.kwargs) -> None:
        from gandask import extensions

        named: Any = kwargs.pop("imports")
        given: Any = kwargs.get("run", kwargs.get("source"))
        # of what is called a run nothing is imported, though it lack what makes it one
        run = Path(given) if given is not None and Path(given).is_dir() else None
        trust = bool(kwargs.get("trust"))
        extensions.load_named(run, trust)
        extensions.load(named, run, trust)
        command(*args, **kwargs)

    return importing


def trust_option(command: Callable[P, None]) -> Callable[P, None]:
    """Add the option that lets a run name what it may not otherwise: it may be a stranger's."""
    told = "The run is your own: it may name functions to import and a cluster, and hold modules."
    return click.option("--trust", is_flag=True, help=told)(command)


def course_options(command: Callable[P, None]) -> Callable[P, None]:
    """Add the options that say how a run goes on; one that is resumed keeps its own."""
    options = [
        click.option(
            "--asynchronous/--synchronous",
            default=None,
            help="Let each slot go on at its own pace; or wait for all, as by default.",
        ),
        click.option(
            "--checkpoint-every", type=click.IntRange(1), help="Rounds; by default 10.", metavar="N"
        ),
        click.option(
            "--max-seconds",
            type=click.FloatRange(0, min_open=True),
            help="End early after so many.",
            metavar="N",
        ),
        click.option(
            "--patience",
            type=click.IntRange(1),
            help="End early after so many rounds without a better score.",
            metavar="N",
        ),
        click.option(
            "--strict-places", is_flag=True, help="Refuse where a place has no worker named so."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def where_options(command: Callable[P, None]) -> Callable[P, None]:
    """Add the options that say where to train."""
    known = f"{', '.join(KINDS)}, or a scheduler's address."
    options = [
        click.option("--cluster", metavar="KIND|ADDRESS", help=known, shell_complete=kinds),
        click.option("--workers", type=click.IntRange(1), help="How many; in process without."),
        click.option("--walltime", metavar="H:MM:SS", help="Of each worker's job."),
        click.option("--partition", metavar="NAME", help="Of the batch system, or its queue."),
        click.option(
            "--set",
            "assignments",
            metavar="KEY=VALUE",
            multiple=True,
            shell_complete=settings,
            help="Change a setting; cluster.KEY and heartbeat.KEY too.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
