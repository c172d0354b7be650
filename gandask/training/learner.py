"""Networks at rest as named arrays, and in training with what Adam remembers of them.

A network is built from states on entry and turned back on exit, so that nothing handed in is ever
changed. Adam after Kingma and Ba (2015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from gandask.core import Array, State
from gandask.training.averaging import Average
from gandask.training.weights import trained_of

ADAM_EPSILON = 1e-8


def load_module(build: Callable[[], nn.Module], state: State, device: torch.device) -> nn.Module:
    """Make a network that holds copies of the arrays in `state`; what is tied stays tied.

    Where an average of them lies beside the weights, it holds the weights.
    """
    with torch.device("meta"):
        module = build()
    ties = tied(module)
    arrays = {name: torch.tensor(array) for name, array in trained_of(state).items()}
    module.load_state_dict(arrays, assign=True)
    for name, first in ties.items():
        owner, _, own_name = name.rpartition(".")
        setattr(module.get_submodule(owner), own_name, module.get_parameter(first))
    return module.to(device).eval()


def tied(module: nn.Module) -> dict[str, str]:
    """Give the name of each parameter that has another one already, with that first name.

    Examples
    --------
    >>> layer = nn.Linear(2, 2)
    >>> tied(nn.Sequential(layer, nn.Tanh(), layer))
    {'2.weight': '0.weight', '2.bias': '0.bias'}
    """
    known: dict[int, str] = {}
    named = module.named_parameters(remove_duplicate=False)
    firsts = {name: known.setdefault(id(parameter), name) for name, parameter in named}
    return {name: first for name, first in firsts.items() if name != first}


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Give the parameters that are trained, each once, by name: others are left as they are."""
    return {name: part for name, part in module.named_parameters() if part.requires_grad}


def gradients(
    loss: Tensor, parameters: Sequence[Tensor], slope: Tensor | None = None
) -> tuple[Tensor, ...]:
    """Compute the gradient of a loss for each of some parameters; others' are never computed.

    It is 0 for one that the loss does not depend on.

    Parameters
    ----------
    slope : tensor, optional
        The gradient for each number of `loss`, where that is more than one.
    """
    return torch.autograd.grad(loss, parameters, slope, allow_unused=True, materialize_grads=True)


def laid_out(given: Sequence[Tensor], parameters: Sequence[Tensor]) -> list[Tensor]:
    """Give gradients or moments that lie in memory as their parameters do.

    A GPU may find another order faster for gradients, and what a sum passes back is one number for
    all. Fused Adam goes through memory as it lies, and would take one number for another without a
    word.
    """
    return [
        one if one.stride() == of.stride() else torch.empty_like(of).copy_(one)
        for one, of in zip(given, parameters, strict=True)
    ]


def save_module(module: nn.Module) -> dict[str, Array]:
    """Give the weights and buffers of a network as named arrays."""
    return {name: tensor.detach().cpu().numpy() for name, tensor in module.state_dict().items()}


def buffer_names(module: nn.Module) -> list[str]:
    """Name the buffers that are stored with a network: what batch normalisation counts, say.

    Examples
    --------
    >>> buffer_names(nn.BatchNorm1d(2)), buffer_names(nn.Linear(2, 2))
    (['running_mean', 'running_var', 'num_batches_tracked'], [])
    """
    known = dict(module.named_buffers())
    return [name for name in module.state_dict() if name in known]


