"""What a run has trained: ensembles to draw samples from, and networks to take away."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gandask.core import BEST, Method, SettingError, State, StoreError
from gandask.runs import exporting
from gandask.scores.mixture import Mixture, Sampler, distribution
from gandask.store import Store
from gandask.training.stored import newest, read_checkpoint
from gandask.training.weights import average_of


class Trained:
    """A run whose last checkpoint has networks."""

    store: Store

    @property
    def _made(self) -> Method[Any]:
        """The method, to be asked: its functions are never called."""
        raise NotImplementedError

    def best_mixture(self, last: bool = False) -> Mixture:
        """Give the best ensemble, or the only one, as of the last checkpoint.

        Where a run keeps the best round (``keep_best=True``), it is that round's.

        Parameters
        ----------
        last : bool
            That of the last round all the same.
        """
        kept = not last and BEST in self._checkpoint[1]["mixtures"]
        return self.mixture(BEST if kept else self.slot_of_best())

    def slot_of_best(self) -> str:
        """Name the slot whose ensemble scores best, or the only one that has any.

        Raises
        ------
        StoreError
            If there is no checkpoint yet, or nothing was scored before it.
        """
        told = self._checkpoint[1]
        if told["best"] is None and len(told["mixtures"]) == 1:
            return str(next(iter(told["mixtures"])))
        if told["best"] is None:
            raise StoreError(f"{self.store.path}: no mixture was scored before the checkpoint")
        return str(told["best"])

    def mixture(self, slot: str) -> Mixture:
        """Give the ensemble of one slot, as of the last checkpoint.

        Parameters
        ----------
        slot : str
            As the method names it, such as ``"cell/0"``.

        Raises
        ------
        StoreError
            If there is no checkpoint yet, or no such slot.
        """
        told = self._checkpoint[1]
        if not told["mixtures"]:
            raise StoreError(f"{self.store.path}: the method keeps no generators to sample from")
        if slot not in told["mixtures"]:
            raise StoreError(f"slot {slot!r}: expected one of {', '.join(told['mixtures'])}")
        weights = told["mixtures"][slot]
        if not weights:
            raise StoreError(f"{self.store.path}: no generator of {slot} is kept to sample from")
        return self._mixture(weights)

    def generators(self) -> Mixture:
        """Give all generators of the last checkpoint, in equal shares.

        They are those that an ensemble of the run may draw from: what its checkpoint's mixtures
        name, whatever they weigh there.

        Raises
        ------
        StoreError
            If there is no checkpoint yet, or no generator in it.
        """
        names = sorted(
            {name for weights in self._checkpoint[1]["mixtures"].values() for name in weights}
        )
        if not names:
            raise StoreError(f"{self.store.path}: the method keeps no generators to sample from")
        return self._mixture(dict.fromkeys(names, 1 / len(names)))

    def _mixture(self, weights: Mapping[str, float]) -> Mixture:
        """Read the generators that have weights from the last checkpoint."""
        folder, told = self._checkpoint
        states = read_checkpoint(folder, told, weights)
        lacking = weights.keys() - states.keys()
        if lacking:
            raise StoreError(f"{folder} does not hold {', '.join(sorted(lacking))}")
        facts = self.store.description["facts"]
        generate = functools.partial(self._made.generate, facts=facts)
        return Mixture(generate, states, weights)

    def sampler(self, labels: str | Mapping[int, float] = "empirical") -> Sampler:
        """Give what draws samples of labels, as of the last checkpoint.

        Parameters
        ----------
        labels : {"empirical", "uniform"} or mapping of int to float
            How often it draws each: as the data have them, all alike, or by weights such as
            ``{3: 0.5, 7: 0.5}``.

        Raises
        ------
        StoreError
            If there is no checkpoint yet, or nobody makes samples of one label.
        SettingError
            For labels that there are not.
        """
        made = self._made
        known = made.makers(self.store.description["facts"])
        if not known:
            raise StoreError(
                f"{self.store.path}: no generator of method {made.name!r} makes samples of one "
                "label alone; train one for each label by PerLabel, or use best_mixture()"
            )
        slots = {label: slot for label, (slot, _) in known.items()}
        shares = distribution(labels, {label: count for label, (_, count) in known.items()})
        begun = self._checkpoint[1]["mixtures"]
        lacking = [one for one, share in shares.items() if share and slots[one] not in begun]
        if lacking:
            raise StoreError(
                f"{self.store.path}: at its last checkpoint, label {lacking[0]} had not begun; "
                "name others, or wait"
            )
        ensembles = functools.cache(lambda label: self.mixture(slots[label]))
        return Sampler(ensembles, shares)

    def export(
        self, path: str | os.PathLike[str], slot: str | None = None, *, classifier: bool = False
    ) -> Path:
        """Write the heaviest generator of the best mixture, with nothing pickled.

        Parameters
        ----------
        path : path-like
            Its name ends in ``.safetensors``: named arrays; or in ``.onnx``: a graph with them,
            from ``noise``, and ``labels`` where networks are conditional, to ``samples``.
        slot : str, optional
            Whose mixture instead, such as ``"cell/0"``.
        classifier : bool
            Write the slot's newest discriminator instead, which labelled samples have taught to
            tell classes.

        Raises
        ------
        StoreError
            If there is no checkpoint yet, no such slot, no discriminator that tells classes, or the
            file cannot be written.
        SettingError
            For another ending, or what ONNX cannot express.
        """
        chosen = self.mixture(slot) if slot else self.best_mixture()
        name = max(chosen.weights, key=chosen.weights.__getitem__)
        facts = self.store.description["facts"]
        whose: dict[str, Any] = {"generator": name, "share": chosen.weights[name]}
        state = average_of(chosen.states[name])
        if classifier:
            name, state = self._classifier(slot or self.slot_of_best())
            whose = {"classifier": name}
        told = {
            **whose,
            "settings": self.store.settings,
            **{key: facts[key] for key in ("sample_shape", "classes") if key in facts},
        }
        if exporting.is_graph(path):
            if classifier:
                raise SettingError(
                    f"{path}: a classifier is written as arrays alone; choose a name that ends in "
                    f"{exporting.ENDING}"
                )
            return exporting.write_graph(*self._made.module(name, state, facts), told, path)
        return exporting.write(state, told, path)

    def _classifier(self, slot: str) -> tuple[str, State]:
        """Read the newest discriminator of a slot, as a module to the logits of classes has it."""
        folder, told = self._checkpoint
        name = newest(slot, {name for names in told["files"].values() for name in names})
        if not name or "held_out_digest" not in self.store.description["facts"]:
            raise StoreError(
                f"{self.store.path}: no discriminator of {slot} tells classes; those of a run with "
                "labelled samples do, such as labelled=100 of a grid"
            )
        return name, exporting.body(read_checkpoint(folder, told, [name])[name])

    @property
    def _checkpoint(self) -> tuple[Any, dict[str, Any]]:
        found = self.store.checkpoints.last()
        if found is None:
            raise StoreError(
                f"{self.store.path} has no checkpoint yet: the first comes after checkpoint_every "
                "rounds, and one at the end"
            )
        return found
