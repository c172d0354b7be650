"""Find the files of a data set, by name or path, and decode them block by block."""

from __future__ import annotations

import contextlib
import difflib
import functools
import gzip
import importlib
import io
import os
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import numpy as np

from gandask.checks import refuse_address
from gandask.core import Array, DataError, SettingError, rng

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
Block = tuple[Array, Array]  # samples, and as many labels
Read = Callable[[str], bytes]  # the content of the file of this name

_STACKED, UNEQUAL, _BLOCK = 60_000, 64, 4096
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_GREY, _COLOUR = {"1", "L", "LA"}, {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
_UNREADABLE = (  # what decoders raise for damaged files
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, RuntimeError, AssertionError),
    *(struct.error, zlib.error, zipfile.BadZipFile),
)
_declared: list[Any] = []  # operators, which live as long as their Library


class _Known(NamedTuple):
    folder: str  # below data_dir
    source: str  # what to put there by hand
    kind: str = ""  # torchvision's class, where it can download the set
    arrays: bool = False  # whether that class holds arrays; else the folder holds images


KNOWN = {
    "mnist": _Known("MNIST/raw", "the four *-ubyte.gz", "MNIST", True),
    "fashion_mnist": _Known("FashionMNIST/raw", "the four *-ubyte.gz", "FashionMNIST", True),
    "stacked_mnist": _Known("MNIST/raw", "MNIST's four *-ubyte.gz", "MNIST", True),
    "cifar10": _Known("cifar-10-batches-py", "the batches of its tar.gz", "CIFAR10", True),
    "cifar100": _Known("cifar-100-python", "the files of its tar.gz", "CIFAR100", True),
    "lfw": _Known("lfw-py/lfw_funneled", "the folders of lfw-funneled.tgz"),
    "celeba": _Known("celeba/img_align_celeba", "the images of img_align_celeba.zip", "CelebA"),
    "lsun": _Known("lsun", "the *_train_lmdb folders"),
}
NAMES = ("digits", "ring8", "grid25", *KNOWN)
"""The data sets that `load` knows by name."""


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
    if not files(root):
        if not kind:
            raise DataError(f"{where}, found nothing; put them there (no download exists)")
        if not download:
            raise DataError(f"{where}, found nothing; load with download=True or put them there")
        try:
            getattr(torchvision().datasets, kind)(Path(data_dir).expanduser(), download=True)
        except (*_UNREADABLE, ImportError) as error:
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
        if name and (os.path.exists(path) or _archive(path)):  # noqa: PTH110
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


def _archive(path: Path) -> Path | None:
    """Find the zip file that a path names or leads into."""
    zips = (p for p in (path, *path.parents) if p.suffix.lower() == ".zip")
    return next((p for p in zips if os.path.isfile(p)), None)  # noqa: PTH113


def files(root: Path) -> list[tuple[str, int, int]]:
    """List the files below a folder (or the one file): relative path, size, time of change."""

    def refuse(error: OSError) -> NoReturn:
        raise DataError(f"cannot list {error.filename}: {error.strerror}; check its permissions")

    source = _archive(root) or root
    paths = [source] if source.is_file() else []
    if source.is_dir():
        for folder, _, names in os.walk(source, onerror=refuse, followlinks=True):
            paths += [Path(folder, name) for name in names if not name.startswith(".")]
    found = []
    for path in sorted(paths):
        status = path.stat() if path.exists() else path.lstat()  # a dangling link fails when read
        found.append((path.relative_to(source).as_posix(), status.st_size, status.st_mtime_ns))
    return found


# --- Decoding -------------------------------------------------------------------------------------


def decode(name: str, root: Path, image_size: int | None, skip: bool) -> Iterator[Block | None]:
    """Read a source block by block; None stands for an unreadable image passed over."""
    if name in KNOWN and KNOWN[name].arrays:
        samples, labels = _known_arrays(name, root)
    elif root.is_file() and root.suffix in (".npy", ".npz"):
        samples, labels = _read_arrays(root)
    else:
        with contextlib.ExitStack() as stack:
            names, read = (_open_lsun if name == "lsun" else _open_images)(root, stack)
            yield from _decode_images(str(root), names, read, image_size, skip)
        return
    for start in range(0, len(samples), _BLOCK):
        block = slice(start, start + _BLOCK)
        yield resized(samples[block], image_size), labels[block]


def _known_arrays(name: str, root: Path) -> Block:
    """Read a set that torchvision holds as arrays."""
    folder, source, kind, _ = KNOWN[name]
    data_dir = root.parents[folder.count("/")]
    try:
        with tempfile.TemporaryDirectory() as scratch:
            packed = [path for path in root.glob("*.gz") if not path.with_suffix("").exists()]
            if packed:  # torchvision wants them plain, and data_dir is not ours to write to
                data_dir = Path(scratch)
                shutil.copytree(root, data_dir / folder, ignore=shutil.ignore_patterns("*.gz"))
            for path in packed:
                with (
                    gzip.open(path) as content,
                    (data_dir / folder / path.stem).open("wb") as plain,
                ):
                    shutil.copyfileobj(content, plain)
            found = getattr(torchvision().datasets, kind)(data_dir)
            images, labels = np.asarray(found.data), np.asarray(found.targets, dtype=np.int64)
    except _UNREADABLE as error:
        raise DataError(
            f"data set {name!r}: expected {source} in {root}, found damaged or missing ones "
            f"({error}); remove that folder, then load with download=True or put them there"
        ) from error
    samples = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    if name == "stacked_mnist":
        drawn = rng(0, name).integers(len(samples), size=(_STACKED, 3))
        return samples[drawn, 0], labels[drawn] @ np.array([100, 10, 1])
    return samples, labels


