"""Changes of samples that a discriminator is to see through: differentiable augmentation.

Real samples and fakes are changed alike, in the discriminator's steps and in the generator's, whose
gradient flows back through the change, after Zhao et al. (2020). What is scored and shown is never
changed. Images are (n, channels, height, width) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Judge = Callable[..., Tensor]
"""Samples, and labels where networks are conditional, to logits."""

SHIFT = 1 / 8  # of a side, at most, that an image is moved by
HOLE = 1 / 2  # of a side that is cut out


def colour(images: Tensor, chance: torch.Generator) -> Tensor:
    """Change brightness, saturation and contrast, of each image by amounts of its own."""
    bright, saturated, contrasted = (
        torch.rand(len(images), 1, 1, 1, generator=chance, device=images.device).to(images)
        for _ in range(3)
    )
    images = images + (bright - 0.5)
    grey = images.mean(1, keepdim=True)
    images = (images - grey) * (2 * saturated) + grey
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * (contrasted + 0.5) + mean


def translation(images: Tensor, chance: torch.Generator) -> Tensor:
    """Move each image by up to an eighth of its sides; what moves in is 0."""
    places = []
    for dim in (2, 3):
        size = images.shape[dim]
        most = int(size * SHIFT + 0.5)
        moved = _whole(-most, most, len(images), chance, images.device)
        places.append(torch.arange(size, device=images.device) + moved[:, None])
    (rows, columns), (height, width) = places, images.shape[2:]
    known = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
        :, None
    ]
    taken = rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    each = torch.arange(len(images), device=images.device)[:, None, None]
    found = images.permute(0, 2, 3, 1)[each, taken[0], taken[1]]
    return (found * known[..., None]).permute(0, 3, 1, 2)


def cutout(images: Tensor, chance: torch.Generator) -> Tensor:
    """Cut a hole of half its sides into each image, which may lie over an edge."""
    within = []
    for dim in (2, 3):
        size = images.shape[dim]
        hole = int(size * HOLE + 0.5)
        centre = _whole(0, size - hole % 2, len(images), chance, images.device)
        begin = (centre - hole // 2)[:, None]
        place = torch.arange(size, device=images.device)[None]
        within.append((place >= begin) & (place < begin + hole))
    rows, columns = within
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


def _whole(
    low: int, high: int, count: int, chance: torch.Generator, device: torch.device
) -> Tensor:
    """Draw whole numbers, the ends among them."""
    return torch.randint(low, high + 1, (count,), generator=chance, device=device)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "color": colour,
    "translation": translation,
    "cutout": cutout,
}
"""By the names that they were published under."""


def names(policy: str) -> list[str]:
    """Give the names that a policy lists with commas between.

    Examples
    --------
    >>> names("color, cutout"), names("")
    (['color', 'cutout'], [])
    """
    return [name.strip() for name in policy.split(",") if name.strip()]


class Augmented:
    """A discriminator that sees each sample changed.

    Parameters
    ----------
    judge : callable
    policy : sequence of str
        Names of `AUGMENTATIONS`, in the order in which they are applied.
    chance : torch.Generator
        Where they draw from.
    """

    def __init__(self, judge: Judge, policy: Sequence[str], chance: torch.Generator) -> None:
        self.judge, self.policy, self.chance = judge, policy, chance

    def __call__(self, samples: Tensor, *labels: Tensor) -> Tensor:
        """Judge samples as they are seen."""
        for name in self.policy:
            samples = AUGMENTATIONS[name](samples, self.chance)
        return self.judge(samples, *labels)
