"""Networks with spectral normalisation, and those that use labels within.

`sngan` and `sngan_resnet` are the networks of Miyato et al. (2018), Tables 3 and 4, for any side of
`Pyramids`; `cgan_projection` is of Miyato and Koyama (2018): labels choose gains and biases in the
generator, and the discriminator compares them with what it sees.

The vectors that spectral norms are estimated by are buffers of the module, and travel in its state.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gandask.training.pyramids import Shape, activation_of, pyramid, small_weights


def sngan_discriminator(shape: Shape, classes: int = 0, activation: str | None = None) -> nn.Module:
    """Make the convolutional discriminator of Miyato et al. (2018), Table 3.

    The parameters are those of `Network.discriminator`. The activation is "leaky_relu" unless
    named.
    """
    layers, features = _sngan_layers(shape, activation)
    return nn.Sequential(*layers, nn.Flatten(), _normed(nn.Linear(features, 1)))


def _sngan_layers(shape: Shape, activation: str | None) -> tuple[list[nn.Module], int]:
    """Make the convolutions, and say how many numbers they give for a sample."""
    smallest, widths = pyramid(shape[1])
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise([shape[0], *widths]):
        for convolution in (
            nn.Conv2d(inputs, outputs, 3, 1, 1),
            nn.Conv2d(outputs, outputs, 4, 2, 1),
        ):
            layers += [_normed(convolution), activation_of(activation or "leaky_relu")]
    last = 2 * widths[-1]
    layers += [_normed(nn.Conv2d(widths[-1], last, 3, 1, 1))]
    return [*layers, activation_of(activation or "leaky_relu")], last * smallest**2


def _normed(layer: nn.Module) -> nn.Module:
    """Divide a layer's weights by their largest singular value, estimated a step at a time."""
    made: nn.Module = spectral_norm(layer)
    return made


def resnet_generator(
    shape: Shape, latent: int, classes: int = 0, activation: str | None = None, width: int = 256
) -> nn.Module:
    """Make the residual generator of Miyato et al. (2018), Table 4.

    The parameters are those of `Network.generator`, and `width`, the maps of each block. The
    activation is "relu" unless named.
    """
    smallest, levels = pyramid(shape[1])
    act = activation or "relu"
    return nn.Sequential(
        nn.Linear(latent, width * smallest**2),
        nn.Unflatten(1, (width, smallest, smallest)),
        *[UpBlock(width, act) for _ in levels],
        nn.BatchNorm2d(width),
        activation_of(act),
        nn.Conv2d(width, shape[0], 3, 1, 1),
        nn.Tanh(),
    )


def resnet_discriminator(
    shape: Shape, classes: int = 0, activation: str | None = None, width: int = 128
) -> nn.Module:
    """Make the residual discriminator of Miyato et al. (2018), Table 4.

    The parameters are those of `Network.discriminator`, and `width`, the maps of each block. The
    activation is "relu" unless named.
    """
    _, levels = pyramid(shape[1])
    act = activation or "relu"
    halved = [DownBlock(width, width, act) for _ in levels[2:]]
    return nn.Sequential(
        DownBlock(shape[0], width, act, first=True),
        *halved,
        *[DownBlock(width, width, act, halves=False) for _ in range(2)],
        activation_of(act),
        MapSum(),
        _normed(nn.Linear(width, 1)),
    )


class UpBlock(nn.Module):
    """A residual block that doubles the sides of its maps."""

    def __init__(self, width: int, activation: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            activation_of(activation),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(width, width, 3, 1, 1),
            nn.BatchNorm2d(width),
            activation_of(activation),
            nn.Conv2d(width, width, 3, 1, 1),
        )
        self.beside = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Give maps of twice the sides."""
        made: Tensor = self.body(maps) + self.beside(maps)
        return made


class DownBlock(nn.Module):
    """A residual block of a discriminator, which may halve the sides of its maps.

    Parameters
    ----------
    inputs, outputs : int
        Maps.
    first : bool
        Whether it sees samples, which nothing is to be cut from before.
    halves : bool
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        activation: str,
        *,
        first: bool = False,
        halves: bool = True,
    ) -> None:
        super().__init__()
        before = [] if first else [activation_of(activation)]
        pool = [nn.AvgPool2d(2)] if halves else []
        self.body = nn.Sequential(
            *before,
            _normed(nn.Conv2d(inputs, outputs, 3, 1, 1)),
            activation_of(activation),
            _normed(nn.Conv2d(outputs, outputs, 3, 1, 1)),
            *pool,
        )
        changed = [_normed(nn.Conv2d(inputs, outputs, 1))] if halves else []
        self.beside = nn.Sequential(*pool, *changed)

    def forward(self, maps: Tensor) -> Tensor:
        """Give maps, of half the sides where it halves them."""
        made: Tensor = self.body(maps) + self.beside(maps)
        return made


class MapSum(nn.Module):
    """Sum of each map."""

    def forward(self, maps: Tensor) -> Tensor:
        """Give a number for each map, (n, maps)."""
        return maps.sum((2, 3))


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gains and biases are the label's (Dumoulin et al. 2017)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(features, affine=False)
        self.gain = nn.Embedding(classes, features)
        self.bias = nn.Embedding(classes, features)
        nn.init.normal_(self.gain.weight, 1.0, 0.02)
        nn.init.zeros_(self.bias.weight)

    def forward(self, maps: Tensor, labels: Tensor) -> Tensor:
        """Give maps as large as those that came."""
        gain, bias = (part(labels)[:, :, None, None] for part in (self.gain, self.bias))
        made: Tensor = gain * self.norm(maps) + bias
        return made


class ProjectionGenerator(nn.Module):
    """The generator of DCGAN with conditional batch normalisation.

    The parameters are those of `Network.generator`. The activation is "relu" unless named.
    """

    def __init__(self, shape: Shape, latent: int, classes: int, activation: str | None) -> None:
        super().__init__()
        smallest, widths = pyramid(shape[1])
        falling = [*reversed(widths)]
        self.first = nn.Sequential(
            nn.Unflatten(1, (latent, 1, 1)),
            nn.ConvTranspose2d(latent, falling[0], smallest, bias=False),
        )
        self.norms = nn.ModuleList(ConditionalBatchNorm(width, classes) for width in falling)
        self.layers = nn.ModuleList(
            nn.Sequential(
                activation_of(activation or "relu"), nn.ConvTranspose2d(inputs, outputs, 4, 2, 1)
            )
            for inputs, outputs in pairwise([*falling, shape[0]])
        )
        self.output = nn.Tanh()
        small_weights(self)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Return samples ``(n, *shape)`` from noise (n, latent) and labels (n,)."""
        maps: Tensor = self.first(noise)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            maps = layer(norm(maps, labels))
        samples: Tensor = self.output(maps)
        return samples


class ProjectionDiscriminator(nn.Module):
    """The discriminator of `sngan`, whose logit has the label's likeness to what it sees added.

    The parameters are those of `Network.discriminator`.
    """

    def __init__(self, shape: Shape, classes: int, activation: str | None) -> None:
        super().__init__()
        layers, features = _sngan_layers(shape, activation)
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.score = _normed(nn.Linear(features, 1))
        self.likeness = _normed(nn.Embedding(classes, features))

    def forward(self, samples: Tensor, labels: Tensor) -> Tensor:
        """Return logits (n, 1) of samples ``(n, *shape)`` with labels (n,)."""
        seen = self.body(samples)
        logits: Tensor = self.score(seen) + (self.likeness(labels) * seen).sum(1, keepdim=True)
        return logits
