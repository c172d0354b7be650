"""A stored run, opened: its Dataset, settings, state, and the generators it trained."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import TYPE_CHECKING, Any

from gandask import config, results
from gandask.checkpoint import load_states, slot_of
from gandask.core import State, StoreError
from gandask.methods import METHODS
from gandask.mixture import Mixture
from gandask.results import Results
from gandask.store import Store

if TYPE_CHECKING:
    import xarray as xr


class Run:
    """A run that is finished, or being written.

    Parameters
    ----------
    path : path-like
        Its store.

    Raises
    ------
    StoreError
        If there is no run, or one written by a newer version.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.store = Store.open(path)

    @functools.cached_property
    def method(self) -> Any:
        """The method with its settings, ready to be run again."""
        return self.store.method(METHODS)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting, by name."""
        return {f.name: getattr(self.method, f.name) for f in config.fields(self.method)}

    @property
    def state(self) -> str:
        """One of running, finished, failed, stopped, interrupted."""
        return self.store.state

    @property
    def ds(self) -> xr.Dataset:
        """The rounds done so far; for a run being written, read anew each time."""
        stored = self.store.read_dataset() if self.state == "finished" else None
        return stored if stored is not None else self._collected()

    def best_mixture(self) -> Mixture:
        """Give the ensemble that scores best, as of the last checkpoint."""
        best = self._checkpoint[1]["best"]
        if best is None:
            raise StoreError(f"{self.store.path}: no mixture was scored before the checkpoint")
        return self.mixture(best)

    def mixture(self, slot: str) -> Mixture:
        """Give the ensemble of one slot, as of the last checkpoint.

        Parameters
        ----------
        slot : str
            Such as ``"cell/0"``; ``"group/1"``, whose one generator it is, or ``"all"`` groups.

        Raises
        ------
        StoreError
            If there is no checkpoint yet, or no such slot.
        """
        folder, told = self._checkpoint
        if slot not in told["mixtures"]:
            raise StoreError(f"slot {slot!r}: expected one of {', '.join(told['mixtures'])}")
        weights = told["mixtures"][slot]
        states: dict[str, State] = {}
        for file, names in told["files"].items():
            wanted = [name for name in names if name in weights]
            loaded, _ = load_states(names=wanted, path=str(folder / file)) if wanted else ((), {})
            states |= dict(zip(wanted, loaded, strict=True))
        lacking = weights.keys() - states.keys()
        if lacking:
            raise StoreError(f"{folder} does not hold {', '.join(sorted(lacking))}")
        facts = self.store.description["facts"]
        shape, classes = tuple(facts["sample_shape"]), facts["classes"]
        trainings = {
            name: dataclasses.replace(
                self.method.training_of(slot_of(name)), sample_shape=shape, classes=classes
            )
            for name in weights
        }
        return Mixture(trainings, states, weights)

    @property
    def _checkpoint(self) -> tuple[Any, dict[str, Any]]:
        found = self.store.last_checkpoint()
        if found is None:
            raise StoreError(
                f"{self.store.path} has no checkpoint yet: the first comes after checkpoint_every "
                "rounds, and one at the end"
            )
        return found

    def _collected(self) -> xr.Dataset:
        """Collect the Dataset of an unfinished run from its steps."""
        collected = Results(self.method.layout(), self.method.rounds)
        for _ in self.store.columns.read(collected.take):
            pass
        collected.events += self.store.noted()
        return collected.dataset(results.attributes(self.method, self.store.description["facts"]))

    def __repr__(self) -> str:
        told = self.store.description
        return f"Run({str(self.store.path)!r}, {self.state}, round {told['round']})"


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a stored run, finished or being written.

    Parameters
    ----------
    path : path-like
        The `store` it was given.

    Raises
    ------
    StoreError
        If there is no run, or one written by a newer version.
    """
    return Run(path)
