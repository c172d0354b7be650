"""Connections of clients, hub and who asks: WebSockets over TLS, all with the same bounds."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from gandask.clients.messages import MOST
from gandask.core import SettingError

Address = tuple[str, int]
"""Host and port."""

BROKEN = (OSError, EOFError, WebSocketException)
"""What is raised when a connection cannot be made, or breaks."""
BOUNDS: Mapping[str, Any] = {
    "compression": None,  # a small frame could come to a large one
    "max_size": MOST,
    "max_queue": 1,
    # an end that is gone is noticed within the sum
    "ping_interval": 10.0,
    "ping_timeout": 20.0,
    "close_timeout": 1.0,
}
PIECE = 1 << 18
"""Bytes that are sent in one go: what keeps a connection alive gets through between them."""
CLIENT, ASKER = "/client", "/ask"  # paths: what who dials is to the hub
WAITS = "waits"
"""What who asks sends in the place of a frame: the client is there, and not ready."""

Announce = Callable[[str, str, str], None]
"""Told what happened (``joined``, ``left``, ``waiting``), to which client, and more of it."""


def unready(client: str) -> tuple[str, str, str]:
    """Give what is told of a client that is waited for though it is there."""
    return "waiting", client, "it is asked, and not ready: its owner is told why"


def dialled(address: Address, path: str, secured: ssl.SSLContext) -> connect:
    """Connect to a hub, asynchronously: threads must not share what encrypts a connection.

    Returns
    -------
    websockets.asyncio.client.connect
        To be awaited, or an asynchronous context manager. It raises what is in `BROKEN` if the
        hub is not there, or refuses.
    """
    host, port = address
    spelt = f"[{host}]" if ":" in host else host
    return connect(f"wss://{spelt}:{port}{path}", ssl=secured, proxy=None, **BOUNDS)


def pieces(frame: bytes) -> Iterator[memoryview]:
    """Cut a frame into pieces to send.

    Examples
    --------
    >>> [len(piece) for piece in pieces(bytes(300_000))]
    [262144, 37856]
    """
    whole = memoryview(frame)
    return (whole[begin : begin + PIECE] for begin in range(0, max(len(frame), 1), PIECE))


def why(error: BaseException) -> str:
    """Say why a connection could not be made, or broke."""
    if isinstance(error, InvalidStatus):
        told = (error.response.body or b"")[:200].decode(errors="replace").strip()
        return f"refused ({told or error.response.status_code})"
    return str(error) or type(error).__name__


def address(text: str) -> Address:
    """Read host and port.

    Raises
    ------
    SettingError
        If they are none.

    Examples
    --------
    >>> address("server.example:9000"), address("[::1]:9000")
    (('server.example', 9000), ('::1', 9000))
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise SettingError(f"server={text!r}: expected HOST:PORT, such as server.example:9000")
    return host, int(port)
