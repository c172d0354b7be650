"""Runs that start from another run's networks."""

import numpy as np
import pytest
from conftest import tiny

import gandask as gd
from gandask.methods.tasks import initialise
from gandask.training import stored


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "teacher"
    gd.run(tiny("grid", rounds=2), store=path)
    return path


@pytest.mark.parametrize("name", ["grid", "mggan"])
def test_every_slot_starts_from_the_best_pair(name, teacher):
    best = gd.open_run(teacher).best_mixture()
    heaviest = max(best.weights, key=best.weights.get)
    pair = stored.best_pair(teacher)
    method = tiny(name, init=teacher)
    method.check()
    for slot in method.layout().slots:
        training = method.training_of(slot)
        states, values = initialise(training=training, slot=slot, population_size=1)
        for key, array in best.states[heaviest].items():
            np.testing.assert_array_equal(states[0][key], array)
        for key, array in pair["discriminator"].items():
            np.testing.assert_array_equal(states[2][key], array)
        for moments in (states[1], states[3]):
            assert not any(array.any() for key, array in moments.items() if "exp_avg" in key)
            assert float(moments["learning_rate"]) == method.learning_rate
        assert values["statistics"].shape[0] == 1


def test_a_run_that_hardly_learns_ends_where_the_other_did(teacher, tmp_path):
    still = {"learning_rate": 1e-12, "mutation_probability": 0.0}
    gd.run(tiny("grid", rounds=1, init=teacher, **still), store=tmp_path / "student")
    taught = gd.open_run(teacher).best_mixture()
    heaviest = taught.states[max(taught.weights, key=taught.weights.get)]
    for state in gd.open_run(tmp_path / "student").best_mixture().states.values():
        for key, array in heaviest.items():
            np.testing.assert_allclose(state[key], array, atol=1e-9)


def test_networks_that_do_not_fit_are_refused_before_anything_starts(teacher, tmp_path):
    with pytest.raises(gd.SettingError, match=r"init=.*its generator has 0.weight of shape"):
        gd.run(tiny("grid", init=teacher, network="mlp"))
    with pytest.raises(gd.SettingError, match=r"init=.*holds no run with a checkpoint"):
        gd.run(tiny("mggan", init=tmp_path))


def test_the_discriminator_is_the_one_trained_with_the_generator_or_the_newest():
    known = dict.fromkeys([f"cell/0/discriminator/{n}" for n in (2, 9, 10)])
    known |= {"cell/0/discriminator/11/moments": None, "cell/1/discriminator/12": None}
    find = stored._opponent
    assert find("cell/0/generator/9", known) == {"discriminator": "cell/0/discriminator/9"}
    assert find("cell/0/generator/3", known) == {"discriminator": "cell/0/discriminator/10"}
    assert find("cell/2/generator/3", known) == {}
