"""What is known of one cell (or group): samples, traces, mixture, where its weights came from."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import panel as pn
from markupsafe import Markup

from gandask import plots
from gandask.core import StoreError
from gandask.pages.frame import card, html
from gandask.pages.view import Lines, View
from gandask.plots import pictures
from gandask.runs import Run
from gandask.runs.following import Followed

if TYPE_CHECKING:
    import xarray as xr

IMAGES, POINTS, COLUMNS = 36, 1000, 6
SAMPLES_WIDTH = 260  # pixels
LEAST_WIDTH = 235  # of a plot
WRAPPED = {"flex-wrap": "wrap"}
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
        self.score, self.loss, self.mixture, self.lineage = (View() for _ in range(4))
        self.view = pn.Column(
            self.title,
            pn.Row(
                card("Samples", self.samples, width=SAMPLES_WIDTH + 20),
                _wide("Score", self.score.pane),
                _wide("Loss", self.loss.pane),
                styles=WRAPPED,
                sizing_mode="stretch_width",
            ),
            pn.Row(
                _wide("Mixture", self.mixture.pane),
                _wide("Where its weights came from", self.lineage.pane),
                styles=WRAPPED,
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
        self.score.show(self.lines.through(plots.trace(ds, score, marked=cell), "score"))
        drawn = plots.trace(ds, loss, along, marked=cell)
        self.loss.show(self.lines.through(drawn, "loss") if along == "round" else drawn)
        if "row" in cell:
            marked = cell["row"], cell["col"]
            self.lineage.show(self.lines.through(plots.lineage(ds, marked), "lineage"))
        else:
            self.lineage.show(plots.partners(ds))
        self.lines.move(round)
        self.move(round)
        pn.state.execute(functools.partial(self._sample, followed, cell), schedule=True)

    def move(self, round: int) -> None:
        """Show the mixture of another round."""
        if self.drawn is None:
            return
        followed, cell = self.drawn
        marked = (cell["row"], cell["col"]) if "row" in cell else None
        self.mixture.show(plots.mixture(followed.ds, marked, round))

    async def _sample(self, followed: Followed, cell: dict[str, Any]) -> None:
        shown = await picture(followed, slot(followed.ds, cell))
        if self.drawn == (followed, cell):
            self.samples.object = str(shown)


def _wide(title: str, plot: Any) -> Any:
    """Let a plot be as wide as its row has room for, or begin another row."""
    return card(title, plot, sizing_mode="stretch_width", styles={"flex": f"1 1 {LEAST_WIDTH}px"})


def slot(ds: xr.Dataset, cell: dict[str, Any]) -> str:
    """Name the slot of a cell or group."""
    if "row" in cell:
        return f"cell/{cell['row'] * ds.sizes['col'] + cell['col']}"
    return "/".join(str(part) for item in cell.items() for part in item)


async def picture(followed: Followed, slot: str | None = None) -> Markup:
    """Draw samples of a mixture, as of the last checkpoint, or say what is lacking.

    It is done in a thread: torch takes seconds to load, and others watch meanwhile.

    Parameters
    ----------
    followed : Followed
    slot : str, optional
        Whose mixture; the best by default.
    """
    try:
        found = followed.run.store.checkpoints.last()
        if found is None:
            raise StoreError("samples come with the first checkpoint")
        folder, told = found
        whose = told["best"] if slot is None else slot
        if whose is None:
            raise StoreError("no mixture was scored before the last checkpoint")
        made = await asyncio.to_thread(drawn, followed.path, folder.name, whose)
    except (StoreError, OSError, ValueError) as error:
        return Markup('<p class="faint">{}</p>').format(error)
    shown = Markup('<img alt="samples" src="data:image/png;base64,{}">').format(made)
    round = int(folder.name.removeprefix("round-"))
    return shown + Markup('<p class="faint">of the mixture after round {}</p>').format(round)


@functools.lru_cache(REMEMBERED)
def drawn(path: Path, checkpoint: str, slot: str) -> str:
    """Draw samples of a slot's mixture as of a checkpoint, as a picture in base64."""
    run = Run(path)
    count = POINTS if len(run.store.description["facts"]["sample_shape"]) == 1 else IMAGES
    return pictures.png_text(run.mixture(slot).sample(count, seed=0), COLUMNS)
