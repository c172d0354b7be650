"""Commands that ask something of a run that another process is at work on."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from gandask.commands import import_option, plain_errors
from gandask.commands.completing import RUN, settings
from gandask.display import say

if TYPE_CHECKING:
    from gandask.runs import Run

WHERE_IT_IS = ("run", "imports", "trust")
"""What `resume` may be told of a run that is paused: it goes on where it is, as it was."""


@click.command()
@click.argument("run", type=RUN)
@plain_errors
def pause(run: Path) -> None:
    """Let a run wait after the step under way, until it is resumed or stopped.

    Example: gandask pause runs/first
    """
    from gandask.runs import open_run
    from gandask.runs.advice import advice

    opened = open_run(run)
    opened.pause()
    _asked(opened, "to wait", advice(run, "paused"))


@click.command()
@click.argument("run", type=RUN)
@plain_errors
def stop(run: Path) -> None:
    """End a run after this round, with a checkpoint to continue it from.

    Example: gandask stop runs/first
    """
    from gandask.runs import open_run
    from gandask.runs.advice import advice

    opened = open_run(run)
    opened.stop()
    _asked(opened, "to end after this round", advice(run, "stopped"))


@click.command()
@click.argument("run", type=RUN)
@click.option(
    "--set",
    "assignments",
    metavar="KEY=VALUE",
    multiple=True,
    required=True,
    shell_complete=settings,
    help="A setting that its method lets change while it runs.",
)
@plain_errors
@import_option
def change(run: Path, assignments: tuple[str, ...]) -> None:
    """Give a run other settings from the next round on.

    Example: gandask change runs/first --set mutation_scale=0.01 --set neighbourhood=moore
    """
    from gandask.config import parse_assignment
    from gandask.runs import open_run

    changes = dict(map(parse_assignment, assignments))
    opened = open_run(run)
    opened.change(**changes)
    _asked(
        opened, f"to change {', '.join(changes)}", f"what came of it: gandask show {_quoted(run)}"
    )


def lets_go_on(context: click.Context, run: Path) -> bool:
    """Let a run go on that a process keeps paused; tell whether this is one.

    Parameters
    ----------
    context : Context
        Of the command `resume`, for what it was told.
    run : Path

    Raises
    ------
    SettingError
        If it was told what a run that only waits cannot heed.
    """
    from gandask.core import SettingError
    from gandask.runs import open_run

    opened = open_run(run)
    if opened.state != "paused" or context.params.get("force"):
        return False
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in WHERE_IT_IS
        and context.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT
    ]
    if given:
        raise SettingError(
            f"{', '.join(given)}: {run} is paused, and goes on where it is, as it was; leave that "
            f"out, or stop it first: gandask stop {_quoted(run)}"
        )
    opened.resume()
    _asked(opened, "to go on", f"how it stands: gandask show {_quoted(run)}")
    return True


def _quoted(run: Path) -> str:
    return shlex.quote(str(run))


def _asked(run: Run, what: str, then: str) -> None:
    told = run.store.description
    done = f"round {told['round']} of at most {run.rounds} is done"
    say(f"asked {run.store.path} {what}: {done}, and it looks for what is asked after each step")
    say(then)
