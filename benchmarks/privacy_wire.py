"""What an exchange with a client costs beside what it computes: over TLS here, and in process.

    python benchmarks/privacy_wire.py
    python benchmarks/privacy_wire.py --link 10Mbit --megabytes 0.05 0.2 0.8

A client's process on this machine answers what it was sent; a task asks it through the hub.
Milliseconds there and back by the size of the frame, which goes both ways. With a link the client
is in a network namespace of its own, behind one that is limited each way (root and iproute2 are
needed), and beside them stands how long the bytes with their packets' headers take at that rate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial

import links
import measuring
import numpy as np

from gandask.clients import credentials, dialling
from gandask.clients.asking import Asking, ByHub, Directly
from gandask.clients.hub import Hub
from gandask.clients.messages import Message
from gandask.methods.split.traffic import bits_per_second

MEGABYTES = (0.1, 1.0, 10.0)
SEGMENT = 1448
"""Bytes of a full packet without its headers."""
CLIENT = "client"


def echo(message: Message) -> Message:
    """Answer what was asked."""
    return message


def serve() -> None:
    """Answer as a client, where and by the credentials that standard input says, until it ends."""
    address, pem = json.loads(sys.stdin.readline())
    stop = threading.Event()
    serving = (tuple(address), pem, echo, lambda text: None, stop)
    threading.Thread(target=dialling.serve, args=serving).start()
    sys.stdin.read()
    stop.set()


@contextlib.contextmanager
def served(command: Sequence[str], hub: Hub, pem: str) -> Iterator[None]:
    """Have a process answer meanwhile."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        print(json.dumps([hub.address, pem]), file=process.stdin, flush=True)
        yield


@contextlib.contextmanager
def linked(link: str | None) -> Iterator[tuple[str, list[str]]]:
    """Give an address that the client reaches, and the command of its process, behind its link."""
    command = [sys.executable, __file__, "--serve"]
    if link is None:
        yield "127.0.0.1", command
        return
    with links.nodes([CLIENT], whole_packets=True) as nodes:
        nodes.limit(link)
        yield nodes.host, nodes.inside(CLIENT, command)


def floor(megabytes: float, link: str) -> float:
    """Compute the milliseconds that a frame takes on a link, there and back."""
    size = 1e6 * megabytes * (1 + links.PACKET / SEGMENT)
    return 1e3 * 2 * 8 * size / bits_per_second(link)


def main() -> None:
    """Measure, and print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--megabytes", type=float, nargs="+", default=MEGABYTES)
    parser.add_argument("--link", help="of the client, such as 10Mbit; none by default")
    parser.add_argument("--serve", action="store_true", help="be the client: for itself")
    asked = parser.parse_args()
    if asked.serve:
        serve()
        return
    print(measuring.machine(), flush=True)
    authority = credentials.authority()
    with (
        linked(asked.link) as (host, command),
        Hub((host, 0), authority, [CLIENT], lambda *told: None) as hub,
        served(command, hub, credentials.issue(authority, CLIENT)),
    ):
        through = ByHub(*hub.address, pem=credentials.issue_server(authority))
        ways: dict[str, Asking] = {"directly": Directly({CLIENT: echo}), "over TLS": through}
        for size in asked.megabytes:
            message = Message("echo", {}, {"a": np.ones(int(size * 1e6 / 4), np.float32)})
            contenders = {
                name: partial(measuring.seconds, partial(ask, CLIENT, message))
                for name, ask in ways.items()
            }
            measuring.interleaved(contenders, 2)  # connected, and warm
            found = 1e3 * measuring.interleaved(contenders, asked.repeats)
            told = ", ".join(
                f"{name} {measuring.spread(found.sel(contender=name), '.2f')} ms" for name in ways
            )
            if asked.link:
                least = floor(size, asked.link)
                ratio = measuring.spread(found.sel(contender="over TLS") / least)
                told += f"; the bytes at {asked.link} {least:.0f} ms: {ratio} of that"
            print(f"{size:g} MB each way: {told}", flush=True)


if __name__ == "__main__":
    main()
