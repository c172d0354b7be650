"""The audit of a client: what attackers find, as figures that may leave it or stay."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from gandask.clients import attacks
from gandask.clients.attacks import Rate
from gandask.core import Array, DataError
from gandask.training.losses import Loss

Item = TypeVar("Item")

ATTACKS = ("samples", "feedback", "discriminator")
RATES = (0.1, 0.05, 0.01)
"""False positive rates: shares of others that an attacker takes for members."""
MOST = 2000  # candidates of each kind: more take long, and narrow the errors little


@dataclass(frozen=True)
class Audit:
    """How well each attacker of `ATTACKS` does; NaN is what cannot be told.

    Attributes
    ----------
    auc : mapping of str to float
        Probability that a member gets a larger score than another sample: 0.5 is guessing.
    error : mapping of str to float
        Standard error of that.
    tpr : mapping of str to tuple of Rate
        Share of the members that are found, at each of `RATES`.
    memorised : float
        Share of generated samples that lie nearer to a member than held-out samples do.
    """

    auc: Mapping[str, float]
    error: Mapping[str, float]
    tpr: Mapping[str, tuple[Rate, ...]]
    memorised: float

    @property
    def values(self) -> dict[str, Any]:
        """Everything as JSON holds it: None for NaN."""
        return {key: _plain(value) for key, value in asdict(self).items()}

    @classmethod
    def of(cls, values: object) -> Audit:
        """Read `values`, whoever sent them.

        Raises
        ------
        ValueError
            If they are of another form; the message says where.
        """
        found = _table("audit", values, [field.name for field in fields(cls)])
        return cls(
            _by_attack("auc", found["auc"], _share),
            _by_attack("error", found["error"], _share),
            _by_attack("tpr", found["tpr"], _rates),
            _share("memorised", found["memorised"]),
        )


def audit(
    discriminator: nn.Module,
    loss: Loss,
    members: Array,
    held_out: Array,
    generated: Array,
    calibration: Array | None,
    *,
    unit: bool,
    batch_size: int,
    device: torch.device,
    chance: np.random.Generator,
) -> Audit:
    """Let every attacker try to tell members from held-out samples of the same distribution.

    Parameters
    ----------
    discriminator : module
        The client's, on `device`; it is left as it was.
    loss : Loss
        What feedback is computed from.
    members, held_out : (n, ...) array
        Images in [-1, 1]. Attackers are given up to `MOST` of each, drawn by `chance`.
    generated : (k, ...) array
        What the client's generator makes.
    calibration : (k, ...) array, optional
        What a generator makes that has learnt from others.
    unit : bool
        Whether each sample's feedback leaves scaled to norm 1.
    batch_size : int
        Fakes that are judged at once in training.
    chance : generator
        Where order and directions are drawn from, too.

    Raises
    ------
    DataError
        If a set is empty, or holds samples of another shape.
    """
    sets = {"members": members, "held_out": held_out, "generated": generated}
    if calibration is not None:
        sets["calibration"] = calibration
    _check(sets, members.shape[1:])
    known, others = (_drawn(samples, chance) for samples in (members, held_out))
    # members and others in one random order: they share batches, hence the batches' statistics
    order = chance.permutation(len(known) + len(others))
    candidates = np.concatenate([known, others])[order]
    is_member = order < len(known)
    scores = {
        "samples": attacks.by_samples(candidates, generated, calibration),
        "feedback": attacks.by_feedback(
            candidates, discriminator, loss, unit, batch_size, device, chance
        ),
        "discriminator": attacks.by_discriminator(candidates, discriminator, batch_size, device),
    }
    split = {name: (each[is_member], each[~is_member]) for name, each in scores.items()}
    areas = {name: attacks.auc(*parts) for name, parts in split.items()}
    return Audit(
        {name: area for name, (area, _) in areas.items()},
        {name: error for name, (_, error) in areas.items()},
        {
            name: tuple(attacks.true_positive_rate(*parts, rate) for rate in RATES)
            for name, parts in split.items()
        },
        attacks.memorised(generated, members, held_out),
    )


def _check(sets: Mapping[str, Array], shape: tuple[int, ...]) -> None:
    """Refuse sets of samples of which one is empty, or of another shape."""
    for name, samples in sets.items():
        if not len(samples) or samples.shape[1:] != shape:
            raise DataError(
                f"{name}: expected at least one sample of the members' shape {shape}, got an array "
                f"of shape {samples.shape}; hold some back, or generate some, of the same shape"
            )


def _drawn(samples: Array, chance: np.random.Generator) -> Array:
    """Draw up to `MOST` of them."""
    return samples[chance.permutation(len(samples))[:MOST]]


# --- To JSON and back -----------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """Give tables, lists and numbers, with None for NaN."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return None if math.isnan(value) else value


def _table(key: str, value: object, names: Sequence[str]) -> Mapping[str, object]:
    """Read a table with just these keys."""
    if not isinstance(value, Mapping) or set(value) != set(names):
        raise ValueError(
            f"{key}: expected a table of {', '.join(names)}, got {reprlib.repr(value)}"
        )
    return value


def _by_attack(key: str, value: object, read: Callable[[str, object], Item]) -> dict[str, Item]:
    """Read a table of what there is for each attacker."""
    found = _table(key, value, ATTACKS)
    return {name: read(f"{key}.{name}", found[name]) for name in ATTACKS}


def _rates(key: str, value: object) -> tuple[Rate, ...]:
    """Read a share and its interval for each of `RATES`."""
    rows = _listed(key, value, len(RATES))
    each = [_listed(key, row, 3) for row in rows]
    return tuple((_share(key, a), _share(key, b), _share(key, c)) for a, b, c in each)


def _listed(key: str, value: object, count: int) -> Sequence[object]:
    """Read a list of so many."""
    if not isinstance(value, list | tuple) or len(value) != count:
        raise ValueError(f"{key}: expected a list of {count}, got {reprlib.repr(value)}")
    return value


def _share(key: str, value: object) -> float:
    """Read a number from 0 to 1, or NaN."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{key}: expected a number from 0 to 1 or null, got {reprlib.repr(value)}")
    return float(value)
