"""A run's Dataset as HoloViews elements: pure functions, drawn by Bokeh.

Titles, labels and units are those of the Dataset's own variables. Importing this package makes
Bokeh the backend of HoloViews.
"""

from gandask.plots.charts import best, events, grid, image_grid, latest, number, profile, trace
from gandask.plots.groups import density, regroupings

__all__ = [
    "best",
    "density",
    "events",
    "grid",
    "image_grid",
    "latest",
    "number",
    "profile",
    "regroupings",
    "trace",
]
