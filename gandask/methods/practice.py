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


@settings
class Practice(Method[V]):
    """Settings of common practice."""

    discriminator_learning_rate: float | None = setting(
        None, "initial Adam learning rate of discriminators; learning_rate by default", above=0
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
