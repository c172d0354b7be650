"""What travels between nodes in an exchange, by its plan and the shapes of networks; links."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch

from gandask.core import SettingError, Stage, slot_of
from gandask.methods.split.method import TERMS, Split
from gandask.methods.split.tasks import DISCRIMINATOR, GENERATOR
from gandask.training.learner import buffer_names, trainable

WIDTH = 4
"""Bytes of a number of samples and gradients: float32."""
LABEL = 8
"""Bytes of the label of a sample, where networks are conditional: int64."""
UNITS = {"bit": 1.0, "kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}
LINK = re.compile(r"(?P<number>\d+\.?\d*) ?(?P<unit>[A-Za-z]+?)(/s)?")


@dataclass(frozen=True)
class Volumes:
    """Bytes of what travels between the slots of a method.

    Parameters
    ----------
    weights, gradients, buffers : mapping of str to int
        Of a network, by ``discriminator`` and ``generator``; weights are sent with buffers.
    sample, label : int
        Of one fake, and of its label, if it has one.
    batch : int
        Samples in a batch.
    slices : int
        Into how many parts gradients are cut, where they are.
    """

    weights: Mapping[str, int]
    gradients: Mapping[str, int]
    buffers: Mapping[str, int]
    sample: int
    label: int
    batch: int
    slices: int

    @classmethod
    def of(cls, method: Split) -> Volumes:
        """Measure what a method sends, by the shapes of its networks and its data."""
        training = method.training
        weights, gradients, buffers = {}, {}, {}
        for kind in (DISCRIMINATOR, GENERATOR):
            with torch.device("meta"):
                module = training.builder(kind)()
            held = module.state_dict()
            weights[kind] = _bytes(held.values())
            gradients[kind] = _bytes(trainable(module).values())
            buffers[kind] = _bytes(held[name] for name in buffer_names(module))
        return cls(
            weights,
            gradients,
            buffers,
            sample=WIDTH * math.prod(training.sample_shape or training.data.shape),
            label=LABEL if training.network.conditional else 0,
            batch=method.batch_size,
            slices=len(method.holders),
        )

    def of_state(self, name: str) -> int:
        """Give the bytes of a state by its name: ``slot/number/kind/round``, and what it is of."""
        _, number, kind, _, *more = name.split("/")
        named = (part for part in (*reversed(more), kind) if part in self.weights)
        network = next(named, DISCRIMINATOR)
        match TERMS[kind], kind:
            case "weights", _:
                return self.weights[network]
            case "buffers", _:
                return self.buffers[network]
            case "fakes", _:
                return self.batch * (self.sample + self.label)
            case "feedback", _:
                return self.batch * self.sample
            case _, "mean":
                return self._slice(network, int(number))
            case _ if len(more) == 2:  # of which network, and which slice
                return self._slice(network, int(more[1]))
        return self.gradients[network]

    def _slice(self, network: str, index: int) -> int:
        """Give the bytes of a slice: the first ones are longer where they cannot be equal."""
        numbers = self.gradients[network] // WIDTH
        return (numbers + self.slices - 1 - index) // self.slices * WIDTH


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


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
