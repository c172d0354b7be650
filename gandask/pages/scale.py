"""The scale that the chosen variable is drawn on: a control, and a sentence where it cannot be."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

import panel as pn
from markupsafe import Markup

from gandask import results
from gandask.pages.frame import html
from gandask.plots.maps import ends
from gandask.plots.style import AUTO, LINEAR, LOG, SCALES

if TYPE_CHECKING:
    import xarray as xr

TITLES = {"by values": AUTO, "linear": LINEAR, "logarithmic": LOG}
FAINT = Markup('<p class="faint">{}</p>')
NONSENSE = "scale={}: expected linear or log; the scale follows from the values"
IMPOSSIBLE = "{}: not all values are above 0, as a logarithmic scale needs; this one is linear"


class ScaleChoice:
    """The choice of a scale.

    Parameters
    ----------
    wanted : str
        What the address asks for; nothing for the scale that follows from the values.
    """

    def __init__(self, wanted: str = "") -> None:
        known = wanted in SCALES
        self.nonsense = "" if known or not wanted else NONSENSE.format(reprlib.repr(wanted))
        self.control = pn.widgets.Select(
            name="scale", options=TITLES, value=wanted if known else AUTO, width=110
        )
        self.told = html(Markup(""), visible=False)

    @property
    def kept(self) -> str:
        """What the address keeps: nothing where the scale follows from the values."""
        return "" if self.control.value == AUTO else str(self.control.value)

    def fitting(self, values: xr.DataArray) -> str:
        """Give the scale to draw a variable on; tell why it is not the one that was asked for.

        Parameters
        ----------
        values : DataArray
        """
        asked = str(self.control.value)
        impossible = asked == LOG and ends(values)[0] <= 0
        known = bool(values.notnull().any())
        told = IMPOSSIBLE.format(results.label(values)) if impossible and known else ""
        if asked != AUTO:
            self.nonsense = ""
        told = told or self.nonsense
        self.told.object, self.told.visible = str(FAINT.format(told)), bool(told)
        return LINEAR if impossible else asked
