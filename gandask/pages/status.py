"""The state of a run in words: progress, time left, workers; and the means to steer it."""

from __future__ import annotations

import collections
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
from markupsafe import Markup

from gandask import plots, results
from gandask.core import SettingError, StoreError
from gandask.methods.grid.topology import NEIGHBOURHOODS
from gandask.pages.frame import html
from gandask.pages.report import duration
from gandask.runs.following import Followed
from gandask.store import LIVE

if TYPE_CHECKING:
    import xarray as xr

RECENT = 10  # rounds that the time left is estimated from


def line(followed: Followed) -> Markup:
    """Say on a few lines how a run stands."""
    ds, told = followed.ds, followed.told
    done, rounds = ds.sizes["round"], followed.rounds
    facts = [f"round {done} of {done if followed.state == 'finished' else rounds}"]
    scored = _best(ds)
    if scored is not None:
        facts.append(f"best {scored.attrs['long_name']}: {plots.number(float(scored))}")
    ends = _ends(followed)
    live = followed.state in LIVE
    if len(ends):
        facts.append(f"{duration(ends[-1])} so far" if live else f"in {duration(ends[-1])}")
    if live and len(ends):
        recent = ends[-RECENT - 1 :] if len(ends) > RECENT else np.concatenate([[0.0], ends])
        left = float(np.median(np.diff(recent))) * (rounds - done)
        facts.append(f"about {duration(left)} left")
    state = Markup('<p class="state"><b>{}</b> · {}{}</p>').format(
        followed.state, " · ".join(facts), _dask(told.get("dask_dashboard")) if live else ""
    )
    share = 100 * done / max(1, done if followed.state == "finished" else rounds)
    bar = Markup('<div class="bar"><div style="width: {}%"></div></div>').format(f"{share:.1f}")
    failed = followed.state in ("failed", "stopped") and told.get("error")
    why = Markup('<p class="message">{}</p>').format(told["error"]) if failed else ""
    return state + bar + why


def workers(slots: Mapping[str, Mapping[str, Any]]) -> Markup:
    """Say what each worker's slots are doing, as of the last heartbeat."""
    states: dict[str, collections.Counter[str]] = {}
    for told in slots.values():
        counted = states.setdefault(str(told.get("worker", "")), collections.Counter())
        counted[str(told.get("state", ""))] += 1
    if not states:
        return Markup('<p class="faint">no heartbeat</p>')
    rows = Markup("").join(
        Markup("<tr><td>{}</td><td>{}</td></tr>").format(
            worker, ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        )
        for worker, counts in sorted(states.items())
    )
    return Markup("<table><tr><th>worker</th><th>slots</th></tr>{}</table>").format(rows)


class Steering:
    """Buttons that ask something of a run.

    Parameters
    ----------
    followed : callable
        Gives the run that is watched, or None.
    """

    def __init__(self, followed: Callable[[], Followed | None]) -> None:
        self.followed = followed
        self.pause = pn.widgets.Button(name="Pause", width=80, align="end", on_click=self._pause)
        self.stop = pn.widgets.Button(
            name="Stop after this round", width=160, align="end", on_click=self._stop
        )
        self.neighbourhood = pn.widgets.Select(
            name="neighbourhood", options=["", *NEIGHBOURHOODS], width=120
        )
        self.scale = pn.widgets.FloatInput(
            name="mutation scale", value=None, start=0, step=1e-4, width=120
        )
        self.change = pn.widgets.Button(
            name="Change from the next round on", width=220, align="end", on_click=self._change
        )
        self.answer = html(Markup(""))
        self.asked: int | None = None  # the version known when something was said
        self.schedules = pn.Row(self.neighbourhood, self.scale, self.change)
        self.view = pn.Column(
            pn.Row(self.pause, self.stop, self.schedules), self.answer, sizing_mode="stretch_width"
        )

    def refresh(self, followed: Followed) -> None:
        """Show what can be asked of a run as it stands."""
        live = followed.state in LIVE and os.access(followed.path, os.W_OK)
        self.view.visible = live
        self.schedules.visible = live and bool(followed.run.method.schedules)
        self.pause.name = "Go on" if followed.state == "paused" else "Pause"
        if self.asked not in (None, followed.version):
            self._say("")

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
        chosen = {"neighbourhood": self.neighbourhood.value, "mutation_scale": self.scale.value}
        changes = {key: value for key, value in chosen.items() if value not in ("", None)}
        followed = self.followed()
        if followed is None:
            return
        if not changes:
            self._say("choose a neighbourhood or a mutation scale first")
            return
        self._ask(lambda: followed.run.change(**changes))

    def _ask(self, command: Callable[[], None]) -> None:
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


def _best(ds: xr.Dataset) -> xr.DataArray | None:
    """Give the best score of the end, or of the last round scored."""
    score = ds.attrs["score"]
    final, latest = results.best(ds), results.latest(ds)
    if final is not None:
        return final[f"final_{score}"]
    return None if latest is None else latest[score]


def _ends(followed: Followed) -> Any:
    """Give the times at which rounds were complete, in seconds since the start."""
    elapsed = followed.ds["elapsed"]
    ends = elapsed.max([dim for dim in elapsed.dims if dim != "round"]).values
    return ends[np.isfinite(ends)]


def _dask(link: object) -> Markup:
    """Link to Dask's own dashboard, if it is a page at all."""
    if not isinstance(link, str) or not link.startswith(("http://", "https://")):
        return Markup("")
    return Markup(' · <a href="{}" target="_blank" rel="noopener">Dask</a>').format(link)
