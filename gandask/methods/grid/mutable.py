"""Settings whose values evolve with the networks that they train.

Jaderberg et al.: Population based training of neural networks (2017), in cells: a founder draws its
values, an offspring inherits those of the network that it was cloned from, and some of them are
changed a little. Selection is that of the networks. Nothing of it is in states: the client draws
values when it plans an offspring's training, and gives the task settings that hold them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gandask import display
from gandask.core import SettingError, Variable

OWNERS = {
    "learning_rate": "generator",
    "batch_size": "generator",
    "discriminator_learning_rate": "discriminator",
    "discriminator_steps": "discriminator",
    "r1": "discriminator",
    "dragan": "discriminator",
}
"""Settings that may evolve, and whose parent an offspring has its value from."""
RATES = {"learning_rate": "generator", "discriminator_learning_rate": "discriminator"}
WHOLE = ("batch_size", "discriminator_steps")
FACTORS = (0.8, 1.2)
"""What a value of a range is multiplied by, as published."""


@dataclass(frozen=True)
class Range:
    """Numbers between two, of which each magnitude is as likely."""

    low: float
    high: float

    @property
    def tried(self) -> tuple[float, ...]:
        """Values, in ascending order, that tell whether all are allowed."""
        return self.low, self.high

    def draw(self, chance: np.random.Generator) -> float:
        """Draw a value, uniform in its logarithm."""
        drawn = math.exp(chance.uniform(math.log(self.low), math.log(self.high)))
        return min(max(drawn, self.low), self.high)

    def explored(self, value: float, chance: np.random.Generator) -> float:
        """Change a value by a factor, within the range."""
        return min(max(value * FACTORS[chance.integers(2)], self.low), self.high)


@dataclass(frozen=True)
class Choices:
    """Some numbers, in ascending order."""

    values: tuple[float, ...]

    @property
    def tried(self) -> tuple[float, ...]:
        """Values, in ascending order, that tell whether all are allowed."""
        return self.values

    def draw(self, chance: np.random.Generator) -> float:
        """Draw one, each as likely."""
        return self.values[chance.integers(len(self.values))]

    def explored(self, value: float, chance: np.random.Generator) -> float:
        """Give the choice before or after a value: of the first and the last, the only one."""
        place = self.values.index(value) + (-1, 1)[chance.integers(2)]
        last = len(self.values) - 1
        return self.values[1 if place < 0 else last - 1 if place > last else place]


Evolvable = Mapping[str, Range | Choices]


def read(given: Mapping[Any, Any]) -> dict[str, Any]:
    """Check what may evolve between which values, and write it the way TOML does.

    Raises
    ------
    SettingError
        For a setting that cannot evolve, and for what is neither a range nor choices.

    Examples
    --------
    >>> read({"learning_rate": [1e-5, 1e-3], "discriminator_steps": {5, 1, 2}})
    {'learning_rate': (1e-05, 0.001), 'discriminator_steps': {'choices': (1, 2, 5)}}
    """
    made: dict[str, Any] = {}
    for key, value in given.items():
        if key not in OWNERS:
            raise SettingError(
                f"mutable: {key!r} cannot evolve; {display.suggestion(str(key), OWNERS)}"
            )
        is_table = isinstance(value, Mapping) and [*value] == ["choices"]
        listed = value["choices"] if is_table else value
        told = f"mutable: {key}={value!r}"
        if is_table or isinstance(value, set | frozenset):
            made[key] = {"choices": _choices(told, key, listed)}
        elif key in WHOLE:
            raise SettingError(
                f"{told}: is a whole number: expected choices, such as {{1, 2, 5}}, "
                "in TOML {choices = [1, 2, 5]}"
            )
        else:
            made[key] = _range(told, listed)
    return made


def _choices(told: str, key: str, listed: Any) -> tuple[float, ...]:
    kinds = (int, np.integer) if key in WHOLE else (int, float, np.integer, np.floating)
    numbers = [*listed] if isinstance(listed, list | tuple | set | frozenset) else []
    if len({*numbers}) < 2 or any(
        isinstance(one, bool) or not isinstance(one, kinds) or not math.isfinite(one)
        for one in numbers
    ):
        whole = "whole numbers" if key in WHOLE else "numbers"
        raise SettingError(f"{told}: expected two {whole} or more to choose from")
    return tuple(sorted(int(one) if key in WHOLE else float(one) for one in {*numbers}))


def _range(told: str, listed: Any) -> tuple[float, float]:
    try:
        low, high = map(float, listed)
        if not 0 < low < high < math.inf:
            raise ValueError
    except (TypeError, ValueError):
        raise SettingError(
            f"{told}: expected a range [low, high] with 0 < low < high, or choices, such as "
            "{0.0, 0.1, 1.0}, in TOML {choices = [0.0, 0.1, 1.0]}"
        ) from None
    return low, high


def options(mutable: Mapping[str, Any], own_rate: bool) -> dict[str, Range | Choices]:
    """Give what may evolve, by setting.

    Parameters
    ----------
    mutable : mapping
        As `read` gives it.
    own_rate : bool
        Whether discriminators have a learning rate of their own: without one, theirs evolves
        where that of generators does, each for itself.
    """
    found = {
        key: Choices(tuple(value["choices"])) if isinstance(value, Mapping) else Range(*value)
        for key, value in mutable.items()
    }
    if "learning_rate" in found and not own_rate:
        found.setdefault("discriminator_learning_rate", found["learning_rate"])
    return found


def drawn(known: Evolvable, kind: str, chance: np.random.Generator) -> dict[str, float]:
    """Draw the values of a founder, a ``generator`` or a ``discriminator``."""
    return {key: known[key].draw(chance) for key in sorted(known) if OWNERS[key] == kind}


def explored(
    known: Evolvable, values: Mapping[str, float], probability: float, chance: np.random.Generator
) -> dict[str, float]:
    """Give an offspring its parent's values, each changed with some probability."""
    return {
        key: known[key].explored(value, chance) if chance.random() < probability else value
        for key, value in sorted(values.items())
    }


def variables(mutable: Mapping[str, Any]) -> dict[str, Variable]:
    """Describe the values of a cell's fittest networks; of learning rates all runs tell."""
    named = {
        "batch_size": ("batch size", "samples"),
        "discriminator_steps": ("discriminator steps for each of the generator", "1"),
        "r1": ("weight γ of the R1 penalty", "1"),
        "dragan": ("weight λ of DRAGAN's penalty", "1"),
    }
    return {
        key: Variable(
            f"{named[key][0]} of the cell's fittest {OWNERS[key]}",
            named[key][1],
            dtype="int64" if key in WHOLE else "float64",
            role="cell",
            shown=("map",),
        )
        for key in mutable
        if key in named
    }
