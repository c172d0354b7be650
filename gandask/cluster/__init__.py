"""Clusters to train on: where a client comes from.

`local`, the batch systems that dask-jobqueue knows, one allocation of Slurm (`srun`), or the
address of a scheduler that is already running. `start` finds them by name, as the command line and
the table ``[cluster]`` of a TOML file do.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.comm.addressing import parse_host_port

from gandask.cluster.batch import SYSTEMS, batch, slurm
from gandask.cluster.local import local
from gandask.core import ClusterError, SettingError
from gandask.display import suggestion

WRITTEN_WITHIN = 1.0  # seconds that a scheduler may take to fill its file

__all__ = ["batch", "connect", "local", "reached", "slurm", "srun", "start"]


def start(kind: str = "local", **options: Any) -> Client:
    """Start or reach a cluster by name.

    Parameters
    ----------
    kind : str
        ``local``, ``slurm``, ``pbs``, ``lsf``, ``sge``, ``oar``, ``htcondor``, ``srun``, or the
        address of a scheduler (``tls://host:port``) or its scheduler file (``*.json``).
    **options
        Those of the function for it, such as `slurm`.

    Raises
    ------
    SettingError
        For an unknown kind or option, before anything starts.
    ClusterError
        If it cannot be started or reached.
    """
    kind = str(kind)
    if "://" in kind or kind.endswith(".json"):
        options = {"address": kind, **options}
        kind = "connect"
    known: dict[str, Any] = {"local": local, "srun": srun, "connect": connect}
    known |= {system: functools.partial(batch, system) for system in SYSTEMS}
    if kind not in known:
        raise SettingError(
            f"cluster {kind!r}: there is no such kind; {suggestion(kind, [*known])}; the address "
            "of a scheduler (tls://host:port) or its scheduler file (*.json) will do too"
        )
    return _called(kind, known[kind], options)


@contextlib.contextmanager
def reached(given: Any) -> Iterator[Client]:
    """Give a client to what a run was given: itself, or one that is closed in the end.

    Parameters
    ----------
    given : distributed.Client, cluster, str or path-like
        A cluster is whatever has a scheduler and makes clients; text is the address of a scheduler,
        or its scheduler file.

    Raises
    ------
    SettingError
        For anything else, and for what is closed or asynchronous.
    ClusterError
        If no scheduler answers at the address.
    """
    if isinstance(given, Client):
        _refuse_unfit(given)
        yield given
        return
    text = os.fspath(given) if isinstance(given, str | os.PathLike) else ""
    if hasattr(given, "get_client") and hasattr(given, "scheduler_address"):
        _refuse_unfit(given)
        made = given.get_client()
    elif ":" in text or text.endswith(".json"):
        made = connect(text)
    else:
        raise SettingError(
            f"client={given!r}: expected a Dask client, such as gandask.cluster.local(2) makes, a "
            "cluster, or the address of a scheduler (tcp://host:port) or its scheduler file "
            "(*.json)"
        )
    # not as a context: a run in the background ends in another thread than it began
    try:
        yield made
    finally:
        made.close()


def _refuse_unfit(given: Any) -> None:
    """Raise SettingError for a client or a cluster that no run can wait for."""
    told = f"client: the {type(given).__name__} given"
    if getattr(given, "asynchronous", False):
        raise SettingError(f"{told} is asynchronous: give one made with asynchronous=False")
    status = getattr(given.status, "name", given.status)
    if status != "running":
        raise SettingError(f"{told} is {status}, where it has to be running: make another one")


def connect(address: str, timeout: float = 30.0) -> Client:
    """Reach a scheduler that is already running.

    Parameters
    ----------
    address : str
        Such as ``tls://host:8786`` with Dask's own settings for certificates
        (``distributed.comm.tls``), or the path of its scheduler file. One that is in this very
        process (``inproc://``) will do.
    timeout : float
        Seconds to wait for it.

    Raises
    ------
    ClusterError
        If it does not answer.
    """
    try:
        found = address
        if address.endswith(".json"):
            found = _address_in(Path(address))
        if not found.startswith("inproc://"):
            # Dask would try again and again, and leave half a client behind
            where = parse_host_port(found.rpartition("://")[2])
            socket.create_connection(where, timeout).close()
        return Client(found, timeout=timeout)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise ClusterError(
            f"no scheduler answers at {address!r} ({type(error).__name__}: {error}); for tls:// "
            "addresses Dask's settings distributed.comm.tls.* name the certificates"
        ) from error


def _address_in(file: Path) -> str:
    """Read a scheduler file, which is there a moment before what it says."""
    deadline = time.monotonic() + WRITTEN_WITHIN
    while time.monotonic() < deadline:
        with contextlib.suppress(json.JSONDecodeError):
            return str(json.loads(file.read_bytes())["address"])
        time.sleep(0.05)
    return str(json.loads(file.read_bytes())["address"])


def srun(*arguments: Any, **options: Any) -> Client:
    """Be a cluster within one allocation of Slurm; see `gandask.cluster.allocation.srun`."""
    from gandask.cluster import allocation

    return allocation.srun(*arguments, **options)


def _called(kind: str, function: Any, options: dict[str, Any]) -> Client:
    """Call a function of this module with options that a user named."""
    known = inspect.signature(function).parameters
    if not any(one.kind is one.VAR_KEYWORD for one in known.values()):
        for key, value in options.items():
            if key not in known:
                raise SettingError(
                    f"{key}={value!r}: cluster {kind!r} has no option {key!r}; "
                    + suggestion(key, known)
                )
    required = [key for key, one in known.items() if one.default is one.empty]
    if "workers" in required and "workers" not in options:
        raise SettingError(f"cluster {kind!r} needs a number of workers, such as workers=4")
    client: Client = function(**options)
    return client
