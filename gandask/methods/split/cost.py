"""What an exchange costs, in bytes and seconds, before it is run: corrected, and as published.

The bytes are read off the method's own plan and the shapes of its networks, so that they are those
of ``sent_bytes`` in the Dataset of a run. The published model is that of Wu: Optimizing GAN for
Generating High Quality Samples (PhD thesis, Warwick 2022), equations 4.1 to 4.3.
"""

from __future__ import annotations

import collections
import json
import math
import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gandask import config
from gandask.core import SettingError, Stage
from gandask.methods.split.bpgan import BPGAN
from gandask.methods.split.calibration import EXCHANGES, task_seconds
from gandask.methods.split.method import SERVER, TERMS, Split
from gandask.methods.split.states import DISCRIMINATOR, GENERATOR
from gandask.methods.split.traffic import WIDTH, Flow, Volumes, bits_per_second, flows
from gandask.training.wire import size

if TYPE_CHECKING:
    import xarray as xr

COMPUTING = "computing"
CALIBRATED = f"median of {EXCHANGES} exchanges in this process"


def _typical(method: Split) -> dict[int, int]:
    """Give exchanges that stand for all, and for how many: one without a swap, one with it."""
    every = method.swap_every if isinstance(method, BPGAN) else 0
    if not 0 < every < method.iterations:
        return {2: 1}
    return {2: every - 1} | {every + 1: 1}


def _longest(stage: Stage, taken: Mapping[str, float]) -> float:
    """Give the seconds of the slot that computes longest: one after the other what is its own."""
    by_slot: dict[str, float] = {}
    for task in stage:
        by_slot[task.slot] = by_slot.get(task.slot, 0.0) + taken[task.name]
    return max(by_slot.values())


def _awaited(came: Sequence[Flow], shared: bool) -> Sequence[Flow]:
    """Give what a stage waits for: all that travels, or what the busiest end of a link carries."""
    if shared:
        return came
    ends: dict[tuple[str, str], list[Flow]] = {}
    for flow in came:
        ends.setdefault(("out", flow.source), []).append(flow)
        ends.setdefault(("in", flow.reader), []).append(flow)
    return max(ends.values(), key=lambda end: sum(flow.size for flow in end), default=[])


