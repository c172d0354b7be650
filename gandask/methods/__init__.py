"""The methods: ways of training a population of GANs. METHODS names them for TOML.

STORED names what a store may hold besides: ensembles, which are chosen and not trained.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterator, MutableMapping
from typing import Any

from gandask.config import load_object
from gandask.core import Method


class Registry(MutableMapping[str, type[Method[Any]]]):
    """Methods by name, each imported when it is first asked for: a worker needs but one.

    Examples
    --------
    >>> METHODS["grid"].name
    'grid'
    """

    def __init__(self, homes: dict[str, str]) -> None:
        self._known: dict[str, type[Method[Any]] | str] = {**homes}

    def __getitem__(self, name: str) -> type[Method[Any]]:
        known = self._known[name]
        found: type[Method[Any]] = load_object(known) if isinstance(known, str) else known
        self._known[name] = found
        return found

    def __setitem__(self, name: str, method: type[Method[Any]]) -> None:
        self._known[name] = method

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


METHODS = Registry(
    {
        "grid": "gandask.methods.grid:Grid",
        "mggan": "gandask.methods.mggan:MGGAN",
        "bpgan": "gandask.methods.split:BPGAN",
        "data_parallel": "gandask.methods.split:DataParallel",
        "per_label": "gandask.methods.perlabel:PerLabel",
        "privacy": "gandask.methods.privacy:PrivacyGAN",
    }
)
"""Every method that a setting can name; one of your own is an entry more."""

STORED = ChainMap(Registry({"ensemble": "gandask.methods.ensemble:Ensemble"}), METHODS)
"""Whatever the settings of a store can be of: every method, and ensembles."""
