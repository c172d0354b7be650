"""What is drawn of split training, by its content: bytes and seconds of exchanges, and scores."""

import json

import holoviews as hv
import numpy as np
import pytest
import xarray as xr

import gandask as gd
from gandask.methods.split import figures
from gandask.plots.style import COLOURS, MEDIAN, MUTED

SLOTS = ["judge/0", "judge/1", "server/0"]
TERMS = ["fakes", "weights"]
ROUNDS = 6
PLAIN = {"data": "ring8", "base": "small_mlp", "batch_size": 20, "score_samples": 0}
PLAIN |= {"final_samples": 100, "iterations": 8}
METHODS = {
    "bpgan": gd.BPGAN(**PLAIN),
    "md-gan": gd.BPGAN(
        discriminators=3, generators=1, share="none", fakes="fresh", swap_every=2, **PLAIN
    ),
    "alternating": gd.BPGAN(discriminators=3, generators=2, schedule="alternating", **PLAIN),
    "server": gd.DataParallel(nodes=2, **PLAIN),
    "all_reduce": gd.DataParallel(nodes=3, combine="all_reduce", **PLAIN),
}


def dataset(rounds=ROUNDS, **attributes):
    """Two judges and a server: exchange r begins at 10 r and ends at 10 r + r / 100 + 3."""
    shape = rounds, len(SLOTS)
    number = np.arange(1.0, rounds + 1)
    seconds = np.zeros((*shape, 3))
    seconds[..., 0] = 0.5  # judge
    seconds[..., 1] = 0.25  # gather
    seconds[:, 2, 2] = 1 + number / 100  # train
    sent = np.zeros((*shape, 2), "int64")
    sent[:, :2, 0], sent[:, :2, 1], sent[0] = 1000, 3000, 77
    told = {"long_name": "FID", "units": "1", "better": "lower", "role": "generator"}
    scores = np.stack([number, 10 - number], 1)
    scores[::2] = np.nan
    return xr.Dataset(
        {
            "started": (("round", "slot"), 10 * number[:, None] + [0.0, 1.0, 2.0]),
            "elapsed": (("round", "slot"), 4 * number[:, None] + [0.0, 0.0, -1.0]),
            "seconds": (("round", "slot", "routine"), seconds),
            "sent_bytes": (("round", "slot", "term"), sent),
            "fid": (("round", "generator"), scores, told),
        },
        {
            "round": np.arange(1, rounds + 1),
            "slot": SLOTS,
            "routine": ["judge", "gather", "train"],
            "term": TERMS,
            "generator": [0, 1],
        },
        {"score": "fid", **attributes},
    )


def predicted(**sizes):
    """Give the bytes of a prediction."""
    return xr.Dataset({"bytes": ("term", [*map(float, sizes.values())])}, {"term": [*sizes]})


def by_term(drawn):
    """Give for each term the bar's end, the mark, if there is one, and what is written, in kB."""
    bars, marks, written = drawn
    rows = [label for _, label in hv.render(drawn).yaxis[0].major_label_overrides.items()]
    at = {y: x for x, y in zip(marks["x1"], (marks["place"] + marks["y1"]) / 2, strict=True)}
    return {
        name: (bars["x1"][row], at.get(row), written["told"][row]) for row, name in enumerate(rows)
    }


# --- Bytes ----------------------------------------------------------------------------------------


