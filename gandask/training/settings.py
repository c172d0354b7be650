"""What a worker needs to train: settings with their names resolved, data and noise to train on."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gandask import data as data_sets
from gandask.core import (
    Array,
    DataError,
    SettingError,
    State,
    StoreError,
    alike,
    rng,
    torch_seed,
)
from gandask.data import Data
from gandask.training import ambience, behaviour, networks, stored
from gandask.training.augmenting import Augmented, Judge, names
from gandask.training.identity import is_imported, of_losses, of_modules
from gandask.training.losses import Loss
from gandask.training.networks import Network
from gandask.training.rounding import rounded

_REMEDY = ": let all machines import the same code, and start workers anew once it was edited"
_CODE = " compute something else here than where the run was begun" + _REMEDY
OTHERS: Mapping[str, str] = {
    "networks_behaviour": "networks" + _CODE,
    "losses_behaviour": "losses" + _CODE,
    "networks_digest": "networks are of other code here than where the run was begun" + _REMEDY,
    "losses_digest": "losses are of other code here than where the run was begun" + _REMEDY,
    "extractor": (
        "samples are scored by something else here than where the run was begun ({now}, there "
        "{then}): let all machines share one GANDASK_CACHE and one inception_weights, or remove "
        "the folder features from the cache here"
    ),
    "held_out_digest": (
        "held-out samples are others here than where the run was begun (fingerprint {now}, there "
        "{then}): let all machines read the same files"
    ),
    "init_digest": (
        "networks to start from are others than when the run was begun (init_digest {now}, then "
        "{then}): put those back, or begin the run anew"
    ),
}
"""What is said of facts that are others, and what to do."""

_CODE_FACTS = ("networks_behaviour", "losses_behaviour", "networks_digest", "losses_digest")
_comparing = threading.Lock()
_compared: set[str] = set()  # what networks and losses of this process were found to compute


@dataclass(frozen=True)
class Training:
    """What a worker needs to train and evaluate: settings with their names resolved.

    `source` holds the arguments of `gandask.data.load`; `init` the folder of the run whose networks
    all start from; `losses` those that pairs are trained with; `sample_shape` and `classes` are the
    data's, given where nets are built without it; `labelled` how many samples have labels that
    discriminators learn, which tell no classes if none have; the rest are settings that methods
    share. Pickled where its data were loaded, it takes their `fingerprint` along, and whoever loads
    others under the same name is told. So it is with `identity`, facts of `gandask.core.IDENTITY`,
    once `identify` was called where the run is begun.
    """

    source: Mapping[str, Any]
    network: Network
    losses: tuple[Loss, ...]
    seed: int
    activation: str | None
    latent: int
    batch_size: int
    discriminator_steps: int
    learning_rate: float
    discriminator_learning_rate: float | None
    learning_rate_half_life: int | None
    gradient_accumulation: int
    ema: float
    augment: str
    adam_betas: tuple[float, float]
    data_fraction: float
    score_samples: int
    shown_samples: int
    features: str
    inception_weights: str | None
    precision: str
    device: str
    torch_threads: int
    initial_std: float | None
    init: str | None
    sample_shape: tuple[int, ...] | None = None
    classes: int | None = None
    labelled: int = 0
    fingerprint: str | None = field(default=None, compare=False)
    identity: dict[str, Any] = field(default_factory=dict, compare=False)

    @functools.cached_property
    def data(self) -> Data:
        """The data set, loaded once per process.

        Raises
        ------
        DataError
            If it is not what it was where this was made.
        """
        loaded = data_sets.load(**self.source)
        if self.fingerprint not in (None, loaded.fingerprint):  # files that were changed meanwhile
            loaded = data_sets.load(**self.source, fresh=True)
        if self.fingerprint not in (None, loaded.fingerprint):
            raise DataError(
                f"data={self.source['name']!r}: here are other data than where the run was "
                f"started (fingerprint {loaded.fingerprint}, there {self.fingerprint}): let all "
                "machines read the same files"
            )
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        state = {key: value for key, value in self.__dict__.items() if key != "data"}
        known = self.fingerprint
        if "data" in self.__dict__ or (known is None and self.sample_shape is None):
            known = self.data.fingerprint  # whoever receives this compares it
        return state | {"fingerprint": known}

    def shard(self, slot: str) -> Array:
        """Indices of the samples that `slot` trains on."""
        known = self.unheld
        if self.data_fraction == 1.0:
            return known
        generator = rng(self.seed, slot, "shard")
        return known[data_sets.fraction(len(known), self.data_fraction, generator)]

    @property
    def held_out(self) -> tuple[Data, Array]:
        """Where the samples lie that no slot trains on, and their indices in random order."""
        chance = rng(self.seed, "held out")
        if self.source["name"] in data_sets.TESTED:
            tested = data_sets.load(**self.source, test=True)
            return tested, chance.permutation(len(tested))
        return self.data, data_sets.held_out(len(self.data), chance)[0]

    @property
    def unheld(self) -> Array:
        """Indices of all samples that are trained on: none is held out unless some are labelled."""
        if not self.labelled or self.source["name"] in data_sets.TESTED:
            return data_sets.whole(len(self.data))
        return data_sets.held_out(len(self.data), rng(self.seed, "held out"))[1]

    def build_generator(self) -> nn.Module:
        """Build a generator with weights from torch's global stream."""
        shape = self.sample_shape or self.data.shape
        return self.network.generator(shape, self.latent, self.label_count, self.activation)

    def changes(self, device: torch.device, *key: int | str) -> torch.Generator:
        """Make the stream that changes of samples are drawn from."""
        return torch.Generator(device).manual_seed(torch_seed(self.seed, *key, "augment"))

    def seen(self, judge: Judge, changes: torch.Generator) -> Judge:
        """Let a discriminator see samples changed, or rounded, where that is asked for."""
        judge = rounded(judge, self.precision)
        return Augmented(judge, names(self.augment), changes) if self.augment else judge

    def rate(self, kind: str) -> float:
        """Give the initial learning rate of a ``generator`` or a ``discriminator``."""
        own = self.discriminator_learning_rate if kind == "discriminator" else None
        return own or self.learning_rate

    def builder(self, kind: str) -> Callable[[], nn.Module]:
        """Give what builds a ``generator`` or a ``discriminator``."""
        return self.build_generator if kind == "generator" else self.build_discriminator

    def build_discriminator(self) -> nn.Module:
        """Build a discriminator with weights from torch's global stream."""
        shape = self.sample_shape or self.data.shape
        return self.network.discriminator(shape, self.label_count, self.activation)

    @functools.cached_property
    def networks_digest(self) -> str:
        """A digest of both networks: of their parameters' names and shapes, and of their code."""
        builders = self.build_generator, self.build_discriminator
        # nothing but their shapes counts: those that a stranger's run tells of may be of any size
        with networks.seeded(0), torch.device("meta"):
            modules = [builder() for builder in builders]
        return of_modules((self.network.generator, self.network.discriminator), modules)

    def identify(self, extractor: str) -> Mapping[str, Any]:
        """Find what its names stand for here and now, and take it along.

        Parameters
        ----------
        extractor : str
            What samples are scored by.
        """
        found = {
            "extractor": extractor,
            "networks_digest": self.networks_digest,
            "losses_digest": of_losses(self.losses),
            **self._behaviour(),
        }
        if self.labelled:
            found["held_out_digest"] = self.held_out[0].fingerprint
        if self.init:
            found["init_digest"] = _digest_of(stored.best_pair(self.init))
        self.identity.clear()
        self.identity.update(found)
        _compared.add(_mark(found))
        return found

    def _behaviour(self) -> dict[str, list[float]]:
        """Tell what networks and losses compute, where that is the same each time.

        Of what draws numbers of its own, or hangs on the last bits, nothing can be said.
        """
        first, again = self._computed(), self._computed(behaviour.nudged)
        return {key: told for key, told in first.items() if alike(told, again[key])}

    def _computed(
        self, given: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]] = tuple
    ) -> dict[str, list[float]]:
        """Let networks and losses compute, on the CPU, whatever the seed."""
        cpu, count = torch.device("cpu"), behaviour.SAMPLES
        with ambience.settled(self.torch_threads, self.precision):
            inputs = given(Noise(replace(self, seed=0), cpu, "behaviour").draw(count))
            real = given(real_batch(self, np.arange(count) % len(self.data), cpu))
            builders = self.build_generator, self.build_discriminator
            generator, discriminator = (networks.build(build, seed=0) for build in builders)
            return {
                "networks_behaviour": behaviour.of_networks(generator, discriminator, inputs, real),
                "losses_behaviour": behaviour.of_losses(self.losses),
            }

    def refuse_others(self, **here: Any) -> None:
        """Refuse to go on with what is another than where the run was begun.

        Parameters
        ----------
        **here
            Facts of `gandask.core.IDENTITY`, as they are here.

        Raises
        ------
        DataError
            Naming what is another, and what to do.
        """
        for key, now in here.items():
            then = self.identity.get(key, now)
            if not alike(then, now):
                raise DataError(OTHERS[key].format(now=now, then=then))

    def _compare(self) -> None:
        """Refuse networks and losses that compute something else, once per process."""
        mark = _mark(self.identity)
        with _comparing:
            if self.identity and mark not in _compared:
                self.refuse_others(**self._behaviour())
                if self._is_imported():
                    losses_digest = of_losses(self.losses)
                    self.refuse_others(
                        networks_digest=self.networks_digest, losses_digest=losses_digest
                    )
                _compared.add(mark)

    def _is_imported(self) -> bool:
        """Whether all code of networks and losses is of modules, which have a text on any machine.

        What was typed into a notebook travels itself, and is what it was.
        """
        with networks.seeded(0), torch.device("meta"):
            modules = [build() for build in (self.build_generator, self.build_discriminator)]
        used = {type(part) for module in modules for part in module.modules()}
        functions = [part for loss in self.losses for part in (loss.generator, loss.discriminator)]
        builders = [self.network.generator, self.network.discriminator]
        return all(map(is_imported, [*used, *functions, *builders]))

    def starting_pair(self) -> dict[str, State]:
        """Read the networks that all start from: none where there is no `init`.

        Raises
        ------
        StoreError
            If they cannot be read.
        DataError
            If they are others than when the run was begun.
        """
        found = stored.best_pair(self.init) if self.init else {}
        if found:
            self.refuse_others(init_digest=_digest_of(found))
        return found

    def check_init(self, key: str = "init") -> None:
        """Compare the networks to start from, where there are any, with those to be trained.

        Parameters
        ----------
        key : str
            The setting that names their run.

        Raises
        ------
        SettingError
            If they cannot be read, or are of other shapes.
        """
        if self.init is None:
            return
        told = f"{key}={self.init!r}"
        try:
            found = stored.best_pair(self.init)
        except StoreError as error:
            raise SettingError(f"{told}: {error}") from error
        for kind, state in found.items():
            module = networks.build(self.builder(kind), seed=0)
            expected = {name: tuple(part.shape) for name, part in module.state_dict().items()}
            given = {name: array.shape for name, array in state.items()}
            other = [name for name in expected | given if expected.get(name) != given.get(name)]
            if other:
                raise SettingError(
                    f"{told}: its {kind} has {other[0]} of shape {given.get(other[0])}, where "
                    f"{expected.get(other[0])} is to be trained; choose the networks, noise and "
                    "kind of data of that run"
                )

    @property
    def label_count(self) -> int:
        """Number of classes in the data."""
        return self.classes or self.data.classes

    def resolve_device(self) -> torch.device:
        """Give the device to compute on: ``auto`` is the GPU where there is one."""
        name = self.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name == "cuda" and not torch.cuda.is_available():
            raise SettingError(
                "device='cuda': torch sees no GPU in this process; use device='auto', or workers "
                "with a GPU and a CUDA build of torch"
            )
        return torch.device(name)

    @contextlib.contextmanager
    def settled(self) -> Iterator[torch.device]:
        """Compute with this training's threads and precision, whatever torch was told before.

        What that was is restored. Where the run was begun elsewhere, networks and losses are
        compared with those there. One thread by default: several torch processes thrash the cores
        otherwise, and the order of a sum, hence its last bit, depends on the number of threads.
        """
        device = self.resolve_device()
        keep_freed_memory()
        self._compare()
        with ambience.settled(self.torch_threads, self.precision, device):
            yield device


