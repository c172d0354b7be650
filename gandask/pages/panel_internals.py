"""Whatever reaches into the private parts of Panel: all of it is here.

``tests/pages/test_panel_internals.py`` says what is taken for granted.
"""

from __future__ import annotations

import sys

import panel.io.server
from bokeh.server.views.auth_request_handler import AuthRequestHandler
from panel.io.resources import COMPONENT_PATH
from tornado.web import HTTPError

PACKAGES = ("panel", "bokeh", "gandask")


class Components(AuthRequestHandler, panel.io.server.ComponentResourceHandler):
    """What the server gives of components: of loaded ones, and to whom its login lets in.

    Panel's own asks nobody who he is, and imports whatever module the address names: code runs,
    that of the current folder too.
    """

    async def prepare(self) -> None:
        """Refuse before a module is looked for.

        Raises
        ------
        HTTPError
            403 for who may not see pages, 404 for what no page is made of.
        """
        await super().prepare()
        if not self.current_user:
            raise HTTPError(403)
        module = self.path_args[0].split("/")[0]
        if module.split(".")[0] not in PACKAGES or module not in sys.modules:
            raise HTTPError(404)


ROUTES = [(f"/{COMPONENT_PATH}(.*)", Components)]
"""For ``get_server(extra_patterns=...)``: they come before Panel's own."""


def close_components() -> None:
    """Close the components of servers that Panel makes itself from now on: ``panel serve``."""
    panel.io.server.ComponentResourceHandler = Components
