"""A run as one HTML file that opens from disk, without a network.

Plots, samples and styles are inside. What comes from the run (names, paths, settings, errors) is
escaped by the template.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bokeh.embed
import holoviews as hv
import jinja2
import numpy as np
from bokeh.resources import Resources
from markupsafe import Markup

from gandask import plots
from gandask.core import StoreError
from gandask.plots import pictures
from gandask.scores.metrics import METRICS

if TYPE_CHECKING:
    import xarray as xr

    from gandask.runs import Run

IMAGES, POINTS = 64, 1000  # samples shown
EVENTS = 200  # rows of the table
TRACES = ("fid", "tvd", "generator_fitness", "discriminator_fitness")
BY_ITERATION = ("generator_loss", "discriminator_loss", "learning_rate")
MAPS = 3  # rounds that the grid is drawn at
ORIGINS = ("mixture", "lineage", "partners", *BY_ITERATION, "density")
POINT_METRICS = ("modes", "high_quality")  # of data with known modes


def write(run: Run, path: Path | None = None) -> Path:
    """Write the report of a run, finished or not.

    Parameters
    ----------
    run : Run
        As `open_run` gives it.
    path : Path, optional
        Of the file; ``report.html`` in the run's store by default.

    Returns
    -------
    Path
        Of the file.
    """
    target = run.store.path / "report.html" if path is None else Path(path)
    partial = target.with_name(target.name + ".partial")
    partial.write_text(page(run), encoding="utf-8")
    partial.replace(target)
    return target


def page(run: Run) -> str:
    """Give the report of a run as one HTML document; see `write`."""
    ds, told, state = run.ds, run.store.description, run.state
    samples = POINTS if _of_points(told["facts"]) else IMAGES
    picture, missing = _picture(run, samples)
    elements = _elements(ds, run.method.score)
    script, divisions = bokeh.embed.components(
        {name: hv.render(element, backend="bokeh") for name, (_, element) in elements.items()}
    )
    figures = {
        name: {"caption": caption, "plot": Markup(divisions[name])}
        for name, (caption, _) in elements.items()
    }
    events = _events(ds)
    return _template().render(
        title=f"{run.method.name} on {run.settings['data']}: {state}",
        path=str(run.store.path),
        updated=told["updated"],
        notes=_notes(ds, state, run.method.rounds, told.get("error", "")) + missing,
        summary=summary(ds, run.method, told["facts"], state),
        picture=picture,
        samples=samples,
        grid=figures.get("grid"),
        traces=[figures[name] for name in TRACES if name in figures],
        maps=[figure for name, figure in figures.items() if name.startswith("map-")],
        origins=[figures[name] for name in ORIGINS if name in figures],
        profile=figures["profile"],
        events_plot=figures.get("events"),
        events=events[:EVENTS],
        events_left_out=max(0, len(events) - EVENTS),
        settings=[(name, _setting(value)) for name, value in run.settings.items()],
        versions=_versions(ds.attrs),
        bokeh=Markup(_bokeh()),
        script=Markup(script),
    )


def summary(
    ds: xr.Dataset, method: Any, facts: Mapping[str, Any], state: str
) -> list[tuple[str, str]]:
    """Give what a run came to, as rows of name and value.

    Parameters
    ----------
    ds : Dataset
    method : Method
        Its `score` tells the best cell.
    facts : mapping
        What preparation found: ``sample_shape``, ``classes``, ``classifier_accuracy``.
    state : str
        That of the run.
    """
    rows = _best(ds, method.score, facts)
    accuracy = ds.attrs.get("classifier_accuracy")
    if accuracy is not None:
        rows.append(("classifier accuracy", f"{100 * accuracy:.1f} %"))
    done = ds.sizes["round"]
    # of an adaptive run the number is known at its end alone
    rows.append(("rounds", f"{done} of {done if state == 'finished' else method.rounds}"))
    wall = float(ds["elapsed"].max()) if ds["elapsed"].size else np.nan
    rows.append(("wall time", duration(wall)))
    workers = {str(name) for name in np.unique(ds["worker"].values)} - {""}
    rows.append(("workers", str(len(workers))))
    return rows


def duration(seconds: float) -> str:
    """Write a time span for people.

    Examples
    --------
    >>> [duration(s) for s in (0.84, 75, 3725, float("nan"))]
    ['0.8 s', '1 min 15 s', '1 h 2 min', '–']
    """
    if np.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _of_points(facts: Mapping[str, Any]) -> bool:
    return len(facts.get("sample_shape", ())) == 1


def _scored(ds: xr.Dataset, metric: str) -> xr.DataArray | None:
    """Give the final values of a metric, or the latest round's where there are none yet."""
    for name in (f"final_{metric}", metric):
        if name in ds and bool(np.isfinite(ds[name]).any()):
            return plots.latest(ds[name])
    return None


