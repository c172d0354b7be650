"""Speedup and time by routine."""

from gandask.pages.speedup import speedup

speedup().servable(title="gandask: speedup")
