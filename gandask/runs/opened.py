"""A stored run, opened: its Dataset, settings, state, and the generators it trained."""

from __future__ import annotations

import math
import os
import time
import tomllib
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from gandask import config, display, results
from gandask.core import Layout, Method, StoreError
from gandask.methods import STORED
from gandask.runs.collecting import Collected
from gandask.runs.steered import Steered
from gandask.runs.trained import Trained
from gandask.store import LIVE, Store

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future
    from pathlib import Path

    import xarray as xr

    from gandask.core import Figure
    from gandask.plots.bound import Plots
    from gandask.store.shown import Shown

LIVE_PAGE = "gandask.pages.inline:live"
"""What `Run.dashboard` calls: by name, as pages stand on runs and not the other way."""
LOOK = 0.2  # seconds between two looks at a run of another process


class Run(Trained, Steered):
    """A run that is finished, or being written.

    Reading it needs neither its data nor its networks: only sampling and going on do.

    Parameters
    ----------
    path : path-like
        Its store.
    ended : Future, optional
        What it will have come to, where it is under way in this process.
    trust : bool
        Whether functions that its settings name may be imported.

    Raises
    ------
    StoreError
        If there is no run, or one written by a newer version.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        ended: Future[xr.Dataset] | None = None,
        trust: bool = False,
    ) -> None:
        self.store = Store.open(path)
        self._trust = trust
        self._ended = ended
        self._known: tuple[str, Any] = ("", None)

    @property
    def method(self) -> Method[Any]:
        """The method with its settings, ready to be run again; a run may be changed meanwhile.

        Raises
        ------
        StoreError
            If it cannot be made, or names a function and the run is not trusted.
        """
        known = self._made
        named = config.functions(known)
        if named and not self._trust:
            raise StoreError(
                f"{', '.join(sorted(named))}: a run's settings name a function, which training "
                "would import; if the run is your own: gandask.open_run(path, trust=True), or "
                "--trust in the shell"
            )
        return known

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting, by name."""
        known = self._to_look_at
        names = [] if known is None else [f.name for f in config.fields(known)]
        others = {key: v for key, v in self._table.items() if key not in ("method", *names)}
        return {name: getattr(known, name) for name in names} | others

    @property
    def method_name(self) -> str:
        """The name of its method."""
        return str(self._table.get("method", next(iter(STORED))))

    @property
    def method_class(self) -> type[Method[Any]] | None:
        """The class of its method, where that is known here."""
        return STORED.get(self.method_name)

    @property
    def figures(self) -> Mapping[str, Figure]:
        """The drawings of its method's own, by name; none where the method is not known here."""
        known = self._to_look_at
        return {} if known is None else known.figures()

    @property
    def layout(self) -> Layout:
        """How its result is laid out."""
        return self._laid_out[0]

    @property
    def rounds(self) -> int:
        """Number of rounds in the end, or the most there can be."""
        return self._laid_out[1]

    @property
    def ds(self) -> xr.Dataset:
        """The rounds done so far; for a run being written, read anew each time."""
        stored = self.store.read_dataset() if self.state == "finished" else None
        if stored is not None:
            return results.labelled(stored, self.layout)
        collected = self.collected()
        collected.read()
        return collected.dataset(self.attributes)

    def film(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write what every slot showed as a film, a frame for each round.

        Parameters
        ----------
        path : path-like, optional
            Its ending says which kind: ``.gif``, ``.webp`` or ``.mp4``; ``film.gif`` in the run's
            folder by default.

        Returns
        -------
        Path

        Raises
        ------
        StoreError
            If no slot has shown anything.
        SettingError
            For another ending, or one that needs a package that is not there.
        """
        from gandask.runs.film import Film

        target = self.store.path / "film.gif" if path is None else path
        return Film(self.ds, self.layout, self.shown).write(target)

    @property
    def shown(self) -> Shown:
        """Samples of every slot after every round, small: ``run.shown.at("cell/0", 7)``."""
        return self.store.shown

    def collected(self) -> Collected:
        """Give what its steps are collected in, with none read yet."""
        return Collected(self.store, *self._laid_out)

    @property
    def attributes(self) -> dict[str, Any]:
        """What its Dataset says of the run."""
        facts = self.store.description["facts"]
        seed = self.settings.get("seed", 0)
        return results.described(self.method_name, self.store.settings, seed, facts)

    def story(self, ds: xr.Dataset | None = None) -> str:
        """Tell in one paragraph what happened in the run so far.

        Parameters
        ----------
        ds : Dataset, optional
            Its own, where it was read before.
        """
        read = self.ds if ds is None else ds
        known = self._to_look_at
        own = [] if known is None else known.sentences(read)
        return " ".join(results.story(read, own, self.state))

    @property
    def plot(self) -> Plots:
        """Plots of the run so far: ``run.plot.map()``, and the drawings of its method's own."""
        from gandask.plots.bound import Plots

        return Plots(self.ds, self.figures)

    def dashboard(self) -> Any:
        """Give the live page of the run, to be shown in a notebook."""
        return config.load_object(LIVE_PAGE)(self)

    def wait(self, timeout: float | None = None) -> xr.Dataset:
        """Wait until the run ends, and give its Dataset; Ctrl-C ends the waiting, not the run.

        Parameters
        ----------
        timeout : float, optional
            Seconds after which to give up.

        Raises
        ------
        TimeoutError
            If it takes longer.
        Exception
            What ended the run, if it was started by this process; StoreError if by another one.
        """
        if self._ended is not None:
            return self._ended.result(timeout)
        until = math.inf if timeout is None else time.monotonic() + timeout
        while self.state in LIVE:
            if time.monotonic() > until:
                raise TimeoutError(f"{self!r} goes on after {timeout} s")
            time.sleep(LOOK)
        if self.state in ("failed", "interrupted"):
            why = self.store.description.get("error", "its process is gone")
            raise StoreError(f"{self.store.path} was {self.state}: {why}")
        return self.ds

    @property
    def _table(self) -> dict[str, Any]:
        """The method's name and settings as ``config.toml`` has them."""
        return tomllib.loads(self.store.settings)

    @property
    def _made(self) -> Method[Any]:
        """The method, to be asked: its functions are never called."""
        settings = self.store.description.get("settings", "")
        if not settings or self._known[0] != settings:
            self._known = settings, self.store.method(STORED)
        known: Method[Any] = self._known[1]
        return known

    @property
    def _to_look_at(self) -> Method[Any] | None:
        """The method, not to be run: nothing that its settings name need be there."""
        known = self.method_class
        return None if known is None else config.unchecked(self._table, known)

    @property
    def _laid_out(self) -> tuple[Layout, int]:
        found = self.store.laid_out()
        if found is not None:
            return found
        method = self._to_look_at or self.method
        return method.layout(), method.rounds

    def _repr_html_(self) -> str:
        told = self.store.description
        rows = {"run": self.store.path, "state": self.state, "round": told["round"]}
        if told.get("error") and self.state in ("failed", "stopped"):
            rows["error"] = told["error"]
        if told.get("dask_dashboard"):
            rows["Dask's dashboard"] = told["dask_dashboard"]
        shown = display.table(rows) + display.folded("settings", self.settings)
        return str(Markup("<b>Run</b>") + shown)

    def __repr__(self) -> str:
        told = self.store.description
        return f"Run({str(self.store.path)!r}, {self.state}, round {told['round']})"


def open_run(path: str | os.PathLike[str], trust: bool = False) -> Run:
    """Open a stored run, finished or being written.

    Parameters
    ----------
    path : path-like
        The `store` it was given.
    trust : bool
        Whether functions that its settings name may be imported when its method is run again.

    Raises
    ------
    StoreError
        If there is no run, or one written by a newer version.
    """
    return Run(path, trust=trust)
