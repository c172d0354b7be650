"""Load data sets by name or path.

Everything is decoded once into plain ``.npy`` files in the cache folder; later loads map them into
memory, so that the worker processes of one machine share one copy.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import os
import threading
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gandask.checks import spelt, spelt_out
from gandask.core import Array, DataError, SettingError, rng
from gandask.data.cache import FORMAT, cache_dir, keep, key, recall
from gandask.data.images import UNEQUAL, Block, resized
from gandask.data.sequences import sines
from gandask.data.sources import KNOWN, NAMES, TESTED, decode, find, locate
from gandask.display import printable, suggestion

if TYPE_CHECKING:
    import torch

_POINTS = 50_000
_KEPT_ON_GPU = 2**30  # bytes: data sets up to this size are copied to a GPU once, and not by batch
_lock = threading.Lock()  # of the threads of one worker, the first decodes for all
_loaded: dict[tuple[str, str | None, int | None, bool, bool], Data] = {}  # by the arguments


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, in memory or mapped into it.

    Parameters
    ----------
    name : str
        What it was loaded as.
    samples : array
        Images, uint8 of shape (N, C, H, W); points, float32 of shape (N, 2); or sequences, float32
        of shape (N, T, C). Neither these nor the labels can be written: copy them to change them.
    labels : array
        Classes, int64 of shape (N,), from 0 to `classes` - 1; zeros where there are none.
    classes : int
        Number of distinct labels; 1 for an unlabelled set.
    fingerprint : str
        Digest of samples and labels: names in caches whatever was computed from them.
    modes : array, optional
        Centres of a mixture of Gaussians, of shape (K, 2).
    mode_std : float, optional
        Standard deviation of each of them, along each axis.
    entry : str
        Where the cache keeps it: named after its files, their sizes and times of change.
    """

    name: str
    samples: Array
    labels: Array
    classes: int
    fingerprint: str
    modes: Array | None = None
    mode_std: float | None = None
    entry: str = ""
    _memory: Array = field(init=False, repr=False)
    _mark: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # what the fingerprint tells of is what runs train on: nobody may change it under them.
        # torch warns of arrays that cannot be written, and is given the one below
        object.__setattr__(self, "_memory", self.samples)
        for name in ("samples", "labels", "modes"):
            array = getattr(self, name)
            if array is not None:
                object.__setattr__(self, name, _read_only(array))
        object.__setattr__(self, "_mark", self._checksum())

    @property
    def intact(self) -> bool:
        """Whether the arrays are what they were: torch, for one, writes to what is read-only."""
        return self._mark == self._checksum()

    def _checksum(self) -> int:
        mark = 0
        for array in (self.samples, self.labels, self.modes):
            if array is not None:
                shape = repr((array.shape, array.dtype.str)).encode()
                mark = zlib.crc32(np.ascontiguousarray(array).data, zlib.crc32(shape, mark))
        return mark

    @property
    def shape(self) -> tuple[int, ...]:
        """Give the shape of one sample: (C, H, W), (2,) or (T, C)."""
        return tuple(self.samples.shape[1:])

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.samples)

    @functools.cached_property
    def _tensors(self) -> dict[torch.device, torch.Tensor]:
        """The samples by device: in memory first, and then where batches were asked for."""
        import torch

        return {torch.device("cpu"): torch.from_numpy(self._memory)}

    def _nearest(self, device: torch.device) -> torch.Tensor:
        """Give the samples on a device, or in memory if they are too large for that."""
        in_memory = next(iter(self._tensors.values()))
        if device not in self._tensors and self.samples.nbytes <= _KEPT_ON_GPU:
            self._tensors[device] = in_memory.to(device)
        return self._tensors.get(device, in_memory)

    def batch(self, indices: Array, device: str | torch.device = "cpu") -> torch.Tensor:
        """Assemble a batch for training.

        Parameters
        ----------
        indices : array
            Which samples, integers of shape (B,).
        device : str or torch.device
            Where they are wanted.

        Returns
        -------
        torch.Tensor
            On the device: float32 of shape (B, C, H, W), scaled from 0..255 to [-1, 1]; or points
            and sequences as they are.

        Raises
        ------
        IndexError
            For an index outside of the data set.

        Examples
        --------
        >>> batch = load("digits").batch(np.arange(5))
        >>> batch.shape, batch.min().item(), batch.max().item()
        (torch.Size([5, 1, 8, 8]), -1.0, 1.0)
        """
        import torch

        # A copy, for indices that came through Dask are read-only and torch warns of those.
        rows = torch.from_numpy(np.array(indices, dtype=np.int64))
        samples = self._nearest(torch.device(device))
        chosen = samples.index_select(0, rows.to(samples.device)).to(device)
        return chosen if chosen.is_floating_point() else chosen.float().mul_(2 / 255).sub_(1)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def load(
    name: str | os.PathLike[str],
    data_dir: str | None = None,
    *,
    download: bool = False,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    fresh: bool = False,
    test: bool = False,
) -> Data:
    """Load a data set by name or path; the same arguments give the same object.

    Parameters
    ----------
    name : str
        One of `NAMES`, or a path (also relative to `data_dir`): a folder of images, a ``.zip`` of
        images or a folder inside one (``cifar10.zip/train``), a ``.npy`` of uint8 (N, H, W) or
        (N, C, H, W), of float (N, 2) or (N, T, C), a ``.npz`` with such `samples` and optional
        integer `labels`. The folder that directly holds an image is its class, or the one above
        where all of these have the same name (``cat/images``, ``dog/images``); labels are
        renumbered 0, 1, ... in sorted order.
    data_dir : str, optional
        The folder of the named sets, laid out as torchvision does.
    download : bool
        Let torchvision download a named set into `data_dir` if it is missing.
    image_size : int, optional
        Crop images to their central square and resize it to this many pixels a side. Images of
        unequal sizes, and ``lfw``, ``celeba`` and ``lsun``, get 64 if nothing is given.
    skip_unreadable : bool
        Go on without images that cannot be read, warning of their number.
    fresh : bool
        Look whether files, or what this process has loaded of them, have changed since: every run
        begins so.
    test : bool
        Load the part to test on, of a set that has one: ``mnist``, ``fashion_mnist``, ``cifar10``,
        ``cifar100``.

    Returns
    -------
    Data

    Raises
    ------
    SettingError
        For an unknown name, an `image_size` that is not positive or of what is no image, or the
        part to test on of a set that has none.
    DataError
        For data that is missing, unreadable, empty or of the wrong form.

    Notes
    -----
    Each image counts once, whatever links lead to it, and is as a person sees it: turned upright
    as its camera noted, and on white where it can be seen through. When images are first decoded,
    one line of the logger ``gandask`` tells how many there are, in which classes, and what was left
    out. ``load.cache_clear()`` forgets what this process has loaded; the cache folder stays.
    """
    if image_size is not None and image_size < 1:
        raise SettingError(f"image_size: expected a positive number or None, got {image_size}")
    name = spelt(name)
    if test and name not in TESTED:
        raise SettingError(f"test: {printable(name)} has no such part; {', '.join(TESTED)} have")
    # by a path spelt out; what is gone meanwhile is still there for who has loaded it
    found = name if name in NAMES else str(find(name, data_dir) or name)
    folder = data_dir and spelt_out(data_dir)
    if download and name in KNOWN:
        with _lock:
            locate(name, folder, download)
    arguments = found, folder, image_size, skip_unreadable, test
    loaded = _loaded.get(arguments)
    if loaded is None:
        return _loaded.setdefault(arguments, _load(*arguments))
    if fresh and not loaded.intact:
        told = f"{printable(name)}: its arrays were changed in this process; it was loaded anew"
        warnings.warn(told, stacklevel=2)
        loaded = _loaded[arguments] = _load(*arguments)
    elif fresh and loaded.entry and loaded.entry != _entry(*arguments):
        loaded = _loaded[arguments] = _load(*arguments)
    return loaded


