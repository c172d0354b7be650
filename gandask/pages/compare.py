"""The compare page: the quality of several runs, a table of them, and samples side by side."""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import panel as pn
from markupsafe import Markup

from gandask import plots, results
from gandask.pages import parts
from gandask.pages.choice import Choice
from gandask.pages.frame import card, html, page
from gandask.pages.panes import PlotPane
from gandask.pages.takeaway import python_of_several
from gandask.pages.unit import picture
from gandask.results.effects import Compared
from gandask.results.scaling import scaling
from gandask.runs import Run
from gandask.runs.following import Followed

if TYPE_CHECKING:
    import xarray as xr

MOST = 8  # runs that are chosen at first, and that samples are shown of
WIDTHS = {
    "run": 130,
    "line": 110,
    "method": 90,
    "seed": 75,
    "state": 95,
    "rounds": 90,
    "workers": 95,
}
ALONG = {
    "rounds": "round",
    "wall time": "elapsed",
    "batches": "batches",
    "bytes": "sent_bytes",
}
LACKING = {
    "elapsed": "nobody took the time",
    "batches": "they do not tell their batches",
    "sent_bytes": "nothing was sent, or they do not tell",
}
"""Why a run has no place along an axis."""
COMPARED = "gd.results.compared(runs)"
FIGURE = Markup(
    '<figure style="margin: 0; flex: 1 1 150px; max-width: 260px">{}'
    '<figcaption style="overflow-wrap: anywhere">{}</figcaption></figure>'
)
FAINT = Markup('<p class="faint">{}: {}</p>')
SAMPLES = Markup('<div style="display: flex; flex-wrap: wrap; gap: 16px">{}</div>')


def compare() -> Any:
    """Make the compare page, with a choice of runs."""
    return page("compare", lambda: Choice(Compare()).view)


