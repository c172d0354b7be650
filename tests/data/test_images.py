"""Images of folders and zip files: each once, as a person sees it; and what is told of them."""

import io
import os
import socket
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gandask as gd
from gandask import data
from gandask.core import DataError, SettingError
from gandask.data import cache as caching
from gandask.data import listing

pytestmark = pytest.mark.usefixtures("own_cache")
TURN = Image.Transpose


@pytest.fixture
def told(caplog, said):
    """Load a data set, and give it with the line that was told, without the path."""

    def loading(root: Path, **options: object) -> tuple[data.Data, str]:
        caplog.clear()
        loaded = data.load(root, **options)
        assert len(said()) <= 1
        return loaded, "".join(said()).removeprefix(f"{root.resolve()}: ")

    return loading


def png(level: int = 0, side: int = 4) -> bytes:
    """Give the bytes of a small grey image; each level is another."""
    file = io.BytesIO()
    Image.fromarray(np.full((side, side), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


def lay(root: Path, *names: str) -> Path:
    """Write an image of its own level for each name that is one, and text for the others."""
    for level, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(level) if Path(name).suffix == ".png" else b"text")
    return root


def levels(loaded: data.Data) -> list[int]:
    return [int(level) for level in loaded.samples[:, 0, 0, 0]]


# --- As a person sees them ------------------------------------------------------------------------

LAID_DOWN = {2: TURN.FLIP_LEFT_RIGHT, 3: TURN.ROTATE_180, 4: TURN.FLIP_TOP_BOTTOM} | {
    **{5: TURN.TRANSPOSE, 6: TURN.ROTATE_90, 7: TURN.TRANSVERSE, 8: TURN.ROTATE_270}
}
"""How a camera stores a picture that it says is of this orientation."""


@pytest.mark.parametrize("image_size", [None, 16])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_photographs_stand_upright(suffix, image_size, tmp_path):
    blocks = np.kron([[0, 1], [1, 1], [0, 0]], np.ones((8, 8))) * 255
    upright = Image.fromarray(blocks.astype(np.uint8)).convert("RGB")
    upright.save(tmp_path / f"1.{suffix}", quality=100, lossless=True)
    for orientation, turn in LAID_DOWN.items():
        tag = Image.Exif()
        tag[0x0112] = orientation
        file = tmp_path / f"{orientation}.{suffix}"
        upright.transpose(turn).save(file, exif=tag, quality=100, lossless=True)
    loaded = data.load(tmp_path, image_size=image_size)
    assert (loaded.shape, len(loaded)) == ((3, 16, 16) if image_size else (3, 24, 16), 8)
    for sample in loaded.samples:
        assert np.abs(sample.astype(int) - loaded.samples[0]).max() < 8
    if not image_size:
        assert np.abs(loaded.samples[0, 0] - blocks).max() < 8


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("damaged", [b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0"])
def test_a_damaged_note_of_the_camera_turns_nothing(damaged, tmp_path):
    Image.new("RGB", (6, 4)).save(tmp_path / "1.jpg", exif=damaged)
    assert data.load(tmp_path).shape == (3, 4, 6)


def see_through(mode: str) -> Image.Image:
    """Make an image with a grey square in the middle, on other colours that are not to be seen."""
    content = np.zeros((12, 12, 4), np.uint8)
    content[..., :3] = np.random.default_rng(0).integers(0, 200, (12, 12, 1))
    content[4:8, 4:8] = (90, 90, 90, 255)
    return Image.fromarray(content).convert(mode)


def keyed(mode: str) -> Image.Image:
    """Make one whose colour 0 stands for nothing."""
    grey = Image.new("P" if mode == "P" else "L", (12, 12), 0)
    if mode == "P":
        grey.putpalette([255, 0, 255, 90, 90, 90])
    grey.paste(1 if mode == "P" else 90, (4, 4, 8, 8))
    return grey if mode == "P" else grey.convert(mode)


@pytest.mark.parametrize(
    ("image", "file", "options", "channels"),
    [
        (see_through("RGBA"), "1.png", {}, 3),
        (see_through("RGBA"), "1.webp", {"lossless": True, "exact": True}, 3),
        (see_through("RGBA"), "1.tif", {}, 3),
        (see_through("LA"), "1.png", {}, 1),
        (keyed("P"), "1.gif", {"transparency": 0}, 3),
        (keyed("P"), "1.png", {"transparency": 0}, 3),
        (keyed("P"), "1.png", {"transparency": b"\0\xff"}, 3),
        (keyed("L"), "1.png", {"transparency": 0}, 1),
        (keyed("RGB"), "1.png", {"transparency": (0, 0, 0)}, 3),
    ],
)
def test_what_is_seen_through_lies_on_white(image, file, options, channels, tmp_path):
    image.save(tmp_path / file, **options)
    expected = np.full((1, channels, 12, 12), 255)
    expected[..., 4:8, 4:8] = 90
    np.testing.assert_array_equal(data.load(tmp_path).samples, expected)


def test_half_of_a_colour_is_half_of_white(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "1.png")
    assert set(data.load(tmp_path, image_size=4).samples.ravel()) == {127}


def test_one_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    lay(tmp_path, "1.png")
    sizes, opening = iter([4, 6]), Path.open

    def opened(path, *mode):
        image = path.suffix == ".png"
        return io.BytesIO(png(side=next(sizes))) if image else opening(path, *mode)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(DataError, match="changed while it was read"):
        data.load(tmp_path)


def test_deep_pixels_are_left_out_too(tmp_path, told):
    lay(tmp_path / "set", "1.png")
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(tmp_path / "set" / "2.png")
    with pytest.warns(UserWarning, match="without 1 unreadable"):
        loaded, line = told(tmp_path / "set", skip_unreadable=True)
    assert (len(loaded), line[-12:]) == (1, "1 unreadable")


def test_nothing_is_handed_to_another_program(tmp_path, monkeypatch):
    Image.new("RGB", (6, 4)).save(tmp_path / "1.eps")
    (tmp_path / "1.eps").rename(tmp_path / "1.png")
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_: pytest.fail("it was"))
    with pytest.raises(DataError, match="PostScript"):
        data.load(tmp_path)


# --- What is found in folders ---------------------------------------------------------------------


def test_one_line_tells_what_was_found_and_only_once(tmp_path, told):
    names = ["dog/1.png", "cat/2.png", "cat/3.png", "cat/.4.png", ".git/5.png"]
    lay(tmp_path / "pets", *names, "cat/5.heic", "dog/6.HEIC", "readme.txt", "LICENSE")
    (tmp_path / "pets" / "dog" / "7.png").write_bytes(b"junk")
    with pytest.warns(UserWarning, match="without 1 unreadable"):
        _, line = told(tmp_path / "pets", skip_unreadable=True)
    assert line == (
        "found 3 images of shape (1, 4, 4), 2 classes (cat: 2, dog: 1); left out: 2 .heic, "
        "2 hidden, 1 .txt, 1 unreadable, 1 without a suffix"
    )
    data.load.cache_clear()
    with pytest.warns(UserWarning, match="without 1 unreadable"):
        assert told(tmp_path / "pets", skip_unreadable=True)[1] == ""


def test_what_is_told_has_an_end(tmp_path, told):
    lay(tmp_path / "set", *(f"{'x' * 99}{name}/1.png" for name in "abc"))
    assert told(tmp_path / "set")[1].count("x") == 3 * 40
    lay(tmp_path / "many", *(f"{name}/1.png" for name in range(20)))
    assert told(tmp_path / "many")[1].endswith(", 14: 1, 15: 1, 12 more)")


def test_unequal_sizes_are_told(tmp_path, told):
    lay(tmp_path / "set", "1.png")
    (tmp_path / "set" / "2.png").write_bytes(png(side=9))
    line = "found 2 images of shape (1, 64, 64), cropped from unequal sizes, without classes"
    assert told(tmp_path / "set")[1] == line


def test_none_found_tells_what_there_was(tmp_path):
    with pytest.raises(DataError, match=r"found none that can be read; left out: 2 \.heic; check"):
        data.load(lay(tmp_path / "set", "1.heic", "2.heic"))


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["cat/images/1.png", "dog/images/2.png"], "2 classes (cat: 1, dog: 1)"),
        (["a/cat/x/images/1.png", "a/dog/x/images/2.png"], "2 classes (cat: 1, dog: 1)"),
        (["train/cat/img/1.png", "test/dog/img/2.png"], "2 classes (cat: 1, dog: 1)"),
        (["train/images/1.png", "Val/images/2.png"], "without classes"),
        (["train/cat/1.png", "test/cat/2.png"], "without classes"),
        (["cat/images/1.png"], "without classes"),
        (["cat/1.png", "dog/images/2.png", "3.png"], "3 classes (none: 1, cat: 1, images: 1)"),
        (["cat\\1.png", "dog\\2.png"], "2 classes (cat: 1, dog: 1)"),  # unpacked without care
    ],
)
def test_folders_of_one_name_are_no_class(names, line, tmp_path, told):
    loaded, found = told(lay(tmp_path / "set", *names))
    assert found.endswith(f", {line}")
    assert loaded.classes == max(1, line.count(": 1"))


