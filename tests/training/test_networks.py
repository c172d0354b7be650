"""The registry of networks: one test of conduct over every entry and every shape it claims."""

import functools
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from gandask.core import SettingError
from gandask.training.learner import load_module, save_module
from gandask.training.losses import gradient_penalty
from gandask.training.networks import (
    NETWORKS,
    Network,
    build,
    check,
    dcgan_discriminator,
    mlp_generator,
)
from gandask.training.pyramids import ACTIVATIONS
from gandask.training.recurrent import OverSteps

CLASSES = 3
ANY_SHAPE = [(2,), (6, 2), (1, 8, 8), (3, 5, 9), (3, 28, 28)]
SEQUENCES = [(2, 1), (6, 2), (24, 5)]
SIDES = (8, 10, 16, 28, 32, 48, 64)
CLAIMS = [
    (name, shape)
    for name, network in NETWORKS.items()
    for shape in (
        SEQUENCES
        if network.sequences
        else ANY_SHAPE
        if network.sizes is None
        else [(channels, side, side) for channels in (1, 3) for side in SIDES]
    )
]
SHAPES = {"lstm": (6, 2)} | {name: (1, 28, 28) for name, one in NETWORKS.items() if one.sizes}
ENTRIES = [(name, SHAPES.get(name, (2,))) for name in NETWORKS]


def players(name, shape, seed=0):
    network = NETWORKS[name]
    generator = build(lambda: network.generator(shape, network.latent, CLASSES, None), seed)
    discriminator = build(lambda: network.discriminator(shape, CLASSES, None), seed)
    return generator, discriminator


def inputs(name, shape, n=3):
    random = torch.Generator().manual_seed(1)
    noise = torch.randn(n, NETWORKS[name].latent, generator=random)
    samples = torch.rand(n, *shape, generator=random) * 2 - 1
    labels = (torch.arange(n) % CLASSES,) if NETWORKS[name].conditional else ()
    return noise, samples, labels


@pytest.mark.parametrize(("name", "shape"), CLAIMS)
def test_every_network_fits_every_shape_it_claims(name, shape):
    check(name, NETWORKS[name], shape, CLASSES)
    generator, discriminator = players(name, shape)
    noise, _, labels = inputs(name, shape)
    fakes = generator(100 * noise, *labels)
    assert fakes.shape == (3, *shape)
    assert discriminator(fakes, *labels).shape == (3, 1)
    if len(shape) > 1:
        assert fakes.abs().max() <= 1
    else:
        assert fakes.abs().max() > 1, "points are not squashed"


@pytest.mark.parametrize(("name", "shape"), ENTRIES)
def test_logits_are_not_squashed(name, shape):
    _, discriminator = players(name, shape)
    _, samples, labels = inputs(name, shape)
    last = [part for part in discriminator.modules() if getattr(part, "bias", None) is not None][-1]
    with torch.no_grad():
        last.bias.fill_(50.0)
    assert (discriminator(samples, *labels) > 2).all()


@pytest.mark.parametrize(("name", "shape"), ENTRIES)
def test_gradient_reaches_every_parameter(name, shape):
    generator, discriminator = players(name, shape)
    noise, samples, labels = inputs(name, shape, n=8)
    loss = torch.nn.functional.softplus(discriminator(generator(noise, *labels), *labels)).mean()
    loss = loss + torch.nn.functional.softplus(-discriminator(samples, *labels)).mean()
    loss.backward()
    for module in (generator, discriminator):
        for key, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.any(), key


def test_mlp_has_the_layers_of_table_one():
    generator, discriminator = players("mlp", (1, 28, 28))
    shapes = [tuple(weight.shape) for weight in generator.parameters()]
    assert shapes == [(256, 64), (256,), (256, 256), (256,), (784, 256), (784,)]
    # 64·256 + 256 + 256·256 + 256 + 256·784 + 784, and 784·256 + 256 + 256·256 + 256 + 256 + 1.
    assert sum(weight.numel() for weight in generator.parameters()) == 283_920
    assert sum(weight.numel() for weight in discriminator.parameters()) == 267_009


def test_small_mlp_is_small():
    generator, _ = players("small_mlp", (2,))
    assert [len(bias) for bias in generator.parameters() if bias.dim() == 1] == [128, 128, 2]


