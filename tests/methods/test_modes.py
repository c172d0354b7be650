"""Shares of modes, which every method tells of each round, beside its scores."""

import numpy as np
import pytest
from conftest import TINY, tiny

import gandask as gd
from gandask.core import DataError
from gandask.methods import scored
from gandask.results.dataset import Results

TOLD = {
    "grid": [""],
    "mggan": ["", "mixture_"],
    "bpgan": ["", "mixture_"],
    "data_parallel": [""],
    "per_label": ["mixture_"],
    "privacy": [""],
}
"""Of whose samples each method tells: of its units', of the mixture of all."""


def test_every_method_tells():
    assert TOLD.keys() == TINY.keys() - {"toy"}


@pytest.mark.parametrize("name", TOLD)
def test_rounds_tell_the_shares_that_their_scores_are_of(name):
    ds = gd.run(tiny(name))
    found = [prefix for prefix in ("", "mixture_") if f"{prefix}mode_share" in ds]
    assert found == TOLD[name]
    for prefix in found:
        shares, scored = ds[f"{prefix}mode_share"], ds[f"{prefix}high_quality"]
        assert shares.dims == (*scored.dims, "class")
        known = np.isfinite(scored.values)
        assert known.any()
        np.testing.assert_allclose(shares.sum("class").values[known], scored.values[known], 1e-5)
        covered = (shares >= 0.999 / scored.attrs["samples"]).sum("class")
        assert (covered.values[known] == ds[f"{prefix}modes"].values[known]).all()
        assert np.isnan(shares.values[~known]).all()
    real = ds.attrs["real_mode_share"]
    assert len(real) == ds.sizes["class"] and 0.9 < sum(real) <= 1 + 1e-9


def test_of_many_classes_or_without_scores_by_round_none_are_told(monkeypatch):
    assert "mode_share" not in gd.run(tiny(score_samples=0, rounds=1))
    monkeypatch.setattr(scored, "MODES", 7)
    ds = gd.run(tiny(rounds=1))
    assert "mode_share" not in ds and "real_mode_share" not in ds.attrs
    assert np.isfinite(ds["modes"]).all()


def test_a_layout_is_told_without_the_data(tmp_path):
    method = tiny(data="mnist", data_dir=str(tmp_path))
    with pytest.raises(DataError):
        method.training.data  # noqa: B018
    assert "mode_share" not in method.layout().variables
    assert "mode_share" in tiny().layout().variables


def test_what_a_newer_gandask_tells_besides_is_passed_over():
    layout = tiny().layout()
    table = {
        "slot": ["cell/1"],
        "round": np.array([1]),
        "begins": {},
        "values": {"fid": np.array([2.0]), "told_by_another": np.array([[1.0, 2.0]])},
    }
    kept = Results(layout, 1)
    timings = {"slot": [], "round": np.array([], int), "worker": [], "seconds": {}}
    timings |= {"started": np.array([]), "gathered": np.array([], int)}
    kept.take({"elapsed": 1.0, "timings": timings, "records": [table], "events": []})
    assert float(kept.dataset({})["fid"].sel(round=1, row=0, col=1)) == 2.0


def test_what_is_not_told_apart_has_no_modes():
    sequences = {"data": "sines", "network": "small_mlp", "batch_size": 100, "rounds": 1}
    assert "mode_share" not in gd.run(tiny(**sequences), progress=False)
