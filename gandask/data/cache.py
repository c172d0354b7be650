"""Keep data sets decoded: plain ``.npy`` files that the processes of one machine map and share."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from gandask.core import Array, DataError
from gandask.data.images import Block
from gandask.data.listing import files
from gandask.data.sources import KNOWN

FORMAT = 2  # raise it when the same sources come to be decoded differently


def cache_dir() -> Path:
    """Give the cache folder: ``$GANDASK_CACHE``, or the user's (on Linux ``~/.cache/gandask``).

    Raises
    ------
    DataError
        If it lies in a home folder that is not known.
    """
    chosen = os.environ.get("GANDASK_CACHE")
    try:
        return (Path(chosen) if chosen else platformdirs.user_cache_path("gandask")).expanduser()
    except RuntimeError as error:  # of an account without a passwd entry, for one
        raise DataError(
            f"{chosen or '~'}: there is no such home folder to keep decoded data in; set "
            "GANDASK_CACHE to the whole path of a folder"
        ) from error


def key(name: str, root: Path, image_size: int | None, skip: bool, test: bool = False) -> str:
    """Name the cache entry of a source, or of its part to test on, in its present state."""
    known = name if name in KNOWN else ""
    source = [FORMAT, known, str(root), image_size, skip, files(root), *(["test"] if test else [])]
    digest = hashlib.blake2b(json.dumps(source).encode(), digest_size=8).hexdigest()
    # people recognise it by a name; with the digest a whole one may be too long for a folder
    spoken = re.sub(r"[^\w.-]", "_", known or root.stem)[:40]
    return f"{spoken}-{digest}"


def _write(folder: Path, blocks: Iterable[Block | None]) -> None:
    """Write samples.npy, labels.npy and about.json, with one block at a time in memory."""
    digest = hashlib.blake2b(digest_size=16)
    header: dict[str, Any] = {}
    found: list[Array] = []
    skipped = 0
    with (folder / "samples.npy").open("wb") as file:
        for block in blocks:
            if block is None:
                skipped += 1
                continue
            samples = np.ascontiguousarray(block[0])
            if not found:
                header = np.lib.format.header_data_from_array_1_0(samples)
                np.lib.format.write_array_header_1_0(file, header)
            digest.update(samples.data)
            file.write(samples.data)
            found.append(block[1])
        # Now that the number is known: NumPy pads headers so that it has room to grow.
        header["shape"] = (sum(map(len, found)), *header["shape"][1:])
        file.seek(0)
        np.lib.format.write_array_header_1_0(file, header)
    distinct, labels = np.unique(np.concatenate(found), return_inverse=True)
    np.save(folder / "labels.npy", labels.astype(np.int64))
    _label(digest, header["shape"], header["descr"], labels)
    about = {"classes": len(distinct), "fingerprint": digest.hexdigest(), "skipped": skipped}
    about |= {file: (folder / file).stat().st_size for file in ("samples.npy", "labels.npy")}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")


def _label(digest: Any, shape: tuple[int, ...], descr: Any, labels: Array) -> None:
    """Let a digest of samples take in what they are."""
    digest.update(repr((shape, descr, labels.tolist())).encode())


def keep(folder: Path, blocks: Iterable[Block | None]) -> None:
    """Put a cache entry in place, each file whole or not at all; processes may race to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _write(Path(scratch), blocks)
            for file in ("samples.npy", "labels.npy", "about.json"):
                Path(scratch, file).replace(folder / file)
    except OSError as error:
        raise DataError(
            f"cannot write the cache {folder} ({error}); set GANDASK_CACHE to a folder that can be "
            "written to and has room"
        ) from error


def recall(folder: Path) -> tuple[Array, Array, dict[str, Any]] | None:
    """Map a cache entry into memory; None if it is not there, or not as it was written."""
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        for file in ("samples.npy", "labels.npy"):
            if (folder / file).stat().st_size != about[file]:
                return None
        # Copy on write: pages are shared between processes, and torch gets a writable array.
        samples = np.load(folder / "samples.npy", mmap_mode="c")
        labels = np.load(folder / "labels.npy")
        digest = hashlib.blake2b(np.ascontiguousarray(samples).data, digest_size=16)
        _label(digest, samples.shape, np.lib.format.dtype_to_descr(samples.dtype), labels)
        return (samples, labels, about) if digest.hexdigest() == about["fingerprint"] else None
    except (OSError, ValueError, EOFError, LookupError, TypeError):
        return None
