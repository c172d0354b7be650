"""Where the clients of a run are: in this process, in processes started here, or far away."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import logging
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import platformdirs

from gandask.clients import credentials
from gandask.clients.asking import Asking, ByHub, Directly
from gandask.clients.connecting import Address, Announce, address
from gandask.clients.hub import Hub
from gandask.clients.messages import Message
from gandask.clients.process import Simulated, started
from gandask.core import Event, Hosting, State
from gandask.methods.privacy.proxies import named
from gandask.training.stored import CHECKPOINTS, last_checkpoint, read_checkpoint

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
        tokens = {name for name in names if name.split("/")[2] == "token"}
        known = read_checkpoint(*found, tokens)
        return [(self.names[int(name.split("/")[1])], known[name]) for name in sorted(known)]

    def _forget(self, client: str, token: State) -> None:
        reach = self.reach
        # a hub that is gone is not dialled again: nobody waits for this
        once = replace(reach, patience=0.0) if isinstance(reach, ByHub) else reach
        once(client, Message("forget", {**named(token), "round": 0}))

    def close(self) -> None:
        """Wait for nobody."""
        self.pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class Parties:
    """Who the clients of a run are.

    Parameters
    ----------
    names : tuple of str
    simulated : mapping of str to Simulated
        Those that are started here, by name, without a folder: all or none.
    server : str, optional
        Where the others dial in.
    authority : Path, optional
        The folder of the authority that signs credentials; the user's own if not given.
    private_store : Path, optional
        In which those that are started here have folders; the user's own if not given.
    mark : str
        What tells their folders from those of another run in the place of one that was deleted.
    """

    names: tuple[str, ...]
    simulated: Mapping[str, Simulated]
    server: str | None
    authority: Path | None
    private_store: Path | None
    mark: str

    def placed(self, store: Path | None) -> dict[str, Simulated]:
        """Give those that are started here, each with a folder of its own if the run is kept."""
        if store is None:
            return dict(self.simulated)
        told = f"{store.resolve()} {self.mark}".encode()
        mark = hashlib.blake2b(told, digest_size=8).hexdigest()
        base = self.private_store or platformdirs.user_data_path("gandask") / "clients"
        return {
            name: replace(one, folder=base / mark / name) for name, one in self.simulated.items()
        }


@contextlib.contextmanager
def hosted(parties: Parties, hosting: Hosting) -> Iterator[Clients]:
    """Keep up what a run's clients are asked by."""
    with contextlib.ExitStack() as stack:
        if parties.simulated and not hosting.travels:
            asked = parties.placed(hosting.store).items()
            told = logger.debug, logger.warning
            opened = {name: one.opened(stack, *told) for name, one in asked}
            reach: Asking = Directly(opened, _telling(parties, hosting))
        else:
            reach = _listening(parties, hosting, stack)
        clients = Clients(parties.names, reach, hosting.store)
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


def _telling(parties: Parties, hosting: Hosting) -> Announce:
    """Make what tells the run of its clients."""

    def tell(kind: str, client: str, detail: str) -> None:
        slot = f"client/{parties.names.index(client)}"
        hosting.tell(Event(0, f"client {kind}", slot, f"{client}: {detail}", machine=True))

    return tell


def _listening(parties: Parties, hosting: Hosting, stack: contextlib.ExitStack) -> ByHub:
    """Listen for clients, and start those that are simulated."""
    if parties.server is not None:
        where, listen = address(parties.server), (ANY_FAMILY, address(parties.server)[1])
        signed_by = credentials.kept_authority(parties.authority)
    else:
        where, listen = (own_address(), 0), (ANYWHERE, 0)
        signed_by = credentials.authority()
    tell = _telling(parties, hosting)
    hub = stack.enter_context(Hub(listen, signed_by, parties.names, tell))
    there: Address = (where[0], hub.address[1])
    if parties.simulated:
        pems = {name: credentials.issue(signed_by, name) for name in parties.names}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gandask-")))
        own = parties.placed(hosting.store)
        stack.enter_context(started(own, ("127.0.0.1", there[1]), pems, folder))
    return ByHub(*there, credentials.issue_server(signed_by))
