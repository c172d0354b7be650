"""Maps by their content: marks, outlines, names, units along one dimension or two."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from gandask import plots
from gandask.core import Figure
from gandask.plots.bound import Plots
from gandask.plots.style import BEST, COLOURS, MARKED, MUTED

UNIT = ("round", "row", "col")
RING = [[[[0, 1, 2], [1, 0, 3]], [[2, 3, 0], [3, 2, 1]]]]


def dataset(rounds=2, **variables):
    """A 2x2 grid of cells with two neighbours each, the second of which is none in round 2."""
    ring = np.repeat(RING, 2, 0)
    ring[1, :, :, 2] = -1
    weights = np.where(ring < 0, np.nan, np.arange(1.0, 4) / 6)
    made = {
        "fid": (UNIT, np.arange(8.0).reshape(2, 2, 2), {"long_name": "distance", "units": "1"}),
        "loss": (UNIT, [[["bce", "lsq"], ["", "bce"]], [["hinge"] * 2] * 2]),
        "generator_replaced": (UNIT, [[[True, False], [False, True]]] * 2),
        "generator_parent": (UNIT, [[[3, -1], [0, 1]]] * 2, {"units": "cell"}),
        "neighbour_cell": ((*UNIT, "neighbour"), ring),
        "mixture_weight": ((*UNIT, "neighbour"), weights, {"long_name": "share", "units": "1"}),
    }
    coords = {"round": [1, 2], "row": [0, 1], "col": [0, 1], "neighbour": range(3)}
    return xr.Dataset(made | variables, coords, {"score": "fid"}).isel(round=slice(rounds))


def at(row, col):
    return {"row": row, "col": col}


def columns(element, *names):
    return list(zip(*(element.dimension_values(name).tolist() for name in names), strict=True))


def outlined(overlay):
    """Give (row, col) and width of each outline."""
    boxes = columns(overlay.get(2), 0, 1, 2, 3, "width")
    return {((y0 + y1) / 2, (x0 + x1) / 2): width for x0, y0, x1, y1, width in boxes}


# --- Heat maps -----------------------------------------------------------------------------------


def test_a_marked_unit_and_further_ones_are_outlined():
    drawn = plots.map(dataset(), marked=at(0, 1), outlined=[at(0, 0), at(0, 1), at(1, 1)])
    assert outlined(drawn) == pytest.approx({(0, 0): 2, (1, 1): 2, (0, 1): 4})
    assert outlined(plots.map(dataset(), marked=at(0, 1))) == {(0, 1): 4}
    glyph = hv.render(drawn).renderers[2].glyph
    assert (glyph.line_color, glyph.fill_alpha) == (MARKED, 0)
    left = min(x0 for (x0,) in columns(drawn.get(2), 0))
    assert left > -0.5, "the line is not cut off at the frame"


def test_a_heat_map_has_the_same_layers_whatever_is_marked_or_done():
    none = dataset(rounds=0)
    for overlay in (plots.map(dataset()), plots.map(none), plots.map(none, marked=at(0, 0))):
        assert [type(layer) for layer in overlay] == [hv.HeatMap, hv.Labels, hv.Rectangles]
        hv.render(overlay)
    assert outlined(plots.map(dataset())) == {}
    assert outlined(plots.map(none, marked=at(0, 0))) == {(0, 0): 4}
    assert hv.render(plots.map(none)).title.text == "no round is done yet"
    assert np.isnan(plots.map(none).get(0).dimension_values("fid")).all()


def test_a_heat_map_goes_through_rounds_and_marks_in_a_dynamic_map():
    stream = hv.streams.Stream.define("Choice", round=1, marked=None)()
    others = [at(0, 0)]
    dynamic = hv.DynamicMap(
        lambda **chosen: plots.map(dataset(), outlined=others, **chosen), streams=[stream]
    )
    plot = hv.renderer("bokeh").get_plot(dynamic)
    stream.event(round=2, marked=at(1, 0))
    heat, _, outlines = (renderer.data_source.data for renderer in plot.state.renderers)
    assert plot.state.title.text == "round 2"
    assert sorted(heat["zvalues"]) == [4, 5, 6, 7]
    assert sorted(outlines["line_width"]) == [2, 4]
    stream.event(marked=None)
    assert len(plot.state.renderers[2].data_source.data["left"]) == 1


def test_a_heat_map_can_be_tapped_and_a_tap_changes_no_colour():
    drawn = hv.render(plots.map(dataset()))
    assert "TapTool" in [type(tool).__name__ for tool in drawn.tools]
    assert drawn.toolbar_location is None
    assert drawn.renderers[0].nonselection_glyph.fill_alpha == 1


def legend(drawn):
    (shown,) = hv.render(drawn).legend
    # of values, not of a column
    return {item.label.value: item.renderers[0].glyph.fill_color for item in shown.items}


def test_names_have_colours_that_are_the_same_in_every_round():
    first, second = (plots.map(dataset(), "loss", round) for round in (1, 2))
    mappers = [hv.render(one).renderers[0].glyph.fill_color.transform for one in (first, second)]
    for mapper in mappers:
        told = dict(zip(mapper.factors, mapper.palette, strict=False))
        assert told == dict(zip(("bce", "hinge", "lsq"), COLOURS, strict=False))
    assert columns(first.get(0), "row", "col", "loss") == [
        (0, 0, "bce"),
        (0, 1, "lsq"),
        (1, 0, ""),
        (1, 1, "bce"),
    ]
    assert [text for (text,) in columns(first.get(1), "text")] == ["bce", "lsq", "", "bce"]
    assert legend(first) == dict(zip(("bce", "hinge", "lsq"), COLOURS, strict=False))


def test_names_are_printed_where_they_fit_only():
    long = dataset(loss=(UNIT, np.full((2, 2, 2), "x" * 30)))
    assert len(plots.map(long, "loss").get(1)) == 0


def test_truth_values_are_named_and_none_is_no_number():
    drawn = plots.map(dataset(), "generator_replaced")
    assert [text for (text,) in columns(drawn.get(1), "text")] == ["yes", "no", "no", "yes"]
    assert list(legend(drawn)) == ["no", "yes"]
    hv.render(drawn)
    drawn = plots.map(dataset(), "generator_parent")
    assert [text for (text,) in columns(drawn.get(1), "text")] == ["3", "–", "0", "1"]
    hv.render(drawn)


def test_what_is_not_finite_is_printed_in_an_ink_for_any_background():
    ds = dataset(fid=(UNIT, np.full((2, 2, 2), np.nan)))
    drawn = plots.map(ds)
    assert set(columns(drawn.get(1), "text", "ink")) == {("–", MUTED)}
    assert hv.render(drawn).renderers[0].glyph.fill_color.transform.nan_color == "rgba(0, 0, 0, 0)"


def test_units_that_are_not_there_are_refused():
    for wrong in ({"marked": at(0, 2)}, {"marked": {"row": 0}}, {"outlined": [{"node": 0}]}):
        with pytest.raises(ValueError, match="expected row from 0 to 1, col from 0 to 1"):
            plots.map(dataset(), **wrong)


# --- Other units ---------------------------------------------------------------------------------


def along(labels, values=(3.0, 1.0, 2.0)):
    told = {"long_name": "distance", "units": "1"}
    made = {"fid": (("round", "node"), [values], told)}
    return xr.Dataset(made, {"round": [1], "node": labels}, {"score": "fid"})


def test_units_along_one_dimension_make_one_row():
    drawn = plots.map(along([0, 1, 2]), marked={"node": 2}, outlined=[{"node": 0}])
    assert columns(drawn.get(0), "node", "fid") == [(0, 3), (1, 1), (2, 2)]
    assert outlined(drawn) == pytest.approx({(0, 0): 2, (0, 2): 4})
    shown = hv.render(drawn)
    assert shown.frame_width == 3 * shown.frame_height
    assert [axis.visible for axis in shown.yaxis] == [False]
    (hover,) = [tool for tool in shown.tools if type(tool).__name__ == "HoverTool"]
    assert [name for name, _ in hover.tooltips] == ["node", "distance"]


def test_units_are_called_by_their_labels():
    drawn = plots.map(along(["north", "east", "south"]), marked={"node": "east"})
    assert outlined(drawn) == {(0, 1): 4}
    shown = hv.render(drawn)
    assert list(shown.xaxis[0].major_label_overrides.values()) == ["north", "east", "south"]
    (hover,) = [tool for tool in shown.tools if type(tool).__name__ == "HoverTool"]
    (told,) = hover.formatters.values()
    assert told.args["labels"] == ["north", "east", "south"]


def test_of_labels_that_would_overlap_some_are_marked():
    names = [f"at most 6, {place}" for place in range(40)]
    known = xr.DataArray(np.arange(40.0), {"unit": names}, name="fid", attrs={"long_name": "FID"})
    drawn = hv.render(plots.map(xr.Dataset({"fid": known}), "fid"))
    marked = drawn.xaxis[0].ticker.ticks
    apart = drawn.frame_width / 40 * np.diff(marked).min()
    assert len(marked) > 2 and apart >= 7 * max(map(len, names))


def test_the_variable_is_the_score_unless_another_is_asked_for():
    ds = dataset()
    assert plots.map(ds).get(0).vdims[0].name == "fid"
    with pytest.raises(ValueError, match="variable=None: the run has no score; name one"):
        plots.map(ds.assign_attrs(score=None))
    del ds.attrs["score"]
    with pytest.raises(ValueError, match="variable=None: the run has no score; name one"):
        plots.map(ds)


def test_other_dimensions_are_refused():
    for name in ("mixture_weight", "alone"):
        with pytest.raises(ValueError, match="a map needs one or two, and at most round besides"):
            plots.map(dataset(alone=("round", [1.0, 2.0])), name)


# --- Shares of a mixture -------------------------------------------------------------------------


def test_a_mixture_has_a_bar_for_each_member():
    bars = plots.mixture(["a", "b"], [0.25, 0.75], ["b"], rows=3, title="of two")
    assert columns(bars, "name", "colour") == [("a", MUTED), ("b", BEST)]
    assert bars.dimension_values(2).tolist() == [0.25, 0.75]
    drawn = hv.render(bars)
    assert drawn.yaxis[0].major_label_overrides == {0: "a", 1: "b"}
    assert (drawn.title.text, drawn.xaxis[0].axis_label) == ("of two", "share")
    assert drawn.y_range.start > drawn.y_range.end, "the first is on top"
    assert drawn.height == hv.render(plots.mixture([], [], rows=3)).height


# --- The plots of a run --------------------------------------------------------------------------


def test_a_method_s_own_plots_are_beside_those_of_every_run():
    def sketch(ds, marked=None):
        """Draw a sketch."""
        return len(ds["fid"]), marked

    found = Plots(dataset(), {"sketch": Figure("Sketch", sketch)})
    assert dir(found) == ["events", "map", "profile", "sketch", "trace"]
    assert found.sketch(marked=3) == (2, 3)
    assert found.sketch.__doc__ == "Draw a sketch."
    assert isinstance(next(iter(found.map("fid", round=1))), hv.HeatMap)
    with pytest.raises(AttributeError, match="no plot 'sketsh'; did you mean 'sketch'"):
        found.sketsh()
