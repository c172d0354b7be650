"""What the tasks of PerLabel do: train a pair on the samples of one label, and score it.

Samples of a label are indices into the data set, which the processes of a machine map into memory
together: nothing is decoded or copied for a label.
"""

from __future__ import annotations

import functools
import itertools
import time

from gandask import data as data_sets
from gandask.core import Array, Made, State, progress, rng, routine
from gandask.data import Data
from gandask.methods.tasks import batches, kept, measured, observed
from gandask.training.learner import load_module
from gandask.training.pair import Pair
from gandask.training.settings import Training, real_batch
from gandask.training.weights import average_of


def train(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    label: int,
    first: int,
    last: int,
    scored: bool,
    kept_samples: int,
) -> Made:
    """Train a label's pair from iteration `first` to iteration `last`.

    An iteration is a step of the generator, and then those of the discriminator.

    Parameters
    ----------
    *states
        Generator weights and moments, discriminator weights and moments.
    scored : bool
        Whether the generator is to be scored, and `kept_samples` of it to be kept.

    Returns
    -------
    states
        As they came, trained.
    values
        ``finite``, ``last_iteration``, mean training losses, ``training_seconds``; ``statistics``
        and ``samples`` of the generator, where asked for.
    """
    with training.settled() as device:
        with routine("load"):
            pair = Pair.load(states, training, training.losses[0], slot, round, device)
        begun = time.perf_counter()
        drawn = batches(training, rows(training, slot, label), slot, first)
        for iteration in range(first, last + 1):
            taken = [*itertools.islice(drawn, training.discriminator_steps)]
            with routine("batch"):
                real = [real_batch(training, indices, device) for indices in taken]
            with routine("train"):
                pair.generator_step()
                for batch in real:
                    pair.discriminator_step(batch)
            progress((iteration - first + 1) / (last - first + 1))
        values = pair.outcome() | {"last_iteration": last}
        values["training_seconds"] = time.perf_counter() - begun
        generator = pair.generator.sampled()
        if values["finite"] and scored:
            values |= observed(training, generator, device, round, slot)
            values |= kept(training, generator, kept_samples, device, slot)
    return (*pair.generator.states(), *pair.discriminator.states()), values


def score(
    state: State, *, training: Training, slot: str, round: int, samples: int, kept_samples: int
) -> Made:
    """Measure a label's generator on many samples, and keep some: ``statistics``, ``samples``."""
    with training.settled() as device:
        with routine("load"):
            generator = load_module(training.build_generator, average_of(state), device)
        values = measured(training, [generator], samples, device, round, slot, "final")
        return (), values | kept(training, generator, kept_samples, device, slot)


def rows(training: Training, slot: str, label: int) -> Array:
    """Give the indices of the samples that a label's pair trains on."""
    own = _of_label(training.data, label)
    if training.data_fraction == 1.0:
        return own
    chance = rng(training.seed, slot, "shard")
    return own[data_sets.fraction(len(own), training.data_fraction, chance)]


@functools.lru_cache(maxsize=1024)
def _of_label(data: Data, label: int) -> Array:
    """Find a label's samples, once per process."""
    return data_sets.by_class(data.labels, label)
