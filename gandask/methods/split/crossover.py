"""From which batch size and which speed of a link on BPGAN stops paying."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from gandask import config
from gandask.core import SettingError
from gandask.methods.split.bpgan import BPGAN
from gandask.methods.split.cost import (
    COMPUTING,
    facts,
    labelled,
    node_count,
    sample_count,
    seconds_by_task,
    spent,
)
from gandask.methods.split.data_parallel import DataParallel
from gandask.methods.split.method import Split

if TYPE_CHECKING:
    import xarray as xr


def crossover(method: BPGAN, seconds: Mapping[str, float] | None = None) -> xr.Dataset:
    """Tell from which batch size and which speed of a shared link on BPGAN stops paying.

    It is compared with data parallelism by a server on as many nodes, at equal numbers of real
    samples seen: judges alone see data, all nodes of data parallelism do. For each sample a judge
    moves (ω_D + g_D) / b + F + L, with F and L those of a sample, and a node of data parallelism
    (ω_D + ω_G + g_D + g_G) / b, whatever the numbers of nodes: with g = ω BPGAN moves less while
    b (F + L) < 2 ω_G. F is that of two fakes where ``fakes="fresh"``; buffers that travel count.

    Parameters
    ----------
    method : BPGAN
        Whose judges share a discriminator.
    seconds : mapping of str to float, optional
        Seconds that each task of both methods computes, by its name; see `cost`.

    Returns
    -------
    Dataset
        ``batch_size``, at which both move as many bytes (below it BPGAN moves fewer);
        ``link_speed``, at which both take as long, at the batch size that is set; ``pays``, whether
        BPGAN is faster ``below`` or ``above`` that speed, ``always`` or ``never``, where the speed
        is infinite or 0; ``saved_bytes``, the share of data parallelism's bytes that BPGAN does
        not move. What they stand on, along ``method``: ``nodes``, ``samples`` of an exchange,
        ``bytes`` and ``computing`` for one of these.

    Raises
    ------
    SettingError, DataError
        For another method, judges with discriminators of their own, seconds that lack a task or are
        of none, or settings that could not be run with either method.

    Examples
    --------
    >>> bpgan = BPGAN(data="ring8", base="small_mlp", batch_size=100)
    >>> seconds = {"judge": 0.04, "combine": 0.01, "learn": 0.03}
    >>> parallel = {"differentiate_both": 0.06, "combine_discriminator": 0.01,
    ...             "combine_generator": 0.01}
    >>> found = crossover(bpgan, seconds | parallel)
    >>> found["pays"].item(), round(float(found["batch_size"]))
    ('below', 10497)
    """
    import xarray as xr

    if not isinstance(method, BPGAN):
        name = getattr(method, "name", method)
        raise SettingError(f"method {name!r}: only BPGAN has a crossover; expected gandask.BPGAN()")
    if method.share != "gradients":
        raise SettingError(
            f"share={method.share!r}: judges with discriminators of their own have no server, and "
            "are no other way of what data parallelism does; choose share='gradients'"
        )
    both: tuple[Split, ...] = (method, _parallel(method))
    for one in both:
        one.check()
    taken = seconds_by_task(both, seconds)
    rows = [_by_sample(one, taken) for one in both]
    (moved, grown, computing), (usual, _, usual_computing) = rows
    pays, speed = _paying(usual - moved, computing - usual_computing)
    batch_size = method.batch_size * (1 + (usual - moved) / grown)
    nodes, samples = map(node_count, both), map(sample_count, both)
    along: dict[str, tuple[Iterable[float], str, str]] = {
        "nodes": (nodes, "nodes, but for the server", "1"),
        "samples": (samples, "real samples in an exchange", "1"),
        "bytes": ((row[0] for row in rows), "bytes for a real sample", "B"),
        "computing": ((row[2] for row in rows), "seconds of computing for a real sample", "s"),
    }
    found: dict[str, tuple[float | str, str, str]] = {
        "batch_size": (batch_size, "batch size at which both move as many bytes", "1"),
        "link_speed": (8 * speed, "speed of a shared link at which both take as long", "bit/s"),
        "pays": (pays, "on which side of that speed BPGAN is faster", ""),
        "saved_bytes": (1 - moved / usual, "share of the other's bytes that BPGAN saves", "1"),
    }
    return xr.Dataset(
        {name: ((), value, labelled(*told)) for name, (value, *told) in found.items()}
        | {name: ("method", [*each], labelled(*told)) for name, (each, *told) in along.items()},
        {"method": ("method", [one.name for one in both], labelled("method", ""))},
        facts(method, taken, seconds is None),
    )


def _parallel(method: BPGAN) -> DataParallel:
    """Give data parallelism by a server on as many nodes, of the same settings."""
    known = {f.name for f in config.fields(DataParallel)}
    shared = {f.name: getattr(method, f.name) for f in config.fields(method) if f.name in known}
    return DataParallel(**shared | {"nodes": node_count(method), "combine": "server"})


def _by_sample(method: Split, taken: Mapping[str, float]) -> tuple[float, float, float]:
    """Give, for a real sample: all bytes, those that grow with the batch, seconds of computing."""
    moved, seconds = spent(method, math.inf, True, taken)
    grown = moved["fakes"] + moved["feedback"]
    count = sample_count(method)
    return sum(moved.values()) / count, grown / count, seconds[COMPUTING] / count


def _paying(saved: float, added: float) -> tuple[str, float]:
    """Tell on which side of which speed, in bytes/s, what is saved outweighs what is added.

    Examples
    --------
    >>> _paying(100.0, 2.0), _paying(100.0, -2.0), _paying(-100.0, 2.0), _paying(-100.0, -2.0)
    (('below', 50.0), ('always', inf), ('never', 0.0), ('above', 50.0))
    """
    if saved > 0:
        return ("below", saved / added) if added > 0 else ("always", math.inf)
    return ("above", saved / added) if added < 0 else ("never", 0.0)
