"""What is performed on the server's side: the teacher, and the students.

A student learns from its client's feedback and from the teacher's, in shares: Eq. 5.9 of Wu's
thesis (2022), α·(-log D_local) + (1 - α)·(-log D_global).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from gandask.clients.held import public_part
from gandask.core import Array, Made, State, progress, rng, routine, torch_seed
from gandask.methods.tasks import initialise, measured, observed
from gandask.training import wire
from gandask.training.learner import Learner, fresh_moments, load_module, save_module
from gandask.training.losses import LOSSES
from gandask.training.pair import Pair, discriminator_loss, feedback, forged, gradients_from
from gandask.training.settings import Noise, Training, real_batch


@dataclass(frozen=True)
class Lesson:
    """How a round goes: what all students are told alike.

    Parameters
    ----------
    steps : int
        Batches of fakes in a round, on each of which the client's discriminator takes a step.
    answered : int
        Of which so many, the last ones, are answered.
    wire : str
        What fakes and feedback travel as.
    unit : bool
        Whether feedback on each fake has the norm 1.
    live : bool
        Whether the teacher's discriminator goes on learning.
    teacher_loss : str
        The teacher's.
    public : float
        Share of the data that is the teacher's.
    """

    steps: int
    answered: int
    wire: str
    unit: bool
    live: bool
    teacher_loss: str
    public: float


def public_batch(training: Training, share: float, slot: str, number: int) -> Array:
    """Draw a batch of public data, by its number counted from 1."""
    held = public_part(len(training.data), share, training.seed)
    epoch, place = divmod(number - 1, len(held) // training.batch_size)
    order = rng(training.seed, slot, "epoch", epoch).permutation(len(held))
    return held[order[place * training.batch_size : (place + 1) * training.batch_size]]


def teach(*, training: Training, lesson: Lesson, slot: str, iterations: int) -> Made:
    """Train a teacher on public data, the discriminator first, or take the one of another run.

    Returns
    -------
    states
        Weights of its generator and of its discriminator.
    """
    states, _ = initialise(
        training=replace(training, score_samples=0), slot=slot, population_size=1
    )
    if not iterations:
        return (states[0], states[2]), {}
    loss = LOSSES[lesson.teacher_loss]
    with training.settled() as device:
        with routine("load"):
            pair = Pair.load(states, training, loss, slot, 0, device)
        with routine("train"):
            for number in range(1, iterations + 1):
                indices = public_batch(training, lesson.public, slot, number)
                pair.discriminator_step(real_batch(training, indices, device))
                pair.generator_step()
                progress(number / iterations)
        made = save_module(pair.generator.module), save_module(pair.discriminator.module)
    return made, {"teacher_loss": pair.mean_loss("generator")}


def begin(*teacher: State, training: Training, lesson: Lesson, slot: str, live: bool) -> Made:
    """Make a student, at random or as the teacher's generator, and its first fakes.

    Parameters
    ----------
    *teacher
        The generator to begin as, if any; then the discriminator to go on with, if `live`.

    Returns
    -------
    states
        Weights, moments and fakes; then the teacher's discriminator and its moments, if `live`.
    """
    states, _ = initialise(
        training=replace(training, score_samples=0), slot=slot, population_size=1
    )
    weights, moments = states[0], states[1]
    kept: list[State] = []
    if live:
        *teacher_generator, discriminator = teacher
        module = load_module(training.build_discriminator, discriminator, torch.device("cpu"))
        kept = [discriminator, fresh_moments(module, training.learning_rate)]
    else:
        teacher_generator = [*teacher]
    if teacher_generator:
        weights = teacher_generator[0]
    with training.settled() as device:
        module = load_module(training.build_generator, weights, device).train()
        fakes = _forged(module, training, lesson, device, slot, 1)
        return (save_module(module), moments, fakes, *kept), {}


def learn(
    *states: State,
    training: Training,
    lesson: Lesson,
    slot: str,
    round: int,
    alpha: float,
    scored: bool,
    shown: int,
) -> Made:
    """Train a student on its client's feedback and the teacher's, and make the next fakes.

    Parameters
    ----------
    *states
        Weights, moments, fakes, the client's feedback on the last of them; then the teacher's
        discriminator, if there is one, and its moments, if it goes on learning.
    alpha : float
        Share of the client.
    scored : bool
        Whether statistics of its samples are wanted.
    shown : int
        Samples that are audited.

    Returns
    -------
    states
        Weights, moments; the next fakes; the teacher's discriminator and moments,
        if it goes on learning; statistics, if `scored`; samples, if some are `shown`.
    values
        ``finite``; ``teacher_fooled`` with a teacher; ``statistics`` if `scored`.
    """
    weights, moments, made, said, *teacher = states
    with training.settled() as device:
        with routine("load"):
            learner = _learner(training, "generator", weights, moments, device)
            fakes = _batches(wire.unpacked(made)["samples"], training, device)[-lesson.answered :]
            slopes = _batches(wire.unpacked(said)["slope"], training, device)
        with routine("teacher"):
            taught, kept, values = _taught(teacher, training, lesson, slot, round, fakes, alpha)
        with routine("train"):
            blended = [
                _blended(slope, other, alpha, lesson.unit)
                for slope, other in zip(slopes, taught or slopes, strict=True)
            ]
            values |= {"finite": _learned(learner, training, lesson, slot, round, blended)}
        written: list[State] = list(learner.states())
        module = learner.module
        with routine("forge"):
            written.append(_forged(module, training, lesson, device, slot, round + 1))
            written[0] = save_module(module)
        written += kept
        if scored:
            found = observed(training, module, device, round, slot)
            written.append({"statistics": found["statistics"][0]})
            values |= found
        if shown:
            written.append(exhibit(training, module, device, shown, round, slot))
        return tuple(written), values


def exhibit(
    training: Training,
    generator: nn.Module,
    device: torch.device,
    count: int,
    *key: int | str,
) -> State:
    """Draw samples for an audit, in training's range."""
    noise = Noise(training, device, *key, "audit")
    with torch.no_grad():
        made = generator.to(device).eval()(*noise.draw(count))
    return {"samples": made.cpu().numpy()}


