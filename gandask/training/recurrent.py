"""Recurrent networks for sequences: LSTMs (Hochreiter and Schmidhuber, 1997) against each other.

Both players look at the steps of a sequence one after the other, as those of Esteban et al. (2017)
do; here each step's input is a part of the noise, spread out by a linear layer, and a sequence has
one logit, the mean of those of its steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gandask.core import SettingError

HIDDEN = 64  # numbers that either player carries from step to step
INPUTS = 8  # of the generator, for each step


class OverSteps(nn.Module):
    """Run an LSTM over the steps of sequences.

    A loop over its cell, since the fused forms of torch have no gradients of gradients on GPUs:
    gradient penalties need them. Each sequence is by itself, and its steps are dimension 1.

    Parameters
    ----------
    inputs, hidden : int
        Numbers of each step, given and made.
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(inputs, hidden)

    def forward(self, steps: Tensor) -> Tensor:
        """Give what is carried after each step, (n, steps, hidden), from (n, steps, inputs)."""
        state: tuple[Tensor, Tensor] | None = None
        made = []
        for step in steps.unbind(1):
            state = self.cell(step, state)
            made.append(state[0])
        return torch.stack(made, 1)


class MeanOverSteps(nn.Module):
    """Average over the steps of sequences."""

    def forward(self, steps: Tensor) -> Tensor:
        """Give means (n, numbers) of (n, steps, numbers)."""
        return steps.mean(1)


def lstm_generator(
    shape: tuple[int, ...], latent: int, classes: int = 0, activation: str | None = None
) -> nn.Module:
    """Make a generator of sequences, an LSTM; see `gandask.training.networks.Network`.

    Raises
    ------
    SettingError
        For an activation: an LSTM has its own.
    """
    _refuse(activation)
    steps, channels = shape
    return nn.Sequential(
        nn.Linear(latent, steps * INPUTS),
        nn.Unflatten(1, (steps, INPUTS)),
        OverSteps(INPUTS, HIDDEN),
        nn.Linear(HIDDEN, channels),
        nn.Tanh(),
    )


def lstm_discriminator(
    shape: tuple[int, ...], classes: int = 0, activation: str | None = None
) -> nn.Module:
    """Make a discriminator of sequences, an LSTM; see `gandask.training.networks.Network`.

    Raises
    ------
    SettingError
        For an activation: an LSTM has its own.
    """
    _refuse(activation)
    return nn.Sequential(OverSteps(shape[1], HIDDEN), nn.Linear(HIDDEN, 1), MeanOverSteps())


def _refuse(activation: str | None) -> None:
    if activation is not None:
        raise SettingError(
            f"activation={activation!r}: the gates of an LSTM have activations of their own; "
            "leave it out, or choose network='mlp'"
        )
