"""What a method's result looks like: roles and their slots, variables, figures."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gandask.core.errors import MethodError

BETTER = ("", "lower", "higher")
SHOWN = ("map", "trace", "report", "origin", "accepted")
TAKEN = ("marked", "round")


@dataclass(frozen=True)
class Variable:
    """Describe one variable of the result.

    Parameters
    ----------
    long_name : str
        What it is, for people.
    units : str
        ``"1"`` for a pure number, ``""`` for text and truth values.
    dims : tuple of str
        Those after ``round`` and the unit.
    dtype : str
        A NumPy one; of whole numbers, -1 stands for none.
    role : str
        Whose it is, along the unit of that role; of the whole population without one.
    by_round : bool
        Whether there is one in each round.
    better : {"", "lower", "higher"}
        Which of two values is better, if one can be.
    shown : tuple of {"map", "trace", "report", "origin", "accepted"}
        Where pages show it unasked: offered for the map; drawn beside the score; in the report.
        Among the samples that units show, ``origin`` is the number of the unit that those of a
        round came from, and ``accepted`` whether they stand for it from then on.
    final_of : str
        The variable by round that this is the last word on.
    timing : bool
        Whether it is a measurement of the machine, which differs from run to run.
    samples : int
        How many samples a score is of: scores of few and of many are not alike. 0 if of none.
    """

    long_name: str
    units: str = "1"
    dims: tuple[str, ...] = ()
    dtype: str = "float64"
    role: str = ""
    by_round: bool = True
    better: str = ""
    shown: tuple[str, ...] = ()
    final_of: str = ""
    timing: bool = False
    samples: int = 0

    @property
    def attributes(self) -> dict[str, Any]:
        """What the Dataset says of it."""
        told: dict[str, Any] = {"long_name": self.long_name, "units": self.units}
        chosen = {
            "role": self.role,
            "better": self.better,
            "shown": " ".join(self.shown),
            "final_of": self.final_of,
            "samples": self.samples,
        }
        told |= {key: value for key, value in chosen.items() if value}
        return told | {"timing": 1} if self.timing else told


@dataclass(frozen=True)
class Role:
    """One kind of slots, and where they lie in the result.

    Parameters
    ----------
    unit : tuple of str
        Dimensions along which its slots lie: those of no other role; none for a lone slot.
    slots : tuple of str
        Their names, row by row along `unit`. Each begins with the name of the role:
        ``("cell/0", "cell/1")``.
    """

    unit: tuple[str, ...]
    slots: tuple[str, ...]

    @classmethod
    def numbered(cls, name: str, unit: Sequence[str], count: int) -> Role:
        """Make a role whose slots are numbered.

        Examples
        --------
        >>> Role.numbered("node", ["node"], 2)
        Role(unit=('node',), slots=('node/0', 'node/1'))
        """
        return cls(tuple(unit), tuple(f"{name}/{index}" for index in range(count)))


@dataclass(frozen=True)
class Layout:
    """Describe the result of a method.

    Parameters
    ----------
    coords : mapping of str to sequence
        Every dimension but ``round``: those of the roles' units first.
    roles : mapping of str to Role
        By the name that their slots begin with.
    variables : mapping of str to Variable
        What records hold.

    Raises
    ------
    MethodError
        If these do not go together.
    """

    coords: Mapping[str, Sequence[Any]]
    roles: Mapping[str, Role]
    variables: Mapping[str, Variable]

    def __post_init__(self) -> None:
        units = [dim for role in self.roles.values() for dim in role.unit]
        for dim in units:
            if units.count(dim) > 1:
                raise MethodError(f"two roles share the unit {dim!r}: each needs one of its own")
        for name, role in self.roles.items():
            self._check_role(name, role)
        for name, variable in self.variables.items():
            self._check_variable(name, variable)

    def _check_role(self, name: str, role: Role) -> None:
        lacking = [dim for dim in role.unit if dim not in self.coords]
        if lacking:
            raise MethodError(f"role {name!r} lies along {lacking[0]!r}, which is not in coords")
        places = math.prod(len(self.coords[dim]) for dim in role.unit)
        if len(role.slots) != places:
            raise MethodError(
                f"role {name!r} has {len(role.slots)} slots for {places} places along {role.unit}"
            )
        for slot in role.slots:
            if slot.split("/")[:1] != [name] or slot.count("/") != 1:
                raise MethodError(f"slot {slot!r} of role {name!r}: expected {name}/NUMBER")

    def _check_variable(self, name: str, variable: Variable) -> None:
        told = f"variable {name!r}"
        if not variable.long_name:
            raise MethodError(f"{told} has no long_name: say what it is")
        if variable.dtype not in ("str", "bool") and not variable.units:
            raise MethodError(f"{told} has no units: '1' for a pure number")
        if variable.role and variable.role not in self.roles:
            raise MethodError(f"{told} is of role {variable.role!r}: expected {[*self.roles]}")
        for dim in variable.dims:
            if dim not in self.coords:
                raise MethodError(f"{told} lies along {dim!r}, which is not in coords")
        if variable.better not in BETTER or not set(variable.shown) <= set(SHOWN):
            raise MethodError(f"{told}: expected better in {BETTER} and shown among {SHOWN}")
        if variable.final_of and variable.final_of not in self.variables:
            raise MethodError(f"{told} is final_of {variable.final_of!r}, which there is not")

    @property
    def unit(self) -> tuple[str, ...]:
        """Dimensions of what is known of every slot: the unit of the only role, or ``slot``."""
        roles = [*self.roles.values()]
        return roles[0].unit if len(roles) == 1 else ("slot",)

    @functools.cached_property
    def slots(self) -> Mapping[str, tuple[int, ...]]:
        """The position of every slot along the unit of its role."""
        return {
            slot: tuple(map(int, position))
            for role in self.roles.values()
            for slot, position in zip(role.slots, np.ndindex(*self._sizes(role)), strict=True)
        }

    @functools.cached_property
    def positions(self) -> Mapping[str, tuple[int, ...]]:
        """The position of every slot along `unit`."""
        if len(self.roles) == 1:
            return self.slots
        return {slot: (index,) for index, slot in enumerate(self.slots)}

    def _sizes(self, role: Role) -> tuple[int, ...]:
        return tuple(len(self.coords[dim]) for dim in role.unit)


@dataclass(frozen=True)
class Figure:
    """One drawing of a method's own, beside what is drawn of every run.

    Parameters
    ----------
    title : str
        Its heading on pages and in reports.
    draw : callable
        From a Dataset, and what it `takes`, to a HoloViews element.
    needs : tuple of str
        Variables of the Dataset without which there is nothing to draw.
    takes : tuple of {"marked", "round"}
        Keywords of `draw`: the place of one unit, such as ``{"row": 0, "col": 1}``, and the round
        to look at.
    along : str
        Its horizontal axis, if rounds have a place on it: ``"round"``, or the variable that tells
        where each round ends there.
    wide : bool
        Whether it wants a row of a page for itself.
    """

    title: str
    draw: Callable[..., Any]
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    along: str = ""
    wide: bool = False

    def __post_init__(self) -> None:
        if not set(self.takes) <= set(TAKEN):
            raise MethodError(f"figure {self.title!r} takes {self.takes}: expected some of {TAKEN}")
