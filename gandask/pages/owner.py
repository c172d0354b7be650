"""The page of who holds private data: scores, and samples beside the own ones; nobody else's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import panel as pn
from bokeh.server.auth_provider import AuthModule
from markupsafe import Markup
from panel.io.server import get_server

from gandask.clients.auditing import RATES, Audit
from gandask.clients.held import Held
from gandask.clients.overview import Overview
from gandask.clients.process import Opening
from gandask.core import SettingError
from gandask.pages import guard, panel_internals
from gandask.pages.frame import STYLE, html, message
from gandask.pages.pace import regularly
from gandask.pages.server import tell
from gandask.plots.pictures import png_text

EVERY = 3000  # milliseconds between two looks
ROWS, PICTURED = 20, 32
COLUMNS: Mapping[str, str] = {
    "run": "run",
    "round": "round",
    "discriminator_loss": "loss of the discriminator",
    "generator_loss": "loss of the student",
    "fid_local": "distance to the own held-out data (fid_local)",
    "epsilon": "epsilon spent",
}
TABLE = Markup('<table class="owner"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>')
PICTURE = Markup(
    '<figure style="display: inline-block; margin: 0 24px 0 0"><figcaption>{}</figcaption>'
    '<img alt="{}" src="data:image/png;base64,{}"></figure>'
)


def show(overview: Overview, opening: Opening, port: int = 0) -> None:
    """Serve the page on this machine alone, from a thread, and tell the owner its address.

    Parameters
    ----------
    overview : Overview
        What is shown.
    opening : Opening
        What the client holds.
    port : int
        Any that is free by default.

    Raises
    ------
    SettingError
        For a port in use.
    """
    started: Future[int] = Future()
    given = (overview, opening, port, started)
    threading.Thread(target=_serve, args=given, name="gandask-owner", daemon=True).start()
    try:
        tell(f"http://{guard.LOCAL}:{started.result()}/")
    except OSError as error:
        raise SettingError(f"port={port}: {error.strerror or error}; choose another") from error


def _serve(overview: Overview, opening: Opening, port: int, started: Future[int]) -> None:
    asyncio.set_event_loop(asyncio.new_event_loop())
    try:
        server = get_server(
            {"/": lambda: _page(overview, opening)},
            port=port,
            address=guard.LOCAL,
            auth_provider=AuthModule(str(guard.MODULE)),
            extra_patterns=panel_internals.ROUTES,
            title="gandask client",
        )
        server.start()
        started.set_result(server.port)
    except BaseException as error:  # whoever waits gets it
        started.set_exception(error)
        return
    server.io_loop.start()


def _page(overview: Overview, opening: Opening) -> Any:
    """Make the page for one who looks at it, and look again now and then."""
    pn.config.raw_css = [STYLE]
    if barred := guard.refused():
        return message(barred)
    shown = html(content(overview, opening.held))

    def look() -> None:
        found = str(content(overview, opening.held))
        if found != shown.object:
            shown.object = found

    regularly(look, EVERY)
    return pn.Column(shown, sizing_mode="stretch_width", css_classes=["gandask"])


def content(overview: Overview, held: Held | None) -> Markup:
    """Write what the page shows.

    Parameters
    ----------
    overview : Overview
    held : Held, optional
        What the client holds, once it was opened.
    """
    scores = overview.store.scores
    parts = [Markup("<h1>This client</h1><p>{}</p>").format(overview.line)]
    if held is None:
        parts.append(Markup("<p>Its data could not be opened yet: see the terminal.</p>"))
    else:
        told = len(held.members), len(held.apart)
        parts.append(Markup("<p>{} samples to train on, {} kept apart.</p>").format(*told))
    parts.append(Markup("<h2>Samples</h2>{}").format(_pictures(overview, held)))
    parts.append(Markup("<h2>Audit</h2>{}").format(_audit(scores)))
    parts.append(Markup("<h2>Rounds</h2>{}").format(_rounds(scores)))
    return Markup("").join(parts)


def _pictures(overview: Overview, held: Held | None) -> Markup:
    """Put samples of the student beside some of the own, that both can be compared."""
    found: list[tuple[str, Any]] = []
    if held is not None:
        found.append(("your own", held.data.batch(held.members[:PICTURED]).numpy()))
    if overview.samples is not None:
        found.append(("of your student, as audited last", overview.samples[:PICTURED]))
    shown = [PICTURE.format(title, title, png_text(images)) for title, images in found]
    if overview.samples is None:
        shown.append(Markup("<p>The student's come with the next audit.</p>"))
    return Markup("").join(shown)


def _audit(scores: Sequence[Mapping[str, Any]]) -> Markup:
    """Write what attackers found in the last audit."""
    last = next((told for told in reversed(scores) if "auc" in told), None)
    if last is None:
        return Markup("<p>There was none yet.</p>")
    found = Audit.of({key: value for key, value in last.items() if key not in ("run", "round")})
    heads = ["attacker of", "area under the curve (0.5: guessing)", "error"]
    heads += [f"members found, at {rate:.0%} false alarms" for rate in RATES]
    rows = [
        [name, found.auc[name], found.error[name], *(rate[0] for rate in found.tpr[name])]
        for name in found.auc
    ]
    told = Markup("<p>Run {}, after round {}. Memorised: {}.</p>").format(
        last["run"], last["round"], _number(found.memorised)
    )
    return told + _table(heads, rows)


def _rounds(scores: Sequence[Mapping[str, Any]]) -> Markup:
    """Write the scores of the rounds that were noted last, the newest first."""
    rounds: dict[Any, dict[str, Any]] = {}
    for told in scores:
        rounds.setdefault((told["run"], told["round"]), {}).update(told)
    last = [*reversed(rounds.values())][:ROWS]
    return _table([*COLUMNS.values()], [[told.get(key) for key in COLUMNS] for told in last])


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> Markup:
    cell, row = Markup("<td>{}</td>"), Markup("<tr>{}</tr>")
    head = Markup("").join(Markup("<th>{}</th>").format(name) for name in heads)
    body = [Markup("").join(cell.format(_number(one)) for one in each) for each in rows]
    return TABLE.format(head, Markup("").join(map(row.format, body)))


def _number(value: Any) -> str:
    if value is None or value != value:  # NaN
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
