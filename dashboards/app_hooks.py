"""What Panel does when it begins to serve this folder: load the pages, and ask who comes."""

import panel as pn
from bokeh.settings import settings

from gandask.pages import frame, guard, panel_internals, server

settings.auth_module = str(guard.MODULE)
panel_internals.close_components()
panel_internals.quieten()
panel_internals.name_pages(frame.NAMES)


def on_server_loaded(server_context: object) -> None:
    """Tell the owner the token, unless there is a login of Panel's."""
    if not pn.config.basic_auth and not pn.config.oauth_provider:
        server.tell()
