"""What an exchange with a client costs beside what it computes: over TLS here, and in process.

    python benchmarks/privacy_wire.py

A client on this machine answers what it was sent; a task asks it through the hub. Seconds there and
back by the size of the frame, which goes both ways.
"""

from __future__ import annotations

import argparse
import threading
from functools import partial

import measuring
import numpy as np

from gandask.clients import credentials, dialling
from gandask.clients.asking import Asking, ByHub, Directly
from gandask.clients.hub import Hub
from gandask.clients.messages import Message

MEGABYTES = (0.1, 1.0, 10.0)


def echo(message: Message) -> Message:
    """Answer what was asked."""
    return message


def main() -> None:
    """Measure, and print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=20)
    asked = parser.parse_args()
    print(measuring.machine(), flush=True)
    authority, stop = credentials.authority(), threading.Event()
    pem = credentials.issue(authority, "client")
    with Hub(("127.0.0.1", 0), authority, ["client"], lambda *told: None) as hub:
        serving = (hub.address, pem, echo, lambda text: None, stop)
        thread = threading.Thread(target=dialling.serve, args=serving)
        thread.start()
        through = ByHub(*hub.address, pem=credentials.issue_server(authority))
        ways: dict[str, Asking] = {"directly": Directly({"client": echo}), "over TLS": through}
        for size in MEGABYTES:
            message = Message("echo", {}, {"a": np.ones(int(size * 1e6 / 4), np.float32)})
            contenders = {
                name: partial(measuring.seconds, partial(ask, "client", message))
                for name, ask in ways.items()
            }
            measuring.interleaved(contenders, 2)  # connected, and warm
            found = 1e3 * measuring.interleaved(contenders, asked.repeats)
            told = ", ".join(
                f"{name} {measuring.spread(found.sel(contender=name), '.2f')} ms" for name in ways
            )
            print(f"{size:g} MB each way: {told}", flush=True)
        stop.set()
        thread.join()


if __name__ == "__main__":
    main()
