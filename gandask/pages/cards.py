"""A card for each run: what it is, how it stands, its score by round."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import panel as pn
import param
from markupsafe import Markup

from gandask.pages.frame import STYLE
from gandask.plots.style import DECADE
from gandask.scores.metrics import METRICS
from gandask.store.listing import Listed, age, short

WIDTH, HEIGHT, EDGE = 120, 36, 3  # of a sparkline, in its own units
POINTS = 120  # of a sparkline: more cannot be seen apart
CARD = Markup("""
<label class="choose"><input type="checkbox" aria-label="choose {name}"></label>
<h3><a href="{address}">{name}</a></h3>
<p><span class="badge {state}">{state}</span> {round} · {age}</p>
<div class="course">{drawn}<p><b>{score}</b> <span class="faint">{scored}</span></p></div>
<p>{method} · {data}</p>
<p class="faint differing" title="{differing}">{differing}</p>
{tags}{note}{edit}
""")
TAG = Markup('<span class="tag">{}</span> ')
NOTE = Markup('<p class="note">{}</p>')
EDIT = Markup(
    '<button class="link edit" data-tags="{}" data-note="{}" aria-label="tags and note of {}">'
    "tags, note</button>"
)
SPARK = Markup(
    '<svg class="spark" viewBox="0 0 {} {}" role="img" aria-label="{}" preserveAspectRatio="none">'
    '<polyline points="{}" vector-effect="non-scaling-stroke"/></svg>'
)
AWAITED = Markup('<div class="thumbnail awaited"></div><div class="spark awaited"></div>')
NOTHING = Markup('<div class="spark"></div>')


class Cards(pn.custom.JSComponent):
    """Cards to choose runs by; what is chosen is compared at `compare`."""

    cards = param.String("[]", doc="Name and markup of each, as JSON.")
    compare = param.String("", doc="Address of the page that compares, up to the runs.")

    _esm = Path(__file__).with_name("cards.js").read_text(encoding="utf-8")
    stylesheets = param.List([STYLE])

    def answer(self, told: str) -> None:
        """Say what came of what was saved; nothing if all is well."""
        self._send_msg({"told": told})

    def show(self, cards: Mapping[str, Markup]) -> None:
        """Show cards by the names of their runs; those that stay as they are are left alone."""
        self.cards = json.dumps(list(cards.items()))


def card(
    run: Listed,
    differing: Mapping[str, str],
    drawn: Markup,
    now: datetime.datetime,
    address: str,
    editable: bool,
) -> Markup:
    """Make the card of a run.

    Parameters
    ----------
    run : Listed
    differing : mapping
        Its settings that others of its method have otherwise.
    drawn : Markup
        Its samples, and its score by round.
    now : datetime
        What its age is told by.
    address : str
        Of its live page.
    editable : bool
        Whether who looks may change its tags and note.
    """
    rounds, best = run.settings.get("rounds"), run.best
    scored = "" if best.get("final") else "so far"
    return CARD.format(
        name=run.name,
        address=address,
        state=run.state,
        round=f"{run.round}/{rounds}" if isinstance(rounds, int) else f"round {run.round}",
        age=age(run.updated, now),
        drawn=drawn,
        score=f"{called(best.get('score', ''))} {best['value']:.4g}" if best else "no score",
        scored=scored if best else "yet",
        method=run.settings.get("method", "–"),
        data=short(run.settings.get("data", "–")),
        differing=", ".join(f"{key} {value}" for key, value in differing.items()),
        tags=Markup("").join(map(TAG.format, run.about.tags)),
        note=NOTE.format(run.about.note) if run.about.note else "",
        edit=EDIT.format(" ".join(run.about.tags), run.about.note, run.name) if editable else "",
    )


def called(score: object) -> str:
    """Call a score what it is called of any run.

    Examples
    --------
    >>> called("fid"), called("my_distance")
    ('FID', 'my distance')
    """
    known = METRICS.get(str(score))
    return known.long_name if known else str(score).replace("_", " ")


def spark(points: Mapping[int, float], name: str) -> Markup:
    """Draw a score by round as a line; by its logarithm where it spans more than a decade.

    Parameters
    ----------
    points : mapping of int to float
        By round.
    name : str
        Of the score.
    """
    known = sorted((at, value) for at, value in points.items() if math.isfinite(value))
    if not known:
        return NOTHING
    told = (
        f"{name} by round: {known[0][1]:.4g} at first, {known[-1][1]:.4g} in round {known[-1][0]}"
    )
    step = max(1, -(-len(known) // POINTS))
    drawn = sorted({*known[::step], known[-1]})
    least, most = min(v for _, v in drawn), max(v for _, v in drawn)
    scale = math.log if least > 0 and most / least > DECADE else float
    rounds, values = [at for at, _ in drawn], [scale(value) for _, value in drawn]
    across = _spread(rounds, EDGE, WIDTH - EDGE)
    down = _spread(values, HEIGHT - EDGE, EDGE)
    if len(drawn) == 1:
        across, down = [EDGE, WIDTH - EDGE], [HEIGHT / 2] * 2
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    return SPARK.format(WIDTH, HEIGHT, told, line)


def _spread(values: Sequence[float], begin: float, end: float) -> list[float]:
    """Map values to a range; all of them to its middle, where they are alike."""
    least, reach = min(values), max(values) - min(values)
    if not reach:
        return [(begin + end) / 2] * len(values)
    return [begin + (end - begin) * (value - least) / reach for value in values]
