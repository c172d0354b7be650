"""What settings did to scores: which runs can be compared, and what each value came to."""

import numpy as np
import pytest
import xarray as xr

from gandask.results import compared, effects


def run(fid, final=True, samples=100, data="ring8", seed=1, **settings):
    """A run of two cells, of which the second is worse."""
    told = {"method": "grid", "data": data, "seed": seed} | settings
    lines = [f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in told.items()]
    made = {"fid": (("round", "cell"), [[fid, fid + 1]], {"better": "lower", "samples": 50})}
    if final:
        attrs = {"better": "lower", "final_of": "fid", "samples": samples}
        made["final_fid"] = ("cell", [fid, fid + 1.0], attrs)
    attrs = {"score": "fid", "seed": seed, "settings": "\n".join(lines)}
    return xr.Dataset(made, {"round": [1], "cell": [0, 1]}, attrs)


RUNS = {
    "slow": run(4.0, rate=0.1),
    "slow again": run(6.0, rate=0.1, seed=2),
    "fast": run(1.0, rate=0.5),
}


def test_runs_are_compared_by_their_final_score_and_the_settings_that_differ():
    found = compared(RUNS)
    assert (found.score, found.better) == ("FID, final, 100 samples", "lower")
    assert found.values == {"slow": 4.0, "slow again": 6.0, "fast": 1.0}
    assert found.settings == {"rate": [0.1, 0.1, 0.5]} and found.seeds == [1, 2, 1]
    assert found.left_out == {}


def test_what_cannot_be_compared_is_told_by_reason():
    others = {
        "again": run(4.0, rate=0.1),
        "under way": run(3.0, final=False, rate=0.2),
        "digits": run(5.0, data="digits"),
        "few": run(5.0, samples=10, rate=0.3),
        "diverged": run(np.inf, rate=0.4),
        "unscored": run(np.nan, final=False, rate=0.6),
    }
    assert compared(RUNS | others).left_out == {
        "repetitions of another: same settings, seed and data": ["again"],
        "known is FID, by round, 50 samples, and not FID, final, 100 samples": ["under way"],
        "on digits, and not on ring8": ["digits"],
        "known is FID, final, 10 samples, and not FID, final, 100 samples": ["few"],
        "the score is not finite": ["diverged"],
        "nothing was scored": ["unscored"],
    }
    nothing = compared({"unscored": others["unscored"]})
    assert (nothing.values, nothing.settings) == ({}, {})
    assert compared({}).values == {}


def test_the_effect_of_a_setting_has_its_spread_over_seeds():
    slow, fast = effects(compared(RUNS), "rate")
    assert (slow.value, slow.scores.tolist(), slow.seeds) == (0.1, [4.0, 6.0], 2)
    assert (fast.value, fast.scores.tolist(), fast.seeds) == (0.5, [1.0], 1)


def test_numbers_are_in_order_and_what_a_run_lacks_is_a_value():
    runs = {"b": run(1.0, rate=0.5), "a": run(2.0, rate=0.1)}
    assert [one.value for one in effects(compared(runs), "rate")] == [0.1, 0.5]
    runs["c"] = run(3.0)
    assert [one.value for one in effects(compared(runs), "rate")] == [0.5, 0.1, None]
    with pytest.raises(KeyError):
        effects(compared(runs), "loss")
