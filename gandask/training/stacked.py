"""Several pairs trained as one: batched steps, for a device that a single small net leaves idle.

The networks of all pairs become rows of one tensor, and a step of all of them one batched step. The
arithmetic is that of one pair after the other, to the rounding of its sums: each pair keeps its
batches, noise, learning rates and loss. Adam after Kingma and Ba (2015).

How a device rounds may hang on the shape of its tensors. There are always as many rows, therefore,
whoever else is there: what becomes of a pair does not depend on which pairs share its worker.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from gandask.core import Array, routine
from gandask.training.learner import ADAM_EPSILON, Learner, trainable
from gandask.training.losses import Loss
from gandask.training.pair import KINDS, Pair, Samples
from gandask.training.settings import real_batch

T = TypeVar("T")

#: Layers that work on each number by itself.
ELEMENTWISE = (nn.Identity, nn.LeakyReLU, nn.ReLU, nn.Tanh)

#: Where a batched step takes less time than its parts one by one: on a CPU it takes more.
DEVICES = ("cuda",)

#: Most pairs in a batched step, and most weights of generators, or of discriminators, in it.
MOST_PAIRS, MOST_WEIGHTS = 16, 2**24


def pays(device: torch.device, losses: Sequence[Loss], *networks: nn.Module) -> bool:
    """Tell whether several pairs of networks like these had better be trained as one."""
    return device.type in DEVICES and stackable(losses, *networks)


def stackable(losses: Sequence[Loss], *networks: nn.Module) -> bool:
    """Tell whether networks like these can take batched steps with these losses."""
    layers = [layer for network in networks for layer in layers_of(network)]
    weights = [id(w) for layer in layers if type(layer) is nn.Linear for w in layer.parameters()]
    return (
        all(map(_known, layers))
        and all(_plain(module) for network in networks for module in network.modules())
        and len(weights) == len(set(weights))  # used twice, they would be there twice
        and all(map(_batchable, losses))
    )


def width(*networks: nn.Module) -> int:
    """Give how many pairs of networks like these a batched step has: as many as fit, at most 16.

    Examples
    --------
    >>> width(nn.Linear(9, 1)), width(nn.Linear(2**11 - 1, 2**12)), width(nn.Linear(2**13, 2**13))
    (16, 2, 1)
    """
    largest = max(sum(part.numel() for part in network.parameters()) for network in networks)
    return max(1, min(MOST_PAIRS, MOST_WEIGHTS // max(1, largest)))


def layers_of(network: nn.Module) -> list[nn.Module]:
    """Give the layers of a network in the order in which they are used.

    Examples
    --------
    >>> layers_of(nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(2, 1), nn.Tanh())))[1:]
    [Linear(in_features=2, out_features=1, bias=True), Tanh()]
    """
    if type(network) is not nn.Sequential:
        return [network]
    return [layer for part in network for layer in layers_of(part)]


def _known(layer: nn.Module) -> bool:
    """Tell whether `Stack` has a batched form of a layer."""
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    if type(layer) is nn.Unflatten:
        return bool(layer.dim == 1)
    if type(layer) is nn.Linear:
        return {*trainable(layer)} == {*dict(layer.named_parameters())} <= {"weight", "bias"}
    return type(layer) in ELEMENTWISE


def _plain(module: nn.Module) -> bool:
    """Tell whether a module does only what its class does: spectral norm, say, is a hook."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks
    return not any((*hooks, module._backward_pre_hooks, module._buffers))


@functools.cache
def _batchable(loss: Loss) -> bool:
    """Tell whether a loss can be computed for several pairs at once, and no step needs more."""
    if loss.penalised or loss.clip is not None:
        return False
    logits = torch.linspace(-2, 2, 6).reshape(2, 3, 1)
    try:
        for kind, count in (("generator", 1), ("discriminator", 2)):
            torch.vmap(getattr(loss, kind))(*[logits] * count)
    except RuntimeError:  # it looks at single numbers, or writes to tensors of its own
        return False
    return True


