"""The home page: a card for each run of the folder, to find, to open and to compare them by."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import panel as pn
from markupsafe import Markup

from gandask.core import SettingError, StoreError
from gandask.pages import catalogue, guard
from gandask.pages.address import PageAddress
from gandask.pages.cards import AWAITED, Cards, called, card, spark
from gandask.pages.frame import argument, dark, html, link, message, page, skeleton
from gandask.pages.pace import regularly
from gandask.pages.thumbnail import thumbnail
from gandask.runs import open_run
from gandask.runs.course import ScoreCourse
from gandask.store import about
from gandask.store.about import About
from gandask.store.listing import Broken, Listed, differing, short, told

SHEET = 24  # cards at once
PERIOD = 2000  # milliseconds between two looks
SHOWN_ANEW = 0.3  # seconds of reading after which what is known is shown
AWAITED_CARDS = 6  # grey shapes, until it is known how many there are
REMEMBERED = 512  # courses of scores
ANY = "any"
NONE = "There are no runs in {} yet. gandask train demo --store runs/first"
KINDS = ("method", "data", "state")
"""What runs are told apart by, each with a choice of its own."""


def home() -> Any:
    """Make the home page."""
    return page("home", lambda: Home().view)


class Home:
    """The runs of the folder as cards, and what to find some of them by."""

    def __init__(self) -> None:
        self.root = catalogue.folder()
        self.runs: list[Listed] = []
        self.broken: list[Broken] = []
        self.differing: dict[str, dict[str, str]] = {}
        self.drawing = 0  # how often there was something to draw
        self.address = PageAddress(margin=(5, 10))
        self.find = pn.widgets.TextInput(
            name="find", value=argument("find"), placeholder="name, setting ...", width=200
        )
        self.kinds = {
            kind: pn.widgets.Select(name=kind, options=[ANY], width=130) for kind in KINDS
        }
        self.tag = pn.widgets.Select(name="tag", options=[ANY], width=130, visible=False)
        self.choices = {**self.kinds, "tag": self.tag}
        self.sheet = 1
        self.dark = dark()
        self.earlier = pn.widgets.Button(
            name="◀ newer", width=90, on_click=lambda _: self._turn(-1)
        )
        self.later = pn.widgets.Button(name="older ▶", width=90, on_click=lambda _: self._turn(1))
        self.place = html(Markup(""), sizing_mode=None, width=160)
        self.turns = pn.Row(self.earlier, self.place, self.later, visible=False)
        self.said = skeleton(AWAITED_CARDS, "runs")
        self.cards = Cards(compare=link("compare", runs=""), sizing_mode="stretch_width")
        self.cards.on_msg(self._save)
        self.view = pn.Column(
            pn.FlexBox(self.find, *self.choices.values(), self.address, align_items="end"),
            self.said,
            self.cards,
            self.turns,
            sizing_mode="stretch_width",
        )
        # the page is there before what takes time to read
        pn.state.onload(self._begin)

    async def _begin(self) -> None:
        await self._look()
        given = argument("sheet")
        self.sheet = int(given) if given.isdecimal() else 1
        for kind, widget in self.choices.items():
            wanted = argument(kind)
            widget.value = wanted if wanted in widget.options else ANY
            widget.param.watch(lambda event: self._turn(to=1), "value")
        self.find.param.watch(lambda event: self._turn(to=1), "value_input")
        self._show()
        # apart: what is asked meanwhile would wait for the end of a callback
        regularly(lambda: pn.state.execute(self._look_again), PERIOD)

    async def _look_again(self, anew: bool = False) -> None:
        before = self.runs, self.broken
        await self._look(anew)
        if before != (self.runs, self.broken):
            self._show()

    async def _look(self, anew: bool = False) -> None:
        """Read how runs stand by now: in a thread, as there may be thousands."""
        self.runs, self.broken = await asyncio.to_thread(catalogue.listed, self.root, anew)
        told_apart = differing(self.runs)
        self.differing = {run.name: one for run, one in zip(self.runs, told_apart, strict=True)}
        for kind, widget in self.choices.items():
            known = sorted({fact for run in self.runs for fact in _facts(run, kind)})
            options = list(dict.fromkeys([ANY, *known, widget.value]))
            if widget.options != options:
                widget.options = options
        self.tag.visible = len(self.tag.options) > 1

    def _turn(self, by: int = 0, to: int | None = None) -> None:
        self.sheet = self.sheet + by if to is None else to
        self._show()

    def _found(self) -> list[Listed]:
        """Give the runs that were asked for."""
        words = (self.find.value_input or self.find.value or "").lower().split()
        chosen = {kind: one.value for kind, one in self.choices.items() if one.value != ANY}
        return [
            run
            for run in self.runs
            if all(value in _facts(run, kind) for kind, value in chosen.items())
            and all(word in self._text(run) for word in words)
        ]

    def _text(self, run: Listed) -> str:
        """Give what is looked through for words."""
        settings = (f"{key}={value}" for key, value in self.differing[run.name].items())
        facts = (fact for kind in self.choices for fact in _facts(run, kind))
        return " ".join([run.name, *facts, *settings, run.about.note]).lower()

    def _show(self) -> None:
        """Show the cards of one sheet, and keep in the address what was asked for."""
        found = self._found()
        sheets = max(1, -(-len(found) // SHEET))
        self.sheet = min(max(1, self.sheet), sheets)
        begin = (self.sheet - 1) * SHEET
        shown = found[begin : begin + SHEET]
        self.place.object = f"{begin + 1}–{begin + len(shown)} of {len(found)}"
        self.turns.visible = sheets > 1
        self.earlier.disabled, self.later.disabled = self.sheet == 1, self.sheet == sheets
        self._say(len(found))
        asked = {kind: "" if one.value == ANY else one.value for kind, one in self.choices.items()}
        self.address.keep(
            find=self.find.value_input or self.find.value or "",
            **asked,
            sheet=self.sheet if self.sheet > 1 else "",
        )
        self.address.title = f"{len(found)} runs · gandask"
        self.drawing += 1
        pn.state.execute(functools.partial(self._draw, shown, self.drawing))

    def _say(self, found: int) -> None:
        """Say what there is in the place of cards, and what cannot be read."""
        lines = []
        if not self.runs and not self.broken:
            lines += [NONE.format(self.root)]
        elif not found and self.runs:
            lines += [f"None of {len(self.runs)} runs is like this."]
        if self.broken:
            lines += [told(self.broken)]
        self.said.object = str(message("\n".join(lines)).object)
        self.said.visible = bool(lines)

    def _save(self, event: Any) -> None:
        """Keep the tags and the note that were written for a run, or say why they are not."""
        if barred := guard.refused():
            self.cards.answer(barred)
            return
        try:
            asked = {key: str(event.data[key]) for key in ("run", "tags", "note")}
            tags = tuple(dict.fromkeys(asked["tags"].replace(",", " ").split()))
            said = About(tags, asked["note"].strip())
            about.write(catalogue.path(self.root, asked["run"]), said)
        except (SettingError, StoreError) as error:
            self.cards.answer(str(error))
            return
        self.cards.answer("")
        pn.state.execute(functools.partial(self._look_again, anew=True))

    async def _draw(self, shown: Sequence[Listed], drawing: int) -> None:
        """Show cards at once, and their scores by round as they are read."""
        made = {run.name: known(run, self.dark) for run in shown}
        self._send(shown, made)
        since = time.monotonic()
        for run in shown:
            made[run.name] = await asyncio.to_thread(drawn, run, self.dark)
            if drawing != self.drawing:  # others were asked for meanwhile
                return
            if time.monotonic() - since > SHOWN_ANEW:
                since = time.monotonic()
                self._send(shown, made)
        self._send(shown, made)

    def _send(self, shown: Sequence[Listed], made: Mapping[str, Markup]) -> None:
        now = datetime.datetime.now(datetime.UTC)
        live = functools.partial(link, "live")
        self.cards.show(
            {
                run.name: card(
                    run,
                    self.differing[run.name],
                    made[run.name],
                    now,
                    live(run=run.name),
                    os.access(run.path, os.W_OK),
                )
                for run in shown
            }
        )


def known(run: Listed, on_dark: bool = False) -> Markup:
    """Give what was drawn of a run before."""
    before = _drawn.get((run.path, on_dark))
    return before[1] if before else AWAITED


def drawn(run: Listed, on_dark: bool = False) -> Markup:
    """Draw samples and the score of a run by round, where that is not done yet."""
    with _lock:
        seen = run.updated, run.round, run.state
        before = _drawn.pop((run.path, on_dark), None)
        if before is None or before[0] != seen:
            course = before[2] if before else ScoreCourse(run.path)
            before = seen, _draw(course, on_dark), course
        _drawn[run.path, on_dark] = before  # at the end: what was asked for least lately goes first
        if len(_drawn) > REMEMBERED:
            del _drawn[next(iter(_drawn))]
        return before[1]


def _draw(course: ScoreCourse, on_dark: bool) -> Markup:
    samples = line = Markup("")
    # whatever a folder holds, the page goes on; the run's own page says what is wrong
    with contextlib.suppress(Exception):
        line = spark(course.look(), called(course.name))
    with contextlib.suppress(Exception):
        samples = thumbnail(open_run(course.path), course, on_dark)
    return samples + line


_drawn: dict[tuple[Path, bool], tuple[object, Markup, ScoreCourse]] = {}
"""What was drawn of runs, as they were then, on light and on dark."""
_lock = threading.Lock()


def _facts(run: Listed, kind: str) -> Sequence[str]:
    """Give what a run is told apart by."""
    if kind == "tag":
        return run.about.tags
    return [run.state if kind == "state" else short(run.settings.get(kind, "–"))]
