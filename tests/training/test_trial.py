"""Networks as people write them: what can be trained is, and the rest is refused before a run."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

import gandask as gd
from gandask.methods import tasks
from gandask.training.learner import Learner, load_module, tied, trainable
from gandask.training.losses import LOSSES
from gandask.training.pair import discriminator_loss
from gandask.training.settings import real_batch
from gandask.training.trial import check_networks

CPU = torch.device("cpu")


def layers(*last):
    return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1), *last)


class Own(nn.Module):
    """A discriminator around the usual layers, with something beside them."""

    def __init__(self, **beside):
        super().__init__()
        self.body = layers()
        for name, made in beside.items():
            setattr(self, name, made)

    def forward(self, samples):
        return self.body(samples)


def frozen():
    module = layers()
    module[0].requires_grad_(False)
    return module


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(2, 16), nn.Linear(2, 16)
        self.other.weight = self.one.weight
        self.last = nn.Linear(16, 1)

    def forward(self, samples):
        return self.last(torch.relu(self.one(samples)) - torch.relu(self.other(-samples)))


class Cast(Own):
    """Of another precision between its ends."""

    def __init__(self, dtype):
        super().__init__()
        self.body.to(dtype)
        self.dtype = dtype

    def forward(self, samples):
        return self.body(samples.to(self.dtype)).float()


class Fourier(nn.Module):
    """Looks at samples through waves, which are no parameters."""

    def __init__(self, kept):
        super().__init__()
        waves = torch.arange(1.0, 9.0)
        if kept == "drawn":
            waves = torch.from_numpy(np.random.default_rng().normal(size=8).astype(np.float32))
        if kept in ("buffer", "passing"):
            self.register_buffer("waves", waves, persistent=kept == "buffer")
        else:
            self.waves = waves
        self.last = nn.Linear(16, 1)

    def forward(self, samples):
        return self.last((samples[:, :, None] * self.waves).sin().flatten(1))


class FadedIn(Own):
    """Counts its batches, and comes in little by little."""

    seen = 1

    def forward(self, samples):
        self.seen += self.training
        return self.body(samples) * self.seen


class Branched(Own):
    """Asks a tensor while it is made."""

    def __init__(self):
        super().__init__()
        if float(self.body[0].weight.detach().sum()) > 1e9:
            self.body = layers()


KEPT = {"layers": layers(), "weight": nn.Parameter(torch.ones(1, 16)), "waves": torch.ones(2)}
KEPT |= {"norm": nn.BatchNorm1d(2, affine=False), "activation": nn.ReLU()}
COUNTED = itertools.count(1)


def sharing(name):
    """Share a parameter, but not the module that it is of."""
    made = layers()
    setattr(made[2], name, KEPT[name])
    return made


class Buffered(Own):
    """Has a buffer that was made once for all."""

    def __init__(self):
        super().__init__()
        self.register_buffer("waves", KEPT["waves"])

    def forward(self, samples):
        return self.body(samples * self.waves)


class Counting(Own):
    """Counts elsewhere."""

    def forward(self, samples):
        return self.body(samples) * next(COUNTED)


TAKEN = {
    "frozen layer": frozen,
    "unused head": lambda: Own(head=nn.Linear(16, 8)),
    "tied weights": Tied,
    "one module twice": lambda: (lambda one: Own(body=one, again=one))(layers()),
    "double precision": lambda: Cast(torch.float64),
    "unused number": lambda: Own(scale=nn.Parameter(torch.tensor(1.0))),
    "spectral norm": lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(2, 1))),
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 1)),
    "buffer": lambda: Fourier("buffer"),
    "batch norm": lambda: nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Linear(16, 1)),
    "dropout": lambda: layers(nn.Dropout(0.5)),
    "shared activation": lambda: nn.Sequential(layers(), KEPT["activation"]),
    "shared buffer": Buffered,
    "copy": lambda: copy.deepcopy(KEPT["layers"]),
}

REFUSED = {
    "lazy": (lambda: nn.LazyLinear(1), "does not know the size of 'weight'"),
    "all frozen": (lambda: layers().requires_grad_(False), "has no parameter to train"),
    "passing buffer": (lambda: Fourier("passing"), "it keeps 'waves' elsewhere.*register_buffer"),
    "plain tensor": (lambda: Fourier("plain"), "it keeps 'waves' elsewhere.*register_buffer"),
    "drawn by NumPy": (lambda: Fourier("drawn"), "it keeps 'waves' elsewhere"),
    "counter": (FadedIn, "it gives something else then"),
    "bfloat16": (lambda: Cast(torch.bfloat16), "BFloat16"),
    "branched": (Branched, r"not the same .*torch.device\('meta'\)"),
    "one for all": (lambda: KEPT["layers"], r"not built anew.*share '0.weight'.*copy.deepcopy"),
    "one part for all": (lambda: Own(head=KEPT["layers"]), "not built anew.*share 'head.0.weight'"),
    "one weight for all": (lambda: sharing("weight"), "not built anew.*share '2.weight'"),
    "one norm for all": (
        lambda: nn.Sequential(KEPT["norm"], layers()),
        "not built anew.*share '0.running_mean'",
    ),
    "shape": (lambda: layers(nn.Flatten(0)), r"gives \(2,\) for two samples"),
}


@pytest.fixture
def own(grid, monkeypatch):
    """Make the training of a grid whose discriminator is one's own."""

    def made(build, **settings):
        generator = gd.NETWORKS["small_mlp"].generator
        network = gd.Network(generator, lambda *given: build(), latent=8)
        monkeypatch.setitem(gd.NETWORKS, "mine", network)
        return grid(network="mine", **settings).training

    return made


