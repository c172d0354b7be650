"""The means to steer a run: buttons, and a widget for each setting that its method lets change."""

from __future__ import annotations

import math
import os
import typing
from collections.abc import Callable
from typing import Any

import panel as pn
from markupsafe import Markup

from gandask import config
from gandask.core import Method, SettingError, StoreError
from gandask.pages.frame import html
from gandask.runs.following import Followed
from gandask.store import LIVE

WIDTH = 140  # pixels of a widget
UNCHANGED = ("", None)
"""What widgets hold that are left alone."""


class Steering:
    """Buttons that ask something of a run.

    Parameters
    ----------
    followed : callable
        Gives the run that is watched, or None.
    barred : callable
        Says why who asks may not steer it, or nothing.
    """

    def __init__(self, followed: Callable[[], Followed | None], barred: Callable[[], str]) -> None:
        self.followed = followed
        self.barred = barred
        self.pause = pn.widgets.Button(name="Pause", width=80, align="end", on_click=self._pause)
        self.stop = pn.widgets.Button(
            name="Stop after this round", width=160, align="end", on_click=self._stop
        )
        self.change = pn.widgets.Button(
            name="Change from the next round on", width=220, align="end", on_click=self._change
        )
        self.answer = html(Markup(""))
        self.asked: int | None = None  # the version known when something was said
        self.offered: type[Method[Any]] | None = None
        self.widgets: dict[str, Any] = {}
        self.schedules = pn.Row()
        self.view = pn.Column(
            pn.Row(self.pause, self.stop, self.schedules), self.answer, sizing_mode="stretch_width"
        )

    def refresh(self, followed: Followed) -> None:
        """Show what can be asked of a run as it stands."""
        live = followed.state in LIVE and os.access(followed.path, os.W_OK)
        self.view.visible = live
        if live:
            self._offer(followed.run.method_class)
        self.pause.name = "Go on" if followed.state == "paused" else "Pause"
        if self.asked not in (None, followed.version):
            self._say("")

    def _offer(self, method: type[Method[Any]] | None) -> None:
        """Offer the settings that a method lets change."""
        if method is self.offered:
            return
        self.offered, self.widgets = method, {} if method is None else widgets(method)
        self.schedules.objects = [*self.widgets.values(), self.change] if self.widgets else []

    def _pause(self, event: Any) -> None:
        followed = self.followed()
        if followed is None:
            return
        paused = followed.state == "paused"
        self._ask(followed.run.resume if paused else followed.run.pause)

    def _stop(self, event: Any) -> None:
        followed = self.followed()
        if followed is not None:
            self._ask(followed.run.stop)

    def _change(self, event: Any) -> None:
        followed = self.followed()
        if followed is None:
            return
        chosen = {key: widget.value for key, widget in self.widgets.items()}
        changes = {key: value for key, value in chosen.items() if value not in UNCHANGED}
        if not changes:
            self._say(f"choose first: {', '.join(spoken(key) for key in self.widgets)}")
            return
        self._ask(lambda: followed.run.change(**changes))

    def _ask(self, command: Callable[[], None]) -> None:
        if barred := self.barred():
            self._say(barred)
            return
        try:
            command()
        except (SettingError, StoreError, OSError) as error:
            self._say(str(error))
            return
        self._say("asked; the run looks for it after each step")

    def _say(self, text: str) -> None:
        followed = self.followed()
        self.asked = followed.version if text and followed else None
        self.answer.object = str(Markup('<p class="faint">{}</p>').format(text)) if text else ""


def widgets(method: type[Method[Any]]) -> dict[str, Any]:
    """Make a widget for each setting that a method lets change while it runs, by name."""
    hints = typing.get_type_hints(method)
    known = {f.name: f for f in config.fields(method)}
    return {
        name: _widget(name, hints[name], known[name].metadata, known[name].default)
        for name in method.schedules
    }


def spoken(name: str) -> str:
    """Write the name of a setting for people.

    Examples
    --------
    >>> spoken("mutation_scale")
    'mutation scale'
    """
    return name.replace("_", " ")


def _widget(name: str, hint: Any, metadata: Any, default: Any) -> Any:
    """Make the widget of one setting, with nothing chosen."""
    shown: dict[str, Any] = {"name": spoken(name), "width": WIDTH}
    offered = metadata.get("choices") or metadata.get("suggested")
    if offered:
        return pn.widgets.Select(options=["", *offered], **shown)
    if hint is bool:
        return pn.widgets.Select(options={"": None, "yes": True, "no": False}, **shown)
    if hint in (int, float):
        bounds = {"start": metadata.get("minimum"), "end": metadata.get("maximum"), "value": None}
        if hint is int:
            return pn.widgets.IntInput(**bounds, **shown)
        step = 10 ** math.floor(math.log10(default)) if default else 0.1
        return pn.widgets.FloatInput(step=step, **bounds, **shown)
    return pn.widgets.TextInput(**shown)
