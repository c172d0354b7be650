"""Tables that can be sorted, in the page's own colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import panel as pn

PAGE = 20  # rows
DIGITS = 4


def sortable() -> Any:
    """Make an empty table."""
    return pn.widgets.Tabulator(
        theme="midnight" if pn.config.theme == "dark" else "simple",
        disabled=True,
        selectable=False,
        show_index=False,
        pagination="local",
        page_size=PAGE,
        layout="fit_columns",
        configuration={"columnDefaults": {"headerWordWrap": True}},
        sizing_mode="stretch_width",
    )


def fill(table: Any, columns: Mapping[str, Sequence[Any]]) -> None:
    """Put columns into a table that `sortable` made, numbers with a few digits."""
    frame = pd.DataFrame(columns)
    for name in frame.select_dtypes("float"):
        frame[name] = [float(f"{value:.{DIGITS}g}") for value in frame[name]]
    if not frame.equals(table.value):
        table.value = frame
