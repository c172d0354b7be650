"""A run on disk: its folder, its journals, its checkpoints, and what is asked of it."""

from gandask.store.description import FORMAT, LIVE, QUIET
from gandask.store.folder import Store

__all__ = ["FORMAT", "LIVE", "QUIET", "Store"]
