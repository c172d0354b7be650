"""The Dataset: what it holds, how it is collected, and what is read off it."""

import functools
import importlib.metadata
import json

import dask
import numpy as np
import pytest
import xarray as xr

import gandask as gd
from gandask import config, results
from gandask.core import Event, Layout, Record, Report, Role, Variable
from gandask.methods.grid.view import GridView
from gandask.results import Results, storage
from gandask.results.tables import best_of_rows

UNIT = ("round", "row", "col")
DIMS = {
    "seconds": (*UNIT, "routine"),
    "sent_bytes": (*UNIT, "term"),
    "mixture_weight": (*UNIT, "neighbour"),
    "neighbour_cell": (*UNIT, "neighbour"),
    "final_mixture_weight": ("row", "col", "neighbour"),
    **{f"event_{key}": ("event",) for key in ("round", "kind", "slot", "detail", "machine")},
    **{f"final_{name}": ("row", "col") for name in gd.METRICS},
    **{f"generator_{name}": UNIT for name in gd.METRICS},
    **dict.fromkeys(gd.METRICS, UNIT),
    "mode_share": (*UNIT, "class"),
    **{
        f"{kind}_{name}": UNIT
        for kind in ("generator", "discriminator")
        for name in ("fitness", "training_loss", "learning_rate", "parent", "replaced")
    },
    **dict.fromkeys(("batches", "loss", "worker", "started", "elapsed", "gathered"), UNIT),
}
TIMINGS = {"worker", "started", "elapsed", "gathered", "seconds", "routine"}


def tiny(**changes):
    given = {"data": "ring8", "network": "small_mlp", "shape": (1, 2), "rounds": 2}
    given |= {"batch_size": 5000, "fitness_samples": 100, "score_samples": 100}
    return gd.Grid(**given | {"final_samples": 200} | changes)


@pytest.fixture(scope="module")
def dataset(cache):
    return gd.run(tiny())


# ---- the Dataset of a run


def test_every_variable_says_what_it_is(dataset):
    for name, variable in dataset.variables.items():
        assert len(variable.attrs["long_name"]) >= 3, name
        assert isinstance(variable.attrs["units"], str), name
    assert len({variable.attrs["long_name"] for variable in dataset.data_vars.values()}) == len(
        dataset.data_vars
    )


def test_dimensions_are_those_documented(dataset):
    assert {name: array.dims for name, array in dataset.data_vars.items()} == DIMS
    assert set(dataset.coords) == {*UNIT, "neighbour", "class", "routine", "term", "event"}
    assert dataset["round"].values.tolist() == [1, 2]
    assert dataset["row"].values.tolist() == [0]
    assert dataset["col"].values.tolist() == [0, 1]


def test_types_are_plain(dataset):
    # NaN stands for what is missing in float64 alone, and no object needs pickling
    kinds = {name: array.dtype.kind for name, array in dataset.variables.items()}
    assert {name for name, kind in kinds.items() if kind not in "fibU"} == set()
    assert {name for name, kind in kinds.items() if kind == "b"} == {
        "generator_replaced",
        "discriminator_replaced",
        "event_machine",
    }
    for name in ("fid", "final_fid", "elapsed", "started", "seconds"):
        assert dataset[name].notnull().all()


def test_attributes_tell_how_to_repeat_it(dataset):
    attributes = dataset.attrs
    assert (attributes["method"], attributes["seed"]) == ("grid", 1)
    assert config.from_toml(attributes["settings"], gd.METHODS) == tiny()
    assert attributes["gandask_version"] == gd.__version__
    assert attributes["numpy_version"] == np.__version__
    assert attributes["torch_version"].startswith("2.")
    assert attributes["sample_shape"] == [2]
    assert attributes["classes"] == 8
    assert attributes["score"] == "fid"


def test_versions_are_told_of_a_checkout_that_nobody_installed(monkeypatch):
    version = importlib.metadata.version

    def of_others(name):
        if name == "gandask":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", of_others)
    assert results.versions()["gandask_version"] == gd.__version__


def test_what_has_no_toml_form_is_described():
    def mine(view):
        return {}

    text = results.attributes(tiny(neighbourhood=mine), {})["settings"]
    assert "<function" in text


