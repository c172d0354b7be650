"""The server of the pages: this machine's alone, unless there is a login."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

import click
import platformdirs
from bokeh.server.auth_provider import AuthModule
from panel.io.server import get_server

from gandask.core import SettingError
from gandask.pages import PAGES, catalogue, chosen, guard, panel_internals, passwords

PATIENCE = 120_000
"""Milliseconds that a busy machine's browser may take from a page to its websocket."""


def serve(
    runs: Path,
    port: int = 5006,
    address: str = guard.LOCAL,
    login: Path | None = None,
    origins: Sequence[str] = (),
    show: bool = False,
) -> None:
    """Serve the pages until interrupted.

    Parameters
    ----------
    runs : Path
        Folder of the runs; nothing else can be reached.
    port : int
        Of the server.
    address : str
        Interface to listen on. Any but this machine's own needs a `login`.
    login : Path, optional
        JSON file of names and passwords, asked for in place of a token.
    origins : sequence of str
        ``host:port`` by which browsers reach the server, where that is not `address`.
    show : bool
        Open a browser.

    Raises
    ------
    SettingError
        For an address without a login, a folder or file that is not there or that others may
        write, or a port in use.
    """
    if not runs.is_dir():
        raise SettingError(f"{str(runs)!r}: expected a folder of runs, such as runs")
    if not guard.is_local(address) and login is None:
        raise SettingError(
            f"address={address!r}: whoever reaches it could see and stop runs; give a login file, "
            f'--login users.json with {{"name": "password"}}, or leave the address at {guard.LOCAL}'
        )
    if login is not None:
        guard.require(passwords.read(login))
    os.environ[catalogue.VARIABLE] = str(runs.resolve())
    panel_internals.quieten()
    here = {guard.LOCAL, "127.0.0.1", socket.gethostname(), address}
    try:
        server = get_server(
            {"/": chosen, "/dashboards": chosen, **PAGES},
            port=port,
            address=address,
            websocket_origin=[*(f"{host}:{port}" for host in sorted(here)), *origins],
            auth_provider=AuthModule(str(guard.MODULE)),
            extra_patterns=panel_internals.ROUTES,
            title="gandask",
            unused_session_lifetime_milliseconds=PATIENCE,
        )
    except OSError as error:
        raise SettingError(f"port={port}: {error.strerror or error}; choose another") from error
    host = address if guard.is_local(address) else socket.gethostname()
    tell(f"http://{host}:{port}/", show)
    server.run_until_shutdown()


def tell(address: str = "", show: bool = False) -> None:
    """Tell the owner the address of the pages with its token, and nobody else.

    What is no terminal may be a log that others can read, and the arguments of a browser are seen
    by all: there the address is in a file that only the owner can read.

    Parameters
    ----------
    address : str
        Of the pages; without, only what has to be at its end is told.
    show : bool
        Open it in a browser.
    """
    if not guard.token():
        click.echo(f"pages: {address}", err=True)
        if show:
            webbrowser.open(address)
        return
    whole = f"{address or 'their address, and at its end '}?token={guard.token()}"
    file = None if sys.stderr.isatty() and not show else _write(whole, leading=bool(address))
    click.echo(f"pages: {whole if sys.stderr.isatty() else f'see {file}'}", err=True)
    if show and file:
        webbrowser.open(file.as_uri())


def _write(told: str, leading: bool) -> Path:
    """Write what is told to a page for the owner alone, which leads there if it can."""
    file = platformdirs.user_state_path("gandask") / f"pages-{os.getpid()}.html"
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as page:
        page.write(f"{guard.ONWARD.format(told) if leading else ''}\n<p>{told}\n")
    atexit.register(file.unlink, missing_ok=True)
    return file
