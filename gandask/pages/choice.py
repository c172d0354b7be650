"""Choosing runs, which are then drawn and followed as they are written.

The choice is kept in the page's address. A run that cannot be read, or not be drawn, is told by
name; the others are drawn.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import panel as pn
from markupsafe import Markup, escape

from gandask.core import StoreError
from gandask.pages import catalogue
from gandask.pages.address import PageAddress
from gandask.pages.frame import argument, skeleton
from gandask.pages.pace import Pace, regularly
from gandask.runs import Run
from gandask.runs.following import Followed, follow

logger = logging.getLogger("gandask")

PERIOD = 1000  # milliseconds between two looks
KNOWN = (StoreError, OSError, ValueError)
"""Errors that say themselves what is wrong with a run."""


class Content(Protocol):
    """What a page shows of the chosen runs."""

    body: Any

    @property
    def controls(self) -> Sequence[Any]:
        """Widgets whose change draws anew."""

    @property
    def addressed(self) -> Mapping[str, Any]:
        """Those of them that the address keeps, by the name they have there."""

    def first(self, runs: Iterable[tuple[str, Run, Mapping[str, Any]]]) -> list[str]:
        """Name the runs to begin with, of all with their settings, the newest first."""

    def check(self, followed: Followed) -> None:
        """Raise ValueError with the reason, if a run cannot be drawn."""

    def draw(self, runs: Mapping[str, Followed]) -> None:
        """Draw runs that were checked, at least one."""


class Choice:
    """The runs of the folder to choose from, over what a page shows of those chosen.

    Parameters
    ----------
    shown : Content
    """

    def __init__(self, shown: Content) -> None:
        self.shown = shown
        self.root = catalogue.folder()
        self.followed: dict[str, Followed] = {}
        self.seen: dict[str, int | str] | None = None
        self.pace = Pace()
        self.told = skeleton()
        self.wanted = _wanted()
        self.address = PageAddress(margin=(5, 10))
        self.chooser = pn.widgets.MultiChoice(
            name="runs", sizing_mode="stretch_width", styles={"flex": "1 1 300px"}
        )
        self.head = pn.FlexBox(self.chooser, self.address, align_items="end")
        self._offer(self.wanted)
        self.view = pn.Column(self.head, self.told, sizing_mode="stretch_width")
        # the page is there before what takes time to read
        pn.state.onload(pn.io.hold()(self._begin))

    @property
    def names(self) -> list[str]:
        """Those chosen."""
        # the address may hold anything
        return [name for name in self.chooser.value or () if isinstance(name, str) and name]

    def look(self) -> None:
        """Draw the chosen runs if anything is new; what cannot be read is looked for again."""
        with pn.io.hold():  # all of it goes to the browser at once, and in order
            self._look()

    def _look(self) -> None:
        self.followed = {name: self.followed[name] for name in self.names if name in self.followed}
        found = {name: self._version(name) for name in self.names}
        anew = self.seen is None or found.keys() != self.seen.keys()
        if anew or (found != self.seen and self.pace.rested):
            self.seen = found
            self._draw(again=not anew)

    def _begin(self) -> None:
        if not self.wanted:
            self._offer(self._first())
        self.look()
        if self._take():
            self._draw()
        self.chooser.param.watch(lambda event: self.look(), "value")
        for widget in self.shown.controls:
            widget.param.watch(lambda event: self._draw(), "value")
        regularly(self.look, PERIOD)
        regularly(self._renew, 10 * PERIOD)
        pn.state.on_session_destroyed(lambda session: self.pace.leave())

    def _first(self) -> list[str]:
        names = catalogue.names(self.root)
        return self.shown.first(_readable(self.root, names)) or names[:1]

    def _version(self, name: str) -> int | str:
        """Give the version of what is known of a run, or why nothing is."""
        try:
            if name not in self.followed:
                self.followed[name] = follow(catalogue.path(self.root, name))
            return self.followed[name].look()
        except Exception as error:  # whatever a folder holds, the page goes on
            return _why(name, error)

    def _draw(self, again: bool = False) -> None:
        """Draw what can be drawn, and say why the others cannot."""
        with self.pace.drawing(again):
            found = self.seen or {}
            troubles = {name: told for name, told in found.items() if isinstance(told, str)}
            sound = {}
            for name in (name for name in found if name not in troubles):
                try:
                    self.shown.check(self.followed[name])
                    sound[name] = self.followed[name]
                except Exception as error:
                    troubles[name] = _why(name, error)
            if sound:
                self.shown.draw(sound)
            self._tell(troubles, alone=not sound)
            # at the end: what is drawn unseen reaches the browser at once
            self._keep()
            views = [self.head, self.told, *([self.shown.body] if sound else [])]
            if views != self.view.objects:
                self.view.objects = views

    def _take(self) -> bool:
        """Choose what the address asks for, where there is such a thing; tell whether there is."""
        taken = False
        for name, widget in self.shown.addressed.items():
            value = argument(name)
            if value in widget.values and value != widget.value:
                widget.value, taken = value, True
        return taken

    def _keep(self) -> None:
        """Keep in the address what is chosen."""
        kept = {name: widget.value or "" for name, widget in self.shown.addressed.items()}
        self.address.keep(runs=json.dumps(self.names), **kept)
        count = len(self.names)
        self.address.title = f"{count} run{'' if count == 1 else 's'} · gandask"

    def _tell(self, troubles: Mapping[str, str], alone: bool) -> None:
        """Say what is wrong with runs; in the place of all plots where it stands alone."""
        line = Markup('<p class="{}"><b>{}</b>: {}</p>')
        kind = "message" if alone else "faint"
        told = Markup("").join(line.format(kind, *trouble) for trouble in troubles.items())
        if not self.names:
            nothing = "There are no runs in {} yet. gandask train demo --store runs/first"
            asked = "Choose runs above." if self.chooser.options else nothing.format(self.root)
            told = Markup('<p class="message">{}</p>').format(asked)
        self.told.object = str(told)
        self.told.visible = bool(told)

    def _renew(self) -> None:
        """Look for runs that are new; the first of all is chosen."""
        self._offer(self.names if self.chooser.options else self._first())

    def _offer(self, chosen: list[str]) -> None:
        """Offer the runs that there are by now, and those chosen, be they there or not."""
        names = dict.fromkeys([*catalogue.names(self.root), *chosen])
        # the widget takes its labels for HTML
        options = {str(escape(name)): name for name in names}
        if (options, chosen) != (self.chooser.options, self.chooser.value):
            self.chooser.param.update(options=options, value=chosen)


def _wanted() -> list[str]:
    """Give the runs that the page's address names: as JSON, or by hand, with commas between."""
    given = argument("runs")
    try:
        names = json.loads(given)
    except ValueError:
        names = given.split(",")
    return [str(name) for name in names if name] if isinstance(names, list) else [given]


def _readable(root: Path, names: Iterable[str]) -> Iterator[tuple[str, Run, Mapping[str, Any]]]:
    """Give the runs that can be opened, with their settings; the others are told when chosen."""
    for name in names:
        try:
            run = Run(root / name)
            settings = run.settings
        except Exception:
            continue
        yield name, run, settings


def _why(name: str, error: Exception) -> str:
    """Say why a run cannot be shown."""
    logger.debug("%s cannot be shown", name, exc_info=error)
    return str(error) if isinstance(error, KNOWN) else f"{type(error).__name__}: {error}"