def test_without_timings_drops_the_measurements_alone(dataset):
    dropped = gd.without_timings(dataset)
    assert set(dataset.variables) - set(dropped.variables) == TIMINGS
    assert set(dataset.dims) - set(dropped.dims) == {"routine"}
    xr.testing.assert_identical(dropped, dataset[list(dropped)])
    xr.testing.assert_identical(gd.without_timings(dropped), dropped)


def test_what_is_not_finite_is_an_event_and_the_run_goes_on(monkeypatch):
    loss = gd.Loss(lambda fake: fake.sum() * np.nan, lambda real, fake: fake.sum() * np.nan)
    monkeypatch.setitem(gd.LOSSES, "broken", loss)
    dataset = gd.run(tiny(loss="broken"))
    assert dataset["event_kind"].values.tolist() == ["non_finite"] * 4
    assert dataset["event_round"].values.tolist() == [1, 1, 2, 2]
    assert dataset["event_slot"].values.tolist() == ["cell/0", "cell/1"] * 2
    assert "discarded" in str(dataset["event_detail"].values[0])
    assert dataset["generator_training_loss"].isnull().all()
    assert not dataset["generator_replaced"].any()
    assert np.isfinite(dataset["final_fid"]).all(), "the first generators are still there"


# ---- collecting reports and records

ROUNDS = 40
of_slot = functools.partial(Variable, role="slot")
LAYOUT = Layout(
    coords={"place": ["left", "right"], "axis": range(3)},
    roles={"slot": Role(("place",), ("slot/a", "slot/b"))},
    variables={
        "height": of_slot("height", "m"),
        "vector": of_slot("vector", dims=("axis",)),
        "count": of_slot("count", dtype="int64"),
        "name": of_slot("name", "", dtype="str"),
        "done": of_slot("done", dtype="bool"),
        "last": of_slot("last", by_round=False),
    },
)


def view(*records, events=()):
    return GridView((), tuple(records), tuple(events))


def one_round(collected, number):
    reports = [
        Report(slot, number, "train", {}, {"train": 2.0}, 100.0 + number, f"worker {slot}", 5)
        for slot in LAYOUT.slots
    ]
    values = {"height": float(number), "vector": [1, 2, number], "count": number, "name": "x"}
    collected.add(view(*(Record(s, number, values) for s in LAYOUT.slots)), reports, 10.0 * number)


def test_reports_add_up_by_slot_and_round():
    collected = Results(LAYOUT, 3)
    prepared = Report("slot/a", 0, "task", {}, {"make": 1.0}, 50.0, "w0", 3)
    fitness = Report("slot/a", 1, "task", {}, {"fitness": 2.0, "gather": 0.5}, 60.0, "w0", 4)
    trained = Report("slot/a", 1, "task", {}, {"train": 8.0, "gather": 0.25}, 70.0, "w1", 6)
    other = Report("slot/b", 1, "task", {}, {"train": 9.0}, 65.0, "w2")
    beyond = Report("slot/a", 4, "task", {}, {"score": 99.0}, 1.0, "w9", 99)
    elsewhere = Report("nowhere", 1, "task", {}, {"train": 99.0}, 1.0, "w9", 99)
    collected.add(view(), [prepared, fitness], 1.0)
    collected.add(view(Record("slot/a", 1, {"height": 1.5})), [trained], 2.0)
    collected.add(view(Record("slot/b", 1, {"height": 2.5})), [other, beyond, elsewhere], 3.0)
    made = collected.dataset({"a": 1})
    assert made.sizes == {"round": 1, "place": 2, "axis": 3, "routine": 4, "term": 0, "event": 0}
    assert made["routine"].values.tolist() == ["fitness", "gather", "make", "train"]
    assert made["seconds"].values.tolist() == [[[2.0, 0.75, 1.0, 8.0], [0.0, 0.0, 0.0, 9.0]]]
    assert made["worker"].values.tolist() == [["w1", "w2"]]
    assert made["started"].values.tolist() == [[50.0, 65.0]]
    assert made["elapsed"].values.tolist() == [[2.0, 3.0]]
    assert made["gathered"].values.tolist() == [[13, 0]]
    assert made["height"].values.tolist() == [[1.5, 2.5]]
    assert made["height"].attrs == {"long_name": "height", "units": "m", "role": "slot"}
    assert made.attrs == {"a": 1}


