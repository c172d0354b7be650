"""The film of a run: what every slot showed, a frame for each round."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.palettes import Cividis256
from PIL import Image

from gandask import results
from gandask.core import Array, Layout, Role, SettingError, StoreError
from gandask.data import Bands, Plane
from gandask.plots import mosaic, number
from gandask.plots.maps import ends
from gandask.plots.selection import floating
from gandask.plots.style import logarithmic

if TYPE_CHECKING:
    import xarray as xr

    from gandask.plots.mosaic import Scene, Spot
    from gandask.store.shown import Shown

NOTHING = (
    "no slot has shown samples: a stored run keeps some of every round that is scored, unless "
    "shown_samples=0; gandask sample draws from its last checkpoint"
)
FRAMES = {".gif": 48, ".webp": 60, ".mp4": 120}
"""Of a film, at most: of a longer run, rounds are left out, that it is of few megabytes."""
SECONDS, STILL = 10.0, 2.0  # that a film takes, and that its last frame stays
RATE = 12.0  # frames a second, at most
COLOURS = 48  # of a GIF


class Film:
    """What a run has shown, round by round.

    Parameters
    ----------
    ds : Dataset
        Of the run.
    layout : Layout
    shown : Shown
        What its slots have shown.

    Raises
    ------
    StoreError
        If they have shown nothing yet.
    """

    def __init__(self, ds: xr.Dataset, layout: Layout, shown: Shown) -> None:
        self.ds, self.shown = ds, shown
        known = [role for role in layout.roles.values() if shown.slots(role.slots)]
        if not known:
            raise StoreError(NOTHING)
        self.role = known[0]
        self.places, self.size = _places(self.role, layout)
        self.slots = shown.slots(self.role.slots)
        self.real = shown.real()
        self.plane, self.bands = Plane.of(ds.attrs), Bands.of(ds.attrs)
        self.score = _of_units(ds, str(ds.attrs.get("score", "")), self.role)
        self.origin, self.accepted = (self._over_slots(how) for how in ("origin", "accepted"))

    @property
    def rounds(self) -> list[int]:
        """Rounds of which anything was shown."""
        return sorted({round for slot in self.slots for round in self.shown.rounds(slot)})

    def scene(self, round: int) -> Scene:
        """Give what there is to see after a round."""
        samples = {self.places[slot]: self.samples(slot, round) for slot in self.slots}
        return mosaic.Scene(
            {place: one for place, one in samples.items() if one is not None},
            self._colours(round),
            self.size,
            self._title(round),
            self.real,
            self._arrows(round),
            wraps=self.origin is not None,
            done=min(1.0, round / max(1, self.ds.sizes["round"])),
            plane=self.plane,
            bands=self.bands,
        )

    def samples(self, slot: str, round: int) -> Array | None:
        """Give what a slot's generator of a round showed, if it had shown anything.

        What was made and not accepted is passed over.
        """
        if self.accepted is None:
            return self.shown.at(slot, round)
        own = self.accepted[:, self.role.slots.index(slot)]
        return self.shown.at(
            slot, round, lambda now: now == 0 or (now <= len(own) and own[now - 1])
        )

    def frame(self, round: int, width: int = 640, dark: bool = False) -> Image.Image:
        """Draw what there is to see after a round; see `gandask.plots.mosaic.draw`."""
        return mosaic.draw(self.scene(round), width, dark)

    def write(self, path: str | os.PathLike[str], width: int = 480) -> Path:
        """Write the film.

        Parameters
        ----------
        path : path-like
            Its ending says which kind: ``.gif``, ``.webp`` or ``.mp4``.
        width : int
            Of a frame, in pixels.

        Raises
        ------
        SettingError
            For another ending, or one that needs a package that is not there.
        """
        target = Path(path)
        ending = target.suffix.lower()
        write = WRITERS.get(ending)
        if write is None:
            raise SettingError(f"{target}: expected a name that ends in {', '.join(WRITERS)}")
        rounds = self.rounds
        if len(rounds) > FRAMES[ending]:
            places = np.linspace(0, len(rounds) - 1, FRAMES[ending]).round().astype(int)
            rounds = [rounds[place] for place in places]
        rate = min(RATE, max(1.0, len(rounds) / SECONDS))
        write(target, (self.frame(round, width) for round in rounds), rate)
        return target

    def _title(self, round: int) -> str:
        told = f"round {round}"
        if self.score is None or round not in self.score["round"]:
            return told
        found = results.place_of_best(self.score.sel(round=round))
        if found is None:
            return told
        value = float(self.score.sel(round=round).sel(found))
        return f"{told} · best {self.score.attrs['long_name']}: {number(value)}"

    def _colours(self, round: int) -> Mapping[Spot, str]:
        """Colour borders by score, on the scale of the whole run, as its map is."""
        if self.score is None or round not in self.score["round"]:
            return {}
        low, high = ends(self.score)
        values = floating(self.score.sel(round=round)).transpose(*self.role.unit).values
        if logarithmic(low, high):
            low, high, values = np.log(low), np.log(high), np.log(values)
        shares = (values - low) / (high - low)
        return {
            self.places[slot]: Cividis256[int(255 * np.clip(share, 0, 1))]
            for slot, share in zip(self.role.slots, shares.ravel(), strict=True)
            if np.isfinite(share)
        }

    def _arrows(self, round: int) -> list[tuple[Spot, Spot]]:
        """Say whose samples came from another unit in a round."""
        if self.origin is None or not 1 <= round <= len(self.origin):
            return []
        places = [*self.places.values()]
        new = [True] * len(places) if self.accepted is None else self.accepted[round - 1]
        return [
            (places[origin], places[own])
            for own, origin in enumerate(self.origin[round - 1].astype(int))
            if new[own] and 0 <= origin < len(places) and origin != own
        ]

    def _over_slots(self, how: str) -> Array | None:
        """Give the variable that is shown in some way, (rounds, slots), if there is one."""
        for values in self.ds.data_vars.values():
            shown = str(values.attrs.get("shown", "")).split()
            if how in shown and set(values.dims) == {"round", *self.role.unit}:
                found = values.transpose("round", *self.role.unit).values
                return np.asarray(found.reshape(len(found), -1))
        return None


def _places(role: Role, layout: Layout) -> tuple[dict[str, Spot], tuple[int, int]]:
    """Give every slot of a role its row and column, and how many there are of these."""
    if len(role.unit) == 2:
        rows, columns = (len(layout.coords[dim]) for dim in role.unit)
    else:
        columns = int(np.ceil(np.sqrt(len(role.slots))))
        rows = -(-len(role.slots) // columns)
    places = {slot: divmod(index, columns) for index, slot in enumerate(role.slots)}
    return places, (rows, columns)


def _of_units(ds: xr.Dataset, name: str, role: Role) -> Any:
    """Give a variable of every unit of a role in each round, if it is one."""
    if name not in ds or set(ds[name].dims) != {"round", *role.unit}:
        return None
    return ds[name]


# ---- kinds of files


def _write_gif(path: Path, frames: Iterator[Image.Image], rate: float) -> None:
    pictures = list(frames)
    palette = _palette(pictures)
    # few colours, the same in all: in noise, many would only take bytes
    fewer = [one.quantize(palette=palette, dither=Image.Dither.NONE) for one in pictures]
    _save(path, fewer, rate)


def _write_webp(path: Path, frames: Iterator[Image.Image], rate: float) -> None:
    _save(path, list(frames), rate, quality=60, method=4)


def _save(path: Path, pictures: list[Image.Image], rate: float, **options: Any) -> None:
    first, *others = pictures
    times = [round(1000 / rate)] * len(others) + [round(1000 * STILL)]
    first.save(path, save_all=True, append_images=others, duration=times, loop=0, **options)


def _palette(pictures: list[Image.Image]) -> Image.Image:
    """Choose the colours of a film: of its first frame, its last, one between, and of arrows."""
    chosen = [pictures[0], pictures[len(pictures) // 2], pictures[-1]]
    width, height = pictures[0].size
    made = Image.new("RGB", (width, 3 * height + height // 2), mosaic.ACCENT)
    for place, one in enumerate(chosen):
        made.paste(one, (0, place * height))
    return made.quantize(COLOURS)


def _write_mp4(path: Path, frames: Iterator[Image.Image], rate: float) -> None:
    try:
        from imageio_ffmpeg import write_frames
    except ImportError as error:
        raise SettingError(
            f"{path}: .mp4 needs the package imageio-ffmpeg: pip install 'gandask[film]', or "
            "choose .gif or .webp"
        ) from error
    pictures = list(frames)
    pictures += pictures[-1:] * round(STILL * rate)
    writer = write_frames(
        str(path), pictures[0].size, fps=rate, macro_block_size=2, output_params=["-crf", "24"]
    )
    writer.send(None)
    for one in pictures:
        writer.send(np.asarray(one).tobytes())
    writer.close()


WRITERS = {".gif": _write_gif, ".webp": _write_webp, ".mp4": _write_mp4}
