"""Runs put side by side, and what other programs read of them."""

import shutil

import numpy as np
import pytest
import xarray as xr

import gandask as gd
from gandask import results
from gandask.methods.testing import Toy

LARGE = 2**31
EVENTS = [f"event_{key}" for key in ("round", "kind", "slot", "detail", "machine")]


@pytest.fixture(scope="module")
def unlike(cache, tmp_path_factory):
    """Runs of unlike length and size, with unlike numbers of events."""
    folder = tmp_path_factory.mktemp("runs")
    gd.run(Toy(nodes=3, rounds=3), store=folder / "long", checkpoint_every=1)
    gd.run(Toy(nodes=2, rounds=2, seed=LARGE, rate=0.25), store=folder / "short")
    return folder


# ---- runs of one method


def test_runs_of_unlike_length_and_size_are_put_side_by_side(unlike):
    long, short = (gd.open_run(unlike / name).ds for name in ("long", "short"))
    both = gd.open_runs([unlike / "long", gd.open_run(unlike / "short")])
    assert both["run"].values.tolist() == ["long", "short"]
    assert both.sizes == {**long.sizes, "run": 2}
    for ds, run in ((long, "long"), (short, "short")):
        part = both.sel(run=run)
        for name, values in ds.data_vars.items():
            one = part[name].sel({dim: ds[dim] for dim in values.dims})
            np.testing.assert_array_equal(one, values, err_msg=name)
            assert both[name].attrs == values.attrs, name
            assert both[name].dtype.kind == values.dtype.kind, name
    rest = both.sel(run="short", round=3)
    assert rest["distance"].isnull().all() and (rest["gathered"] == -1).all()
    assert (rest["worker"] == "").all()
    more = both.sel(run="short").isel(event=slice(short.sizes["event"], None))
    assert [[*np.unique(more[name])] for name in EVENTS] == [[-1], [""], [""], [""], [False]]


@pytest.mark.parametrize(
    ("values", "empty"),
    [
        (np.array([1, 250], "uint8"), -1),
        (np.array([1j, 2]), np.nan),
        (np.array([b"a", b"b"]), b""),
        (np.array(["2026-01-01", "2026-01-02"], "M8[s]"), np.datetime64("NaT")),
        (np.array([1, 2], "m8[s]"), np.timedelta64("NaT")),
    ],
    ids=lambda told: getattr(told, "dtype", ""),
)
def test_variables_of_any_kind_are_put_side_by_side(values, empty):
    """Of methods of one's own, and of whoever adds one to a Dataset."""
    told = {"method": "own", "settings": ""}
    runs = {
        str(count): xr.Dataset(
            {"own": ("round", values[:count])}, {"round": np.arange(count)}, told
        )
        for count in (1, 2)
    }
    both = results.joined(runs)["own"].values
    np.testing.assert_array_equal(both[1], values)
    np.testing.assert_array_equal(both[0], np.array([values[0], empty], both.dtype))


def test_what_differs_is_a_coordinate_and_the_rest_an_attribute(unlike):
    both = gd.open_runs([unlike / "long", unlike / "short"])
    # rate is a variable as well; a seed that netCDF-3 has no number for is text
    assert {str(name) for name in both.coords} - {*both.dims} == {
        "nodes",
        "rounds",
        "setting_rate",
        "seed",
    }
    assert both["nodes"].values.tolist() == [3, 2]
    assert both["setting_rate"].values.tolist() == [0.5, 0.25]
    assert both["seed"].values.tolist() == ["1", str(LARGE)]
    long = gd.open_run(unlike / "long").ds.attrs
    assert both.attrs.keys() == long.keys() - {"seed"}
    assert both.attrs["sample_shape"] == long["sample_shape"]
    kept = set(both.attrs["settings"].splitlines())
    assert kept < set(long["settings"].splitlines()) and not any("rounds" in one for one in kept)


@pytest.mark.parametrize(
    ("values", "column", "kind"),
    [
        ([1, 2.5], [1.0, 2.5], "f"),
        ([1, None], [1.0, np.nan], "f"),
        ([True, False], [True, False], "b"),
        ([True, 2], ["True", "2"], "U"),
        ([[2, 2], [3, 3]], ["[2, 2]", "[3, 3]"], "U"),
        (["a", None], ["a", ""], "U"),
        ([2**70, None], [str(2**70), ""], "U"),
    ],
)
def test_a_setting_is_a_column_of_numbers_if_it_can_be(values, column, kind):
    ds = xr.Dataset({"height": ("round", [1.0])}, {"round": [1]}, {"method": "a", "settings": ""})
    told = [{} if value is None else {"depth": value} for value in values]
    made = results.joined({str(n): ds.assign_attrs(one) for n, one in enumerate(told)})
    np.testing.assert_array_equal(made["depth"].values, column)
    assert made["depth"].dtype.kind == kind


def test_seeds_of_one_folder_and_datasets_have_names_of_their_own(unlike, tmp_path):
    runs = [gd.run(Toy(nodes=1, rounds=1, seed=seed)) for seed in (1, 2)]
    assert gd.open_runs(runs)["run"].values.tolist() == ["0", "1"]
    gd.run(Toy(nodes=1, rounds=1), store=tmp_path / "long")
    paths = [str(tmp_path / "long"), str(unlike / "long")]
    assert gd.open_runs(paths)["run"].values.tolist() == paths


def test_plain_xarray_puts_seeds_side_by_side_too(unlike):
    runs = [gd.open_run(unlike / name).ds for name in ("long", "short")]
    made = xr.concat(runs, "seed", join="outer")
    assert made.sizes["event"] == runs[0].sizes["event"] > runs[1].sizes["event"]
    assert made["event_kind"].values[0].tolist() == runs[0]["event_kind"].values.tolist()


