"""What people say of a run: tags and a note, in ``about.json`` in its folder.

Nothing of the run hangs on them; whoever may write the folder may write them, as whoever sends it
may have. They are text wherever they are shown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from gandask.core import SettingError, StoreError
from gandask.core.files import DAMAGED, parsed, read_whole, write_whole

FILE = "about.json"
LARGEST = 1 << 16
"""Bytes of the file that is read."""
MOST, LONGEST = 32, 40  # tags, and characters of each
NOTE = 4000  # characters


@dataclass(frozen=True)
class About:
    """Tags and a note of a run.

    Parameters
    ----------
    tags : tuple of str
        Words, in the order in which they were given.
    note : str

    Raises
    ------
    SettingError
        For a tag that is no word, or more than is kept.
    """

    tags: tuple[str, ...] = ()
    note: str = ""

    def __post_init__(self) -> None:
        for tag in self.tags:
            if not tag.isprintable() or len(tag.split()) != 1 or "," in tag or len(tag) > LONGEST:
                raise SettingError(
                    f"tag {tag!r}: expected a word of at most {LONGEST} characters, with no space "
                    "or comma in it"
                )
        if len(self.tags) > MOST:
            raise SettingError(f"{len(self.tags)} tags: expected {MOST} at most")
        if len(self.note) > NOTE:
            raise SettingError(f"a note of {len(self.note)} characters: expected {NOTE} at most")
        if self.note != self.note.encode(errors="ignore").decode():
            raise SettingError("note: it is no text that UTF-8 can write")

    def tagged(self, tags: Iterable[str]) -> About:
        """Add tags, each once.

        Examples
        --------
        >>> About(("a",)).tagged(["b", "a"]).tags
        ('a', 'b')
        """
        return About(tuple(dict.fromkeys([*self.tags, *tags])), self.note)


def read(folder: Path) -> About:
    """Read what is said of a run: nothing where nobody said anything.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    path = folder / FILE
    try:
        told = parsed(read_whole(path, LARGEST))
        tags = told["tags"]
        if not (isinstance(tags, list) and isinstance(told["note"], str)):
            raise ValueError("expected a list of tags, and a note")
        return About(tuple(map(str, tags)), told["note"])
    except FileNotFoundError:
        return About()
    except (SettingError, *DAMAGED) as error:
        raise StoreError(
            f"{path} cannot be read: {error}; remove it, it holds tags and a note alone"
        ) from error


def write(folder: Path, about: About) -> None:
    """Keep what is said of a run; where that is nothing, no file is.

    Raises
    ------
    StoreError
        If the folder cannot be written.
    """
    path = folder / FILE
    try:
        if about == About():
            path.unlink(missing_ok=True)
        else:
            write_whole(path, json.dumps(asdict(about), indent=1))
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        raise StoreError(f"{path} cannot be written: {why}") from error
