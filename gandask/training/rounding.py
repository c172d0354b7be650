"""Steps in bfloat16: networks compute in it, where torch has it so, and weights stay float32.

Losses, penalties, Adam, averages, fitness and scores are float32. Mixed precision after
Micikevicius et al. (2018); bfloat16 needs no scaling of losses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gandask.training.augmenting import Judge

BF16 = "bf16"
"""The `precision` that asks for it."""


@dataclass(frozen=True)
class Rounded:
    """A network that computes in bfloat16, and gives numbers of the kind that it was given."""

    module: Judge

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Compute as the network does."""
        with torch.autocast(inputs[0].device.type, torch.bfloat16):
            return self.module(*inputs).to(inputs[0].dtype)


def rounded(module: Judge, precision: str) -> Judge:
    """Let a network compute in bfloat16, where that is asked for."""
    return Rounded(module) if precision == BF16 else module
