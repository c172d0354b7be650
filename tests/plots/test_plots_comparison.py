"""Plots of several runs by their content."""

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

from gandask import plots
from gandask.plots.style import COLOURS, MUTED
from gandask.results import published


def run(fid, elapsed=None, batches=None, told="", **variables):
    """Give a run of 1x2 cells by the values of its better cell; the other is 1 worse."""
    rounds = len(fid)
    unit = ("round", "row", "col")

    def both(values, more=0.0):
        return np.stack([np.array(values) + more, values], 1).reshape(rounds, 1, 2)

    made = {
        "fid": (unit, both(fid, 1.0), {"long_name": "distance", "units": "px", "better": "lower"}),
        "inception_score": (
            unit,
            both(fid, 1.0),
            {"long_name": "inception score", "better": "higher"},
        ),
        "generator_learning_rate": (unit, both(fid, 1.0), {"long_name": "learning rate"}),
        "elapsed": (unit, both(elapsed or range(rounds), -0.5)),
        "seconds": (
            ("round", "routine"),
            np.ones((rounds, 2)),
            {"long_name": "time", "units": "s"},
        ),
    }
    if batches is not None:
        made["batches"] = (unit, both(batches), {"long_name": "steps", "units": "batches"})
    coords = {"round": range(1, rounds + 1), "row": [0], "col": [0, 1], "routine": ["a", "b"]}
    return xr.Dataset(made | variables, coords, {"score": "fid", "settings": told})


def columns(element, *names):
    return list(zip(*(element.dimension_values(name).tolist() for name in names), strict=True))


def lines(overlay):
    return {e.label: columns(e, 0, 1) for e in overlay if type(e) in (hv.Curve, hv.Scatter)}


def bands(overlay):
    return [columns(element, 0, 1, 2) for element in overlay if isinstance(element, hv.Area)]


# --- Quality --------------------------------------------------------------------------------------


def test_a_line_is_the_mean_of_the_seeds_best_units_and_a_band_their_spread():
    drawn = plots.compare({"one": [run([8, 6]), run([4, 0])], "other": [run([3, 2])]})
    several = "one: mean and range of 2 seeds"
    assert lines(drawn) == {several: [(1, 6), (2, 3)], "other": [(1, 3), (2, 2)]}
    assert bands(drawn) == [[(1, 4, 8), (2, 0, 6)]], "a single run has no range"
    figure = hv.render(drawn)
    assert figure.yaxis[0].axis_label == "best distance (px)"
    assert figure.xaxis[0].axis_label == "round"
    assert [item.label.value for item in figure.legend[0].items] == [several, "other"]
    colours = [renderer.glyph.line_color for renderer in figure.renderers[1:]]
    assert colours == COLOURS[:2]


def test_of_very_many_lines_the_best_have_names():
    many = {f"run-{number}": [run([90, 60 - number])] for number in range(30)}
    figure = hv.render(plots.compare(many))
    names = [item.label.value for item in figure.legend[0].items]
    assert names == [f"run-{number}" for number in range(18, 30)]
    assert figure.title.text == "the best 12 of 30"
    assert len(figure.renderers) == 30, "the others are drawn, too"
    undirected = hv.render(plots.compare(many, "generator_learning_rate"))
    assert undirected.title.text == "the first 12 of 30"
    few = {label: many[label] for label in [*many][:24]}
    assert len(hv.render(plots.compare(few)).legend[0].items) == 24
    seeds = {label: [run([90, 9]), run([80, 8])] for label in few}
    assert len(hv.render(plots.compare(seeds)).legend[0].items) == 24, "bands do not count"


def test_the_best_unit_is_that_of_the_variables_direction():
    one = {"one": [run([3, 2])]}
    assert lines(plots.compare(one, "inception_score"))["one"] == [(1, 4), (2, 3)]
    drawn = plots.compare(one, "generator_learning_rate")
    assert lines(drawn)["one"] == [(1, 3.5), (2, 2.5)]
    assert hv.render(drawn).yaxis[0].axis_label == "median learning rate"


def of_seed(seed, more=""):
    return f"method = 'grid'\nseed = {seed}\n{more}"


SEEDS = [[8, 6], [4, 0], [5, 1]]


@pytest.mark.parametrize("again", [[], [1], [0, 1, 1, 0]])
def test_one_seed_counts_once_however_often_it_was_run(again):
    """A run repeated, or copied, is no further evidence: neither mean nor label change."""
    seeds = [run(values, told=of_seed(i)) for i, values in enumerate(SEEDS)]
    drawn = plots.compare({"one": [*seeds, *(seeds[i].copy() for i in again)]})
    ((label, line),) = lines(drawn).items()
    assert label == "one: mean and range of 3 seeds"
    assert dict(line) == pytest.approx({1: 17 / 3, 2: 7 / 3})
    assert bands(drawn) == [[(1, 4, 8), (2, 0, 6)]]


