"""What is known of one unit: samples, traces, and the drawings of its method's own."""

from __future__ import annotations

import asyncio
import functools
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
from markupsafe import Markup

from gandask import plots, results
from gandask.core import Array, Figure, StoreError
from gandask.display import place as spoken
from gandask.pages import units
from gandask.pages.frame import card, dark, html
from gandask.pages.mosaic import Mosaic
from gandask.pages.panes import Lines, PlotPane
from gandask.pages.takeaway import python
from gandask.plots import pictures
from gandask.plots.style import AUTO
from gandask.runs import Run
from gandask.runs.following import Followed
from gandask.training.stored import round_of

if TYPE_CHECKING:
    import xarray as xr

IMAGES, POINTS, COLUMNS = 36, 1000, 6
SAMPLES_WIDTH, HALF_WIDTH = 260, 125  # pixels
LEAST_WIDTH, WIDE = 235, 480  # of a plot of one unit, and of all
AXIS = 90  # beside a frame
WRAPPED = {"flex-wrap": "wrap", "min-width": "0"}
SCROLLED = {"min-width": "0", "max-width": "100%", "overflow-x": "auto"}  # on a phone
REMEMBERED = 64  # pictures
Looked = tuple[Followed, str | None, dict[str, Any]]
"""A run, the slot of a unit, and its place."""
IMAGE = Markup('<img alt="{}" src="data:image/png;base64,{}">')


