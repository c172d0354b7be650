"""What settings did: a line for each run through its settings, and scores by one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv
import numpy as np
from bokeh.models import HoverTool

from gandask.core import Array
from gandask.display import number
from gandask.plots.style import (
    BEST,
    MARKED,
    MUTED,
    STILL,
    WIDE,
    limits,
    logarithmic,
    message,
    upright,
)
from gandask.results.effects import Compared, effects, numeric

MOST = 9  # settings that have an axis
NAMED = 6  # ticks of an axis of names, and the length of a name on it
LONGEST = 14
SHADES = "cividis"
SLANT = -0.44  # radians
APART = 0.28  # of the way from axis to axis, over which equal values are spread


def parallel(found: Compared) -> hv.Element:
    """Draw a line for each run through the settings that differ, coloured by its score.

    Each setting has an axis, from its least to its largest value; that of numbers over more than a
    decade is logarithmic, and names lie at equal distances. The last axis is the score.

    Parameters
    ----------
    found : Compared
        As `gandask.results.compared` gives it.
    """
    if len(found.values) < 2 or not found.settings:
        return message("settings are compared between two runs that differ in one, or more")
    keys = [*found.settings][:MOST]
    scores = np.array([*found.values.values()])
    columns = [_axis(found.settings[key]) for key in keys] + [_axis(scores.tolist())]
    places = np.array([heights for heights, _ in columns])
    # runs that share all of an axis do not hide each other
    order = scores.argsort()[:: 1 if found.better == "higher" else -1]
    lines = [
        {
            ("setting", "place"): np.stack([np.arange(len(columns)), places[:, run]], 1),
            "score": float(scores[run]),
            "run": [*found.values][run],
            "told": ", ".join(f"{key} {_text(found.settings[key][run])}" for key in keys),
        }
        for run in order
    ]
    ticks = [
        (x + 0.04, height, text) for x, (_, marks) in enumerate(columns) for height, text in marks
    ]
    hover = HoverTool(
        tooltips=[("run", "@run"), (found.score, "@score{0.[0000]}"), ("with", "@told")],
        line_policy="interp",
    )
    names = [key.replace("_", " ") for key in keys] + ["score"]
    left = len(found.settings) - len(keys)
    return hv.Overlay(
        [
            hv.VLines([*range(len(columns))]).opts(color=MUTED, line_width=0.8),
            hv.Contours(lines, ["setting", "place"], ["score", "run", "told"]).opts(
                **STILL,
                color="score",
                cmap=SHADES,
                clim=limits(scores.min(), scores.max()) or (scores.min(), scores.max()),
                logz=bool(logarithmic(scores.min(), scores.max())),
                line_width=2,
                alpha=0.7,
                colorbar=True,
                clabel=found.score,
                tools=[hover],
            ),
            hv.Labels(ticks, ["setting", "place"], "text").opts(
                **STILL,
                text_font_size="9pt",
                text_align="left",
                text_baseline="bottom",
                text_color=MUTED,
            ),
        ]
    ).opts(
        hv.opts.Overlay(
            **WIDE | {"height": 340},
            title=f"and {left} more settings" if left else "",
            xlim=(-0.1, len(columns) - 1 + 0.6),
            ylim=(-0.06, 1.06),
            xticks=[*enumerate(names)],
            # to the right: to the left the first would stick out
            backend_opts={"xaxis.major_label_orientation": SLANT},
            yaxis=None,
            xlabel="",
        )
    )


def effect(found: Compared, key: str) -> hv.Element:
    """Draw a dot for each run over the value of one setting, and the mean and range of each value.

    Parameters
    ----------
    found : Compared
        As `gandask.results.compared` gives it.
    key : str
        Name of the setting.
    """
    told = effects(found, key)
    every = np.concatenate([one.scores for one in told])
    score = hv.Dimension("score", label=found.score)
    dots, spans, means = [], [], []
    for place, one in enumerate(told):
        spread = np.linspace(-1, 1, len(one.scores) + 2)[1:-1] * APART
        dots += [*zip(place + spread, one.scores, strict=True)]
        spans.append((place, one.scores.min(), place, one.scores.max()))
        means.append((place - APART, one.scores.mean(), place + APART, one.scores.mean()))
    segments = ["value", "score", "value_end", "score_end"]
    return hv.Overlay(
        [
            hv.Segments(spans, segments).opts(**STILL, color=MUTED, line_width=1.2),
            hv.Points(dots, ["value", score]).opts(**STILL, color=BEST, size=7, alpha=0.8),
            hv.Segments(means, segments).opts(**STILL, color=MARKED, line_width=3),
        ]
    ).opts(
        hv.opts.Overlay(
            **WIDE,
            **upright(float(every.min()), float(every.max())),
            xlim=(-0.6, len(told) - 0.4),
            xticks=[(place, _text(one.value)) for place, one in enumerate(told)],
            xlabel=key.replace("_", " "),
            ylabel="score",
            title="runs, mean and range",
        )
    )


def _axis(values: Sequence[Any]) -> tuple[Array, list[tuple[float, str]]]:
    """Give the height of each value on an axis from 0 to 1, and its marks."""
    if numeric(values):
        numbers = np.array(values, float)
        low, high = float(numbers.min()), float(numbers.max())
        if high == low:
            return np.full(len(numbers), 0.5), [(0.5, number(low))]
        if logarithmic(low, high):
            heights = np.log(numbers / low) / np.log(high / low)
        else:
            heights = (numbers - low) / (high - low)
        middle = np.unique(numbers)
        marks = middle if len(middle) <= NAMED else np.array([low, high])
        at = dict(zip(numbers.tolist(), heights.tolist(), strict=True))
        return heights, [(at[float(mark)], number(float(mark))) for mark in marks]
    names = [*dict.fromkeys(map(_text, values))]
    place = {name: (i + 0.5) / len(names) for i, name in enumerate(names)}
    every = -(-len(names) // NAMED)
    return np.array([place[_text(value)] for value in values]), [
        (place[name], name) for name in names[::every]
    ]


def _text(value: Any) -> str:
    """Write the value of a setting, short enough for an axis."""
    if value is None:
        return "–"
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
