"""How a client's discriminator learns: the steps of a round, plain or private, and the feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gandask.clients.held import Held
from gandask.clients.per_sample import check_separable, poisson, private_gradients, stream
from gandask.clients.reading import joined, part_of
from gandask.clients.spending import DPSGD
from gandask.clients.terms import Terms
from gandask.core import Array, State, rng, torch_seed
from gandask.training import wire
from gandask.training.learner import Learner, gradients, load_module
from gandask.training.pair import discriminator_loss, feedback
from gandask.training.settings import Training, real_batch


@dataclass(frozen=True)
class Round:
    """One round of a client.

    Parameters
    ----------
    terms : Terms
    held : Held
    secret : bytes
        What private draws follow from.
    key : str
        Of the request: the same one is given the same noise.
    number : int
        From 1.
    """

    terms: Terms
    held: Held
    secret: bytes
    key: str
    number: int

    def train(
        self, training: Training, state: State, fakes: Sequence[Array]
    ) -> tuple[dict[str, Array], State, dict[str, Any]]:
        """Take a step for each batch of fakes, and judge the last of them.

        Returns
        -------
        dict
            The new state.
        State
            The feedback, as it travels.
        dict
            Mean losses.
        """
        terms, loss, values = self.terms, training.losses[0], []
        with training.settled() as device:
            module = load_module(training.build_discriminator, part_of(state, "weights"), device)
            learner = Learner.of(module, part_of(state, "moments"), terms.adam_betas)
            batches = [torch.tensor(batch, device=device) for batch in fakes]
            seed = torch_seed(terms.seed, self.number, terms.slot, "penalty")
            epsilon = torch.Generator(device).manual_seed(seed)
            for step, batch in enumerate(batches, 1):
                found, value = (
                    self._noised(terms.privacy, training, learner, batch, step)
                    if terms.privacy
                    else self._plain(training, learner, batch, epsilon, step)
                )
                values.append(value)
                if all(bool(torch.isfinite(part).all()) for part in found):
                    learner.apply(found, loss.clip)
            answers = [feedback(loss, module, (batch,)) for batch in batches[-terms.answered :]]
            slopes = torch.cat([slope for _, slope in answers])
            sent = {"slope": _normed(slopes, terms).cpu().numpy()}
            told = {
                "discriminator_loss": float(np.mean(values)),
                "generator_loss": float(np.mean([float(value) for value, _ in answers])),
            }
            packed = wire.packed(sent, terms.wire, by_sample=True)
            return joined(*learner.states()), packed, told

    def _plain(
        self,
        training: Training,
        learner: Learner,
        fakes: Tensor,
        epsilon: torch.Generator,
        step: int,
    ) -> tuple[Sequence[Tensor], float]:
        """Compute the gradients of an ordinary step."""
        number = (self.number - 1) * self.terms.steps + step
        indices = batch_of(self.held.members, self.terms, number)
        real = real_batch(training, indices, fakes.device)
        made = discriminator_loss(training.losses[0], learner.module, real, (fakes,), epsilon)
        return gradients(made, learner.parameters), float(made.detach())

    def _noised(
        self, privacy: DPSGD, training: Training, learner: Learner, fakes: Tensor, step: int
    ) -> tuple[Sequence[Tensor], float]:
        """Compute the gradients of a private step; what is drawn only the client knows."""
        members, loss = self.held.members, training.losses[0]
        rate = self.terms.batch_size / len(members)
        drawn = poisson(members, rate, stream(self.secret, "batch", self.key, step))
        real = real_batch(training, drawn, fakes.device)
        found = private_gradients(
            loss,
            learner.module,
            real,
            (fakes,),
            clip=privacy.clip,
            noise=privacy.noise,
            expected=self.terms.batch_size,
            generator=stream(self.secret, "noise", self.key, step),
        )
        with torch.no_grad():
            logits = learner.module(*real), learner.module(fakes)
            value = float(loss.discriminator(*logits)) if len(drawn) else np.nan
        return found, value


def check_private(training: Training, discriminator: nn.Module) -> None:
    """Refuse a discriminator, or its loss, in which no sample's influence can be bounded.

    Raises
    ------
    SettingError
    """
    shape = training.sample_shape or training.data.shape
    samples = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    check_separable(training.losses[0], discriminator.cpu().train(), (samples,))


def batch_of(members: Array, terms: Terms, number: int) -> Array:
    """Draw the batch of a number, counted from 1: members are shuffled in each epoch."""
    epoch, place = divmod(number - 1, len(members) // terms.batch_size)
    order = rng(terms.seed, terms.slot, "epoch", epoch).permutation(len(members))
    return members[order[place * terms.batch_size : (place + 1) * terms.batch_size]]


def _normed(slopes: Tensor, terms: Terms) -> Tensor:
    """Give feedback as it leaves: on each fake of norm 1, if asked."""
    if terms.feedback_norm == "none":
        return slopes
    norms = slopes.flatten(1).norm(dim=1).reshape(-1, *[1] * (slopes.dim() - 1))
    return torch.where(norms > 0, slopes / norms, slopes)
