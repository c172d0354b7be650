"""Commands that say something of a run: tags and a note."""

from __future__ import annotations

from pathlib import Path

import click

from gandask.commands import plain_errors
from gandask.commands.completing import RUN
from gandask.display import printable, printable_lines, say


@click.command()
@click.argument("run", type=RUN)
@click.argument("words", nargs=-1)
@click.option("--remove", is_flag=True, help="Take these words away, or all without any.")
@plain_errors
def tag(run: Path, words: tuple[str, ...], remove: bool) -> None:
    """Tag a run with words, by which lists and pages find it; without any, say which it has.

    Example: gandask tag runs/first baseline paper

    Example: gandask tag runs/first paper --remove
    """
    from gandask.core import SettingError
    from gandask.display import suggestion
    from gandask.store import Store, about

    folder = Store.open(run).path
    known = about.read(folder)
    if remove:
        for word in words:
            if word not in known.tags:
                had = suggestion(word, known.tags) if known.tags else "it has none"
                raise SettingError(f"{run} has no tag {word!r}; {had}")
        left = [word for word in known.tags if words and word not in words]
        made = about.About(tuple(left), known.note)
    else:
        made = known.tagged(words)
    if made != known:
        about.write(folder, made)
    say(f"tags: {', '.join(map(printable, made.tags)) or 'none'}")


@click.command()
@click.argument("run", type=RUN)
@click.argument("text", required=False)
@plain_errors
def note(run: Path, text: str | None) -> None:
    """Keep a note with a run, in the place of the one before; without a text, say it.

    Example: gandask note runs/first "collapsed after round 40"

    Example: gandask note runs/first ""
    """
    from gandask.store import Store, about

    folder = Store.open(run).path
    known = about.read(folder)
    if text is not None:
        known = about.About(known.tags, text.strip())
        about.write(folder, known)
    say(f"note: {printable_lines(known.note) or 'none'}")
