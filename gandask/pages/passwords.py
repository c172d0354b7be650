"""A file of names and passwords: read only where nobody else can have put them there."""

from __future__ import annotations

import json
import os
from pathlib import Path

from gandask.core import SettingError
from gandask.core.files import others


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
