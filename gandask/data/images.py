"""Decode image files as a person sees them: upright, on white, at one size."""

from __future__ import annotations

import io
import logging
import struct
import tokenize
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from gandask.core import Array, DataError, SettingError
from gandask.data.listing import Listing, parts_of
from gandask.display import printable

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
Block = tuple[Array, Array]  # samples, and as many labels

UNEQUAL = 64  # pixels a side, where sizes differ and none is asked for
UNREADABLE = (  # what decoders raise for damaged files
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, RuntimeError, AssertionError),
    *(struct.error, zlib.error, zipfile.BadZipFile, tokenize.TokenError),
)
_GREY, _COLOUR = {"1", "L", "LA"}, {"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
_TURNS = {  # what a camera wrote down, and Pillow's word for what to do about it
    **{2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"},
    **{6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90"},
}
_PARTS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
_TOLD, _LONGEST = 8, 40  # names in one line, and characters of one

logger = logging.getLogger("gandask")


def decode_images(
    where: str, listing: Listing, image_size: int | None, skip: bool
) -> Iterator[Block | None]:
    """Decode image files, in colour if one of them is, and tell what was found.

    Parameters
    ----------
    where : str
        Their folder or zip file, for messages.
    listing : Listing
    image_size : int, optional
        Side of the square that they are cropped and resized to.
    skip : bool
        Whether to pass over those that cannot be read.

    Yields
    ------
    samples and labels, or None
        One by one; None stands for one that was passed over.

    Raises
    ------
    DataError
        For one that cannot be read, or if none is left.
    """
    from PIL import ImageOps

    looks = {found for found in _each(where, listing, skip, _look) if found}
    mode = "L" if all(found in _GREY for found, _ in looks) else "RGB"
    extents = {extent for _, extent in looks}
    size = image_size or (UNEQUAL if len(extents) > 1 else None)

    def pixels(image: Image.Image) -> Array:
        if _look(image) not in looks:
            raise ValueError("it changed while it was read")
        image = _on_white(_upright(image)).convert(mode)
        plane = np.asarray(ImageOps.fit(image, (size, size)) if size else image)
        return plane[None, None] if mode == "L" else plane.transpose(2, 0, 1)[None]

    classes = classes_of(listing.names)
    labels = {name: label for label, name in enumerate(sorted(set(classes)))}
    counts, kind = Counter[str](), ""
    for decoded, name in zip(_each(where, listing, skip, pixels), classes, strict=True):
        if decoded is None:
            yield None
            continue
        counts[name] += 1
        kind = f"of shape {decoded.shape[1:]}"
        yield decoded, np.array([labels[name]])
    kind += ", cropped from unequal sizes" if len(extents) > 1 else ""
    unreadable = Counter(unreadable=len(classes) - counts.total())
    _tell(printable(where), counts, kind, +(listing.left_out + unreadable))


def _tell(where: str, counts: Counter[str], kind: str, left_out: Counter[str]) -> None:
    """Tell in one line what was found, by class, and what was left out; refuse if that is all."""
    reasons = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    others = _listed(f"{number} {printable(reason[:_LONGEST])}" for reason, number in reasons)
    besides = f"; left out: {others}" if left_out else ""
    if not counts:
        raise DataError(
            f"{where}: expected images, found none that can be read{besides}; check the path"
        )
    images = f"{counts.total()} image{'s' * (counts.total() != 1)}"
    names = sorted(counts)
    each = _listed(f"{printable(name[:_LONGEST]) or 'none'}: {counts[name]}" for name in names)
    classes = f"{len(counts)} classes ({each})" if len(counts) > 1 else "without classes"
    # a warning, so that it is seen wherever no logging is set up, in notebooks too: whether that
    # is what lies there, only a person knows
    logger.warning("%s: found %s %s, %s%s", where, images, kind, classes, besides)


def classes_of(names: Iterable[str]) -> list[str]:
    """Name the class of each image: the folder that holds it.

    Where all of these have the same name, it is the folder above, unless the folders above are
    parts of a data set, such as train and test.

    Examples
    --------
    >>> classes_of(["train/cat/1.png", "train/dog/1.png", "test/dog/2.png"])
    ['cat', 'dog', 'dog']
    >>> classes_of(["cat/images/1.png", "dog/images/1.png"])
    ['cat', 'dog']
    >>> classes_of(["train/images/1.png", "val/images/1.png"])
    ['images', 'images']
    """
    folders = [parts_of(name).parent for name in names]
    while len({folder.name for folder in folders}) == 1 and len(set(folders)) > 1:
        above = [folder.parent for folder in folders]
        if {folder.name.lower() for folder in above} <= _PARTS:
            break
        folders = above
    return [folder.name for folder in folders]


def _each(
    where: str, listing: Listing, skip: bool, form: Callable[[Image.Image], T]
) -> Iterator[T | None]:
    """Open each image in turn for what is to be made of it; None where that cannot be."""
    from PIL import Image, UnidentifiedImageError

    for name in listing.names:
        try:
            with Image.open(io.BytesIO(listing.read(name))) as image:
                made = form(image)
        except (*UNREADABLE, Image.DecompressionBombError) as error:
            if not skip:
                unknown = isinstance(error, UnidentifiedImageError)
                reason = "its format is unknown" if unknown else error
                raise DataError(
                    f"{printable(where)}: cannot read the image {printable(name)} ({reason}); "
                    "replace or remove it, or go on without it: skip_unreadable=True"
                ) from error
            yield None
        else:
            yield made


def _look(image: Image.Image) -> tuple[str, tuple[int, int]]:
    """Give an image's mode, and the size that it has when it is upright."""
    if image.format == "EPS":
        raise ValueError("it is PostScript, which another program would have to carry out")
    if image.mode not in _GREY | _COLOUR:
        raise ValueError(f"its pixels are {image.mode}, expected 8 bits a channel")
    lying = _orientation(image) >= 5
    return image.mode, image.size[::-1] if lying else image.size


def _orientation(image: Image.Image) -> int:
    """Give the orientation that a camera wrote down: upright is 1, on its side 5 and more."""
    if image.format == "TIFF":
        image.load()  # which turns it
        return 1
    try:
        found = image.getexif().get(0x0112)
    except UNREADABLE:
        return 1
    return found if found in _TURNS else 1


def _upright(image: Image.Image) -> Image.Image:
    from PIL import Image

    orientation = _orientation(image)
    if orientation == 1:
        return image
    return image.transpose(Image.Transpose[_TURNS[orientation]])


def _on_white(image: Image.Image) -> Image.Image:
    """Lay an image on white where it can be seen through: below may be any colours."""
    from PIL import Image

    if image.mode not in ("LA", "PA", "RGBA") and "transparency" not in image.info:
        return image
    seen = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)


def _listed(names: Iterable[str]) -> str:
    """Write down names, as many as one line holds."""
    every = list(names)
    more = [f"{len(every) - _TOLD} more"] if len(every) > _TOLD else []
    return ", ".join(every[:_TOLD] + more)


def resized(samples: Array, image_size: int | None) -> Array:
    """Crop images (N, C, H, W) to their central square, of `image_size` pixels a side."""
    if image_size is None or samples.shape[2:] == (image_size, image_size):
        return samples
    if samples.ndim != 4:
        kind = "points" if samples.ndim == 2 else "sequences"
        raise SettingError(f"image_size: expected None for {kind}, got {image_size}; leave it out")
    from PIL import Image, ImageOps

    resized = np.empty((*samples.shape[:2], image_size, image_size), dtype=np.uint8)
    for index in np.ndindex(samples.shape[:2]):
        plane = Image.fromarray(np.asarray(samples[index]))
        resized[index] = np.asarray(ImageOps.fit(plane, (image_size, image_size)))
    return resized