def test_records_may_come_out_of_step():
    collected = Results(LAYOUT, 3)
    ahead = [Record("slot/a", 1, {"count": 1, "name": "first"}), Record("slot/a", 2, {"count": 2})]
    collected.add(view(*ahead, Record("slot/b", 1, {"vector": [1, 2, 3]})), [], 1.0)
    collected.add(view(Record("slot/b", 3, {"last": 4.5, "done": True})), [], 1.0)
    made = collected.dataset({})
    assert made["round"].values.tolist() == [1, 2, 3]
    assert made["count"].values.tolist() == [[1, -1], [2, -1], [-1, -1]]
    assert made["name"].values.tolist() == [["first", ""], ["", ""], ["", ""]]
    assert made["vector"].sel(round=1, place="right").values.tolist() == [1, 2, 3]
    assert made["vector"].isnull().sum() == 15
    np.testing.assert_array_equal(made["last"], [np.nan, 4.5])
    assert made["done"].values.tolist() == [[False, False], [False, False], [False, True]]


def test_events_are_listed_in_order():
    collected = Results(LAYOUT, 3)
    collected.add(view(events=[Event(1, "lost", "slot/b", "a long story")]), [], 1.0)
    collected.add(view(Record("slot/a", 1, {}), events=[Event(2, "found", "slot/a")]), [], 2.0)
    made = collected.dataset({})
    assert made["event_round"].values.tolist() == [1, 2]
    assert made["event_kind"].values.tolist() == ["lost", "found"]
    assert made["event_slot"].values.tolist() == ["slot/b", "slot/a"]
    assert made["event_detail"].values.tolist() == ["a long story", ""]
    assert made["event_machine"].values.tolist() == [False, False]


def test_what_the_machine_did_is_listed_too_and_left_out_with_the_timings():
    def collected(*machine):
        made = Results(LAYOUT, 3)
        made.events += machine
        made.add(view(events=[Event(2, "lost", "slot/b", "a story")]), [], 1.0)
        made.add(view(Record("slot/a", 1, {}), events=[Event(1, "found", "slot/a")]), [], 2.0)
        return made.dataset({})

    moved = Event(1, "moved beyond words", "slot/number/nine", "a long way", machine=True)
    saved = Event(2, "checkpoint", "", "round-000002 in 0.1 s", machine=True)
    made = collected(moved, saved)
    assert made["event_kind"].values.tolist() == [
        "moved beyond words",
        "found",
        "checkpoint",
        "lost",
    ]
    assert made["event_machine"].values.tolist() == [True, False, True, False]
    kept = gd.without_timings(made)
    assert kept["event_kind"].values.tolist() == ["found", "lost"]
    assert kept["event_detail"].values.tolist() == ["", "a story"]
    # not even the width of the strings tells what the machine did
    xr.testing.assert_identical(kept, gd.without_timings(collected()))
    assert kept["event_kind"].dtype == gd.without_timings(collected())["event_kind"].dtype == "U5"
    assert kept["event_kind"].attrs == made["event_kind"].attrs


def test_a_run_without_a_round_has_a_dataset():
    made = Results(LAYOUT, 3).dataset({})
    assert made.sizes == {"round": 0, "place": 2, "axis": 3, "routine": 0, "term": 0, "event": 0}
    assert made["event_kind"].dtype.kind == "U"
    assert gd.profile(made).size == 0
    assert results.best(made) is None


def test_memory_does_not_grow_with_the_rounds_done():
    collected = Results(LAYOUT, ROUNDS)

    def held():
        every = [*collected.arrays.items(), *collected.routines.items()]
        return {name: (id(array), array.nbytes) for name, array in every}

    one_round(collected, 1)
    before = held()
    for number in range(2, ROUNDS + 1):
        one_round(collected, number)
    assert held() == before
    assert collected.events == []
    made = collected.dataset({})
    assert made["height"].values[:, 0].tolist() == [*range(1, ROUNDS + 1)]
    assert made["elapsed"].values[-1].tolist() == [400.0, 400.0]


