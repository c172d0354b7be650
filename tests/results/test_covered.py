"""How well samples cover modes, by value."""

import numpy as np
import pytest
import xarray as xr

from gandask.results import covered

SHARES = [
    [[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]],
    [[0.2, 0.3, 0.5], [0.0, 0.0, 0.9]],
    [[np.nan] * 3, [np.nan] * 3],
]
FID = [[2.0, 1.0], [5.0, 9.0], [np.nan, np.nan]]


def dataset(**attrs):
    made = {
        "mode_share": (("round", "cell", "class"), np.array(SHARES, "float32")),
        "mixture_mode_share": (("round", "class"), np.mean(SHARES, 1)),
        "fid": (("round", "cell"), FID, {"better": "lower"}),
    }
    told = {"score": "fid", "real_mode_share": [0.5, 0.25, 0.25]} | attrs
    return xr.Dataset(made, {"round": [10, 20, 30], "cell": [0, 1], "class": range(3)}, told)


def test_shares_are_told_beside_real_ones_of_the_best_of_each_round():
    found = covered(dataset())
    assert found.dims == ("round", "class")
    assert found["round"].values.tolist() == [10, 20], "what was not scored is left out"
    np.testing.assert_allclose(found.values, [[2, 0, 0], [0.4, 1.2, 2]], rtol=1e-6)


def test_a_unit_may_be_asked_for_and_one_that_makes_no_samples_shows_the_best():
    one = covered(dataset(), {"cell": 0})
    np.testing.assert_allclose(one.values, [[1, 2, 0], [0.4, 1.2, 2]], rtol=1e-6)
    assert covered(dataset(), {"judge": 0}).equals(covered(dataset()))
    with pytest.raises(ValueError, match="no unit"):
        covered(dataset(), {"cell": 2})


def test_the_mixture_of_all_has_no_units():
    found = covered(dataset(), variable="mixture_mode_share")
    np.testing.assert_allclose(found.values[0], [1.5, 1, 0])


def test_a_mode_that_no_real_sample_is_on_tells_nothing():
    found = covered(dataset(real_mode_share=[0.5, 0.0, 0.5]), {"cell": 0})
    assert np.isnan(found.values[:, 1]).all() and found.values[0, 0] == 1


def test_without_real_shares_all_modes_count_alike():
    found = covered(dataset(real_mode_share=[0.3]), {"cell": 1})
    np.testing.assert_allclose(found.values[0], [3, 0, 0], rtol=1e-6)


@pytest.mark.parametrize("marked", [None, {"cell": 0}])
def test_of_runs_without_rounds_or_scores_there_is_nothing(marked):
    empty = dataset().isel(round=[])
    unscored = dataset().isel(round=[2])
    for ds in (empty, unscored):
        found = covered(ds, marked)
        assert found.dims == ("round", "class") and found.sizes["round"] == 0


def test_a_run_that_does_not_tell_says_so():
    with pytest.raises(ValueError, match="no mode_share: expected a run scored by round"):
        covered(dataset().drop_vars("mode_share"))
