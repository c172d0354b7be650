"""How tasks ask a client: in process, or through the hub."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus
from websockets.protocol import State

from gandask.clients import credentials
from gandask.clients.connecting import (
    ASKER,
    BROKEN,
    WAITS,
    Announce,
    dialled,
    pieces,
    unready,
    why,
)
from gandask.clients.dialling import LONGEST, SHORTEST, Answer
from gandask.clients.messages import Message, RefusedError, packed, unpacked
from gandask.core import ClusterError


class Asking(Protocol):
    """Ask a client, by name, and give its answer."""

    def __call__(self, client: str, message: Message) -> Message:
        """Ask; raises ClusterError if there is no such client, MessageError for nonsense."""

    def waits(self, client: str) -> None:
        """Let the run tell that a client is waited for which is there, and not ready."""


@dataclass(frozen=True)
class Directly:
    """Ask clients in this process; what they are asked is packed and unpacked all the same.

    Parameters
    ----------
    clients : mapping of str to callable
        What each answers, by name.
    tell : callable
        Told of one that is waited for, as a hub would.
    """

    clients: Mapping[str, Answer]
    tell: Announce = lambda kind, client, detail: None

    def __call__(self, client: str, message: Message) -> Message:
        """Ask a client.

        Raises
        ------
        ClusterError
            If there is none of this name.
        MessageError
            If the request or its answer cannot travel.
        """
        if client not in self.clients:
            raise _no_such(f"no client called {client!r} is expected")
        try:
            answer = self.clients[client](unpacked(packed(message)))
        except RefusedError as error:
            answer = error.answer
        return unpacked(packed(answer))

    def waits(self, client: str) -> None:
        """Tell that a client is waited for."""
        self.tell(*unready(client))


@dataclass(frozen=True)
class ByHub:
    """Ask clients through a hub, over connections that a process keeps.

    Parameters
    ----------
    host : str
    port : int
        Where the hub is reached from here.
    pem : str
        Credentials of the server's side, as `credentials.issue_server` makes them.
    patience : float
        Seconds for which a hub that is lost is dialled again. A client is waited for without end.
    """

    host: str
    port: int
    pem: str = field(repr=False)
    patience: float = 300.0

    def __call__(self, client: str, message: Message) -> Message:
        """Ask a client.

        Raises
        ------
        ClusterError
            If the hub is not reached, refuses these credentials, or expects no such client.
        MessageError
            If the request cannot travel, or its answer is none.
        """
        return unpacked(self._exchanged(client, packed(message)))

    def waits(self, client: str) -> None:
        """Have the hub tell that a client is waited for.

        Raises
        ------
        ClusterError
            If the hub is not reached, or expects no such client.
        """
        self._exchanged(client, WAITS)

    def _exchanged(self, client: str, sent: str | bytes) -> bytes:
        """Give what a hub answers to what is sent to a client, or about one."""
        lines = _lines()
        answering = asyncio.run_coroutine_threadsafe(lines.ask(self, client, sent), lines.loop)
        try:
            answer = answering.result()
        finally:
            answering.cancel()  # as when this is interrupted
        if isinstance(answer, str):
            raise _no_such(answer)
        return answer


def _no_such(told: str) -> ClusterError:
    return ClusterError(f"{told}: name it among the run's clients")


class _Lines:
    """The connections of a process to hubs, in a loop and a thread of their own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.idle: dict[ByHub, list[ClientConnection]] = {}
        run = self.loop.run_forever
        threading.Thread(target=run, name="gandask-asking", daemon=True).start()

    async def ask(self, hub: ByHub, client: str, sent: str | bytes) -> str | bytes:
        """Give what a hub answers, and dial it again where the connection breaks."""
        reached, delay = self.loop.time(), SHORTEST
        while True:
            try:
                async with self._line(hub) as connection:
                    reached, delay = self.loop.time(), SHORTEST
                    await connection.send(client)
                    await connection.send(sent if isinstance(sent, str) else pieces(sent))
                    answer = await connection.recv()
                    reached = self.loop.time()
                    return answer
            except BROKEN as error:
                if isinstance(error, InvalidStatus) or self.loop.time() - reached > hub.patience:
                    raise _unreached(hub, error) from error
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(2 * delay, LONGEST)

    @contextlib.asynccontextmanager
    async def _line(self, hub: ByHub) -> AsyncIterator[ClientConnection]:
        """Give a connection for one exchange, and keep it for another if that goes well."""
        idle = self.idle.setdefault(hub, [])
        known = [one for one in idle if one.state is State.OPEN]
        idle[:] = known[:-1]
        secured = credentials.context(hub.pem)
        connection = known[-1] if known else await dialled((hub.host, hub.port), ASKER, secured)
        try:
            yield connection
        except BaseException:
            await connection.close()
            raise
        idle.append(connection)


_of_process: dict[int, _Lines] = {}
_starting = threading.Lock()


def _lines() -> _Lines:
    """Give this process's connections: a fork's copy of its parent's is of no use to it."""
    with _starting:
        process = os.getpid()
        if process not in _of_process:
            _of_process[process] = _Lines()
        return _of_process[process]


def _unreached(hub: ByHub, error: BaseException) -> ClusterError:
    there = f"the hub of clients at {hub.host}:{hub.port}"
    return ClusterError(
        f"{there} was not reached for {hub.patience:.0f} s: {why(error)}; see that the run's own "
        "process lives and that this machine reaches that address, then resume the run"
    )
