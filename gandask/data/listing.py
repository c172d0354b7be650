"""List the images of a folder or zip file, each once, and count what else there is, by reason."""

from __future__ import annotations

import heapq
import os
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from gandask.core import DataError
from gandask.display import printable

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
LARGEST = 2**30  # bytes of an image file: what Pillow opens takes less, even uncompressed
HIDDEN, UNNAMED, SPECIAL = "hidden", "without a suffix", "special (pipes, devices, sockets)"
LINKED, REPLACED = "repeated by links", "replaced by later entries"
GONE = "gone while they were listed"


@dataclass(frozen=True)
class Listing:
    """The images of a source.

    Parameters
    ----------
    names : list of str
        By which they are read; see `parts_of`.
    read : callable
        Gives the content of the file of a name.
    left_out : Counter
        Number of other files by what they are.
    """

    names: list[str]
    read: Callable[[str], bytes]
    left_out: Counter[str] = field(default_factory=Counter)


def archive(path: Path) -> Path | None:
    """Find the zip file that a path names or leads into."""
    zips = (p for p in (path, *path.parents) if p.suffix.lower() == ".zip")
    return next((p for p in zips if os.path.isfile(p)), None)  # noqa: PTH113


def files(root: Path) -> list[tuple[str, int, int, int, int]]:
    """List the files below a folder (or the one file): relative path, and what changes with them.

    These are size, dates of change and of the entry, and inode: a date of change can be set, as
    ``tar`` and ``cp -p`` do, the others cannot.
    """
    source = archive(root) or root
    found = _walk(source)[0] if source.is_dir() else {}
    if source.is_file():
        found = {".": source.stat()}
    return [
        (name, told.st_size, told.st_mtime_ns, told.st_ctime_ns, told.st_ino)
        for name, told in ((name, found[name]) for name in _in_order(found))
    ]


def parts_of(name: str) -> PurePosixPath:
    r"""Take a name apart, also where Windows wrote it into a zip file.

    >>> parts_of(r"cat\1.png").parts
    ('cat', '1.png')
    """
    return PurePosixPath(name.replace("\\", "/"))


def in_folder(root: Path) -> Listing:
    """List the images of a folder."""
    found, left_out = _walk(root)

    def read(name: str) -> bytes:
        with (root / name).open("rb") as file:
            return _bounded(file.read(LARGEST + 1))

    return Listing(_images(_in_order(found), left_out), read, left_out)


def in_archive(content: zipfile.ZipFile, inside: tuple[str, ...]) -> Listing:
    """List the images of an open zip file, or of one folder in it."""
    entries: dict[str, zipfile.ZipInfo] = {}
    left_out: Counter[str] = Counter()
    for entry in content.infolist():
        path = parts_of(entry.filename)
        if entry.filename.endswith(("/", "\\")) or path.parts[: len(inside)] != inside:
            continue
        if stat.S_ISLNK(entry.external_attr >> 16):
            left_out[LINKED] += 1
            continue
        left_out[REPLACED] += str(path) in entries
        entries[str(path)] = entry

    def read(name: str) -> bytes:
        with content.open(entries[name]) as file:
            return _bounded(file.read(LARGEST + 1))

    return Listing(_images(sorted(entries), left_out), read, left_out)


def _bounded(content: bytes) -> bytes:
    if len(content) > LARGEST:
        raise ValueError(f"it holds more than {LARGEST >> 30} GiB")
    return content


def _in_order(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: name.split("/"))


def _hidden(part: str) -> bool:
    """Tell what systems leave beside images."""
    return part.startswith(".") or part == "__MACOSX"


def _images(names: list[str], left_out: Counter[str]) -> list[str]:
    """Choose the images, and count the others.

    >>> left_out = Counter()
    >>> _images(["cat/1.JPG", "cat/._1.jpg", "__MACOSX/1.jpg", "notes.txt"], left_out)
    ['cat/1.JPG']
    >>> dict(left_out)
    {'hidden': 2, '.txt': 1}
    """
    chosen = []
    for name in names:
        path = parts_of(name)
        if any(map(_hidden, path.parts)):
            left_out[HIDDEN] += 1
        elif path.suffix.lower() in SUFFIXES:
            chosen.append(name)
        else:
            left_out[path.suffix.lower() or UNNAMED] += 1
    return chosen


def _walk(root: Path) -> tuple[dict[str, os.stat_result], Counter[str]]:
    """Find the regular files below a folder, each file and folder once, and count the others.

    Those that lie there come before links to them; what holds the folder itself is not entered.
    """
    found: dict[str, os.stat_result] = {}
    left_out: Counter[str] = Counter()
    try:
        seen = {_identity(parent, parent.stat()) for parent in root.resolve().parents}
        waiting = [(False, "", False)]  # whether it is a link, its name, whether a link leads there
        while waiting:
            linked, name, led = heapq.heappop(waiting)
            path = root / name
            try:
                status = path.stat() if not linked or path.exists() else path.lstat()
            except FileNotFoundError:
                if not name:
                    raise
                left_out[GONE] += 1
                continue
            identity = _identity(path, status)
            # some mounts number files alike: what is there once cannot be there again
            if identity in seen and (led or status.st_nlink > 1):
                left_out[LINKED] += 1
                continue
            seen.add(identity)
            if stat.S_ISDIR(status.st_mode):
                with os.scandir(path) as entries:
                    for entry in entries:
                        if _hidden(entry.name):
                            left_out[HIDDEN] += 1
                            continue
                        inside = f"{name}/{entry.name}" if name else entry.name
                        link = entry.is_symlink()
                        heapq.heappush(waiting, (link, inside, led or link))
            elif stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
                found[name] = status  # a dangling link fails when it is read
            else:
                left_out[SPECIAL] += 1
    except OSError as error:
        where = printable(str(error.filename))
        raise DataError(f"cannot list {where}: {error.strerror}; check its permissions") from error
    return found, left_out


def _identity(path: Path, status: os.stat_result) -> tuple[int, int | str]:
    """Tell a file or folder from others, whatever it is called; some mounts number none."""
    return status.st_dev, status.st_ino or os.path.realpath(path)