def test_links_multiply_nothing(tmp_path, told):
    root = lay(tmp_path / "above" / "set", "b/1.png", "b/2.png", "c/3.png")
    lay(tmp_path / "above", "4.png")
    lay(tmp_path / "pool", "5.png", "6.png")
    (root / "b" / "up").symlink_to(root)  # to what holds it
    (root / "c" / "high").symlink_to(tmp_path / "above")  # to what holds the data set
    (root / "c" / "here").symlink_to(".")
    (root / "b" / "round").symlink_to("../c/about")  # each leads to the other
    (root / "c" / "about").symlink_to("../b/round")
    (root / "a").symlink_to("b")  # comes first, but only b is a folder of its own
    (root / "a.png").symlink_to("b/1.png")
    (root / "d").symlink_to(tmp_path / "pool")  # elsewhere
    (root / "e").symlink_to(tmp_path / "pool")
    (root / "c" / "twice.png").hardlink_to(root / "b" / "2.png")
    loaded, line = told(root)
    assert line.endswith(
        "5 images of shape (1, 4, 4), 3 classes (b: 2, c: 1, d: 2); left out: 7 repeated by links, "
        "2 without a suffix"
    )
    assert (levels(loaded), loaded.labels.tolist()) == ([0, 1, 2, 0, 1], [0, 0, 1, 2, 2])