def _mark(told: Mapping[str, Any]) -> str:
    """Write down what networks and losses are, as far as that is told."""
    return repr({key: told.get(key) for key in _CODE_FACTS})


def _digest_of(pair: Mapping[str, State]) -> str:
    """Give a digest of the networks to start from."""
    parts = {f"{kind} {name}": part for kind, state in pair.items() for name, part in state.items()}
    return stored.digest_of(parts)


@functools.cache
def keep_freed_memory() -> None:
    """Ask the allocator to keep what training frees, once per process.

    Each step frees megabytes of gradients and asks for them again. Dask's nanny tells glibc to
    return every such block to the kernel (``MALLOC_TRIM_THRESHOLD_``): a third of a step.
    """
    with contextlib.suppress(OSError, AttributeError):
        trim_threshold, mmap_threshold = -1, -3
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 256 * 2**20)
        libc.mallopt(mmap_threshold, 256 * 2**20)


class Noise:
    """A stream of generator inputs: noise, and labels where the network is conditional."""

    def __init__(self, training: Training, device: torch.device, *key: int | str) -> None:
        self.training, self.device = training, device
        seed = torch_seed(training.seed, *key, "noise")
        self.generator = torch.Generator(device).manual_seed(seed)

    def draw(self, count: int) -> tuple[Tensor, ...]:
        """Draw the inputs of `count` samples."""
        size = (count, self.training.latent)
        noise = torch.randn(size, generator=self.generator, device=self.device)
        if not self.training.network.conditional:
            return (noise,)
        classes = self.training.label_count
        labels = torch.randint(classes, (count,), generator=self.generator, device=self.device)
        return noise, labels


def real_batch(training: Training, indices: Array, device: torch.device) -> tuple[Tensor, ...]:
    """Assemble real samples, with their labels where the network is conditional."""
    samples = training.data.batch(indices, device)
    if not training.network.conditional:
        return (samples,)
    return samples, torch.from_numpy(training.data.labels[indices]).to(device)
