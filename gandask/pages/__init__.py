"""Panel pages over the plots: live, groups, speedup, compare."""

from __future__ import annotations

from typing import Any

from gandask.pages.frame import argument
from gandask.pages.live import live

PAGES = {"live": live}


def chosen() -> Any:
    """Make the page that the argument ``page`` of the address names, or the live one."""
    return PAGES.get(argument("page"), live)()
