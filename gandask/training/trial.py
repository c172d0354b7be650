"""Networks tried before a run, in training's own way: what would fail there is refused here.

Both are made, saved, loaded, trained for a step, saved and loaded again, on two samples.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from gandask.core import SettingError
from gandask.training import ambience, networks
from gandask.training.learner import fresh_moments, load_module, save_module, trainable
from gandask.training.pair import KINDS, Pair, Samples
from gandask.training.settings import Noise, Training, real_batch

SAMPLES = 2
CPU = torch.device("cpu")
logger = logging.getLogger("gandask")


def check_networks(training: Training, key: str) -> None:
    """Try the networks of a run.

    Parameters
    ----------
    key : str
        The setting that names them, and its value, for messages.

    Raises
    ------
    SettingError
        If a network cannot be built, gives another shape than it should, does not go with the
        loss, or is not the same any more once it was saved and loaded.
    """
    training = dataclasses.replace(training, batch_size=min(SAMPLES, training.batch_size))
    with ambience.settled(training.torch_threads, training.precision):
        real = real_batch(training, np.arange(SAMPLES) % len(training.data), CPU)
        noise = Noise(training, CPU, "trial").draw(SAMPLES)
        inputs = dict(zip(KINDS, (noise, real), strict=True))
        made = _made(training, key, inputs)
        _refuse_normalisation(training, key, made["discriminator"])
        _refuse_forgetful(training, key, made, inputs)
        # training may change what is kept nowhere
        _refuse_forgetful(training, key, _trained(training, key, made, real), inputs)


def _made(training: Training, key: str, inputs: Mapping[str, Samples]) -> dict[str, nn.Module]:
    """Build both networks, twice, and pass samples through them."""
    made, found = {}, {}
    try:
        for kind in KINDS:
            whose = f"{key}: its {kind}"
            made[kind] = networks.build(training.builder(kind), seed=0)
            _refuse_lazy(made[kind], whose)
            again = networks.build(training.builder(kind), seed=0)
            _refuse_shared(made[kind], again, whose)
            found[kind] = tuple(_passed(made[kind], again, inputs[kind], whose).shape)
    except SettingError:
        raise
    except Exception as error:  # whatever a user's network raises
        raise SettingError(
            f"{key}: cannot be built for samples of shape {training.data.shape} "
            f"({_spoken(error)}); generator(shape, latent, classes, activation) and "
            "discriminator(shape, classes, activation) give the modules"
        ) from error
    expected = {"generator": (SAMPLES, *training.data.shape), "discriminator": (SAMPLES, 1)}
    for kind, shape in expected.items():
        if found[kind] != shape:
            raise SettingError(
                f"{key}: its {kind} gives {found[kind]} for two samples, expected {shape}"
            )
        if not trainable(made[kind]):
            raise SettingError(f"{key}: its {kind} has no parameter to train")
    return made


def _passed(module: nn.Module, again: nn.Module, inputs: Samples, whose: str) -> Tensor:
    """Pass samples through a network, and through another of the same seed; tell what differs."""
    # not on the device "meta", which computes nothing: torch takes a second to load that
    with torch.no_grad(), networks.seeded(0):
        before = torch.get_rng_state()
        given: Tensor = module(*inputs)
        draws = not torch.equal(before, torch.get_rng_state())
    with torch.no_grad(), networks.seeded(0):
        alike = torch.allclose(given, again(*inputs), rtol=0, atol=0, equal_nan=True)
    if draws:
        logger.warning(
            "%s draws random numbers as it computes, as dropout does: no seed of the run reaches "
            "them, and a repetition comes to other numbers",
            whose,
        )
    elif not alike:
        logger.warning(
            "%s gives something else each time it is built from the same seed (a clock, a counter, "
            "random numbers of NumPy's or Python's): a repetition comes to other numbers",
            whose,
        )
    return given


def _refuse_shared(module: nn.Module, again: nn.Module, whose: str) -> None:
    """Refuse networks that have something in common: each is to be trained by itself."""
    storages = {part.untyped_storage().data_ptr() for part in again.parameters() if part.numel()}
    parts = {id(part) for part in again.modules()}
    shared = [
        name
        for name, part in module.named_parameters()
        if part.numel() and part.untyped_storage().data_ptr() in storages
    ]
    # one without parameters may keep what it counts, as BatchNorm1d(affine=False) does
    for prefix, part in module.named_modules():
        if id(part) in parts:
            shared += [f"{prefix}.{name}".lstrip(".") for name, _ in part.named_buffers()]
    if shared:
        raise SettingError(
            f"{whose} is not built anew each time: two of them share {shared[0]!r}, so that what "
            "is trained would hang on what ran before; make all modules and parameters within the "
            "builder, or give a copy (copy.deepcopy(module))"
        )


def _refuse_lazy(module: nn.Module, whose: str) -> None:
    for name, part in [*module.named_parameters(), *module.named_buffers()]:
        if is_lazy(part):
            raise SettingError(
                f"{whose} does not know the size of {name!r} before its first batch: name the "
                "sizes of lazy layers, which follow from what the builder is called with"
            )


def _refuse_normalisation(training: Training, key: str, discriminator: nn.Module) -> None:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    normalised = any(isinstance(module, kinds) for module in discriminator.modules())
    if normalised and any(loss.penalised for loss in training.losses):
        raise SettingError(
            f"{key}: its discriminator normalises over the batch, where a gradient penalty "
            "(loss='wgan_gp', r1, dragan) needs logits that depend on one sample each; network "
            "'wgan' does"
        )


def _refuse_forgetful(
    training: Training, key: str, made: Mapping[str, nn.Module], inputs: Mapping[str, Samples]
) -> None:
    """Refuse networks of which something is lost when they are saved and loaded."""
    for kind, module in made.items():
        try:
            again = load_module(training.builder(kind), save_module(module), CPU)
            one, other = (_given(network, inputs[kind]) for network in (module, again))
            same = torch.allclose(one, other, rtol=1e-3, atol=1e-5, equal_nan=True)
            reason = "it gives something else then"
        except Exception as error:  # whatever a user's network raises
            same, reason = False, _spoken(error)
        if not same:
            named = ", ".join(map(repr, _outside(module)))
            told = f"it keeps {named} elsewhere" if named else reason
            raise SettingError(
                f"{key}: its {kind} is not the same once it was saved and loaded ({told}): keep "
                "all that it needs in parameters and persistent buffers (self.register_buffer); "
                "loading calls its builder under torch.device('meta')"
            )


def _given(module: nn.Module, inputs: Samples) -> Tensor:
    """Compute what a network gives, with the same random numbers each time if it draws any."""
    with torch.no_grad(), networks.seeded(0):
        given: Tensor = module.eval()(*inputs)
    return given


def _outside(module: nn.Module) -> list[str]:
    """Name the tensors of a network that its state dict does not hold."""
    plain = [
        f"{prefix}.{name}".lstrip(".")
        for prefix, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, Tensor)
    ]
    kept = module.state_dict()
    return [*plain, *(name for name, _ in module.named_buffers() if name not in kept)]


def _trained(
    training: Training, key: str, made: Mapping[str, nn.Module], real: Samples
) -> dict[str, nn.Module]:
    """Take a step of each network with each loss, from how they were saved."""
    states = [
        state
        for kind in KINDS
        for state in (save_module(made[kind]), fresh_moments(made[kind], training.rate(kind)))
    ]
    try:
        pair = Pair.load(states, training, training.losses[0], "trial", 0, CPU)
        real = tuple(part[: training.batch_size] for part in real)
        with networks.seeded(0):
            _tell_restless(training, key)
            for loss in training.losses:
                pair.loss = loss
                pair.generator_step()
                pair.discriminator_step(real)
        pair.generator.states(), pair.discriminator.states()
    except Exception as error:  # whatever a user's network raises
        raise SettingError(
            f"{key}: cannot be trained on batches of {training.batch_size} ({_spoken(error)})"
        ) from error
    return {"generator": pair.generator.module, "discriminator": pair.discriminator.module}


def _tell_restless(training: Training, key: str) -> None:
    """Tell of losses that are not the same for the same logits."""
    logits = torch.linspace(-1.0, 2.0, SAMPLES).reshape(-1, 1).requires_grad_()
    for loss in training.losses:
        computed: Mapping[str, Callable[[], Tensor]] = {
            "generator": functools.partial(loss.generator, logits),
            "discriminator": functools.partial(loss.discriminator, logits, logits),
        }
        for kind, compute in computed.items():
            # as text, in which what is no number is the same, too
            if repr(compute().item()) != repr(compute().item()):
                logger.warning(
                    "%s: the loss of its %s gives something else each time (random numbers, a "
                    "clock, a counter): a repetition comes to other numbers",
                    *(key, kind),
                )


def _spoken(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
