"""Find the files of a data set, by name or path, and decode them block by block."""

from __future__ import annotations

import contextlib
import difflib
import functools
import gzip
import importlib
import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from gandask.checks import refuse_address
from gandask.core import Array, DataError, SettingError, rng
from gandask.data import listing
from gandask.data.images import UNREADABLE, Block, decode_images, resized
from gandask.data.listing import Listing
from gandask.display import printable

logger = logging.getLogger("gandask")
_STACKED, _BLOCK = 60_000, 4096
_CHANNELS = 64  # of sequences, at most: scores are of all pairs of them
_declared: list[Any] = []  # operators, which live as long as their Library


_IDX = "{train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, plain or .gz,"


class _Known(NamedTuple):
    folder: str  # below data_dir
    source: str  # what to put there by hand
    kind: str = ""  # torchvision's class, where it can download the set
    arrays: bool = False  # whether that class holds arrays; else the folder holds images


KNOWN = {
    "mnist": _Known("MNIST/raw", _IDX, "MNIST", True),
    "fashion_mnist": _Known("FashionMNIST/raw", _IDX, "FashionMNIST", True),
    "stacked_mnist": _Known("MNIST/raw", _IDX, "MNIST", True),
    "cifar10": _Known("cifar-10-batches-py", "the batches of its tar.gz", "CIFAR10", True),
    "cifar100": _Known("cifar-100-python", "the files of its tar.gz", "CIFAR100", True),
    "lfw": _Known("lfw-py/lfw_funneled", "the folders of lfw-funneled.tgz"),
    "celeba": _Known("celeba/img_align_celeba", "the images of img_align_celeba.zip", "CelebA"),
    "lsun": _Known("lsun", "the *_train_lmdb folders"),
}
NAMES = ("digits", "ring8", "grid25", "sines", *KNOWN)
"""The data sets that `load` knows by name."""
TESTED = ("mnist", "fashion_mnist", "cifar10", "cifar100")
"""Those that come with a part to test on."""


