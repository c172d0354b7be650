"""How an exchange goes, and what nodes draw for it: batches of their data, and noise."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gandask.core import Array, rng
from gandask.training.pair import Samples
from gandask.training.settings import Noise, Training, real_batch

Inputs = Sequence[tuple[Tensor, ...]]
"""What batches of fakes are made of."""


@dataclass(frozen=True)
class Rules:
    """How an exchange goes: what all tasks of a run are told alike.

    Parameters
    ----------
    nodes : int
        Among how many the data are divided.
    batches : int
        In a step.
    steps : int
        Of the discriminator in an exchange.
    fresh : bool
        Whether generators learn from other fakes than discriminators.
    exact : bool
        Whether a generator takes one step on the mean of all batches, or one for each.
    simultaneous : bool
        Whether generators learn from the discriminator of before.
    wire : str
        What numbers travel as.
    sliced : bool
        Whether gradients are cut into slices, one for each node.
    """

    nodes: int
    batches: int = 1
    steps: int = 1
    fresh: bool = True
    exact: bool = True
    simultaneous: bool = False
    wire: str = "float32"
    sliced: bool = False


def cut(samples: Tensor, size: int) -> list[Tensor]:
    """Cut samples into batches."""
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def share(training: Training, node: int, nodes: int) -> Array:
    """Give the samples that a node holds: each node its own, drawn at random; alone it has all."""
    whole = training.shard("nodes")
    if nodes == 1:
        return whole
    order = _order(training.seed, "split", 0, len(whole))
    return np.asarray(whole[np.array_split(order, nodes)[node]])


def batch(training: Training, node: int, nodes: int, number: int) -> Array:
    """Draw a node's batch of a number, counted from 1: its share is shuffled in each epoch."""
    held, size = share(training, node, nodes), training.batch_size
    epoch, place = divmod(number - 1, len(held) // size)
    order = _order(training.seed, str(node), epoch, len(held))
    return held[order[place * size : (place + 1) * size]]


@functools.lru_cache(maxsize=16)
def _order(seed: int, of: str, epoch: int, count: int) -> Array:
    return rng(seed, "nodes", of, "epoch", epoch).permutation(count)


def real_batches(
    training: Training, rules: Rules, node: int, round: int, step: int, device: torch.device
) -> list[Samples]:
    """Assemble the real samples of a node for one step, counted from 1, of a discriminator."""
    first = ((round - 1) * rules.steps + step - 1) * rules.batches + 1
    numbers = range(first, first + rules.batches)
    return [
        real_batch(training, batch(training, node, rules.nodes, number), device)
        for number in numbers
    ]


def inputs(
    training: Training, rules: Rules, device: torch.device, slot: str, round: int, judge: int
) -> tuple[Inputs, Inputs]:
    """Draw what the fakes of an exchange are made of: those that train D, those that train G.

    Parameters
    ----------
    judge : int
        For whom.

    Returns
    -------
    sequence, sequence
        A batch for each of the discriminator's steps and batches, and for each of the generator's:
        the last ones of these, if they are not to be fresh.
    """
    noise = Noise(training, device, round, slot, "train", judge)
    first = [noise.draw(training.batch_size) for _ in range(rules.steps * rules.batches)]
    if not rules.fresh:
        return first, first[-rules.batches :]
    return first, [noise.draw(training.batch_size) for _ in range(rules.batches)]
