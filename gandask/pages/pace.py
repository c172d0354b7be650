"""The pace of drawing anew: watching runs may not cost them much."""

from __future__ import annotations

import contextlib
import logging
import time
import weakref
from collections.abc import Callable, Iterator
from typing import ClassVar

import panel as pn

from gandask.pages.panel_internals import settled

logger = logging.getLogger("gandask")

SHARE = 0.1  # of one core, at most, for all who watch in this process
REST = 50  # milliseconds at least until what else follows a cursor is drawn


def soon(drawing: Callable[[], None], wait: int) -> None:
    """Draw something once what was drawn before is on its way to the browser.

    Parameters
    ----------
    drawing : callable
    wait : int
        Milliseconds. Where there is no browser, as before the cell of a notebook is shown, it is
        drawn at once.
    """
    document = pn.state.curdoc
    if document is not None and document.session_context:
        document.add_timeout_callback(_logged(drawing), wait)
    else:
        drawing()


def regularly(looking: Callable[[], object], period: int) -> None:
    """Look for what is new as long as the page is open.

    Panel's own says each time, to all who are on any page, that the server is at work, and then
    that it is not. Bokeh clears up in a browser only once that is told nothing for half a minute:
    the figures of before stayed in its memory.

    Parameters
    ----------
    looking : callable
    period : int
        Milliseconds. Where there is no browser, nobody looks.
    """
    document = pn.state.curdoc
    if document is not None and document.session_context:
        document.add_periodic_callback(_logged(looking), period)


def _logged(act: Callable[[], object]) -> Callable[[], None]:
    """Log what fails: where an error passes through Bokeh, its document stays the current one."""

    def acting() -> None:
        try:
            act()
        except Exception:
            logger.exception("a page could not be drawn")

    return acting


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Let what is drawn within go to the browser at once, and in order.

    What the document consists of is looked through once at the end, if that changed.
    """
    document = pn.state.curdoc
    with pn.io.hold(), contextlib.nullcontext() if document is None else settled(document):
        yield


class Pace:
    """Rests after each drawing, the longer the more it took, and the more there are who follow."""

    following: ClassVar[weakref.WeakSet[Pace]] = weakref.WeakSet()

    def __init__(self) -> None:
        self.rests = 0.0

    @property
    def rested(self) -> bool:
        """Whether it is time to draw again."""
        return time.monotonic() >= self.rests

    @contextlib.contextmanager
    def drawing(self, again: bool) -> Iterator[None]:
        """Measure what is done within, if it is done `again` and again."""
        if not again:
            self.leave()
            yield
            return
        self.following.add(self)
        begun = time.thread_time()
        try:
            yield
        finally:
            taken = time.thread_time() - begun
            # on top of what it rests already, from another part of the same drawing
            begins = max(self.rests, time.monotonic())
            self.rests = begins + taken * len(self.following) / SHARE

    def leave(self) -> None:
        """Follow no longer."""
        self.following.discard(self)
