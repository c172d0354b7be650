"""The client's side: it dials out, answers one request at a time, and dials again when cut off."""

from __future__ import annotations

import contextlib
import random
import threading
import traceback
from collections.abc import Callable, Iterator

from websockets.sync.client import ClientConnection

from gandask.clients import credentials
from gandask.clients.connecting import BROKEN, CLIENT, Address, dialled, pieces, why
from gandask.clients.messages import (
    Message,
    MessageError,
    RefusedError,
    packed,
    refused,
    unpacked,
)

Answer = Callable[[Message], Message]
"""What a client answers to a request; raises RefusedError where it does not."""

SHORTEST, LONGEST = 0.1, 10.0
"""Seconds between two tries to connect: twice as many each time, until a request was answered."""
TICK = 0.2  # seconds until it is noticed that this is to stop


def serve(
    address: Address,
    pem: str,
    answer: Answer,
    say: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Answer what is asked through a hub until told to stop, whatever it sends.

    Parameters
    ----------
    address : tuple of str and int
        Host and port of the hub.
    pem : str
        Credentials, as `credentials.issue` makes them.
    answer : callable
        From a request to its answer; called in this thread.
    say : callable
        Told in full, for whoever owns the data, what goes wrong; whoever asks hears one word. It
        may be of a stranger's making: print it by `display.say`.
    stop : threading.Event

    Raises
    ------
    SettingError
        If the credentials are none.
    """
    secured = credentials.context(pem)
    there = f"{address[0]}:{address[1]}"
    delay, told = SHORTEST, ""
    while not stop.is_set():
        try:
            with dialled(address, CLIENT, secured) as connection:
                say(f"connected to {there}")
                told = ""
                for frame in _requests(connection, stop):
                    connection.send(pieces(answered(frame, answer, say)))
                    delay = SHORTEST
        except BROKEN as error:
            if told != why(error):
                told = why(error)
                say(f"not connected to {there}: {told}; it is tried again")
            stop.wait(delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, LONGEST)


def _requests(connection: ClientConnection, stop: threading.Event) -> Iterator[bytes]:
    """Give what a hub sends, until told to stop."""
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            yield connection.recv(TICK, decode=False)


def answered(frame: bytes, answer: Answer, say: Callable[[str], None]) -> bytes:
    """Give the frame that answers another, whatever that is, and say why it is a refusal."""
    try:
        message = unpacked(frame)
    except MessageError as error:
        say(f"a request cannot be read: {error}")
        return packed(refused("unreadable"))
    try:
        return packed(answer(message))
    except RefusedError as error:
        say(f"a request is refused: {error}")
        return packed(error.answer)
    except Exception:  # ours, or of the data: it says what they are, and stays here
        say(f"a request has failed\n{traceback.format_exc()}")
        return packed(refused("failed"))
