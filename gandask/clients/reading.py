"""What a request says, read and checked: it may be of anyone's making."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from gandask.clients.messages import Message, RefusedError
from gandask.clients.terms import Terms
from gandask.core import Array, State
from gandask.scores.metrics import Statistics
from gandask.training import wire
from gandask.training.stored import digest_of

MADE = re.compile(r"[0-9a-f]{32}")
STATE = re.compile(r"[0-9a-f]{72}")
"""Digests: of what was made; and of a state, which begins with that and the round."""
ROUNDS = 1 << 31
"""More than a run can have."""


def digest_of_message(message: Message) -> str:
    """Give a digest of all that a message says: of frames there may be several for one."""
    told = json.dumps([message.name, message.values], sort_keys=True)
    parts = f"{told} {digest_of(message.arrays)}"
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


def state_name(made: str, round: int, key: str) -> str:
    """Name a state: whose it is, after which round, and by which request."""
    return f"{made}{round:08x}{key}"


def made_of(message: Message) -> str:
    """Read the digest of what was made."""
    made = message.values.get("made")
    if not isinstance(made, str) or not MADE.fullmatch(made):
        raise RefusedError("unfit", "expected the digest of what was made")
    return made


def round_of(message: Message) -> int:
    """Read the round."""
    round = message.values.get("round")
    if type(round) is not int or not 0 <= round < ROUNDS:
        raise RefusedError("unfit", "expected a round")
    return round


def asked_of(message: Message) -> tuple[str, str, int]:
    """Read what was made, the state that a request builds on, and the round."""
    made, state = made_of(message), message.values.get("state")
    if not isinstance(state, str) or not STATE.fullmatch(state) or not state.startswith(made):
        raise RefusedError("unfit", "expected the digest of a state of what was made")
    return made, state, round_of(message)


def fakes_of(message: Message, terms: Terms) -> list[Array]:
    """Read the fakes of a round, batch by batch."""
    found = wire.unpacked(message.arrays)
    samples = found.get("samples")
    expected = (terms.steps * terms.batch_size, *terms.shape)
    if found.keys() != {"samples"} or samples is None or samples.shape != expected:
        raise RefusedError("unfit", f"expected fakes of shape {expected}")
    if samples.dtype != np.float32 or not np.isfinite(samples).all():
        raise RefusedError("unfit", "expected fakes of finite float32")
    return np.array_split(samples, terms.steps)


def samples_of(message: Message, name: str, terms: Terms) -> Array:
    """Read images that were generated."""
    samples = message.arrays.get(name)
    if samples is None or samples.shape[1:] != terms.shape or samples.dtype != np.float32:
        raise RefusedError("unfit", f"{name}: expected float32 of shape (n, *{terms.shape})")
    if not len(samples):
        raise RefusedError("unfit", f"{name}: expected one or more")
    return samples


def statistics_of(packed: Array | None) -> Statistics:
    """Read the sums that scores follow from."""
    if packed is None or packed.ndim != 1 or packed.dtype != np.float64 or len(packed) < 4:
        raise RefusedError("unfit", "expected packed statistics")
    features, classes = packed[:2]
    sound = np.isfinite(packed[:4]).all() and 0 < features < 1 << 12 and 0 < classes < 1 << 12
    if not sound or len(packed) != 4 + features * (1 + features) + 3 * classes:
        raise RefusedError("unfit", "expected packed statistics")
    return Statistics.from_array(packed)


def joined(weights: State, moments: State) -> dict[str, Array]:
    """Put weights and moments into one state, as it is kept."""
    parts = {"weights": weights, "moments": moments}
    return {f"{kind}/{name}": part for kind, of in parts.items() for name, part in of.items()}


def part_of(state: State, kind: str) -> dict[str, Array]:
    """Give the ``weights`` or the ``moments`` of a state that is kept."""
    begin = f"{kind}/"
    return {name.removeprefix(begin): a for name, a in state.items() if name.startswith(begin)}


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """Give numbers as JSON holds them: None for what is not finite."""
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value
        for name, value in values.items()
    }
