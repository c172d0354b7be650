"""Wall times by the number of workers, and the published ones."""

import numpy as np
import pytest
import xarray as xr

from gandask import plots
from gandask.results import published
from gandask.results.scaling import scaling


def run(wall, workers, settings="rounds = 2", shape=(2, 2), rounds=2):
    """Give a run that took `wall` seconds in all."""
    unit = ("round", "row", "col")
    size = (rounds, *shape)
    names = np.array([f"worker-{i % workers}" for i in range(np.prod(size))]).reshape(size)
    elapsed = np.broadcast_to(np.linspace(wall / max(1, rounds), wall, rounds)[:, None, None], size)
    return xr.Dataset(
        {"elapsed": (unit, elapsed.copy()), "worker": (unit, names)}, attrs={"settings": settings}
    )


def test_runs_are_held_against_the_fewest_workers_of_the_same_settings():
    table = scaling(
        [
            run(40.0, 4),
            run(120.0, 1),
            run(300.0, 3, "rounds = 9", (3, 3)),
            run(150.0, 9, "rounds = 9", (3, 3)),
        ]
    )
    assert table["shape"].values.tolist() == ["2×2", "2×2", "3×3", "3×3"]
    assert table["units"].values.tolist() == [4, 4, 9, 9]
    assert table["workers"].values.tolist() == [4, 1, 3, 9]
    assert table["wall"].values.tolist() == [40, 120, 300, 150]
    assert table["serial_workers"].values.tolist() == [1, 1, 3, 3]
    assert table["serial"].values.tolist() == [120, 120, 300, 300]
    assert table["speedup"].values.tolist() == [3, 1, 1, 2]
    assert table["efficiency"].values.tolist() == pytest.approx([0.75, 1, 1, 2 / 3])


def test_runs_of_different_length_are_compared_per_round():
    table = scaling([run(100.0, 1, rounds=2), run(125.0, 4, rounds=5)])
    assert table["speedup"].values.tolist() == [1, 2]
    assert table["serial"].values.tolist() == [100, 250]
    assert table["rounds"].values.tolist() == [2, 5]


def test_a_worker_is_no_empty_name():
    half = run(10.0, 2)
    half["worker"][1] = ""
    assert scaling([half])["workers"].item() == 2


def test_a_run_without_rounds_has_no_times_and_is_no_base():
    table = scaling([run(0.0, 1, rounds=0), run(40.0, 4), run(20.0, 8, shape=(4, 4))])
    assert np.isnan(table["speedup"].values).tolist() == [True, False, False]
    assert table["workers"].values.tolist() == [0, 4, 8]
    assert table["speedup"].values[1:].tolist() == [1, 2]
    assert scaling([]).sizes["run"] == 0
    assert plots.speedup(scaling([])).data[2] == "no speedup yet"


def test_groups_scale_too():
    grouped = run(40.0, 2, shape=(1, 5)).isel(row=0).rename(col="group")
    assert scaling([grouped])["shape"].item() == "5"
    assert scaling([grouped])["units"].item() == 5


@pytest.mark.parametrize(
    "table", [scaling([run(40.0, 4)]), published.execution_times(), published.routine_times()]
)
def test_tables_are_labelled(table):
    for name, values in table.data_vars.items():
        assert values.attrs["long_name"], name
        assert "units" in values.attrs, name
    assert table["speedup"].attrs["units"] == "1"


def test_the_published_tables_agree_with_themselves():
    times = published.execution_times()
    np.testing.assert_allclose(times["serial"] / times["wall"], times["speedup"], rtol=2e-3)
    assert times["workers"].values.tolist() == (times["units"] + 1).values.tolist()
    np.testing.assert_allclose(times["efficiency"] * times["workers"], times["speedup"])
    routines = published.routine_times()
    np.testing.assert_allclose(
        routines["serial"] / routines["parallel"], routines["speedup"], rtol=5e-3
    )
    saved = 100 * (1 - routines["parallel"] / routines["serial"])
    np.testing.assert_allclose(saved, routines["acceleration"], atol=0.3)
    parts = routines.drop_sel(routine="overall").sum("routine")
    whole = routines.sel(routine="overall")
    assert float(parts["parallel"]) == pytest.approx(float(whole["parallel"]))
    assert float(parts["serial"]) == pytest.approx(float(whole["serial"]), abs=0.2)
