"""Look at the data of a slot where the slot is, for who decides but need not hold them."""

from __future__ import annotations

from gandask.core import Made
from gandask.training.settings import Training


def probe(*, training: Training, slot: str) -> Made:
    """Tell of what kind a slot's data are: a task's function.

    Returns
    -------
    states
        None.
    values
        ``shape`` of one sample; ``count`` of those that are the slot's share; ``classes`` and
        ``fingerprint`` of the data set.

    Raises
    ------
    SettingError, DataError
        As `gandask.data.load` does.
    """
    loaded = training.data
    return (), {
        "shape": loaded.shape,
        "count": len(training.shard(slot)),
        "classes": loaded.classes,
        "fingerprint": loaded.fingerprint,
    }
