"""The state of a run in words: progress, time left, what was decided, workers."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from gandask import plots, results
from gandask.display import duration
from gandask.pages.cards import called
from gandask.runs.advice import advice
from gandask.runs.following import Followed
from gandask.store import LIVE

if TYPE_CHECKING:
    import xarray as xr

RECENT = 10  # rounds that the time left is estimated from
LISTED = 200  # events of the method's own
ROW = Markup(
    '<tr><th style="white-space: nowrap">{}</th><td class="name">{}</td><td class="name">{}</td>'
    "<td>{}</td></tr>"
)
SCROLLED = Markup('<div style="max-height: 310px; overflow-y: auto"><table>{}</table>{}</div>')


def line(followed: Followed) -> Markup:
    """Say on a few lines how a run stands."""
    ds, told = followed.ds, followed.told
    done, rounds = ds.sizes["round"], followed.rounds
    facts = [f"round {done} of {done if followed.state == 'finished' else rounds}"]
    outcome = results.outcome(ds)
    if outcome is not None:
        scored = outcome[ds.attrs["score"]]
        facts.append(f"best {results.label(scored)}: {plots.number(float(scored))}")
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
    next_step = "" if live else advice(followed.path, followed.state)
    told_next = Markup('<p class="faint">{}</p>').format(next_step) if next_step else ""
    return state + bar + why + told_next


def title(followed: Followed, name: str) -> str:
    """Say in a few words how a run stands: the browser's title."""
    ds = followed.ds
    done = ds.sizes["round"]
    facts = [f"{done}/{done if followed.state == 'finished' else followed.rounds}"]
    outcome = results.outcome(ds) if done else None
    if outcome is not None:
        score = str(ds.attrs["score"])
        facts.append(f"{called(score)} {plots.number(float(outcome[score]))}")
    return " · ".join([*facts, name or "gandask"])


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


def decided(ds: xr.Dataset) -> Markup:
    """List the events that the method decided, not the machine: the last one first."""
    own = ~ds["event_machine"].values
    columns = [ds[f"event_{key}"].values[own][::-1] for key in ("round", "kind", "slot", "detail")]
    if not own.any():
        return Markup("")
    rows = (ROW.format(*event) for event in itertools.islice(zip(*columns, strict=True), LISTED))
    more = own.sum() - LISTED
    told = Markup('<p class="faint">and {} earlier ones</p>').format(more) if more > 0 else ""
    return SCROLLED.format(Markup("").join(rows), told)
