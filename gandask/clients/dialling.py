"""The client's side: it dials out, answers one request at a time, and dials again when cut off."""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
import traceback
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection

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
        x.
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
    asyncio.run(_serving(address, secured, answer, say, stop))


async def _serving(
    address: Address,
    secured: ssl.SSLContext,
    answer: Answer,
    say: Callable[[str], None],
    stop: threading.Event,
) -> None:
    there = f"{address[0]}:{address[1]}"
    delay, told = SHORTEST, ""
    while not stop.is_set():
        try:
            async with dialled(address, CLIENT, secured) as connection:
                say(f"connected to {there}")
                told = ""
                while (frame := await _request(connection, stop)) is not None:
                    # in a thread, so that meanwhile the connection is kept alive
                    given = await asyncio.to_thread(answered, frame, answer, say)
                    await connection.send(pieces(given))
                    delay = SHORTEST
        except BROKEN as error:
            if told != why(error):
                told = why(error)
                say(f"not connected to {there}: {told}; it is tried again")
            await asyncio.to_thread(stop.wait, delay * random.uniform(0.5, 1.0))
            delay = min(2 * delay, LONGEST)


async def _request(connection: ClientConnection, stop: threading.Event) -> bytes | None:
    """Give what a hub sends next, or nothing when told to stop."""
    receiving = asyncio.ensure_future(connection.recv(decode=False))
    while not stop.is_set():
        done, _ = await asyncio.wait((receiving,), timeout=TICK)
        if done:
            return receiving.result()
    receiving.cancel()
    return None


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