def test_a_dataset_made_early_does_not_change():
    collected = Results(LAYOUT, ROUNDS)
    one_round(collected, 1)
    early = collected.dataset({})
    kept = early.copy(deep=True)
    collected.add(view(Record("slot/a", 1, {"height": 77.0, "last": 1.0})), [], 1.0)
    one_round(collected, 2)
    xr.testing.assert_identical(early, kept)


def test_strings_get_the_width_they_need():
    texts = np.array([["a", "longest"], ["", "ü"]], np.dtypes.StringDType())
    assert results.fixed(texts).dtype == "U7"
    assert results.fixed(texts).tolist() == texts.tolist()
    assert results.fixed(texts[:0]).dtype == "U1"


# ---- what is read off it


def handmade(workers, elapsed, **seconds):
    """Make a run of two rounds and two cells: each argument is (round, col)."""
    routines = sorted(seconds)
    stacked = np.stack([np.array(seconds[name], float) for name in routines], -1)
    return xr.Dataset(
        {
            "worker": (UNIT, np.array(workers)[:, None]),
            "elapsed": (UNIT, np.array(elapsed, float)[:, None]),
            "seconds": ((*UNIT, "routine"), stacked[:, None], {"units": "s"}),
        },
        {"routine": routines},
    )


SERIAL = handmade(
    [["client", "client"]] * 2,
    [[9, 10], [19, 20]],
    train=[[3, 5], [3, 5]],
    gather=[[1, 1], [0, 0]],
)
# in its second round, the right cell has moved to the left one's worker
PARALLEL = handmade(
    [["a", "b"], ["a", "a"]],
    [[5, 6], [12.5, 12]],
    train=[[3, 5], [3, 4]],
    gather=[[0.5, 2], [0.5, 0]],
    score=[[1, 1], [0.5, 0]],
)


def test_profile_sums_each_routine():
    spent = gd.profile(PARALLEL)
    assert spent.dims == ("routine",)
    assert spent["routine"].values.tolist() == ["train", "gather", "score"]
    assert spent.values.tolist() == [15.0, 3.0, 2.5]
    assert spent.attrs["units"] == "s"


def test_speedup_of_known_runs():
    made = gd.speedup(SERIAL, PARALLEL)
    assert made["run"].values.tolist() == ["serial", "parallel"]
    assert made["wall"].values.tolist() == [20.0, 12.5]
    assert made["workers"].values.tolist() == [1, 2]
    assert float(made["speedup"]) == 1.6
    assert float(made["efficiency"]) == 0.8
    # the most that one worker spent: a trained for 3 + 3 + 4 seconds, b for 5
    train, gather, score = (made["seconds"].sel(routine=n) for n in ("train", "gather", "score"))
    assert train.values.tolist() == [16.0, 10.0]
    assert gather.values.tolist() == [2.0, 2.0]
    np.testing.assert_array_equal(score, [np.nan, 1.5])
    assert made["routine_speedup"].sel(routine=["train", "gather"]).values.tolist() == [1.6, 1.0]
    assert made["wall"].attrs["units"] == "s"


def test_who_performed_nothing_is_no_worker():
    unfinished = PARALLEL.copy(deep=True)
    unfinished["worker"] = unfinished["worker"].astype("<U8")
    unfinished["worker"].values.flat[0] = ""
    assert gd.speedup(SERIAL, unfinished)["workers"].values.tolist() == [1, 2]


def test_speedup_and_profile_of_a_real_run(dataset):
    made = gd.speedup(dataset, dataset)
    assert float(made["speedup"]) == float(made["efficiency"]) == 1
    assert float(made["wall"][0]) == dataset["elapsed"].values.max()
    np.testing.assert_allclose(gd.profile(dataset).sum(), dataset["seconds"].values.sum())
    assert {"gather", "fitness", "train", "replace"} <= set(gd.profile(dataset)["routine"].values)


def scored(score, rounds=None, **finals):
    """Make a run of 2x2 cells, with final scores and perhaps those of rounds."""
    every = {name: np.zeros((2, 2)) for name in gd.METRICS} | finals
    made = {}
    for name, values in every.items():
        told = {"better": gd.METRICS[name].direction, "long_name": name}
        by_round = np.full((1, 2, 2), np.nan) if rounds is None else np.array(rounds)
        made[name] = (UNIT, by_round, told)
        made[f"final_{name}"] = (UNIT[1:], values, told | {"final_of": name})
    coords = {"round": range(1, len(by_round) + 1), "row": [0, 1], "col": [0, 1]}
    return xr.Dataset(made, coords, {"score": score} if score else {})


