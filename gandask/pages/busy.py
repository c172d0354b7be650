"""The sign that a page is at work."""

from __future__ import annotations

from typing import Any

import panel as pn
import param

LOOK = """
div { width: 12px; height: 12px; border-radius: 50%; background: #0072b2; opacity: 0; }
.working { animation: appear 0s 0.3s forwards, pulse 1s 0.3s infinite; }
@keyframes appear { to { opacity: 1; } }
@keyframes pulse { 50% { transform: scale(0.6); } }
"""


class BusySign(pn.custom.JSComponent):
    """A dot in the corner of a page, seen where its server's answer takes longer than a moment.

    A server at work says nothing until it is done: so the browser shows the dot itself, from what
    it asks until the answer to a question of its own, that comes after. Panel's indicators are laid
    out anew each time, and with them the whole page, every figure on it drawn again; here a class
    changes.
    """

    asked = param.Integer(0, doc="How often the browser asked.")
    answered = param.Integer(0, doc="How often it was answered.")

    _esm = """
    export function render({model, view, el}) {
      const dot = document.createElement("div")
      el.append(dot)
      const show = () => { dot.className = model.asked == model.answered ? "" : "working" }
      model.on("answered", show)
      const page = view.model.document
      const heard = (event) => {
        if (!event.sync || ["asked", "answered"].includes(event.attr)) return
        // after what was asked is on its way; one question is enough
        setTimeout(() => {
          if (model.asked == model.answered) model.asked += 1
          show()
        }, 0)
      }
      page.on_change(heard)
      model.on("remove", () => page.remove_on_change(heard))
    }
    """
    stylesheets = param.List([LOOK])

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.param.watch(lambda event: self.param.update(answered=event.new), "asked")
