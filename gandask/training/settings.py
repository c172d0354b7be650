"""What a worker needs to train: settings with their names resolved, data and noise to train on."""

from __future__ import annotations

import contextlib
import ctypes
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gandask import data as data_sets
from gandask.core import Array, DataError, SettingError, StoreError, rng, torch_seed
from gandask.data import Data
from gandask.training import ambience, identity, networks, stored
from gandask.training.losses import Loss
from gandask.training.networks import Network


@dataclass(frozen=True)
class Training:
    """What a worker needs to train and evaluate: settings with their names resolved.

    `source` holds the arguments of `gandask.data.load`; `init` the folder of the run whose networks
    all start from; `losses` those that pairs are trained with; `sample_shape` and `classes` are the
    data's, given where nets are built without it; the rest are settings that methods share. Pickled
    where its data were loaded, it takes their `fingerprint` along, and whoever loads others under
    the same name is told.
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
    adam_betas: tuple[float, float]
    data_fraction: float
    score_samples: int
    features: str
    inception_weights: str | None
    precision: str
    device: str
    torch_threads: int
    initial_std: float | None
    init: str | None
    sample_shape: tuple[int, ...] | None = None
    classes: int | None = None
    fingerprint: str | None = field(default=None, compare=False)

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
        if self.data_fraction == 1.0:
            return data_sets.whole(len(self.data))
        generator = rng(self.seed, slot, "shard")
        return data_sets.fraction(len(self.data), self.data_fraction, generator)

    def build_generator(self) -> nn.Module:
        """Build a generator with weights from torch's global stream."""
        shape = self.sample_shape or self.data.shape
        return self.network.generator(shape, self.latent, self.label_count, self.activation)

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
        return identity.of_modules((self.network.generator, self.network.discriminator), modules)

    @functools.cached_property
    def init_digest(self) -> str:
        """A digest of the networks that all start from; there must be some."""
        found = stored.best_pair(self.init or "").items()
        parts = {(kind, name): part for kind, state in found for name, part in state.items()}
        return stored.digest_of({" ".join(key): part for key, part in parts.items()})

    def check_init(self) -> None:
        """Compare the networks to start from, where there are any, with those to be trained.

        Raises
        ------
        SettingError
            If they cannot be read, or are of other shapes.
        """
        if self.init is None:
            return
        told = f"init={self.init!r}"
        try:
            found = stored.best_pair(self.init)
        except StoreError as error:
            raise SettingError(f"{told}: {error}") from error
        builders = {"generator": self.build_generator, "discriminator": self.build_discriminator}
        for kind, state in found.items():
            module = networks.build(builders[kind], seed=0)
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

        That is restored. One thread by default: several torch processes thrash the cores
        otherwise, and the order of a sum, hence its last bit, depends on the number of threads.
        """
        device = self.resolve_device()
        keep_freed_memory()
        with ambience.settled(self.torch_threads, self.precision):
            yield device


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