@pytest.mark.parametrize(("score", "place"), [("fid", (1, 0)), ("tvd", (0, 1)), ("modes", (1, 1))])
def test_best_follows_the_direction_of_the_score(score, place):
    fid = np.array([[9.0, np.nan], [0.5, np.inf]])
    tvd = np.array([[0.9, 0.1], [0.2, 0.3]])
    modes = np.array([[1.0, np.nan], [2.0, 8.0]])
    final = results.best(scored(score, fid=fid, tvd=tvd, modes=modes))
    assert results.place(final) == dict(zip(("row", "col"), place, strict=True))
    np.testing.assert_array_equal(final["final_fid"], fid[place])
    assert set(final.data_vars) == {f"final_{name}" for name in gd.METRICS}


def test_only_points_are_of_high_quality():
    """Every sample of an image would count as one: it has no mode to be near."""
    scores = np.array([[9.0, 1.0], [2.0, 3.0]])
    points, images = (
        results.best(scored("fid", fid=scores).assign_attrs(sample_shape=shape))
        for shape in ([2], [1, 8, 8])
    )
    assert "final_high_quality" in points
    assert set(points) - set(images) == {"final_high_quality"}
    mixed = xr.Dataset(
        {
            "fid": (("round", "group"), [[1.0, 2.0]]),
            "mixture_high_quality": ("round", [1.0]),
            "final_mixture_high_quality": ((), 1.0, {"final_of": "mixture_high_quality"}),
        },
        attrs={"score": "fid", "sample_shape": [2]},
    )
    assert [*results.of_all(mixed)] == ["final_mixture_high_quality"]
    assert [*results.of_all(mixed.assign_attrs(sample_shape=[1, 8, 8]))] == []


def test_a_run_without_a_score_has_no_best():
    assert results.best(scored(None)) is None
    assert results.outcome(scored(None)) is None


def test_the_best_of_what_diverged_is_the_first_and_never_infinite_beside_what_did_not():
    told = {"better": "higher"}
    values = xr.DataArray([np.inf, 1.0, 2.0], {"place": [5, 6, 7]}, ("place",), attrs=told)
    assert results.place_of_best(values) == {"place": 7}
    assert results.place_of_best(values * np.inf) == {"place": 5}
    assert results.place_of_best(values * np.nan) is None
    assert results.place_of_best(values.assign_attrs(better="")) is None
    assert results.place_of_best(values.sel(place=6)) == {}
    assert results.place_of_best(values.isel(place=[])) is None


def test_the_outcome_is_final_or_of_the_last_round_scored():
    rounds = [[[3.0, 4.0], [5.0, 6.0]], [[9.0, 8.0], [np.nan, 7.0]], np.full((2, 2), np.nan)]
    done = results.outcome(scored("fid", rounds, fid=np.array([[2.0, 1.0], [4.0, 3.0]])))
    assert (float(done["fid"]), results.place(done)) == (1.0, {"row": 0, "col": 1})
    assert "round" not in done.coords
    under_way = scored("fid", rounds, **{name: np.full((2, 2), np.nan) for name in gd.METRICS})
    so_far = results.outcome(under_way)
    assert (float(so_far["fid"]), results.place(so_far)) == (7.0, {"row": 1, "col": 1})
    assert int(so_far["round"]) == 2
    assert set(so_far.data_vars) == set(gd.METRICS)


def test_best_of_a_run_by_modes(cache):
    dataset = gd.run(tiny(score="modes", learning_rate=0.1, batch_size=500))
    final = results.best(dataset)
    assert dataset.attrs["score"] == "modes"
    assert float(final["final_modes"]) == dataset["final_modes"].values.max()


