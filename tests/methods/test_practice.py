"""Settings of common practice: each does what it says, in every method or refused by name."""

import numpy as np
import pytest
import torch
from conftest import TINY, tiny

import gandask as gd
from gandask.core import SettingError
from gandask.methods.tasks import initialise
from gandask.results import without_timings
from gandask.training.identity import of_losses
from gandask.training.learner import Learner
from gandask.training.losses import LOSSES, Loss
from gandask.training.pair import Pair, discriminator_loss
from gandask.training.settings import real_batch

PRACTISED = {"r1": 0.5, "r1_every": 2, "discriminator_learning_rate": 4e-4}
ELSEWHERE = "privacy"


def slope_of_three(samples):
    return 3 * samples[:, :1]


def loss_of(step=0, **penalties):
    """The loss of a discriminator whose slope is 3 everywhere, less what it is without penalty."""
    real, fakes = (torch.ones(4, 2),), (torch.zeros(4, 2),)
    bce = LOSSES["bce"]
    made = []
    for loss in (Loss(bce.generator, bce.discriminator, **penalties), bce):
        chance = torch.Generator().manual_seed(0)
        made.append(discriminator_loss(loss, slope_of_three, real, fakes, chance, step).item())
    return made[0] - made[1]


def test_r1_is_half_the_squared_slope_on_real_samples():
    assert loss_of(r1=2.0) == pytest.approx(9.0)


def test_a_lazy_penalty_is_on_some_steps_and_as_much_heavier():
    found = [loss_of(step, r1=2.0, r1_every=4) for step in range(8)]
    assert found == pytest.approx([36, 0, 0, 0, 36, 0, 0, 0], abs=1e-5)


def test_dragan_asks_for_a_slope_of_one_around_real_samples():
    assert loss_of(dragan=10.0) == pytest.approx(40.0)
    seen = []

    def watched(samples):
        seen.append(samples.detach())
        return slope_of_three(samples)

    real = torch.linspace(-1, 1, 200).reshape(100, 2)
    loss = Loss(LOSSES["bce"].generator, LOSSES["bce"].discriminator, dragan=1.0)
    far = torch.full((100, 2), 50.0)
    discriminator_loss(loss, watched, (real,), (far,), torch.Generator().manual_seed(0))
    moved = seen[-1] - real
    assert moved.min() >= 0
    assert moved.max() < real.std() / 2
    assert moved.std() > 0.01


def test_losses_without_penalties_are_the_ones_that_older_runs_had():
    plain = LOSSES["bce"]
    assert of_losses([plain]) == of_losses([Loss(plain.generator, plain.discriminator)])
    for penalty in ({"r1": 1.0}, {"dragan": 1.0}, {"r1": 1.0, "r1_every": 2}):
        other = Loss(plain.generator, plain.discriminator, **penalty)
        assert of_losses([other]) != of_losses([plain])


@pytest.mark.parametrize("name", sorted(set(TINY) - {ELSEWHERE, "toy"}))
def test_every_method_has_them(name):
    plain, practised = (
        without_timings(gd.run(tiny(name, **given), progress=False)).drop_attrs()
        for given in ({}, PRACTISED)
    )
    assert not plain.identical(practised)
    losses = [key for key in practised if "training_loss" in key or key.endswith("generator_loss")]
    assert all(np.isfinite(practised[key]).any() for key in losses)


def test_networks_of_a_pair_learn_at_rates_of_their_own():
    ds = gd.run(tiny(mutation_probability=0.0, discriminator_learning_rate=5e-4), progress=False)
    assert np.unique(ds.discriminator_learning_rate) == pytest.approx([5e-4])
    assert np.unique(ds.generator_learning_rate) == pytest.approx([tiny().learning_rate])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"r1": 1.0, "dragan": 1.0}, "choose one"),
        ({"r1": 1.0, "loss": "wgan"}, "by itself"),
        ({"dragan": 1.0, "loss": "wgan_gp"}, "by itself"),
        (
            {"r1": 1.0, "data": "digits", "network": "dcgan", "image_size": 16, "batch_size": 50},
            "normalises over the batch",
        ),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_starts(given, told, tmp_path):
    with pytest.raises(SettingError, match=told):
        gd.run(tiny(**given), store=tmp_path / "run")
    assert not (tmp_path / "run").exists()


