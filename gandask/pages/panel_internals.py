"""Whatever reaches into the private parts of Panel and Bokeh: all of it is here.

``tests/pages/test_panel_internals.py`` says what is taken for granted.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import traceback
import urllib.parse
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import bokeh.document
import bokeh.io.doc
import panel.io.server
from bokeh.server.views.auth_request_handler import AuthRequestHandler
from panel.io.resources import COMPONENT_PATH
from tornado.web import HTTPError, RequestHandler

Document = weakref.ReferenceType[Any]
PACKAGES = ("panel", "bokeh", "gandask")


class Components(AuthRequestHandler, panel.io.server.ComponentResourceHandler):
    """What the server gives of components: of loaded ones, and to whom its login lets in.

    Panel's own asks nobody who he is, and imports whatever module the address names: code runs,
    that of the current folder too.
    """

    async def prepare(self) -> None:
        """Refuse before a module is looked for.

        Raises
        ------
        HTTPError
            403 for who may not see pages, 404 for what no page is made of.
        """
        await super().prepare()
        if not self.current_user:
            raise HTTPError(403)
        module = self.path_args[0].split("/")[0]
        if module.split(".")[0] not in PACKAGES or module not in sys.modules:
            raise HTTPError(404)


ROUTES = [(f"/{COMPONENT_PATH}(.*)", Components)]
"""For ``get_server(extra_patterns=...)``: they come before Panel's own."""


class Named(RequestHandler):
    """Leads from the address that a page has by its name to that of the one app that has all."""

    def get(self, page: str | None) -> None:
        """Go on, with all arguments."""
        asked = dict(urllib.parse.parse_qsl(self.request.query, keep_blank_values=True))
        query = urllib.parse.urlencode(asked | ({"page": page} if page else {}))
        self.redirect(f"./dashboards?{query}" if query else "./dashboards")


def name_pages(names: Iterable[str]) -> None:
    """Give each page its own address in servers that Panel makes itself from now on."""
    panel.io.server.toplevel_patterns.insert(0, (f"/({'|'.join(names)})?", Named))


class OwnDocuments(threading.local):
    """The documents that the asking thread is at work on: Bokeh has one list for all threads.

    What a cell of a notebook draws while a page is drawn in another thread would have the page's
    style sheets, at addresses where the notebook has none.

    Parameters
    ----------
    before : list
        Bokeh's own: whoever is at work already ends with that.
    """

    def __init__(self, before: list[Document]) -> None:
        self.before = before
        self.documents: list[Document] = []

    def __len__(self) -> int:
        return len(self.documents)

    def __getitem__(self, place: int) -> Document:
        return self.documents[place]

    def append(self, document: Document) -> None:
        """Begin with one more."""
        self.documents.append(document)

    def pop(self) -> Document:
        """End the last one."""
        return (self.documents or self.before).pop()


def part_threads() -> None:
    """Let pages be drawn in a thread of their own, beside what others draw."""
    bokeh.io.doc._PATCHED_CURDOCS = OwnDocuments(bokeh.io.doc._PATCHED_CURDOCS)


@contextlib.contextmanager
def settled(document: bokeh.document.Document) -> Iterator[None]:
    """Find what models a document consists of once at the end, if it has others than before.

    Bokeh does so with each figure that changes, whatever changes in it; of a page of figures that
    takes longer than to draw one. Its own ``freeze`` does so at the end in any case.
    """
    models = document.models
    if "invalidate" in vars(models):  # somebody does this already
        yield
        return
    changes: list[None] = []
    roots, frozen = list(document.roots), models._freeze_count
    # `freeze`, which HoloViews and Panel enter with each figure, ends with `recompute`
    shadows = {"invalidate": lambda: changes.append(None), "recompute": lambda: None}
    vars(models).update(shadows)
    try:
        yield
    finally:
        for name in shadows:
            vars(models).pop(name, None)
        models._freeze_count = frozen  # an error that passes through `freeze` leaves it frozen
        if changes or list(document.roots) != roots:
            models.invalidate()


class Closed(logging.Filter):
    """Leaves out of the log that somebody closed a tab: Bokeh takes it for a fault of its own."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record says anything else."""
        if "Failed sending message as connection was closed" in record.getMessage():
            return False
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, AssertionError):
            return True
        # the session of a connection that is gone before it had one
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        return frame.f_globals.get("__name__") != "bokeh.server.connection"


def quieten() -> None:
    """Keep the server's log free of tabs that were closed."""
    for name in ("bokeh.server.views.ws", "tornado.application"):
        logging.getLogger(name).addFilter(Closed())


def close_components() -> None:
    """Close the components of servers that Panel makes itself from now on: ``panel serve``."""
    panel.io.server.ComponentResourceHandler = Components
