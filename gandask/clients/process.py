"""A client as a process of its own: started by its owner beside the data, or in a simulation."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gandask import display
from gandask.clients.client import Limits, PrivateClient
from gandask.clients.connecting import Address
from gandask.clients.dialling import serve
from gandask.clients.held import Held, Part
from gandask.clients.keeping import PrivateStore
from gandask.clients.messages import Message, RefusedError
from gandask.clients.overview import Overview
from gandask.core import DataError, SettingError, StoreError
from gandask.core.files import write_whole

PATIENCE = 10.0  # seconds for a process to end by itself


class Opening:
    """Answer for a client, whose data are opened when it is first asked.

    What keeps them from being opened, or what it keeps from being written, is said here, once; the
    server's side hears that it is not ready, and asks again.

    Parameters
    ----------
    open_data : callable
        Gives what the client holds.
    store : PrivateStore
    limits : Limits
    device : str
    say : callable
    warn : callable
        Takes what keeps it from answering.
    """

    def __init__(
        self,
        open_data: Callable[[], Held],
        store: PrivateStore,
        limits: Limits,
        device: str,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self._open, self._store, self._limits = open_data, store, limits
        self._device, self._say, self._warn = device, say, warn
        self._client: PrivateClient | None = None
        self._told = ""

    @property
    def held(self) -> Held | None:
        """What the client holds, once it was opened."""
        return self._client.held if self._client else None

    def __call__(self, message: Message) -> Message:
        """Answer a request.

        Raises
        ------
        RefusedError
            If the data cannot be opened, its own folder cannot be written or read, as on a disk
            that is full, or as `PrivateClient.answer` does.
        """
        if self._client is None:
            self._client = self._opened()
        try:
            answer = self._client.answer(message)
        except StoreError as error:
            if not isinstance(error.__cause__, OSError):
                raise  # damaged: waiting mends nothing
            raise self._unready(error) from error
        self._told = ""
        return answer

    def _opened(self) -> PrivateClient:
        try:
            held = self._open()
        except (DataError, SettingError) as error:
            raise self._unready(error) from error
        told = f"{len(held.members)} samples to train on, {len(held.apart)} kept apart"
        self._say(f"holds {told}, of shape {held.data.shape}")
        return PrivateClient(held, self._store, self._limits, self._device, self._say)

    def _unready(self, error: Exception) -> RefusedError:
        """Say why it is not ready, once while it lasts."""
        if self._told != str(error):
            self._told = str(error)
            self._warn(f"not ready: {error}")
        return RefusedError("unready", str(error))


def secret_seed(secret: bytes) -> int:
    """Give the seed by which a client divides its own data, which nobody else knows."""
    return int.from_bytes(secret, "little")


def run(
    source: Mapping[str, Any],
    share: float,
    address: Address,
    pem: str,
    folder: Path,
    limits: Limits,
    say: Callable[[str], None],
    stop: threading.Event,
    show: Callable[[Overview, Opening], None] = lambda overview, opening: None,
) -> None:
    """Answer for a client until told to stop: what `gandask client` does.

    Parameters
    ----------
    source : mapping
        Arguments of `gandask.data.load`.
    share : float
        Of the samples, to keep apart.
    address, pem
        Of the server, and the client's credentials.
    folder : Path
        The client's own.
    limits : Limits
    say : callable
        Takes a line for the owner.
    stop : Event
    show : callable
        Shows the owner more, from before it dials.
    """
    with PrivateStore(folder) as store:
        seed = secret_seed(store.secret)
        opening = Opening(lambda: Held.own(source, share, seed), store, limits, "auto", say, say)
        with contextlib.suppress(RefusedError):  # said; it is opened again when asked
            opening(Message("probe"))
        overview = Overview(opening, store, say)
        if overview.epsilon is not None:
            say(f"epsilon spent so far: {overview.epsilon:.3f}")
        show(overview, opening)
        threading.Thread(target=overview.keep_telling, args=(stop,), daemon=True).start()
        try:
            serve(address, pem, overview, say, stop)
        finally:
            overview.tell()


# ---- simulated


@dataclass(frozen=True)
class Simulated:
    """A client that is started here: it holds a part of a named data set.

    Parameters
    ----------
    source : mapping
    part : Part
    secret : bytes
        Seeded, so that the run can be repeated.
    folder : Path, optional
        Where it keeps its own; in memory if not given.
    device : str
    """

    source: Mapping[str, Any]
    part: Part
    secret: bytes
    folder: Path | None
    device: str

    def opened(
        self,
        stack: contextlib.ExitStack,
        say: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> Opening:
        """Open its store, until the stack is left, and give what answers for it."""
        store = stack.enter_context(PrivateStore(self.folder, self.secret))
        held = Held.part
        open_data = functools.partial(held, self.source, self.part)
        return Opening(open_data, store, Limits(), self.device, say, warn)


@contextlib.contextmanager
def started(
    simulated: Mapping[str, Simulated], address: Address, pems: Mapping[str, str], folder: Path
) -> Iterator[None]:
    """Start a process for each simulated client, which dials in, and end them afterwards.

    Parameters
    ----------
    folder : Path
        For what they are told: it is the owner's alone.
    """
    processes: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    try:
        for name, one in simulated.items():
            told = {
                "source": dict(one.source),
                "part": asdict(one.part),
                "secret": one.secret.hex(),
                "folder": one.folder and str(one.folder),
                "device": one.device,
                "address": [*address],
                "pem": pems[name],
            }
            path = folder / f"{name}.json"
            write_whole(path, json.dumps(told))
            command = [sys.executable, "-m", "gandask.clients.process", str(path)]
            # its input ends with this process, and so does it
            processes.append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE))
        yield
    finally:
        _end(processes)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        assert process.stdin is not None
        with contextlib.suppress(OSError):
            process.stdin.close()
    for process in processes:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def main(path: Path) -> None:
    """Answer for a simulated client, until what started it is gone."""
    told = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()  # it holds a key and a secret
    one = Simulated(
        told["source"],
        Part(**told["part"]),
        bytes.fromhex(told["secret"]),
        told["folder"] and Path(told["folder"]),
        told["device"],
    )
    stop = threading.Event()

    def watch() -> None:
        sys.stdin.buffer.read()  # until its end
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
    with contextlib.ExitStack() as stack:
        # who simulates is the owner, too
        warn = functools.partial(display.say, err=True)
        opening = one.opened(stack, lambda line: None, warn)
        host, port = told["address"]
        serve((host, port), told["pem"], opening, lambda line: None, stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
