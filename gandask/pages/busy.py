"""The sign that a page is at work."""

from __future__ import annotations

import panel as pn
import param

LOOK = """
div { width: 12px; height: 12px; border-radius: 50%; background: #0072b2; opacity: 0; }
.working { animation: appear 0s 0.3s forwards, pulse 1s 0.3s infinite; }
@keyframes appear { to { opacity: 1; } }
@keyframes pulse { 50% { transform: scale(0.6); } }
"""


class BusySign(pn.custom.JSComponent):
    """A dot in the corner of a page, seen where its work takes longer than a moment.

    It goes on and off with every look for what is new. Panel's own indicators are laid out anew
    each time, and with them the whole page, every figure on it drawn again; here a class changes.
    """

    value = param.Boolean(False, doc="Whether the page is at work.")

    _esm = """
    export function render({model, el}) {
      const dot = document.createElement("div")
      el.append(dot)
      const show = () => { dot.className = model.value ? "working" : "" }
      model.on("value", show)
      show()
    }
    """
    stylesheets = param.List([LOOK])
