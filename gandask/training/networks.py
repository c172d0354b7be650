"""Generators and discriminators by name.

`mlp` is the network of Table I in Perez et al. (2020); `dcgan` is that of Radford et al. (2016);
`wgan` sets a critic fit for a gradient penalty (Gulrajani et al., 2017) against the same generator.
`lstm` is of `gandask.training.recurrent`, for sequences.
The conditional ones join the label to the input of both players (Mirza and Osindero, 2014).
`sngan`, `sngan_resnet` and `cgan_projection` are those of `gandask.training.spectral`.

A network of one's own is one more entry, made of two plain functions::

    NETWORKS["mine"] = Network(my_generator, my_discriminator, latent=16)

>>> network = NETWORKS["mlp"]
>>> generator = build(lambda: network.generator((1, 28, 28), network.latent), seed=1)
>>> generator(torch.zeros(5, network.latent)).shape
torch.Size([5, 1, 28, 28])
"""

import contextlib
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn

from gandask.core import SettingError
from gandask.training import spectral
from gandask.training.pyramids import (
    Pyramids,
    Shape,
    activation_of,
    pyramid,
    small_weights,
)
from gandask.training.recurrent import lstm_discriminator, lstm_generator

#: What makes a module, out of the arguments that `Network` describes.
Builder = Callable[..., nn.Module]

# A process has one such generator, and the threads of a worker share it.
_global_generator = threading.Lock()


@dataclass(frozen=True)
class Network:
    """Pair the two builders of a GAN, and say what they are made for.

    The modules draw no random numbers in ``forward``: everything random comes from seeds of
    the run, so dropout, which draws from a global generator, would break reproducibility.
    They keep tensors in parameters and buffers only, so that a state dict holds them all.
    `activation` below is a name in `ACTIVATIONS`, or None for the network's own choice; the
    builders of this file raise `SettingError` for any other.

    Attributes
    ----------
    generator
        Called as ``(shape, latent, classes, activation)``; gives a module from noise
        (n, latent), followed by labels (n,) if `conditional`, to samples ``(n, *shape)``.
        Images and sequences lie in [-1, 1]; points are unbounded.
    discriminator
        Called as ``(shape, classes, activation)``; gives a module from samples ``(n, *shape)``,
        followed by labels (n,) if `conditional`, to logits (n, 1).
    latent
        Default size of the noise.
    loss
        Name in `LOSSES` of the loss that its discriminator is made for.
    conditional
        Whether both modules take labels. If not, the builders ignore `classes`.
    sizes
        Sides of the square images it is made for, such as ``(28, 32)`` or anything else that
        has an ``in``; None for any shape, points included.
    sequences
        Whether it is made for sequences alone.
    classifier
        Called as ``(shape, classes, activation)``; gives a module from samples ``(n, *shape)`` to
        logits (n, classes): what a semi-supervised discriminator is made of; None for none.
    """

    generator: Builder
    discriminator: Builder
    latent: int
    conditional: bool = False
    sizes: Container[int] | None = None
    loss: str = "bce"
    sequences: bool = False
    classifier: Builder | None = None


def check(name: str, network: Network, shape: Shape, classes: int, key: str = "network") -> None:
    """Refuse a network, named in the settings, that does not fit the data.

    Raises
    ------
    SettingError
        If samples of this shape are not what it is made for, or if it is conditional and the
        data has fewer than two classes (0 for unlabelled data).
    """
    fault = _fault(network, shape, classes)
    if fault:
        fitting = [other for other, known in NETWORKS.items() if not _fault(known, shape, classes)]
        raise SettingError(f"{key}={name!r} {fault}; these fit: {', '.join(fitting)}")


def _fault(network: Network, shape: Shape, classes: int) -> str:
    """Say why a network does not fit the data, in words that follow its name; "" if it does."""
    sizes = network.sizes
    if network.sequences and len(shape) != 2:
        return f"is made for sequences (steps, channels), not for samples of shape {shape}"
    if sizes is not None and not (len(shape) == 3 and shape[1] == shape[2] and shape[1] in sizes):
        sides = ", ".join(map(str, _nearest(sizes, max(shape[1:], default=1))))
        return (
            f"is made for square images of other sides (the nearest are {sides}), not for samples "
            f"of shape {shape}"
        )
    if network.conditional and classes < 2:
        return f"needs labelled data of 2 classes or more, and this data has {classes}"
    return ""


