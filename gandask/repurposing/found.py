"""Ensembles that were found: their Dataset, their mixtures, and how they are kept."""

from __future__ import annotations

import functools
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandask import results
from gandask.core import SettingError, State, slot_of
from gandask.display import suggestion
from gandask.methods.ensemble.method import Ensemble, EnsembleView
from gandask.plots.bound import Plots
from gandask.results import Results
from gandask.scores.mixture import Mixture
from gandask.store import create
from gandask.store.checkpoint import save_states

if TYPE_CHECKING:
    import xarray as xr


class Ensembles:
    """What `ensembles` found.

    Parameters
    ----------
    method : Ensemble
        How they were chosen.
    view : EnsembleView
        What they are.
    facts : mapping
        Of the data, and of the runs that members are from.
    states : mapping of str to State
        Weights of every member.
    """

    def __init__(
        self,
        method: Ensemble,
        view: EnsembleView,
        facts: Mapping[str, Any],
        states: Mapping[str, State],
    ) -> None:
        self.method, self.view, self.facts, self.states = method, view, facts, states

    @functools.cached_property
    def ds(self) -> xr.Dataset:
        """Scores, members and weights of each ensemble, along ``ensemble`` and ``member``."""
        return self._collected[0].dataset(results.attributes(self.method, self.facts))

    @property
    def plot(self) -> Plots:
        """Plots: ``found.plot.sizes()``, ``found.plot.front()``, ``found.plot.weights()``."""
        return Plots(self.ds, self.method.figures())

    def best(self, objective: str | None = None) -> Mixture:
        """Give the ensemble that was best when it was chosen.

        The half of the samples that judges has no part in it.

        Parameters
        ----------
        objective : str, optional
            Of those that were asked for; the first by default.

        Raises
        ------
        SettingError
            For an objective that was not asked for.
        """
        asked = self.method.objective
        name = asked[0] if objective is None else objective
        if name not in asked:
            raise SettingError(f"objective={name!r}: {suggestion(name, asked)}")
        place = results.place_of_best(self.ds[name].isel(round=-1, drop=True))
        assert place is not None
        return self.mixture(place["ensemble"])

    def mixture(self, ensemble: str) -> Mixture:
        """Give one ensemble, by its label in the Dataset.

        Raises
        ------
        SettingError
            If there is none of this name.
        """
        labels = self.method.found
        if ensemble not in labels:
            raise SettingError(f"ensemble={ensemble!r}: {suggestion(ensemble, labels)}")
        weights = self.view.mixtures[f"ensemble/{labels.index(ensemble)}"]
        generate = functools.partial(self.method.generate, facts=self.facts)
        return Mixture(generate, {name: self.states[name] for name in weights}, weights)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Keep the ensembles in a folder, with the weights of their members.

        `gandask.open_run` opens it like a run; the runs that members are from may be deleted.

        Raises
        ------
        StoreError
            If something is there already, or the folder cannot be written.
        """
        store = create(path, self.method, self.facts)
        try:
            store.append([], 0.0)
            store.columns.append(self._collected[1])
            token = uuid.uuid4().hex[:8]
            partial = store.checkpoints.begin(token)
            files: dict[str, list[str]] = {}
            for name in sorted(self.view.keeps):
                files.setdefault(slot_of(name).replace("/", "-") + ".safetensors", []).append(name)
            for file, names in files.items():
                states = [self.states[name] for name in names]
                save_states(*states, names=names, path=str(partial / file), token=token)
            store.checkpoints.seal(partial, self.view, files, store.log)
            store.describe("finished", 1, dataset=store.write_dataset(self.ds))
        finally:
            store.release()
        return store.path

    @functools.cached_property
    def _collected(self) -> tuple[Results, Mapping[str, Any]]:
        collected = Results(self.method.layout(), 1)
        return collected, collected.add(self.view, [], 0.0)

    def __repr__(self) -> str:
        return f"Ensembles({', '.join(self.method.found)})"

    def _repr_html_(self) -> str:
        return str(self.ds._repr_html_())
