"""How tasks ask a client: in process, or through the hub."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

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
    """Ask clients through a hub, over a connection that each thread keeps for itself.

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
        frame = packed(message)
        lost, delay = time.monotonic(), SHORTEST
        while True:
            try:
                connection = _line.reach(self)
                lost, delay = time.monotonic(), SHORTEST
                connection.send(client)
                connection.send(pieces(frame))
                answer = connection.recv()
                lost = time.monotonic()
            except BROKEN as error:
                _line.hang_up()
                refusing = isinstance(error, InvalidStatus)
                if refusing or time.monotonic() - lost > self.patience:
                    raise self._unreached(error) from error
                time.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(2 * delay, LONGEST)
            else:
                if isinstance(answer, str):
                    raise _no_such(answer)
                return unpacked(answer)

    def _unreached(self, error: BaseException) -> ClusterError:
        return ClusterError(
            f"the hub of clients at {self.host}:{self.port} was not reached for "
            f"{self.patience:.0f} s: {why(error)}; see that the run's own process lives and that "
            "this machine reaches that address, then resume the run"
        )


def _no_such(told: str) -> ClusterError:
    return ClusterError(f"{told}: name it among the run's clients")


class _Line(threading.local):
    """The connection that a thread keeps, until it breaks or another hub is asked."""

    def __init__(self) -> None:
        self.to: tuple[int, ByHub] | None = None
        self.stack = contextlib.ExitStack()
        self.connection: ClientConnection

    def reach(self, hub: ByHub) -> ClientConnection:
        """Give the connection to a hub, a new one if need be."""
        process = os.getpid()
        if self.to is not None and self.to[0] != process:
            # a fork's copy: hanging up would end its parent's connection
            self.to, self.stack = None, contextlib.ExitStack()
        if self.to != (process, hub):
            self.hang_up()
            secured = credentials.context(hub.pem)
            dialling = dialled((hub.host, hub.port), ASKER, secured)
            self.connection = self.stack.enter_context(dialling)
            self.to = process, hub
        return self.connection

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        self.to = None
        self.stack.close()


_line = _Line()
