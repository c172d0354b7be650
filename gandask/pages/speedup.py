"""The speedup page: how wall time falls with workers, and where the time goes."""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import panel as pn
from markupsafe import Markup

from gandask import plots, results
from gandask.pages import parts
from gandask.pages.choice import Choice
from gandask.pages.frame import card, html, page
from gandask.pages.panes import PlotPane
from gandask.pages.takeaway import python_of_several
from gandask.plots.style import dimension
from gandask.results import published
from gandask.results.scaling import scaling
from gandask.runs import Run
from gandask.runs.following import Followed

SPEEDUP = "gd.plots.speedup(scaling([*runs.values()]){})"
IMPORTS = "from gandask.results.scaling import scaling\n"
COLUMNS = ("shape", "units", "workers", "rounds", "wall", "speedup", "efficiency")


def speedup() -> Any:
    """Make the speedup page, with a choice of runs."""
    return page("speedup", lambda: Choice(Speedup()).view)


class Speedup:
    """The times of several runs."""

    controls: Sequence[Any] = ()
    addressed: Mapping[str, Any] = types.MappingProxyType({})

    def __init__(self) -> None:
        self.speedup = PlotPane()
        self.efficiency = PlotPane()
        self.routines = PlotPane()
        self.table = parts.sortable()
        source = published.execution_times().attrs["source"]
        self.body = pn.Column(
            parts.beside(("Speedup", self.speedup.view), ("Efficiency", self.efficiency.view)),
            html(Markup('<p class="faint">Published: {}</p>').format(source)),
            card("Time by routine", self.routines.view, sizing_mode="stretch_width"),
            card("Runs", self.table, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def first(self, runs: Iterable[tuple[str, Run, Mapping[str, Any]]]) -> list[str]:
        """Name the finished runs that another one has the settings of."""
        alike = collections.defaultdict(list)
        for name, run, _ in runs:
            if run.state == "finished":
                alike[run.store.description.get("settings", name)].append(name)
        return [name for names in alike.values() if len(names) > 1 for name in names]

    def check(self, followed: Followed) -> None:
        """Raise ValueError if the times of a run cannot be read."""
        if not followed.ds.sizes["round"]:
            raise ValueError(f"{followed.state}: no round is done yet")
        scaling([followed.ds])
        results.profile(followed.ds)

    def draw(self, runs: Mapping[str, Followed]) -> None:
        """Draw the times of runs."""
        found = {name: followed.ds for name, followed in runs.items()}
        table = scaling(list(found.values()))
        told = functools.partial(
            python_of_several, {name: followed.path for name, followed in runs.items()}
        )
        self.speedup.show(plots.speedup(table), python=told(SPEEDUP.format(""), "speedup", IMPORTS))
        self.efficiency.show(
            plots.speedup(table, efficiency=True),
            python=told(SPEEDUP.format(", efficiency=True"), "efficiency", IMPORTS),
        )
        self.routines.show(
            plots.routines(found), python=told("gd.plots.routines(runs)", "routines")
        )
        columns = {
            dimension(table[name]).pprint_label: table[name].values.tolist() for name in COLUMNS
        }
        parts.fill(self.table, {"run": list(found), **columns})
