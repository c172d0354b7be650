"""What a label may use up: iterations, epochs of its samples, or seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gandask.core import SettingError
from gandask.display import suggestion

ITERATIONS, EPOCHS, SECONDS = "iterations", "epochs", "seconds"
UNITS = (ITERATIONS, EPOCHS, SECONDS)
MOST = 1e12  # of any unit: iterations, and rounds, stay numbers that arrays can hold


@dataclass(frozen=True)
class Budget:
    """So much of a unit.

    Parameters
    ----------
    unit : {"iterations", "epochs", "seconds"}
    amount : float
    """

    unit: str
    amount: float

    @classmethod
    def read(cls, text: str) -> Budget:
        """Read ``"iterations:2000"``, ``"epochs:5"`` or ``"seconds:60"``.

        Raises
        ------
        SettingError
            For another unit, or an amount that is not above 0 and at most `MOST`.

        Examples
        --------
        >>> Budget.read("epochs:5")
        Budget(unit='epochs', amount=5.0)
        """
        unit, _, number = text.partition(":")
        if unit not in UNITS:
            raise SettingError(
                f"budget={text!r}: there is no unit {unit!r}; {suggestion(unit, UNITS)}, as in "
                "'iterations:2000'"
            )
        try:
            amount = float(number)
        except ValueError:
            amount = math.nan
        if not 0 < amount <= MOST or (unit == ITERATIONS and amount % 1):
            kind = "a whole number" if unit == ITERATIONS else "a number"
            raise SettingError(
                f"budget={text!r}: expected {kind} of {unit} above 0 and at most {MOST:g}, got "
                f"{number!r}"
            )
        return cls(unit, amount)

    def iterations(self, batches: int, steps: int, factor: float = 1.0) -> int | None:
        """Give the iterations that a label has; None where only time tells.

        Parameters
        ----------
        batches : int
            In one pass over the label's samples.
        steps : int
            Batches that an iteration takes.
        factor : float
            Of the label's amount over that of the average label.

        Examples
        --------
        >>> Budget("epochs", 3).iterations(batches=10, steps=5)
        6
        >>> Budget("iterations", 2000).iterations(batches=10, steps=5, factor=0.5)
        1000
        """
        if self.unit == SECONDS:
            return None
        if self.unit == EPOCHS:
            return max(1, math.ceil(self.amount * batches / steps))
        return max(1, round(self.amount * factor))
