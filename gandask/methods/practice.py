"""Settings that people who train GANs expect of every method: off, all is as without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from gandask import config
from gandask.config import setting, settings
from gandask.core import Method, SettingError, View
from gandask.training.augmenting import AUGMENTATIONS, names
from gandask.training.losses import Loss

V = TypeVar("V", bound=View)
PRACTICES = (
    "discriminator_learning_rate",
    "learning_rate_half_life",
    "gradient_accumulation",
    "ema",
    "r1",
    "dragan",
    "augment",
)
"""What is off unless it is asked for."""


@settings
class Practice(Method[V]):
    """Settings of common practice."""

    discriminator_learning_rate: float | None = setting(
        None, "initial Adam learning rate of discriminators; learning_rate by default", above=0
    )
    learning_rate_half_life: int | None = setting(
        None, "steps of a network after which half of its learning rate is left", minimum=1
    )
    gradient_accumulation: int = setting(
        1,
        "parts that a batch is cut into, whose gradients are added up for a step: less memory, the "
        "same step but for normalisation over the batch",
        minimum=1,
    )
    ema: float = setting(
        0.0,
        "how much of a moving average of generators' weights a step leaves, such as 0.999; it is "
        "scored, mixed and sampled in their place; 0: none",
        minimum=0,
        below=1,
    )
    r1: float = setting(
        0.0,
        "weight γ of the R1 penalty: of γ/2 · E ‖∇D(x)‖² on real samples; 0: none",
        minimum=0,
    )
    r1_every: int = setting(
        16, "discriminator steps of a task for each with the R1 penalty, r1_every times as heavy",
        minimum=1,
    )  # fmt: skip
    augment: str = setting(
        "",
        "changes of images that discriminators see samples through, with commas between: "
        + ", ".join(AUGMENTATIONS),
    )
    dragan: float = setting(
        0.0,
        "weight λ of DRAGAN's penalty: of λ · E (‖∇D‖ - 1)² around real samples; 10 is published; "
        "0: none",
        minimum=0,
    )

    def refuse_practices(self, names: Sequence[str], why: str) -> None:
        """Refuse settings that a method has no use for.

        Parameters
        ----------
        names : sequence of str
            Of `PRACTICES`.
        why : str
            What takes the place of each, in words that follow its value.

        Raises
        ------
        SettingError
        """
        for key, value in config.changed(self).items():
            if key in names:
                raise SettingError(f"{key}={value!r}: {why}; leave it out")

    def check_augment(self, shape: Sequence[int]) -> None:
        """Refuse changes that there are not, or of samples that are no images.

        Parameters
        ----------
        shape : sequence of int
            Of a sample.

        Raises
        ------
        SettingError
        """
        for name in names(self.augment):
            config.lookup("augment", name, AUGMENTATIONS)
        if self.augment and len(shape) != 3:
            raise SettingError(
                f"augment={self.augment!r}: changes images, and samples have the shape "
                f"{tuple(shape)}; leave it out"
            )

    def _practised(self, losses: Sequence[Loss]) -> tuple[Loss, ...]:
        """Give losses the penalties that are asked for.

        Raises
        ------
        SettingError
            For two penalties that hold the slopes of a discriminator in bounds.
        """
        if self.r1 and self.dragan:
            raise SettingError(
                f"r1={self.r1} and dragan={self.dragan}: both hold the slopes of discriminators in "
                "bounds; choose one"
            )
        asked = "r1" if self.r1 else "dragan" if self.dragan else ""
        if asked and any(loss.gradient_penalty or loss.clip is not None for loss in losses):
            raise SettingError(
                f"{asked}={getattr(self, asked)}: the loss holds the slopes of discriminators in "
                f"bounds by itself, as wgan and wgan_gp do; choose another loss, or {asked}=0"
            )
        return tuple(
            replace(loss, r1=self.r1, r1_every=self.r1_every, dragan=self.dragan) if asked else loss
            for loss in losses
        )
