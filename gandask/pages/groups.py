"""The groups page: who met whom in a run with groups, and what the regroupings did."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import panel as pn
from markupsafe import Markup

from gandask import plots
from gandask.pages import parts
from gandask.pages.choice import Choice
from gandask.pages.frame import card, html, page
from gandask.pages.view import View
from gandask.runs import Run
from gandask.runs.following import Followed
from gandask.scores.metrics import METRICS

if TYPE_CHECKING:
    import xarray as xr

KINDS = ("regrouped", "period B")
MOST = 200  # regroupings listed
ROW = Markup("<tr><th>{}</th><td>{}</td><td>{}</td></tr>")
SCROLLED = Markup('<div style="max-height: 310px; overflow-y: auto"><table>{}</table>{}</div>')
TRACES = ("learning_rate", "generator_loss", "discriminator_loss")


def groups() -> Any:
    """Make the groups page, with a choice of runs."""
    return page("groups", lambda: Choice(Groups(), several=False).view)


class Groups:
    """The views of one run with groups."""

    def __init__(self) -> None:
        titles = {metric.long_name: name for name, metric in METRICS.items()}
        self.score = pn.widgets.Select(name="score", options=titles, width=260)
        self.controls = [self.score]
        self.partners, self.interval, self.scores = View(), View(), View()
        self.traces = {name: View() for name in TRACES}
        self.density = View(sizing_mode=None)  # of a size of its own
        self.samples = card("Samples over time", self.density.pane)
        self.events = html(Markup(""))
        self.body = pn.Column(
            card("Who met whom", self.partners.pane, sizing_mode="stretch_width"),
            parts.beside(
                ("Learning rate", self.traces["learning_rate"].pane),
                ("Interval", self.interval.pane),
            ),
            parts.beside(
                ("Generator loss", self.traces["generator_loss"].pane),
                ("Discriminator loss", self.traces["discriminator_loss"].pane),
            ),
            parts.beside(
                ("Score", pn.Column(self.score, self.scores.pane, sizing_mode="stretch_width")),
                ("Regroupings", self.events),
            ),
            self.samples,
            sizing_mode="stretch_width",
        )

    def first(self, runs: Iterable[tuple[str, Run, Any]]) -> list[str]:
        """Name the newest run with groups."""
        return [name for name, _, method in runs if "group" in method.layout().unit][:1]

    def check(self, followed: Followed) -> None:
        """Raise ValueError if a run has no groups, or no round."""
        if "group" not in followed.ds.dims:
            raise ValueError("this run has no groups: choose one of a method such as mggan")
        if not followed.ds.sizes["round"]:
            raise ValueError(f"{followed.state}: no round is done yet")

    def draw(self, runs: Mapping[str, Followed]) -> None:
        """Draw the run."""
        (ds,) = (followed.ds for followed in runs.values())
        self.partners.show(plots.partners(ds))
        self.interval.show(plots.trace(ds, "interval"))
        self.scores.show(plots.trace(ds, self.score.value))
        for name, view in self.traces.items():
            view.show(plots.regroupings(ds, name))
        self.samples.visible = "samples" in ds and ds.sizes["value"] == 2
        if self.samples.visible:
            self.density.show(plots.density(ds))
        self.events.object = str(_table(ds))


def _table(ds: xr.Dataset) -> Markup:
    """List the regroupings, the last one first."""
    keys = ("round", "kind", "detail")
    known = np.isin(ds["event_kind"].values, KINDS)
    events = zip(*(ds[f"event_{key}"].values[known][::-1] for key in keys), strict=True)
    rows = (ROW.format(*event) for event in itertools.islice(events, MOST))
    more = known.sum() - MOST
    told = Markup('<p class="faint">and {} earlier ones</p>').format(more) if more > 0 else ""
    return SCROLLED.format(Markup("").join(rows), told)