IMAGES = {"data": "digits", "batch_size": 20}


@pytest.mark.parametrize("name", ["grid", "mggan", "bpgan", "data_parallel", "per_label"])
def test_discriminators_see_changed_images_in_every_method(name):
    plain, augmented, again = (
        without_timings(gd.run(tiny(name, **IMAGES, augment=policy), progress=False)).drop_attrs()
        for policy in ("", "color,translation,cutout", "color,translation,cutout")
    )
    assert augmented.identical(again)
    assert not plain.identical(augmented)


@pytest.mark.parametrize(
    ("given", "told"),
    [({"augment": "color"}, "changes images"), ({**IMAGES, "augment": "colour"}, "color")],
)
def test_changes_that_there_are_not_are_refused(given, told, tmp_path):
    with pytest.raises(SettingError, match=told):
        gd.run(tiny(**given), store=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given",
    [
        {"r1": 1.0},
        {"discriminator_learning_rate": 1e-3},
        {"augment": "color"},
        {"ema": 0.9},
        {"gradient_accumulation": 2},
        {"learning_rate_half_life": 9},
    ],
)
def test_clients_have_terms_of_their_own(given):
    with pytest.raises(SettingError, match="no such setting"):
        tiny(ELSEWHERE, **given)


def pair_of(**given):
    training = tiny(data="digits", batch_size=50, **given).training
    states, _ = initialise(training=training, slot="cell/0", population_size=1)
    return Pair.load(states, training, training.losses[0], "cell/0", 1, torch.device("cpu"))


def test_rates_halve_after_so_many_steps_of_a_network():
    pair = pair_of(learning_rate_half_life=4)
    full = pair.generator.learning_rate
    for _ in range(8):
        pair.generator_step()
    assert pair.generator.rate == pytest.approx(full / 4)
    assert pair.discriminator.rate == pair.discriminator.learning_rate
    told = pair.outcome()
    assert told["generator_learning_rate"] == pair.generator.rate
    again = Learner.of(pair.generator.module, pair.generator.moments(), (0.5, 0.999), 4)
    assert again.rate == pair.generator.rate


@pytest.mark.parametrize("parts", [2, 3, 50])
def test_parts_of_a_batch_add_up_to_it(parts):
    whole, cut = pair_of(), pair_of(gradient_accumulation=parts)
    real = real_batch(whole.training, np.arange(50), torch.device("cpu"))
    for _ in range(2):
        losses = [one.discriminator_step(real) for one in (whole, cut)]
        torch.testing.assert_close(*losses)
        for one in (whole, cut):
            one.generator_step()
    for kind in ("generator", "discriminator"):
        ours, theirs = (getattr(one, kind) for one in (whole, cut))
        torch.testing.assert_close(ours.exp_avg, theirs.exp_avg, rtol=1e-4, atol=1e-7)
        assert ours.steps[0] == theirs.steps[0] == 2


def test_a_part_is_in_memory_at_a_time():
    pair, seen = pair_of(gradient_accumulation=5), []
    pair.discriminator.module.register_forward_hook(lambda *call: seen.append(len(call[1][0])))
    pair.generator_step()
    pair.discriminator_step(real_batch(pair.training, np.arange(50), torch.device("cpu")))
    assert seen == [10] * 15


@pytest.mark.parametrize(
    ("name", "given", "told"),
    [
        ("mggan", {"learning_rate_half_life": 9}, "Algorithm 1"),
        ("bpgan", {"gradient_accumulation": 2}, "several nodes"),
        ("data_parallel", {"gradient_accumulation": 2}, "several nodes"),
        ("grid", {"ema": 1.0}, "less than 1"),
        ("grid", {"ema": -0.1}, "ema"),
    ],
)
def test_what_a_method_has_no_use_for_is_refused_by_name(name, given, told):
    with pytest.raises(SettingError, match=told):
        tiny(name, **given)
