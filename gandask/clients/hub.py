"""The hub: clients dial in and stay, tasks ask through it; what it passes on it does not read."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import http
import logging
import threading
from collections.abc import Sequence
from typing import Any, Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from gandask.clients import credentials
from gandask.clients.connecting import (
    ASKER,
    BOUNDS,
    CLIENT,
    WAITS,
    Address,
    Announce,
    pieces,
    unready,
)
from gandask.core import ClusterError
from gandask.core.certificates import Certified, spoken_for

_log = logging.getLogger(__name__)  # strangers who knock are no news
_log.addHandler(logging.NullHandler())
_log.propagate = False


class Hub:
    """Listen for clients and for those that ask them; a context manager.

    Clients dial in and stay connected; a second connection of the same client replaces the first.
    Who asks names a client and sends a frame, and gets the client's frame. Where the client is not
    there, or is lost before it has answered, the request waits and is sent again when it is back:
    requests must be idempotent. Each client is sent one request at a time. In the place of a frame
    who asks may send `WAITS`: then it is told that the client is waited for.

    Parameters
    ----------
    listen : tuple of str and int
        Host and port; 0 for any that is free.
    authority : Certified
        Whose clients may dial in, as `credentials` keeps or makes it.
    clients : sequence of str
        Their names; others are refused.
    tell : callable
        Called in the hub's thread, so it should return soon and not raise.

    Attributes
    ----------
    address : tuple of str and int
        Where it listens, within the context.

    Raises
    ------
    ClusterError
        On entering, if it cannot listen there.
    """

    address: Address

    def __init__(
        self, listen: Address, authority: Certified, clients: Sequence[str], tell: Announce
    ) -> None:
        pem = credentials.issue_server(authority)
        self._listen, self._clients, self._tell = listen, tuple(clients), tell
        self._secured = credentials.context(pem, serving=True)
        self._thread = threading.Thread(target=self._run, name="gandask-hub", daemon=True)
        self._started: concurrent.futures.Future[Address] = concurrent.futures.Future()

    def __enter__(self) -> Self:
        self._thread.start()
        self.address = self._started.result()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop()
        self._thread.join()

    def _run(self) -> None:
        asyncio.run(self._listening())

    async def _listening(self) -> None:
        stopping = asyncio.Event()
        self._stop = functools.partial(
            asyncio.get_running_loop().call_soon_threadsafe, stopping.set
        )
        self._seats = {name: _Seat() for name in self._clients}
        host, port = self._listen
        options: dict[str, Any] = {"process_request": self._admit, "logger": _log, **BOUNDS}
        try:
            server = await serve(self._attend, host, port, ssl=self._secured, **options)
        except OSError as error:
            told = f"no hub of clients can listen at {host}:{port}: {error}"
            self._started.set_exception(ClusterError(f"{told}; give another host or port"))
            return
        except BaseException as error:
            self._started.set_exception(error)  # or who waits for it would wait for ever
            raise
        async with server:
            self._started.set_result(next(iter(server.sockets)).getsockname()[:2])
            await stopping.wait()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse who is neither one of the clients nor of the server's side."""
        name, serving = _peer(connection)
        known = serving if request.path == ASKER else not serving and name in self._seats
        if known and request.path in (ASKER, CLIENT):
            return None
        told = f"{name} is none of the clients that are expected here\n"
        return connection.respond(http.HTTPStatus.FORBIDDEN, told)

    async def _attend(self, connection: ServerConnection) -> None:
        """Serve who was admitted until it leaves."""
        name, serving = _peer(connection)
        if serving:
            with contextlib.suppress(ConnectionClosed):
                await self._ask_for(connection)
        else:
            await self._stay(name, connection)

    async def _stay(self, name: str, connection: ServerConnection) -> None:
        """Keep a client's connection as the one that it is reached by."""
        seat = self._seats[name]
        former = seat.connection
        if former is not None:
            self._leave(name, former, "another connection has taken its place")
        seat.take(connection)
        host, port = connection.remote_address[:2]
        self._tell("joined", name, f"from {host}:{port}")
        if former is not None:
            await former.close(reason="another connection has taken its place")
        await connection.wait_closed()
        self._leave(name, connection, f"its connection has ended ({connection.close_code})")

    def _leave(self, name: str, connection: ServerConnection, why: str) -> None:
        """Note that a connection is lost, once."""
        if self._seats[name].connection is connection:
            self._seats[name].empty()
            self._tell("left", name, why)

    async def _ask_for(self, asker: ServerConnection) -> None:
        """Answer one after another what is asked over a connection."""
        gone = asyncio.ensure_future(asker.wait_closed())
        while True:
            name, frame = await asker.recv(), await asker.recv()
            if not isinstance(name, str) or (isinstance(frame, str) and frame != WAITS):
                await asker.close(reason="expected a client's name, then a frame")
            elif name not in self._seats:
                await asker.send(f"no client called {name[:64]!r} is expected")
            elif isinstance(frame, str):
                self._tell(*unready(name))
                await asker.send(b"")
            else:
                answer = await self._relayed(name, frame, gone)
                if answer is not None:
                    await asker.send(pieces(answer))

    async def _relayed(self, name: str, frame: bytes, gone: asyncio.Future[None]) -> bytes | None:
        """Send a frame to a client until it has answered; give nothing if who asked has gone."""
        seat = self._seats[name]
        async with seat.turn:
            while True:
                if seat.connection is None and not seat.missed:
                    seat.missed = True
                    self._tell("waiting", name, "it is asked, and not connected")
                await asyncio.wait((seat.here, gone), return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    return None
                connection = seat.here.result()
                try:
                    await connection.send(pieces(frame))
                    return await connection.recv(decode=False)
                except ConnectionClosed as closed:
                    self._leave(name, connection, f"its connection has ended ({closed})")


class _Seat:
    """Where a client is, or is waited for."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.missed = False  # whether it was told that it is waited for
        self.empty()

    @property
    def connection(self) -> ServerConnection | None:
        return self.here.result() if self.here.done() else None

    def empty(self) -> None:
        self.here: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

    def take(self, connection: ServerConnection) -> None:
        self.missed = False
        self.here.set_result(connection)


def _peer(connection: ServerConnection) -> tuple[str, bool]:
    """Give the name of the other end, and whether it is of the server's side."""
    secured = connection.transport.get_extra_info("ssl_object")
    return spoken_for(secured.getpeercert(binary_form=True))
