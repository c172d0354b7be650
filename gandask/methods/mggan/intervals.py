"""When groups regroup, and into which rounds the iterations between are cut.

Nothing here hangs on how long the run is: a longer one begins as a shorter one did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gandask.methods.mggan.regrouping import ADAPTIVE, grown

NEVER, UNKNOWN = 0, -1
"""Intervals of no length: without regroupings, and before the first adaptive one has ended."""


@dataclass(frozen=True)
class Intervals:
    """The iterations between regroupings.

    Parameters
    ----------
    interval : int or str
        T: fixed, 0 for never, or ``adaptive``.
    window : int
        Of an adaptive one: iterations between two looks at the loss, in the first.
    growth : float
        Of an adaptive one at a regrouping (ξ).
    limit : int
        Of an adaptive one (T̄).
    longest : int
        Iterations of a round, at most.
    """

    interval: int | str
    window: int
    growth: float
    limit: int
    longest: int

    def after(self, regroupings: Sequence[int]) -> int:
        """Give the interval T after so many regroupings, or `NEVER` or `UNKNOWN`."""
        if not isinstance(self.interval, str):
            return self.interval
        if not regroupings:
            return UNKNOWN
        return grown(regroupings[0], self.growth, self.limit, len(regroupings))

    def stop(self, done: int, regroupings: Sequence[int]) -> int | None:
        """Give the iteration where groups next wait: a regrouping or a look at the loss, if any.

        Examples
        --------
        >>> Intervals(20, 100, 1.25, 500, 300).stop(45, [20, 40])
        60
        """
        interval = self.after(regroupings)
        if interval == NEVER:
            return None
        if interval == UNKNOWN:
            return min(done - done % self.window + self.window, self.limit)
        return (regroupings[-1] if regroupings else 0) + interval

    def end(self, done: int, regroupings: Sequence[int]) -> int:
        """Give the last iteration of the round after `done`: those of an interval are alike.

        Examples
        --------
        >>> Intervals(70, 100, 1.25, 500, 30).end(70, [70])
        94
        """
        stop = self.stop(done, regroupings)
        if stop is None:
            return done + self.longest
        return done + math.ceil((stop - done) / self.pieces(stop - done))

    def pieces(self, iterations: int) -> int:
        """Count the rounds that so many iterations without a regrouping take."""
        return math.ceil(iterations / self.longest)

    def rounds(self, iterations: int) -> int:
        """Count the rounds of so many iterations; with an adaptive interval, the most there can be.

        Examples
        --------
        >>> Intervals(70, 100, 1.25, 500, 30).rounds(150)
        7
        """
        if self.interval == ADAPTIVE:
            # a fall and its end take three windows; each interval may leave one round unfilled
            shortest = min(3 * self.window, self.limit)
            looks = min(self.limit, iterations) // self.window + 1
            unfilled = looks + iterations // shortest + 1
            return min(iterations, self.pieces(iterations) + unfilled)
        interval = int(self.interval) or iterations
        whole, rest = divmod(iterations, interval)
        ended, begun = 0, 0
        while ended < rest:
            ended = self.end(ended, ())
            begun += 1
        return whole * self.pieces(interval) + begun