@pytest.mark.parametrize("side", [96, 112, 128, 160])
@pytest.mark.parametrize("name", ["dcgan", "wgan", "conditional_dcgan"])
def test_large_images_too_go_up_the_pyramid_and_down(name, side):
    """By shapes alone: to compute them would take a while."""
    network, shape = NETWORKS[name], (3, side, side)
    check(name, network, shape, CLASSES)
    with torch.device("meta"):
        labels = (torch.zeros(2, dtype=torch.int64),) if network.conditional else ()
        fakes = network.generator(shape, network.latent, CLASSES, None)(
            torch.zeros(2, network.latent), *labels
        )
        assert fakes.shape == (2, *shape)
        discriminator = network.discriminator(shape, CLASSES, None)
        assert discriminator(fakes, *labels).shape == (2, 1)


@pytest.mark.parametrize(
    ("shape", "nearest"),
    [((3, 36, 36), "32, 40"), ((1, 7, 7), "8"), ((3, 127, 127), "112, 128"), ((2,), "8")],
)
def test_sides_that_no_pyramid_reaches_are_refused_with_those_nearby(shape, nearest):
    with pytest.raises(SettingError, match=rf"the nearest are {nearest}\)"):
        check("dcgan", NETWORKS["dcgan"], shape, CLASSES)


def test_a_network_may_list_its_sides():
    mine = Network(mlp_generator, mlp_generator, 4, sizes=(28, 32))
    check("mine", mine, (1, 28, 28), 0)
    with pytest.raises(SettingError, match=r"the nearest are 28, 32\)"):
        check("mine", mine, (1, 30, 30), 0)


@pytest.mark.parametrize("side", [28, 32, 64])
def test_dcgan_has_64_maps_next_to_the_image_and_small_weights(side):
    generator, discriminator = players("dcgan", (3, side, side))
    kernels = [weight for weight in generator.parameters() if weight.dim() == 4]
    assert kernels[-1].shape == (64, 3, 4, 4)
    assert next(discriminator.parameters()).shape == (64, 3, 4, 4)
    every = torch.cat([weight.detach().flatten() for weight in kernels])
    assert every.mean().item() == pytest.approx(0, abs=1e-3)
    assert every.std().item() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("shape", [(2,), (1, 28, 28)])
def test_what_is_no_sequence_is_refused_by_recurrent_networks(shape):
    with pytest.raises(SettingError, match=r"'lstm' is made for sequences.*these fit: mlp"):
        check("lstm", NETWORKS["lstm"], shape, CLASSES)