def test_bars_are_the_median_and_marks_what_was_predicted():
    drawn = figures.bytes_by_term(dataset(), predicted(weights=6000, fakes=3000, feedback=7))
    assert drawn.get(2)["colour"].tolist() == [MEDIAN, MUTED, MEDIAN]
    assert by_term(drawn) == {
        "weights": (6.0, 6.0, "6 kB"),
        "fakes": (2.0, 3.0, "2 kB, predicted 3 kB"),
        "feedback": (0.0, 0.007, "0 B, predicted 7 B"),
    }
    early = by_term(figures.bytes_by_term(dataset(rounds=2)))
    assert early["fakes"] == (2.0, None, "2 kB"), "in the first exchange nobody has anything yet"
    drawn = figures.bytes_by_term(dataset(), predicted(weights=6001))
    assert by_term(drawn)["weights"][2] == "6,000 B, predicted 6,001 B"
    frame = hv.render(drawn)
    assert frame.xaxis[0].axis_label == "sent in an exchange (kB)"
    assert [item.label.value for item in frame.legend[0].items] == ["measured", "predicted"]
    assert frame.y_range.start > frame.y_range.end, "the first is on top"


def test_a_prediction_without_bytes_is_refused():
    with pytest.raises(ValueError, match="there is no variable 'bytes'"):
        figures.bytes_by_term(dataset(), predicted(weights=1).drop_vars("bytes"))


def test_without_a_prediction_there_are_no_marks():
    drawn = figures.bytes_by_term(dataset(settings="= no TOML"))
    assert by_term(drawn) == {"weights": (6.0, None, "6 kB"), "fakes": (2.0, None, "2 kB")}
    assert not any(legend.items for legend in hv.render(drawn).legend)


@pytest.mark.parametrize(
    "told",
    [
        None,
        7,
        "no JSON",
        "[" * 100_000,
        "[1, 2]",
        '{"weights": "6"}',
        '{"weights": true}',
        '{"weights": -1}',
        '{"weights": NaN}',
        '{"weights": 1' + 400 * "0" + "}",
        json.dumps(dict.fromkeys(map(str, range(100)), 1)),
        {"weights": 6},
    ],
    ids=range(12),
)
def test_what_a_stranger_wrote_predicts_nothing(told):
    found = by_term(figures.bytes_by_term(dataset(predicted_bytes=told)))
    assert found == {"weights": (6.0, None, "6 kB"), "fakes": (2.0, None, "2 kB")}


def test_of_an_exchange_that_is_not_there_nothing_is_drawn():
    ds = dataset()
    assert figures.bytes_by_term(ds.isel(round=[])).data[2] == "no exchange is done yet"
    assert figures.bytes_by_term(ds.isel(term=[])).data[2] == "nothing travelled"
    for rounds in (0, 1):
        for draw in (figures.schedule, figures.seconds):
            drawn = draw(ds.isel(round=slice(rounds)))
            assert drawn.data[2] == "the second exchange is not done yet"


# --- Seconds --------------------------------------------------------------------------------------


def test_the_schedule_is_that_of_an_exchange_of_median_length():
    ds = dataset()
    ds["started"][3, 1] = np.nan  # exchange 4 is under way
    ds["seconds"][0, 2, 2] = 100.0  # what is prepared counts for the first
    (bars,) = drawn = figures.schedule(ds)
    got = list(zip(*(bars[name] for name in ("time_s", "x1", "slot", "colour")), strict=True))
    # of 2, 3, 5 and 6, the lower one in the middle
    ends = pytest.approx([0.5, 1.5, 2 + 0.5 + 1.03])
    assert [end for _, end, *_ in got] == ends
    assert [(begin, *more) for begin, _, *more in got] == [
        (0.0, "judge/0", COLOURS[0]),
        (1.0, "judge/1", COLOURS[0]),
        (2.0, "server/0", COLOURS[1]),
    ]
    frame = hv.render(drawn)
    assert frame.title.text == "exchange 3; pauses are left out"
    assert frame.xaxis[0].axis_label == "since the exchange began (s)"
    assert [*frame.yaxis[0].major_label_overrides.values()] == SLOTS


def test_a_lone_role_is_named_as_its_slots_are():
    ds = dataset().rename(slot="node").assign_coords(node=[0, 1, 2])
    labels = hv.render(figures.schedule(ds)).yaxis[0].major_label_overrides
    assert [*labels.values()] == ["node/0", "node/1", "node/2"]


