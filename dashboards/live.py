"""One run, finished or being written."""

from gandask.pages.live import live

live().servable(title="gandask: live")
