"""What holds for every method: this suite runs over the whole registry."""

import copy
import pickle

import cloudpickle
import numpy as np
import pytest
from conftest import TINY, tiny

import gandask as gd
from gandask import config
from gandask.engine.session import Session
from gandask.execution.serial import Serial
from gandask.methods import METHODS

pytestmark = pytest.mark.parametrize("name", sorted(METHODS))


def test_it_has_tiny_settings(name):
    assert name in TINY, "add the method's smallest settings to TINY in conftest.py"


@pytest.fixture(scope="module")
def serial():
    """Each method's in-process Dataset: the oracle, computed once."""
    made = {}

    def result(name):
        if name not in made:
            made[name] = gd.run(tiny(name))
        return made[name]

    return result


@pytest.mark.parametrize("workers", [1, 2])
def test_serial_equals_dask(name, workers, clients, serial, assert_same):
    distributed = gd.run(tiny(name), client=clients[workers])
    assert_same(serial(name), distributed)
    assert len(np.unique(distributed.worker)) == workers


def test_same_seed_same_dataset(name, serial, assert_same):
    assert_same(serial(name), gd.run(tiny(name)))


def test_another_seed_another_dataset(name, serial):
    other = gd.run(tiny(name, seed=2))
    differing = [
        variable
        for variable in other.data_vars
        if other[variable].dtype.kind == "f" and not other[variable].equals(serial(name)[variable])
    ]
    assert differing


def test_a_run_with_checkpoints_equals_one_without(name, serial, assert_same, tmp_path):
    assert_same(serial(name), gd.run(tiny(name), store=tmp_path / "run", checkpoint_every=1))


def test_asynchronous_runs_finish(name, clients):
    for client in (None, clients[2]):
        ds = gd.run(tiny(name), client=client, synchronous=False)
        assert ds.sizes["round"] == tiny(name).rounds
        assert np.isfinite(ds.final_fid).all()


def test_a_run_at_its_slots_own_pace_is_finished_by_a_synchronous_one(name, tmp_path, monkeypatch):
    # some slots are ahead of others when it stops: each has work left
    method, store, steps_taken = tiny(name), tmp_path / "run", []
    step = Session.step

    def stopping(self, reports, elapsed):
        step(self, reports, elapsed)
        steps_taken.append(len(reports))
        if len(steps_taken) == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(Session, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        gd.run(method, store=store, checkpoint_every=1, synchronous=False)
    ds = gd.run(method, store=store, resume=True)
    assert len(steps_taken) > 7
    assert ds.sizes["round"] == method.rounds
    assert (ds.batches > 0).all()
    assert np.isfinite(ds.final_fid).all()


def steps(method):
    """Walk through a run by hand: each stage with the states before it."""
    executor = Serial(method.seed)
    view, plan = method.start()
    while plan:
        reports = []
        for stage in plan:
            written = set(executor.states)
            yield stage, written, executor
            executor.submit(stage)
        while executor.queue:
            reports += executor.next_reports().values()
        view, plan = method.advance(view, reports)
        executor.keep(view.keeps)


def test_a_plan_reads_only_what_was_written(name):
    for stage, written, _ in steps(tiny(name)):
        for task in stage:
            assert set(task.reads) <= written
            assert len(set(task.writes)) == len(task.writes)
        writes = [state for task in stage for state in task.writes]
        assert len(set(writes)) == len(writes), "two tasks of a stage write one state"


def test_tasks_pickle_and_are_small(name):
    for stage, _, _ in steps(tiny(name)):
        for task in stage:
            data = cloudpickle.dumps(task)
            assert len(data) < 20_000
            assert pickle.loads(data).reads == task.reads


def test_inputs_are_never_mutated(name):
    method = tiny(name)
    for stage, _, executor in steps(method):
        # what earlier stages of the plan still owe is performed first
        while executor.queue:
            executor.next_reports()
        for task in stage:
            states = [executor.states[read][0] for read in task.reads]
            before = copy.deepcopy(states)
            task.function(*states, **task.arguments)
            for state, kept in zip(states, before, strict=True):
                for key, array in kept.items():
                    np.testing.assert_array_equal(state[key], array)


def test_states_are_flat_arrays_and_stay_behind(name):
    method = tiny(name)
    for stage, _, executor in steps(method):
        for task in stage:
            assert all(write.startswith(f"{task.slot}/") for write in task.writes)
        for place in executor.states.values():
            for state in place:
                assert all(isinstance(array, np.ndarray) for array in state.values())


def test_settings_round_trip_through_toml(name):
    method = tiny(name)
    assert config.from_toml(config.to_toml(method), METHODS) == method


def test_every_variable_is_labelled(name, serial):
    ds = serial(name)
    for variable in ds.variables.values():
        assert variable.attrs["long_name"]
        assert "units" in variable.attrs
    assert {"method", "settings", "seed", "gandask_version"} <= ds.attrs.keys()
