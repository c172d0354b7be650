"""Pages inside a notebook."""

from __future__ import annotations

from typing import Any

import panel as pn

from gandask.pages.live import Watch
from gandask.runs import Run


def live(run: Run) -> Any:
    """Give the live page of one run, to be the value of a notebook's cell."""
    pn.extension()
    watch = Watch()
    watch.open(run.store.path)
    return pn.Column(watch.head, watch.body, sizing_mode="stretch_width")