@pytest.mark.parametrize("numbers", [lambda inode: 0, lambda inode: inode % 2 + 1])
def test_files_count_each_where_a_mount_numbers_them_alike(tmp_path, monkeypatch, numbers):
    root = lay(tmp_path / "set", "b/1.png", "b/2.png", "b/3.png", "c/4.png")
    (root / "b" / "up").symlink_to(root)
    (root / "a").symlink_to("b")
    (root / "a.png").symlink_to("b/1.png")
    for name in ("stat", "lstat"):
        look = getattr(Path, name)

        def told(path, look=look, **how):
            found = [*look(path, **how)]
            kind = stat.S_ISDIR(found[stat.ST_MODE])
            alike = found[stat.ST_INO] if kind and numbers(2) else numbers(found[stat.ST_INO])
            found[stat.ST_INO] = alike
            return os.stat_result(found)

        monkeypatch.setattr(Path, name, told)
    found, left_out = listing._walk(root)
    assert sorted(found) == ["b/1.png", "b/2.png", "b/3.png", "c/4.png"]
    assert left_out == {listing.LINKED: 3}


def test_a_link_that_leads_nowhere_cannot_be_read(tmp_path):
    lay(tmp_path / "set", "1.png")
    (tmp_path / "set" / "2.png").symlink_to("gone.png")
    (tmp_path / "set" / "3.png").symlink_to("3.png")
    with pytest.raises(DataError, match=r"cannot read the image 2\.png"):
        data.load(tmp_path / "set")
    with pytest.warns(UserWarning, match="without 2 unreadable"):
        assert len(data.load(tmp_path / "set", skip_unreadable=True)) == 1


def test_what_never_ends_is_not_read(tmp_path, told, monkeypatch):
    root = lay(tmp_path / "set", "1.png")
    os.mkfifo(root / "2.png")
    (root / "3.png").symlink_to("/dev/zero")
    monkeypatch.chdir(root)  # for the names of sockets are short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("4.png")
        assert told(root)[1].endswith("left out: 3 special (pipes, devices, sockets)")
    with pytest.raises(DataError, match="expected a folder"):
        data.load(root / "2.png")


def test_what_goes_while_it_is_listed_is_left_out(tmp_path, monkeypatch):
    root = lay(tmp_path / "set", "1.png", "2.png", "3.png")
    hidden = listing._hidden

    def looked_at(name):
        (root / "2.png").unlink(missing_ok=True)
        return hidden(name)

    monkeypatch.setattr(listing, "_hidden", looked_at)
    found, left_out = listing._walk(root)
    assert found.keys() | left_out.keys() == {"1.png", "3.png", listing.GONE}
    with pytest.raises(DataError, match=r"cannot list .*none: No such file"):
        listing._walk(tmp_path / "none")