def _nearest(sizes: Container[int], side: int) -> list[int]:
    """List the largest of `sizes` up to a side, and the smallest above it."""
    below = next((size for size in range(side, 0, -1) if size in sizes), None)
    above = next((size for size in range(side + 1, _LARGEST + 1) if size in sizes), None)
    return [size for size in (below, above) if size is not None]


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let torch's global generator draw from a seed, and put it back, one thread at a time."""
    with _global_generator, torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: it would also reseed the generators of every accelerator.
        torch.default_generator.manual_seed(seed)
        yield


def build(builder: Callable[[], nn.Module], seed: int, std: float | None = None) -> nn.Module:
    """Call a builder on the CPU, with initial weights that follow from a seed alone.

    Torch's global generator, which draws them, is put back as it was. With `std`, the weights of
    all layers but normalisation are drawn from N(0, std²), and biases are 0.
    """
    with seeded(seed), torch.device("cpu"):
        module = builder()
        if std is not None:
            for name, parameter in module.named_parameters():
                if name.endswith("bias"):
                    nn.init.zeros_(parameter)
                elif parameter.dim() > 1:
                    nn.init.normal_(parameter, 0.0, std)
        return module


def mlp_generator(
    shape: Shape,
    latent: int,
    classes: int = 0,
    activation: str | None = None,
    hidden: Sequence[int] = (256, 256),
) -> nn.Module:
    """Make a fully connected generator for any shape: Table I of Perez et al. (2020).

    The parameters are those of `Network.generator`, and `hidden`, the sizes of the layers
    between. The activation is "leaky_relu" unless named.
    """
    layers = _dense([latent, *hidden, prod(shape)], activation)
    output = nn.Tanh() if len(shape) > 1 else nn.Identity()
    return nn.Sequential(*layers, output, nn.Unflatten(1, shape))


def mlp_discriminator(
    shape: Shape,
    classes: int = 0,
    activation: str | None = None,
    hidden: Sequence[int] = (256, 256),
) -> nn.Module:
    """Make a fully connected discriminator for any shape, the opponent of `mlp_generator`.

    The parameters are those of `Network.discriminator`, and `hidden`, as there.
    """
    return mlp_classifier(shape, 1, activation, hidden)


def mlp_classifier(
    shape: Shape,
    classes: int,
    activation: str | None = None,
    hidden: Sequence[int] = (256, 256),
) -> nn.Module:
    """Make the discriminator of `mlp` with a logit for each class.

    The parameters are those of `Network.classifier`, and `hidden`, as there.
    """
    return nn.Sequential(nn.Flatten(), *_dense([prod(shape), *hidden, classes], activation))


def _dense(sizes: Sequence[int], activation: str | None) -> list[nn.Module]:
    """Return linear layers through these sizes, with an activation between each two."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), activation_of(activation or "leaky_relu")]
    return layers[:-1]


def dcgan_generator(
    shape: Shape, latent: int, classes: int = 0, activation: str | None = None
) -> nn.Module:
    """Make the generator of DCGAN (Radford et al., 2016), with 64 maps in its last hidden layer.

    The parameters are those of `Network.generator`. The activation is "relu" unless named.
    """
    smallest, widths = pyramid(shape[1])
    layers: list[nn.Module] = [
        nn.Unflatten(1, (latent, 1, 1)),
        nn.ConvTranspose2d(latent, widths[-1], smallest, bias=False),
    ]
    for inputs, outputs in pairwise([*reversed(widths), shape[0]]):
        layers += [
            nn.BatchNorm2d(inputs),
            activation_of(activation or "relu"),
            # Only the last has a bias: batch normalisation would cancel that of the others.
            nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=inputs == widths[0]),
        ]
    return small_weights(nn.Sequential(*layers, nn.Tanh()))


def dcgan_discriminator(
    shape: Shape, classes: int = 0, activation: str | None = None, *, critic: bool = False
) -> nn.Module:
    """Make the discriminator of DCGAN (Radford et al., 2016), or a critic in its image.

    The parameters are those of `Network.discriminator`, and `critic`, whether each logit is to
    depend on its own sample alone. The activation is "leaky_relu" unless named.

    A critic has layer normalisation in place of batch normalisation, which would let one
    sample change the logit of another, where a gradient penalty constrains each by itself
    (Gulrajani et al., 2017). It learns no gain: clipping would cut that from 1 to the bound.
    """
    return dcgan_classifier(shape, 1, activation, critic=critic)


def dcgan_classifier(
    shape: Shape, classes: int, activation: str | None = None, *, critic: bool = False
) -> nn.Module:
    """Make the discriminator of DCGAN, or a critic, with a logit for each class.

    The parameters are those of `Network.classifier`, and `critic`, as in `dcgan_discriminator`.
    """
    smallest, widths = pyramid(shape[1])
    layers: list[nn.Module] = [nn.Conv2d(shape[0], widths[0], 4, 2, 1)]
    for inputs, outputs in pairwise(widths):
        layers += [
            activation_of(activation or "leaky_relu"),
            nn.Conv2d(inputs, outputs, 4, 2, 1, bias=critic),
            nn.GroupNorm(1, outputs, affine=False) if critic else nn.BatchNorm2d(outputs),
        ]
    layers += [activation_of(activation or "leaky_relu"), nn.Conv2d(widths[-1], classes, smallest)]
    return small_weights(nn.Sequential(*layers, nn.Flatten()))


class ConditionalGenerator(nn.Module):
    """Join the label, one-hot, to the noise of a generator (Mirza and Osindero, 2014).

    The parameters are those of `Network.generator`, and `body`, the builder for both together.
    """

    def __init__(
        self, shape: Shape, latent: int, classes: int, activation: str | None, *, body: Builder
    ) -> None:
        super().__init__()
        self.classes = classes
        self.body = body(shape, latent + classes, 0, activation)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return samples ``(n, *shape)`` from noise (n, latent) and labels (n,)."""
        label = nn.functional.one_hot(labels, self.classes).to(noise.dtype)
        samples: Tensor = self.body(torch.cat([noise, label], dim=1))
        return samples


