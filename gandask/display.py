"""How objects look in a notebook: short tables, in which everything is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

ROW = Markup('<tr><th style="text-align: left">{}</th><td style="text-align: left">{}</td></tr>')


def table(rows: Mapping[str, Any]) -> Markup:
    """Write names and values as an HTML table of two columns.

    Examples
    --------
    >>> "&lt;b&gt;" in table({"name": "<b>"})
    True
    """
    lines = [ROW.format(name, value) for name, value in rows.items()]
    return Markup("<table>{}</table>").format(Markup("").join(lines))


def folded(title: str, rows: Mapping[str, Any]) -> Markup:
    """Write a table that opens when its title is clicked."""
    return Markup("<details><summary>{}</summary>{}</details>").format(title, table(rows))
