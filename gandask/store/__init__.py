"""A run on disk: its folder, its journals, its checkpoints, and what is asked of it."""

from gandask.store.beginning import create, refuse_existing
from gandask.store.description import FORMAT, LIVE, QUIET, STATES, scored
from gandask.store.folder import Store

__all__ = ["FORMAT", "LIVE", "QUIET", "STATES", "Store", "create", "refuse_existing", "scored"]