def _load(
    name: str, data_dir: str | None, image_size: int | None, skip_unreadable: bool, test: bool
) -> Data:
    if name in NAMES and name not in KNOWN:
        return _embedded(name, image_size)
    with _lock:
        root = locate(name, data_dir, download=False)
        image_size = _size(name, image_size)
        folder = cache_dir() / key(name, root, image_size, skip_unreadable, test)
        kept = recall(folder)
        if kept is None:
            keep(folder, decode(name, root, image_size, skip_unreadable, test))
            kept = recall(folder)
        if kept is None:
            raise DataError(f"cache {folder}: unreadable as soon as written; check that disk")
    samples, labels, about = kept
    if about["skipped"]:
        told = f"{printable(name)}: went on without {about['skipped']} unreadable images"
        warnings.warn(told, stacklevel=3)
    return Data(name, samples, labels, about["classes"], about["fingerprint"], entry=folder.name)


def _entry(
    name: str, data_dir: str | None, image_size: int | None, skip_unreadable: bool, test: bool
) -> str:
    """Name the cache entry of the files as they are now."""
    root = locate(name, data_dir, download=False)
    return key(name, root, _size(name, image_size), skip_unreadable, test)


def _size(name: str, image_size: int | None) -> int | None:
    unequal = name in KNOWN and not KNOWN[name].arrays
    return image_size or (UNEQUAL if unequal else None)


