"""What travels between nodes in an exchange, by its plan and the shapes of networks; links."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from gandask.core import SettingError, Stage, slot_of
from gandask.methods.split.draws import Rules
from gandask.methods.split.method import TERMS, Split
from gandask.methods.split.states import DISCRIMINATOR, GENERATOR
from gandask.training.learner import buffer_names, trainable
from gandask.training.wire import coarser, size

WIDTH = 4
"""Bytes of a number of samples and gradients: float32."""
UNITS = {"bit": 1.0, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
LINK = re.compile(r"(?P<number>\d+\.?\d*) ?(?P<unit>[A-Za-z]+?)(/s)?")


Shapes = Mapping[str, tuple[Sequence[int], str]]
"""By the name of an array, its shape and its type."""


@dataclass(frozen=True)
class Volumes:
    """Bytes of what travels between the slots of a method.

    Parameters
    ----------
    weights, gradients, buffers : mapping of str to Shapes
        Of a network, by ``discriminator`` and ``generator``; weights are sent with buffers.
    sample, label : int
        Numbers of one fake, and of its label: 1 if it has one.
    batch : int
        Samples in a batch.
    rules : Rules
    """

    weights: Mapping[str, Shapes]
    gradients: Mapping[str, Shapes]
    buffers: Mapping[str, Shapes]
    sample: int
    label: int
    batch: int
    rules: Rules

    @classmethod
    def of(cls, method: Split) -> Volumes:
        """Measure what a method sends, by the shapes of its networks and its data."""
        training = method.training
        weights, gradients, buffers = {}, {}, {}
        for kind in (DISCRIMINATOR, GENERATOR):
            with torch.device("meta"):
                module = training.builder(kind)()
            held = module.state_dict()
            weights[kind] = _shapes(held)
            gradients[kind] = _shapes(trainable(module))
            buffers[kind] = _shapes({name: held[name] for name in buffer_names(module)})
        return cls(
            weights,
            gradients,
            buffers,
            sample=math.prod(training.sample_shape or training.data.shape),
            label=int(training.network.conditional),
            batch=method.batch_size,
            rules=method.rules,
        )

    def of_state(self, name: str) -> int:
        """Give the bytes of a state by its name: ``slot/number/kind/round``, and what it is of."""
        _, number, kind, _, *more = name.split("/")
        wire, rules = self.rules.wire, self.rules
        networks = [part for part in (kind, *more) if part in self.weights] or [DISCRIMINATOR]
        network = networks[-1]
        match TERMS[kind], kind:
            case "weights", _:
                return size(self.weights[network], coarser(wire) if "sent" in more else "float32")
            case "buffers", _:
                return size(self.buffers[network], "float32")
            case "fakes", _:
                judged = not rules.fresh or "real" in more
                return self._samples(rules.steps * rules.batches if judged else rules.batches, True)
            case "feedback", _:
                return self._samples(rules.batches, False)
            case _, "mean":
                return self._slice(networks, int(number), coarser(wire))
            case _ if rules.sliced:
                return self._slice(networks, int(more[-1]), wire)
        return size(self.gradients[network], wire)

    def _samples(self, batches: int, labelled: bool) -> int:
        """Give the bytes of batches of fakes, or of the feedback on them."""
        count = batches * self.batch
        shapes: dict[str, tuple[Sequence[int], str]] = {"": ((count, self.sample), "float32")}
        if labelled and self.label:
            shapes["labels"] = (count,), "int64"
        return size(shapes, self.rules.wire, by_sample=True)

    def _slice(self, networks: Sequence[str], index: int, wire: str) -> int:
        """Give the bytes of a slice: the first ones are longer where they cannot be equal."""
        nodes, shapes = self.rules.nodes, {}
        for network in networks:
            numbers = sum(math.prod(shape) for shape, _ in self.gradients[network].values())
            shapes[network] = ((numbers + nodes - 1 - index) // nodes,), "float32"
        return size(shapes, wire)


def _shapes(tensors: Mapping[str, torch.Tensor]) -> Shapes:
    return {
        name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        for name, tensor in tensors.items()
    }


@dataclass(frozen=True)
class Flow:
    """A state that a slot reads from another one: by whom, of what term, and its bytes."""

    source: str
    reader: str
    term: str
    size: int


def flows(method: Split, round: int) -> list[list[Flow]]:
    """Give what travels in an exchange, for each stage: before it begins.

    A slot that has a state keeps it, as in ``sent_bytes``: what it has read in the exchange before
    does not travel again.

    Parameters
    ----------
    method : BPGAN or DataParallel
    round : int
        Of the exchange, from 2: in the first nothing is there yet.
    """
    volumes = Volumes.of(method)
    had = {read for stage in method.exchange(round - 1) for read in _reads(stage)}
    found = []
    for stage in method.exchange(round):
        came = [read for read in dict.fromkeys(_reads(stage)) if read not in had]
        had.update(came)
        found.append(
            [
                Flow(slot_of(name), slot, method.term(name), volumes.of_state(name))
                for slot, name in came
            ]
        )
    return found


def _reads(stage: Stage) -> Iterator[tuple[str, str]]:
    """Give what the slots of a stage read from others: who, and the name of the state."""
    for task in stage:
        for name in task.reads:
            if slot_of(name) != task.slot:
                yield task.slot, name


# ---- links


def bits_per_second(link: str | None) -> float:
    """Read the speed of a link.

    Parameters
    ----------
    link : str or None
        A number and a unit, such as ``"10Mbit"`` or ``"1.5 Gbit/s"``: bits a second, thousand-fold
        with k, M and G. None or ``"inf"`` is a link without limit.

    Returns
    -------
    float
        Bits a second.

    Raises
    ------
    SettingError
        For anything else.

    Examples
    --------
    >>> bits_per_second("1.5 Mbit/s"), bits_per_second("100kbit"), bits_per_second(None)
    (1500000.0, 100000.0, inf)
    """
    if link is None or link == "inf":
        return math.inf
    found = LINK.fullmatch(link.strip()) if isinstance(link, str) else None
    speed = float(found["number"]) * UNITS.get(found["unit"], 0.0) if found else 0.0
    if not 0 < speed < math.inf:
        raise SettingError(
            f"link={link!r}: expected a number above 0 and a unit, such as '10Mbit'; known units "
            f"are {', '.join(UNITS)}, a second each, and 'inf' is a link without limit"
        )
    return speed
