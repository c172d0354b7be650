"""Discriminators that tell classes: their logit, their labelled samples, and what they learn."""

import numpy as np
import pytest
import torch
from conftest import tiny
from torch.nn import functional

from gandask.core import SettingError
from gandask.training import stacked
from gandask.training.learner import fresh_moments, save_module
from gandask.training.networks import NETWORKS, build
from gandask.training.pair import Pair, discriminator_loss
from gandask.training.settings import real_batch
from gandask.training.supervision import Labelled, labelled_samples, semi_supervised, telling

CPU = torch.device("cpu")
ABLE = [name for name, network in NETWORKS.items() if network.classifier]
DIGITS = {"data": "digits", "batch_size": 20, "labelled": 50, "image_size": 16}


def training(**given):
    return tiny("grid", **{**DIGITS, **given}).training


@pytest.mark.parametrize("name", ABLE)
def test_the_logit_is_that_of_published_d(name):
    t = training(network=name)
    judge = build(t.build_discriminator, seed=1).eval()
    samples = t.data.batch(np.arange(6))
    with torch.no_grad():
        logits = telling(judge).classify(samples)
        evidence = logits.double().exp().sum(1, keepdim=True)  # Z of Salimans et al.
        assert logits.shape == (6, 10)
        assert judge(samples).shape == (6, 1)
        expected = evidence / (evidence + 1)
        torch.testing.assert_close(judge(samples).double().sigmoid(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ABLE)
def test_each_logit_is_of_its_own_sample(name):
    t = training(network=name)
    judge = telling(build(t.build_discriminator, seed=1).eval())
    samples = t.data.batch(np.arange(2))
    with torch.no_grad():
        alone = torch.cat([judge.classify(samples[:1]), judge.classify(samples[1:])])
        torch.testing.assert_close(judge.classify(samples), alone)


@pytest.mark.parametrize("name", ABLE)
def test_with_one_class_it_is_the_network_that_judges_alone(name):
    judge = build(lambda: NETWORKS[name].discriminator((1, 16, 16), 10, None), seed=3)
    one = build(lambda: NETWORKS[name].classifier((1, 16, 16), 1, None), seed=3)
    samples = training(network=name).data.batch(np.arange(4))
    assert torch.equal(judge(samples), one(samples))


@pytest.mark.parametrize("name", sorted({*NETWORKS} - {*ABLE}))
def test_networks_without_classes_are_refused(name):
    with pytest.raises(
        SettingError, match=rf"network='{name}'.* these have: mlp, small_mlp, dcgan"
    ):
        semi_supervised(name, NETWORKS)


def test_labelled_samples_are_of_each_class_and_none_is_held_out():
    t = training(labelled=53)
    chosen, held = labelled_samples(t), t.held_out[1]
    counts = np.bincount(t.data.labels[chosen], minlength=10)
    assert len(np.unique(chosen)) == 53
    assert set(counts) == {5, 6}
    assert not set(chosen) & set(held)
    assert not set(t.shard("cell/0")) & set(held)
    other = training(labelled=53, seed=2)
    assert set(chosen) != set(labelled_samples(other))
    assert set(held) != set(other.held_out[1])


def test_without_labelled_samples_none_is_held_out():
    t = training(labelled=0, data_fraction=1.0)
    assert np.array_equal(t.shard("cell/0"), np.arange(len(t.data)))


def test_batches_of_labelled_samples_are_drawn_by_slot_and_round():
    t = training()
    drawn = []
    for key in ((1, "cell/0"), (1, "cell/0"), (2, "cell/0"), (1, "cell/1")):
        judge = build(t.build_discriminator, seed=1)
        drawn.append(Labelled(t, CPU, *key).loss(judge, torch.Generator()).item())
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def pair_of(t):
    modules = [build(make, seed=1) for make in (t.build_generator, t.build_discriminator)]
    states = [s for m in modules for s in (save_module(m), fresh_moments(m, t.learning_rate))]
    return Pair.load(states, t, t.losses[0], "cell/0", 1, CPU)


def test_the_discriminator_learns_both_losses():
    t = training(batch_size=50)  # all labelled samples at once, in whatever order
    made, again = pair_of(t), pair_of(t)
    real = real_batch(t, np.arange(50), CPU)
    found = made.discriminator_step(real)
    with torch.no_grad():
        fakes = (again.generator.module(*again.inputs()),)
        judge = telling(again.discriminator.module)
        usual = discriminator_loss(t.losses[0], judge, real, fakes, again.epsilon)
        chosen = labelled_samples(t)
        labels = torch.from_numpy(t.data.labels[chosen])
        classes = functional.cross_entropy(judge.classify(t.data.batch(chosen)), labels)
    torch.testing.assert_close(found, usual + classes)


def test_labelled_samples_are_seen_as_changed_as_others():
    losses = []
    for augment in ("", "color"):
        t = training(augment=augment, batch_size=50)
        judge = build(t.build_discriminator, seed=1)
        changes = t.changes(CPU, 1, "cell/0")
        losses.append(Labelled(t, CPU, 1, "cell/0").loss(judge, changes).item())
    assert losses[0] != losses[1]


def test_their_steps_are_not_stacked():
    for labelled, stackable in ((0, True), (50, False)):
        t = training(network="small_mlp", labelled=labelled)
        modules = build(t.build_generator, 1), build(t.build_discriminator, 1)
        assert stacked.stackable(t.losses, *modules) is stackable
