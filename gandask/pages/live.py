"""The live page: one run, finished or being written, at one round and around one cell.

The round cursor is one number that all views follow. When a round is done, the views are drawn
anew; when the cursor moves, the map and the mixture change and a line moves through the others.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn
from markupsafe import Markup

from gandask import plots
from gandask.core import StoreError
from gandask.pages import catalogue, status
from gandask.pages.cell import CellPanel
from gandask.pages.cursor import Player
from gandask.pages.frame import argument, card, html, message, page
from gandask.pages.pace import Pace
from gandask.pages.view import Lines, View
from gandask.runs.following import Followed, follow

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("gandask")

PERIOD = 1000  # milliseconds between two looks: with drawing, less than the two seconds promised
MAPPED = (
    "fid", "tvd", "inception_score", "modes", "high_quality", "generator_fitness",
    "discriminator_fitness", "generator_learning_rate", "discriminator_learning_rate", "loss",
    "generator_replaced", "partner", "interval",
)  # fmt: skip
MAP_WIDTH = 400  # pixels


def live() -> Any:
    """Make the live page, with a choice of runs."""
    return page("live", _chosen)


def _chosen() -> Any:
    root = catalogue.folder()
    names = catalogue.names(root)
    wanted = argument("run") or (names[0] if names else "")
    if not wanted:
        return message(f"There are no runs in {root} yet. gandask train demo --store runs/first")
    chooser = pn.widgets.Select(
        name="run", options=list(dict.fromkeys([*names, wanted])), value=wanted, width=300
    )
    watch = Watch()

    def choose(name: str) -> None:
        try:
            watch.open(catalogue.path(root, name))
        except StoreError as error:
            watch.say(str(error))

    if pn.state.location:
        pn.state.location.sync(chooser, {"value": "run"})
        chooser.value = wanted  # the address takes a run called 7 for a number
    chooser.param.watch(lambda event: choose(event.new), "value")
    # the page is there before what takes time to read
    pn.state.onload(pn.io.hold()(lambda: choose(chooser.value)))

    def renew() -> None:
        found = catalogue.names(root)
        chooser.options = list(dict.fromkeys([*found, chooser.value]))

    pn.state.add_periodic_callback(renew, 10 * PERIOD)
    return pn.Column(pn.Row(chooser, watch.head), watch.body, sizing_mode="stretch_width")


class Watch:
    """The views of one run, and what they share: the run, the round cursor and the cell."""

    def __init__(self) -> None:
        self.followed: Followed | None = None
        self.version = -1
        self.drawn = -1
        self.ready = False  # whether there are views that can follow what is chosen
        self.pace = Pace()
        self.cell: dict[str, Any] = {}
        self.state = html(Markup(""))
        self.steering = status.Steering(lambda: self.followed)
        self.head = pn.Column(self.state, self.steering.view, sizing_mode="stretch_width")
        self.words = message("loading ...")
        self.variable = pn.widgets.Select(name="colour", width=MAP_WIDTH - 140)
        self.unit = pn.widgets.Select(name="cell", width=120)
        self.player = Player(MAP_WIDTH)
        self.map = View(sizing_mode=None, min_height=MAP_WIDTH)
        self.lines = Lines()
        self.panel = CellPanel(self.lines)
        self.events = View()
        self.workers = html(Markup(""))
        self.views = pn.Column(
            pn.Row(
                pn.Column(
                    pn.Row(self.variable, self.unit), self.map.pane, self.player.view,
                    width=MAP_WIDTH + 10,
                ),
                self.panel.view,
                sizing_mode="stretch_width",
            ),
            card("Events", self.events.pane),
            card("Workers", self.workers),
            sizing_mode="stretch_width",
        )  # fmt: skip
        self.body = pn.Column(self.words, sizing_mode="stretch_width")
        self.variable.param.watch(lambda event: self._colour(), "value")
        self.unit.param.watch(lambda event: self._mark(event.new), "value")
        self.player.slider.param.watch(lambda event: self._move(), "value")
        pn.state.add_periodic_callback(self.look, PERIOD)
        pn.state.on_session_destroyed(lambda session: self.pace.leave())

    def open(self, path: Path) -> None:
        """Watch another run."""
        self.followed = follow(path)
        self._begin()
        self.look()

    def _begin(self) -> None:
        """Forget what was drawn."""
        self.version, self.drawn, self.ready = -1, -1, False

    def say(self, text: str) -> None:
        """Say why there is nothing to see."""
        self.followed = None
        self._show(text)

    def look(self) -> None:
        """Draw what is new, if anything is; what cannot be read is told, and looked for again."""
        with pn.io.hold():  # all of it goes to the browser at once, and in order
            self._look()

    def _look(self) -> None:
        followed = self.followed
        if followed is None:
            return
        try:
            version = followed.look()
            slots = followed.run.store.slots()
            self._set(self.workers, status.workers(slots))
            if version != self.version:
                self._follow(followed, followed.ds)
                self.version = version
            if self.drawn != version:
                self._draw_paced(followed)
            self.steering.refresh(followed)
            self._set(self.state, status.line(followed))
        except Exception as error:  # whatever a folder holds, the page goes on, and so do others
            self._begin()
            known = isinstance(error, StoreError | OSError)
            self._show(str(error) if known else f"{followed.path}: {type(error).__name__}: {error}")
            if not known:
                logger.exception("%s cannot be shown", followed.path)

    def _show(self, text: str) -> None:
        """Show the views, or words in their place."""
        self.words.object = str(message(text).object) if text else ""
        self.words.visible, self.views.visible = bool(text), not text
        if not text and self.views not in self.body.objects:
            self.body.append(self.views)
        self.head.visible = not text

    @staticmethod
    def _set(pane: Any, markup: Markup) -> None:
        if pane.object != markup:
            pane.object = str(markup)

    def _follow(self, followed: Followed, ds: xr.Dataset) -> None:
        """Bring cursor and map to what is new: that is cheap, and done at once."""
        if not ds.sizes["round"]:
            self._show(f"{followed.state}: no round is done yet")
            self.head.visible = True
            return
        self._choices(ds)
        self.player.extend(ds.sizes["round"], follow=not self.ready)
        self._draw_map(followed)

    def _draw_paced(self, followed: Followed) -> None:
        """Draw the other views anew: at once when it is once only, else as the pace allows."""
        again = self.ready and followed.state == "running"
        if self.pace.rested or not again:
            with self.pace.drawing(again):
                self._draw(followed, followed.ds)
            self.drawn = self.version

    def _draw(self, followed: Followed, ds: xr.Dataset) -> None:
        """Draw the other views anew."""
        if not ds.sizes["round"]:
            return
        self.events.show(self.lines.through(plots.events(ds), "events"))
        self.panel.draw(followed, self.cell, self.variable.value, self.player.round)
        self._show("")  # at the end: what is drawn unseen reaches the browser at once
        self.ready = True

    def _choices(self, ds: xr.Dataset) -> None:
        """Offer the variables and cells that the run has."""
        names = [name for name in MAPPED if name in ds and "round" in ds[name].dims]
        titles = {str(ds[name].attrs["long_name"]): name for name in names}
        if self.variable.options != titles:
            score = ds.attrs.get("score")
            self.variable.param.update(options=titles, value=score if score in names else names[0])
        places = units(ds)
        if self.unit.options != places:
            self.cell = plots.best(ds[self.variable.value]) or next(iter(places.values()))
            self.unit.param.update(options=places, value=self.cell)

    def _draw_map(self, followed: Followed) -> None:
        """Draw the map of the round at the cursor."""
        ds, cell = as_grid(followed.ds), self.cell
        marked = cell.get("row", 0), cell.get("col", cell.get("group", 0))
        drawn = plots.grid(ds, self.variable.value, self.player.round, marked=marked)
        self.map.show(drawn, self._tapped)

    def _colour(self) -> None:
        """Show another variable, also in the trace of the cell."""
        if self.followed is not None and self.ready:
            self._draw_map(self.followed)
            self.panel.draw(self.followed, self.cell, self.variable.value, self.player.round)

    def _tapped(self, x: float, y: float) -> None:
        """Take the cell that was clicked."""
        if x is None or y is None:
            return
        row, col = round(y), round(x)
        for place in self.unit.options.values():
            if (place.get("row", 0), place.get("col", place.get("group"))) == (row, col):
                self.unit.value = place

    def _mark(self, cell: dict[str, Any]) -> None:
        if self.followed is None or not self.ready or cell == self.cell:
            return
        self.cell = cell
        self._draw_map(self.followed)
        self.panel.draw(self.followed, cell, self.variable.value, self.player.round)

    def _move(self) -> None:
        """Let all views follow the cursor."""
        if self.followed is None or not self.ready:
            return
        self._draw_map(self.followed)
        self.lines.move(self.player.round)
        self.panel.move(self.player.round)


def units(ds: xr.Dataset) -> dict[str, dict[str, int]]:
    """Give the cells (or groups, or clients) of a run by what they are called."""
    dims = [dim for dim in ds["elapsed"].dims if dim != "round"]
    places: list[dict[str, int]] = [{}]
    for dim in dims:
        places = [{**p, str(dim): int(value)} for p in places for value in ds[dim].values]
    return {", ".join(f"{dim} {value}" for dim, value in p.items()): p for p in places}


def as_grid(ds: xr.Dataset) -> xr.Dataset:
    """Give groups the form of a grid of one row."""
    return ds.expand_dims(row=[0]).rename(group="col") if "group" in ds.dims else ds
