"""Several runs side by side."""

from gandask.pages.compare import compare

compare().servable(title="gandask: compare")
