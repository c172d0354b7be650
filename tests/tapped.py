"""`gandask`, of which all that crosses its sockets is written down: before TLS, and after it.

    python tapped.py FOLDER ARGUMENTS...

``FOLDER/sent`` and ``FOLDER/received`` hold the bytes; the mask that WebSockets lay over what a
client sends is made of zeros. ``FOLDER/gradients`` holds those that its discriminator learnt by.
"""

import ssl
import sys
from pathlib import Path
from types import SimpleNamespace

import websockets.frames


class Tapped(ssl.SSLObject):
    """What asyncio encrypts with."""

    folder = None

    def write(self, data):
        count = super().write(data)
        self.noted("sent", bytes(data[:count]))
        return count

    def read(self, length=1024, buffer=None):
        found = super().read(length, buffer)
        self.noted("received", found if buffer is None else bytes(buffer[:found]))
        return found

    @classmethod
    def noted(cls, name, data):
        with (cls.folder / name).open("ab") as file:
            file.write(data)


def main(folder, *arguments):
    Tapped.folder = Path(folder)
    ssl.SSLContext.sslobject_class = Tapped
    websockets.frames.secrets = SimpleNamespace(token_bytes=bytes)
    from gandask.__main__ import main as gandask
    from gandask.training.learner import Learner

    apply = Learner.apply

    def applied(self, found, *more):
        for each in found:
            Tapped.noted("gradients", each.detach().cpu().numpy().tobytes())
        apply(self, found, *more)

    Learner.apply = applied
    gandask(arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