def test_runs_of_one_seed_alone_are_no_band_and_the_longest_is_drawn():
    short, whole = run([8, 6], told=of_seed(1)), run([8, 6, 4], told=of_seed(1))
    drawn = plots.compare({"one": [short, whole, whole.copy()]})
    assert lines(drawn) == {"one": [(1, 8), (2, 6), (3, 4)]}
    assert bands(drawn) == []
    other = short.assign_attrs(fingerprint="of other data")
    assert bands(plots.compare({"one": [short, other]})), "other data make another run"


def every(overlay):
    return [columns(e, 0, 1) for e in overlay if type(e) is hv.Curve]


def test_a_run_ends_where_it_ends():
    seeds = [run([8, 4, 2], elapsed=[1, 3, 5]), run([6, 2], elapsed=[2, 4])]
    drawn = plots.compare({"one": seeds}, along="elapsed")
    # seed one is at 6, 4, 3 where both are known; seed two at 6, 4, 2
    assert every(drawn) == [[(1, 8), (2, 6)], [(4, 3), (5, 2)], [(2, 6), (3, 4), (4, 2.5)]]
    assert bands(drawn) == [[(2, 6, 6), (3, 4, 4), (4, 2, 3)]]
    figure = hv.render(drawn)
    assert figure.xaxis[0].axis_label == "wall time (s)"
    assert [item.label.value for item in figure.legend[0].items] == [
        "one: mean and range of 2 seeds"
    ]
    *thin, mean = [r.glyph.line_width for r in figure.renderers[1:]]
    assert max(thin) < mean


def test_seeds_without_a_common_part_are_lines_of_their_own():
    seeds = [run([8, 4], elapsed=[1, 2]), run([6, 2], elapsed=[3, 4])]
    drawn = plots.compare({"one": seeds}, along="elapsed")
    assert every(drawn) == [[(1, 8), (2, 4)], [(3, 6), (4, 2)], []]
    hv.render(drawn)


def test_twelve_runs_look_different_and_are_all_named():
    drawn = plots.compare({f"run-{i:02}": [run([8, 6])] for i in range(12)})
    figure = hv.render(drawn)
    looks = {(r.glyph.line_color, str(r.glyph.line_dash)) for r in figure.renderers}
    assert len(looks) == len({colour for colour, _ in looks}) == 12
    (shown,) = figure.legend
    assert len(shown.items) == 12
    assert shown.ncols < 12, "in rows: what sticks out is not seen"
    assert figure.height > 260


def test_batches_are_counted_over_all_units_and_rounds():
    drawn = plots.compare({"one": [run([8, 4, 2], batches=[10, 10, 5])]}, along="batches")
    assert lines(drawn)["one"] == [(20, 8), (40, 4), (50, 2)]
    assert hv.render(drawn).xaxis[0].axis_label.endswith("(batches)")
    sent = (("round", "unit", "term"), np.reshape([10, 0, 20, 5], (2, 1, 2)), {"units": "B"})
    drawn = plots.compare({"one": [run([8, 4], sent_bytes=sent)]}, along="sent_bytes")
    assert drawn.get(0).dimension_values(0).tolist() == [10, 35]
    assert hv.render(drawn).xaxis[0].axis_label.startswith("bytes that slots have read")
    with pytest.raises(ValueError, match="has no batches: compare along round or elapsed"):
        plots.compare({"one": [run([8, 4])]}, along="batches")


def test_rounds_that_are_not_scored_and_what_diverged_are_left_out():
    nan, inf = np.nan, np.inf
    drawn = plots.compare({"one": [run([9, nan, 3]), run([inf, 4, 5])]})
    # of the first, round 2 lies between; of the second, round 1 is not known
    assert every(drawn) == [[(1, 9), (2, 6)], [(2, 5), (3, 4)]]
    hv.render(drawn)


def test_long_comparisons_are_thinned(monkeypatch):
    monkeypatch.setattr("gandask.plots.selection.POINTS", 3)
    drawn = plots.compare({"one": [run([9, 8, 7, 6, 5])]})
    assert lines(drawn)["one"] == [(1, 9), (3, 7), (5, 5)]


def test_scores_over_decades_are_compared_on_a_logarithmic_axis():
    for last, scale in (
        (0.5, "LogScale"),
        (5, "LogScale"),
        (15, "LinearScale"),
        (0, "LinearScale"),
    ):
        drawn = hv.render(plots.compare({"one": [run([100, last])]}))
        assert type(drawn.y_scale).__name__ == scale


def test_a_single_round_is_a_dot():
    drawn = plots.compare({"one": [run([8])]})
    assert [type(element) for element in drawn] == [hv.Scatter]
    hv.render(drawn)


