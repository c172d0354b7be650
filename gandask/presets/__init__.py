"""Settings to start from: one TOML file each, its first line saying what it is for."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

from gandask.core import SettingError
from gandask.display import suggestion


def names() -> dict[str, str]:
    """List the presets, with what each is for.

    Examples
    --------
    >>> "demo" in names()
    True
    """
    files = [file for file in resources.files(__name__).iterdir() if file.name.endswith(".toml")]
    described = {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8").splitlines()[0]
        for file in files
    }
    return {name: described[name].removeprefix("# ") for name in sorted(described)}


def read(name: str) -> dict[str, Any]:
    """Read a preset's settings.

    Raises
    ------
    SettingError
        If there is none of that name.
    """
    if name not in names():
        raise SettingError(f"preset {name!r}: there is no such preset; {suggestion(name, names())}")
    text = (resources.files(__name__) / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
