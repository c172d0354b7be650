"""A run as one HTML file that opens from disk, without a network.

Plots, samples and styles are inside. What comes from the run (names, paths, settings, errors) is
escaped by the template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bokeh.embed
import holoviews as hv
import jinja2
import numpy as np
from bokeh.resources import Resources
from markupsafe import Markup

from gandask import plots, results
from gandask.core import StoreError
from gandask.core.files import write_whole
from gandask.display import duration
from gandask.display import place as spoken
from gandask.pages import parts, units
from gandask.plots import pictures
from gandask.plots.maps import MOST

if TYPE_CHECKING:
    import xarray as xr

    from gandask.runs import Run

IMAGES, POINTS = 64, 1000  # samples shown
EVENTS = 200  # rows of the table
MAPS = 3  # rounds that maps are drawn at
Captioned = tuple[str, Any]
"""A caption, and what it is over."""


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

    Raises
    ------
    StoreError
        If it cannot be written there.
    """
    target = run.store.path / "report.html" if path is None else Path(path)
    if target.is_dir():
        raise StoreError(
            f"{target} cannot be written: it is a folder; name another file: "
            "gandask report RUN -o FILE.html"
        )
    # a path may hold what is no UTF-8
    text = page(run).encode("utf-8", "backslashreplace").decode()
    try:
        write_whole(target, text)
    except OSError as error:
        raise StoreError(
            f"{target} cannot be written: {error.strerror}; name another file: "
            "gandask report RUN -o FILE.html"
        ) from error
    return target


def page(run: Run) -> str:
    """Give the report of a run as one HTML document; see `write`."""
    ds, told, state, settings = run.ds, run.store.description, run.state, run.settings
    samples = POINTS if len(told["facts"].get("sample_shape", ())) == 1 else IMAGES
    picture, missing = _picture(run, samples)
    sections = _sections(run, ds)
    elements = [element for section in sections.values() for _, element in section]
    script, divisions = bokeh.embed.components(
        [hv.render(element, backend="bokeh") for element in elements]
    )
    drawn = iter(divisions)
    figures = {
        name: [{"caption": caption, "plot": Markup(next(drawn))} for caption, _ in section]
        for name, section in sections.items()
    }
    events = _events(ds)
    data = f" on {settings['data']}" if "data" in settings else ""
    return _template().render(
        title=f"{run.method_name}{data}: {state}",
        path=str(run.store.path),
        updated=told["updated"],
        story=run.story(ds),
        notes=_notes(ds, state, run.rounds, told.get("error", "")) + missing,
        summary=summary(ds, run.rounds, state),
        picture=picture,
        samples=f"{samples} samples of the best{_kept(ds)}",
        figures=figures,
        events=events[:EVENTS],
        events_left_out=max(0, len(events) - EVENTS),
        settings=[(name, parts.setting(value)) for name, value in settings.items()],
        versions=_versions(ds.attrs),
        bokeh=Markup(_bokeh()),
        script=Markup(script),
    )


def summary(ds: xr.Dataset, rounds: int, state: str) -> list[tuple[str, str]]:
    """Give what a run came to, as rows of name and value.

    Parameters
    ----------
    ds : Dataset
        Its attributes hold what preparation found, such as ``classifier_accuracy``.
    rounds : int
        Number of rounds in the end, or the most there can be.
    state : str
        That of the run.
    """
    rows = _best(ds)
    accuracy = ds.attrs.get("classifier_accuracy")
    if isinstance(accuracy, int | float):
        rows.append(("classifier accuracy", f"{100 * accuracy:.1f} %"))
    error = ds.attrs.get("real_prediction_error")
    if isinstance(error, int | float):
        rows.append(("prediction error taught by real sequences", f"{error:.4g}"))
    done = ds.sizes["round"]
    # of an adaptive run the number is known at its end alone
    rows.append(("rounds", f"{done} of {done if state == 'finished' else rounds}"))
    wall = float(ds["elapsed"].max()) if ds["elapsed"].size else np.nan
    if np.isfinite(wall):  # of ensembles nobody took the time
        rows.append(("wall time", duration(wall)))
        rows.append(("workers", str(len(results.workers(ds)))))
    return rows


def _best(ds: xr.Dataset) -> list[tuple[str, str]]:
    """Name the best unit and its scores, and those of the whole population."""
    found = results.outcome(ds)
    if found is None:
        return []
    place = spoken(results.place(found))
    early = f" (round {int(found['round'])})" if "round" in found.coords else ""
    rows = [(f"best by {results.title(found, ds.attrs['score'])}", place)] if place else []
    rows += [
        (results.title(found, str(name)), _written(found, str(name), ds.attrs) + early)
        for name in found.data_vars
    ]
    together = results.of_all(ds)
    return rows + [
        (results.label(values), plots.number(float(values)))
        for values in together.data_vars.values()
        if not early and bool(values.notnull())
    ]