class Compare:
    """The quality of several runs."""

    def __init__(self) -> None:
        self.variable = pn.widgets.Select(name="quality", width=260)
        self.along = pn.widgets.RadioButtonGroup(options=ALONG, align="end", width=330)
        self.controls = [self.variable, self.along]
        self.addressed = {"variable": self.variable, "along": self.along}
        self.quality = PlotPane()
        self.left_out = html(Markup(""))
        self.table = parts.sortable(widths=WIDTHS)
        self.parallel, self.effect = PlotPane(), PlotPane()
        self.setting = pn.widgets.Select(name="setting", width=260)
        self.effects = parts.sortable()
        self.apart = html(Markup(""))
        self.found: Compared | None = None
        self.settled: Mapping[str, xr.Dataset] = {}
        self.setting.param.watch(lambda event: self._draw_effect(), "value")
        self.samples = html(Markup('<p class="faint">drawing ...</p>'))
        self.runs: Mapping[str, Followed] = {}
        self.body = pn.Column(
            card(
                "Quality",
                pn.Row(*self.controls, styles=parts.WRAPPED),
                self.quality.view,
                self.left_out,
                sizing_mode="stretch_width",
            ),
            card(
                "Settings that differ", self.parallel.view, self.apart, sizing_mode="stretch_width"
            ),
            card(
                "Effect of a setting",
                self.setting,
                self.effect.view,
                self.effects,
                sizing_mode="stretch_width",
            ),
            card("Runs", self.table, sizing_mode="stretch_width"),
            card("Samples of the best", self.samples, sizing_mode="stretch_width"),
            sizing_mode="stretch_width",
        )

    def first(self, runs: Iterable[tuple[str, Run, Mapping[str, Any]]]) -> list[str]:
        """Name the newest runs on the data of the newest."""
        data = {name: settings.get("data") for name, _, settings in runs}
        return [name for name in data if data[name] == next(iter(data.values()))][:MOST]

    def check(self, followed: Followed) -> None:
        """Raise ValueError if a run cannot be compared."""
        if not followed.ds.sizes["round"]:
            raise ValueError(f"{followed.state}: no round is done yet")
        scaling([followed.ds])

    def draw(self, runs: Mapping[str, Followed]) -> None:
        """Draw the quality of runs; samples follow as they are ready."""
        self.runs = runs
        self._offer([followed.ds for followed in runs.values()])
        self._draw_quality({name: followed.ds for name, followed in runs.items()})
        lines = labels({name: followed.ds for name, followed in runs.items()})
        parts.fill(self.table, columns(runs, lines))
        self._draw_settings({name: followed.ds for name, followed in runs.items()})
        pn.state.execute(functools.partial(self._sample, runs), schedule=True)

    def _offer(self, datasets: Sequence[xr.Dataset]) -> None:
        """Offer what any of the runs can be compared by."""
        titles: dict[str, str] = {}
        for ds in datasets:
            for name in qualities(ds):
                if name not in titles.values():
                    titles.setdefault(results.label(ds[name]), name)
        if self.variable.options == titles:
            return
        names = [*titles.values()]
        usual = [self.variable.value, *(ds.attrs.get("score") for ds in datasets), *names]
        self.variable.param.update(
            options=titles, value=next((name for name in usual if name in names), None)
        )

    def _draw_quality(self, runs: Mapping[str, xr.Dataset]) -> None:
        """Draw the runs that have the quality along the axis, and name the others."""
        name, along = self.variable.value, self.along.value
        known = {run: ds for run, ds in runs.items() if name in ds and placed(ds, along)}
        lines = labels(known)
        members = collections.defaultdict(list)
        for run in known:
            members[lines[run]].append(run)
        datasets = {line: [runs[run] for run in alike] for line, alike in members.items()}
        told = ", ".join(
            f"{line!r}: [{', '.join(f'runs[{run!r}]' for run in alike)}]"
            for line, alike in members.items()
        )
        asked = f"variable={name!r}, along={along!r}"
        code = self._python(known, f"gd.plots.compare({{{told}}}, {asked})", "compare")
        self.quality.show(plots.compare(datasets, name, along), python=code)
        drawn = {id(ds) for alike in datasets.values() for ds in results.seeds(alike)}
        why_not = {
            "without it": [run for run, ds in runs.items() if name not in ds],
            LACKING.get(along, ""): [
                run for run, ds in runs.items() if name in ds and run not in known
            ],
            "left out, as a longer or equal run has the same settings, seed and data": [
                run for run, ds in known.items() if id(ds) not in drawn
            ],
        }
        self.left_out.object = "".join(
            str(FAINT.format(why, ", ".join(names))) for why, names in why_not.items() if names
        )

    def _draw_settings(self, runs: Mapping[str, xr.Dataset]) -> None:
        """Draw what settings did to the score of the runs that can be compared by it."""
        if [*map(id, runs.values())] == [*map(id, self.settled.values())]:
            return  # another axis, or quality, of the same
        self.settled = runs
        self.found = found = results.compared(runs)
        code = self._python(runs, f"gd.plots.parallel({COMPARED})", "parallel")
        self.parallel.show(plots.parallel(found), python=code)
        self.apart.object = "".join(
            str(FAINT.format(f"not among these: {why}", ", ".join(names)))
            for why, names in found.left_out.items()
        )
        names = {key.replace("_", " "): key for key in found.settings}
        if self.setting.options != names:
            kept = self.setting.value if self.setting.value in found.settings else None
            first = kept or next(iter(found.settings), None)
            self.setting.param.update(options=names, value=first)
        self._draw_effect()

    def _draw_effect(self) -> None:
        """Draw the scores by one setting, and list them."""
        found, key = self.found, self.setting.value
        if found is None or key not in found.settings:
            self.effect.show(plots.message("the runs differ in no setting but the seed"))
            parts.fill(self.effects, {})
            return
        code = f"gd.plots.effect({COMPARED}, {key!r})"
        self.effect.show(
            plots.effect(found, key), python=self._python(self.settled, code, "effect")
        )
        parts.fill(self.effects, effect_columns(found, key))

    def _python(self, names: Iterable[str], figure: str, file: str) -> str:
        """Write the Python that draws a figure of some of the runs."""
        return python_of_several({name: self.runs[name].path for name in names}, figure, file)

    async def _sample(self, runs: Mapping[str, Followed]) -> None:
        figures = []
        for name, followed in list(runs.items())[:MOST]:
            figures.append(FIGURE.format(await picture(followed), name))
            if self.runs is not runs:  # others were chosen meanwhile
                return
        left = len(runs) - len(figures)
        more = Markup('<p class="faint">and {} more runs</p>').format(left) if left else ""
        self.samples.object = str(SAMPLES.format(Markup("").join(figures))) + str(more)