def test_a_folder_that_may_not_be_listed_is_named(tmp_path, monkeypatch):
    lay(tmp_path / "set", "1.png", "inner/2.png")

    def scan(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(DataError, match=r"cannot list .*set: Permission denied"):
        data.load(tmp_path / "set")


# --- What is found in zip files -------------------------------------------------------------------


def packed(path: Path, *entries: tuple[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_as_others_write_them(tmp_path, told):
    link = zipfile.ZipInfo("train/cat/link.png")
    link.external_attr = 0o120777 << 16
    entries = [
        ("train\\", b""),
        ("train\\cat\\", b""),
        ("train\\cat\\2.png", png(1)),  # replaced below
        ("train\\cat\\._2.png", b"junk"),
        ("train\\dog\\1.png", png(2)),
        ("train/dog/1.png", png(3)),  # the same, by another program
        ("./train/cat/0.png", png(4)),
        ("test\\cat\\9.png", png(5)),
        ("train\\cat\\2.png", png(6)),
        ("train/x.png/", b""),
        (link, b"../dog/1.png"),
    ]
    archive = packed(tmp_path / "set.ZIP", *entries)
    loaded, line = told(archive)
    assert (levels(loaded), loaded.labels.tolist()) == ([5, 4, 6, 3], [0, 0, 0, 1])
    assert line == (
        "found 4 images of shape (1, 4, 4), 2 classes (cat: 3, dog: 1); left out: "
        "2 replaced by later entries, 1 hidden, 1 repeated by links"
    )
    inner = data.load(archive / "train" / "cat")
    assert (levels(inner), inner.classes) == ([4, 6], 1)


@pytest.mark.parametrize("where", ["folder", "zip"])
def test_what_is_too_large_is_refused(where, tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "LARGEST", 10_000)
    large = png() + bytes(20_000)
    root = lay(tmp_path / "set", "1.png")
    (root / "1.png").write_bytes(large)
    if where == "zip":
        root = packed(tmp_path / "set.zip", ("1.png", large))
    with pytest.raises(DataError, match=r"1\.png \(it holds more than 0 GiB"):
        data.load(root)


def test_pillow_refuses_what_grows_too_large(tmp_path, monkeypatch):
    lay(tmp_path / "set", "1.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    with pytest.raises(DataError, match=r"1\.png .*decompression bomb"):
        data.load(tmp_path / "set")


def test_a_zip_that_lies_about_its_entries_is_refused(tmp_path):
    archive = packed(tmp_path / "set.zip", ("1.png", png() + bytes(100_000)))
    content = archive.read_bytes()
    true = (len(png()) + 100_000).to_bytes(4, "little")
    assert content.count(true) == 2
    archive.write_bytes(content.replace(true, (100).to_bytes(4, "little")))
    with pytest.raises(DataError, match=r"cannot read the image 1\.png"):
        data.load(archive)


# --- Names, and what is kept ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [b"gr\xfcn", "日本語".encode(), b"x" * 255, b"new\nline", b"\x1b[31mred", b"..a", b"a b.zip"],
)
def test_folders_may_have_any_name(name, tmp_path, told):
    root = tmp_path / os.fsdecode(name)
    lay(root, "1.png")
    (root / os.fsdecode(b"a" + name[:99] + b".png")).write_bytes(png(9))
    (root / os.fsdecode(b"a\xff")).mkdir()
    (root / os.fsdecode(b"a\xff") / "1.png").write_bytes(b"junk")
    with pytest.warns(UserWarning, match="without 1 unreadable"):
        loaded, line = told(root, skip_unreadable=True)
    assert len(loaded) == 2
    assert line.isprintable()
    data.load.cache_clear()
    with pytest.raises(DataError) as caught:
        data.load(root)
    assert str(caught.value).isprintable()
    assert r"a\udcff/1.png" in str(caught.value)


def test_names_that_are_no_text_are_no_setting(tmp_path):
    for key in ("data", "data_dir", "init"):
        with pytest.raises(SettingError, match=rf"{key}='.*\\udcfc': .* no UTF-8.*rename"):
            gd.Grid(**{key: str(tmp_path) + "/gr\udcfc"})


def test_what_another_decoder_kept_is_not_read(tmp_path, monkeypatch, told):
    root = lay(tmp_path / "set", "1.png")
    assert told(root)[1]
    for version, tells in ((caching.FORMAT, False), (caching.FORMAT + 1, True)):
        monkeypatch.setattr(caching, "FORMAT", version)
        data.load.cache_clear()
        assert bool(told(root)[1]) == tells