load.cache_clear = _loaded.clear  # type: ignore[attr-defined]


def check_name(name: str, data_dir: str | None = None) -> None:
    """Refuse what is neither the name of a data set nor looks like a path.

    Raises
    ------
    SettingError
        Naming the nearest data set.
    """
    looks = name and (Path(name).suffix or len(Path(name).parts) > 1 or name.startswith("./"))
    if name not in NAMES and find(name, data_dir) is None and not looks:
        raise SettingError(
            f"data={name!r}: there is no such data set; {suggestion(name, NAMES)} "
            "(or give a path to images or arrays)"
        )


def resolved(name: str, data_dir: str | None = None) -> str:
    """Spell out a path, so that a worker elsewhere finds it; names stay as they are."""
    if name in NAMES:
        return name
    # what is not there is said when it is loaded
    return str(find(name, data_dir) or spelt_out(name))


# --- Embedded sets --------------------------------------------------------------------------------


def _embedded(name: str, image_size: int | None) -> Data:
    """Make one of the sets that need no files."""
    modes, std = None, None
    if name == "digits":
        samples, labels = _digits()
    elif name == "sines":
        samples, labels = sines()
    else:
        if name == "ring8":  # covariance 0.02 I, as in chapter 3 of Wu's thesis (2022)
            angles = np.arange(8) * (math.pi / 4)
            modes, std = 2 * np.stack([np.cos(angles), np.sin(angles)], axis=1), math.sqrt(0.02)
        else:
            axes = np.meshgrid(np.arange(-4.0, 5, 2), np.arange(-4.0, 5, 2), indexing="ij")
            modes, std = np.stack(axes, axis=-1).reshape(-1, 2), 0.05
        generator = rng(0, name)
        labels = generator.integers(len(modes), size=_POINTS)
        points = modes[labels] + std * generator.standard_normal((_POINTS, 2))
        samples = points.astype(np.float32)
    samples, labels = resized(samples, image_size), labels.astype(np.int64)
    digest = hashlib.blake2b(digest_size=16)
    for part in (samples, labels):
        digest.update(part.data)
    classes = len(np.unique(labels))
    return Data(name, samples, labels, classes, digest.hexdigest(), modes, std)


def _digits() -> Block:
    """Give scikit-learn's digits: from the cache, as scikit-learn takes a second to load."""
    folder = cache_dir() / f"digits-{FORMAT}"
    kept = recall(folder)
    if kept is not None:
        return kept[:2]
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    samples = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    made = samples, labels.astype(np.int64)
    with contextlib.suppress(DataError):  # without a cache, the next process loads it again
        keep(folder, [made])
    return made
