"""Views: one figure whose contents change, and a new one where that cannot be."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from bokeh.document import Document
from bokeh.document.models import DocumentModelManager
from bokeh.models import Div, Span
from bokeh.plotting import figure
from panel.io.state import set_curdoc

from gandask import plots
from gandask.pages import pace, units
from gandask.pages.panes import Lines, PlotPane


def dataset(rounds, scale=1.0):
    values = scale * np.arange(1.0, 2 * rounds + 1).reshape(rounds, 1, 2)
    fid = (("round", "row", "col"), values, {"long_name": "distance", "units": "1"})
    coords = {"round": np.arange(1, rounds + 1), "row": [0], "col": [0, 1]}
    return xr.Dataset({"fid": fid}, coords, {"score": "fid"})


def figure_of(root):
    (found,) = root.select({"type": figure})
    return found


@pytest.fixture
def view():
    return PlotPane()


def test_what_has_the_same_form_goes_into_the_same_figure(view):
    view.show(plots.trace(dataset(3)))
    drawn = figure_of(view.pane.get_root())
    before = drawn.x_range.end, drawn.y_range.end
    view.show(plots.trace(dataset(4)))
    assert drawn.x_range.end > before[0], "the axes follow"
    assert drawn.y_range.end > before[1]


def test_another_unit_is_another_label_in_the_same_figure(view):
    ds = dataset(3)
    view.show(plots.trace(ds, marked={"row": 0, "col": 1}))
    drawn = view.pane.object
    root = view.pane.get_root()
    (legend,) = figure_of(root).legend

    def told():
        labels = [getattr(item.label, "value", None) for item in legend.items]
        return [label for label in labels if label]  # older versions name a field besides

    assert told() == ["median", "row 0, col 1"]
    view.show(plots.trace(ds, marked={"row": 0, "col": 0}))
    assert view.pane.object is drawn
    assert told() == ["median", "row 0, col 0"]
    assert [layer.label for layer in view.element][1:] == told(), "what is taken away has them"


def test_layers_of_one_label_are_one_entry_of_the_legend(view):
    axes = "round", "share"
    lines = [hv.Curve([(0, i), (1, i)], *axes, label=name) for i, name in enumerate("aab")]
    view.show(hv.Overlay(lines))
    (legend,) = figure_of(view.pane.get_root()).legend
    told = [(item.label.value, len(item.renderers)) for item in legend.items]
    assert told == [("a", 2), ("b", 1)]
    before = view.pane.object
    view.show(hv.Overlay([lines[0], lines[2], lines[1].relabel("c")]))
    assert view.pane.object is not before, "others are told together"


def test_a_much_longer_label_takes_a_new_figure(view):
    """The legend's columns are as wide as its longest label was."""
    ds = dataset(3)
    view.show(plots.trace(ds, marked={"row": 0, "col": 1}))
    before = view.pane.object
    far = ds.assign_coords(row=[1000], col=[1000, 1001])
    view.show(plots.trace(far, marked={"row": 1000, "col": 1001}))
    assert view.pane.object is not before


def test_an_axis_of_another_kind_takes_a_new_figure(view):
    view.show(plots.trace(dataset(3)))
    first = view.pane.object
    decades = dataset(3)
    decades["fid"][-1] *= 1e4
    view.show(plots.trace(decades))
    assert view.pane.object is not first
    assert type(figure_of(view.pane.get_root()).y_scale).__name__ == "LogScale"


def test_colours_of_another_kind_take_a_new_figure(view):
    view.show(plots.map(dataset(3)))
    first = view.pane.object
    view.show(plots.map(dataset(4)))
    assert view.pane.object is first
    decades = dataset(3)
    decades["fid"][-1] *= 1e4
    view.show(plots.map(decades))
    assert view.pane.object is not first


@pytest.mark.parametrize("draw", [plots.map, plots.trace])
def test_bokeh_finds_nothing_to_warn_of(draw, caplog):
    pane = PlotPane(sizing_mode=None)
    pane.show(draw(dataset(3)))
    document = Document()
    document.add_root(pane.pane.get_root())
    document.validate()
    pane.show(draw(dataset(4)))
    document.validate()
    assert [record for record in caplog.records if "W-1" in record.getMessage()] == []


