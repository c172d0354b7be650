"""A run on disk: its folder, its journals, its checkpoints, and what is asked of it."""

from gandask.store.folder import FORMAT, LIVE, QUIET, Store

__all__ = ["FORMAT", "LIVE", "QUIET", "Store"]
