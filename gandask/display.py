"""What people read: how objects look in a notebook, how places and names are spoken of."""

from __future__ import annotations

import contextlib
import difflib
import logging
import math
import os
import socket
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import click
from markupsafe import Markup

INLINE = "PANEL_INLINE"
"""Panel's environment variable: whether outputs carry JavaScript and styles themselves."""
ORIGIN = ("cdn.holoviz.org", 443)
"""Where browsers fetch them otherwise."""
PATIENCE = 1.0  # seconds in which it has to answer
ROW = Markup('<tr><th style="text-align: left">{}</th><td style="text-align: left">{}</td></tr>')


def table(rows: Mapping[str, Any]) -> Markup:
    """Write names and values as an HTML table of two columns.

    Examples
    --------
    >>> "&lt;b&gt;" in table({"name": "<b>"})
    True
    """
    lines = [ROW.format(name, _encodable(value)) for name, value in rows.items()]
    return Markup("<table>{}</table>").format(Markup("").join(lines))


def _encodable(value: Any) -> Any:
    return value if isinstance(value, Markup) else printable_lines(str(value))


def folded(title: str, rows: Mapping[str, Any]) -> Markup:
    """Write a table that opens when its title is clicked."""
    return Markup("<details><summary>{}</summary>{}</details>").format(title, table(rows))


def place(labels: Mapping[str, Any]) -> str:
    """Write the place of a unit for people.

    Examples
    --------
    >>> place({"row": 0, "col": 1})
    'row 0, col 1'
    """
    return ", ".join(f"{dim} {value}" for dim, value in labels.items())


def printable(text: str) -> str:
    r"""Spell out what cannot be printed, or not on one line: file names may hold any bytes.

    Examples
    --------
    >>> print(printable("gr\udcfcn\n"))
    gr\udcfcn\n
    """
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def printable_lines(text: str) -> str:
    r"""Spell out what cannot be printed in text of several lines: a run may be a stranger's.

    What a terminal obeys could change its title, or what was on it.

    Examples
    --------
    >>> print(printable_lines("rounds = 3\n\x1b]0;title\x07\ud800"))
    rounds = 3
    \x1b]0;title\x07\ud800
    """
    return "\n".join(map(printable, text.split("\n")))


def say(told: object, err: bool = False) -> None:
    """Print in the terminal, and nothing that it obeys."""
    click.echo(printable_lines(str(told)), err=err)


class PrintableFormatter(logging.Formatter):
    """Log messages as they are, but for what cannot be printed."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one message."""
        return printable_lines(super().format(record))


def in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook."""
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def settle_resources() -> None:
    """Let a notebook's outputs carry what draws them, where the network does not reach its origin.

    That is some megabytes in the notebook's file; ``PANEL_INLINE``, true or false, decides where it
    is set.
    """
    if in_notebook() and INLINE not in os.environ:
        os.environ[INLINE] = str(not _reached()).lower()


def _reached() -> bool:
    """Tell whether the origin answers; looking up its name may take longer than to connect."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError), socket.create_connection(ORIGIN, PATIENCE):
            answered.set()

    asking = threading.Thread(target=ask, name="gandask-origin", daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return answered.is_set()


def suggestion(word: str, known: Iterable[str]) -> str:
    """Propose the nearest known word, or list them all.

    Examples
    --------
    >>> suggestion("batchsize", ["batch_size", "seed"])
    "did you mean 'batch_size'?"
    >>> suggestion("zzz", ["batch_size", "seed"])
    'known are: batch_size, seed'
    """
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(names)}"


def duration(seconds: float) -> str:
    """Write a time span for people.

    Examples
    --------
    >>> [duration(s) for s in (0.84, 75, 3725, float("nan"))]
    ['0.8 s', '1 min 15 s', '1 h 2 min', '–']
    """
    if math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def number(value: float) -> str:
    """Write a number with three significant digits, and without exponents below a million.

    Examples
    --------
    >>> [number(v) for v in (0.01234, 12.0, 4567.8, 2.5e7, float("inf"), float("nan"))]
    ['0.0123', '12', '4,568', '2.5e+07', '∞', '–']
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
