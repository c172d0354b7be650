"""Panel pages over the plots: home, live, speedup, compare."""

from __future__ import annotations

from typing import Any

from gandask.pages.compare import compare
from gandask.pages.frame import argument
from gandask.pages.home import home
from gandask.pages.live import live
from gandask.pages.speedup import speedup

PAGES = {"home": home, "live": live, "speedup": speedup, "compare": compare}


def chosen() -> Any:
    """Make the page that the address names by ``page``, or that of its ``run``, or home."""
    return PAGES.get(argument("page"), live if argument("run") else home)()