class UnitPanel:
    """The panel of the unit that was clicked, and what the method draws of all.

    Parameters
    ----------
    lines : Lines
        Those of the round cursor.
    chosen : callable
        Called with the place of a unit whose samples were clicked.
    """

    def __init__(self, lines: Lines, chosen: Callable[[dict[str, Any]], None]) -> None:
        self.lines, self.chosen_unit = lines, chosen
        self.drawn: Looked | None = None
        self.round = 0
        self.traces: Callable[[], None] | None = None  # what draws them, unless they are drawn
        self.whole = False  # whether all that follows is to be drawn, not what is of one round
        self.mosaic = Mosaic(self._choose)
        self.shown = html(Markup(""), sizing_mode=None, width=SAMPLES_WIDTH)
        self.real = html(Markup(""), sizing_mode=None, width=HALF_WIDTH, margin=0)
        self.known: Array | None = None  # the real samples that are shown
        self.title = html(Markup(""))
        self.samples = html(Markup(""), sizing_mode=None, width=SAMPLES_WIDTH, margin=0)
        self.chosen, self.other = Course("chosen", lines), Course("other", lines)
        self.figures: dict[str, Figure] = {}
        self.form: dict[str, tuple[str, tuple[str, ...], bool, int]] = {}
        self.own: dict[str, PlotPane] = {}
        self.of_unit, self.of_all = _row(), _row(self.mosaic.view)
        first = _row(
            card(
                "Samples",
                self.shown,
                pn.Row(self.real, pn.Spacer(width=10), self.samples, margin=(0, 8)),
                width=SAMPLES_WIDTH + 20,
            ),
            self.chosen.view,
            self.other.view,
        )
        self.view = pn.Column(self.title, first, self.of_unit, sizing_mode="stretch_width")

    def draw(
        self,
        followed: Followed,
        role: str,
        unit: dict[str, Any],
        variable: str,
        round: int,
        scale: str,
    ) -> None:
        """Show a unit at once: its name and its samples; all else comes with `follow`.

        Parameters
        ----------
        followed : Followed
        role : str
            Whose unit it is.
        unit : dict
            Its place.
        variable : str
            The one that was chosen.
        round : int
            Where the cursor is.
        scale : str
            That of the chosen variable.
        """
        slots = units.places(followed.run.layout, role) if role else {}
        whose = next((slot for slot, place in slots.items() if place == unit), None)
        asked = followed, whose, unit
        if self.drawn is None or self.drawn[0] is not followed:
            self.known = None
        self.drawn, self.round, self.whole = asked, round, True
        self.title.object = str(Markup("<h2>{}</h2>").format(spoken(unit) or role))
        self.traces = functools.partial(self._trace, asked, role, variable, scale)
        self.mosaic.show(followed)
        self._show_samples(followed, whose)

    def _trace(self, asked: Looked, role: str, variable: str, scale: str) -> None:
        followed, _, unit = asked
        chosen = traced(followed.ds, variable)
        self.chosen.show(followed, chosen, unit, scale)
        self.other.show(followed, beside(followed.ds, role, chosen), unit)
        self.lines.move(self.round)
        self.traces = None
        pn.state.execute(functools.partial(self._sample, asked), schedule=True)

    def move(self, round: int) -> None:
        """Say where the cursor is."""
        self.round = round

    def follow(self) -> bool:
        """Draw what is looked at next, and tell whether there is more.

        That is the traces of another unit; then what else is of the round at the cursor: samples,
        and the method's figures.
        """
        if self.drawn is None:
            return False
        if self.traces:
            self.traces()
            return True
        followed, whose, unit = self.drawn
        if not self.whole:
            self._show_samples(followed, whose)
        self.mosaic.draw(self.round)
        if self.whole:
            self.figures = units.drawable(followed.ds, followed.run.figures)
        elements = {
            name: units.draw(figure, followed.ds, unit, self.round)
            for name, figure in self.figures.items()
            if self.whole or "round" in figure.takes
        }
        if self.whole:
            self._offer(elements)
        for name, element in elements.items():
            self._show(name, element)
        self.whole = False
        return False

    def _offer(self, elements: Mapping[str, Any]) -> None:
        """Have a card for each figure of the method."""
        form = {
            name: (figure.title, figure.takes, figure.wide, units.sized(elements[name]))
            for name, figure in self.figures.items()
        }
        if form != self.form:
            self.form = form
            self._arrange()

    def _arrange(self) -> None:
        """Make the cards: those of one unit beside the map, the others below."""
        cards: dict[bool, list[Any]] = {True: [], False: []}
        self.own = {}
        for name, (title, takes, wide, sized) in self.form.items():
            of_unit = "marked" in takes
            self.own[name] = PlotPane(sizing_mode=None) if sized else PlotPane()
            pane, least = self.own[name].view, f"{LEAST_WIDTH if of_unit else WIDE}px"
            own = (
                card(title, pane, width=sized + AXIS, styles=SCROLLED)
                if sized
                else _card(title, pane, "100%" if wide else least)
            )
            cards[of_unit].append(own)
        self.of_unit.objects = cards[True]
        self.of_all.objects = [self.mosaic.view, *cards[False]]

    def _show(self, name: str, element: Any) -> None:
        if self.drawn is None:
            return
        followed, _, unit = self.drawn
        figure, given = self.figures[name], {"marked": unit, "round": self.round}
        told = python(followed.path, name, **{key: given[key] for key in figure.takes})
        drawn = element
        if figure.along:
            drawn = self.lines.through(element, name, units.ends(followed.ds, figure.along))
        self.own[name].show(drawn, python=told)

    def _choose(self, slot: str) -> None:
        """Take the unit whose samples were clicked."""
        if self.drawn is not None:
            for role in self.drawn[0].run.layout.roles:
                places = units.places(self.drawn[0].run.layout, role)
                if slot in places:
                    self.chosen_unit(places[slot])

    def _show_samples(self, followed: Followed, whose: str | None) -> None:
        """Show what the unit showed last at the cursor, beside real samples."""
        found = self.mosaic.samples(whose, self.round)
        self.shown.visible = found is not None
        self.samples.width = HALF_WIDTH if found else SAMPLES_WIDTH
        self.real.visible = found is not None and found[1] is not None
        if found is not None:
            own, real = found
            facts = followed.ds.attrs
            self.shown.object = _image(own, facts, f"its own, as of round {self.round}")
            if real is not None and (self.known is None or not np.array_equal(real, self.known)):
                self.real.object, self.known = _image(real, facts, "real ones"), real

    async def _sample(self, asked: Looked) -> None:
        followed, whose, _ = asked
        shown = await picture(followed, whose)
        if self.drawn == asked:
            self.samples.object = str(shown)