def _written(found: xr.Dataset, name: str, facts: Mapping[str, Any]) -> str:
    value, units = float(found[name]), str(found[name].attrs.get("units", ""))
    if name == "modes" and facts.get("classes"):
        return f"{value:g} of {facts['classes']}"
    if name == "high_quality":
        return f"{100 * value:.1f} %"
    return plots.number(value) if units in ("", "1") else f"{plots.number(value)} {units}"


def _sections(run: Run, ds: xr.Dataset) -> dict[str, list[Captioned]]:
    """Draw what the Dataset has, by the report's sections."""
    mapped = units.mapped(ds, run.layout)
    timed = ds.sizes["routine"] > 0 or run.state != "finished"  # as ensembles are not
    traced = [name for name in units.shown(ds, "report") if np.isfinite(ds[name]).any()]
    return {
        "best": _final_map(ds),
        "traces": [_course(ds, name) for name in traced],
        "maps": _maps(ds, mapped),
        "own": _own(run, ds),
        "profile": [("", plots.profile(ds))] if timed else [],
        "events": [("", plots.events(ds))] if ds.sizes["event"] else [],
    }


def _course(ds: xr.Dataset, name: str) -> Captioned:
    # the caption is the label: the axis need not repeat it
    return results.label(ds[name]), plots.trace(ds, name).opts(ylabel="")


def _final_map(ds: xr.Dataset) -> list[Captioned]:
    """Map the final scores, or those of the last round that has any."""
    score = str(ds.attrs.get("score", ""))
    finals = [str(n) for n, values in ds.data_vars.items() if values.attrs.get("final_of") == score]
    for name in (*finals, score):
        if name in ds and 1 <= len(set(ds[name].dims) - {"round"}) <= MOST:
            values = plots.latest(ds[name])
            if np.isfinite(values).any():
                round = int(values["round"]) if "round" in values.coords else -1
                return [(results.label(ds[name]), plots.map(ds, name, round))]
    return []


def _maps(ds: xr.Dataset, mapped: Mapping[str, Sequence[str]]) -> list[Captioned]:
    """Map the score over the units at a few rounds."""
    score = str(ds.attrs.get("score", ""))
    if not any(score in names for names in mapped.values()):
        return []
    known = ds[score].notnull().any([dim for dim in ds[score].dims if dim != "round"])
    scored = ds["round"].values[known.values]
    if not len(scored):
        return []
    chosen = scored[np.unique(np.linspace(0, len(scored) - 1, MAPS).astype(int))]
    return [(results.label(ds[score]), plots.map(ds, score, int(round))) for round in chosen]


def _own(run: Run, ds: xr.Dataset) -> list[Captioned]:
    """Draw what the method itself draws, around the unit that is best in the last round scored."""
    if not ds.sizes["round"]:
        return []
    found = results.latest(ds)
    place = {} if found is None else results.place(found)
    made = []
    for figure in units.drawable(ds, run.figures).values():
        if "marked" in figure.takes and not place:
            continue
        of = f": {spoken(place)}, the best of the last round" if "marked" in figure.takes else ""
        made.append((f"{figure.title}{of}", units.draw(figure, ds, place, -1)))
    return made


def _kept(ds: xr.Dataset) -> str:
    """Say whose samples are drawn, where they are not the last round's."""
    told = results.kept(ds)
    return f" round: {told}" if told else ""


def _picture(run: Run, samples: int) -> tuple[str, list[str]]:
    """Draw samples as base64, or tell why there are none."""
    try:
        drawn = run.best_mixture().sample(samples, seed=0)
        return pictures.png_text(drawn, facts=run.store.description["facts"]), []
    except Exception as error:  # whatever a user's networks raise, there is a report
        return "", [f"no samples: {error}"]


def _notes(ds: xr.Dataset, state: str, rounds: int, error: str) -> list[str]:
    """Say what is not as in a finished run."""
    notes = []
    if state != "finished":
        notes.append(f"the run is {state}: {ds.sizes['round']} of {rounds} rounds are here")
    # between its claim and its first step, a run that is continued still has the error of before
    if state in ("failed", "stopped") and error:
        notes.append(error)
    if "score" in ds.attrs and results.outcome(ds) is None:
        notes.append("nothing was scored yet: no scores, no map")
    return notes


def _events(ds: xr.Dataset) -> list[dict[str, Any]]:
    keys = ("round", "kind", "slot", "detail")
    columns = [ds[f"event_{key}"].values.tolist() for key in keys]
    return [dict(zip(keys, event, strict=True)) for event in zip(*columns, strict=True)]


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
    return environment.from_string(
        Path(__file__).with_name("report.html").read_text(encoding="utf-8")
    )