def test_nothing_to_compare_is_said():
    unscored = run([np.nan, np.nan])
    for runs in ({}, {"one": []}, {"one": [run([8]).isel(round=[])]}, {"one": [unscored]}):
        assert plots.compare(runs).data[2] == "nothing to compare yet"
    assert list(lines(plots.compare({"none": [unscored], "one": [run([8, 4])]}))) == ["one"]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="along='time': expected one of round, elapsed, batches"):
        plots.compare({}, along="time")
    with pytest.raises(ValueError, match="needs 'round'"):
        plots.compare({"one": [run([8], final_fid=(("row", "col"), [[1, 2]]))]}, "final_fid")


# --- Routines -------------------------------------------------------------------------------------


def timed(**seconds):
    ds = xr.Dataset(
        {"seconds": (("round", "routine"), [list(seconds.values())] * 2)},
        {"round": [1, 2], "routine": list(seconds)},
    )
    ds["seconds"].attrs = {"long_name": "time spent", "units": "s"}
    return ds


def test_routines_are_stacked_in_one_bar_per_run():
    bars = plots.routines({"one": timed(train=3.0, load=0.5), "two": timed(train=1.0, gather=2.0)})
    assert columns(bars, "run", "routine", "seconds") == [
        ("two", "train", 2),
        ("two", "gather", 4),
        ("two", "load", 0),
        ("one", "train", 6),
        ("one", "gather", 0),
        ("one", "load", 1),
    ]
    figure = hv.render(bars)
    assert figure.y_range.factors == ["two", "one"], "the first is on top"
    assert figure.xaxis[0].axis_label == "time spent (s)"


def test_the_shortest_routines_are_one_with_what_is_called_other():
    names = dict(zip("abcdefgh", range(8, 0, -1), strict=True)) | {"other": 100}
    bars = plots.routines({"one": timed(**{name: float(s) for name, s in names.items()})})
    told = dict(columns(bars, "routine", "seconds"))
    assert told == {"a": 16, "b": 14, "c": 12, "d": 10, "e": 8, "f": 6, "other": 2 * (2 + 1 + 100)}
    assert list(told)[-1] == "other"
    (mapper,) = hv.render(bars).select({"type": hv.plotting.bokeh.chart.CategoricalColorMapper})
    colours = dict(zip(mapper.factors, mapper.palette, strict=False))
    assert (colours["a"], colours["other"]) == (COLOURS[0], MUTED)


def test_no_timings_are_said():
    for runs in ({}, {"one": timed(train=0.0)}, {"one": timed(train=1.0).isel(round=[])}):
        assert plots.routines(runs).data[2] == "no timings yet"


# --- Speedup --------------------------------------------------------------------------------------


def table(rows):
    """Give a table as `scaling` makes it: shape, workers, speedup, efficiency."""
    names = ("shape", "workers", "speedup", "efficiency")
    made = {name: ("run", list(v)) for name, v in zip(names, zip(*rows, strict=True), strict=True)}
    made["serial_workers"] = ("run", [1] * len(rows))
    ds = xr.Dataset(made)
    ds["workers"].attrs, ds["speedup"].attrs = {"long_name": "workers"}, {"long_name": "speedup"}
    ds["efficiency"].attrs = {"long_name": "parallel efficiency", "units": "1"}
    return ds


ROWS = [
    ("10×10", 1, 1.0, 1.0),
    ("2×2", 4, 3.0, 0.75),
    ("2×2", 1, 1.0, 1.0),
    ("2×2", 4, 2.0, 0.5),
    ("2×2", 8, np.nan, np.nan),
]


def test_a_line_for_each_shape_beside_the_ideal_and_what_was_published():
    drawn = plots.speedup(table(ROWS))
    found = lines(drawn)
    assert list(found) == ["ideal", "2×2", "", "10×10", "Pérez et al. (2020)"]
    assert found["2×2"] == [(1, 1), (4, 2.5)], "the mean of several runs"
    assert found["ideal"] == [(1, 1), (17, 17)]
    assert found["Pérez et al. (2020)"] == [(5, 8.53), (10, 13.65), (17, 15.17)]
    figure = hv.render(drawn)
    assert figure.yaxis[0].axis_label == "speedup"
    assert figure.renderers[-1].glyph.fill_alpha == 0, "hollow"
    assert figure.x_range.end > 17


def test_efficiency_is_held_against_one():
    found = lines(plots.speedup(table(ROWS), efficiency=True))
    assert found["2×2"] == [(1, 1), (4, 0.625)]
    assert found["ideal"] == [(1, 1), (17, 1)]
    expected = published.execution_times()["efficiency"].values
    assert [y for _, y in found["Pérez et al. (2020)"]] == expected.tolist()


def test_no_speedup_is_said():
    for rows in (table(ROWS[-1:]), table(ROWS[:1]).isel(run=[])):
        assert plots.speedup(rows).data[2] == "no speedup yet"
        assert plots.speedup(rows, efficiency=True).data[2] == "no efficiency yet"