@functools.cache
def torchvision() -> ModuleType:
    """Import torchvision, also one built for CUDA beside a torch for the CPU.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    # Its compiled part did not load (it wants CUDA's libraries), so nothing has declared the
    # operators that its Python part describes while it is imported. Declared, they stay without
    # an implementation; nothing here detects objects. They live as long as the Library does.
    library: Any = importlib.import_module("torch.library").Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
    return importlib.import_module("torchvision")


# --- Finding the files ----------------------------------------------------------------------------


def locate(name: str, data_dir: str | None, download: bool) -> Path:
    """Find the file or folder to decode; download it if nothing is there and the user said so."""
    if name not in KNOWN:
        return _path(name, data_dir)
    folder, source, kind, _ = KNOWN[name]
    where = f"data set {name!r}: expected {source} in {data_dir or 'data_dir'}/{folder}"
    if data_dir is None:
        raise DataError(f"{where}, got no data_dir; give it, and download=True if it is empty")
    root = (Path(data_dir).expanduser() / folder).resolve()
    if not listing.files(root):
        if not kind:
            raise DataError(f"{where}, found nothing; put them there (no download exists)")
        if not download:
            raise DataError(f"{where}, found nothing; load with download=True or put them there")
        try:
            getattr(torchvision().datasets, kind)(Path(data_dir).expanduser(), download=True)
        except (*UNREADABLE, ImportError) as error:
            raise DataError(
                f"{where}, and the download failed ({error}); check the network, or remove what "
                "it left and put them there by hand"
            ) from error
    return root


def find(name: str, data_dir: str | None) -> Path | None:
    """Find the file or folder of a path, which may go on inside a zip file: here, or in `data_dir`.

    Raises
    ------
    SettingError
        For an address: nothing is fetched.
    """
    refuse_address("data", name)
    # those of os.path: what may not be looked at, or can be no path, is not there
    given = Path(os.path.expanduser(name))  # noqa: PTH111
    for path in (given, Path(os.path.expanduser(data_dir or "")) / given):  # noqa: PTH111
        if name and (os.path.exists(path) or listing.archive(path)):  # noqa: PTH110
            return path.resolve()
    return None


def _path(name: str, data_dir: str | None) -> Path:
    found = find(name, data_dir)
    if found is not None:
        return found
    close = difflib.get_close_matches(name.lower(), NAMES, n=1)
    raise SettingError(
        f"data set: expected one of {', '.join(NAMES)}, or the path of a folder of images, a .zip, "
        f".npy or .npz; got {name!r}, which is neither"
        + (
            f"; did you mean {close[0]!r}?"
            if close
            else "; check the spelling or the path, "
            "and if it has moved, say where it is now: data=PATH, in the shell --set data=PATH"
        )
    )


# --- Decoding -------------------------------------------------------------------------------------


def decode(
    name: str, root: Path, image_size: int | None, skip: bool, test: bool = False
) -> Iterator[Block | None]:
    """Read a source block by block, or its part to test on.

    None stands for an unreadable image passed over.
    """
    if name in KNOWN and KNOWN[name].arrays:
        samples, labels = _known_arrays(name, root, test)
    elif root.is_file() and root.suffix.lower() in (".npy", ".npz"):
        samples, labels = _read_arrays(root)
    else:
        with contextlib.ExitStack() as stack:
            found = (_open_lsun if name == "lsun" else _open_images)(root, stack)
            yield from decode_images(str(root), found, image_size, skip)
        return
    for start in range(0, len(samples), _BLOCK):
        block = slice(start, start + _BLOCK)
        yield resized(samples[block], image_size), labels[block]


def _known_arrays(name: str, root: Path, test: bool) -> Block:
    """Read one part of a set that torchvision holds as arrays: to train on, or to test on."""
    folder, source, kind, _ = KNOWN[name]
    data_dir = root.parents[folder.count("/")]
    present = sorted(path for path in root.iterdir() if path.is_file())
    # torchvision wants them plain and by its own names (Kaggle has "train-images.idx3-ubyte"), and
    # data_dir is not ours to write to
    wanted = {path.name.removesuffix(".gz").replace(".idx", "-idx"): path for path in present[::-1]}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            if any(path.name != plain for plain, path in wanted.items()):
                data_dir = Path(scratch)
                (data_dir / folder).mkdir(parents=True)
                for plain, path in wanted.items():
                    with (
                        gzip.open(path) if path.suffix == ".gz" else path.open("rb") as content,
                        (data_dir / folder / plain).open("wb") as copy,
                    ):
                        shutil.copyfileobj(content, copy)
            found = getattr(torchvision().datasets, kind)(data_dir, train=not test)
            images, labels = np.asarray(found.data), np.asarray(found.targets, dtype=np.int64)
    except UNREADABLE as error:
        names = ", ".join(printable(path.name) for path in present) or "none"
        raise DataError(
            f"data set {name!r}: expected {source} in {root}, found damaged or missing ones "
            f"({error}; files there: {names}); put those there under their own names, or empty "
            "that folder and load with download=True"
        ) from error
    samples = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    if name == "stacked_mnist":
        drawn = rng(0, name).integers(len(samples), size=(_STACKED, 3))
        return samples[drawn, 0], labels[drawn] @ np.array([100, 10, 1])
    return samples, labels


def _read_arrays(path: Path) -> Block:
    """Read samples and labels of a .npy or .npz file, in the form that `Data` wants."""
    where = printable(str(path))
    try:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        packed = isinstance(content, np.lib.npyio.NpzFile)
        if packed:
            _refuse_more_than_memory(where, content.zip)
        samples = content["samples"] if packed else content
        labels = content["labels"] if packed and "labels" in content else None
        unused = sorted({*content.files} - {"samples", "labels"}) if packed else []
    except (*UNREADABLE, MemoryError) as error:
        raise DataError(
            f"{where}: expected a .npy array, or `samples` in a .npz ({error}); save it again"
        ) from error
    if samples.dtype == np.uint8 and samples.ndim == 3:
        samples = samples[:, None]
    if samples.dtype.kind == "f" and samples.ndim == 3 and samples.size:
        made = _sequences(where, samples)
    else:
        made = _images_or_points(where, samples)
    if labels is None:
        labels = np.zeros(len(samples), dtype=np.int64)
    if labels.shape != samples.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"{where}: expected integer `labels` of shape ({len(samples)},), one for each sample; "
            f"got {labels.dtype} of shape {labels.shape}; convert them"
        )
    _tell_arrays(where, samples, unused)
    return made, labels


def _images_or_points(where: str, samples: Array) -> Array:
    """Give images as they are and points as float32; refuse what is neither."""
    images = samples.dtype == np.uint8 and samples.ndim == 4 and samples.shape[1] <= 4
    points = samples.dtype.kind == "f" and samples.shape[1:] == (2,)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        made = samples.astype(np.float32) if points else samples
    if not (images or (points and np.isfinite(made).all())) or not samples.size:
        raise DataError(
            f"{where}: expected uint8 images of shape (N, H, W) or (N, C, H, W) with C up to 4, "
            "float points of shape (N, 2), finite in float32, or float sequences of shape "
            f"(N, T, C); got {samples.dtype} of shape {samples.shape}; scale images to 0..255 and "
            "convert them with .astype(np.uint8); where channels come last, move them with "
            ".transpose(0, 3, 1, 2)"
        )
    return made


def _sequences(where: str, samples: Array) -> Array:
    """Give sequences as float32; refuse those that no network could tell or make."""
    steps, channels = samples.shape[1:]
    if steps < 2 or channels > _CHANNELS:
        raise DataError(
            f"{where}: expected float sequences of shape (N, T, C) with T of 2 or more steps and C "
            f"up to {_CHANNELS} channels; got shape {samples.shape}; where channels come first, "
            "move them with .transpose(0, 2, 1), and convert images to uint8 in 0..255"
        )
    if not np.abs(samples).max() <= 1:  # so it is where one is not a number, too
        finite = samples[np.isfinite(samples)]
        raise DataError(
            f"{where}: expected float sequences with finite values in [-1, 1]; got "
            f"{samples.size - finite.size} that are not finite, and others of up to "
            f"{np.abs(finite).max(initial=0):g}; fill gaps, and scale channels by "
            "2 * (x - low) / (high - low) - 1"
        )
    return samples.astype(np.float32)


def _tell_arrays(where: str, samples: Array, unused: list[str]) -> None:
    """Tell what of a file of arrays only a person can know to be meant."""
    if unused:
        logger.warning(
            "%s: left out %s; of a .npz, `samples` and `labels` are read",
            *(where, ", ".join(map(printable, unused))),
        )
    if samples.ndim == 3 and samples.shape[1] == samples.shape[2]:
        logger.warning(
            "%s: taken as sequences of %d steps and %d channels; where they are images, scale them "
            "to 0..255 and convert them with .astype(np.uint8)",
            *(where, *samples.shape[1:]),
        )
    if samples.ndim == 4:
        channels, height, width = samples.shape[1:]
        if 1 < channels == height != width and width in (1, 3, 4):
            logger.warning(
                "%s: taken as images of %d channels, %d high and %d wide; where channels come "
                "last, move them with .transpose(0, 3, 1, 2)",
                *(where, channels, height, width),
            )


def _refuse_more_than_memory(where: str, content: zipfile.ZipFile) -> None:
    """Refuse arrays that would take all memory once they are unpacked."""
    import psutil

    size = sum(entry.file_size for entry in content.infolist())
    free = psutil.virtual_memory().available
    if size > free:
        raise DataError(
            f"{where}: expected arrays that fit into memory, {free / 2**30:.1f} GiB of which are "
            f"free; unpacked they take {size / 2**30:.1f}; save samples as .npy, which is mapped"
        )


def _open_images(root: Path, stack: contextlib.ExitStack) -> Listing:
    """Open a folder or zip of image files."""
    if archive := listing.archive(root):
        try:
            content = stack.enter_context(zipfile.ZipFile(archive))
        except UNREADABLE as error:
            raise DataError(
                f"{printable(str(archive))}: expected a zip file ({error}); get it again"
            ) from error
        return listing.in_archive(content, root.relative_to(archive).parts)
    if root.is_dir():
        return listing.in_folder(root)
    raise DataError(
        f"{printable(str(root))}: expected a folder, .zip, .npy or .npz; convert it to one of them"
    )


def _open_lsun(root: Path, stack: contextlib.ExitStack) -> Listing:
    """Open LSUN's databases, one for each class; torchvision's reader litters the work folder."""
    try:
        lmdb = importlib.import_module("lmdb")
    except ImportError as error:
        raise DataError("data set 'lsun': expected the package lmdb; pip install lmdb") from error
    opened = {}
    for folder in sorted(root.glob("*_train_lmdb")):
        environment = stack.enter_context(lmdb.open(str(folder), readonly=True, lock=False))
        opened[folder.name] = stack.enter_context(environment.begin())
    names = [f"{name}/{key.decode()}" for name in opened for key, _ in opened[name].cursor()]

    def read(name: str) -> bytes:
        folder, key = name.split("/")
        return bytes(opened[folder].get(key.encode()))

    return Listing(names, read)
