"""Datasets as files: zarr, whole or not at all, and safe to read."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gandask.core import Array, StoreError

if TYPE_CHECKING:
    import xarray as xr


LARGEST = 1 << 33
"""Bytes of a Dataset that is read; a file of a few bytes can say that it holds any number."""


def fixed(values: Array) -> Array:
    """Give strings a fixed width: the plain form, which netCDF stores too."""
    if values.dtype.kind not in "TO":
        return values.copy()
    texts = values.astype(np.dtypes.StringDType())
    return texts.astype(f"U{max(1, np.strings.str_len(texts).max(initial=1))}")


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
        # format 3 alone: format 2 has a codec that unpickles
        stored = xr.open_zarr(path, consolidated=False, zarr_format=3)
        if stored.nbytes > LARGEST:
            raise ValueError(f"it says that it holds {stored.nbytes} bytes, more than {LARGEST}")
        stored = stored.load()
    except Exception as error:  # zarr's codecs raise what they like
        raise StoreError(
            f"{path} cannot be read: {type(error).__name__}: {error}; delete it, and the "
            "Dataset is made from the log"
        ) from error
    return _with_strings(stored, "TO", fixed)


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
