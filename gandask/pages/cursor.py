"""The round cursor: a line through every plot over rounds, and the keys that move it."""

from __future__ import annotations

import functools
from typing import Any

import holoviews as hv
import panel as pn
import param
from bokeh.models import Span

from gandask.plots.style import MUTED

STEP = 400  # milliseconds per round when played
PLAY, PAUSE = "play", "pause"


class Lines:
    """Lines at the round of the cursor, in all plots whose horizontal axis is the round."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.round = 1

    def through(self, element: hv.Element) -> hv.Element:
        """Put a line through a plot."""

        def draw(plot: Any, element: hv.Element) -> None:
            figure = plot.state
            if not any(isinstance(model, Span) for model in figure.center):
                span = Span(
                    location=self.round, dimension="height", line_color=MUTED, line_dash="dashed"
                )
                figure.add_layout(span)
                self.spans.append(span)

        return element.opts(hooks=[draw], clone=True)

    def move(self, round: int) -> None:
        """Move all lines to a round."""
        self.round = round
        for span in self.spans:
            span.location = round

    def forget(self) -> None:
        """Forget the lines of plots that are about to be replaced."""
        self.spans.clear()


class Player:
    """The control of the cursor: a slider, and buttons to step and to play.

    Parameters
    ----------
    width : int
        In pixels.
    """

    def __init__(self, width: int) -> None:
        self.slider = pn.widgets.IntSlider(name="round", start=1, end=2, value=1, width=width - 20)
        self.button = pn.widgets.Button(name=PLAY, width=56, on_click=self._toggle)
        steps = [
            pn.widgets.Button(name=name, width=56, on_click=functools.partial(self._press, key))
            for name, key in (("|◀", "first"), ("◀", -1), ("▶", 1), ("▶|", "last"))
        ]
        self.playing = pn.state.add_periodic_callback(self._play, STEP, start=False)
        self.keys = Keys(width=0, height=0, margin=0)
        self.keys.param.watch(lambda event: self._press(event.new["key"]), "pressed")
        buttons = pn.Row(*steps[:2], self.button, *steps[2:], self.keys)
        self.view = pn.Column(self.slider, buttons, width=width)

    @property
    def round(self) -> int:
        """The round it is at."""
        return int(self.slider.value)

    def extend(self, rounds: int, follow: bool) -> None:
        """Let there be more rounds, and go to the last if it was there before, or if to follow."""
        follow = follow or self.slider.value >= self.slider.end
        # a slider needs two ends
        self.slider.param.update(end=max(2, rounds), disabled=rounds < 2)
        if follow:
            self.slider.value = rounds

    def _press(self, key: int | str, event: Any = None) -> None:
        slider = self.slider
        if key == "play":
            self._toggle()
        elif slider.disabled:
            return
        elif isinstance(key, str):
            slider.value = slider.start if key == "first" else slider.end
        else:
            slider.value = min(max(slider.value + key, slider.start), slider.end)

    def _toggle(self, event: Any = None) -> None:
        if self.playing.running:
            self.playing.stop()
        elif not self.slider.disabled:
            if self.slider.value >= self.slider.end:
                self.slider.value = self.slider.start
            self.playing.start()
        self.button.name = PAUSE if self.playing.running else PLAY

    def _play(self) -> None:
        self._press(1)
        if self.slider.value >= self.slider.end:
            self._toggle()


class Keys(pn.custom.JSComponent):
    """Arrow keys, Home, End and the space bar, wherever the page has the focus."""

    pressed = param.Dict(default={})

    _esm = """
    export function render({model, el}) {
      const named = {ArrowLeft: -1, ArrowRight: 1, Home: "first", End: "last", " ": "play"}
      const listen = (event) => {
        const focused = event.composedPath()[0]
        if (!(event.key in named) || event.altKey || event.ctrlKey || event.metaKey) return
        if (/^(INPUT|SELECT|TEXTAREA|BUTTON|A)$/.test(focused.tagName)) return
        event.preventDefault()
        model.pressed = {key: named[event.key], at: event.timeStamp}
      }
      document.addEventListener("keydown", listen)
      model.on("remove", () => document.removeEventListener("keydown", listen))
    }
    """