def test_a_line_stays_where_the_cursor_is(view):
    lines = Lines()
    view.show(lines.through(plots.trace(dataset(3)), "trace"))
    drawn = figure_of(view.pane.get_root())
    view.show(lines.through(plots.trace(dataset(4)), "trace"))
    lines.move(4)
    spans = [model for model in drawn.center if isinstance(model, Span)]
    assert [span.location for span in spans] == [4]
    assert [span.level for span in spans] == ["overlay"], "the rest is not painted with it"


def labels(*inks):
    rows = [(at, 0, "a", ink) for at, ink in enumerate(inks)]
    return hv.Labels(rows, ["x", "y"], ["text", "ink"]).opts(text_color="ink")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("black", "white"), ("white", "black"), True),
        (("black", "black"), ("white",), True),
        (("black", "white"), ("black", "black"), False),
        (("black", "white"), ("black", "white", "white"), False),
        (("black", "white"), (), False),
    ],
)
def test_labels_whose_colours_come_or_go_take_a_new_figure(view, one, other, same):
    view.show(labels(*one))
    first = view.pane.object
    view.show(labels(*other))
    assert (view.pane.object is first) == same


def test_the_cursor_is_where_its_round_ends_on_an_axis():
    lines = Lines()
    lines.move(2)
    hv.render(lines.through(hv.Curve([(0, 0), (90, 1)], "iteration"), "other", {1: 30, 2: 90}))
    hv.render(lines.through(hv.Curve([(1, 0), (2, 1)], "round"), "rounds"))
    assert [span.location for span in lines.spans.values()] == [90, 2]
    lines.move(1)
    assert [span.location for span in lines.spans.values()] == [30, 1]
    # rounds that are new since then
    lines.through(hv.Curve([(0, 0), (95, 1)], "iteration"), "other", {1: 35, 2: 95})
    assert lines.spans["other"].location == 35


def test_an_axis_of_iterations_has_the_end_of_each_round():
    ends = (("round", "group"), [[10, 12], [20, 24]])
    ds = xr.Dataset({"last_iteration": ends}, {"round": [1, 2]})
    assert units.ends(ds, "last_iteration") == {1: 12, 2: 24}
    assert units.ends(ds, "round") == {}


def test_figures_are_drawn_without_webgl(view):
    view.show(plots.trace(dataset(3)))
    assert figure_of(view.pane.get_root()).output_backend == "canvas"


def test_a_document_is_looked_through_once_for_all_figures_that_change(view, monkeypatch):
    document, counted = Document(), []
    for _ in range(3):
        other = PlotPane()
        other.show(plots.map(dataset(3), round=1))
        document.add_root(other.pane.get_root(document))
        other.show(plots.map(dataset(3), round=2))  # what else it makes, it makes at first
        counted.append(other)
    looked = []
    recompute = DocumentModelManager.recompute
    monkeypatch.setattr(
        DocumentModelManager, "recompute", lambda self: (looked.append(1), recompute(self))
    )
    with set_curdoc(document), pace.at_once():
        for other in counted:
            other.show(plots.map(dataset(3), round=3))
    assert len(looked) == 1


def fail(document):
    """Fail as drawings do: within what HoloViews and Panel freeze."""
    with document.models.freeze():
        raise ValueError("as asked")


def test_an_error_leaves_no_document_frozen():
    document = Document()
    with pytest.raises(ValueError, match="as asked"), set_curdoc(document), pace.at_once():
        fail(document)
    root = Div()
    document.add_root(root)
    assert document.models[root.id] is root


def test_without_a_browser_what_is_drawn_soon_is_drawn_at_once():
    drawn = []
    pace.soon(lambda: drawn.append(1), wait=1000)
    assert drawn == [1]


def test_each_drawing_makes_the_rest_longer():
    mine = pace.Pace()
    assert mine.rested
    for _ in range(2):
        before = mine.rests
        with mine.drawing(again=True):
            sum(range(200_000))
        assert mine.rests > before
    assert not mine.rested
    with mine.drawing(again=False):
        pass
    assert mine not in pace.Pace.following
