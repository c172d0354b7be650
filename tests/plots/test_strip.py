"""The mode strip, by what is drawn."""

import holoviews as hv
import numpy as np
import xarray as xr
from bokeh.plotting import figure

from gandask import plots
from gandask.pages.panes import PlotPane
from gandask.plots.strip import modes


def dataset(rounds=3, classes=4):
    shares = np.linspace(0, 1, rounds * classes).reshape(rounds, 1, 1, classes)
    made = {
        "mode_share": (("round", "row", "col", "class"), shares),
        "mixture_mode_share": (("round", "class"), shares[:, 0, 0]),
        "fid": (("round", "row", "col"), np.ones((rounds, 1, 1)), {"better": "lower"}),
    }
    coords = {"round": np.arange(1, rounds + 1), "row": [0], "col": [0], "class": range(classes)}
    return xr.Dataset(made, coords, {"score": "fid"})


def test_every_mode_has_a_row_and_every_round_a_column():
    drawn = modes(dataset(), {"row": 0, "col": 0})
    assert drawn.dimension_values(2, flat=False).shape == (4, 3)
    np.testing.assert_allclose(
        drawn.dimension_values(2, flat=False)[:, 0], [0, 4 / 11, 8 / 11, 12 / 11]
    )
    shown = hv.render(drawn)
    assert shown.title.text == "4 of 4 modes sampled\nin round 3 · row 0, col 0"
    assert (shown.x_range.start, shown.x_range.end) == (0.5, 3.5)
    assert shown.y_range.start > shown.y_range.end, "the first mode is on top"


def test_without_a_unit_it_is_of_the_best_and_of_the_mixture_of_all():
    assert hv.render(modes(dataset(1))).title.text.endswith(
        "3 of 4 modes sampled\nin round 1 · the best of each round"
    )
    told = hv.render(plots.mixture_modes(dataset())).title.text
    assert told.endswith("the mixture of all")


def test_nothing_scored_is_told():
    assert modes(dataset().isel(round=[])).data[2] == "nothing was scored yet"


def test_a_round_more_goes_into_the_same_figure():
    view = PlotPane()
    view.show(modes(dataset(3)))
    first = view.pane.object
    (drawn,) = view.pane.get_root().select({"type": figure})
    view.show(modes(dataset(5)))
    assert view.pane.object is first
    assert drawn.x_range.end == 5.5
    assert len(drawn.renderers[0].data_source.data["left"]) == 20


def test_many_modes_fit():
    assert hv.render(modes(dataset(2, 100))).height <= 450
