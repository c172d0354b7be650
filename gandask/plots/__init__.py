"""A run's Dataset as HoloViews elements: pure functions, drawn by Bokeh.

They know dimensions and what variables say of themselves, not methods: what is special to a method
is drawn by its own figures. Importing this package makes Bokeh the backend of HoloViews.
"""

from gandask.display import number
from gandask.plots.charts import image_grid, mixture, profile
from gandask.plots.comparison import compare, routines, speedup
from gandask.plots.maps import map
from gandask.plots.selection import best, latest
from gandask.plots.settings import effect, parallel
from gandask.plots.strip import mixture_modes, modes
from gandask.plots.style import message
from gandask.plots.timeline import events
from gandask.plots.traces import trace

__all__ = [
    "best",
    "compare",
    "effect",
    "events",
    "image_grid",
    "latest",
    "map",
    "message",
    "mixture",
    "mixture_modes",
    "modes",
    "number",
    "parallel",
    "profile",
    "routines",
    "speedup",
    "trace",
]
