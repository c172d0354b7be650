"""Events by their content: each kind in its lane and its colour, in every run."""

import ast
from pathlib import Path

import holoviews as hv
import numpy as np
import pytest
import xarray as xr
from elements import columns

import gandask
from gandask import plots
from gandask.plots.style import COLOURS
from gandask.plots.timeline import LOOKS, looks_of

TITLES = {"round": "round of the event", "kind": "kind", "slot": "where", "detail": "more"}
THREE = (
    (2, "regrouped", "cell/10", "a"),
    (1, "non_finite", "cell/9", "b"),
    (1, "regrouped", "cell/9", "c"),
)


def with_events(*rows, rounds=2):
    """Give a run with these events: round, kind, slot, detail."""
    values = zip(*rows, strict=True) if rows else [()] * 4
    made = {
        f"event_{key}": ("event", list(column), {"long_name": TITLES[key]})
        for key, column in zip(("round", "kind", "slot", "detail"), values, strict=True)
    }
    return xr.Dataset(made, {"round": range(1, rounds + 1)})


def looks(drawn):
    """Tell the colour and the marker of every kind, as they are drawn."""
    (legend,) = hv.render(drawn).legend
    glyphs = {item.label.value: item.renderers[0].glyph for item in legend.items}
    return {kind: (glyph.fill_color, glyph.marker) for kind, glyph in glyphs.items()}


def test_events_are_points_by_round_and_slot():
    drawn = plots.events(with_events(*THREE))
    assert columns(drawn, "round", "slot", "kind", "detail") == [
        (2, "cell/10", "regrouped", "a"),
        (1, "cell/9", "regrouped", "c"),
        (1, "cell/9", "non_finite", "b"),
    ]
    shown = hv.render(drawn)
    slots = shown.yaxis[0].major_label_overrides
    assert list(slots.values()) == ["cell/9", "cell/10"], "in their order"
    assert sorted(slots) == list(slots) and shown.y_range.start > shown.y_range.end, "from the top"
    assert shown.xaxis[0].axis_label == "round of the event"
    assert plots.events(with_events()).data[2] == "no events"


@pytest.mark.parametrize("beside", [(), ("moved", "checkpoint"), tuple(LOOKS)])
def test_a_kind_looks_the_same_whatever_else_there_is(beside):
    rows = [(1, kind, "", "") for kind in ("changed", "regrouped", *beside)]
    found = looks(plots.events(with_events(*rows)))
    assert found["changed"] == (LOOKS["changed"].colour, "diamond")
    assert found["regrouped"] == (looks_of(["regrouped"])["regrouped"].colour, "triangle")
    assert len(set(found.values())) == len(found), "and no two are alike"


def test_kinds_of_a_methods_own_are_told_apart():
    names = [f"kind {i}" for i in range(len(COLOURS))]
    assert len({look.colour for look in looks_of(names).values()}) == len(names)
    assert len(looks_of([*names, "one more"])) == len(names) + 1


def test_every_kind_that_gandask_notes_has_a_look_of_its_own():
    """Those of the engine and of what carries it out: they are said in calls that note an event."""
    said = set()
    root = Path(gandask.__file__).parent
    for folder, path in ((f, path) for f in NOTING for path in root.glob(f"{f}/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in NOTING[folder]:
                first = node.args[0]
                said |= {first.value} if isinstance(first, ast.Constant) else set()
    assert {"moved", "changed", "checkpoint", "worker left", "back"} <= said
    assert said <= set(LOOKS)


NOTING = {"engine": ("_tell",), "execution": ("_note", "_event", "_events")}
"""By folder, what notes an event whose kind is its first argument."""


def test_no_dot_covers_another():
    rows = [
        *((5, kind, "", "") for kind in ("checkpoint", "changed", "paused", "resumed", "changed")),
        *((5, "recomputed", "cell/0", task) for task in "abc"),
        *((round, "checkpoint", "", "") for round in range(1, 10)),
    ]
    drawn = plots.events(with_events(*rows, rounds=9))
    places = columns(drawn, "round", "lane")
    assert len(places) == len(rows)
    assert len({place for place in places if place != (5, places[-1][1])}) >= len(rows) - 2
    lanes = {(kind, lane) for kind, lane in columns(drawn, "kind", "lane")}
    assert len({lane for _, lane in lanes}) == len(lanes), "no two kinds share a lane"
    heights = sorted(lane for _, lane in lanes)
    assert np.diff(heights).min() >= 1


def test_steering_is_on_top_and_larger():
    rows = [(1, kind, "", "") for kind in ("checkpoint", "moved", "regrouped", "changed")]
    drawn = plots.events(with_events(*rows))
    (lane,) = [lane for kind, lane in columns(drawn, "kind", "lane") if kind == "changed"]
    assert lane == min(row[0] for row in columns(drawn, "lane"))
    sizes = {layer.label: hv.Store.lookup_options("bokeh", layer, "style").kwargs["size"]
             for layer in drawn}  # fmt: skip
    assert all(sizes["changed"] > size for kind, size in sizes.items() if kind != "changed")


def test_events_can_be_chosen():
    ds = with_events(*THREE)
    assert columns(plots.events(ds, kinds=["non_finite"]), "round", "kind") == [(1, "non_finite")]
    assert len(columns(plots.events(ds, round=1), "round")) == 2
    assert plots.events(ds, kinds=["hedged"]).data[2] == "no such events"
    for kinds in (None, ["regrouped"]):
        shown = hv.render(plots.events(ds, kinds))
        assert (shown.x_range.start, shown.x_range.end) == (0, 3), "all rounds"


def test_an_event_of_no_slot_is_of_all():
    drawn = plots.events(with_events((1, "regrouped", "", "a"), (2, "checkpoint", "cell/0", "b")))
    assert sorted(columns(drawn, "round", "slot")) == [(1, "all"), (2, "cell/0")]
    assert list(hv.render(drawn).yaxis[0].major_label_overrides.values()) == ["all", "cell/0"]


def test_many_slots_or_events_are_counted_by_kind(monkeypatch):
    slots = with_events(*((1 + i % 2, "hedged", f"cell/{i}", "") for i in range(31)))
    assert columns(plots.events(slots), "round", "kind", "events", "rounds") == [
        (2, "hedged", 15, "2 to 2"),
        (1, "hedged", 16, "1 to 1"),
    ]
    hv.render(plots.events(slots))
    monkeypatch.setattr("gandask.plots.timeline.EVENTS", 4)
    monkeypatch.setattr("gandask.plots.timeline.SPANS", 2)
    kinds = {"a": "moved", "b": "changed"}
    rows = zip([1, 1, 2, 3, 4, 4], "baabaa", strict=True)
    points = plots.events(
        with_events(*((round, kinds[kind], "cell/0", "") for round, kind in rows))
    )
    assert columns(points, "round", "kind", "events", "rounds") == [
        (3.5, "moved", 2, "3 to 4"),
        (1.5, "moved", 2, "1 to 2"),
        (3.5, "changed", 1, "3 to 4"),
        (1.5, "changed", 1, "1 to 2"),
    ]
    large, small = points.dimension_values("size")[1:3]
    assert large == pytest.approx(small * 2**0.5), "the area tells the number"
    shown = hv.render(points)
    assert shown.y_range.factors == ["moved", "changed"], "what was asked for is on top"
    mapper = shown.renderers[0].glyph.fill_color.transform
    told = dict(zip(mapper.factors, mapper.palette, strict=False))
    assert told == {kind: LOOKS[kind].colour for kind in ("moved", "changed")}