def placed(ds: xr.Dataset, along: str) -> bool:
    """Tell whether a run has a place along an axis: where nothing was sent there is none."""
    if along == "sent_bytes":
        return along in ds and bool((ds[along] > 0).any())
    return along in ds or along in ds.coords


def effect_columns(found: Compared, key: str) -> dict[str, Any]:
    """Tell what runs came to by the value of a setting, as columns."""
    told = results.effects(found, key)
    return {
        key.replace("_", " "): [parts.setting(one.value) for one in told],
        "runs": [len(one.scores) for one in told],
        "seeds": [one.seeds for one in told],
        f"mean {found.score}": [float(one.scores.mean()) for one in told],
        "least": [float(one.scores.min()) for one in told],
        "largest": [float(one.scores.max()) for one in told],
    }


def qualities(ds: xr.Dataset) -> list[str]:
    """Name the variables by round of which one value is better than another."""
    return [
        str(name)
        for name, values in ds.data_vars.items()
        if values.attrs.get("better") and "round" in values.dims
    ]


def labels(runs: Mapping[str, xr.Dataset]) -> dict[str, str]:
    """Give every run its line: those with the same data and settings but for the seed share one.

    Returns
    -------
    dict of str to str
        By the name of the run, the name of the line, which is that of its first run.
    """
    first: dict[str, str] = {}
    made = {}
    for name, ds in runs.items():
        made[name] = first.setdefault(results.setup(ds, but=("seed",)), name)
    return made


def columns(runs: Mapping[str, Followed], lines: Mapping[str, str]) -> dict[str, Any]:
    """Tell what runs are, in which settings they differ and what they came to, as columns."""
    followed = list(runs.values())
    settings = [one.run.settings for one in followed]
    measured = scaling([one.ds for one in followed])
    made: dict[str, Any] = {
        "run": list(runs),
        "line": [lines[name] for name in runs],
        "method": [str(one.ds.attrs["method"]) for one in followed],
        "data": [str(given.get("data", "")) for given in settings],
        "seed": [one.ds.attrs["seed"] for one in followed],
        "state": [one.state for one in followed],
        "rounds": measured["rounds"].values,
        "workers": measured["workers"].values,
        "wall time (s)": measured["wall"].values,
    }
    if len(set(lines.values())) == len(lines):  # each has its own, with its own name
        del made["line"]
    differing = results.differing([one.ds for one in followed])
    # as text, of which no digit is lost; headings break at spaces
    made |= {
        name.replace("_", " "): [parts.setting(value) for value in values]
        for name, values in differing.items()
        if name not in made
    }
    return made | scores([one.ds for one in followed])


def scores(datasets: Sequence[xr.Dataset]) -> dict[str, list[float]]:
    """Tell what runs came to, as columns: what is final apart from what is of a round so far."""
    made: dict[str, list[float]] = {}
    for place, ds in enumerate(datasets):
        found = results.outcome(ds)
        if found is None:
            continue
        for name in found.data_vars:
            column = made.setdefault(results.title(found, str(name)), [math.nan] * len(datasets))
            column[place] = float(found[name])
    return made
