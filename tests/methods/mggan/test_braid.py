"""The braid of discriminators, by its content."""

import base64
import io

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from bokeh.models import ImageURL
from PIL import Image

from gandask.methods.mggan import braid as braids
from gandask.methods.mggan.braid import braid, strands
from gandask.methods.mggan.density import BINS
from gandask.pages.panes import PlotPane
from gandask.plots.style import COLOURS

ITERATIONS = 100


def dataset(kept=True, losses=(1.0, 2.0)):
    """Two groups that change their discriminators after iteration 50, of 100."""
    samples = np.ones((2, 2, 4, 2), "float32")
    samples[1] = -1.0
    data = {
        "partner": (("round", "group"), [[0, 1], [1, 0]]),
        "last_iteration": (("round", "group"), [[50, 50], [100, 100]]),
        "discriminator_loss": (
            ("group", "iteration"),
            np.repeat(np.array(losses)[:, None], ITERATIONS, 1),
        ),
        "event_round": ("event", [1]),
        "event_kind": ("event", ["regrouped"]),
    }
    if kept:
        data["samples"] = ("group", "snapshot", "sample", "value"), samples
        data["snapshot_iteration"] = ("group", "snapshot"), [[50, 100], [50, 100]]
    coords = {"group": [0, 1], "iteration": range(1, ITERATIONS + 1), "round": [1, 2]}
    return xr.Dataset(data, coords)


def thickness(layer, when):
    """Give the lower and the upper edge of a strand at an iteration."""
    x, y = (layer.dimension_values(place) for place in (0, 1))
    n = np.isfinite(x).sum() // 2
    return np.interp(when, x[:n], y[:n]), np.interp(when, x[:n], y[n : 2 * n][::-1])


def test_a_strand_is_where_its_discriminator_trains():
    first, second = strands(dataset())
    for strand, before, after in ((first, 0, 1), (second, 1, 0)):
        assert np.interp([0, 40, 60, 100], strand.x, strand.height).tolist() == pytest.approx(
            [before, before, after, after]
        )
        assert np.interp(50, strand.x, strand.height) == pytest.approx(0.5, abs=0.1)
    # a group's losses are those of the discriminator it has then
    assert np.interp([10, 49, 52, 90], first.x, first.loss).tolist() == [1, 1, 2, 2]
    assert np.interp([10, 49, 52, 90], second.x, second.loss).tolist() == [2, 2, 1, 1]


def test_it_is_as_thick_as_the_loss():
    layers = braid(dataset(kept=False))
    strand = next(iter(layers))
    assert [layer.label for layer in layers][:2] == ["discriminator 0", "discriminator 1"]
    low, high = thickness(strand, 20)
    assert (low + high) / 2 == pytest.approx(0, abs=1e-6)
    thin = high - low
    low, high = thickness(strand, 80)
    assert (low + high) / 2 == pytest.approx(1, abs=1e-6)
    thinnest, thickest = braids.THIN, braids.THICK
    assert high - low == pytest.approx(thickest)
    assert thin == pytest.approx(thinnest + (thickest - thinnest) / 2)
    assert hv.render(layers).title.text == "thickness: loss, 0 to 2"


def test_a_loss_below_zero_is_thinner_than_one_of_zero():
    strand = next(iter(braid(dataset(kept=False, losses=(-1.0, 0.0)))))
    widths = [np.ptp(thickness(strand, when)) for when in (20, 80)]
    assert widths == pytest.approx([braids.THIN, braids.THICK])


def test_losses_that_are_not_known_are_thin():
    ds = dataset(kept=False)
    ds["discriminator_loss"][:] = np.nan
    assert np.ptp(thickness(next(iter(braid(ds))), 20)) == pytest.approx(braids.THIN)


def test_regroupings_are_marked_and_samples_shown_there():
    drawn = braid(dataset())
    marks, pictures = list(drawn)[2:]
    assert marks.dimension_values(0).tolist() == [50]
    assert pictures.dimension_values("iteration").tolist() == [50, 50]
    up, down = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(told.split(",")[1]))).getchannel("A"))
        for told in pictures.dimension_values("picture")
    )
    assert up.shape == (BINS, BINS)
    assert up.min() == down.min() == 0, "the ground shows through, white or dark"
    fullest = [np.unravel_index(one.argmax(), one.shape) for one in (up, down)]
    assert fullest[0][0] < BINS / 2 < fullest[0][1], "up and to the right"
    assert fullest[1][1] < BINS / 2 < fullest[1][0], "down and to the left"
    shown = hv.render(drawn)
    (glyph,) = [one.glyph for one in shown.renderers if isinstance(one.glyph, ImageURL)]
    assert glyph.w_units == glyph.h_units == "screen"
    assert "samples 1" in shown.yaxis[0].major_label_overrides.values()
    assert (shown.x_range.start, shown.x_range.end) == (0, ITERATIONS)
    assert shown.y_range.start > shown.y_range.end, "the first generator is on top"


def test_samples_are_those_kept_before_the_regrouping():
    ds = dataset()
    ds["samples"][:, 1] = np.nan
    assert len(list(braid(ds))[3]) == 2
    ds["snapshot_iteration"][:] = 60
    assert len(list(braid(ds))) == 3


def test_pages_draw_a_braid_into_the_same_figure():
    view = PlotPane()
    view.show(braid(dataset()))
    model = view.pane.get_root()
    ds = dataset()
    ds["event_round"] = "event", [2]
    view.show(braid(ds))
    (picture,) = model.select({"tags": ["pictures"]})
    assert list(picture.data_source.data["iteration"]) == [100, 100]


def test_without_rounds_there_is_no_braid():
    assert braid(dataset().isel(round=[])).data[2] == "no iterations yet"
    with pytest.raises(ValueError, match="no variable 'partner'"):
        braid(dataset().drop_vars("partner"))


def test_more_discriminators_than_colours_are_drawn():
    count = len(COLOURS) + 1
    ds = dataset(kept=False).isel(group=np.zeros(count, int)).assign_coords(group=range(count))
    ds["partner"][:] = np.arange(count)
    hv.render(braid(ds))
    assert len(strands(ds)) == count
