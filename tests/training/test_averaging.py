"""The average of a generator's weights: what it is, and that it is what is scored and sampled."""

import numpy as np
import pytest
import safetensors.numpy
import torch
from conftest import TINY, tiny
from torch import nn

import gandask as gd
from gandask.results import without_timings
from gandask.training.averaging import Average
from gandask.training.learner import Learner, fresh_moments, load_module
from gandask.training.weights import PREFIX, average_of, trained_of

CPU = torch.device("cpu")
METHODS = sorted(set(TINY) - {"privacy", "toy"})


def quiet(method, **options):
    return gd.run(method, progress=False, **options)


def test_it_follows_the_weights_and_soon_forgets_the_first():
    layer = nn.Linear(1, 1)
    average = Average.of(layer, {}, 0.5)
    expected = {name: part.clone() for name, part in layer.state_dict().items()}
    for steps in range(1, 20):
        with torch.no_grad():
            layer.weight.add_(1.0)
        average.follow(layer, steps)
        kept = (1 + steps) / (10 + steps) if steps < 8 else 0.5
        expected = {
            name: kept * part + (1 - kept) * layer.state_dict()[name]
            for name, part in expected.items()
        }
    for name, part in average.numbers.items():
        torch.testing.assert_close(part, expected[name])
    assert not torch.equal(average.numbers["weight"], layer.weight)


def test_what_batch_normalisation_found_is_averaged_and_counts_are_not():
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    learner = Learner.of(module, fresh_moments(module, 0.1), (0.5, 0.9))
    learner.average = Average.of(module, {}, 0.9)
    for batch in torch.randn(5, 8, 2):
        learner.step(module(batch).square().mean())
    weights, _ = learner.states()
    assert f"{PREFIX}1.running_mean" in weights
    assert f"{PREFIX}1.num_batches_tracked" not in weights
    assert average_of(weights)["1.num_batches_tracked"] == 5
    assert {*average_of(weights)} == {*trained_of(weights)} == {*module.state_dict()}
    again = load_module(lambda: nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), weights, CPU)
    torch.testing.assert_close(again.state_dict(), module.state_dict())
    for name, part in learner.sampled().state_dict().items():
        np.testing.assert_array_equal(part, average_of(weights)[name])


@pytest.mark.parametrize("name", METHODS)
def test_scores_are_the_average_s_and_training_is_as_without(name):
    plain, averaged = (
        without_timings(quiet(tiny(name, ema=ema))).drop_attrs() for ema in (0.0, 0.9)
    )
    learnt = [key for key in plain if key.endswith(("generator_loss", "discriminator_loss"))]
    learnt += [key for key in plain if "training_loss" in key]
    assert learnt
    for key in learnt:
        np.testing.assert_array_equal(plain[key], averaged[key], err_msg=key)
    scores = [key for key in plain if key.endswith("fid")]
    assert scores
    assert all(not plain[key].equals(averaged[key]) for key in scores)


def test_it_is_kept_sampled_exported_and_started_from(tmp_path):
    method = tiny(ema=0.9, mixture_generations=0)
    quiet(method, store=tmp_path / "run")
    run = gd.open_run(tmp_path / "run")
    best = run.best_mixture()
    name = max(best.weights, key=best.weights.get)
    state = best.states[name]
    average = {key.removeprefix(PREFIX): a for key, a in state.items() if key.startswith(PREFIX)}
    assert {*average} == {*trained_of(state)}
    assert all((average[key] != state[key]).any() for key in average)
    drawn = method.generate(name, state, 50, 1, run.store.description["facts"])
    same = method.generate(name, average, 50, 1, run.store.description["facts"])
    np.testing.assert_array_equal(drawn, same)
    raw = method.generate(name, trained_of(state), 50, 1, run.store.description["facts"])
    assert (drawn != raw).any()
    exported = safetensors.numpy.load_file(run.export(tmp_path / "g.safetensors"))
    assert {*exported} == {*average}
    assert all((exported[key] == average[key]).all() for key in average)
    begun = tiny(init=str(tmp_path / "run")).training.starting_pair()["generator"]
    assert all((begun[key] == average[key]).all() for key in average)
