"""The card of what every unit shows: one picture, whose cells can be clicked."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable

import panel as pn
import param
from PIL import Image

from gandask.core import Array, StoreError
from gandask.pages.frame import card, dark
from gandask.plots.mosaic import Frame, draw
from gandask.runs.film import Film
from gandask.runs.following import Followed

logger = logging.getLogger("gandask")

WIDTH = 640  # pixels
TITLE = "Samples of all, round by round"
FITTING = {
    "sizing_mode": "stretch_width",
    "max_width": WIDTH + 20,
    "styles": {"flex": "1 1 320px"},
}


class Picture(pn.custom.JSComponent):
    """A picture that tells where it was clicked."""

    source = param.Bytes(doc="The picture, as PNG.")
    told = param.String(doc="What it shows, for who cannot see it.")

    _esm = """
    export function render({model}) {
      const picture = document.createElement("img")
      picture.style = "max-width: 100%; cursor: pointer; display: block"
      const show = () => {
        const before = picture.src
        picture.src = URL.createObjectURL(new Blob([model.source], {type: "image/png"}))
        picture.alt = model.told
        if (before) URL.revokeObjectURL(before)
      }
      picture.addEventListener("click", (event) => {
        const box = picture.getBoundingClientRect()
        const across = (event.clientX - box.left) / box.width * picture.naturalWidth
        const down = (event.clientY - box.top) / box.height * picture.naturalHeight
        model.send_msg([across, down])
      })
      model.on(["source", "told"], show)
      show()
      return picture
    }
    """


class Mosaic:
    """What every unit shows at the round of the cursor.

    Parameters
    ----------
    chosen : callable
        Called with the slot whose samples were clicked.
    """

    def __init__(self, chosen: Callable[[str], None]) -> None:
        self.chosen = chosen
        self.film: Film | None = None
        self.round = 0
        self.drawn: tuple[Film, int] | None = None
        self.picture = Picture(sizing_mode="stretch_width")
        self.picture.on_msg(lambda event: self._clicked(*map(float, event.data)))
        self.view = card(TITLE, self.picture, visible=False, **FITTING)

    def show(self, followed: Followed) -> None:
        """Show a run, if its slots have shown anything."""
        try:
            self.film = Film(followed.ds, followed.run.layout, followed.run.shown)
        except StoreError as error:
            logger.debug("%s has no samples of every round", followed.path, exc_info=error)
            self.film = None
        self.view.visible = self.film is not None

    def draw(self, round: int) -> None:
        """Draw a round, unless that is what is drawn."""
        self.round = round
        if self.film is None or self.drawn == (self.film, round):
            return
        self.drawn = self.film, round
        scene = self.film.scene(round)
        told = f"samples of {len(scene.samples)} units, {scene.title}"
        self.picture.param.update(source=png(draw(scene, WIDTH, dark())), told=told)

    def samples(self, slot: str | None, round: int) -> tuple[Array, Array | None] | None:
        """Give what a slot showed last up to a round, and real samples, if there are any of it."""
        if self.film is None or slot not in self.film.slots:
            return None
        own = self.film.samples(slot, round)
        return None if own is None else (own, self.film.real)

    def _clicked(self, across: float, down: float) -> None:
        if self.film is None:
            return
        scene = self.film.scene(self.round)
        place = Frame.fitting(scene, WIDTH).at(scene, across, down)
        slot = next((slot for slot, at in self.film.places.items() if at == place), None)
        if slot is not None:
            self.chosen(slot)


def png(picture: Image.Image) -> bytes:
    """Give a picture as the bytes of a PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
