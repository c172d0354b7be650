"""The address of a page: what is looked at is in it, so that a link shows the same to others."""

from __future__ import annotations

import urllib.parse
from typing import Any

import panel as pn
import param

from gandask.pages.frame import STYLE, arguments


class PageAddress(pn.custom.JSComponent):
    """Keeps what is looked at in the page's address, its title in the browser's, and copies links.

    The address is replaced, and no page is added to the browser's history.
    """

    query = param.String("")
    title = param.String("")

    _esm = """
    export function render({model, el}) {
      const link = document.createElement("button")
      link.className = "link"
      link.textContent = "copy link"
      link.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(location.href)
        } catch {  // where the page is not from this machine, nor by TLS
          const area = document.createElement("textarea")
          area.value = location.href
          document.body.append(area)
          area.select()
          document.execCommand("copy")
          area.remove()
        }
        link.textContent = "copied"
        setTimeout(() => { link.textContent = "copy link" }, 1500)
      })
      el.append(link)
      let waiting, last = 0
      const keep = () => {
        clearTimeout(waiting)
        const rest = last + 150 - Date.now()
        if (rest > 0) {  // browsers refuse what changes too often
          waiting = setTimeout(keep, rest)
          return
        }
        last = Date.now()
        const whole = model.query === "?" ? location.pathname : model.query
        if (whole) history.replaceState(history.state, "", whole)
      }
      const entitle = () => { if (model.title) document.title = model.title }
      model.on("query", keep)
      model.on("title", entitle)
      keep()
      entitle()
    }
    """
    stylesheets = param.List([STYLE])

    def keep(self, **values: Any) -> None:
        """Put values into the address beside what else is in it; those that are empty leave it.

        Parameters
        ----------
        **values
            By the names that they have there.
        """
        known = dict(urllib.parse.parse_qsl(self.query[1:])) if self.query else arguments()
        told = known | {key: str(value) for key, value in values.items()}
        given = {key: value for key, value in told.items() if value}
        self.query = f"?{urllib.parse.urlencode(given, safe='/,')}"
