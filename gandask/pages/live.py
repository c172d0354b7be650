"""The live page: one run, finished or being written, at one round and around one cell.

The round cursor is one number that all views follow. When a round is done, the views are drawn
anew; when the cursor moves, the map and the mixture change and a line moves through the others.
"""

from __future__ import annotations

import logging
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import holoviews as hv
import panel as pn
from markupsafe import Markup

from gandask import plots
from gandask.core import StoreError
from gandask.following import Followed, follow
from gandask.pages import catalogue, status
from gandask.pages.cell import CellPanel
from gandask.pages.cursor import Lines, Player
from gandask.pages.frame import argument, card, html, message, page

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("gandask")

PERIOD = 1000  # milliseconds between two looks: with drawing, less than the two seconds promised
SHARE = 0.1  # of one core, at most, to draw what rounds change, for all who watch in this process
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
    chooser.param.watch(lambda event: choose(event.new), "value")
    # the page is there before what takes time to read
    pn.state.onload(lambda: choose(chooser.value))

    def renew() -> None:
        found = catalogue.names(root)
        chooser.options = list(dict.fromkeys([*found, chooser.value]))

    pn.state.add_periodic_callback(renew, 10 * PERIOD)
    return pn.Column(pn.Row(chooser, watch.head), watch.body, sizing_mode="stretch_width")


class Watch:
    """The views of one run, and what they share: the run, the round cursor and the cell."""

    watching: ClassVar[weakref.WeakSet[Watch]] = weakref.WeakSet()

    def __init__(self) -> None:
        self.watching.add(self)
        self.followed: Followed | None = None
        self.version = -1
        self.drawn = -1
        self.rests = 0.0
        self.cell: dict[str, Any] = {}
        self.state = html(Markup(""))
        self.steering = status.Steering(lambda: self.followed)
        self.head = pn.Column(self.state, self.steering.view, sizing_mode="stretch_width")
        self.words = message("loading ...")
        self.variable = pn.widgets.Select(name="colour", width=MAP_WIDTH - 140)
        self.unit = pn.widgets.Select(name="cell", width=120)
        self.player = Player(MAP_WIDTH)
        self.moved = hv.streams.Stream.define("Moved", round=-1, version=0)()
        self.map = pn.pane.HoloViews(linked_axes=False, min_height=MAP_WIDTH)
        self.lines = Lines()
        self.panel = CellPanel(self.lines)
        self.events = pn.pane.HoloViews(linked_axes=False, sizing_mode="stretch_width")
        self.workers = html(Markup(""))
        self.views = pn.Column(
            pn.Row(
                pn.Column(
                    pn.Row(self.variable, self.unit), self.map, self.player.view,
                    width=MAP_WIDTH + 10,
                ),
                self.panel.view,
                sizing_mode="stretch_width",
            ),
            card("Events", self.events),
            card("Workers", self.workers),
            sizing_mode="stretch_width",
        )  # fmt: skip
        self.body = pn.Column(self.words, self.views, sizing_mode="stretch_width")
        self.views.visible = False
        self.variable.param.watch(lambda event: self._draw_map(), "value")
        self.unit.param.watch(lambda event: self._mark(event.new), "value")
        self.player.slider.param.watch(lambda event: self._move(event.new), "value")
        pn.state.add_periodic_callback(self.look, PERIOD)

    def open(self, path: Path) -> None:
        """Watch another run."""
        self.followed, self.version, self.drawn, self.rests = follow(path), -1, -1, 0.0
        self.variable.options, self.unit.options = [], {}
        self.look()

    def say(self, text: str) -> None:
        """Say why there is nothing to see."""
        self.followed = None
        self._show(text)

    def look(self) -> None:
        """Draw what is new, if anything is; what cannot be read is told, and looked for again."""
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
            if self.drawn != version and time.monotonic() >= self.rests:
                self._draw(followed, followed.ds)
                self.drawn = version
            self.steering.refresh(followed)
            self._set(self.state, status.line(followed))
        except Exception as error:  # whatever a folder holds, the page goes on, and so do others
            self.version = self.drawn = -1
            known = isinstance(error, StoreError | OSError)
            self._show(str(error) if known else f"{followed.path}: {type(error).__name__}: {error}")
            if not known:
                logger.exception("%s cannot be shown", followed.path)

    def _show(self, text: str) -> None:
        """Show the views, or words in their place."""
        self.words.object = str(message(text).object) if text else ""
        self.words.visible, self.views.visible = bool(text), not text
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
        self._show("")
        self._choices(ds)
        self.player.extend(ds.sizes["round"], follow=self.version < 0)
        if self.version < 0:
            self._draw_map()
        self.moved.event(round=self.player.round, version=followed.version)

    def _draw(self, followed: Followed, ds: xr.Dataset) -> None:
        """Draw the other views anew, and rest so long that watching stays cheap."""
        if not ds.sizes["round"]:
            return
        begun = time.thread_time()
        self.lines.forget()
        self.events.object = self.lines.through(plots.events(ds))
        self.panel.draw(followed, self.cell, self.variable.value, self.player.round)
        taken = time.thread_time() - begun
        self.rests = time.monotonic() + taken * len(self.watching) / SHARE

    def _choices(self, ds: xr.Dataset) -> None:
        """Offer the variables and cells that the run has."""
        names = [name for name in MAPPED if name in ds and "round" in ds[name].dims]
        titles = {str(ds[name].attrs["long_name"]): name for name in names}
        if self.variable.options != titles:
            score = ds.attrs.get("score")
            self.variable.param.update(options=titles, value=score if score in names else names[0])
        places = units(ds)
        if self.unit.options != places:
            first = plots.best(ds[self.variable.value]) or next(iter(places.values()))
            self.unit.param.update(options=places, value=first)
            self.cell = first

    def _draw_map(self) -> None:
        """Make the map for another variable; the cursor then changes what is in it."""
        if self.followed is None or not self.variable.value:
            return
        followed, variable = self.followed, self.variable.value

        def drawn(round: int, version: int) -> hv.Overlay:
            return plots.grid(as_grid(followed.ds), variable, round, marked=self._marked())

        made = hv.DynamicMap(drawn, streams=[self.moved])
        tap = hv.streams.Tap(source=made)
        tap.add_subscriber(self._tapped)
        self.tap = tap  # a stream lives as long as someone holds it
        self.map.object = made

    def _marked(self) -> tuple[int, int]:
        return self.cell.get("row", 0), self.cell.get("col", self.cell.get("group", 0))

    def _tapped(self, x: float, y: float) -> None:
        """Take the cell that was clicked."""
        if x is None or y is None:
            return
        row, col = round(y), round(x)
        for place in self.unit.options.values():
            if (place.get("row", 0), place.get("col", place.get("group"))) == (row, col):
                self.unit.value = place

    def _mark(self, cell: dict[str, Any]) -> None:
        if self.followed is None or cell == self.cell:
            return
        self.cell = cell
        self.moved.event(round=self.player.round, version=self.version)
        self.panel.draw(self.followed, cell, self.variable.value, self.player.round)

    def _move(self, round: int) -> None:
        """Let all views follow the cursor."""
        self.moved.event(round=round, version=self.version)
        self.lines.move(round)
        self.panel.move(round)


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
