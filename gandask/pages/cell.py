"""What is known of one cell (or group): samples, traces, mixture, where its weights came from."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn
from markupsafe import Markup

from gandask import pictures, plots
from gandask.core import StoreError
from gandask.following import Followed
from gandask.pages.cursor import Lines
from gandask.pages.frame import card, html
from gandask.runs import Run

if TYPE_CHECKING:
    import xarray as xr

IMAGES, POINTS, COLUMNS = 36, 1000, 6
SAMPLES_WIDTH = 260  # pixels
REMEMBERED = 64  # pictures
LOSSES = ("generator_training_loss", "generator_loss", "generator_fitness")


class CellPanel:
    """The panel of the cell that was clicked.

    Parameters
    ----------
    lines : Lines
        Those of the round cursor.
    """

    def __init__(self, lines: Lines) -> None:
        self.lines = lines
        self.drawn: tuple[Followed, dict[str, Any]] | None = None
        self.title = html(Markup(""))
        self.samples = html(Markup(""), sizing_mode="fixed", width=SAMPLES_WIDTH)
        self.score, self.loss, self.mixture, self.lineage = (
            pn.pane.HoloViews(linked_axes=False, sizing_mode="stretch_width") for _ in range(4)
        )
        self.view = pn.Column(
            self.title,
            pn.Row(
                card("Samples", self.samples, width=SAMPLES_WIDTH + 20),
                card("Score", self.score, sizing_mode="stretch_width"),
                card("Loss", self.loss, sizing_mode="stretch_width"),
                sizing_mode="stretch_width",
            ),
            pn.Row(
                card("Mixture", self.mixture, sizing_mode="stretch_width"),
                card("Where its weights came from", self.lineage, sizing_mode="stretch_width"),
                sizing_mode="stretch_width",
            ),
            sizing_mode="stretch_width",
        )

    def draw(self, followed: Followed, cell: dict[str, Any], variable: str, round: int) -> None:
        """Draw everything of a cell."""
        ds = followed.ds
        self.drawn = followed, cell
        told = ", ".join(f"{dim} {value}" for dim, value in cell.items())
        self.title.object = str(Markup("<h2>{}</h2>").format(told))
        score = variable if ds[variable].dtype.kind == "f" else ds.attrs["score"]
        loss = next(name for name in LOSSES if name in ds)
        along = "round" if "round" in ds[loss].dims else "iteration"
        self.score.object = self.lines.through(plots.trace(ds, score, marked=cell))
        drawn = plots.trace(ds, loss, along, marked=cell)
        self.loss.object = self.lines.through(drawn) if along == "round" else drawn
        if "row" in cell:
            marked = cell["row"], cell["col"]
            self.lineage.object = self.lines.through(plots.lineage(ds, marked))
        else:
            self.lineage.object = plots.partners(ds)
        self.lines.move(round)
        self.move(round)
        pn.state.execute(functools.partial(self._sample, followed, cell), schedule=True)

    def move(self, round: int) -> None:
        """Show the mixture of another round."""
        if self.drawn is None:
            return
        followed, cell = self.drawn
        marked = (cell["row"], cell["col"]) if "row" in cell else None
        self.mixture.object = plots.mixture(followed.ds, marked, round)

    async def _sample(self, followed: Followed, cell: dict[str, Any]) -> None:
        """Draw samples, in a thread: torch takes seconds to load, and others watch meanwhile."""
        try:
            found = followed.run.store.checkpoints.last()
            if found is None:
                raise StoreError("samples come with the first checkpoint")
            of = slot(followed.ds, cell)
            picture = await asyncio.to_thread(drawn, followed.path, found[0].name, of)
        except (StoreError, ValueError, OSError) as error:
            shown = Markup('<p class="faint">{}</p>').format(error)
        else:
            shown = Markup('<img alt="samples" src="data:image/png;base64,{}">').format(picture)
            round = int(found[0].name.removeprefix("round-"))
            shown += Markup('<p class="faint">of the mixture after round {}</p>').format(round)
        if self.drawn == (followed, cell):
            self.samples.object = str(shown)


def slot(ds: xr.Dataset, cell: dict[str, Any]) -> str:
    """Name the slot of a cell or group."""
    if "row" in cell:
        return f"cell/{cell['row'] * ds.sizes['col'] + cell['col']}"
    return "/".join(str(part) for item in cell.items() for part in item)


@functools.lru_cache(REMEMBERED)
def drawn(path: Path, checkpoint: str, slot: str) -> str:
    """Draw samples of a slot's mixture as of a checkpoint, as a picture in base64."""
    run = Run(path)
    count = POINTS if len(run.store.description["facts"]["sample_shape"]) == 1 else IMAGES
    return pictures.png_text(run.mixture(slot).sample(count, seed=0), COLUMNS)