def spent(
    method: Split, speed: float, shared: bool, taken: Mapping[str, float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Give the bytes and the seconds of one exchange, by term: the mean of all exchanges.

    Parameters
    ----------
    method : BPGAN or DataParallel
    speed : float
        Of a link, in bits a second.
    shared : bool
        Whether it is one for all, or one for each node.
    taken : mapping of str to float
        Seconds by the name of the task.
    """
    terms = [*dict.fromkeys(TERMS.values()), COMPUTING]
    moved, seconds = dict.fromkeys(terms, 0.0), dict.fromkeys(terms, 0.0)
    exchanges = _typical(method)
    whole = sum(exchanges.values())
    for round, count in exchanges.items():
        for stage, came in zip(method.exchange(round), flows(method, round), strict=True):
            seconds[COMPUTING] += count * _longest(stage, taken) / whole
            for flow in came:
                moved[flow.term] += count * flow.size
            for flow in _awaited(came, shared):
                seconds[flow.term] += count * 8 * flow.size / speed / whole
    return {term: size / whole for term, size in moved.items()}, seconds


def predicted_bytes(method: Split) -> dict[str, float]:
    """Give the bytes of an exchange by term, as `cost` predicts them."""
    moved, _ = spent(method, math.inf, True, collections.defaultdict(float))
    return {term: size for term, size in moved.items() if term != COMPUTING}


# ---- models


def cost(
    method: Split,
    link: str | None = "10Mbit",
    shared: bool = True,
    seconds: Mapping[str, float] | None = None,
    published: bool = False,
) -> xr.Dataset:
    """Predict what an exchange costs: bytes and seconds.

    Stages follow one another. In each, first everything travels that its tasks read, then all
    slots compute at once, and the longest counts. Nothing is added for latency, for the headers of
    messages or for what the engine does. An exchange is the mean of all: some have a swap.

    Parameters
    ----------
    method : BPGAN or DataParallel
    link : str or None
        Speed of the link that is limited, such as ``"10Mbit"`` or ``"1.5 Gbit/s"``; None or
        ``"inf"`` for no limit.
    shared : bool
        Whether all nodes share that link, so that all that travels adds up. If not, each node
        has a link of its own, both ways at once: the node with the most bytes in or out counts.
    seconds : mapping of str to float, optional
        Seconds that each task computes, by its name (``judge``, ``answer``, ``combine``, ...):
        those in ``task_seconds`` of an earlier result, say. By default the tasks of a few exchanges
        are performed in this process, on the method's data, and the median is taken.
    published : bool
        Give the model of the thesis instead, as printed: see `published_seconds`.

    Returns
    -------
    Dataset
        Along ``term`` (weights, buffers, gradients, fakes, feedback, computing): ``bytes``, and
        ``seconds``, which add up; ``samples``, real ones in an exchange; ``link_speed``. If
        `published`, the symbols of the thesis, ``T_DP``, ``T_BP`` and ``difference``; the attribute
        ``odd_nodes`` is 1 where an odd M cannot be halved as the thesis does. Attributes tell
        settings, link and ``task_seconds``, as JSON.

    Raises
    ------
    SettingError, DataError
        For another method, a link in no known unit, seconds that lack a task or are of none, or
        settings that could not be run; for the published model also without a server,
        or with ``shared=False``.

    Examples
    --------
    >>> bpgan = BPGAN(data="ring8", base="small_mlp", batch_size=100)
    >>> found = cost(bpgan, "1Mbit", seconds={"judge": 0.02, "combine": 0.01, "learn": 0.03})
    >>> found["bytes"].sel(term=["weights", "feedback"]).values
    array([136200.,   1600.])
    >>> round(float(found["seconds"].sum()), 3), float(found["seconds"].sel(term="computing"))
    (2.255, 0.05)
    """
    if not isinstance(method, Split):
        name = getattr(method, "name", method)
        raise SettingError(
            f"method {name!r}: costs are known of methods that train one GAN in parts; expected "
            "gandask.BPGAN(...) or gandask.DataParallel(...)"
        )
    speed = bits_per_second(link)
    if published:
        _check_published(method, shared)
    method.check()
    taken = seconds_by_task([method], seconds)
    if published:
        made = _published(method, speed, taken)
    else:
        made = _corrected(method, speed, shared, taken)
    told = {"link": str(link), "shared": int(shared)}
    return made.assign_attrs(facts(method, taken, seconds is None) | told)


def facts(method: Split, taken: Mapping[str, float], measured: bool) -> dict[str, str]:
    """Tell, as attributes of a result, what it was computed from."""
    return {
        "settings": config.to_toml(method, strict=False),
        "task_seconds": json.dumps(taken),
        "task_seconds_of": CALIBRATED if measured else "given",
    }


def seconds_by_task(
    methods: Sequence[Split], seconds: Mapping[str, float] | None
) -> dict[str, float]:
    """Give the seconds of each task of an exchange by its name, measured or given.

    Raises
    ------
    SettingError
        If those given lack a task, are of none, or are no times.
    """
    if seconds is None:
        return {name: one for method in methods for name, one in task_seconds(method).items()}
    stages = (stage for method in methods for stage in method.exchange(2))
    names = dict.fromkeys(task.name for stage in stages for task in stage)
    wrong = sorted(map(str, {*seconds} ^ {*names}))
    if wrong:
        raise SettingError(
            f"seconds={dict(seconds)!r}: expected one for each task of an exchange, {list(names)}; "
            f"lacking or unknown: {wrong}"
        )
    for name, value in seconds.items():
        if not (isinstance(value, numbers.Real) and 0 <= value < math.inf):
            raise SettingError(f"seconds: {name}={value!r}: expected a number of seconds from 0 on")
    return {name: float(seconds[name]) for name in names}


def _corrected(method: Split, speed: float, shared: bool, taken: Mapping[str, float]) -> xr.Dataset:
    import xarray as xr

    moved, seconds = spent(method, speed, shared, taken)
    made = xr.Dataset(
        {
            "bytes": ("term", [*moved.values()], labelled("bytes of an exchange", "B")),
            "seconds": ("term", [*seconds.values()], labelled("seconds of an exchange", "s")),
            "samples": ((), sample_count(method), labelled("real samples in an exchange", "1")),
            "link_speed": ((), speed, labelled("speed of the link", "bit/s")),
        },
        {"term": [*moved]},
    )
    made["term"].attrs |= labelled("what travels, or is computed", "")
    return made


def sample_count(method: Split) -> int:
    """Count the real samples in an exchange."""
    batches = method.exchange_every * method.discriminator_steps
    return len(method.holders) * batches * method.batch_size


def labelled(long_name: str, units: str) -> dict[str, str]:
    """Give the attributes of a variable."""
    return {"long_name": long_name, "units": units}


SYMBOLS = {
    "M": ("nodes", "1"),
    "v": ("speed of the link", "B/s"),
    "D": ("volume of the training data", "B"),
    "t_D": ("time of the discriminator for a unit of data", "s/B"),
    "t_G": ("time of the generator for a unit of data", "s/B"),
    "t_S": ("time of the server for a unit of weights or gradients", "s/B"),
    "F": ("volume of the fakes of a pair", "B"),
    "L": ("volume of the labels of a pair", "B"),
    "omega": ("volume of a network's weights", "B"),
    "g": ("volume of a network's gradients", "B"),
    "T_DP": ("time of data parallelism, Eq. 4.1", "s"),
    "T_BP": ("time of BPGAN, Eq. 4.2", "s"),
    "difference": ("time that BPGAN saves, Eq. 4.3", "s"),
}


def published_seconds(
    nodes: float,
    speed: float,
    data: float,
    discriminator: float,
    generator: float,
    server: float,
    fakes: float,
    labels: float,
    weights: float,
    gradients: float,
) -> tuple[float, float, float]:
    """Evaluate equations 4.1, 4.2 and 4.3 of the thesis as they are printed.

    They are not right, and are here to be compared with:

    - Eq. 4.1 drops the 2 of T_b and T_f, which it defines as M·2ω/v and M·2g/v, and T_u lacks the
      same 2; Eq. 4.3 puts back those of T_b and T_f, so that it is not 4.1 less 4.2.
    - In Eq. 4.2, T_b and T_f count M nodes where M/2 talk to the server.
    - T_d is D/v in both, though the text says that only half of the nodes receive data.
    - F, L, ω and g are of one exchange, D, t_D and t_G of a pass over the data: the number of
      exchanges in a pass is missing.
    - Networks of one size, t_D = t_G and computing of both at once are assumed; what judges compute
      for the generator is left out.
    - A generator cannot learn from labels. What it needs is the gradient for each number of its
      fakes, as large as F.

    Parameters
    ----------
    nodes : float
        M, of both kinds.
    speed : float
        v, in bytes/s.
    data : float
        D, the training data, in bytes.
    discriminator, generator, server : float
        t_D, t_G and t_S: seconds for a byte of data, of data, and of weights or gradients.
    fakes, labels : float
        F and L: what a pair sends each other, in bytes.
    weights, gradients : float
        ω and g, of one network, in bytes.

    Returns
    -------
    tuple of float
        T_DP, T_BP and their difference, in seconds.

    Examples
    --------
    >>> published_seconds(4, 10.0, 1000.0, 0.01, 0.02, 0.001, 30.0, 10.0, 200.0, 100.0)
    (228.7, 233.6, 112.6)
    """
    exchanged = nodes * weights / speed + nodes * gradients / speed
    computed = data * (discriminator + generator) / nodes
    parallel = data / speed + exchanged + computed + server * (gradients + weights) * nodes
    pairs = nodes / 2
    served = server * (gradients + weights) * pairs
    paired = nodes / (2 * speed) * (fakes + labels) + data * discriminator / pairs
    split = data / speed + exchanged + paired + served
    saved = nodes / speed * (weights + gradients - (fakes + labels) / 2) + served
    return parallel, split, saved


def _check_published(method: Split, shared: bool) -> None:
    if SERVER not in method.layout().slots:
        raise SettingError(
            "published=True: the thesis's model has a server, and this method has none; choose "
            "share='gradients' for BPGAN, combine='server' for DataParallel"
        )
    if not shared:
        raise SettingError(
            "shared=False: in the thesis's model all nodes share one link; choose shared=True with "
            "published=True"
        )


def _published(method: Split, speed: float, taken: Mapping[str, float]) -> xr.Dataset:
    """Evaluate the thesis's model, with its symbols measured on a method.

    ω and g are means of both networks. A task that computes for both of them at once counts half
    for each, as the thesis takes t_D = t_G.
    """
    import xarray as xr

    volumes = Volumes.of(method)
    training = method.training
    batch = method.batch_size * method.exchange_every * volumes.sample * WIDTH
    weights, gradients = (
        sum(size(shapes, "float32") for shapes in held.values()) / 2
        for held in (volumes.weights, volumes.gradients)
    )
    discriminator, generator, server = _by_network(method, taken, volumes)
    values: dict[str, float] = {
        "M": node_count(method),
        "v": speed / 8,
        "D": len(training.shard("nodes")) * volumes.sample * WIDTH,
        "t_D": discriminator / batch,
        "t_G": generator / batch,
        "t_S": server,
        "F": batch,
        "L": method.batch_size * method.exchange_every * WIDTH,
        "omega": weights,
        "g": gradients,
    }
    totals = published_seconds(*values.values())
    values |= zip(("T_DP", "T_BP", "difference"), totals, strict=True)
    made = xr.Dataset({name: ((), values[name], labelled(*told)) for name, told in SYMBOLS.items()})
    return made.assign_attrs(source="Wu (2022), Eq. 4.1 to 4.3", odd_nodes=node_count(method) % 2)


def node_count(method: Split) -> int:
    """Count the nodes, but for the server."""
    return len({*method.layout().slots} - {SERVER})


def _by_network(
    method: Split, taken: Mapping[str, float], volumes: Volumes
) -> tuple[float, float, float]:
    """Give the seconds of discriminator and generator for a batch, and of the server for a byte."""
    received = {
        kind: len(method.holders)
        * (size(volumes.weights[kind], "float32") + size(volumes.gradients[kind], "float32"))
        for kind in (DISCRIMINATOR, GENERATOR)
    }

    def total(task: str) -> float:
        """Add up the seconds of all tasks of an exchange whose name begins so."""
        return sum(seconds for name, seconds in taken.items() if name.startswith(task))

    if isinstance(method, BPGAN):
        batches = math.ceil(method.discriminators / method.generators)
        served = total("combine") + total(f"average_{DISCRIMINATOR}")
        judging = total("judge") + total("train") + total("answer")
        return judging, total("learn") / batches, served / received[DISCRIMINATOR]
    half = (total("differentiate_both") + total("train_both")) / 2
    discriminator, generator = (half + total(f"differentiate_{kind}") for kind in received)
    return discriminator, generator, (total("combine") + total("average")) / sum(received.values())
