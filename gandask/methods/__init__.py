"""The methods: ways of training a population of GANs. METHODS names them for TOML."""

from __future__ import annotations

from typing import Any

from gandask.methods.grid import Grid

METHODS: dict[str, Any] = {Grid.name: Grid}