class ConditionalDiscriminator(nn.Module):
    """Join the label, one-hot, to the samples of a discriminator (Mirza and Osindero, 2014).

    The parameters are those of `Network.discriminator`; `body`, the builder for both together;
    and `flatten`, whether that takes rows of numbers, not the label as one channel per class.
    """

    def __init__(
        self, shape: Shape, classes: int, activation: str | None, *, body: Builder, flatten: bool
    ) -> None:
        super().__init__()
        self.classes = classes
        self.flatten = flatten
        inner = (prod(shape),) if flatten else shape
        self.body = body((inner[0] + classes, *inner[1:]), 0, activation)

    def forward(self, samples: Tensor, labels: Tensor) -> Tensor:
        """Return logits (n, 1) of samples ``(n, *shape)`` with labels (n,)."""
        samples = samples.flatten(1) if self.flatten else samples
        # One-hot, not a learnt embedding: clipping the weights would all but erase that.
        label = nn.functional.one_hot(labels, self.classes).to(samples.dtype)
        label = label.reshape(*label.shape, *[1] * (samples.dim() - 2))
        channels = label.expand(-1, -1, *samples.shape[2:])
        logits: Tensor = self.body(torch.cat([samples, channels], dim=1))
        return logits


_SMALL = (128, 128)
_LARGEST = 1024  # side of an image that is looked for

#: Every network that a setting can name.
NETWORKS: dict[str, Network] = {
    "mlp": Network(mlp_generator, mlp_discriminator, latent=64, classifier=mlp_classifier),
    "small_mlp": Network(
        partial(mlp_generator, hidden=_SMALL),
        partial(mlp_discriminator, hidden=_SMALL),
        latent=32,
        classifier=partial(mlp_classifier, hidden=_SMALL),
    ),
    "dcgan": Network(
        dcgan_generator,
        dcgan_discriminator,
        latent=100,
        sizes=Pyramids(),
        classifier=dcgan_classifier,
    ),
    "wgan": Network(
        dcgan_generator,
        partial(dcgan_discriminator, critic=True),
        latent=100,
        sizes=Pyramids(),
        loss="wgan_gp",
    ),
    "lstm": Network(lstm_generator, lstm_discriminator, latent=32, sequences=True),
    "sngan": Network(
        dcgan_generator, spectral.sngan_discriminator, latent=128, sizes=Pyramids(), loss="hinge"
    ),
    "sngan_resnet": Network(
        spectral.resnet_generator,
        spectral.resnet_discriminator,
        latent=128,
        sizes=Pyramids(),
        loss="hinge",
    ),
    "conditional_mlp": Network(
        partial(ConditionalGenerator, body=mlp_generator),
        partial(ConditionalDiscriminator, body=mlp_discriminator, flatten=True),
        latent=64,
        conditional=True,
    ),
    "conditional_dcgan": Network(
        partial(ConditionalGenerator, body=dcgan_generator),
        partial(ConditionalDiscriminator, body=dcgan_discriminator, flatten=False),
        latent=100,
        conditional=True,
        sizes=Pyramids(),
    ),
    "cgan_projection": Network(
        spectral.ProjectionGenerator,
        spectral.ProjectionDiscriminator,
        latent=100,
        conditional=True,
        sizes=Pyramids(),
        loss="hinge",
    ),
}
