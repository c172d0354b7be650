"""The methods: ways of training a population of GANs. METHODS names them for TOML."""

from __future__ import annotations

from typing import Any

from gandask.core import Method
from gandask.methods.grid.method import Grid
from gandask.methods.mggan.method import MGGAN

METHODS: dict[str, type[Method[Any]]] = {method.name: method for method in (Grid, MGGAN)}
