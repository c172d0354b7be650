"""What a client is asked to train, as the server's side may say it: names and numbers, bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gandask import config
from gandask.clients.spending import DPSGD
from gandask.config import setting, settings
from gandask.core import SettingError
from gandask.training import losses, networks
from gandask.training.pyramids import ACTIVATIONS
from gandask.training.settings import Training
from gandask.training.wire import WIRES

FEEDBACK_NORMS = ("none", "unit")


@settings
class Terms:
    """What a discriminator at a client is, and how it learns and answers."""

    base: str = setting("dcgan", "name in NETWORKS of the discriminator")
    loss: str = setting("bce", "name in LOSSES")
    activation: str | None = setting(None, "of hidden layers", choices=tuple(ACTIVATIONS))
    initial_std: float | None = setting(None, "of initial weights", above=0)
    shape: tuple[int, ...] = setting((1, 28, 28), "of a sample", minimum=1, maximum=4096)
    batch_size: int = setting(64, "samples per batch", minimum=1, maximum=1 << 16)
    steps: int = setting(1, "of the discriminator in a round", minimum=1, maximum=1 << 16)
    answered: int = setting(1, "batches of a round that are answered", minimum=1, maximum=1 << 16)
    learning_rate: float = setting(1e-4, "of Adam", above=0)
    adam_betas: tuple[float, float] = setting((0.0, 0.99), "of Adam", minimum=0, below=1)
    wire: str = setting("float32", "what feedback travels as", choices=WIRES)
    feedback_norm: str = setting(
        "none", "whether the feedback on each fake has the norm 1", choices=FEEDBACK_NORMS
    )
    privacy: DPSGD | None = setting(None, "differential privacy of the discriminator")
    epsilon_limit: float | None = setting(None, "at which the client answers no more", above=0)
    report_private_scores: bool = setting(
        False, "with privacy: whether scores computed from private data leave all the same"
    )
    precision: str = setting("highest", "of products", choices=("highest", "high", "medium"))
    torch_threads: int = setting(1, "torch threads", minimum=1, maximum=1024)
    seed: int = setting(1, "of draws that need not be secret", minimum=0)
    slot: str = setting("client/0", "whose draws these are")

    def __post_init__(self) -> None:
        config.lookup("base", self.base, networks.NETWORKS)
        config.lookup("loss", self.loss, losses.LOSSES)
        if networks.NETWORKS[self.base].conditional:
            raise SettingError(
                f"base={self.base!r}: takes labels, and how often a client has each is private; "
                "choose one that does not"
            )
        if self.answered > self.steps:
            raise SettingError(
                f"answered={self.answered}: expected at most {self.steps}, the steps of a round"
            )

    @property
    def silent(self) -> bool:
        """Whether scores of private data stay at the client."""
        return self.privacy is not None and not self.report_private_scores

    def training(self, source: Mapping[str, Any], device: str) -> Training:
        """Give what trains by these terms, on data from a source."""
        network = networks.NETWORKS[self.base]
        return Training(
            source=source,
            network=network,
            losses=(losses.LOSSES[self.loss],),
            seed=self.seed,
            activation=self.activation,
            latent=network.latent,
            batch_size=self.batch_size,
            discriminator_steps=1,
            learning_rate=self.learning_rate,
            discriminator_learning_rate=None,
            learning_rate_half_life=None,
            gradient_accumulation=1,
            ema=0.0,
            augment="",
            adam_betas=self.adam_betas,
            data_fraction=1.0,
            score_samples=0,
            shown_samples=0,
            features="auto",
            inception_weights=None,
            precision=self.precision,
            device=device,
            torch_threads=self.torch_threads,
            initial_std=self.initial_std,
            init=None,
            sample_shape=self.shape,
            classes=1,
        )
