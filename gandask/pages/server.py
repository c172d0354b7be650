"""The server of the pages: this machine's alone, unless there is a login."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

import panel as pn

from gandask.core import SettingError
from gandask.pages import PAGES, catalogue, chosen

LOCAL = "localhost"


def serve(
    runs: Path,
    port: int = 5006,
    address: str = LOCAL,
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
        JSON file of names and passwords, as Panel's basic authentication takes it.
    origins : sequence of str
        ``host:port`` by which browsers reach the server, where that is not `address`.
    show : bool
        Open a browser.

    Raises
    ------
    SettingError
        For an address without a login, a folder or file that is not there, or a port in use.
    """
    if not runs.is_dir():
        raise SettingError(f"{str(runs)!r}: expected a folder of runs, such as runs")
    if not is_local(address) and login is None:
        raise SettingError(
            f"address={address!r}: whoever reaches it could see and stop runs; give a login file, "
            f'--login users.json with {{"name": "password"}}, or leave the address at {LOCAL}'
        )
    if login is not None and not login.is_file():
        raise SettingError(f"login={str(login)!r}: expected a JSON file of names and passwords")
    os.environ[catalogue.VARIABLE] = str(runs.resolve())
    here = {LOCAL, "127.0.0.1", socket.gethostname(), address}
    try:
        pn.serve(
            {"/": chosen, **PAGES},
            port=port,
            address=address,
            websocket_origin=[*(f"{host}:{port}" for host in sorted(here)), *origins],
            basic_auth=str(login) if login else None,
            cookie_secret=secrets.token_hex(32) if login else None,
            title="gandask",
            show=show,
        )
    except OSError as error:
        raise SettingError(f"port={port}: {error.strerror or error}; choose another") from error


def is_local(address: str) -> bool:
    """Tell whether an address reaches this machine alone.

    Examples
    --------
    >>> [is_local(address) for address in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "")]
    [True, True, True, False, False]
    """
    if address == LOCAL:
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