def show(weights: State, *, training: Training, slot: str, round: int, shown: int) -> Made:
    """Draw samples of a generator for an audit."""
    with training.settled() as device:
        generator = load_module(training.build_generator, weights, device)
        return (exhibit(training, generator, device, shown, round, slot),), {}


def score(
    weights: State, *, training: Training, slot: str, round: int, samples: int, shown: int
) -> Made:
    """Measure a student on many samples, and show some of them for the last audit.

    Returns
    -------
    states
        Statistics, and samples.
    values
        ``statistics``, (1, packed length).
    """
    with training.settled() as device:
        generator = load_module(training.build_generator, weights, device)
        found = measured(training, [generator], samples, device, round, slot, "final")
        statistics = {"statistics": found["statistics"][0]}
        return (statistics, exhibit(training, generator, device, shown, round, slot)), found


# ---- parts


def _learner(
    training: Training, kind: str, weights: State, moments: State, device: torch.device
) -> Learner:
    module = load_module(training.builder(kind), weights, device)
    return Learner.of(module, moments, training.adam_betas)


def _drawn(
    training: Training, lesson: Lesson, device: torch.device, slot: str, round: int
) -> list[tuple[Tensor, ...]]:
    """Draw what the fakes of a round are made of, batch by batch."""
    noise = Noise(training, device, round, slot, "train")
    return [noise.draw(training.batch_size) for _ in range(lesson.steps)]


def _forged(
    module: nn.Module,
    training: Training,
    lesson: Lesson,
    device: torch.device,
    slot: str,
    round: int,
) -> State:
    """Make the fakes of a round."""
    drawn = _drawn(training, lesson, device, slot, round)
    samples = torch.cat([forged(module, batch)[0] for batch in drawn]).cpu().numpy()
    return wire.packed({"samples": samples}, lesson.wire, by_sample=True)


def _batches(samples: Array, training: Training, device: torch.device) -> list[Tensor]:
    whole = torch.tensor(samples, device=device)
    return list(torch.split(whole, training.batch_size))


def _taught(
    teacher: Sequence[State],
    training: Training,
    lesson: Lesson,
    slot: str,
    round: int,
    fakes: Sequence[Tensor],
    alpha: float,
) -> tuple[list[Tensor], list[State], dict[str, Any]]:
    """Let the teacher judge fakes, after it has learnt from them if it is live.

    Returns
    -------
    list of tensor
        Its feedback on each batch; none without a teacher, or where it has no share.
    list of State
        Its discriminator and moments, if it is live.
    values
    """
    if not teacher:
        return [], [], {}
    device, loss = fakes[0].device, LOSSES[lesson.teacher_loss]
    kept: list[State] = []
    module = load_module(training.build_discriminator, teacher[0], device).train()
    if lesson.live:
        learner = Learner.of(module, teacher[1], training.adam_betas)
        seed = torch_seed(training.seed, round, slot, "teacher")
        epsilon = torch.Generator(device).manual_seed(seed)
        for place, batch in enumerate(fakes, (round - 1) * lesson.answered + 1):
            indices = public_batch(training, lesson.public, slot, place)
            real = real_batch(training, indices, device)
            learner.step(discriminator_loss(loss, module, real, (batch,), epsilon))
        kept = [*learner.states()]
    with torch.no_grad():
        fooled = float(torch.cat([torch.sigmoid(module(batch)) for batch in fakes]).mean())
    taught = [feedback(loss, module, (batch,))[1] for batch in fakes] if alpha < 1 else []
    return taught, kept, {"teacher_fooled": fooled}


def _blended(local: Tensor, taught: Tensor, alpha: float, unit: bool) -> Tensor:
    """Add what a client and the teacher ask for, in shares; both of norm 1 if the client's is."""
    if alpha == 1:
        return local
    if unit:
        norms = taught.flatten(1).norm(dim=1).reshape(-1, *[1] * (taught.dim() - 1))
        taught = torch.where(norms > 0, taught / norms, taught)
    return alpha * local + (1 - alpha) * taught


def _learned(
    learner: Learner,
    training: Training,
    lesson: Lesson,
    slot: str,
    round: int,
    slopes: Sequence[Tensor],
) -> bool:
    """Take one step down the mean of all that is asked for, if it is finite."""
    device = slopes[0].device
    drawn = _drawn(training, lesson, device, slot, round)[-lesson.answered :]
    parts = [
        gradients_from(learner, batch, slope) for batch, slope in zip(drawn, slopes, strict=True)
    ]
    mean = [
        torch.stack(each).mean(0) if len(each) > 1 else each[0] for each in zip(*parts, strict=True)
    ]
    finite = all(bool(torch.isfinite(part).all()) for part in mean)
    if finite:
        learner.apply(mean)
    return finite
