"""The control of the round cursor: a slider, buttons to step and to play, and keys."""

from __future__ import annotations

import functools
from typing import Any

import panel as pn

STEP = 400  # milliseconds per round when played
PLAY, PAUSE = "play", "pause"


class Player:
    """The control of the cursor: a slider, and buttons to step and to play.

    Parameters
    ----------
    width : int
        In pixels.
    """

    def __init__(self, width: int) -> None:
        self.slider = pn.widgets.IntSlider(name="round", start=1, end=2, value=1, width=width - 20)
        self.rounds = 0  # that there are: the slider may have one more
        self.button = pn.widgets.Button(name=PLAY, width=56, on_click=self._toggle)
        steps = [
            pn.widgets.Button(name=name, width=56, on_click=functools.partial(self._press, key))
            for name, key in (("|◀", "first"), ("◀", -1), ("▶", 1), ("▶|", "last"))
        ]
        self.playing = pn.state.add_periodic_callback(self._play, STEP, start=False)
        self.keys = Keys(width=0, height=0, margin=0)
        # a message, as Panel lets a changed parameter wait for others for 50 ms
        self.keys.on_msg(lambda event: self._press(event.data))
        buttons = pn.Row(*steps[:2], self.button, *steps[2:], self.keys)
        self.view = pn.Column(self.slider, buttons, width=width)

    @property
    def round(self) -> int:
        """The round it is at."""
        return min(int(self.slider.value), self.rounds)

    def extend(self, rounds: int, follow: bool) -> None:
        """Let there be more rounds, and go to the last if it was there before, or if to follow."""
        follow = follow or self.slider.value >= self.rounds
        self.rounds = rounds
        # a slider needs two ends
        self.slider.end = max(2, rounds)
        if follow:
            self.slider.value = rounds

    def go(self, round: str) -> None:
        """Go to a round that an address names; where there is none such, stay."""
        if round.isdecimal() and 1 <= int(round) <= self.rounds:
            self.slider.value = int(round)

    def _press(self, key: int | str, event: Any = None) -> None:
        if key == "play":
            self._toggle()
        elif isinstance(key, str):
            self.slider.value = 1 if key == "first" else self.rounds
        else:
            self.slider.value = min(max(self.slider.value + key, 1), self.rounds)

    def _toggle(self, event: Any = None) -> None:
        if self.playing.running:
            self.playing.stop()
        else:
            if self.slider.value >= self.rounds:
                self.slider.value = 1
            self.playing.start()
        self.button.name = PAUSE if self.playing.running else PLAY

    def _play(self) -> None:
        self._press(1)
        if self.slider.value >= self.rounds:
            self._toggle()


class Keys(pn.custom.JSComponent):
    """Arrow keys, Home, End and the space bar, wherever the page has the focus."""

    _esm = """
    export function render({model, view}) {
      const named = {ArrowLeft: -1, ArrowRight: 1, Home: "first", End: "last", " ": "play"}
      const listen = (event) => {
        const focused = event.composedPath()[0]
        if (!(event.key in named) || event.altKey || event.ctrlKey || event.metaKey) return
        if (/^(INPUT|SELECT|TEXTAREA|BUTTON|A)$/.test(focused.tagName)) return
        event.preventDefault()
        model.send_msg(named[event.key])
      }
      document.addEventListener("keydown", listen)
      // Bokeh's slider has a label for eyes alone
      const [slider] = view.parent.parent.child_views
      const label = () => {
        const handle = slider.shadow_el.querySelector(".noUi-handle")
        if (handle) handle.setAttribute("aria-label", slider.model.title)
        else setTimeout(label, 200)
      }
      label()
      model.on("remove", () => document.removeEventListener("keydown", listen))
    }
    """
