"""Nodes with links of their own on one machine: network namespaces on a bridge, limited by tbf.

Needs root and iproute2. Scheduler and client stay on the host, whose end of the bridge has no
limit; all that goes to or from a node crosses the node's link, both ways at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from gandask.cluster.batch import dask_variable
from gandask.cluster.local import UNPROFILED

QUEUE = "300ms"
"""For how long a link may keep what waits for it."""
PACKET = 14 + 20 + 32
"""Bytes of the headers of a packet: Ethernet, IP, and TCP with time stamps."""


@dataclass(frozen=True)
class Nodes:
    """Namespaces, each with one interface ``eth0``.

    Parameters
    ----------
    prefix : str
        Of what they are called on the host.
    subnet : str
        The first three numbers of all addresses; the host's is 1.
    names : tuple of str
    """

    prefix: str
    subnet: str
    names: tuple[str, ...]

    @property
    def host(self) -> str:
        """Address of the host."""
        return f"{self.subnet}.1"

    def device(self, name: str) -> str:
        """Name a node's namespace, and the host's end of its link."""
        return f"{self.prefix}-{self.names.index(name)}"

    def address(self, name: str) -> str:
        """Give a node's address."""
        return f"{self.subnet}.{10 + self.names.index(name)}"

    def inside(self, name: str, command: Sequence[str]) -> list[str]:
        """Make a command one that runs on a node."""
        return ["nsenter", f"--net=/run/netns/{self.device(name)}", *command]

    def limit(self, rate: str | None, shared: bool = False, queue: str = QUEUE) -> None:
        """Limit the link of every node, each way, or all that nodes send as if by one link.

        Parameters
        ----------
        rate : str or None
            Such as ``"10Mbit"``; None for no limit.
        queue : str
            For how long packets may wait; those that come on top are dropped.
        """
        bucket = ["root", "tbf", "rate", str(rate), "burst", "32kb", "latency", queue]
        for name in self.names:
            end = self.device(name)
            for command in (
                self.inside(name, ["tc", "qdisc", "del", "dev", "eth0", "root"]),
                ["tc", "qdisc", "del", "dev", end, "root"],
                ["tc", "qdisc", "del", "dev", end, "ingress"],
            ):
                subprocess.run(command, check=False, capture_output=True)  # there may be none
            if rate and not shared:
                _run(*self.inside(name, ["tc", "qdisc", "add", "dev", "eth0", *bucket]))
                _run("tc", "qdisc", "add", "dev", end, *bucket)
        if rate and shared:
            self._share(bucket)

    def _share(self, bucket: Sequence[str]) -> None:
        """Send all that comes from nodes through one queue."""
        queue = f"{self.prefix}-all"
        _run("tc", "qdisc", "replace", "dev", queue, *bucket)
        everything = ["protocol", "all", "u32", "match", "u32", "0", "0"]
        everything += ["action", "mirred", "egress", "redirect", "dev"]
        for name in self.names:
            end = self.device(name)
            _run("tc", "qdisc", "add", "dev", end, "ingress")
            _run("tc", "filter", "add", "dev", end, "parent", "ffff:", *everything, queue)

    def sent(self, name: str) -> tuple[int, int]:
        """Count what a node has sent: bytes with all headers, and packets."""
        counts = Path("/sys/class/net", self.device(name), "statistics")
        return tuple(int((counts / f"rx_{of}").read_text()) for of in ("bytes", "packets"))

    def sent_to_nodes(self, name: str) -> int:
        """Count what others have had from a node on connections that are open: without headers."""
        told = _run(*self.inside(name, ["ss", "-tinHO", "state", "established"]))
        peers = tuple(f"{self.address(other)}:" for other in self.names if other != name)
        lines = [line.split() for line in told.splitlines()]
        words = [word for line in lines if line[3].startswith(peers) for word in line]
        return sum(int(w.partition(":")[2]) for w in words if w.startswith("bytes_acked:"))


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@contextlib.contextmanager
def nodes(names: Sequence[str], whole_packets: bool = False) -> Iterator[Nodes]:
    """Set nodes up on a bridge, and take all of it down again, whatever happens.

    Parameters
    ----------
    whole_packets : bool
        Whether packets are counted as a wire would see them: none is longer than 1,500 bytes.
    """
    number = os.getpid()
    made = Nodes(f"gl{number}", f"10.{64 + number // 256 % 64}.{number % 256}", tuple(names))
    usual = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        _run("ip", "link", "add", made.prefix, "type", "bridge")
        _run("ip", "addr", "add", f"{made.host}/24", "dev", made.prefix)
        _run("ip", "link", "set", made.prefix, "up")
        _run("ip", "link", "add", f"{made.prefix}-all", "type", "ifb")
        _run("ip", "link", "set", f"{made.prefix}-all", "up")
        for name in names:
            _add(made, name, whole_packets)
        yield made
    finally:
        signal.signal(signal.SIGTERM, usual)
        for name in names:
            subprocess.run(["ip", "netns", "del", made.device(name)], check=False)
            quiet = ["ip", "link", "del", made.device(name)]  # gone with its other end, or soon
            subprocess.run(quiet, check=False, capture_output=True)
        for device in (f"{made.prefix}-all", made.prefix):
            subprocess.run(["ip", "link", "del", device], check=False)


def _add(made: Nodes, name: str, whole_packets: bool) -> None:
    end = made.device(name)
    _run("ip", "netns", "add", end)
    _run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", end)
    _run("ip", "link", "set", end, "master", made.prefix, "up")
    _run("ip", "-n", end, "addr", "add", f"{made.address(name)}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _run("ip", "-n", end, "link", "set", device, "up")
    if whole_packets:
        _run("ip", "-n", end, "link", "set", "eth0", "gso_max_segs", "1")


@contextlib.contextmanager
def workers(nodes: Nodes) -> Iterator[Client]:
    """Start a scheduler on the host, and on each node a worker of its name; traffic is plain.

    All share the machine's cores: Dask's watch over its event loops, 50 times a second, is slowed.
    """
    calm = UNPROFILED | {"distributed.admin.tick.interval": "1s"}
    told = {dask_variable(key): str(value) for key, value in calm.items()}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        file = str(Path(folder) / "scheduler.json")
        known = ["--scheduler-file", file, "--no-dashboard"]
        python = [sys.executable, "-m"]
        commands = [[*python, "distributed.cli.dask_scheduler", "--host", nodes.host, *known]]
        commands[0] += ["--port", "0"]
        for name in nodes.names:
            command = [*python, "distributed.cli.dask_worker", "--name", name, *known]
            command += ["--nthreads", "1", "--no-nanny", "--host", nodes.address(name)]
            command += ["--local-directory", folder]
            commands.append(nodes.inside(name, command))
        for command in commands:
            process = subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=os.environ | told | {"OMP_NUM_THREADS": "1"},
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        client = stack.enter_context(Client(scheduler_file=file))
        client.wait_for_workers(len(nodes.names))
        yield client
