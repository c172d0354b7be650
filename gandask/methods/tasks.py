"""What tasks of every method perform: make, score and sample networks, given as named arrays.

Each function returns ``(states, values)`` and changes nothing it is given.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from gandask.core import SHOWN, Array, Made, State, StoreError, rng, routine, torch_seed
from gandask.core.shown import POINTS, packed
from gandask.scores import features
from gandask.scores.features import CHUNK
from gandask.training import networks
from gandask.training.learner import fresh_moments, load_module, save_module
from gandask.training.settings import Noise, Training
from gandask.training.weights import average_of


def initialise(*, training: Training, slot: str, population_size: int) -> Made:
    """Make the individuals of a slot: drawn at random, or as another run left its best pair.

    Returns
    -------
    states
        Weights then moments, of each generator and then of each discriminator.
    values
        ``statistics`` of the generators, (individuals, packed length), where scores are asked for,
        and ``shown_samples`` of the first.
    """
    states: list[State] = []
    values: dict[str, Any] = {}
    std = training.initial_std
    with training.settled() as device:
        known = training.starting_pair()
        for kind, build in (
            ("generator", training.build_generator),
            ("discriminator", training.build_discriminator),
        ):
            modules = [
                load_module(build, known[kind], torch.device("cpu"))
                if kind in known
                else networks.build(build, torch_seed(training.seed, 0, slot, kind, index), std)
                for index in range(population_size)
            ]
            for module in modules:
                states += [save_module(module), fresh_moments(module, training.rate(kind))]
            if kind == "generator" and training.score_samples:
                values = measured(training, modules, training.score_samples, device, 0, slot)
                if training.shown_samples:
                    values[SHOWN] = shown(training, modules[0], device)
    return tuple(states), values


def batches(training: Training, shard: Array, slot: str, first: int) -> Iterator[Array]:
    """Draw the batches from an iteration on, shuffling the slot's share anew in each epoch.

    An iteration takes `discriminator_steps` of them.

    Parameters
    ----------
    shard : array
        Indices of the samples that `slot` trains on.
    """
    size = training.batch_size
    epoch, place = divmod((first - 1) * training.discriminator_steps, len(shard) // size)
    while True:
        with routine("batch"):
            shuffled = rng(training.seed, slot, "epoch", epoch).permutation(shard)
        for start in range(place * size, len(shuffled) - size + 1, size):
            yield shuffled[start : start + size]
        epoch, place = epoch + 1, 0


def measured(
    training: Training,
    generators: Sequence[nn.Module],
    count: int,
    device: torch.device,
    *key: int | str,
) -> dict[str, Array]:
    """Sample each generator and sum the statistics of its samples, packed in one row."""
    with routine("score"):
        extractor = features.extractor(training.data, training.features, training.inception_weights)
        training.refuse_others(extractor=extractor.key)
        sizes = [len(part) for part in np.array_split(np.empty(count), -(-count // CHUNK))]
        rows = []
        for index, generator in enumerate(generators):
            noise = Noise(training, device, *key, "score", index)
            generator.to(device).eval()
            # without gradients inside the extractor, which draws each batch as it needs it
            batches = (generator(*noise.draw(size)) for size in sizes)
            rows.append(extractor.statistics(batches).to_array())
    return {"statistics": np.stack(rows)}


def observed(
    training: Training, generator: nn.Module, device: torch.device, round: int, slot: str
) -> dict[str, Array]:
    """Measure a generator after a round, and show samples of it, where either is asked for.

    Returns
    -------
    mapping
        ``statistics``, (1, packed length), and ``shown_samples``, which are drawn from the same
        noise in every round and slot, in few bytes.
    """
    values: dict[str, Array] = {}
    if training.score_samples:
        values = measured(training, [generator], training.score_samples, device, round, slot)
    if training.shown_samples:
        values[SHOWN] = shown(training, generator, device)
    return values


def shown(training: Training, generator: nn.Module, device: torch.device) -> Array:
    """Draw samples to look at, of each class in turn; of points more, which are small."""
    shape = training.sample_shape or training.data.shape
    count = training.shown_samples * (POINTS if len(shape) == 1 else 1)
    with routine("score"), torch.no_grad():
        noise, *labels = Noise(training, device, "shown").draw(count)
        turns = [torch.arange(count, device=device) % training.label_count for _ in labels]
        return packed(generator.to(device).eval()(noise, *turns).cpu().float().numpy())


def score(*states: State, training: Training, slot: str, round: int, samples: int) -> Made:
    """Measure generators on many samples: ``statistics``, (generators, packed length)."""
    with training.settled() as device:
        with routine("load"):
            build = training.build_generator
            generators = [load_module(build, average_of(state), device) for state in states]
        return (), measured(training, generators, samples, device, round, slot, "final")


def kept(
    training: Training, generator: nn.Module, count: int, device: torch.device, slot: str
) -> dict[str, Array]:
    """Draw the samples to keep, from the same noise each time: ``samples``, (count, numbers)."""
    if not count:
        return {}
    with routine("score"), torch.no_grad():
        noise = Noise(training, device, slot, "kept").draw(count)
        drawn = generator.eval()(*noise).flatten(1).cpu().numpy()
    return {"samples": drawn}


def generator_of(training: Training, name: str, state: State, device: torch.device) -> nn.Module:
    """Build a generator to be sampled, outside of any run.

    Raises
    ------
    StoreError
        If the state is not one of the generator that the settings name.
    """
    try:
        return load_module(training.build_generator, average_of(state), device)
    except RuntimeError as error:
        raise StoreError(
            f"{name}: what is stored is not the generator that its settings and facts tell of: "
            f"{error}"
        ) from error


def samples(training: Training, name: str, state: State, count: int, seed: int) -> Array:
    """Draw samples from a generator, outside of any run.

    Returns
    -------
    (count, *shape) array
        The same each time for a name and a seed.

    Raises
    ------
    StoreError
        If the state is not one of the generator that the settings name.
    """
    with training.settled() as device, torch.no_grad():
        generator = generator_of(training, name, state, device)
        noise = Noise(training, device, seed, name, "mixture")
        # in parts, the last of which may be empty: memory does not grow with the count
        sizes = [min(CHUNK, count - start) for start in range(0, count + 1, CHUNK)]
        parts = [generator(*noise.draw(size)).cpu() for size in sizes]
    return np.asarray(torch.cat(parts).numpy())
