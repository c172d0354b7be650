"""A step is Adam's, however the gradients lie in memory."""

import pytest
import torch
from torch import nn

from gandask.training.learner import Learner, fresh_moments

BETAS = (0.5, 0.999)
ORDERS = {
    "channels last": lambda g: g.contiguous(memory_format=torch.channels_last),
    "another order": lambda g: g.transpose(0, 1).contiguous().transpose(0, 1),
    "every second": lambda g: torch.stack([g, -g], -1).flatten(-2)[..., ::2],
    "one for all": lambda g: g[:1, :1, :1, :1].expand(g.shape),
}


def stepped(gradient):
    """Give a convolution's weights after three steps down a gradient, and what Adam remembers."""
    module = nn.Conv2d(3, 4, 2, bias=False)
    nn.init.zeros_(module.weight)
    learner = Learner.of(module, fresh_moments(module, 0.1), BETAS)
    for _ in range(3):
        learner.apply([gradient])
    return [module.weight.detach(), *learner.exp_avg, *learner.exp_avg_sq]


@pytest.mark.parametrize("order", ORDERS)
def test_gradients_are_taken_for_the_weights_that_they_are_of(order):
    gradient = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    moved = ORDERS[order](gradient)
    assert moved.stride() != gradient.stride()
    found, expected = stepped(moved), stepped(moved.contiguous())
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_a_network_laid_out_channels_last_takes_the_same_steps():
    gradient = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        module = nn.Conv2d(3, 4, 2, bias=False)
        nn.init.zeros_(module.weight)
        module.to(memory_format=layout)
        moments = fresh_moments(module, 0.1)
        learner = Learner.of(module, moments, BETAS)
        learner.apply([gradient])
        learner = Learner.of(module, learner.moments(), BETAS)  # as from a checkpoint
        learner.apply([gradient * 2])
        found.append([module.weight.detach(), *learner.exp_avg, *learner.exp_avg_sq])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


class Summed(nn.Module):
    """Weights whose gradient is one number for all: what a sum passes back."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(5))

    def forward(self, x):
        return x.sum() + self.shift.sum()


def test_a_sums_one_gradient_moves_all_alike():
    module = Summed()
    learner = Learner.of(module, fresh_moments(module, 0.1), BETAS)
    learner.step(module(torch.ones(3)))
    assert module.shift.tolist() == pytest.approx([-0.1] * 5)