@dataclass
class Learner:
    """A network in training, with what Adam remembers of each parameter that is trained.

    Attributes
    ----------
    learning_rate : float
        That of the next step, but for its decay.
    taken : int
        Steps that it took, before this task too.
    half_life : int, optional
        Steps after which half of the learning rate is left.
    average : Average, optional
        That of its weights, where one is kept.
    """

    module: nn.Module
    parameters: list[Tensor]
    exp_avg: list[Tensor]
    exp_avg_sq: list[Tensor]
    steps: list[Tensor]
    learning_rate: float
    betas: tuple[float, float]
    taken: int = 0
    half_life: int | None = None
    average: Average | None = None

    @classmethod
    def of(
        cls,
        module: nn.Module,
        moments: State,
        betas: tuple[float, float],
        half_life: int | None = None,
        average: Average | None = None,
    ) -> Learner:
        """Continue training from stored Adam moments and learning rate."""
        named = trainable(module.train())
        parameters: list[Tensor] = [*named.values()]

        def tensors(pattern: str) -> list[Tensor]:
            """Give an array for each parameter, at its device."""
            return [
                torch.tensor(moments[pattern.format(name)], device=parameter.device)
                for name, parameter in named.items()
            ]

        return cls(
            module,
            parameters,
            laid_out(tensors("{}.exp_avg"), parameters),
            laid_out(tensors("{}.exp_avg_sq"), parameters),
            tensors("step"),
            float(moments["learning_rate"]),
            betas,
            int(moments["step"]),
            half_life,
            average,
        )

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        decay = 0.5 ** (self.taken / self.half_life) if self.half_life else 1.0
        return self.learning_rate * decay

    def gradients(self, loss: Tensor, slope: Tensor | None = None) -> tuple[Tensor, ...]:
        """Compute the gradient of a loss for each parameter; see `gradients`."""
        return gradients(loss, self.parameters, slope)

    def apply(self, gradients: Sequence[Tensor], clip: float | None = None) -> None:
        """Take one Adam step down the gradients, one for each parameter.

        Parameters
        ----------
        clip : float, optional
            Bound to which every weight is clipped afterwards (`Loss.clip`).
        """
        with torch.no_grad():
            # not torch.optim.Adam: the first of those loads torch's compiler, a second or two
            adam(
                self.parameters,
                laid_out(gradients, self.parameters),
                self.exp_avg,
                self.exp_avg_sq,
                [],
                self.steps,
                fused=True,
                amsgrad=False,
                beta1=self.betas[0],
                beta2=self.betas[1],
                lr=self.rate,
                weight_decay=0.0,
                eps=ADAM_EPSILON,
                maximize=False,
            )
            if clip is not None:
                for parameter in self.parameters:
                    parameter.clamp_(-clip, clip)
            self.taken += 1
            if self.average:
                self.average.follow(self.module, self.taken)

    def step(self, loss: Tensor, clip: float | None = None) -> None:
        """Take one Adam step down a loss."""
        self.apply(self.gradients(loss), clip)

    def states(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """Give the weights, beside them their average if one is kept, and the moments."""
        kept = self.average.state() if self.average else {}
        return save_module(self.module) | kept, self.moments()

    def sampled(self) -> nn.Module:
        """Give the network to draw samples from: that of the average, where one is kept."""
        return self.average.module(self.module) if self.average else self.module

    def moments(self) -> dict[str, Array]:
        """Give the Adam moments and the learning rate as named arrays."""
        saved: dict[str, Array] = {
            "learning_rate": np.array(self.learning_rate),
            "step": self.steps[0].cpu().numpy(),
        }
        for index, name in enumerate(trainable(self.module)):
            saved[f"{name}.exp_avg"] = self.exp_avg[index].cpu().numpy()
            saved[f"{name}.exp_avg_sq"] = self.exp_avg_sq[index].cpu().numpy()
        return saved


def fresh_moments(module: nn.Module, learning_rate: float) -> dict[str, Array]:
    """Give the moments of a network that was never trained."""
    moments: dict[str, Array] = {
        "learning_rate": np.array(learning_rate),
        "step": np.array(0.0, np.float32),
    }
    for name, parameter in trainable(module).items():
        zeros = torch.zeros(parameter.shape, dtype=parameter.dtype)
        for key in ("exp_avg", "exp_avg_sq"):
            moments[f"{name}.{key}"] = zeros.numpy()
    return moments
