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
import socket
import time
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.comm.addressing import parse_host_port

from gandask.cluster.batch import SYSTEMS, batch, slurm
from gandask.cluster.local import local
from gandask.core import ClusterError, SettingError
from gandask.display import suggestion

WRITTEN_WITHIN = 1.0  # seconds that a scheduler may take to fill its file

__all__ = ["batch", "connect", "local", "slurm", "srun", "start"]


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


def connect(address: str, timeout: float = 30.0) -> Client:
    """Reach a scheduler that is already running.

    Parameters
    ----------
    address : str
        Such as ``tls://host:8786`` with Dask's own settings for certificates
        (``distributed.comm.tls``), or the path of its scheduler file.
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
        host, port = parse_host_port(found.partition("://")[2])
        # Dask would try again and again, and leave half a client behind
        socket.create_connection((host, port), timeout).close()
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
