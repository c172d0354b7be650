"""A file of names and passwords: read only where nobody else can have put them there."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from gandask.core import SettingError

WRITABLE = stat.S_IWGRP | stat.S_IWOTH
READABLE = stat.S_IRGRP | stat.S_IROTH
ENTERED = stat.S_IXGRP | stat.S_IXOTH


def read(login: Path) -> dict[str, str]:
    """Read names and passwords.

    Parameters
    ----------
    login : Path
        JSON: ``{"name": "password"}``.

    Raises
    ------
    SettingError
        If it is none, or if other users of the machine may read or write it.
    """
    told = f"login={str(login)!r}"
    try:
        with login.open(encoding="utf-8-sig") as file:
            open_to = others(login.resolve(), os.fstat(file.fileno()))
            passwords = json.load(file)
    except OSError as error:
        raise SettingError(
            f"{told}: expected a JSON file of names and passwords ({error.strerror})"
        ) from error
    except (ValueError, RecursionError) as error:
        raise SettingError(f"{told}: expected JSON, {{'name': 'password'}} ({error})") from error
    if open_to:
        raise SettingError(f"{told}: {open_to}")
    words = [*passwords, *passwords.values()] if isinstance(passwords, dict) else []
    if not words or not all(isinstance(word, str) and word for word in words):
        raise SettingError(
            f'{told}: expected names with a password for each, such as {{"ada": "..."}}'
        )
    return dict(passwords)


def others(path: Path, found: os.stat_result) -> str:
    """Say how other users could read or write a file, or replace it; nothing if they cannot.

    Parameters
    ----------
    path : Path
        Without links.
    found : os.stat_result
        Of the file that was opened.
    """
    if not hasattr(os, "getuid"):  # Windows has other ways to say so
        return ""
    above = {folder: folder.stat() for folder in path.parents}
    if found.st_uid not in (0, os.getuid()):
        return "it belongs to another user; give a file of your own"
    if found.st_mode & WRITABLE:
        return f"others may write it; chmod 600 {path}"
    for folder, its in above.items():
        kept = its.st_mode & stat.S_ISVTX  # where each renames what is his own
        if its.st_uid not in (0, os.getuid()) or (its.st_mode & WRITABLE and not kept):
            return f"others may replace it in {folder}; put it into a folder of your own"
    if found.st_mode & READABLE and all(its.st_mode & ENTERED for its in above.values()):
        return f"others may read it; chmod 600 {path}"
    return ""