@dataclass
class Stack:
    """Networks of one form in training, with their optimisers.

    Attributes
    ----------
    layers
        Those of one of the networks, in order; its own weights do not count.
    shapes
        Of the weights of one network, in the order of its layers.
    rows, exp_avg, exp_avg_sq
        Weights and Adam moments, (networks, numbers).
    step
        Of each network, (networks, 1).
    average
        Of the weights, (networks, numbers), where one is kept.
    ema
        How much of it a step leaves; see `Average`.
    """

    layers: Sequence[nn.Module]
    shapes: Sequence[torch.Size]
    rows: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor
    betas: tuple[float, float]
    average: Tensor | None
    ema: float

    @classmethod
    def of(cls, learners: Sequence[Learner]) -> Stack:
        """Copy networks and moments into rows."""
        first = learners[0]
        rows = torch.stack([_flat(learner.parameters) for learner in learners])
        steps = torch.stack([learner.steps[0].reshape(1) for learner in learners])
        averages = [learner.average for learner in learners if learner.average]
        return cls(
            layers=layers_of(first.module),
            shapes=[parameter.shape for parameter in first.parameters],
            rows=rows.requires_grad_(True),
            exp_avg=torch.stack([_flat(learner.exp_avg) for learner in learners]),
            exp_avg_sq=torch.stack([_flat(learner.exp_avg_sq) for learner in learners]),
            step=steps.to(rows),
            betas=first.betas,
            average=torch.stack([_flat([*one.numbers.values()]) for one in averages])
            if averages
            else None,
            ema=averages[0].decay if averages else 0.0,
        )

    def __call__(self, inputs: Tensor) -> Tensor:
        """Give each network its own inputs, (networks, samples, ...)."""
        outputs, weights = inputs, iter(self._cut(self.rows))
        for layer in self.layers:
            if isinstance(layer, nn.Linear):
                shape = *outputs.shape[:-1], layer.out_features
                products = torch.bmm(outputs.flatten(1, -2), next(weights).mT)
                if layer.bias is not None:
                    products = products + next(weights)[:, None]
                outputs = products.reshape(shape)
            elif isinstance(layer, nn.Flatten):
                outputs = outputs.flatten(2)
            elif isinstance(layer, nn.Unflatten):
                outputs = torch.unflatten(outputs, 2, layer.unflattened_size)
            else:
                outputs = layer(outputs)
        return outputs

    def _cut(self, rows: Tensor) -> list[Tensor]:
        """Cut rows into the weights they are made of, (networks, ...) each."""
        parts = torch.split(rows, [shape.numel() for shape in self.shapes], dim=-1)
        return [
            part.view(*rows.shape[:-1], *shape)
            for part, shape in zip(parts, self.shapes, strict=True)
        ]

    def descend(self, losses: Tensor, rates: Tensor) -> None:
        """Take one Adam step in each network, down its own loss at its own learning rate."""
        (gradient,) = torch.autograd.grad(losses.sum(), self.rows)
        first, second = self.betas
        with torch.no_grad():
            self.step += 1
            self.exp_avg.lerp_(gradient, 1 - first)
            self.exp_avg_sq.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            root = self.exp_avg_sq.sqrt() / (1 - second**self.step).sqrt() + ADAM_EPSILON
            self.rows -= rates[:, None] / (1 - first**self.step) * self.exp_avg / root
            if self.average is not None:
                kept = ((1 + self.step) / (10 + self.step)).clamp(max=self.ema)
                self.average.lerp_(self.rows, 1 - kept)

    def unstack(self, learners: Sequence[Learner]) -> None:
        """Give every network back its weights and moments."""
        for index, learner in enumerate(learners):
            weights, *moments = (self._cut(rows.detach()[index]) for rows in self._all())
            for parameter, trained in zip(learner.parameters, weights, strict=True):
                parameter.data = trained.clone()
            learner.exp_avg, learner.exp_avg_sq = ([p.clone() for p in parts] for parts in moments)
            for step in learner.steps:
                step.copy_(self.step[index, 0])
            if learner.average and self.average is not None:
                named = zip(learner.average.numbers, self._cut(self.average[index]), strict=True)
                learner.average.numbers = {name: part.clone() for name, part in named}

    def _all(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.rows, self.exp_avg, self.exp_avg_sq


class Replay:
    """A function of tensors that stay in their places, recorded on a GPU and played again.

    A step of small networks is hundreds of launches, each of which takes the processor longer than
    the GPU; a recorded one is a single launch. What the function draws or reads elsewhere would be
    recorded as well: it is to work on given tensors alone.
    """

    def __init__(self, function: Callable[[], None], device: torch.device) -> None:
        self.function, self.recordable = function, device.type == "cuda"
        self.called = False
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Do what the function does: the first time itself, which loads what it needs."""
        if self.recordable and self.called and self.graph is None:
            try:
                self.graph = self._recorded()
            except RuntimeError:  # a loss of the user's own waits for the GPU, say
                self.recordable = False
        if self.graph is not None:
            self.graph.replay()
        else:
            self.function()
        self.called = True

    def _recorded(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        apart = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        apart.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(apart), uncollected():
            # other threads of this worker may use the GPU meanwhile
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                self.function()
            finally:
                graph.capture_end()
        torch.cuda.current_stream().wait_stream(apart)
        return graph


_recording = threading.Lock()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Let nothing be collected: freeing what lies on a GPU would break what is being recorded.

    Threads that record do so one after the other: collection is one switch for all.
    """
    with _recording:
        before = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if before:
                gc.enable()


class Pairs:
    """Generators and discriminators in training, each pair by itself, all at once.

    Each step is taken with the loss and at the learning rates that the pairs have by then. Where
    there are fewer pairs than `width` says, the last one fills the rows that are left.

    Parameters
    ----------
    pairs
        Pairs that share their settings but for their losses, at most `width` of them.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        self.pairs, first = pairs, pairs[0]
        self.training = first.training
        count = width(first.generator.module, first.discriminator.module)
        self.filled = [*pairs, *[pairs[-1]] * (count - len(pairs))]
        self.generators = Stack.of([pair.generator for pair in self.filled])
        self.discriminators = Stack.of([pair.discriminator for pair in self.filled])
        like, device = self.generators.rows, first.noise.device
        batch = self.training.batch_size
        self.inputs = like.new_empty(count, batch, self.training.latent)
        self.samples: Tensor | None = None
        self.rates = {kind: like.new_empty(count) for kind in KINDS}
        self.chosen = torch.empty(count, dtype=torch.int64, device=device)
        self.totals = {
            kind: torch.zeros(count, dtype=torch.float64, device=device) for kind in KINDS
        }
        steps = {"generator": self._generator_step, "discriminator": self._discriminator_step}
        self.steps = {kind: Replay(step, device) for kind, step in steps.items()}

    def real(self, indices: Sequence[Array]) -> Samples:
        """Assemble the real samples of a batch for each pair, (pairs, batch, ...)."""
        indices = self._filled(indices)
        drawn, *_ = real_batch(self.training, np.concatenate(indices), self.chosen.device)
        return (drawn.reshape(len(indices), -1, *drawn.shape[1:]),)

    def generator_step(self) -> None:
        """Train every generator on one batch."""
        self._step("generator")

    def discriminator_step(self, real: Samples) -> None:
        """Train every discriminator on one batch."""
        if self.samples is None:
            self.samples = torch.empty_like(real[0])
        self.samples.copy_(real[0])
        self._step("discriminator")

    def _step(self, kind: str) -> None:
        """Put what the next step takes where it looks for it, and take the step."""
        drawn = [pair.inputs()[0] for pair in self.pairs]
        torch.stack(self._filled(drawn), out=self.inputs)
        rates = [getattr(pair, kind).rate for pair in self.filled]
        self.rates[kind].copy_(torch.tensor(rates, dtype=torch.float64))
        losses = self.training.losses
        self.chosen.copy_(torch.tensor([losses.index(pair.loss) for pair in self.filled]))
        self.steps[kind]()
        for pair in self.pairs:
            pair.counts[kind] += 1
            getattr(pair, kind).taken += 1

    def _filled(self, each: Sequence[T]) -> list[T]:
        return [*each, *[each[-1]] * (len(self.filled) - len(each))]

    def _generator_step(self) -> None:
        losses = self.losses("generator", self.discriminators(self.generators(self.inputs)))
        self.generators.descend(losses, self.rates["generator"])
        self.totals["generator"] += losses.detach()

    def _discriminator_step(self) -> None:
        assert self.samples is not None
        with torch.no_grad():
            fake = self.generators(self.inputs)
        logits = self.discriminators(self.samples), self.discriminators(fake)
        losses = self.losses("discriminator", *logits)
        self.discriminators.descend(losses, self.rates["discriminator"])
        self.totals["discriminator"] += losses.detach()

    def losses(self, kind: str, *logits: Tensor) -> Tensor:
        """Compute the loss of every pair by its own, (pairs,)."""
        found = torch.zeros_like(self.rates[kind])
        for index, loss in enumerate(self.training.losses):
            own = self.chosen == index
            # of zeros where it is not theirs: elsewhere its gradients might not be finite
            mask = own.reshape(-1, *[1] * (logits[0].ndim - 1))
            theirs = [torch.where(mask, part, 0.0) for part in logits]
            found = torch.where(own, torch.vmap(getattr(loss, kind))(*theirs), found)
        return found

    def unstack(self) -> None:
        """Give every pair back what it has become."""
        with routine("train"):
            self.generators.unstack([pair.generator for pair in self.pairs])
            self.discriminators.unstack([pair.discriminator for pair in self.pairs])
            for kind, totals in self.totals.items():
                for pair, total in zip(self.pairs, totals, strict=False):
                    pair.totals[kind] += total
        self.steps.clear()  # they refer back to this, and the GPU's memory had better go now


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
