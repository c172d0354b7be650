"""What all pages share: the head with its links, the look, messages."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import panel as pn
from markupsafe import Markup

from gandask import extensions
from gandask.core import SettingError
from gandask.pages import guard
from gandask.pages.busy import BusySign

STYLE = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
NAMES = ("home", "live", "speedup", "compare")
SKELETON = Markup('<div class="skeleton{}" role="status" aria-label="loading">{}</div>')
NICENESS = 5  # a run on the same machine goes first, but pages still answer beside it


def page(name: str, content: Callable[[], Any]) -> Any:
    """Frame a page: give it its head and its look, or say why it is not shown.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    content : callable
        Makes what is below the head.
    """
    pn.extension("tabulator", notifications=False)
    pn.config.raw_css = [STYLE]
    if hasattr(os, "nice") and os.nice(0) < NICENESS:
        os.nice(NICENESS)
    barred = guard.refused() or _lacking()
    body = message(barred) if barred else content()
    return pn.Column(head(name), body, sizing_mode="stretch_width", css_classes=["gandask"])


def head(name: str) -> Any:
    """Make the head of a page: the other pages, for the same run and in the same colours."""
    known = {key: value for key, value in arguments().items() if key in ("run", "runs", "theme")}
    links = Markup("").join(
        Markup('<a href="{}"{}>{}</a>').format(
            _address(other, known),
            Markup(' aria-current="page"') if other == name else "",
            other,
        )
        for other in NAMES
    )
    dark = known.get("theme") == "dark"
    other_theme = _address(name, {**known, "theme": "default" if dark else "dark"})
    switch = Markup('<a class="theme" href="{}">{}</a>').format(
        other_theme, "light" if dark else "dark"
    )
    bar = Markup('<nav class="head"><b>gandask</b>{}{}</nav>').format(links, switch)
    return pn.Column(html(bar, margin=0), busy(), sizing_mode="stretch_width")


def busy() -> Any:
    """Make the sign that the page is at work: seen where that takes longer than a moment."""
    return BusySign(
        width=12,
        height=12,
        margin=0,
        styles={"position": "fixed", "top": "16px", "right": "70px", "z-index": "9"},
    )


def message(text: str) -> Any:
    """Say something in the place of a page, or of a part of it."""
    return html(Markup('<p class="message">{}</p>').format(text))


def skeleton(shapes: int = 3, kind: str = "") -> Any:
    """Show grey shapes in the place of what is being read.

    Parameters
    ----------
    shapes : int
    kind : str
        A class of what they stand for, so that they lie as it will.
    """
    return html(SKELETON.format(f" {kind}" if kind else "", Markup("<div></div>") * shapes))


def html(markup: Markup, **options: Any) -> Any:
    """Show HTML in which everything that comes from a run is escaped."""
    given = {"sizing_mode": "stretch_width", "margin": (0, 8)} | options
    return pn.pane.HTML(str(markup), stylesheets=[STYLE], **given)


def dark() -> bool:
    """Tell whether a page has a dark ground."""
    return bool(pn.config.theme == "dark")


def card(title: str, *content: Any, **options: Any) -> Any:
    """Put a heading over content."""
    heading = html(Markup("<h2>{}</h2>").format(title))
    return pn.Column(heading, *content, **{"css_classes": ["card"], **options})


def _lacking() -> str:
    """Import what the user named, as the shell does; say what cannot be imported."""
    try:
        extensions.load_named()
    except SettingError as error:
        return str(error)
    return ""


def argument(name: str) -> str:
    """Give an argument of the page's address, or nothing."""
    return arguments().get(name, "")


def arguments() -> dict[str, str]:
    """Give the arguments of the page's address."""
    given = pn.state.session_args or {}
    return {
        key: values[0].decode("utf-8", "replace") if isinstance(values[0], bytes) else values[0]
        for key, values in given.items()
        if values
    }


def link(page: str, **values: str) -> str:
    """Give the address of a page with arguments, in the colours of this one."""
    theme = argument("theme")
    return _address(page, {"theme": theme, **values} if theme else values)


def _address(page: str, arguments: Mapping[str, str]) -> str:
    """Give the address of a page beside this one: pages have names, or share one as arguments."""
    path = (pn.state.location.pathname or "") if pn.state.location else ""
    # a session that was waited for too long is made anew as its websocket opens
    named = path.removesuffix("/ws").rsplit("/", 1)[-1]
    if named in NAMES:
        query = urllib.parse.urlencode(arguments)
        return f"{page}?{query}" if query else page
    return "?" + urllib.parse.urlencode({"page": page, **arguments})
