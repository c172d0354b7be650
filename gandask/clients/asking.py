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
from gandask.clients.connecting import ASKER, BROKEN, dialled, pieces, why
from gandask.clients.dialling import LONGEST, SHORTEST, Answer
from gandask.clients.messages import Message, RefusedError, packed, unpacked
from gandask.core import ClusterError


class Asking(Protocol):
    """Ask a client, by name, and give its answer."""

    def __call__(self, client: str, message: Message) -> Message:
        """Ask; raises ClusterError if there is no such client, MessageError for nonsense."""


@dataclass(frozen=True)
class Directly:
    """Ask clients in this process; what they are asked is packed and unpacked all the same.

    Parameters
    ----------
    clients : mapping of str to callable
        What each answers, by name.
    """

    clients: Mapping[str, Answer]

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
        lines = _lines()
        asking = lines.ask(self, client, packed(message))
        answering = asyncio.run_coroutine_threadsafe(asking, lines.loop)
        try:
            answer = answering.result()
        finally:
            answering.cancel()  # as when this is interrupted
        if isinstance(answer, str):
            raise _no_such(answer)
        return unpacked(answer)


def _no_such(told: str) -> ClusterError:
    return ClusterError(f"{told}: name it among the run's clients")


class _Lines:
    """The connections of a process to hubs, in a loop and a thread of their own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.idle: dict[ByHub, list[ClientConnection]] = {}
        run = self.loop.run_forever
        threading.Thread(target=run, name="gandask-asking", daemon=True).start()

    async def ask(self, hub: ByHub, client: str, frame: bytes) -> str | bytes:
        """Give what a hub answers, and dial it again where the connection breaks."""
        reached, delay = self.loop.time(), SHORTEST
        while True:
            try:
                async with self._line(hub) as connection:
                    reached, delay = self.loop.time(), SHORTEST
                    await connection.send(client)
                    await connection.send(pieces(frame))
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
