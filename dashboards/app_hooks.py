"""What Panel does when it begins to serve this folder: load what takes seconds to load."""

import importlib


def on_server_loaded(server_context: object) -> None:
    """Load the pages before the first visit."""
    importlib.import_module("gandask.pages")