class Course:
    """The trace of a variable under its name, or nothing.

    Parameters
    ----------
    name : str
        What the cursor knows it by.
    lines : Lines
    """

    def __init__(self, name: str, lines: Lines) -> None:
        self.name, self.lines = name, lines
        self.heading, self.plot = html(Markup("")), PlotPane()
        self.view = _card("", pn.Column(self.heading, self.plot.view), f"{LEAST_WIDTH}px")

    def show(
        self, followed: Followed, variable: str | None, unit: dict[str, Any], scale: str = AUTO
    ) -> None:
        """Draw a variable on a scale, with a unit marked if it has such units."""
        ds = followed.ds
        self.view.visible = variable is not None
        if variable is None:
            return
        values = ds[variable]
        title = results.label(values)
        self.heading.object = str(Markup("<h2>{}</h2>").format(title[:1].upper() + title[1:]))
        marked = unit if set(values.dims) == {"round", *unit} and unit else None
        # the heading is the label: the axis need not repeat it
        drawn = plots.trace(ds, variable, marked=marked, scale=scale).opts(ylabel="")
        told = python(followed.path, "trace", variable=variable, marked=marked, scale=scale)
        self.plot.show(self.lines.through(drawn, self.name), python=told)


def traced(ds: xr.Dataset, chosen: str) -> str | None:
    """Name what to trace for a variable that was chosen: itself, or the score where it is names."""
    for name in (chosen, str(ds.attrs.get("score", ""))):
        if name in ds and ds[name].dtype.kind in "iuf" and "round" in ds[name].dims:
            return name
    return None


def beside(ds: xr.Dataset, role: str, chosen: str | None) -> str | None:
    """Name what to trace beside it: the first that asks for it, of this role if there is one."""
    names = [name for name in units.shown(ds, "trace") if name != chosen]
    own = [name for name in names if ds[name].attrs.get("role", "") == role]
    return next(iter([*own, *names]), None)


def _row(*cards: Any) -> Any:
    return pn.Row(*cards, styles=WRAPPED, sizing_mode="stretch_width")


def _card(title: str, content: Any, width: str) -> Any:
    """Let a card be as wide as its row has room for, or begin another row."""
    styles = {"flex": f"1 1 {width}"}
    if not title:
        return pn.Column(content, css_classes=["card"], sizing_mode="stretch_width", styles=styles)
    return card(title, content, sizing_mode="stretch_width", styles=styles)


def _image(samples: Array, facts: Mapping[str, Any], told: str) -> str:
    made = pictures.png_text(samples, math.isqrt(len(samples)), facts, dark())
    return str(IMAGE.format(told, made) + Markup('<p class="faint">{}</p>').format(told))


async def picture(followed: Followed, slot: str | None = None) -> Markup:
    """Draw samples of a mixture, as of the last checkpoint, or say what is lacking.

    It is done in a thread: torch takes seconds to load, and others watch meanwhile.

    Parameters
    ----------
    followed : Followed
    slot : str, optional
        Whose mixture; the best by default, and where it has none.
    """
    try:
        found = followed.run.store.checkpoints.last()
        if found is None:
            raise StoreError("samples come with the first checkpoint")
        folder, told = found
        # a unit that has none, such as one that holds data alone, shows the best
        whose = slot if slot in told["mixtures"] else followed.run.slot_of_best()
        asked = followed.path, folder.name, told["token"], whose, dark()
        made = await asyncio.to_thread(drawn, *asked)
    except Exception as error:  # whatever a user's networks raise, the page goes on
        return Markup('<p class="faint">{}</p>').format(error)
    shown = IMAGE.format("samples", made)
    other = "" if slot in (None, whose) else f" of {whose}"
    told_below = Markup('<p class="faint">of the mixture{} after round {}</p>')
    return shown + told_below.format(other, round_of(folder))


@functools.lru_cache(REMEMBERED)
def drawn(path: Path, checkpoint: str, token: str, slot: str, on_dark: bool) -> str:
    """Draw samples of a slot's mixture as of a checkpoint, as a picture in base64, perhaps on dark.

    The token tells a checkpoint from that of another run of the same name.
    """
    run = Run(path)
    facts = run.store.description["facts"]
    count = POINTS if len(facts.get("sample_shape", ())) == 1 else IMAGES
    return pictures.png_text(run.mixture(slot).sample(count, seed=0), COLUMNS, facts, on_dark)
