"""Pages inside a notebook: served by its kernel from a thread, so that no cell holds them up."""

from __future__ import annotations

import asyncio
import functools
import secrets
import threading
import urllib.parse
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import panel as pn
from markupsafe import Markup
from panel.io.server import get_server

from gandask.execution.dask_internals import proxied
from gandask.pages.frame import STYLE, argument, message
from gandask.pages.live import LivePage
from gandask.pages.panel_internals import ROUTES, part_threads
from gandask.runs import Run

HOST = "localhost"
HEIGHT = 900  # pixels
FRAME = Markup(
    '<iframe src="{0}" title="live page" width="100%" height="{1}" frameborder="0"></iframe>'
    '<div style="font-size: 12px"><a href="{0}" target="_blank" rel="noopener">'
    "The live page in a tab of its own</a>, as long as this kernel lives.</div>"
)
offered: dict[str, Path] = {}
"""Folders of the runs to be seen, by words that nobody guesses: other users share the machine."""


class Inline:
    """The live page of a run, as the value of a notebook's cell.

    Parameters
    ----------
    address : str
        Where browsers find it.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    def _repr_html_(self) -> str:
        return str(FRAME.format(self.address, HEIGHT))

    def __repr__(self) -> str:
        return f"the live page at {self.address}"


def live(run: Run) -> Inline:
    """Give the live page of one run, to be the value of a notebook's cell.

    Its address is formed as that of Dask's dashboard, by Dask's setting
    ``distributed.dashboard.link``: a site that takes browsers there takes them here.
    """
    word = secrets.token_urlsafe()
    offered[word] = run.store.path.resolve()
    return Inline(f"{proxied(HOST, _port())}live?run={word}")


@functools.cache
def _port() -> int:
    """Start the server of all pages of this kernel."""
    part_threads()
    started: Future[int] = Future()
    threading.Thread(target=_serve, args=(started,), name="gandask-pages", daemon=True).start()
    return started.result()


def _serve(started: Future[int]) -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())
    try:
        # a proxy has a name of its own, known to the browser alone; the words keep strangers out
        direct = urllib.parse.urlsplit(proxied(HOST, 0)).hostname == HOST
        origin = None if direct else "*"
        server = get_server(
            {"/live": _shown}, address=HOST, websocket_origin=origin, extra_patterns=ROUTES
        )
        server.start()
        started.set_result(server.port)
    except BaseException as error:  # whoever waits gets it
        started.set_exception(error)
        return
    server.io_loop.start()


def _shown() -> Any:
    """Make the page of the run that the address names."""
    pn.config.raw_css = [STYLE]
    if barred := _barred():
        return message(barred)
    page = LivePage(_barred)
    page.open(offered[argument("run")])
    return pn.Column(page.head, page.body, sizing_mode="stretch_width")


def _barred() -> str:
    return "" if argument("run") in offered else "There is no such page."
