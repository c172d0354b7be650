"""The compare page: the quality of several runs, a table of them, and samples side by side."""

from __future__ import annotations

import collections
import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import panel as pn
from markupsafe import Markup

from gandask import plots, results
from gandask.pages import parts
from gandask.pages.cell import picture
from gandask.pages.choice import Choice
from gandask.pages.frame import card, html, page
from gandask.pages.view import View
from gandask.results.scaling import scaling
from gandask.runs import Run
from gandask.runs.following import Followed
from gandask.scores.metrics import METRICS

if TYPE_CHECKING:
    import xarray as xr

MOST = 8  # runs that are chosen at first, and that samples are shown of
WIDTHS = {
    "run": "14%",
    "line": "11%",
    "method": 90,
    "seed": 75,
    "state": 95,
    "rounds": 90,
    "workers": 95,
}
ALONG = {"rounds": "round", "wall time": "elapsed", "batches": "batches"}
FIGURE = Markup(
    '<figure style="margin: 0; flex: 1 1 150px; max-width: 260px">{}'
    '<figcaption style="overflow-wrap: anywhere">{}</figcaption></figure>'
)
SAMPLES = Markup('<div style="display: flex; flex-wrap: wrap; gap: 16px">{}</div>')


def compare() -> Any:
    """Make the compare page, with a choice of runs."""
    return page("compare", lambda: Choice(Compare()).view)


class Compare:
    """The quality of several runs."""

    def __init__(self) -> None:
        titles = {metric.long_name: name for name, metric in METRICS.items()}
        self.variable = pn.widgets.Select(name="quality", options=titles, width=260)
        self.along = pn.widgets.RadioButtonGroup(options=ALONG, align="end", width=260)
        self.controls = [self.variable, self.along]
        self.quality = View()
        self.table = parts.sortable(widths=WIDTHS)
        self.samples = html(Markup('<p class="faint">drawing ...</p>'))
        self.runs: Mapping[str, Followed] = {}
        self.body = pn.Column(
            card("Quality", pn.Row(*self.controls), self.quality.pane, sizing_mode="stretch_width"),
            card("Runs", self.table, sizing_mode="stretch_width"),
            card("Samples of the best", self.samples, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def first(self, runs: Iterable[tuple[str, Run, Any]]) -> list[str]:
        """Name the newest runs on the data of the newest."""
        data = {name: method.data for name, _, method in runs}
        return [name for name in data if data[name] == next(iter(data.values()))][:MOST]

    def check(self, followed: Followed) -> None:
        """Raise ValueError if the quality of a run cannot be drawn."""
        if not followed.ds.sizes["round"]:
            raise ValueError(f"{followed.state}: no round is done yet")
        plots.compare({"": [followed.ds]}, self.variable.value, self.along.value)
        scaling([followed.ds])

    def draw(self, runs: Mapping[str, Followed]) -> None:
        """Draw the quality of runs; samples follow as they are ready."""
        lines = labels({name: followed.ds for name, followed in runs.items()})
        datasets = collections.defaultdict(list)
        for name, followed in runs.items():
            datasets[lines[name]].append(followed.ds)
        self.quality.show(plots.compare(datasets, self.variable.value, self.along.value))
        parts.fill(self.table, columns(runs, lines))
        self.runs = runs
        pn.state.execute(functools.partial(self._sample, runs), schedule=True)

    async def _sample(self, runs: Mapping[str, Followed]) -> None:
        figures = []
        for name, followed in list(runs.items())[:MOST]:
            figures.append(FIGURE.format(await picture(followed), name))
            if self.runs is not runs:  # others were chosen meanwhile
                return
        left = len(runs) - len(figures)
        more = Markup('<p class="faint">and {} more runs</p>').format(left) if left else ""
        self.samples.object = str(SAMPLES.format(Markup("").join(figures))) + str(more)


def labels(runs: Mapping[str, xr.Dataset]) -> dict[str, str]:
    """Give every run its line: those with the same settings but for the seed share one.

    Returns
    -------
    dict of str to str
        By the name of the run, the name of the line, which is that of its first run.
    """
    alike = collections.defaultdict(list)
    for name, ds in runs.items():
        lines = ds.attrs["settings"].splitlines()
        alike["\n".join(line for line in lines if not line.startswith("seed = "))].append(name)
    return {
        name: names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        for names in alike.values()
        for name in names
    }


def columns(runs: Mapping[str, Followed], lines: Mapping[str, str]) -> dict[str, Any]:
    """Tell what runs are and what they came to, as the columns of a table."""
    followed = list(runs.values())
    methods = [one.run.method for one in followed]
    measured = scaling([one.ds for one in followed])
    made: dict[str, Any] = {
        "run": list(runs),
        "line": [lines[name] for name in runs],
        "method": [method.name for method in methods],
        "data": [str(method.data) for method in methods],
        "seed": [method.seed for method in methods],
        "state": [one.state for one in followed],
        "rounds": measured["rounds"].values,
        "workers": measured["workers"].values,
        "wall time (s)": measured["wall"].values,
    }
    if len(set(lines.values())) == len(lines):  # each has its own, with its own name
        del made["line"]
    scores = [_scores(one.ds) for one in followed]
    return made | {
        metric.long_name: [told.get(name, float("nan")) for told in scores]
        for name, metric in METRICS.items()
    }


def _scores(ds: xr.Dataset) -> dict[str, float]:
    """Give the scores of the best unit, by metric: the final ones, or those of the last round."""
    final = results.best(ds)
    found = final if final is not None else results.latest(ds)
    if found is None:
        return {}
    return {str(name).removeprefix("final_"): float(found[name]) for name in found.data_vars}
