"""What the tasks of MGGAN's groups do: iterations, at the learning rate that the loss asks for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from gandask.core import Array, Made, State, progress, routine
from gandask.methods.mggan.regrouping import Adjustment, variation
from gandask.methods.tasks import batches, kept, observed
from gandask.training.pair import KINDS, Pair, Samples
from gandask.training.settings import Training, real_batch


def train(
    *states: State,
    training: Training,
    slot: str,
    round: int,
    first: int,
    last: int,
    adjustment: Adjustment,
    regroupings: tuple[int, ...],
    learning_rate: float,
    loss_before: float,
    scored: bool,
    kept_samples: int,
) -> Made:
    """Train a pair from iteration `first` to iteration `last`.

    Parameters
    ----------
    *states
        Generator weights and moments, discriminator weights and moments.
    regroupings : tuple of int
        Those that Algorithm 1 looks to.
    learning_rate, loss_before : float
        Those of the iteration before `first`.
    scored : bool
        Whether the generator is to be scored, and `kept_samples` of it to be kept.

    Returns
    -------
    states
        As they came, trained.
    values
        ``finite``, ``last_iteration``, ``scored``, mean training losses, and by iteration the
        losses, the learning rate, the variation ratio and the regrouping looked to;
        ``statistics`` and ``samples`` of the generator, where asked for.
    """
    with training.settled() as device:
        with routine("load"):
            pair = Pair.load(states, training, training.losses[0], slot, round, device)
        trace = Trace(adjustment, regroupings, learning_rate, loss_before)
        drawn = batches(training, training.shard(slot), slot, first)
        for iteration in range(first, last + 1):
            taken = [*itertools.islice(drawn, training.discriminator_steps)]
            with routine("batch"):
                real = [real_batch(training, indices, device) for indices in taken]
            with routine("train"):
                trace.follow(pair, iteration, real)
            progress((iteration - first + 1) / (last - first + 1))
        values = pair.outcome() | trace.values() | {"last_iteration": last}
        generator = pair.generator.sampled()
        values["scored"] = scored
        if values["finite"] and scored:
            values |= observed(training, generator, device, round, slot)
        if values["finite"] and scored and kept_samples:
            shown = kept(training, generator, kept_samples, device, slot)["samples"]
            values |= {"samples": shown[None], "snapshot_iteration": [last]}
    return (*pair.generator.states(), *pair.discriminator.states()), values


@dataclass
class Trace:
    """Iterations as they go: Algorithm 1 at work, and what it saw.

    Parameters
    ----------
    adjustment : Adjustment
    regroupings : tuple of int
        Those it looks to.
    learning_rate, loss : float
        Those of the iteration before.
    """

    adjustment: Adjustment
    regroupings: tuple[int, ...]
    learning_rate: float
    loss: float
    rows: list[tuple[float, ...]] = field(default_factory=list)

    def follow(self, pair: Pair, iteration: int, real: Sequence[Samples]) -> None:
        """Train for one iteration at the learning rate that its loss asks for.

        Parameters
        ----------
        real : sequence of Samples
            A batch for each of the discriminator's steps.
        """
        loss, gradients = pair.generator_gradients()
        before, self.loss = self.loss, float(loss)
        varied = variation(before, self.loss)
        at = self.adjustment.regrouping(iteration, self.regroupings)
        self.learning_rate = self.adjustment.rate(self.learning_rate, iteration, at, varied)
        for kind in KINDS:
            share = pair.training.rate(kind) / pair.training.learning_rate
            getattr(pair, kind).learning_rate = share * self.learning_rate
        pair.generator.apply(gradients)
        opposing = float(torch.stack([pair.discriminator_step(batch) for batch in real]).mean())
        self.rows.append((self.learning_rate, self.loss, opposing, varied, at or -1))

    def values(self) -> dict[str, Array]:
        """Give what was seen, by iteration."""
        rate, loss, opposing, varied, at = np.array(self.rows).T
        return {
            "learning_rate": rate,
            "generator_loss": loss,
            "discriminator_loss": opposing,
            "loss_variation": varied,
            "regrouping": at.astype(int),
        }
