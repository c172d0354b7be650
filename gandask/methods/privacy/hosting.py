"""Where the clients of a run are: in this process, in processes started here, or far away."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import json
import logging
import socket
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from gandask.clients import credentials
from gandask.clients.asking import Asking, ByHub, Directly
from gandask.clients.connecting import Address, address
from gandask.clients.hub import Hub
from gandask.clients.messages import Message
from gandask.clients.process import Simulated, started
from gandask.core import Event, Hosting, SettingError, State
from gandask.methods.privacy.proxies import named
from gandask.training.stored import CHECKPOINTS, last_checkpoint, read_states

if TYPE_CHECKING:
    from gandask.methods.privacy.method import PrivacyGAN

logger = logging.getLogger("gandask")
ANYWHERE = "0.0.0.0"
ANY_FAMILY = ""  # by IPv4 and IPv6
ELSEWHERE = "192.0.2.1"  # set aside for documents: any that is not here will do


@dataclass
class Clients:
    """The clients of a run, as its tasks reach them.

    Parameters
    ----------
    names : sequence of str
    reach : Asking
    store : Path, optional
        Where the run is kept.
    """

    names: tuple[str, ...]
    reach: Asking
    store: Path | None
    pending: dict[str, concurrent.futures.Future[None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pool = concurrent.futures.ThreadPoolExecutor(len(self.names))

    def saved(self, names: Iterable[str]) -> None:
        """Have clients keep what the last checkpoint builds on, and give up what came before.

        One that is away is told by a later checkpoint.
        """
        for name, token in self._tokens(names):
            before = self.pending.get(name)
            if isinstance(self.reach, Directly):  # there it has no turn of its own
                self._forget(name, token)
            elif before is None or before.done():
                self.pending[name] = self.pool.submit(self._forget, name, token)

    def _tokens(self, names: Iterable[str]) -> list[tuple[str, State]]:
        found = last_checkpoint(self.store / CHECKPOINTS) if self.store else None
        if found is None:
            return []
        folder, told = found
        files = {name: file for file, held in told["files"].items() for name in held}
        tokens = [name for name in names if name.split("/")[2] == "token" and name in files]
        return [
            (
                self.names[int(name.split("/")[1])],
                read_states(folder / files[name], [name], told["token"])[name],
            )
            for name in tokens
        ]

    def _forget(self, client: str, token: State) -> None:
        reach = self.reach
        # a hub that is gone is not dialled again: nobody waits for this
        once = replace(reach, patience=0.0) if isinstance(reach, ByHub) else reach
        once(client, Message("forget", {**named(token), "round": 0}))

    def close(self) -> None:
        """Wait for nobody."""
        self.pool.shutdown(wait=False, cancel_futures=True)


def check_private(method: PrivacyGAN) -> None:
    """Refuse to keep what is private where the server's side keeps its own.

    Raises
    ------
    SettingError
    """
    if method.private_store is not None and not method.simulated:
        raise SettingError(
            "private_store: clients that are named keep their own; it is given to gandask client"
        )


def simulated(method: PrivacyGAN, base: Path | None) -> dict[str, Simulated]:
    """Give the clients that are started here.

    Parameters
    ----------
    base : Path, optional
        The folder in which each has one of its own.
    """
    return {
        name: Simulated(
            method.training.source,
            method.part(index),
            hashlib.blake2b(f"{method.seed} {index}".encode(), digest_size=32).digest(),
            base / name if base else None,
            method.device,
        )
        for index, name in enumerate(method.names)
    }


def private_folder(method: PrivacyGAN, store: Path | None) -> Path | None:
    """Give the folder in which simulated clients of a run that is kept have theirs."""
    if store is None:
        return None
    base = method.private_store and Path(method.private_store)
    # another run in the place of one that was deleted has clients of its own
    known = [str(store.resolve()), method.seed, method.terms(0), repr(method.part(0))]
    mark = hashlib.blake2b(json.dumps(known).encode(), digest_size=8).hexdigest()
    return (base or platformdirs.user_data_path("gandask") / "clients") / mark


@contextlib.contextmanager
def hosted(method: PrivacyGAN, hosting: Hosting) -> Iterator[Clients]:
    """Keep up what a run's clients are asked by."""
    base = private_folder(method, hosting.store) if method.simulated else None
    with contextlib.ExitStack() as stack:
        if method.simulated and not hosting.travels:
            asked = simulated(method, base).items()
            opened = {name: one.opened(stack, logger.debug) for name, one in asked}
            reach: Asking = Directly(opened)
        else:
            reach = _listening(method, hosting, base, stack)
        clients = Clients(method.names, reach, hosting.store)
        stack.callback(clients.close)
        yield clients


def own_address() -> str:
    """Give the address of this machine that others reach it by: its own alone without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ELSEWHERE, 9))  # which sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _listening(
    method: PrivacyGAN, hosting: Hosting, base: Path | None, stack: contextlib.ExitStack
) -> ByHub:
    """Listen for clients, and start those that are simulated."""

    def tell(kind: str, client: str, detail: str) -> None:
        slot = f"client/{method.names.index(client)}"
        hosting.tell(Event(0, f"client {kind}", slot, f"{client}: {detail}", machine=True))

    if method.server is not None:
        where, listen = address(method.server), (ANY_FAMILY, address(method.server)[1])
        signed_by = credentials.kept_authority(Path(method.authority) if method.authority else None)
    else:
        where, listen = (own_address(), 0), (ANYWHERE, 0)
        signed_by = credentials.authority()
    hub = stack.enter_context(Hub(listen, signed_by, method.names, tell))
    there: Address = (where[0], hub.address[1])
    if method.simulated:
        pems = {name: credentials.issue(signed_by, name) for name in method.names}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gandask-")))
        stack.enter_context(started(simulated(method, base), ("127.0.0.1", there[1]), pems, folder))
    return ByHub(*there, credentials.issue_server(signed_by))