def _best(ds: xr.Dataset, score: str, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name the best cell (or group, or client) and its scores."""
    scores = _scored(ds, score)
    place = None if scores is None else plots.best(scores)
    if place is None:
        return []
    told = ", ".join(f"{dim} {value}" for dim, value in place.items())
    rows = [(f"best by {METRICS[score].long_name}", told)] if told else []
    for name, metric in METRICS.items():
        values = _scored(ds, name)
        if values is None or (name in POINT_METRICS and not _of_points(facts)):
            continue
        written = _written(name, float(values.sel(place)), facts)
        early = f" (round {int(values['round'])})" if "round" in values.coords else ""
        rows.append((metric.long_name, written + early))
    return rows


def _written(metric: str, value: float, facts: Mapping[str, Any]) -> str:
    if metric == "modes" and facts.get("classes"):
        return f"{value:g} of {facts['classes']}"
    if metric == "high_quality":
        return f"{100 * value:.1f} %"
    units = METRICS[metric].units
    return plots.number(value) if units in ("", "1") else f"{plots.number(value)} {units}"


def _elements(ds: xr.Dataset, score: str) -> dict[str, tuple[str, Any]]:
    """Draw what the Dataset has: caption and element by name."""
    made = {}
    scores = _scored(ds, "fid")
    if scores is not None and set(scores.dims) == {"row", "col"}:
        round = int(scores["round"]) if "round" in scores.coords else -1
        drawn = plots.grid(ds, str(scores.name), round)
        made["grid"] = (f"{scores.attrs['long_name']}, by cell", drawn)
    for name in TRACES:
        if name in ds and bool(np.isfinite(ds[name]).any()):
            # the caption is the label: the axis need not repeat it
            made[name] = (ds[name].attrs["long_name"], plots.trace(ds, name).opts(ylabel=""))
    made |= _of_cells(ds, score) if "row" in ds.dims else _of_groups(ds)
    made["profile"] = ("time by routine", plots.profile(ds))
    if ds.sizes["event"]:
        made["events"] = ("events by round and slot", plots.events(ds))
    return made


def _of_cells(ds: xr.Dataset, score: str) -> dict[str, tuple[str, Any]]:
    """Draw the grid over the rounds, and the mixture and the lineage of its best cell."""
    place = plots.best(ds[score])
    if place is None:
        return {}
    scored = ds["round"].values[ds[score].notnull().any(["row", "col"]).values]
    chosen = np.unique(np.linspace(0, len(scored) - 1, MAPS).astype(int))
    title = ds[score].attrs["long_name"]
    made = {
        f"map-{round}": (f"{title}, by cell", plots.grid(ds, score, int(round)))
        for round in scored[chosen]
    }
    best = place["row"], place["col"]
    told = f"row {best[0]}, col {best[1]}, the best of the last round"
    made["mixture"] = (f"mixture of {told}", plots.mixture(ds, best))
    made["lineage"] = (f"where the weights of {told}, came from", plots.lineage(ds, best))
    return made


def _of_groups(ds: xr.Dataset) -> dict[str, tuple[str, Any]]:
    """Draw who met whom, what that did to losses and rates, and samples over time."""
    if "partner" not in ds or not ds.sizes["round"]:
        return {}
    made = {"partners": ("who met whom", plots.partners(ds))}
    for name in BY_ITERATION:
        made[name] = (ds[name].attrs["long_name"], plots.regroupings(ds, name).opts(ylabel=""))
    if "samples" in ds and ds.sizes["value"] == 2:
        made["density"] = ("samples over time", plots.density(ds))
    return made


def _picture(run: Run, samples: int) -> tuple[str, list[str]]:
    """Draw samples as base64, or tell why there are none."""
    try:
        return pictures.png_text(run.best_mixture().sample(samples, seed=0)), []
    except (StoreError, ValueError) as error:
        return "", [f"no samples: {error}"]


def _notes(ds: xr.Dataset, state: str, rounds: int, error: str) -> list[str]:
    """Say what is not as in a finished run."""
    notes = []
    if state != "finished":
        notes.append(f"the run is {state}: {ds.sizes['round']} of {rounds} rounds are here")
    # a run that was continued keeps the error of its first attempt
    if state in ("failed", "stopped") and error:
        notes.append(error)
    if _scored(ds, "fid") is None:
        notes.append("no mixture was scored yet: no scores, no heat map")
    return notes


def _events(ds: xr.Dataset) -> list[dict[str, Any]]:
    keys = ("round", "kind", "slot", "detail")
    columns = [ds[f"event_{key}"].values.tolist() for key in keys]
    return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]


def _setting(value: object) -> str:
    if value is None:
        return "–"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _versions(attributes: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List the versions that the run was made with."""
    suffix = "_version"
    return [
        (key.removesuffix(suffix), str(value))
        for key, value in attributes.items()
        if key.endswith(suffix)
    ]


def _bokeh() -> str:
    """Give the code of Bokeh itself, without what it has for widgets and formulas.

    Not ``render()``: it links to files that the models of other imported packages ask for.
    """
    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(Path(__file__).with_name("report.html").read_text("utf-8"))
