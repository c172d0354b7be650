"""How far a run is: a bar in a terminal or a notebook, lines where a log is read, or nothing."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from gandask import display
from gandask.core import Method

logger = logging.getLogger("gandask")

EVERY = 30.0  # seconds between two lines


@dataclass(frozen=True)
class HowFar:
    """How far a run is.

    Parameters
    ----------
    turns : int
        Rounds of single slots that are done.
    round, rounds : int
        Those that every slot has completed, of how many.
    score : (str, float), optional
        The run's score by name, and its best value.
    over : bool
        Whether nothing is left to do.
    """

    turns: int
    round: int
    rounds: int
    score: tuple[str, float] | None = None
    over: bool = False

    @property
    def scored(self) -> str:
        """The score in a few words, or nothing."""
        return f"{self.score[0]} {self.score[1]:.4g}" if self.score else ""


class Progress(Protocol):
    """What is told how far a run is."""

    def begin(self, how_far: HowFar) -> None:
        """Take what was done before, such as by a run that is continued."""

    def tell(self, how_far: HowFar) -> None:
        """Show how far it is."""


class Silent:
    """Show nothing."""

    def begin(self, how_far: HowFar) -> None:
        """Show nothing."""

    def tell(self, how_far: HowFar) -> None:
        """Show nothing."""


class Bar:
    """Move a bar of tqdm."""

    def __init__(self, drawn: Any) -> None:
        self.drawn = drawn

    def begin(self, how_far: HowFar) -> None:
        """Begin where the run does: what was done before says nothing of its pace."""
        self.drawn.initial = self.drawn.n = how_far.turns
        self.drawn.refresh()

    def tell(self, how_far: HowFar) -> None:
        """Move it to where the run is, with the score behind it."""
        self.drawn.set_postfix_str(how_far.scored, refresh=False)
        self.drawn.update(how_far.turns - self.drawn.n)
        if how_far.over:
            self.drawn.total = self.drawn.n  # there may have been fewer rounds than at most
            self.drawn.refresh()


class LogLines:
    """Log a line now and then, as the log of a batch job is read."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.last = (0.0, 0)  # time and round of the last line
        self.told = False

    def begin(self, how_far: HowFar) -> None:
        """Begin to count where the run does."""
        self.last = self.clock(), how_far.round

    def tell(self, how_far: HowFar) -> None:
        """Log a line, if it is time to: the last one too, of a run of which there were others."""
        now, (then, before) = self.clock(), self.last
        if now - then < EVERY and not (how_far.over and self.told):
            return
        self.last, self.told = (now, how_far.round), True
        parts = [f"round {how_far.round} of {how_far.rounds}"]
        parts += [how_far.scored] if how_far.score else []
        if how_far.round > before:
            each = (now - then) / (how_far.round - before)
            parts.append(f"{each:.3g} s a round")
            left = each * (how_far.rounds - how_far.round)
            parts += [] if how_far.over else [f"about {display.duration(left)} left"]
        logger.info(" · ".join(parts))


@contextlib.contextmanager
def progress_of(method: Method[Any], shown: bool | None) -> Iterator[Progress]:
    """Show how far a run is: in a terminal, in a notebook, in a log, or not at all.

    Parameters
    ----------
    method : Method
    shown : bool, optional
        Whether to show a bar; by default where there is a terminal or a notebook, else lines.
    """
    if shown is False:
        yield Silent()
        return
    _speak()
    notebook = display.in_notebook()
    if not (shown or notebook or sys.stderr.isatty()):
        yield LogLines()
        return
    total = method.rounds * len(method.layout().slots)
    made = _widget() if notebook else tqdm
    # lines go above the bar, not through it
    with made(total=total, unit="turn", desc=method.name) as bar, logging_redirect_tqdm([logger]):
        yield Bar(bar)


def _speak() -> None:
    """Let events be seen where no logging is set up."""
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(display.PrintableFormatter("%(message)s"))
        logger.addHandler(handler)
        # in a notebook a line would go to whichever cell is at work
        logger.setLevel(logging.WARNING if display.in_notebook() else logging.INFO)


def _widget() -> Any:
    """Give the bar of notebooks where it can be drawn, or else the one of text."""
    if importlib.util.find_spec("ipywidgets") is None:
        return tqdm
    from tqdm.notebook import tqdm as drawn

    return drawn