def test_a_dataset_of_an_older_gandask_is_labelled_as_one_of_today(dataset):
    layout = tiny().layout()
    older = dataset[sorted(dataset.data_vars)]
    for variable in older.variables.values():
        variable.attrs = {k: v for k, v in variable.attrs.items() if k in ("long_name", "units")}
    made = results.labelled(older, layout)
    assert made["fid"].attrs == dataset["fid"].attrs
    assert made["final_fid"].attrs["final_of"] == "fid"
    assert [*made.data_vars][: len(layout.variables)] == [*layout.variables]


def test_an_unfinished_run_has_no_best():
    assert results.best(scored("fid", fid=np.full((2, 2), np.nan))) is None
    assert results.best(SERIAL) is None


# --- Several runs ---------------------------------------------------------------------------------


def of(rounds=1, **settings):
    table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    return xr.Dataset(coords={"round": range(rounds)}, attrs={"settings": table})


def test_a_seed_counts_once_and_its_longest_run_is_taken():
    runs = [of(1, seed=1), of(3, seed=1), of(2, seed=2), of(3, seed=1), of(2, seed=1, x=1)]
    assert [any(one is run for one in results.seeds(runs)) for run in runs] == [
        False, True, True, False, True,
    ]  # fmt: skip
    assert len(results.seeds([xr.Dataset(coords={"round": []})] * 2)) == 2, "nothing is known"


def test_the_settings_that_differ_are_told():
    grids = [of(method="a", x=1, y=0, init="p"), of(method="a", x=2, y=0)]
    assert results.differing(grids) == {"x": [1, 2], "init": ["p", None]}
    other = of(method="b", y=0, z=1)
    assert results.differing([*grids, other]) == {
        "method": ["a", "a", "b"],
        "x": [1, 2, None],
        "init": ["p", None, None],
    }
    assert results.differing([grids[0], other])["method"] == ["a", "b"], "and nothing of one alone"
    assert results.differing([grids[0]]) == {}


# ---- what a stranger's files may say


def test_texts_are_cut_where_as_many_of_their_length_have_no_room(monkeypatch):
    monkeypatch.setattr(storage, "LETTERS", 1000)
    assert storage.spelt(["x" * 1000]) == ["x" * 1000]
    (cut, short) = storage.spelt(["x" * 1000, "y"])
    assert cut == "x" * 499 + "…" and short == "y"
    assert len(storage.spelt(["x" * 1000], places=10**6)[0]) == 100
    monkeypatch.setattr(storage, "LARGEST", 1000)
    with pytest.raises(ValueError, match="3 texts of up to 100 letters"):
        storage.fixed(np.array(["x" * 100, "", ""], object))


@pytest.mark.parametrize("of", ["nothing", {"a": 1}])
def test_a_final_of_what_there_is_not_is_passed_over(dataset, of):
    odd = dataset.copy()
    odd["final_fid"].attrs["final_of"] = of
    assert results.summary(odd)


@pytest.mark.parametrize("better", ["lower", "higher", ""])
def test_the_best_of_rows_are_those_of_each_row(better):
    choices = np.array([1.0, 2.0, np.nan, np.inf, -np.inf])
    rows = choices[np.random.default_rng(0).integers(0, 5, (200, 3))]
    for row, found in zip(rows, best_of_rows(rows, better), strict=True):
        values = xr.DataArray(row, {"x": range(3)}, ("x",), attrs={"better": better})
        one = results.place_of_best(values)
        assert one == (None if found < 0 else {"x": found})
    by_hand = np.array([[np.nan, 2, 1], [np.inf, np.nan, np.inf], [3, 3, -np.inf]])
    assert best_of_rows(by_hand, "lower").tolist() == [2, 0, 0]
    assert best_of_rows(np.ones((2, 0)), "lower").tolist() == [-1, -1]


def test_a_stored_dataset_is_read_here_and_not_on_the_workers_of_a_cluster(tmp_path):
    """They need not see the file; a user's `Client` is what Dask computes with, unless told."""
    ds = xr.Dataset({"fid": ("round", np.arange(3.0))}, {"round": [1, 2, 3]})
    storage.write(ds, tmp_path / "dataset.zarr")

    def elsewhere(graph, keys, **options):
        raise AssertionError("Dask was asked")

    with dask.config.set(scheduler=elsewhere):
        xr.testing.assert_identical(storage.read(tmp_path / "dataset.zarr"), ds)
