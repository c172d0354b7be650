"""What pages are put together from: cards side by side, tables that can be sorted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import panel as pn
from bokeh.models.widgets.tables import NumberFormatter
from markupsafe import escape

from gandask.pages.frame import card, dark

PAGE = 20  # rows
DIGITS = 4
NARROWEST = 80  # pixels of a column
CHARACTER, LINES, ARROW = 8, 3, 32  # pixels of a heading's; lines that it takes; beside it, to sort
WRAPPED = {"flex-wrap": "wrap", "min-width": "0"}
# over the theme's own, which comes later: no stripes, and long names break
LOOK = """
.tabulator, .tabulator * { background: transparent !important; }
.tabulator .tabulator-col, .tabulator .tabulator-cell { border-right: 0 !important; }
.tabulator .tabulator-cell { white-space: normal !important; overflow-wrap: anywhere; }
.tabulator .tabulator-col-title { font-size: 12px; font-weight: 600; }
.tabulator .tabulator-row { border-bottom: 1px solid rgba(128, 128, 128, 0.3); }
"""


def beside(*cards: tuple[str, Any]) -> Any:
    """Put contents with their headings side by side, where there is room."""
    given: dict[str, Any] = {"sizing_mode": "stretch_width", "styles": {"flex": "1 1 320px"}}
    made = [card(title, content, **given) for title, content in cards]
    return pn.Row(*made, sizing_mode="stretch_width", styles=WRAPPED)


def setting(value: object) -> str:
    """Write the value of a setting for people."""
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def sortable(**options: Any) -> Any:
    """Make an empty table."""
    return pn.widgets.Tabulator(
        theme="midnight" if dark() else "simple",
        disabled=True,
        selectable=False,
        show_index=False,
        page_size=PAGE,
        layout="fit_columns",
        # on a phone it is moved sideways: else names have a letter in each line
        configuration={
            "columnDefaults": {"headerWordWrap": True, "minWidth": NARROWEST},
            "columnHeaderVertAlign": "bottom",
        },
        stylesheets=[LOOK],
        sizing_mode="stretch_width",
        styles={"min-width": "0", "max-width": "100%"},
        **options,
    )


def fill(table: Any, columns: Mapping[str, Any]) -> None:
    """Put columns into a table that `sortable` made, numbers with a few digits."""
    frame = pd.DataFrame(columns)
    numbers = list(frame.select_dtypes("float"))
    for name in numbers:
        frame[name] = [float(f"{value:.{DIGITS}g}") for value in frame[name]]
    if frame.equals(table.value):
        return
    wide = {str(name): _heading(str(name)) for name in frame}
    shown = NumberFormatter(format="0,0[.][0000]", nan_format="–", text_align="right")
    table.param.update(
        header_align=dict.fromkeys(frame.select_dtypes("number"), "right"),
        formatters=dict.fromkeys(numbers, shown),
        pagination="local" if len(frame) > PAGE else None,
        # headings are taken for HTML, and names come from runs
        # a long heading is broken into few lines, and not a word in each
        widths=table.widths | {name: pixels for name, pixels in wide.items() if pixels > NARROWEST},
        titles={str(name): str(escape(name)) for name in frame},
        value=frame,
    )


def _heading(name: str) -> int:
    """Give the pixels that a heading takes."""
    return ARROW + CHARACTER * max(-(-len(name) // LINES), *map(len, name.split()), 0)
