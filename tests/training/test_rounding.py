"""Steps in bfloat16: networks alone are rounded, and only where that is asked for."""

import numpy as np
import pytest
import torch
from conftest import tiny

import gandask as gd
from gandask.core import SettingError
from gandask.methods.tasks import initialise
from gandask.results import without_timings
from gandask.training.pair import Pair
from gandask.training.settings import real_batch

CPU = torch.device("cpu")


def pair_of(**given):
    training = tiny(data="digits", batch_size=50, **given).training
    states, _ = initialise(training=training, slot="cell/0", population_size=1)
    return Pair.load(states, training, training.losses[0], "cell/0", 1, CPU)


@pytest.mark.parametrize(("network", "loss"), [("mlp", "bce"), ("wgan", "wgan_gp")])
def test_networks_compute_rounded_and_all_else_does_not(network, loss):
    rounded, plain = (pair_of(network=network, loss=loss, precision=p) for p in ("bf16", "high"))
    seen = []
    for pair in (rounded, plain):
        for learner in (pair.generator, pair.discriminator):
            layers = [part for part in learner.module.modules() if hasattr(part, "weight")]
            layers[0].register_forward_hook(lambda *call: seen.append(call[2].dtype))
    losses = []
    for pair in (rounded, plain):
        real = real_batch(pair.training, np.arange(50), CPU)
        losses.append(pair.discriminator_step(real))
        losses.append(pair.generator_gradients()[0])
    assert {*seen} == {torch.bfloat16, torch.float32}
    assert seen[: len(seen) // 2] == [torch.bfloat16] * (len(seen) // 2)
    assert {one.dtype for one in losses} == {torch.float32}
    for one, other in zip(losses[:2], losses[2:], strict=True):
        assert one != other
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)
    for state in (*rounded.generator.states(), *rounded.discriminator.states()):
        assert all(array.dtype in (np.float32, np.float64, np.int64) for array in state.values())


@pytest.mark.parametrize("name", ["grid", "mggan", "per_label"])
def test_methods_take_it_and_repeat_it(name):
    plain, one, again = (
        without_timings(gd.run(tiny(name, precision=p), progress=False)).drop_attrs()
        for p in ("highest", "bf16", "bf16")
    )
    assert one.identical(again)
    assert not one.identical(plain)


@pytest.mark.parametrize("name", ["bpgan", "data_parallel", "privacy"])
def test_methods_that_do_not_refuse_it_by_name(name):
    with pytest.raises(SettingError, match="precision='bf16'"):
        tiny(name, precision="bf16")