def _read_arrays(path: Path) -> Block:
    """Read samples and labels of a .npy or .npz file, in the form that `Data` wants."""
    try:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        samples = content["samples"] if path.suffix == ".npz" else content
        labels = content["labels"] if path.suffix == ".npz" and "labels" in content else None
    except _UNREADABLE as error:
        raise DataError(
            f"{path}: expected a .npy array, or `samples` in a .npz ({error}); save it again"
        ) from error
    if samples.dtype == np.uint8 and samples.ndim == 3:
        samples = samples[:, None]
    images = samples.dtype == np.uint8 and samples.ndim == 4 and samples.shape[1] <= 4
    points = samples.dtype.kind == "f" and samples.shape[1:] == (2,) and np.isfinite(samples).all()
    if not (images or points) or not samples.size:
        raise DataError(
            f"{path}: expected uint8 images of shape (N, H, W) or (N, C, H, W) with C up to 4, or "
            f"finite float points of shape (N, 2); got {samples.dtype} of shape {samples.shape}; "
            "scale images to 0..255 and convert them with .astype(np.uint8); where channels come "
            "last, move them with .transpose(0, 3, 1, 2)"
        )
    if labels is None:
        labels = np.zeros(len(samples), dtype=np.int64)
    if labels.shape != samples.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path}: expected integer `labels` of shape ({len(samples)},), one for each sample; "
            f"got {labels.dtype} of shape {labels.shape}; convert them"
        )
    return samples if images else samples.astype(np.float32), labels


def _open_images(root: Path, stack: contextlib.ExitStack) -> tuple[list[str], Read]:
    """Open a folder or zip of image files: their names, and the function that reads one."""
    if archive := _archive(root):
        try:
            content = stack.enter_context(zipfile.ZipFile(archive))
        except _UNREADABLE as error:
            raise DataError(f"{archive}: expected a zip file ({error}); get it again") from error
        inside = root.relative_to(archive).parts
        names = sorted(content.namelist())
        names = [name for name in names if PurePosixPath(name).parts[: len(inside)] == inside]
        return list(filter(_is_image, names)), content.read
    if root.is_dir():
        names = [name for name, _, _ in files(root) if _is_image(name)]
        return names, lambda name: (root / name).read_bytes()
    raise DataError(f"{root}: expected a folder, .zip, .npy or .npz; convert it to one of them")


def _open_lsun(root: Path, stack: contextlib.ExitStack) -> tuple[list[str], Read]:
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
    return names, lambda name: bytes(opened[name.split("/")[0]].get(name.split("/")[1].encode()))


def _is_image(name: str) -> bool:
    """Tell an image from what systems and people leave beside it.

    >>> [_is_image(name) for name in ("cat/1.JPG", "cat/._1.jpg", "__MACOSX/1.jpg", "notes.txt")]
    [True, False, False, False]
    """
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return name.lower().endswith(_SUFFIXES) and not hidden


def _decode_images(
    where: str, names: list[str], read: Read, image_size: int | None, skip: bool
) -> Iterator[Block | None]:
    """Decode image files: in colour if one of them is, and at one size."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    def each(form: Callable[[Image.Image], T]) -> Iterator[T | None]:
        for name in names:
            try:
                with Image.open(io.BytesIO(read(name))) as image:
                    result = form(image)
            except (*_UNREADABLE, Image.DecompressionBombError) as error:
                if not skip:
                    unknown = isinstance(error, UnidentifiedImageError)
                    reason = "its format is unknown" if unknown else error
                    raise DataError(
                        f"{where}: cannot read the image {name} ({reason}); replace or remove it, "
                        "or go on without it: skip_unreadable=True"
                    ) from error
                yield None
            else:
                yield result

    def look(image: Image.Image) -> tuple[str, tuple[int, int]]:
        if image.mode not in _GREY | _COLOUR:
            raise ValueError(f"its pixels are {image.mode}, expected 8 bits a channel")
        return image.mode, image.size

    def pixels(image: Image.Image) -> Array:
        image = image.convert(mode)
        plane = np.asarray(ImageOps.fit(image, (size, size)) if size else image)
        return plane[None, None] if mode == "L" else plane.transpose(2, 0, 1)[None]

    looks = {found for found in each(look) if found}
    mode = "L" if all(found in _GREY for found, _ in looks) else "RGB"
    size = image_size or (UNEQUAL if len({extent for _, extent in looks}) > 1 else None)
    parents = [PurePosixPath(name).parent.name for name in names]
    labels = np.unique(parents, return_inverse=True)[1].reshape(-1, 1)
    readable = 0
    for decoded, label in zip(each(pixels), labels, strict=True):
        readable += decoded is not None
        yield None if decoded is None else (decoded, label)
    if not readable:
        raise DataError(f"{where}: expected images, found none that can be read; check the path")


def resized(samples: Array, image_size: int | None) -> Array:
    """Crop images (N, C, H, W) to their central square, of `image_size` pixels a side."""
    if image_size is None or samples.shape[2:] == (image_size, image_size):
        return samples
    if samples.ndim != 4:
        raise SettingError(f"image_size: expected None for points, got {image_size}; leave it out")
    from PIL import Image, ImageOps

    resized = np.empty((*samples.shape[:2], image_size, image_size), dtype=np.uint8)
    for index in np.ndindex(samples.shape[:2]):
        plane = Image.fromarray(np.asarray(samples[index]))
        resized[index] = np.asarray(ImageOps.fit(plane, (image_size, image_size)))
    return resized