@pytest.mark.parametrize("name", TAKEN)
def test_what_can_be_trained_goes_on_from_task_to_task(own, name):
    """Two steps in one task come to the same bits as one step in each of two."""
    training = own(TAKEN[name])
    check_networks(training, "network='mine'")
    (_, _, *born), _ = tasks.initialise(training=training, slot="cell/0", population_size=1)
    real, fakes = real_batch(training, np.arange(50), CPU), (torch.ones(50, 2),)

    def begun(states):
        module = load_module(training.build_discriminator, states[0], CPU)
        return Learner.of(module, states[1], training.adam_betas)

    def step(learner):
        torch.manual_seed(0)  # of dropout
        loss = discriminator_loss(LOSSES["bce"], learner.module, real, fakes, torch.Generator())
        learner.step(loss)
        return learner.states()

    whole = begun(born)
    step(whole)
    expected, found = step(whole), step(begun(step(begun(born))))
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[key], other[key]) for key in one)
    changed = {key for key, array in found[0].items() if not np.array_equal(array, born[0][key])}
    unused = {"head.weight", "head.bias", "scale"}
    assert changed & {*trainable(whole.module)} == {*trainable(whole.module)} - unused
    assert not changed & unused
    assert name != "frozen layer" or changed == {"2.weight", "2.bias"}
    for name, first in tied(training.build_discriminator()).items():
        assert np.array_equal(found[0][name], found[0][first])
        assert whole.module.get_parameter(name) is whole.module.get_parameter(first)


@pytest.mark.parametrize("name", REFUSED)
def test_the_rest_is_refused_before_anything_is_written(own, grid, tmp_path, name):
    build, said = REFUSED[name]
    own(build)
    with pytest.raises(gd.SettingError, match=rf"network='mine': its discriminator.*{said}"):
        gd.run(grid(network="mine"), store=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_batch_too_small_for_a_layer_is_refused(own):
    check_networks(own(TAKEN["batch norm"]), "network='mine'")
    with pytest.raises(gd.SettingError, match=r"cannot be trained on batches of 1 .*more than 1"):
        check_networks(own(TAKEN["batch norm"], batch_size=1), "network='mine'")


def test_every_loss_is_tried(own, monkeypatch):
    def wrong(real, fake):
        raise RuntimeError("a loss of mine is wrong")

    monkeypatch.setitem(LOSSES, "wrong", gd.Loss(LOSSES["bce"].generator, wrong))
    with pytest.raises(gd.SettingError, match=r"cannot be trained .*a loss of mine is wrong"):
        check_networks(own(layers, loss=("bce", "wrong")), "network='mine'")


def test_random_numbers_of_a_network_are_told(own, said):
    check_networks(own(layers), "network='mine'")
    assert not said()
    before = torch.get_rng_state()
    check_networks(own(TAKEN["dropout"]), "network='mine'")
    assert torch.equal(before, torch.get_rng_state())
    (told,) = said()
    assert told.startswith("network='mine': its discriminator draws random numbers")


def test_what_no_seed_reaches_is_told(own, said):
    def drawn():
        made = layers()
        nn.init.constant_(made[0].bias, next(COUNTED))
        return made

    check_networks(own(drawn), "network='mine'")
    with pytest.raises(gd.SettingError, match="it gives something else then"):
        check_networks(own(Counting), "network='mine'")
    for told in said():
        assert told.startswith("network='mine': its discriminator gives something else each time")
    assert len(said()) == 2


@pytest.mark.parametrize("restless", [lambda: next(COUNTED), lambda: torch.rand(())])
def test_a_loss_that_is_another_each_time_is_told(own, monkeypatch, said, restless):
    bce = LOSSES["bce"]
    counting = gd.Loss(bce.generator, lambda *logits: bce.discriminator(*logits) * restless())
    monkeypatch.setitem(LOSSES, "counting", counting)
    check_networks(own(layers, loss=("bce", "counting")), "network='mine'")
    (told,) = said()
    assert told.startswith("network='mine': the loss of its discriminator gives something else")
