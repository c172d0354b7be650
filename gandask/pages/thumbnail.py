"""What a run makes at present, on a card: images, points in their plane, or sequences."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from gandask.core import Array
from gandask.data import Plane
from gandask.plots import pictures
from gandask.runs import Run
from gandask.runs.course import ScoreCourse

IMAGES, COLUMNS = 9, 3
POINTS = 200
SIDE = 84  # of a plane of points, in its own units
PICTURE = Markup('<img class="thumbnail" alt="{}" src="data:image/png;base64,{}">')
PLANE = Markup(
    '<svg class="thumbnail" viewBox="0 0 {} {}" role="img" aria-label="{}"><path d="{}"/></svg>'
)


def thumbnail(run: Run, course: ScoreCourse, on_dark: bool = False) -> Markup:
    """Draw what the first slot of a run shows that is its own; nothing of a run that shows nothing.

    Parameters
    ----------
    run : Run
    course : ScoreCourse
        Of the run: what was made and refused, as of its last look, is passed over.
    on_dark : bool
        Whether it is seen on a dark ground.
    """
    slot = next(iter(run.shown.slots(run.layout.slots)), "")
    own = [at for at in run.shown.rounds(slot) if course.accepts(slot, at)] if slot else []
    samples = run.shown.at(slot, own[-1]) if own else None
    if samples is None:
        return Markup("")
    told = f"samples of {slot} in round {own[-1]}"
    facts = run.store.description["facts"]
    if pictures.is_points(samples):
        return PLANE.format(SIDE, SIDE, told, _dots(samples[:POINTS], Plane.of(facts)))
    return PICTURE.format(told, pictures.png_text(samples[:IMAGES], COLUMNS, facts, on_dark))


def _dots(points: Array, plane: Plane | None) -> str:
    """Write points as a path of dots: those that lie in the plane, or around themselves."""
    known = points[np.isfinite(points).all(1)]
    if not len(known):
        return ""
    places = pictures.placed(known, plane or Plane.around(known))
    inside = places[((places >= 0) & (places <= 1)).all(1)]
    return "".join(f"M{x:.1f} {y:.1f}h0" for x, y in SIDE * inside)
