"""What to do next with a run, by how it stands."""

from __future__ import annotations

import os
import shlex

NEXT = {
    "paused": "it waits; to let it go on: gandask resume {run}",
    "stopped": "to continue it from its last checkpoint: gandask resume {run}",
    "interrupted": "its process is gone; to continue it from its last checkpoint: "
    "gandask resume {run}",
    "failed": "once that is mended, it is continued from its last checkpoint: gandask resume {run}",
}
"""By state; one that is running or finished needs nothing."""


def advice(path: str | os.PathLike[str], state: str) -> str:
    """Say how to go on with a run, or nothing where there is nothing to do.

    Examples
    --------
    >>> advice("runs/my first", "stopped")
    "to continue it from its last checkpoint: gandask resume 'runs/my first'"
    >>> advice("runs/first", "finished")
    ''
    """
    return NEXT.get(state, "").format(run=shlex.quote(os.fspath(path)))
