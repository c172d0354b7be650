"""Opening runs: without their data, their networks or their method, and those of older stores."""

import json
import shutil

import numpy as np
import pytest
import xarray as xr
from conftest import tiny

import gandask as gd
from gandask import config
from gandask.core import Layout, Role
from gandask.pages import report
from gandask.runs.following import Followed
from gandask.store import FORMAT, Store, layouts


def tell(path, **changes):
    told = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(told | changes))


@pytest.fixture(scope="module")
def grid_run(tmp_path_factory, cache):
    path = tmp_path_factory.mktemp("opened") / "grid"
    gd.run(tiny(), store=path)
    return path


def unfinished(path, target):
    """Copy a run as one that broke off: its Dataset is to be collected from its steps."""
    shutil.copytree(path, target)
    shutil.rmtree(target / "dataset.zarr")
    tell(target, state="stopped")
    return gd.open_run(target)


# ---- what is not there any more


@pytest.fixture
def strangers_run(tmp_path, monkeypatch):
    """A run whose network and data are gone."""
    folder = tmp_path / "data"
    folder.mkdir()
    points = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    np.savez(folder / "points.npz", samples=points, labels=np.arange(600) % 3)
    monkeypatch.setitem(gd.NETWORKS, "mine", gd.NETWORKS["small_mlp"])
    changes = {"base": "mine", "data": str(folder / "points.npz"), "batch_size": 50}
    gd.run(tiny("mggan", **changes), store=tmp_path / "run")
    monkeypatch.delitem(gd.NETWORKS, "mine")
    shutil.rmtree(folder)
    return tmp_path / "run"


def test_a_run_is_read_without_its_data_and_networks(strangers_run, tmp_path):
    run = gd.open_run(strangers_run)
    assert run.settings["base"] == "mine"
    assert run.ds.sizes["value"] == 2
    assert "partners" in dir(run.plot)
    collected = unfinished(strangers_run, tmp_path / "half")
    assert collected.ds.sizes == {**run.ds.sizes, "event": collected.ds.sizes["event"]}
    followed = Followed(tmp_path / "half")
    followed.look()
    xr.testing.assert_identical(followed.ds, collected.ds)
    page = report.page(run)
    assert "no samples: " in page and "Who met whom" in page


def test_who_samples_or_goes_on_is_told_what_is_missing(strangers_run):
    for ask in (gd.Run.best_mixture, lambda run: run.method):
        with pytest.raises(gd.StoreError, match=r"no such base; .*registered before"):
            ask(gd.open_run(strangers_run))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"sample_shape": shape}, r"sample_shape=.* in the facts of the run: expected one to three")
        for shape in ([3, 30000, 30000], [-2], ["a"], [], [2.5], [True], [1] * 4, None, "2")
    ]
    + [({"classes": n}, f"classes={n!r} in the facts") for n in (None, 0, 1.0, 10**9)]
    + [({"sample_shape": [3, 2000, 2000]}, "is not the generator that its settings and facts")],
)
@pytest.mark.filterwarnings("ignore:.*networks of these names are other ones")
def test_samples_that_cannot_be_are_not_drawn(grid_run, tmp_path, facts, said):
    shutil.copytree(grid_run, tmp_path / "run")
    tell(tmp_path / "run", facts=gd.open_run(grid_run).store.description["facts"] | facts)
    with pytest.raises(gd.StoreError, match=said):
        gd.open_run(tmp_path / "run").best_mixture().sample(4, seed=0)


def test_a_run_is_read_without_its_method(grid_run, monkeypatch, tmp_path):
    ds = gd.open_run(grid_run).ds
    known = dict(gd.METHODS)
    monkeypatch.setattr("gandask.runs.opened.STORED", {"mggan": known["mggan"]})
    run = gd.open_run(grid_run)
    xr.testing.assert_identical(run.ds, ds)
    assert run.settings["network"] == "small_mlp"
    assert dir(run.plot) == ["events", "map", "profile", "trace"]
    xr.testing.assert_equal(
        gd.without_timings(unfinished(grid_run, tmp_path / "half").ds), gd.without_timings(ds)
    )
    with pytest.raises(gd.StoreError, match="there is no such method"):
        run.best_mixture()


def test_settings_are_all_of_them_in_order(grid_run):
    run = gd.open_run(grid_run)
    assert [*run.settings] == [f.name for f in config.fields(gd.Grid)]
    assert run.settings == {name: getattr(tiny(), name) for name in run.settings}


# ---- how the result is laid out


@pytest.mark.parametrize("name", ["grid", "mggan"])
def test_a_layout_is_read_as_it_was_written(name):
    method = tiny(name)
    assert layouts.read(layouts.written(method.layout(), 7)) == (method.layout(), 7)


def test_labels_of_any_kind_are_kept():
    layout = Layout(
        {"node": ["a", "b"], "none": []}, {"node": Role(("node",), ("node/a", "node/b"))}, {}
    )
    assert layouts.read(layouts.written(layout, 1)) == (layout, 1)


def test_a_layout_that_is_damaged_is_told(grid_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(grid_run, path)
    for text in (
        "{",
        "[]",
        "{}",
        '{"coords": {}, "roles": {"a": 1}, "variables": {}, "rounds": 1}',
    ):
        (path / "layout.json").write_text(text)
        with pytest.raises(gd.StoreError, match=r"layout\.json cannot be read"):
            Store.open(path).laid_out()


# ---- older stores


def of_format_1(path, target):
    """Copy a run as an older gandask wrote it: no layout, variables that say little."""
    shutil.copytree(path, target)
    (target / "layout.json").unlink()
    tell(target, format=1, dataset=None)
    for file in target.glob("dataset.zarr/*/zarr.json"):
        told = json.loads(file.read_text())
        for key in ("role", "better", "shown", "final_of"):
            told["attributes"].pop(key, None)
        file.write_text(json.dumps(told))
    return target


def test_an_older_store_is_read(grid_run, tmp_path):
    old = gd.open_run(of_format_1(grid_run, tmp_path / "old"))
    xr.testing.assert_identical(old.ds, gd.open_run(grid_run).ds)
    page = report.page(old)
    assert "best by FID, final, " in page and "Where its weights came from" in page
    half = unfinished(tmp_path / "old", tmp_path / "half")
    assert half.ds["fid"].attrs["better"] == "lower"
    assert half.rounds == 3


def test_an_older_store_is_not_continued(grid_run, tmp_path):
    path = of_format_1(grid_run, tmp_path / "old")
    tell(path, state="stopped")
    with pytest.raises(gd.StoreError, match=r"store format 1; this one continues format 2\).*anew"):
        gd.run(tiny(), store=path, resume=True)
    with pytest.raises(gd.StoreError, match="it can be read, but not continued"):
        Store.open(path).claim()
    assert FORMAT == 2
