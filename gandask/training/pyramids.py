"""What convolutional networks are made of: levels of maps, activations, and first weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from gandask.config import lookup

#: The shape of one sample: (channels, height, width) of an image, (2,) of a point in the plane,
#: (steps, channels) of a sequence.
Shape = tuple[int, ...]

#: Every hidden activation that a setting can name.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "leaky_relu": partial(nn.LeakyReLU, 0.2),
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}


def activation_of(name: str) -> nn.Module:
    """Make a new activation of a name in `ACTIVATIONS`.

    Raises
    ------
    SettingError
        For any other.
    """
    made: nn.Module = lookup("activation", name, ACTIVATIONS)()
    return made


class Pyramids:
    """Sides of the images that `dcgan_generator` can build up, and its opponent take apart.

    These are the smallest maps, 4 to 7 a side, doubled once or more.

    Examples
    --------
    >>> [side for side in range(1, 100) if side in Pyramids()]
    [8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96]
    """

    def __contains__(self, side: object) -> bool:
        if not isinstance(side, int) or side < 8:
            return False
        smallest, widths = pyramid(side)
        return smallest << len(widths) == side


def pyramid(side: int) -> tuple[int, list[int]]:
    """Return the side of the smallest maps, and the maps per level from the image down to it."""
    widths: list[int] = []
    while side > 7:
        side //= 2
        widths.append(64 * 2 ** len(widths))
    return side, widths


def small_weights(module: nn.Module) -> nn.Module:
    """Draw weights from N(0, 0.02), and gains from N(1, 0.02), as DCGAN does; biases are 0."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d) and not part.affine:
            continue
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm2d):
            nn.init.normal_(part.weight, float(isinstance(part, nn.BatchNorm2d)), 0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module
