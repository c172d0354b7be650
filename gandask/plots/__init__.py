"""A run's Dataset as HoloViews elements: pure functions, drawn by Bokeh.

Titles, labels and units are those of the Dataset's own variables. Importing this package makes
Bokeh the backend of HoloViews.
"""

from gandask.plots.ancestry import ancestors, lineage
from gandask.plots.cells import grid, mixture
from gandask.plots.charts import events, image_grid, profile
from gandask.plots.comparison import compare, routines, speedup
from gandask.plots.groups import density, partners, regroupings
from gandask.plots.selection import best, latest
from gandask.plots.style import number
from gandask.plots.traces import trace

__all__ = [
    "ancestors",
    "best",
    "compare",
    "density",
    "events",
    "grid",
    "image_grid",
    "latest",
    "lineage",
    "mixture",
    "number",
    "partners",
    "profile",
    "regroupings",
    "routines",
    "speedup",
    "trace",
]
