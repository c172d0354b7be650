"""Datasets as files: zarr, whole or not at all, and safe to read."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gandask.core import Array, StoreError
from gandask.core.files import opened, parsed, read_whole

if TYPE_CHECKING:
    import xarray as xr


LARGEST = 1 << 33
"""Bytes of a Dataset that is read; a file of a few bytes can say that it holds any number."""

CODECS = {"bytes", "vlen-utf8", "zstd"}
"""What chunks are packed by: others may decode to any size."""

ZSTD = b"\x28\xb5\x2f\xfd"
"""What its frames begin with."""

LETTERS = 1 << 27
"""In an array of texts, which takes as much for each of them as for the longest."""


def fixed(values: Array) -> Array:
    """Give strings a fixed width: the plain form, which netCDF stores too.

    Raises
    ------
    ValueError
        If this takes more than `LARGEST` bytes.
    """
    if values.dtype.kind not in "TO":
        return values.copy()
    texts = values.astype(np.dtypes.StringDType())
    width = max(1, int(np.strings.str_len(texts).max(initial=1)))
    if 4 * width * texts.size > LARGEST:
        raise ValueError(f"{texts.size} texts of up to {width} letters are more than fits")
    return texts.astype(f"U{width}")


def spelt(texts: Iterable[str], places: int = 1) -> Array:
    r"""Make an array of texts that files can hold.

    What is no UTF-8, as the names of files may be, is spelt out.

    Parameters
    ----------
    texts : iterable of str
    places : int
        How often they will be there: a text that has no room as often is cut.

    Examples
    --------
    >>> print(*spelt(["gr\udcfcn", "grün"]))
    gr\udcfcn grün
    """
    plain = [text.encode("utf-8", "backslashreplace").decode() for text in texts]
    room = max(100, LETTERS // max(1, len(plain), places))
    return np.array([text if len(text) <= room else f"{text[: room - 1]}…" for text in plain], "U")


def whole(number: int) -> int | str:
    """Give a whole number, as text where netCDF-3 cannot hold it.

    That is what xarray writes where only scipy is there.

    Examples
    --------
    >>> whole(7), whole(2**31)
    (7, '2147483648')
    """
    return number if abs(number) < 2**31 else str(number)


def write(dataset: xr.Dataset, path: Path) -> None:
    """Write a Dataset as zarr, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    if partial.is_symlink():  # it may lead anywhere
        partial.unlink()
    shutil.rmtree(partial, ignore_errors=True)
    # zarr's specification knows strings of any length only
    plain = _with_strings(dataset, "U", lambda texts: texts.astype(np.dtypes.StringDType()))
    try:
        plain.to_zarr(partial, consolidated=False, zarr_format=3)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(path, ignore_errors=True)
    partial.replace(path)


def read(path: Path) -> xr.Dataset:
    """Read a Dataset that `write` wrote.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    import xarray as xr

    try:
        _refuse_unlike(path)
        # format 3 alone: format 2 has a codec that unpickles; no chunks, which Dask would read on
        # the workers of whatever cluster there is, where the file need not be
        stored = xr.open_zarr(path, consolidated=False, zarr_format=3, chunks=None)
        if stored.nbytes > LARGEST:
            raise ValueError(f"it says that it holds {stored.nbytes} bytes, more than {LARGEST}")
        return _with_strings(stored.load(), "TO", fixed)
    except Exception as error:  # zarr's codecs raise what they like
        raise StoreError(
            f"{path} cannot be read: {type(error).__name__}: {error}; delete it, and the "
            "Dataset is made from the log"
        ) from error


def read_values(path: Path, name: str) -> Array:
    """Read the numbers of one variable of a Dataset that `write` wrote, and nothing else of it.

    Raises
    ------
    StoreError
        If they cannot be read.
    """
    import zarr

    folder = path / name
    try:
        if not name.isidentifier() or path.is_symlink():
            raise ValueError("it may lead anywhere")
        _refuse_unlike(folder)
        stored = zarr.open_array(folder, mode="r", zarr_format=3)
        if stored.nbytes > LARGEST:
            raise ValueError(f"it says that it holds {stored.nbytes} bytes, more than {LARGEST}")
        return np.asarray(stored[...])
    except Exception as error:  # zarr's codecs raise what they like
        raise StoreError(f"{folder} cannot be read: {type(error).__name__}: {error}") from error


def _refuse_unlike(path: Path) -> None:
    """Refuse a folder that has what `write` does not write, before any of it is decoded.

    Raises
    ------
    OSError, ValueError
        For links, pipes and the like, and for what is more than fits.
    """
    size = 0
    for folder, folders, names in os.walk(path):
        for file in (Path(folder, name) for name in (".", *folders, *names)):
            kind = file.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise ValueError(f"{file} is neither a file nor a folder")
        for file in (Path(folder, name) for name in names):
            if file.name == "zarr.json":
                _refuse_large_chunks(file)
            elif not file.name.startswith("."):  # which the system may put anywhere
                size += _decoded_size(file)
            if size > LARGEST:
                raise ValueError(f"its files hold more than {LARGEST} bytes")


def _refuse_large_chunks(file: Path) -> None:
    """Refuse an array whose chunks are larger than it is, or packed in a way that is not known."""
    told: Mapping[str, Any] = parsed(read_whole(file))
    if told["node_type"] != "array":
        return
    chunk, shape = told["chunk_grid"]["configuration"]["chunk_shape"], told["shape"]
    if any(part > max(1, size) for part, size in zip(chunk, shape, strict=True)):
        raise ValueError(f"{file} says that chunks of {chunk} make an array of {shape}")
    others = {str(codec["name"]) for codec in told["codecs"]} - CODECS
    if others:
        raise ValueError(f"{file} names {', '.join(sorted(others))}: expected {sorted(CODECS)}")


def _decoded_size(file: Path) -> int:
    """Give the bytes that a chunk says it decodes to: in the head of its zstd frame (RFC 8878)."""
    with opened(file) as chunk:
        head = chunk.read(18)
    if len(head) < 6 or not head.startswith(ZSTD):
        raise ValueError(f"{file} is damaged")
    described = head[4]
    alone = described >> 5 & 1
    width = (alone, 2, 4, 8)[described >> 6]
    if not width:
        raise ValueError(f"{file} does not say its size")
    begin = 6 - alone + (0, 1, 2, 4)[described & 3]
    return int.from_bytes(head[begin : begin + width], "little") + 256 * (width == 2)


def digest(path: Path) -> str:
    """Give a digest of a Dataset as it was written: of its files, by name."""
    made = hashlib.blake2b(digest_size=16)
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        content = file.read_bytes()
        made.update(f"{file.relative_to(path).as_posix()} {len(content)} ".encode())
        made.update(content)
    return made.hexdigest()


def _with_strings(dataset: xr.Dataset, kinds: str, change: Callable[[Array], Array]) -> xr.Dataset:
    """Give strings another form."""
    return dataset.assign(
        {
            name: (variable.dims, change(variable.values), variable.attrs)
            for name, variable in dataset.variables.items()
            if variable.dtype.kind in kinds
        }
    )
