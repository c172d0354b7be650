"""What is drawn of labels, by its content."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from conftest import tiny
from elements import columns

import gandask as gd
from gandask.methods.perlabel import figures


def dataset(kept=2, labels=3):
    """Labels of two rounds, of which the last is done; with grey images of 2 by 2."""
    named = {"long_name": "FID against the label's own samples", "units": "1"}
    mixed = {"long_name": "FID of the mixture of all labels", "units": "1"}
    half = {"long_name": "progress", "units": "1"}
    fid = np.array([[5.0] * labels, [3.0] + [np.nan] * (labels - 1)])
    variables = {
        "fid": (("round", "label"), fid, named),
        "final_fid": ("label", [2.0] + [np.nan] * (labels - 1), named),
        "progress": (("round", "label"), [[0.25] * labels, [0.5] + [np.nan] * (labels - 1)], half),
        "mixture_fid": ("round", [9.0, np.nan], mixed),
        "final_mixture_fid": ((), 7.0, mixed),
    }
    if kept:
        samples = np.full((labels, kept, 4), -1.0, "float32")
        samples[1:] = 1.0
        variables["samples"] = (("label", "sample", "value"), samples)
    coords = {"round": [1, 2], "label": range(labels)}
    return xr.Dataset(variables, coords, {"score": "fid", "sample_shape": [1, 2, 2]})


def test_a_tile_tells_of_a_label():
    picture, bars, texts = drawn = figures.tiles(dataset(), columns=2)
    assert [text for (text,) in columns(texts, "text")] == ["0: FID 2", "1: FID 5", "2: FID 5"]
    widths = [x1 - x0 for x0, x1 in columns(bars, "x0", "x1")]
    assert [b / a for a, b in zip(widths[::2], widths[1::2], strict=True)] == [0.5, 0.25, 0.25]
    # black samples at the top left, white ones beside them
    pixels = np.stack([picture.dimension_values(d, flat=False)[::-1] for d in "RGB"], -1)
    assert (pixels[:60, :60] == 0).all()
    assert (pixels[:60, 150:200] == 255).all()
    hv.render(drawn)


def test_a_report_has_room_for_all_tiles():
    for kept in (0, 2, 4):
        drawn = figures.tiles(dataset(kept=kept, labels=10))
        assert 300 < hv.render(drawn).frame_width <= 540
        assert len(columns([*drawn][2], "text")) == 10


def test_without_samples_there_are_captions_alone():
    picture, _, texts = figures.tiles(dataset(kept=0))
    assert len(columns(texts, "text")) == 3
    assert (picture.dimension_values("R") == 255).all()


def test_of_many_labels_the_first_are_drawn_and_the_others_told():
    drawn = figures.tiles(dataset(kept=0, labels=100))
    assert len(columns([*drawn][2], "text")) == 60
    assert "40 more" in hv.render(drawn).title.text


def test_the_mixture_of_all_over_the_rounds_and_at_the_end():
    course, end = drawn = figures.quality(dataset())
    assert columns(course, "round", "mixture_fid") == [(1, 9.0)]
    assert end.data == 7.0
    hv.render(drawn)


def test_before_the_first_round_there_is_a_message():
    nothing = dataset().isel(round=slice(0))
    assert isinstance(figures.tiles(nothing), hv.Text)
    nothing["final_mixture_fid"] = np.nan
    nothing["final_mixture_fid"].attrs["long_name"] = "FID"
    assert isinstance(figures.quality(nothing), hv.Text)


@pytest.mark.parametrize("changes", [{}, {"data": "ring8", "kept_samples": 2}])
def test_runs_are_drawn(changes, tmp_path):
    gd.run(tiny("per_label", **changes), store=tmp_path / "run", progress=False)
    plot = gd.open_run(tmp_path / "run").plot
    for drawn in (plot.tiles(), plot.quality(), plot.map(), plot.trace()):
        assert not isinstance(drawn, hv.Text)  # which a figure of nothing is
        hv.render(drawn)
