"""The moving average of a generator's weights: scored, mixed and sampled in their place.

Exponential, as of Yazıcı et al. (2019). It lies in the state of the generator beside the weights,
under their names and a prefix, and goes wherever they go.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gandask.core import Array, State
from gandask.training.weights import PREFIX


@dataclass
class Average:
    """The average of all that a network in training holds, but for what it counts.

    What batch normalisation found is averaged as well: it belongs to the weights.

    Attributes
    ----------
    decay : float
        How much of it is left after a step, once there were some ten times as many as it looks
        back on. Before, it is (1 + n) / (10 + n) after n steps: it soon forgets the first weights.
    numbers : mapping of str to tensor
        By the names that the network has for them.
    """

    decay: float
    numbers: dict[str, Tensor]

    @classmethod
    def of(cls, module: nn.Module, state: State, decay: float) -> Average:
        """Continue the average in a state, or begin one with the weights of the network."""
        return cls(
            decay,
            {
                name: torch.tensor(state[PREFIX + name], device=now.device)
                if PREFIX + name in state
                else now.detach().clone()
                for name, now in module.state_dict().items()
                if now.is_floating_point()
            },
        )

    def follow(self, module: nn.Module, steps: int) -> None:
        """Take the weights of a network in that has taken so many steps."""
        now, new = module.state_dict(), 1 - self.kept(steps)
        with torch.no_grad():
            for name, part in self.numbers.items():
                part.lerp_(now[name], new)

    def kept(self, steps: int) -> float:
        """Give how much of the average is left after so many steps."""
        return min(self.decay, (1 + steps) / (10 + steps))

    def module(self, trained: nn.Module) -> nn.Module:
        """Make a network of the average, beside the one that is trained."""
        made = copy.deepcopy(trained)
        made.load_state_dict({**trained.state_dict(), **self.numbers})
        return made

    def state(self) -> dict[str, Array]:
        """Give the average as named arrays."""
        return {PREFIX + name: part.cpu().numpy() for name, part in self.numbers.items()}
