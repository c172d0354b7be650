"""The best score of a run by round is that of its Dataset, read without one."""

import numpy as np
import pytest
from conftest import tiny, until

import gandask as gd
from gandask import results
from gandask.core import StoreError
from gandask.methods.testing import Toy
from gandask.runs.course import ScoreCourse


def expected(ds):
    """The best of each round, as the Dataset has it."""
    scores = ds[ds.attrs["score"]]
    rows = scores.values.reshape(scores.sizes["round"], -1)
    best = np.max if scores.attrs["better"] == "higher" else np.min
    return {
        at: best(row[~np.isnan(row)])
        for at, row in enumerate(rows, start=1)
        if not np.isnan(row).all()
    }


@pytest.mark.parametrize("method", ["grid", "mggan", "data_parallel"])
def test_it_is_that_of_the_dataset_whether_finished_or_not(tmp_path, method):
    gd.run(tiny(method), store=tmp_path / "run", progress=False)
    run = gd.open_run(tmp_path / "run")
    found = ScoreCourse(tmp_path / "run").look()
    assert found == expected(run.ds)
    assert found
    run.store.claim()
    run.store.describe("stopped", run.store.description["round"])
    run.store.release()
    assert ScoreCourse(tmp_path / "run").look() == found


def test_it_tells_what_was_accepted_whether_finished_or_not(tmp_path):
    gd.run(tiny(rounds=7, learning_rate=5e-2, seed=0), store=tmp_path / "run", progress=False)
    run = gd.open_run(tmp_path / "run")
    accepted = run.ds.generator_replaced.isel(row=0, col=0).values
    assert not accepted.all(), "choose a seed of which some were refused"
    course = ScoreCourse(tmp_path / "run")

    def told():
        return [course.accepts("cell/0", at) for at in range(1, 8)]

    course.look()
    assert told() == accepted.tolist()
    run.store.claim()
    run.store.describe("stopped", run.store.description["round"])
    run.store.release()
    course.look()
    assert told() == accepted.tolist()
    assert course.accepts("cell/0", 0), "what it began with"
    assert not course.accepts("cell/0", 5), "not told yet"
    gd.run(tiny("mggan"), store=tmp_path / "groups", progress=False)
    course = ScoreCourse(tmp_path / "groups")
    course.look()
    assert course.accepts("group/0", 3), "a method that refuses nothing"


def test_what_was_added_is_read_and_a_run_begun_anew_is_another(tmp_path):
    run = gd.start(Toy(rounds=1000, sleep=0.01), store=tmp_path / "run", progress=False)
    course = ScoreCourse(tmp_path / "run")
    until(lambda: 2 in course.look(), "two rounds are scored")
    before = dict(course.points)
    byte = course._read_until.byte
    until(lambda: len(course.look()) > len(before), "more rounds are scored")
    assert course._read_until.byte > byte, "from where the last look ended"
    assert course.points.items() >= before.items()
    run.stop()
    assert course.look().items() <= expected(run.wait(60)).items()
    assert course.look() == expected(run.ds)


def test_one_variable_is_read_as_the_dataset_has_it(tmp_path):
    gd.run(tiny(), store=tmp_path / "run", progress=False)
    ds = gd.open_run(tmp_path / "run").ds
    stored = tmp_path / "run" / "dataset.zarr"
    np.testing.assert_array_equal(results.read_values(stored, "fid"), ds["fid"].values)
    for name in ("../run", "", "absent"):
        with pytest.raises(StoreError, match="cannot be read"):
            results.read_values(stored, name)
    (tmp_path / "link").symlink_to(stored)
    with pytest.raises(StoreError, match="may lead anywhere"):
        results.read_values(tmp_path / "link", "fid")
    chunk = next(file for file in (stored / "fid" / "c").rglob("*") if file.is_file())
    chunk.write_bytes(b"no zstd at all")
    with pytest.raises(StoreError, match="is damaged"):
        results.read_values(stored, "fid")