def test_roles_and_older_stores_are_no_hindrance(unlike, tmp_path):
    runs = [gd.run(Toy(nodes=count, rounds=2, server=True)) for count in (2, 11)]
    slots = ["server/0", *(f"node/{number}" for number in range(11))]
    made = gd.open_runs(runs)
    assert made["slot"].values.tolist() == slots
    worker = made["worker"].sel(slot="node/10", round=1).values.tolist()
    assert worker[0] == "" != worker[1]
    # of before events were numbered
    older = gd.open_run(unlike / "long").ds.drop_vars("event")
    assert gd.open_runs([older])["event"].values.tolist() == [*range(older.sizes["event"])]


def test_runs_that_do_not_go_together_are_refused(unlike, tmp_path, grid):
    ds = gd.open_run(unlike / "short").ds
    other = ds.assign_attrs(method="other")
    for runs, message in (
        ([], "no runs are given"),
        (unlike / "long", "expected a list of runs, got one"),
        (ds, "expected a list of runs, got one"),
        ([unlike / "long", str(unlike / "long")], "long is given twice"),
        ([None], "expected stores, opened runs or Datasets, got None"),
        ([unlike / "long", 3], "expected stores, opened runs or Datasets, got 3"),
        ([unlike / "long", other], "long is of toy, 1 is of other: open those of each apart"),
        ([gd.open_runs([ds])], "0: expected the Dataset of one run"),
        ([ds, gd.run(Toy(nodes=2, server=True))], "along round, node in one run|in another"),
    ):
        with pytest.raises(gd.SettingError, match=message):
            gd.open_runs(runs)
    with pytest.raises(gd.StoreError, match="is not a run"):
        gd.open_runs([tmp_path])


def test_a_run_counts_once(unlike, tmp_path):
    """Copies and repetitions would make a band of seeds narrower than it is."""
    copy = shutil.copytree(unlike / "long", tmp_path / "copy")
    ds = gd.open_run(unlike / "long").ds
    repeated = gd.run(Toy(nodes=3, rounds=3))
    read = ds.isel(round=slice(2))
    for other, name in ((copy, "copy"), (ds, "1"), (repeated, "1"), (read, "1")):
        with pytest.raises(gd.SettingError, match=f"long and {name} are one run twice"):
            gd.open_runs([unlike / "long", other])
    # the same name may stand for other data
    unlike_data = [ds.assign_attrs(fingerprint=digest) for digest in "ab"]
    assert gd.open_runs(unlike_data)["fingerprint"].values.tolist() == ["a", "b"]
    # data of one content may lie anywhere
    settings = [f'data = "{place}"\n{ds.attrs["settings"]}' for place in "ab"]
    moved = [unlike_data[0].assign_attrs(settings=told) for told in settings]
    with pytest.raises(gd.SettingError, match="0 and 1 are one run twice"):
        gd.open_runs(moved)


# ---- what other programs read


@pytest.fixture(params=["one", "several", "without events", "several without events"])
def shared(request, unlike):
    """Datasets that are handed on: of large seeds, of several runs, and without events."""
    if request.param == "several":
        return gd.open_runs([unlike / "long", unlike / "short"])
    if request.param == "several without events":
        return gd.open_runs([gd.run(Toy(nodes=2, rounds=2, seed=LARGE + i)) for i in range(2)])
    return (
        gd.open_run(unlike / "short").ds
        if request.param == "one"
        else gd.run(Toy(nodes=2, rounds=2, seed=LARGE))
    )


def test_netcdf_comes_back(shared, unlike, tmp_path):
    shared.to_netcdf(tmp_path / "run.nc")
    read = xr.load_dataset(tmp_path / "run.nc")
    xr.testing.assert_equal(read, shared)
    # of a list of one, netCDF keeps the number alone
    told = {key: np.asarray(value).tolist() for key, value in read.attrs.items()}
    assert told == shared.attrs | {"sample_shape": 2}
    if "run" not in shared.dims:  # it is as good as the run's own
        assert told["seed"] == str(LARGE)
        assert results.summary(read) == results.summary(shared)
        assert gd.open_runs([read, unlike / "long"])["worker"].dtype.kind == "U"


def test_zarr_comes_back(shared, tmp_path):
    results.write(shared, tmp_path / "run.zarr")
    read = results.read(tmp_path / "run.zarr")
    xr.testing.assert_identical(read, shared)
    assert {name: values.dtype for name, values in read.variables.items()} == {
        name: values.dtype for name, values in shared.variables.items()
    }


def test_pandas_has_a_row_for_what_is_known(shared):
    table = gd.to_dataframe(shared)
    known = shared["elapsed"].notnull()
    assert len(table) == int(known.sum()) > 0
    assert [*table.index.names] == [*shared["elapsed"].dims]
    back = table["distance"].to_xarray()
    np.testing.assert_array_equal(back, shared["distance"])
    events = gd.to_dataframe(shared, "event")
    assert len(events) == int((shared["event_round"] > 0).sum())
    assert {*EVENTS} <= {*events.columns}
    if "nodes" in shared.coords:
        assert table["nodes"].groupby("run").first().to_dict() == {"long": 3, "short": 2}


def test_a_table_of_nothing_is_refused(unlike):
    ds = gd.open_run(unlike / "short").ds
    with pytest.raises(
        gd.SettingError, match=r"no variable lies along member: .*round, node, term"
    ):
        gd.to_dataframe(ds, "member")
    assert len(gd.to_dataframe(gd.without_timings(ds))) == 4