def test_an_lstm_is_that_of_torch():
    over = build(lambda: OverSteps(3, 5), seed=1)
    fused = torch.nn.LSTM(3, 5, batch_first=True)
    weights = over.cell.state_dict().items()
    fused.load_state_dict({f"{name}_l0": weight for name, weight in weights})
    steps = torch.randn(4, 7, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(over(steps), fused(steps)[0])


@pytest.mark.parametrize(("name", "alone"), [("wgan", True), ("dcgan", False)])
def test_only_the_critic_scores_each_sample_alone(name, alone):
    _, discriminator = players(name, (1, 28, 28))
    _, samples, _ = inputs(name, (1, 28, 28))
    together, apart = discriminator(samples)[:2], discriminator(samples[:2])
    assert torch.allclose(together, apart, atol=1e-6) == alone


@pytest.mark.parametrize(("name", "shape"), ENTRIES)
def test_what_is_evaluated_together_is_what_each_is_alone(name, shape):
    """Once trained: while it is trained, batch normalisation looks at the whole batch.

    The released Lipizzaner's LSTM runs across the samples of a batch, trained or not.
    """
    generator, discriminator = players(name, shape)
    noise, samples, labels = inputs(name, shape, 2)
    for network, given in ((generator, noise), (discriminator, samples)):
        network(given, *labels)  # statistics of a batch, for the networks that keep some
        network.eval()
        with torch.no_grad():
            together = network(given, *labels)
            alone = [
                network(given[i : i + 1], *(part[i : i + 1] for part in labels)) for i in (0, 1)
            ]
        assert torch.allclose(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_the_gradient_penalty_trains_the_critic():
    _, critic = players("wgan", (1, 28, 28))
    _, samples, _ = inputs("wgan", (1, 28, 28))
    gradient_penalty(critic, samples, -samples, torch.full((3, 1, 1, 1), 0.3)).backward()
    kernels = [weight for weight in critic.parameters() if weight.dim() == 4]
    assert len(kernels) == 3
    assert all(kernel.grad.isfinite().all() and kernel.grad.any() for kernel in kernels)


def test_a_clipped_critic_still_tells_samples_apart():
    critic = build(lambda: dcgan_discriminator((1, 32, 32), critic=True), seed=0)
    with torch.no_grad():
        for weight in critic.parameters():
            weight.clamp_(-0.01, 0.01)
    _, samples, _ = inputs("wgan", (1, 32, 32))
    assert critic(samples).std() > 1e-2


def test_build_is_deterministic_and_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    first, second, other = (
        build(lambda: mlp_generator((2,), 4), seed).state_dict() for seed in (7, 7, 8)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_build_puts_the_global_generator_back_after_a_failure():
    def broken():
        torch.rand(3)
        raise RuntimeError("no network here")

    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="no network here"):
        build(broken, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    build(lambda: mlp_generator((2,), 4), seed=1)


@pytest.mark.parametrize(("name", "shape"), ENTRIES)
@pytest.mark.parametrize("training", [True, False])
def test_a_state_put_into_meta_modules_gives_the_same_output(name, shape, training):
    network = NETWORKS[name]
    with torch.device("meta"):
        empty = (
            network.generator(shape, network.latent, CLASSES, None),
            network.discriminator(shape, CLASSES, None),
        )
    noise, samples, labels = inputs(name, shape)
    for module, bare, data in zip(players(name, shape), empty, (noise, samples), strict=True):
        state = module.state_dict()
        assert all(type(value) is torch.Tensor and not value.is_sparse for value in state.values())
        bare.load_state_dict({key: value.clone() for key, value in state.items()}, assign=True)
        outputs = [net.train(training)(data, *labels) for net in (module, bare)]
        assert torch.equal(*outputs)


def test_batch_statistics_are_part_of_the_state():
    generator, _ = players("dcgan", (1, 28, 28))
    noise, _, _ = inputs("dcgan", (1, 28, 28))
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    generator(noise)
    changed = {key for key, value in generator.state_dict().items() if (value != before[key]).any()}
    assert {key.split(".")[-1] for key in changed} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }


@pytest.mark.parametrize(("name", "shape"), ENTRIES)
def test_forward_draws_no_random_numbers(name, shape):
    noise, samples, labels = inputs(name, shape)
    generator, discriminator = players(name, shape)
    before = torch.get_rng_state()
    generator(noise, *labels)
    discriminator.train()(samples, *labels)
    discriminator.eval()  # in training, spectral norms come closer with each batch
    assert torch.equal(generator(noise, *labels), generator(noise, *labels))
    assert torch.equal(discriminator(samples, *labels), discriminator(samples, *labels))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name, shape in CLAIMS if NETWORKS[name].conditional and shape[-1] < 32],
)
def test_the_label_changes_the_output(name, shape):
    noise, samples, _ = inputs(name, shape)
    for module, data in zip(players(name, shape), (noise, samples), strict=True):
        module.eval()
        outputs = [module(data, torch.full((3,), label)) for label in range(CLASSES)]
        for one, other in [(0, 1), (0, 2), (1, 2)]:
            assert not torch.allclose(outputs[one], outputs[other], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "found"),
    [
        ("dcgan", (1, 9, 9), 10, r"nearest are 8, 10\), not for samples of shape \(1, 9, 9\)"),
        ("wgan", (2,), 8, r"not for samples of shape \(2,\)"),
        ("dcgan", (1, 28, 32), 10, r"square images .* not for samples of shape \(1, 28, 32\)"),
        ("conditional_mlp", (2,), 0, "labelled data of 2 classes or more, and this data has 0"),
        ("conditional_dcgan", (1, 28, 28), 1, "labelled data .* has 1"),
    ],
)
def test_refusals_name_key_value_and_remedy(name, shape, classes, found):
    with pytest.raises(SettingError, match=found) as refusal:
        check(name, NETWORKS[name], shape, classes)
    message = str(refusal.value)
    assert message.startswith(f"network={name!r} ")
    remedy = message.split("these fit: ")[1].split(", ")
    assert "mlp" in remedy and name not in remedy
    for fitting in remedy:
        check(fitting, NETWORKS[fitting], shape, classes)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("name", "shape"), [entry for entry in ENTRIES if entry[0] != "lstm"])