def test_an_exchange_is_computing_fetching_and_waiting():
    ds = dataset(rounds=5)
    drawn = figures.seconds(ds)
    assert [layer.label for layer in drawn] == ["computing", "fetching", "waiting"]
    taken = [layer["taken"].tolist() for layer in drawn]
    # exchanges take 4 s each; the server trains for 1.035 s in the median of 2 to 5
    assert taken == [
        pytest.approx([0.5, 0.5, 0.5 + 1.035]),
        pytest.approx([0.25] * 3),
        pytest.approx([3.25, 3.25, 3.75 - 0.5 - 1.035]),
    ]
    assert drawn.get(2)["x1"].tolist() == pytest.approx([4.0] * 3)
    assert hv.render(drawn).title.text == "an exchange takes 4 s"
    told = xr.Dataset({"seconds": ("term", [2.0, 1.0, 4.0])}, {"term": [*TERMS, "computing"]})
    drawn = figures.seconds(ds, told)
    assert [layer["taken"][0] for layer in drawn] == [4.0, 3.0, 0.0]
    assert hv.render(drawn).yaxis[0].major_label_overrides[0] == "predicted"


# --- Scores ---------------------------------------------------------------------------------------


def test_the_best_score_lies_over_what_it_took():
    ds = dataset()
    for draw, along, label in (
        (figures.quality_by_bytes, [0.462 + 8, 0.462 + 24, 0.462 + 40], "sent by then (kB)"),
        (figures.quality_by_seconds, [8.0, 16.0, 24.0], "since the run's start (s)"),
    ):
        curve, _ = drawn = draw(ds)
        assert curve.dimension_values(0).tolist() == pytest.approx(along)
        assert curve.dimension_values(1).tolist() == [2.0, 4.0, 4.0]
        frame = hv.render(drawn)
        assert (frame.xaxis[0].axis_label, frame.yaxis[0].axis_label) == (label, "FID")
        ds["fid"].attrs["better"] = "higher"
        assert draw(ds).get(0).dimension_values(1).tolist() == [8.0, 6.0, 6.0]
        ds["fid"].attrs["better"] = "lower"
        assert draw(ds.isel(round=[0])).data[2] == draw(ds.isel(round=[])).data[2] == "no FID yet"
        with pytest.raises(ValueError, match="there is no variable 'evil'"):
            draw(ds.assign_attrs(score="evil"))


def test_of_thousands_of_exchanges_as_many_are_drawn_as_can_be_seen():
    ds = dataset(rounds=5000)
    for draw in (figures.quality_by_bytes, figures.quality_by_seconds):
        curve, dots = draw(ds)
        assert len(curve) == len(dots) == 500
    assert len(figures.schedule(ds).get(0)) == len(figures.seconds(ds).get(0)) == len(SLOTS)


# --- Of runs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_figure_is_drawn_of_a_run_whose_bytes_are_as_predicted(name):
    method = METHODS[name]
    ds = gd.run(method, progress=False)
    seconds = dict.fromkeys((task.name for stage in method.exchange(2) for task in stage), 0.5)
    told = gd.cost(method, seconds=seconds)
    found = by_term(figures.bytes_by_term(ds, told))
    assert found == by_term(figures.bytes_by_term(ds)), "it was predicted when the run began"
    assert found
    for size, mark, written in found.values():
        assert size == pytest.approx(mark)
        assert "predicted" not in written
    assert figures.seconds(ds, told).get(0)["taken"].max() > 0
    known = method.figures()
    own = ["bytes", "schedule", "seconds", "quality_by_bytes", "quality_by_seconds"]
    assert [*known] == [*own, "modes", "mixture_modes"]
    for figure in (known[key] for key in own):  # modes are of runs scored by round
        assert set(figure.needs) <= set(ds)
        for rounds in (1, PLAIN["iterations"]):
            hv.render(figure.draw(ds.isel(round=slice(rounds))))
