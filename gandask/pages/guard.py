"""Who may see pages and steer runs: whoever has the token of this server, or a name's password.

Bokeh asks here before it answers, over HTTP and before it opens a websocket (``auth.py`` beside
this module). Pages ask again when they are made, and before a run is steered, so that a server
that does not ask shows nothing.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import posixpath
import secrets
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import panel as pn
from markupsafe import Markup
from tornado.web import Finish, HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

MODULE = Path(__file__).with_name("auth.py")
"""What Bokeh loads by its path (its ``auth_module``)."""
LOGIN = "/login"
LOCAL = "localhost"
OWNER = "owner"
# a browser sends a cookie to every port of a machine: each server has its own
COOKIE = f"gandask-{os.getpid()}"
HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# no answer that redirects: on its way from elsewhere a browser would keep a strict cookie back
ONWARD = Markup(
    '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={0}">'
    '<a href="{0}">gandask</a>'
)
FORM = Markup(
    '<!doctype html><meta charset="utf-8"><title>gandask</title>'
    '<form method="post" style="font: 16px sans-serif; max-width: 30em; margin: 15vh auto">'
    '<h1>gandask</h1><p role="alert">{}</p>{}<button>Show the pages</button></form>'
)
FIELD = Markup('<p><label>{0} <input name="{0}" type="{1}" autocomplete="off"></label></p>')
TOKEN = (
    "The address that the server's terminal shows ends in ?token=...: open that, or give it here."
)

_words = {"": secrets.token_urlsafe()}  # a word to come in by for every name; of none, the token
_ticket = secrets.token_urlsafe()  # what the cookie holds


def require(passwords: Mapping[str, str]) -> None:
    """Ask for names and passwords from now on, and take no token."""
    _words.clear()
    _words.update(passwords)


def token() -> str:
    """Give the token of this server, or nothing where names and passwords are asked for."""
    return _words.get("", "")


def user(handler: RequestHandler) -> str | None:
    """Tell Bokeh who asks: the owner, by this server's cookie, or nobody.

    An address with the token is answered here: by the cookie, and the way to the same address
    without it.
    """
    if isinstance(handler, WebSocketHandler):
        return OWNER if _is_ticket(handler.get_cookie(COOKIE, "")) else None
    _set_headers(handler)
    if handler.request.path.endswith("/autoload.js"):  # what puts a page into another's
        raise HTTPError(403)
    given = handler.get_query_argument("token", "")
    if given and _admits("", given):
        _let_in(handler, handler.request.uri)
        raise Finish
    return OWNER if _is_ticket(handler.get_cookie(COOKIE, "")) else None


class Login(RequestHandler):
    """Ask for the token, or a name and its password."""

    def get(self) -> None:
        """Show the form."""
        self._ask("Log in." if not token() else TOKEN)

    def post(self) -> None:
        """Take what was filled in."""
        name = "" if token() else self.get_body_argument("username", "")
        if _admits(name, self.get_body_argument("token" if token() else "password", "")):
            _set_headers(self)
            _let_in(self, self.get_query_argument("next", "/"))
        else:
            self.set_status(403)
            self._ask("That is not it.")

    def _ask(self, words: str) -> None:
        asked = ("token",) if token() else ("username", "password")
        kinds = {"username": "text"}
        fields = Markup("").join(FIELD.format(name, kinds.get(name, "password")) for name in asked)
        _set_headers(self)
        self.finish(str(FORM.format(words, fields)))


def refused() -> str:
    """Say why this session may not see runs, if it may not.

    It needs the cookie of this server, or a login of Panel's; without a login it has to come from
    this machine, too.
    """
    context = pn.state.curdoc.session_context if pn.state.curdoc else None
    if context is None:  # not served: in a notebook
        return ""
    request = context.request
    if request is not None and _is_ticket(request.cookies.get(COOKIE, "")):
        if not token() or is_local(request.remote_ip or ""):
            return ""
        return (
            "This server shows runs to its own machine alone. To let others see them, start it "
            "with an address and a login: gandask dashboard --address 0.0.0.0 --login FILE"
        )
    if pn.config.basic_auth or pn.config.oauth_provider:
        # anyone may call himself a guest
        return "Log in first." if pn.state.user in (None, "guest") else ""
    return (
        "These pages are for who has the token of their server: gandask dashboard shows an address "
        "with it, panel serve dashboards/ the token. Pages served one by one have none."
    )


def is_local(address: str) -> bool:
    """Tell whether an address is this machine's alone.

    Examples
    --------
    >>> [is_local(address) for address in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "")]
    [True, True, True, False, False]
    """
    if address == LOCAL:
        return True
    try:
        return ipaddress.ip_address(address.split("%")[0]).is_loopback
    except ValueError:
        return False


def _admits(name: str, word: str) -> bool:
    expected = _words.get(name, secrets.token_urlsafe())
    return hmac.compare_digest(word.encode(), expected.encode())


def _is_ticket(value: str) -> bool:
    return hmac.compare_digest(value.encode(), _ticket.encode())


def _set_headers(handler: Any) -> None:
    for name, value in HEADERS.items():
        handler.set_header(name, value)


def _let_in(handler: Any, address: str) -> None:
    """Give a browser the cookie, and send it on."""
    secure = handler.request.protocol == "https"
    handler.set_cookie(COOKIE, _ticket, httponly=True, samesite="Strict", secure=secure)
    handler.finish(str(ONWARD.format(onward(handler.request.path, address))))


def onward(path: str, address: str) -> str:
    """Write an address on this server without its token, as seen from a path: proxies add theirs.

    Examples
    --------
    >>> onward("/live", "/live?token=abc&run=first"), onward("/login", "/?token=abc")
    ('./live?run=first', './.')
    >>> onward("/login", "//elsewhere.org/live")
    './live'
    """
    parts = urllib.parse.urlsplit(address)
    there = posixpath.relpath("/" + parts.path.lstrip("/"), posixpath.dirname(path))
    arguments = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    query = urllib.parse.urlencode([pair for pair in arguments if pair[0] != "token"])
    return f"./{there}?{query}" if query else f"./{there}"