def test_every_hidden_activation_is_the_one_named(name, shape, activation):
    network = NETWORKS[name]
    hidden = (
        network.generator(shape, network.latent, CLASSES, activation),
        network.discriminator(shape, CLASSES, activation),
    )
    known = tuple(type(make()) for make in ACTIVATIONS.values())
    for module, output in zip(hidden, (len(shape) == 3, False), strict=True):
        found = [type(part) for part in module.modules() if isinstance(part, known)]
        assert len(found[: len(found) - output]) >= 2
        assert set(found[: len(found) - output]) == {type(ACTIVATIONS[activation]())}


def test_an_lstm_has_activations_of_its_own():
    network = NETWORKS["lstm"]
    for builder, given in ((network.generator, [(6, 2), 4]), (network.discriminator, [(6, 2)])):
        with pytest.raises(SettingError, match="activation='relu': the gates"):
            builder(*given, CLASSES, "relu")


def test_an_unknown_activation_is_refused():
    with pytest.raises(SettingError, match=r"activation='leakyrelu'.*leaky_relu"):
        mlp_generator((2,), 4, 0, "leakyrelu")


def test_networks_travel_to_workers():
    for network in NETWORKS.values():
        copy = pickle.loads(pickle.dumps(network))
        assert isinstance(copy, Network)
        assert (28 in copy.sizes) if network.sizes else copy.sizes is None
        original, again = (
            build(lambda n=n: n.discriminator((1, 28, 28), CLASSES, None), seed=1).state_dict()
            for n in (network, copy)
        )
        assert all(torch.equal(original[key], again[key]) for key in original)


def test_threads_building_at_once_do_not_mix_their_seeds():
    network = NETWORKS["dcgan"]

    def made(seed):
        module = build(lambda: network.generator((1, 28, 28), network.latent), seed)
        return torch.cat([p.detach().flatten() for p in module.parameters()])

    seeds = list(range(16))
    alone = [made(seed) for seed in seeds]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # else a thread mostly gets to build in one go
    try:
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(made, seeds))
    finally:
        sys.setswitchinterval(interval)
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("name", ["sngan", "sngan_resnet", "cgan_projection"])
def test_spectral_norms_are_one_and_their_vectors_travel(name):
    _, discriminator = players(name, (3, 16, 16))
    _, samples, labels = inputs(name, (3, 16, 16))
    with torch.no_grad():
        for part in discriminator.parameters():
            part.mul_(7.0)
        for _ in range(100):  # each takes the estimate a step further
            discriminator.train()(samples, *labels)
    normed = [part for part in discriminator.modules() if hasattr(part, "parametrizations")]
    assert len(normed) >= 4
    for part in normed:
        norm = torch.linalg.matrix_norm(part.eval().weight.flatten(1), 2)
        assert norm.item() == pytest.approx(1.0, abs=0.05)
    plain = [part for part in discriminator.modules() if isinstance(part, (nn.Linear, nn.Conv2d))]
    assert {*plain} <= {*normed}
    build = functools.partial(NETWORKS[name].discriminator, (3, 16, 16), CLASSES, None)
    state = save_module(discriminator)
    assert sum(key.endswith(("._u", "._v")) for key in state) == 2 * len(normed)
    again = load_module(build, state, torch.device("cpu"))
    assert torch.equal(discriminator.eval()(samples, *labels), again(samples, *labels))


def test_labels_choose_gains_and_are_compared_with_what_is_seen():
    generator, discriminator = players("cgan_projection", (1, 16, 16))
    noise, samples, _ = inputs("cgan_projection", (1, 16, 16))
    zeros, ones = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64)
    with torch.no_grad():
        for norm in generator.norms:
            norm.gain.weight.fill_(1.0)
        torch.testing.assert_close(generator(noise, zeros), generator(noise, ones))
        generator.norms[0].gain.weight[1] = 2.0
        discriminator.eval()
        assert not torch.allclose(generator(noise, zeros), generator(noise, ones))
        assert not torch.allclose(discriminator(samples, zeros), discriminator(samples, ones))
