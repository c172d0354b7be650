"""Columns: a step written and read as columns comes to what its rows say."""

import functools
import json

import numpy as np
import pytest
import xarray as xr

from gandask.core import Event, Layout, Record, Report, Role, Variable
from gandask.core.journal import decoded, encoded
from gandask.methods.grid.view import GridView
from gandask.results import Results
from gandask.results.columns import columns

SLOTS = [f"slot/{index}" for index in range(6)]
of_slot = functools.partial(Variable, role="slot")
LAYOUT = Layout(
    coords={"row": range(2), "col": range(3), "axis": range(4), "iteration": range(1, 21)},
    roles={"slot": Role(("row", "col"), tuple(SLOTS))},
    variables={
        "height": of_slot("height", "m"),
        "name": of_slot("name", dtype="str"),
        "count": of_slot("count", dtype="int64"),
        "done": of_slot("whether it is done", dtype="bool"),
        "vector": of_slot("vector", dims=("axis",)),
        "trace": of_slot("trace", dims=("iteration",), by_round=False),
        "last": of_slot("last", by_round=False),
        "whole": Variable("of the whole population"),
        "shares": Variable("shares", dims=("axis",), by_round=False),
    },
)
ROUNDS = 5


def random_step(chance, round):
    """Reports and records as a method may give them: some slots, some variables."""
    taken = [slot for slot in SLOTS if chance.random() < 0.7]
    reports = [
        Report(
            slot,
            int(chance.integers(0, round + 1)),
            "train",
            {},
            {
                name: chance.random()
                for name in ("train", "gather", "score")
                if chance.random() < 0.6
            },
            float(chance.random()),
            f"worker-{chance.integers(12)}",
            int(chance.integers(100)),
        )
        for slot in [*taken, *taken[:2]]
    ]
    records = []
    for slot in taken:
        begin = int(chance.integers(0, 15))
        values = {
            "height": chance.random(),
            "name": "x" * int(chance.integers(0, 9)),
            "count": int(chance.integers(9)),
            "done": bool(chance.random() < 0.5),
            "vector": chance.random(int(chance.integers(1, 5))),
            "trace": chance.random(int(chance.integers(1, 6))),
            "last": chance.random(),
        }
        kept = {key: value for key, value in values.items() if chance.random() < 0.8}
        records.append(Record(slot, round, kept, {"iteration": begin}))
    if chance.random() < 0.5:
        values = {"whole": chance.random(), "shares": chance.random(3)}
        records.append(Record("", round, values))
    events = (Event(round, "happened", "slot/0", "a story"),) if chance.random() < 0.5 else ()
    return GridView((), tuple(records), events), reports


def expected(steps):
    """Put every number where it belongs, one by one."""
    sizes = {name: len(values) for name, values in LAYOUT.coords.items()}
    made = {}
    for name, variable in LAYOUT.variables.items():
        shape = (ROUNDS,) if variable.by_round else ()
        shape += (2, 3) if variable.role else ()
        shape += tuple(sizes[dim] for dim in variable.dims)
        empty = {"str": "", "int64": -1, "bool": False}.get(variable.dtype, np.nan)
        made[name] = np.full(shape, empty, "U9" if variable.dtype == "str" else variable.dtype)
    seconds, elapsed = {}, np.full((ROUNDS, 2, 3), np.nan)
    started, gathered = np.full((ROUNDS, 2, 3), np.nan), np.full((ROUNDS, 2, 3), -1)
    for number, (view, reports) in enumerate(steps):
        for report in reports:
            place = (max(report.round, 1) - 1, *LAYOUT.slots[report.slot])
            for name, taken in report.seconds.items():
                seconds.setdefault(name, np.zeros((ROUNDS, 2, 3)))[place] += taken
            elapsed[place] = float(number)
            started[place] = np.fmin(started[place], report.started)
            gathered[place] = max(0, gathered[place]) + report.gathered
        for record in view.records:
            for name, value in record.values.items():
                variable = LAYOUT.variables[name]
                place = (record.round - 1,) if variable.by_round else ()
                place += LAYOUT.slots[record.slot] if variable.role else ()
                if variable.dims:
                    begin = record.begins.get(variable.dims[0], 0)
                    place += (slice(begin, begin + len(value)),)
                made[name][place] = value
    return made | {"elapsed": elapsed, "started": started, "gathered": gathered}, seconds


@pytest.mark.parametrize("seed", range(30))
def test_columns_come_to_what_the_rows_say(seed):
    chance = np.random.default_rng(seed)
    steps = [random_step(chance, round) for round in (1, 1, 2, 3, 3, 4, 5)]
    written, read = Results(LAYOUT, ROUNDS), Results(LAYOUT, ROUNDS)
    for number, (view, reports) in enumerate(steps):
        told = written.add(view, reports, float(number))
        # as a reader of the journal gets it
        read.take(json.loads(json.dumps(told, default=encoded), object_hook=decoded))
    ds = written.dataset({})
    xr.testing.assert_identical(ds, read.dataset({}))
    rows, seconds = expected(steps)
    done = ds.sizes["round"]
    for name, values in rows.items():
        shown = values[:done] if "round" in ds[name].dims else values
        np.testing.assert_array_equal(ds[name].values, shown, err_msg=name)
    assert sorted(seconds) == ds["routine"].values.tolist()
    for name, values in seconds.items():
        np.testing.assert_allclose(ds["seconds"].sel(routine=name), values[:done], err_msg=name)
    assert ds.sizes["event"] == sum(len(view.events) for view, _ in steps)


def test_a_step_without_anything_is_nothing():
    collected = Results(LAYOUT, ROUNDS)
    told = collected.add(GridView(()), [], 1.0)
    assert told["records"] == []
    assert collected.dataset({}).sizes["round"] == 0


def test_slots_that_hold_the_same_share_a_table():
    records = [Record(slot, 1, {"height": 1.0, "name": "a"}) for slot in SLOTS[:4]]
    records.append(Record(SLOTS[4], 1, {"height": 2.0}))
    told = columns(GridView((), tuple(records)), [], 0.0)
    assert [table["slot"] for table in told["records"]] == [SLOTS[:4], SLOTS[4:5]]
    assert told["records"][0]["values"]["height"].tolist() == [1.0] * 4


def test_a_wider_layout_keeps_what_was_collected():
    coords = dict(LAYOUT.coords) | {"axis": range(7)}
    wider = Layout(coords, LAYOUT.roles, LAYOUT.variables)
    collected = Results(LAYOUT, ROUNDS)
    one = Record("slot/1", 1, {"height": 3.0, "vector": np.arange(4.0), "name": "early"})
    collected.add(GridView((), (one,)), [Report("slot/1", 1, "train", {}, {"train": 2.0})], 1.0)
    collected.relay(wider, collected.rounds)
    other = Record("slot/1", 2, {"height": 4.0, "vector": np.arange(7.0), "name": "late"})
    collected.add(GridView((), (other,)), [Report("slot/1", 2, "train", {}, {"train": 5.0})], 2.0)
    at = collected.dataset({}).isel(row=0, col=1)
    assert at["height"].values.tolist() == [3.0, 4.0]
    assert at["name"].values.tolist() == ["early", "late"]
    np.testing.assert_array_equal(at["vector"][0], [0, 1, 2, 3, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(at["vector"][1], np.arange(7.0))
    assert at["seconds"].values.ravel().tolist() == [2.0, 5.0]
