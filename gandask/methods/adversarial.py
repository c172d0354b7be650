"""What every method is given that trains generators against discriminators.

The settings that such methods share: data, learning, scores, the machine; and what follows from
them: what tasks are given, what samples are compared with.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gandask import config, data
from gandask.checks import refuse_address, spelt_out
from gandask.config import setting, settings
from gandask.core import (
    Array,
    SettingError,
    State,
    StoreError,
    View,
    rng,
    slot_of,
)
from gandask.core.shown import POINTS, packed
from gandask.data import Data
from gandask.methods.scored import Scored
from gandask.methods.tasks import generator_of, samples
from gandask.scores import features, final, series
from gandask.training.identity import of_functions
from gandask.training.losses import Loss
from gandask.training.networks import Network
from gandask.training.pyramids import ACTIVATIONS
from gandask.training.rounding import BF16
from gandask.training.settings import Noise, Training

V = TypeVar("V", bound=View)
LOOKED_THROUGH = 1 << 10
"""Real samples among which those of each class are found that are shown."""
TRIED = 3
"""Samples that a network which leaves gandask is tried on."""
INPUTS = ("noise", "labels")
LARGEST = 1 << 24
"""Numbers in a sample, and classes of them, that are drawn for a run that somebody else made."""


@settings
class Adversarial(Scored[V]):
    """Settings that methods share."""

    data: str = setting(
        "digits", f"data set: {', '.join(data.NAMES)}, or a path to images or arrays"
    )
    data_dir: str | None = setting(None, "folder that holds the named data set")
    download: bool = setting(False, "download the data set into data_dir if it is not there")
    image_size: int | None = setting(None, "side to resize images to", minimum=1)
    skip_unreadable: bool = setting(False, "leave out images that cannot be read")
    data_fraction: float = setting(1.0, "random share of the data per slot", above=0, maximum=1)
    batch_size: int = setting(100, "samples per batch", minimum=1)
    discriminator_steps: int = setting(
        1,
        "discriminator steps for each of the generator, each on a batch of real samples of its "
        "own: WGAN and WGAN-GP publish 5",
        minimum=1,
    )
    activation: str | None = setting(
        None,
        "of hidden layers; the network's own by default",
        choices=tuple(ACTIVATIONS),
    )
    latent: int | None = setting(
        None, "noise size; the network's own by default", minimum=1, maximum=1 << 20
    )
    initial_std: float | None = setting(
        None, "of initial weights around 0; the network's own by default", above=0
    )
    init: str | None = setting(
        None,
        "folder of a stored run, where workers reach it, to start from: every slot takes the "
        "heaviest generator of its best mixture and the discriminator trained with it; or a "
        ".safetensors file of a generator",
    )
    learning_rate: float = setting(2e-4, "initial Adam learning rate", above=0)
    adam_betas: tuple[float, float] = setting((0.5, 0.999), "Adam β", minimum=0, below=1)
    shown_samples: int = setting(
        16,
        "images or sequences of each generator that a stored run keeps of every round that is "
        "scored, small, for pages and films; points: 32 times as many",
        minimum=0,
        maximum=256,
    )
    precision: str = setting(
        "highest",
        "of float32 products in torch; or bf16: networks compute their steps in bfloat16, with "
        "weights, losses and scores of float32",
        choices=("highest", "high", "medium", BF16),
    )
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda"))
    torch_threads: int = setting(1, "torch threads per task", minimum=1, maximum=1024)
    seed: int = setting(1, "of every random draw", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        data.check_name(self.data, self.data_dir)
        for key in ("data_dir", "init", "inception_weights"):
            refuse_address(key, getattr(self, key) or "")

    def resolved(self) -> Self:
        """Give the same settings, made anew, with paths spelt out: as the registries are now."""
        keys = ("data_dir", "init", "inception_weights")
        given = {key: getattr(self, key) for key in keys}
        paths = {key: spelt_out(path) for key, path in given.items() if path is not None}
        return config.replace(self, paths | {"data": data.resolved(self.data, self.data_dir)})

    def prepare(self) -> dict[str, Any]:
        """Train or load the classifier and the real statistics, once for all tasks."""
        with self.training.settled():
            accuracy = features.extractor(*self.measured_by).accuracy
            if accuracy is None and self._teaches:  # what real samples teach is compared with
                accuracy = features.extractor(self.training.data, "classifier").accuracy
            features.reference(*self.measured_by)
            if self.final_scores:
                final.real(*self.measured_by, self.compared_labels)
            if self._of_classes:
                features.references(*self.measured_by)
        loaded = self.training.data
        facts = {
            "sample_shape": list(loaded.shape),
            "classes": loaded.classes,
            "samples": len(loaded),
            "score": self.score,
            **self.identity(),
        }
        if loaded.shape == (2,):
            facts |= data.Plane.around(loaded.samples, loaded.modes, loaded.mode_std).facts
        elif len(loaded.shape) == 2:
            facts |= data.Bands.around(loaded.samples).facts
        if any(final.SCORES[name].of_sequences for name in self.final_scores):
            with self.training.settled():
                facts["real_prediction_error"] = series.real_error(loaded, self.compared_labels)
        if self._modes:
            facts["real_mode_share"] = features.reference(*self.measured_by).statistics.shares
        return facts if accuracy is None else facts | {"classifier_accuracy": accuracy}

    def identity(self) -> dict[str, Any]:
        """Tell which data, networks and losses its names stand for, and what scores them.

        Tasks take it along: whoever performs them elsewhere compares it.
        """
        used = [*{id(one): one for one in map(self.training_of, self.layout().slots)}.values()]
        with self.training.settled():
            scored_by = features.extractor(*self.measured_by).key
        told = [one.identify(scored_by) for one in used]
        facts: dict[str, Any] = {"fingerprint": self.training.data.fingerprint}
        for key in dict.fromkeys(chain(*told)):
            values = [one[key] for one in told if key in one]
            digests = isinstance(values[0], str)
            facts[key] = " ".join(sorted({*values})) if digests else [*chain(*values)]
        named = sorted(config.functions(self))
        if named:
            facts["functions_digest"] = of_functions([*map(config.load_object, named)])
        return facts

    def real_samples(self) -> Array | None:
        """Give real samples to look at, of each class in turn."""
        if not self.shown_samples:
            return None
        loaded, chance = self.training.data, rng(self.seed, "real")
        of = self.compared_labels
        asked = np.flatnonzero(np.isin(loaded.labels, of)) if of else len(loaded)
        drawn = chance.choice(asked, LOOKED_THROUGH)
        labels = loaded.labels[drawn]
        turns = np.array([np.sum(labels[:at] == label) for at, label in enumerate(labels)])
        count = self.shown_samples * (POINTS if len(loaded.shape) == 1 else 1)
        return packed(loaded.batch(drawn[np.lexsort((labels, turns))][:count]).numpy())

    def term(self, state: str) -> str:
        """Say whether a state is weights or what an optimiser remembers of them."""
        return "moments" if state.endswith("/moments") else "weights"

    def generate(
        self, name: str, state: State, count: int, seed: int, facts: Mapping[str, Any]
    ) -> Array:
        """Draw samples from a generator; see `gandask.core.Method`.

        Raises
        ------
        StoreError
            For samples of a form that cannot be, or that the generator does not give.
        """
        return samples(self._formed(name, facts), name, state, count, seed)

    def module(
        self, name: str, state: State, facts: Mapping[str, Any]
    ) -> tuple[nn.Module, Mapping[str, Tensor]]:
        """Build the generator of a state; see `gandask.core.Method`.

        Raises
        ------
        StoreError
            For samples of a form that cannot be, or that the generator does not give.
        """
        training, cpu = self._formed(name, facts), torch.device("cpu")
        inputs = Noise(training, cpu, name, "trial").draw(TRIED)
        return generator_of(training, name, state, cpu), dict(zip(INPUTS, inputs, strict=False))

    def _formed(self, name: str, facts: Mapping[str, Any]) -> Training:
        """Give what the tasks of a slot were given, for networks without the data."""
        training = dataclasses.replace(self.training_of(slot_of(name)), **_form(facts))
        began = str(facts.get("networks_digest", ""))
        if began and training.networks_digest not in began.split():
            warnings.warn(
                f"{name}: networks of these names are other ones here than those that it was "
                "trained as; what is drawn may not be what was trained",
                stacklevel=2,
            )
        return training

    def _training(self, network: Network, losses: Sequence[Loss]) -> Training:
        """Give tasks the settings that they need, with their names resolved."""
        shared = {f.name for f in dataclasses.fields(Training)} & set(self.__dataclass_fields__)
        source = {
            "name": data.resolved(self.data, self.data_dir),
            "data_dir": self.data_dir and spelt_out(self.data_dir),
            "image_size": self.image_size,
            "skip_unreadable": self.skip_unreadable,
        }
        resolved: dict[str, Any] = {
            "losses": self._practised(losses),
            "network": network,
            "latent": self.latent or network.latent,
            "source": source,
            "init": self.init and spelt_out(self.init),
            "inception_weights": self.inception_weights and spelt_out(self.inception_weights),
        }
        return Training(**{key: getattr(self, key) for key in shared} | resolved)

    def _load(self, slot: str) -> Data:
        """Load the data, and refuse batches that are larger than a slot's share of it.

        Raises
        ------
        SettingError, DataError
        """
        loaded = data.load(**self.training.source, download=self.download, fresh=True)
        self.check_augment(loaded.shape)
        if self.gradient_accumulation > self.batch_size:
            raise SettingError(
                f"gradient_accumulation={self.gradient_accumulation}: a batch has "
                f"{self.batch_size} samples; choose at most so many parts"
            )
        shard = len(self.training.shard(slot))
        if self.batch_size > shard:
            raise SettingError(
                f"batch_size={self.batch_size}: {slot}'s share of {self.data} is {shard} samples "
                f"(data_fraction={self.data_fraction}); make the batch smaller or the share larger"
            )
        names = [f"{slot}/generator" for slot in self.layout().slots]
        by_label = all(self._member(name, 1.0).by_label for name in names)
        given = self.final_scores, loaded, self.features, self.final_samples
        final.check(*given, by_label=by_label, key="final_scores", labels=self.compared_labels)
        return loaded


def _form(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Read from the facts of a run, which may be a stranger's, what form its samples have."""
    shape, classes = (facts.get(key, 0) for key in ("sample_shape", "classes"))
    sides = shape if isinstance(shape, list | tuple) else ()
    if not (_positive(sides) and len(sides) <= 3 and math.prod(sides) <= LARGEST):
        raise StoreError(
            f"sample_shape={shape!r} in the facts of the run: expected one to three positive whole "
            f"numbers, whose product is at most {LARGEST}; put its run.json back as it was"
        )
    if not (_positive([classes]) and classes <= LARGEST):
        raise StoreError(
            f"classes={classes!r} in the facts of the run: expected a whole number from 1 to "
            f"{LARGEST}; put its run.json back as it was"
        )
    return {"sample_shape": tuple(sides), "classes": classes}


def _positive(numbers: Sequence[Any]) -> bool:
    """Tell whether there are some, all of them whole and above 0."""
    return len(numbers) > 0 and all(type(number) is int and number > 0 for number in numbers)
