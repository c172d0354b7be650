"""The live page: one run, finished or being written, at one round and around one unit.

The round cursor is one number that all views follow. When a round is done, the views are drawn
anew; when the cursor moves, what is of one round changes and a line moves through the others.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn
from markupsafe import Markup

from gandask import plots, results
from gandask.core import StoreError
from gandask.display import place as spoken
from gandask.pages import catalogue, guard, status, units
from gandask.pages.address import PageAddress
from gandask.pages.cursor import Player
from gandask.pages.frame import argument, card, html, message, page, skeleton
from gandask.pages.pace import REST, Pace, at_once, regularly, soon
from gandask.pages.panes import Lines, PlotPane
from gandask.pages.scale import ScaleChoice
from gandask.pages.steering import Steering
from gandask.pages.takeaway import python
from gandask.pages.unit import UnitPanel, traced
from gandask.plots.style import AUTO
from gandask.runs.following import Followed, follow

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("gandask")

PERIOD = 500  # milliseconds between two looks: with drawing, less than the two seconds promised
OVERDUE = 2  # seconds, after which what follows the cursor is drawn though it goes on
KEPT = ("round", "unit", "variable", "scale")
"""What of a run is looked at, by the names in the address."""
MAP_WIDTH = 380  # pixels
NARROW = {"min-width": "0"}  # what lies side by side wraps: Panel asks for the width of all
HALF = {"flex": "1 1 480px"}  # of a row, where there is room


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
    address = PageAddress(margin=(5, 10), align="end")
    page = LivePage(address=address)

    def choose(name: str) -> None:
        address.keep(run=name)
        try:
            page.open(catalogue.path(root, name), name)
        except StoreError as error:
            page.say(str(error))

    chooser.param.watch(lambda event: choose(event.new), "value")
    # the page is there before what takes time to read
    pn.state.onload(pn.io.hold()(lambda: choose(chooser.value)))

    def renew() -> None:
        found = catalogue.names(root)
        chooser.options = list(dict.fromkeys([*found, chooser.value]))

    regularly(renew, 20 * PERIOD)
    told = pn.Column(page.head, styles={"flex": "1 1 320px"}, sizing_mode="stretch_width")
    controls = pn.FlexBox(chooser, address, told, align_items="end")
    return pn.Column(controls, page.body, sizing_mode="stretch_width")


class LivePage:
    """The views of one run, and what they share: the run, the round cursor and the unit.

    Parameters
    ----------
    barred : callable
        Says why who asks may not steer a run, or nothing.
    address : PageAddress, optional
        What is looked at is kept there, and taken from there at first.
    """

    def __init__(
        self, barred: Callable[[], str] = guard.refused, address: PageAddress | None = None
    ) -> None:
        self.address = address
        self.wanted = {key: argument(key) for key in KEPT} if address else {}
        self.name = ""
        self.followed: Followed | None = None
        self.version = -1
        self.drawn = -1
        self.ready = False  # whether there are views that can follow what is chosen
        self.pace = Pace()
        self.asked = 0  # how often, so that what was asked for before can be told
        self.waits_since = 0.0  # when the rest was asked for first, unless it is drawn
        self.taken = 0.0  # seconds, by what followed the cursor last
        self.mapped: dict[str, list[str]] = {}
        self.unit: dict[str, Any] = {}
        self.state, self.story = html(Markup("")), html(Markup(""))
        self.steering = Steering(lambda: self.followed, barred)
        self.steering.view.visible = False  # until it is known that there is something to steer
        self.head = pn.Column(
            self.state, self.story, self.steering.view, sizing_mode="stretch_width"
        )
        self.words = skeleton()
        self.role = pn.widgets.Select(name="of", width=120, visible=False)
        self.variable = pn.widgets.Select(name="colour", width=MAP_WIDTH - 130)
        self.scale = ScaleChoice(self.wanted.pop("scale", ""))
        self.units = pn.widgets.Select(name="unit", width=120)
        self.player = Player(MAP_WIDTH)
        self.map = PlotPane(sizing_mode=None)
        self.lines = Lines()
        self.panel = UnitPanel(self.lines, self._take)
        self.events = PlotPane()
        self.decided = html(Markup(""))
        self.workers = html(Markup(""))
        self.told = card("What the method decided", self.decided, styles=HALF)
        self.over_units = pn.Column(
            pn.Row(self.variable, self.scale.control),
            self.scale.told,
            pn.Row(self.role, self.units),
            # the control below stays where it is
            pn.Column(self.map.view, min_height=MAP_WIDTH),
        )
        self.panel.view.styles = {"flex": "1 1 320px", "min-width": "0"}
        self.views = pn.Column(
            pn.Row(
                pn.Column(self.over_units, self.player.view, width=MAP_WIDTH + 10),
                self.panel.view,
                sizing_mode="stretch_width",
                styles=NARROW | {"flex-wrap": "wrap"},
            ),
            self.panel.of_all,
            pn.Row(
                card("Events", self.events.view, sizing_mode="stretch_width", styles=HALF),
                self.told,
                sizing_mode="stretch_width",
                styles=NARROW | {"flex-wrap": "wrap"},
            ),
            card("Workers", self.workers),
            sizing_mode="stretch_width",
            styles=NARROW,
        )
        self.body = pn.Column(self.words, sizing_mode="stretch_width", styles=NARROW)
        self.variable.param.watch(lambda event: self._colour(), "value")
        self.scale.control.param.watch(lambda event: self._colour(), "value")
        self.units.param.watch(lambda event: self._mark(event.new), "value")
        self.role.param.watch(lambda event: self._play(event.new), "value")
        self.player.slider.param.watch(lambda event: self._move(), "value")
        regularly(self.look, PERIOD)
        pn.state.on_session_destroyed(lambda session: self.pace.leave())

    def open(self, path: Path, name: str = "") -> None:
        """Watch another run, by the name it has among others."""
        if self.name:  # what the address asked for was of the run before
            self.wanted = {}
        self.name = name
        self.followed = follow(path)
        self._begin()
        self.look()

    def _begin(self) -> None:
        """Forget what was drawn, and what was to be."""
        self.waits_since = 0.0
        self.version, self.drawn, self.ready = -1, -1, False

    def say(self, text: str) -> None:
        """Say why there is nothing to see."""
        self.followed, self.wanted = None, {}
        self._show(text)
        if self.address:
            self.address.title = "gandask"

    def look(self) -> None:
        """Draw what is new, if anything is; what cannot be read is told, and looked for again."""
        if self.followed is not None:
            with self._telling(self.followed):
                self._look(self.followed)

    @contextlib.contextmanager
    def _telling(self, followed: Followed) -> Iterator[None]:
        """Let the page go on, and others too, whatever a folder holds."""
        try:
            yield
        except Exception as error:
            self._begin()
            known = isinstance(error, StoreError | OSError)
            told = "" if known else f"{followed.path}: {type(error).__name__}: "
            self._show(f"{told}{error}")
            if not known:
                logger.exception("%s cannot be shown", followed.path)

    def _look(self, followed: Followed) -> None:
        version = followed.look()
        self._set(self.workers, status.workers(followed.run.store.slots()))
        again = self.ready and followed.state == "running"
        due = self.drawn != version and (self.pace.rested or not again)
        if version == self.version and not due:
            return  # pages that nothing happens to cost next to nothing
        with at_once():
            if version != self.version:
                self._follow(followed, followed.ds)
                self.version = version
            if due:
                with self.pace.drawing(again):
                    self._draw(followed, followed.ds)
                self.drawn = version
            self.steering.refresh(followed)
            self._set(self.state, status.line(followed))
            if self.address:
                self.address.title = status.title(followed, self.name)

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
        self._choices(followed, ds)
        self.player.extend(ds.sizes["round"], follow=not self.ready)
        self.player.go(self.wanted.pop("round", ""))
        self._draw_map(followed)

    def _draw(self, followed: Followed, ds: xr.Dataset) -> None:
        """Draw the other views anew."""
        if not ds.sizes["round"]:
            return
        drawn = self.lines.through(plots.events(ds), "events")
        self._set(self.story, Markup('<p class="story">{}</p>').format(followed.run.story(ds)))
        self.events.show(drawn, python=python(followed.path, "events"))
        listed = status.decided(ds)
        self.told.visible = bool(listed)
        self._set(self.decided, listed)
        self._draw_panel(followed)
        self.panel.follow()  # traces are looked at first, too
        self._draw_later()
        self._show("")  # at the end: what is drawn unseen reaches the browser at once
        self.ready = True
        self._keep()

    def _draw_panel(self, followed: Followed) -> None:
        """Show the unit."""
        role, variable = self.role.value or "", self.variable.value or ""
        scale = self._scale(followed.ds)
        self.panel.draw(followed, role, self.unit, variable, self.player.round, scale)

    def _draw_later(self, moved: bool = False) -> None:
        """Draw what else is known of the unit once nothing else is asked for."""
        self.asked += 1
        self.waits_since = self.waits_since or time.monotonic()
        # where it takes long, the map alone follows who goes from round to round
        slow = moved and not self.player.playing.running
        wait = min(2 * PERIOD, max(REST, round(2000 * self.taken))) if slow else REST
        soon(functools.partial(self._draw_rest, self.asked, moved), wait)

    def _draw_rest(self, asked: int, moved: bool) -> None:
        # rounds of a run that is followed may come faster than it is drawn
        overdue = time.monotonic() - self.waits_since > OVERDUE
        followed = self.followed
        if followed is None or not self.waits_since or not (asked == self.asked or overdue):
            return
        self.waits_since = 0.0
        begun = time.thread_time()
        more = False
        with self._telling(followed), at_once():
            if moved:
                more = self.panel.follow()
                self.taken = time.thread_time() - begun
            else:
                with self.pace.drawing(followed.state == "running"):
                    more = self.panel.follow()
        if more:
            self._draw_later(moved)

    def _choices(self, followed: Followed, ds: xr.Dataset) -> None:
        """Offer the roles, variables and units that the run has."""
        mapped = units.mapped(ds, followed.run.layout)
        self.over_units.visible = bool(mapped)
        if mapped != self.mapped:
            self.mapped = mapped
            sought = self.wanted.get("variable"), ds.attrs.get("score")
            having = (role for one in sought for role, names in mapped.items() if one in names)
            chosen = next(having, next(iter(mapped), None))
            self.role.param.update(options=list(mapped), value=chosen, visible=len(mapped) > 1)
        self._offer(followed, ds)

    def _offer(self, followed: Followed, ds: xr.Dataset) -> None:
        """Offer the variables and units of the role."""
        role = self.role.value
        names = self.mapped.get(role, [])
        titles = {results.label(ds[name]): name for name in names}
        if self.variable.options != titles:
            sought = self.wanted.pop("variable", ""), ds.attrs.get("score"), *names
            chosen = next((name for name in sought if name in names), None)
            self.variable.param.update(options=titles, value=chosen)
        places = units.places(followed.run.layout, role) if names else {}
        spelt = {spoken(place): place for place in places.values()}
        if self.units.options != spelt:
            first = next(iter(spelt.values()), {})
            score = ds.attrs.get("score")
            by = score if score in names else self.variable.value
            best = plots.best(ds[by]) if names and ds[by].dtype.kind in "biuf" else None
            self.unit = places.get(self.wanted.pop("unit", ""), best or first)
            self.units.param.update(options=spelt, value=self.unit if spelt else None)

    def _draw_map(self, followed: Followed) -> None:
        """Draw the map of the round at the cursor."""
        if self.variable.value:
            round = self.player.round
            asked = {"variable": self.variable.value, "round": round, "marked": self.unit}
            asked["scale"] = self._scale(followed.ds)
            drawn = plots.map(followed.ds, **asked)
            self.map.show(drawn, self._tapped, python(followed.path, "map", **asked))

    def _scale(self, ds: xr.Dataset) -> str:
        """Give the scale of the chosen variable, or of the score in its place."""
        variable = traced(ds, self.variable.value or "")
        return AUTO if variable is None else self.scale.fitting(ds[variable])

    def _play(self, role: str) -> None:
        """Show the units of another role."""
        if self.followed is not None and self.ready:
            self.ready = False  # one drawing for all that changes
            self._offer(self.followed, self.followed.ds)
            self.ready = True
            self._colour()

    def _colour(self) -> None:
        """Show another variable, also in the trace of the unit."""
        if self.followed is not None and self.ready:
            with at_once():
                self._draw_map(self.followed)
                self._draw_panel(self.followed)
                self._keep()
            self._draw_later()

    def _tapped(self, x: float, y: float) -> None:
        """Take the unit that was clicked."""
        if self.followed is None or x is None or y is None:
            return
        *down, across = self.followed.run.layout.roles[self.role.value].unit
        at = dict(zip((*down, across), (round(y), round(x))[-len(down) - 1 :], strict=True))
        ds = self.followed.ds
        if all(0 <= place < ds.sizes[dim] for dim, place in at.items()):
            self.units.value = {dim: ds[dim].values[place].item() for dim, place in at.items()}

    def _take(self, unit: dict[str, Any]) -> None:
        """Take a unit, if it is one of the role that is shown."""
        if unit in self.units.options.values():
            self.units.value = unit

    def _mark(self, unit: dict[str, Any] | None) -> None:
        if self.followed is None or not self.ready or unit is None or unit == self.unit:
            return
        self.unit = unit
        self._colour()

    def _move(self) -> None:
        """Let all views follow the cursor."""
        if self.followed is None or not self.ready:
            return
        with at_once():
            self._draw_map(self.followed)
            self.lines.move(self.player.round)
            self.panel.move(self.player.round)
            self._keep()
        self._draw_later(moved=True)

    def _keep(self) -> None:
        """Keep in the address what is looked at; at the last round it stays with the last."""
        if self.address is None or self.followed is None:
            return
        places = units.places(self.followed.run.layout, self.role.value) if self.role.value else {}
        slots = (slot for slot, place in places.items() if place == self.unit)
        last = self.player.round == self.player.rounds
        self.address.keep(
            round="" if last else self.player.round,
            unit=next(slots, ""),
            variable=self.variable.value or "",
            scale=self.scale.kept,
        )
