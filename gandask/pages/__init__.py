"""Panel pages over the plots: live, speedup, compare."""

from __future__ import annotations

from typing import Any

from gandask.pages.compare import compare
from gandask.pages.frame import argument
from gandask.pages.live import live
from gandask.pages.speedup import speedup

PAGES = {"live": live, "speedup": speedup, "compare": compare}


def chosen() -> Any:
    """Make the page that the argument ``page`` of the address names, or the live one."""
    return PAGES.get(argument("page"), live)()
