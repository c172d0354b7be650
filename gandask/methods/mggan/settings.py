"""What MGGAN's fields are, what is refused of them, and what tasks are given of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, Self

from gandask import config
from gandask.config import setting, settings
from gandask.core import SettingError, nearest_multiple
from gandask.methods import families
from gandask.methods.best import KeepingBest
from gandask.methods.mggan.intervals import NEVER, Intervals
from gandask.methods.mggan.regrouping import ADAPTIVE, POLICIES, Adjustment
from gandask.methods.mggan.view import GroupView, group_of
from gandask.methods.mixing import Mixing
from gandask.training import losses, networks
from gandask.training.settings import Training
from gandask.training.trial import check_networks


@settings
class Grouping(KeepingBest[GroupView], Mixing[GroupView]):
    """Settings of groups, and what follows from them."""

    groups: int = setting(2, "generators, and discriminators; 1 is a plain GAN", minimum=1)
    iterations: int = setting(30_000, "steps of every generator", minimum=1)
    interval: int | str = setting(
        ADAPTIVE,
        "iterations between regroupings (T); 0: never; adaptive: first when no generator's loss "
        "falls any more, at the latest after interval_limit, then growing",
        minimum=0,
    )
    regrouping: str = setting(
        "derangement",
        "who meets whom: a random derangement, the next group's discriminator, that of the next "
        "fitter group (by mean loss as it is, whatever the loss), or nobody else",
        choices=tuple(POLICIES),
    )
    base: Any = setting(
        "mlp",
        "base GAN: a name in NETWORKS, or one for each group; a pair of names takes the generator "
        "of one and the discriminator of the other",
    )
    loss: str | None = setting(
        None, "name in LOSSES; that of each discriminator's base GAN by default"
    )
    window: int = setting(
        100, "iterations over which the loss is averaged to see whether it falls", minimum=1
    )
    least_fall: float = setting(
        0.05, "share by which it falls clearly from window to window", minimum=0
    )
    interval_growth: float = setting(1.25, "of an adaptive interval at a regrouping (ξ)", minimum=1)
    interval_limit: int = setting(500, "of an adaptive interval (T̄)", minimum=1)
    adjust_learning_rate: bool | None = setting(
        None,
        "around every regrouping but the first (Algorithm 1), which ends period A; by default "
        "where the interval is adaptive",
    )
    adjustment_region: int = setting(10, "iterations before and after (α)", minimum=0)
    adjustment_ratio: float = setting(0.05, "growth per iteration (δ)", minimum=0)
    adjustment_limit: float = setting(
        2.0, "upper limit, as a multiple of learning_rate (L̄ / L₀)", minimum=1
    )
    variation_threshold: float = setting(
        0.05, "no growth where the loss varies by more (γ̄)", minimum=0
    )
    iterations_per_round: int = setting(300, "at most: how long a task is", minimum=1)
    score_every: int = setting(1000, "iterations between scores, each at a round's end", minimum=1)
    kept_samples: int = setting(
        0, "samples of each generator to keep in the Dataset, every score_every", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.interval, str) and self.interval != ADAPTIVE:
            raise SettingError(
                f"interval={self.interval!r}: expected a number of iterations, 0 for never, or "
                f"{ADAPTIVE!r}"
            )
        self.refuse_practices(
            ("learning_rate_half_life",), "Algorithm 1 sets learning rates in each iteration"
        )
        object.__setattr__(self, "base", families.read(self.base, self.groups))
        if self.loss is not None:
            config.lookup("loss", self.loss, losses.LOSSES)

    @functools.cached_property
    def families(self) -> tuple[tuple[str, str], ...]:
        """Base GANs of each group's generator and discriminator, by name."""
        return families.by_group(self.base, self.groups)

    @property
    def training(self) -> Training:
        """What the tasks of the first group are given."""
        return self.pair(0, 0)

    def training_of(self, slot: str) -> Training:
        """What the tasks of a group are given while it trains its own pair."""
        index = group_of(slot)
        return self.pair(index, index)

    def pair(self, generator: int, discriminator: int) -> Training:
        """What a generator's tasks are given while it trains against a discriminator."""
        maker, judge = self.families[generator][0], self.families[discriminator][1]
        if (maker, judge) not in self._trainings:
            network = families.paired(maker, judge)
            chosen = losses.LOSSES[self.loss or network.loss]
            self._trainings[maker, judge] = self._training(network, [chosen])
        return self._trainings[maker, judge]

    @functools.cached_property
    def _trainings(self) -> dict[tuple[str, str], Training]:
        return {}

    @property
    def regroups(self) -> bool:
        """Whether generators ever meet another discriminator."""
        return self.groups > 1 and self.interval != 0 and self.regrouping != "none"

    @property
    def meetings(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        """By base GANs, the first generator and discriminator of these that may meet."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for one in range(self.groups):
            for other in range(self.groups) if self.regroups else (one,):
                found.setdefault((self.families[one][0], self.families[other][1]), (one, other))
        return found

    def identity(self) -> dict[str, Any]:
        """Tell which data, networks and losses its names stand for, and what scores them."""
        facts = super().identity()
        for pair in self.meetings.values():
            self.pair(*pair).identify(facts["extractor"])
        return facts

    @property
    def rounds(self) -> int:
        """Number of rounds; with an adaptive interval, the most there can be."""
        return self.intervals.rounds(self.iterations)

    def nearest(self) -> Mapping[str, Any]:
        """Give the nearest length that ends with a round, and a score: no adaptive one is known."""
        interval = self.intervals.interval
        if isinstance(interval, str):
            return {}
        stride = math.lcm(self.score_every, interval or self.iterations_per_round)
        return {"iterations": nearest_multiple(self.iterations, stride)}

    def ended(self, begun: int) -> Self:
        """Give the length of the first scores at the end of a round, after those that were begun.

        Raises
        ------
        SettingError
            With an adaptive interval, of which that is not known.
        """
        interval = self.intervals.interval
        if isinstance(interval, str):
            raise SettingError(f"interval={interval!r}: where rounds end is not known beforehand")
        stride = math.lcm(self.score_every, interval or self.iterations_per_round)
        rounds = self.intervals.rounds(stride)
        iterations = -(-begun // rounds) * stride
        return config.replace(self, {"iterations": min(iterations, self.iterations)})

    @functools.cached_property
    def intervals(self) -> Intervals:
        """The iterations between regroupings, and their rounds."""
        return Intervals(
            self.interval if self.regroups else NEVER,
            self.window,
            self.interval_growth,
            self.interval_limit,
            self.iterations_per_round,
        )

    @property
    def adjustment(self) -> Adjustment:
        """Algorithm 1, or one that does nothing."""
        chosen = self.adjust_learning_rate
        wanted = self.interval == ADAPTIVE if chosen is None else chosen
        return Adjustment(
            self.learning_rate,
            self.adjustment_region,
            self.adjustment_ratio if wanted else 0.0,
            self.adjustment_limit * self.learning_rate,
            self.variation_threshold,
        )

    def check(self) -> None:
        """Load the data, and refuse what does not fit it and pairs that cannot meet.

        Raises
        ------
        SettingError, DataError
        """
        loaded = self._load("group/0")
        for name in dict.fromkeys(name for pair in self.families for name in pair):
            networks.check(name, networks.NETWORKS[name], loaded.shape, loaded.classes, "base")
        for (maker, judge), (one, other) in self.meetings.items():
            met = f"base: generator {one} ({maker}) and discriminator {other} ({judge})"
            try:
                training = self.pair(one, other)
            except SettingError as error:
                apart = ", or regrouping='none'" if self.regroups else ""
                raise SettingError(f"{met}: {error}{apart}") from error
            check_networks(training, met)
        for index in range(self.groups):
            self.pair(index, index).check_init()
