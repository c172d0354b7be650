"""Data sets: what `load` gives and refuses, its cache, and the shards."""

import gzip
import io
import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import pytest
import torch
from PIL import Image

import gandask as gd
from gandask import data
from gandask.core import Array, DataError, SettingError
from gandask.data import cache as caching
from gandask.data import loading
from gandask.data.cache import cache_dir

pytestmark = pytest.mark.usefixtures("own_cache")
SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_mnist = pytest.mark.skipif(
    not (SHARED / "MNIST" / "raw").is_dir(), reason=f"no MNIST in {SHARED}"
)


def pixels(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_images(folder: Path, names: list[str], shape: tuple[int, ...] = (6, 5, 3)) -> list[Array]:
    """Write one lossless image for each name, and give their pixels."""
    images = [pixels(*shape, seed=number) for number, _ in enumerate(names)]
    for name, image in zip(names, images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    return images


def entry(kept: Path) -> Path:
    """Find the one entry of the cache."""
    (folder,) = kept.iterdir()
    return folder


# --- Embedded sets --------------------------------------------------------------------------------


def test_digits() -> None:
    digits = data.load("digits")
    assert (digits.shape, len(digits), digits.classes) == ((1, 8, 8), 1797, 10)
    assert digits.samples.dtype == np.uint8
    assert digits.labels.dtype == np.int64
    assert digits.samples.min() == 0
    assert digits.samples.max() == 255
    assert digits.labels[:4].tolist() == [0, 1, 2, 3]
    assert digits.modes is None


@pytest.mark.parametrize(
    ("name", "count", "std", "corner"),
    [("ring8", 8, math.sqrt(0.02), (2, 0)), ("grid25", 25, 0.05, (-4, -4))],
)
def test_mixtures_lie_around_their_modes(
    name: str, count: int, std: float, corner: tuple[int, int]
) -> None:
    points = data.load(name)
    assert points.modes is not None
    assert points.mode_std == pytest.approx(std)
    assert points.modes.shape == (count, 2)
    assert points.classes == count
    np.testing.assert_allclose(points.modes[0], corner, atol=1e-12)
    assert points.samples.shape == (50_000, 2)
    assert points.samples.dtype == np.float32
    assert np.unique(points.labels).tolist() == list(range(count))
    away = points.samples - points.modes[points.labels]
    assert away.std() == pytest.approx(std, rel=0.02)
    assert abs(away.mean()) < 0.02 * std
    assert np.bincount(points.labels).min() > 0.8 * 50_000 / count


def test_grid_is_spaced_by_two() -> None:
    modes = data.load("grid25").modes
    assert modes is not None
    assert {tuple(mode) for mode in modes.tolist()} == {
        (x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)
    }


@pytest.mark.parametrize("name", ["digits", "ring8", "grid25", "sines"])
def test_embedded_sets_are_the_same_each_time(name: str, own_cache: Path) -> None:
    first = data.load(name)
    assert data.load(name) is first
    data.load.cache_clear()
    again = data.load(name)
    assert again.fingerprint == first.fingerprint
    np.testing.assert_array_equal(again.samples, first.samples)
    assert own_cache.exists() == (name == "digits")


def test_digits_are_read_once(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = data.load("digits")
    data.load.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    again = data.load("digits")
    np.testing.assert_array_equal(again.labels, first.labels)
    np.testing.assert_array_equal(again.samples, first.samples)


def test_embedded_sets_need_no_cache(own_cache: Path) -> None:
    own_cache.write_text("no folder")
    assert len(data.load("digits")) == 1797


def test_fingerprints_tell_sets_apart() -> None:
    small = data.load("digits", image_size=4)
    assert small.shape == (1, 4, 4)
    names = ("digits", "ring8", "grid25", "sines")
    assert len({small.fingerprint, *(data.load(name).fingerprint for name in names)}) == 5


# --- Batches --------------------------------------------------------------------------------------


def test_image_batches_are_scaled_exactly(tmp_path: Path) -> None:
    samples = np.arange(256, dtype=np.uint8).reshape(4, 1, 8, 8)
    np.save(tmp_path / "ramp.npy", samples)
    indices = np.array([3, 0, 3])
    indices.setflags(write=False)  # as they come through Dask
    batch = data.load(str(tmp_path / "ramp.npy")).batch(indices).numpy()
    expected = samples[indices].astype(np.float32) * np.float32(2 / 255) - np.float32(1)
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(batch, expected)
    assert batch.min() == -1
    assert batch.max() == 1


def test_a_batch_is_a_copy() -> None:
    for name in ("digits", "ring8"):
        loaded = data.load(name)
        before = loaded.samples[:3].copy()
        loaded.batch(np.arange(3)).zero_()
        np.testing.assert_array_equal(loaded.samples[:3], before)


def test_point_batches_are_unchanged() -> None:
    ring = data.load("ring8")
    indices = np.array([5, 1])
    np.testing.assert_array_equal(ring.batch(indices).numpy(), ring.samples[indices])


@pytest.mark.parametrize(
    ("limit", "copied"), [(2**30, ["all", "indices", "indices"]), (100, ["batch", "batch"])]
)
def test_what_is_copied_to_a_gpu(monkeypatch, limit, copied) -> None:
    """torch's device without numbers stands for it: all samples go once, or the chosen ones do."""
    loaded, gpu, seen = data.load("digits"), torch.device("meta"), []
    kinds = {(1797, 1, 8, 8): "all", (5,): "indices", (5, 1, 8, 8): "batch"}
    to = torch.Tensor.to

    def spied(tensor, device):
        if tensor.device != torch.device(device):
            seen.append(kinds[tuple(tensor.shape)])
        return to(tensor, device)

    monkeypatch.setattr(loading, "_KEPT_ON_GPU", limit)
    monkeypatch.setattr(torch.Tensor, "to", spied)
    for _ in range(2):
        batch = loaded.batch(np.arange(5), gpu)
        assert (batch.device, batch.shape, batch.dtype) == (gpu, (5, 1, 8, 8), torch.float32)
    assert seen == copied


def test_batches_refuse_indices_outside() -> None:
    with pytest.raises(IndexError):
        data.load("digits").batch(np.array([1797]))


# --- Files of images ------------------------------------------------------------------------------


def test_a_folder_without_classes(tmp_path: Path) -> None:
    images = write_images(tmp_path / "set", ["b.png", "a.png"])
    loaded = data.load(str(tmp_path / "set"))
    assert (loaded.shape, loaded.classes) == ((3, 6, 5), 1)
    expected = np.stack(images[::-1]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(loaded.samples, expected)
    assert loaded.labels.tolist() == [0, 0]


def test_sub_folders_are_classes_and_grey_stays_grey(tmp_path: Path) -> None:
    names = ["train/cat/1.png", "train/dog/1.png", "test/cat/2.png", "train/cat/.hidden.png"]
    images = write_images(tmp_path / "set", names, shape=(4, 4))
    (tmp_path / "set" / "train" / "notes.txt").write_text("not an image")
    loaded = data.load("set", str(tmp_path))
    assert (loaded.shape, loaded.classes, loaded.labels.tolist()) == ((1, 4, 4), 2, [0, 0, 1])
    np.testing.assert_array_equal(loaded.samples[:, 0], np.stack([images[2], *images[:2]]))


def test_one_colour_image_makes_all_colour(tmp_path: Path) -> None:
    (grey,) = write_images(tmp_path, ["a.png"], shape=(4, 4))
    Image.fromarray(pixels(4, 4, 3)).save(tmp_path / "b.png")
    loaded = data.load(str(tmp_path))
    np.testing.assert_array_equal(loaded.samples[0], np.stack([grey] * 3))


def test_unequal_images_are_cropped_to_their_centre(tmp_path: Path) -> None:
    wide = np.zeros((80, 200, 3), dtype=np.uint8)
    wide[:, 60:140] = 200  # exactly the central square
    Image.fromarray(wide).save(tmp_path / "a.png")
    write_images(tmp_path, ["b.png"], shape=(70, 65, 3))
    loaded = data.load(str(tmp_path))
    assert loaded.shape == (3, 64, 64)
    assert loaded.samples[0].min() > 185  # but for the filter at the edges, no black
    assert data.load(str(tmp_path), image_size=16).shape == (3, 16, 16)


def test_a_zip_is_a_folder(tmp_path: Path) -> None:
    names = ["train/cat/1.png", "train/dog/1.png", "test/cat/2.png"]
    write_images(tmp_path / "set", names)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in names:
            archive.write(tmp_path / "set" / name, name)
        archive.writestr("__MACOSX/train/cat/._1.png", b"junk")
        archive.writestr("__MACOSX/train/cat/1.png", b"junk")
        archive.writestr("readme.txt", b"text")
    for part in ("", "/train"):
        folder = data.load(str(tmp_path / "set") + part)
        packed = data.load(str(tmp_path / "set.zip") + part)
        assert len(packed) == (2 if part else 3)
        assert packed.fingerprint == folder.fingerprint
        np.testing.assert_array_equal(packed.samples, folder.samples)
        np.testing.assert_array_equal(packed.labels, folder.labels)


def test_files_cut_short_at_any_point_are_refused(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        write_images(tmp_path / suffix, [f"1.{suffix}", f"2.{suffix}"], shape=(40, 40, 3))
        victim = tmp_path / suffix / f"2.{suffix}"
        whole = victim.read_bytes()
        for kept in (0, 10, len(whole) // 2, len(whole) * 9 // 10):
            victim.write_bytes(whole[:kept])
            with pytest.raises(DataError, match=rf"2\.{suffix} .*skip_unreadable=True"):
                data.load(str(tmp_path / suffix))


def test_skip_unreadable_goes_on_without_them_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    images = write_images(folder, ["a/1.png", "b/2.png", "c/3.png"], shape=(20, 20, 3))
    (folder / "b" / "2.png").write_bytes((folder / "b" / "2.png").read_bytes()[:-200])
    (folder / "c" / "4.png").write_bytes(b"")
    for _ in range(2):  # decoded, then from the cache
        with pytest.warns(UserWarning, match="without 2 unreadable"):
            loaded = data.load(str(folder), skip_unreadable=True)
        np.testing.assert_array_equal(
            loaded.samples, np.stack(images)[[0, 2]].transpose(0, 3, 1, 2)
        )
        assert loaded.labels.tolist() == [0, 1]
        assert loaded.classes == 2
        data.load.cache_clear()
    with pytest.raises(DataError, match=r"c/4\.png \(its format is unknown\)"):
        data.load(str(folder))


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    with pytest.raises(DataError, match="expected images, found none"):
        data.load(str(folder))
    (folder / "1.png").write_bytes(b"junk")
    with pytest.raises(DataError, match="expected images, found none"):
        data.load(str(folder), skip_unreadable=True)
    (tmp_path / "set.zip").write_bytes(b"junk")
    with pytest.raises(DataError, match="expected a zip file"):
        data.load(str(tmp_path / "set.zip"))
    (tmp_path / "set.csv").write_text("1,2")
    with pytest.raises(DataError, match="convert it"):
        data.load(str(tmp_path / "set.csv"))


def test_deep_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 40_000, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png .*8 bits"):
        data.load(str(tmp_path))


# --- Files of arrays ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(7, 5, 4), (7, 1, 5, 4), (5000, 3, 2, 2)])
def test_npy_images(shape: tuple[int, ...], tmp_path: Path) -> None:
    samples = pixels(*shape)
    np.save(tmp_path / "set.npy", samples)
    loaded = data.load(str(tmp_path / "set.npy"))
    np.testing.assert_array_equal(loaded.samples.reshape(shape), samples)
    assert loaded.samples.ndim == 4
    assert loaded.classes == 1
    assert not loaded.labels.any()


def test_npy_points_become_float32(tmp_path: Path) -> None:
    points = np.random.default_rng(1).normal(size=(9, 2))
    np.save(tmp_path / "set.npy", points)
    loaded = data.load(str(tmp_path / "set.npy"))
    np.testing.assert_array_equal(loaded.samples, points.astype(np.float32))
    assert loaded.shape == (2,)
    assert loaded.samples.dtype == np.float32


def test_npz_labels_are_renumbered(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", samples=pixels(3, 4, 4), labels=np.array([7, 3, 7]))
    np.savez(tmp_path / "bare.npz", samples=pixels(3, 4, 4))
    loaded = data.load(str(tmp_path / "set.npz"))
    assert loaded.labels.tolist() == [1, 0, 1]
    assert loaded.classes == 2
    assert data.load(str(tmp_path / "bare.npz")).classes == 1


@pytest.mark.parametrize(
    ("name", "arrays", "line"),
    [
        ("set.npz", {"samples": pixels(3, 4, 4), "y": np.arange(3)}, "left out y; of a .npz"),
        ("set.npz", {"samples": pixels(3, 4, 4), "labels": np.arange(3)}, ""),
        ("set.npy", pixels(3, 4, 4, 3), "images of 4 channels, 4 high and 3 wide; where"),
        ("set.npy", pixels(3, 3, 4, 4), ""),
        ("set.npy", np.zeros((3, 8, 8)), "sequences of 8 steps and 8 channels; where they are im"),
        ("set.npy", np.zeros((3, 8, 2)), ""),
        ("set.npy", pixels(3, 1, 1, 4), ""),
    ],
)
def test_what_only_a_person_knows_of_arrays_is_told(
    name: str, arrays: object, line: str, tmp_path: Path, said: Callable[[], list[str]]
) -> None:
    if isinstance(arrays, dict):
        np.savez(tmp_path / name, **arrays)
    else:
        np.save(tmp_path / name, arrays)
    data.load(tmp_path / name)
    assert line in "\n".join(said())
    assert bool(said()) == bool(line)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((0, 4, 4), dtype=np.float32),
        np.zeros((3, 4, 4), dtype=np.int64),
        np.zeros((3, 8, 8, 3), dtype=np.uint8),
        np.zeros((3, 5), dtype=np.float64),
        np.zeros((3, 2), dtype=np.int64),
        np.zeros((0, 4, 4), dtype=np.uint8),
        np.array([[0.0, np.nan]]),
        np.array([[0.0, 1e200]]),  # more than float32 holds
    ],
)
def test_arrays_of_another_form_are_refused(samples: Array, tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", samples)
    with pytest.raises(DataError, match=f"expected uint8 images.*got {samples.dtype} of shape"):
        data.load(str(tmp_path / "set.npy"))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_sequences_are_taken_as_they_are(kind: type, tmp_path: Path) -> None:
    made = np.linspace(-1, 1, 3 * 5 * 2).reshape(3, 5, 2).astype(kind)
    np.savez(tmp_path / "set.npz", samples=made, labels=np.arange(3))
    loaded = data.load(tmp_path / "set.npz")
    assert loaded.shape == (5, 2)
    assert loaded.classes == 3
    np.testing.assert_array_equal(
        loaded.batch(np.array([2, 0])).numpy(), made[[2, 0]].astype(np.float32)
    )


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros((3, 1, 4)), r"2 or more steps and C up to 64 channels; got shape \(3, 1, 4\)"),
        (np.zeros((3, 5, 65)), "up to 64 channels"),
        (np.full((3, 5, 2), 1.5), "0 that are not finite, and others of up to 1.5;.*scale"),
        (np.full((3, 5, 2), np.nan), "30 that are not finite, and others of up to 0; fill gaps"),
        (np.full((3, 5, 2), -np.inf), "30 that are not finite"),
    ],
)
def test_other_sequences_are_refused(samples: Array, said: str, tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", samples)
    with pytest.raises(DataError, match=said):
        data.load(tmp_path / "set.npy")


def test_sines_are_those_of_the_paper() -> None:
    waves = data.load("sines")
    assert waves.samples.shape == (5_000, 24, 2)
    assert np.unique(waves.labels).tolist() == [0, 1, 2, 3]
    assert 0.85 < np.abs(waves.samples).max() <= 0.9
    # most power is at the frequency that the label tells, which both channels share
    power = np.abs(np.fft.rfft(waves.samples, axis=1)) ** 2
    strongest = power.argmax(1)
    away = strongest - (waves.labels[:, None] + 1.5)
    assert (np.abs(away) <= 0.5).mean() > 0.95
    assert (strongest[:, 0] == strongest[:, 1]).mean() > 0.8


def test_bands_are_written_down_and_read() -> None:
    waves = data.load("sines").samples
    bands = data.Bands.around(waves)
    again = data.Bands.of(bands.facts)
    assert again is not None
    np.testing.assert_array_equal(again.lines, bands.lines)
    within = (waves >= bands.lines[0]) & (waves <= bands.lines[4])
    assert within.mean() == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"band_lines": [0.0] * 10},
        {"band_lines": [0.0] * 9, "band_channels": 1},
        {"band_lines": ["a"] * 10, "band_channels": 1},
        {"band_lines": [np.nan] * 10, "band_channels": 1},
        {"band_lines": [0.0] * 25, "band_channels": 5},
        {"band_lines": [], "band_channels": 0},
        {"band_lines": [0.0] * 10, "band_channels": -2},
        {"band_lines": [0.0] * 10, "band_channels": float("inf")},
    ],
)
def test_facts_of_no_bands_are_none(facts: dict[str, object]) -> None:
    assert data.Bands.of(facts) is None


def test_arrays_go_by_what_is_in_them(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", pixels(3, 4, 4))
    np.savez(tmp_path / "labelled.npz", samples=pixels(3, 4, 4), labels=np.arange(3))
    (tmp_path / "set.npy").rename(tmp_path / "set.NPZ")
    (tmp_path / "labelled.npz").rename(tmp_path / "labelled.npy")
    assert data.load(tmp_path / "set.NPZ").classes == 1
    assert data.load(tmp_path / "labelled.npy").classes == 3


def test_arrays_larger_than_memory_are_refused(tmp_path: Path) -> None:
    huge = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**50, 1, 1)}
    np.lib.format.write_array_header_1_0(huge, header)
    for name, claims in (("header", huge.tell()), ("entry", 2**50)):
        with zipfile.ZipFile(tmp_path / f"{name}.npz", "w") as packed:
            packed.writestr("samples.npy", huge.getvalue())
            packed.filelist[0].file_size = claims  # as the archive's directory has it
    with pytest.raises(DataError, match=r"header\.npz: expected a \.npy array.*allocate"):
        data.load(tmp_path / "header.npz")
    with pytest.raises(DataError, match=r"fit into memory.*unpacked they take 1048576\.0;.*\.npy"):
        data.load(tmp_path / "entry.npz")


def test_damaged_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}, {}]), allow_pickle=True)
    (tmp_path / "empty.npy").write_bytes(b"")
    (tmp_path / "header.npy").write_bytes(b"\x93NUMPY\1\0\4\0{'a'")
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.savez(tmp_path / "other.npz", images=pixels(3, 4, 4))
    for name in ("objects.npy", "empty.npy", "header.npy", "junk.npz", "other.npz"):
        with pytest.raises(DataError, match=f"{name}: expected"):
            data.load(str(tmp_path / name))
    for labels in (np.zeros(3), np.zeros(2, dtype=np.int64)):
        np.savez(tmp_path / "labels.npz", samples=pixels(3, 4, 4), labels=labels)
        with pytest.raises(DataError, match="expected integer `labels`"):
            data.load(str(tmp_path / "labels.npz"))


# --- Names and settings ---------------------------------------------------------------------------


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(SettingError, match="did you mean 'fashion_mnist'") as caught:
        data.load("fashion-mnist")
    assert all(name in str(caught.value) for name in data.NAMES)
    for name in ("", "no/such/folder", "no.zip/train"):
        with pytest.raises(SettingError, match="check the spelling or the path"):
            data.load(name)


def test_image_size_must_fit() -> None:
    with pytest.raises(SettingError, match="image_size: expected a positive"):
        data.load("digits", image_size=0)
    with pytest.raises(SettingError, match="expected None for points"):
        data.load("ring8", image_size=8)
    with pytest.raises(SettingError, match="expected None for sequences"):
        data.load("sines", image_size=8)


@pytest.mark.parametrize("name", [name for name in data.NAMES if name not in data.NAMES[:4]])
def test_missing_data_say_what_where_and_how(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name!r}: expected .* got no data_dir"):
        data.load(name)
    with pytest.raises(DataError, match=f"{name!r}: expected .* in {tmp_path}/.*put them there"):
        data.load(name, str(tmp_path))


def test_a_failed_download_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(DataError, match=r"download failed \(.*check the network"):
        data.load("mnist", str(tmp_path), download=True)
    with pytest.raises(DataError, match="no download exists"):
        data.load("lfw", str(tmp_path), download=True)


def test_image_sets_by_name_are_folders(tmp_path: Path) -> None:
    write_images(tmp_path / "lfw-py" / "lfw_funneled", ["Ann/1.png", "Bob/1.png"], (90, 80, 3))
    write_images(tmp_path / "celeba" / "img_align_celeba", ["1.png"], (90, 80, 3))
    lfw, celeba = (data.load(name, str(tmp_path)) for name in ("lfw", "celeba"))
    assert (lfw.shape, lfw.classes, celeba.classes) == ((3, 64, 64), 2, 1)
    assert data.load("celeba", str(tmp_path), image_size=32).shape == (3, 32, 32)


def write_mnist(folder: Path, name: str) -> tuple[Array, Array]:
    """Write a small MNIST in its own file format, under names such as ``"{}-idx{}-ubyte.gz"``."""
    folder.mkdir(parents=True)
    images, labels = pixels(20, 28, 28), np.arange(20, dtype=np.uint8) % 10
    for part, parted in (("train", (images, labels)), ("t10k", (255 - images[:10], labels[:10]))):
        for what, array in zip(("images", "labels"), parted, strict=True):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
            content = header + array.tobytes()
            file = folder / name.format(f"{part}-{what}", array.ndim)
            file.write_bytes(gzip.compress(content) if file.suffix == ".gz" else content)
    return images, labels


@pytest.mark.parametrize(
    "name", ["{}-idx{}-ubyte", "{}-idx{}-ubyte.gz", "{}.idx{}-ubyte", "{}.idx{}-ubyte.gz"]
)
def test_mnist_plain_or_packed_and_as_kaggle_names_it(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    images, labels = write_mnist(folder, name)
    if name.startswith("{}.idx"):  # which has folders of the other names beside its files
        (folder / "train-images-idx3-ubyte").mkdir()
    before = sorted(folder.iterdir())
    loaded = data.load("fashion_mnist", str(tmp_path))
    np.testing.assert_array_equal(loaded.samples[:, 0], images)
    np.testing.assert_array_equal(loaded.labels, labels)
    assert sorted(folder.iterdir()) == before
    assert data.load("fashion_mnist", str(tmp_path), image_size=32).shape == (1, 32, 32)
    tested = data.load("fashion_mnist", str(tmp_path), test=True)
    np.testing.assert_array_equal(tested.samples[:, 0], 255 - images[:10])
    assert tested.labels.tolist() == labels[:10].tolist()
    assert tested.fingerprint != loaded.fingerprint
    assert data.load("fashion_mnist", str(tmp_path)) is loaded


@pytest.mark.parametrize("name", ["digits", "stacked_mnist", "samples.npy"])
def test_a_part_to_test_on_that_there_is_not_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match="has no such part; mnist, fashion_mnist"):
        data.load(name, test=True)


def test_damaged_or_incomplete_mnist_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "MNIST" / "raw"
    write_mnist(folder, "{}-idx{}-ubyte.gz")
    images = folder / "train-images-idx3-ubyte.gz"
    images.write_bytes(images.read_bytes()[:-50])
    with pytest.raises(DataError, match="damaged or missing"):
        data.load("mnist", str(tmp_path))
    images.rename(folder / "images.gz")
    there = r"files there: images\.gz, t10k-images.*under their own names"
    with pytest.raises(DataError, match=rf"\{{train,t10k\}}-images-idx3-ubyte .*{there}"):
        data.load("mnist", str(tmp_path))


@needs_mnist
def test_mnist_and_its_stack() -> None:
    mnist = data.load("mnist", str(SHARED))
    assert (mnist.shape, len(mnist), mnist.classes) == ((1, 28, 28), 60_000, 10)
    assert mnist.labels[:5].tolist() == [5, 0, 4, 1, 9]
    stacked = data.load("stacked_mnist", str(SHARED))
    assert (stacked.shape, len(stacked), stacked.classes) == ((3, 28, 28), 60_000, 1000)
    by_content = {
        image.tobytes(): label for image, label in zip(mnist.samples, mnist.labels, strict=True)
    }
    for image, label in zip(stacked.samples[:50], stacked.labels, strict=False):
        a, b, c = (by_content[channel.tobytes()] for channel in image)
        assert label == 100 * a + 10 * b + c


# --- The cache ------------------------------------------------------------------------------------


def test_later_loads_map_the_decoded_file(tmp_path: Path, own_cache: Path) -> None:
    write_images(tmp_path / "set", ["a/1.png", "b/2.png"])
    first = data.load(str(tmp_path / "set"))
    written = (entry(own_cache) / "samples.npy").stat().st_mtime_ns
    data.load.cache_clear()
    second = data.load(str(tmp_path / "set"))
    assert isinstance(second.samples, np.memmap)
    np.testing.assert_array_equal(second.samples, first.samples)
    np.testing.assert_array_equal(second.labels, first.labels)
    assert (second.fingerprint, second.classes) == (first.fingerprint, first.classes)
    assert (entry(own_cache) / "samples.npy").stat().st_mtime_ns == written
    assert sorted(path.name for path in entry(own_cache).iterdir()) == [
        "about.json",
        "labels.npy",
        "samples.npy",
    ]


def test_a_changed_source_is_decoded_anew(tmp_path: Path) -> None:
    write_images(tmp_path / "set", ["1.png"])
    before = data.load(str(tmp_path / "set")).fingerprint
    Image.fromarray(pixels(6, 5, 3, seed=9)).save(tmp_path / "set" / "1.png")
    data.load.cache_clear()
    assert data.load(str(tmp_path / "set")).fingerprint != before


@pytest.mark.parametrize("way", ["in place", "another file", "another folder"])
def test_another_source_of_equal_size_and_date_is_decoded_anew(tmp_path: Path, way: str) -> None:
    """As archives and package managers leave them, which set dates."""
    for name, grey in (("set", 0), ("other", 9)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "a.npy", np.full((3, 4, 4), grey, np.uint8))
        os.utime(tmp_path / name / "a.npy", (1, 1))
    source, other = tmp_path / "set" / "a.npy", tmp_path / "other" / "a.npy"
    assert data.load(str(source), fresh=True).samples.max() == 0
    if way == "in place":
        source.write_bytes(other.read_bytes())
        os.utime(source, (1, 1))
    elif way == "another file":
        other.replace(source)
    else:
        source.parent.rename(tmp_path / "gone")
        other.parent.rename(source.parent)
    assert data.load(str(source), fresh=True).samples.max() == 9


@pytest.mark.parametrize("file", ["samples.npy", "labels.npy", "about.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "junk", "other"])
def test_damaged_entries_are_rebuilt(
    file: str, damage: str, tmp_path: Path, own_cache: Path
) -> None:
    np.savez(tmp_path / "set.npz", samples=pixels(9, 4, 4), labels=np.arange(9) % 3)
    before = data.load(str(tmp_path / "set.npz"))
    expected = before.samples.copy()
    victim = entry(own_cache) / file
    content = victim.read_bytes()
    victim.unlink()  # not in place: `before` still maps it
    if damage == "other":  # whole in itself, but of another time
        with victim.open("wb") as stream:
            np.save(stream, expected[:2])
    elif damage != "gone":
        victim.write_bytes(content[:-5] if damage == "cut" else b"[" * len(content))
    data.load.cache_clear()
    after = data.load(str(tmp_path / "set.npz"))
    assert after.fingerprint == before.fingerprint
    np.testing.assert_array_equal(after.samples, expected)
    np.testing.assert_array_equal(after.labels, np.arange(9) % 3)
    assert victim.stat().st_size == len(content)


def test_an_interrupted_decode_leaves_no_entry(tmp_path: Path, own_cache: Path) -> None:
    write_images(tmp_path / "set", ["1.png", "2.png"])
    (tmp_path / "set" / "2.png").write_bytes((tmp_path / "set" / "2.png").read_bytes()[:-30])
    with pytest.raises(DataError):
        data.load(str(tmp_path / "set"))
    assert not list(entry(own_cache).iterdir())


def test_an_unusable_cache_folder_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GANDASK_CACHE", str(tmp_path / "file" / "cache"))
    np.save(tmp_path / "set.npy", pixels(3, 4, 4))
    with pytest.raises(DataError, match="set GANDASK_CACHE"):
        data.load(str(tmp_path / "set.npy"))


def test_processes_may_race_to_an_entry(tmp_path: Path, own_cache: Path) -> None:
    names = [f"{number % 3}/{number}.png" for number in range(300)]
    write_images(tmp_path / "set", names, shape=(16, 16, 3))
    script = (
        "import sys, json, hashlib; from gandask import data; sys.stdin.read();"
        "found = data.load(sys.argv[1]); digest = hashlib.sha256(found.samples.tobytes());"
        "print(json.dumps([found.fingerprint, digest.hexdigest(), found.labels.tolist()]))"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "set")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for _ in range(2)
    ]
    for racer in racers:  # both wait at this line, imports done or nearly so
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    first, second = (json.loads(racer.communicate(timeout=60)[0]) for racer in racers)
    assert first == second
    assert len(first[2]) == 300
    assert len(list(entry(own_cache).iterdir())) == 3


# --- torchvision ----------------------------------------------------------------------------------


def test_torchvision_imports_in_a_fresh_process() -> None:
    script = (
        "import sys; from gandask import data;"
        "assert not {'torch', 'torchvision', 'sklearn', 'PIL'} & set(sys.modules), 'not lazy';"
        "module = data.torchvision(); import torchvision; assert module is torchvision;"
        "print(torchvision.datasets.MNIST.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert done.stdout.split() == ["MNIST"], done.stderr


# --- Shards ---------------------------------------------------------------------------------------


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_whole() -> None:
    assert data.whole(4).tolist() == [0, 1, 2, 3]
    assert data.whole(4).dtype == np.int64


@pytest.mark.parametrize(("share", "count"), [(1.0, 50), (0.3, 15), (0.001, 1)])
def test_fraction(share: float, count: int) -> None:
    chosen = data.fraction(50, share, generator())
    assert len(set(chosen.tolist())) == len(chosen) == count
    assert chosen.dtype == np.int64
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < 50
    np.testing.assert_array_equal(chosen, data.fraction(50, share, generator()))


def test_fractions_differ_by_generator() -> None:
    assert (
        data.fraction(50, 0.5, generator(1)).tolist()
        != data.fraction(50, 0.5, generator(2)).tolist()
    )


@pytest.mark.parametrize("share", [0, -0.5, 1.5, math.nan])
def test_fraction_refuses_other_shares(share: float) -> None:
    with pytest.raises(SettingError, match="share"):
        data.fraction(50, share, generator())


def test_classes_are_disjoint_and_cover() -> None:
    digits = data.load("digits")
    shards = [data.by_class(digits.labels, label) for label in range(digits.classes)]
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(digits)))
    assert all((digits.labels[shard] == label).all() for label, shard in enumerate(shards))
    with pytest.raises(SettingError, match="label"):
        data.by_class(digits.labels, 10)


@pytest.mark.parametrize(("size", "clients"), [(10, 3), (7, 7), (100, 1)])
def test_clients_are_disjoint_near_equal_and_cover(size: int, clients: int) -> None:
    shards = [
        data.by_client(np.zeros(size), clients, client, generator()) for client in range(clients)
    ]
    assert sorted(np.concatenate(shards).tolist()) == list(range(size))
    sizes = [len(shard) for shard in shards]
    assert max(sizes) - min(sizes) <= 1
    assert all((np.diff(shard) > 0).all() and shard.dtype == np.int64 for shard in shards)


def test_clients_are_drawn_at_random() -> None:
    shard = data.by_client(np.zeros(100), 2, 0, generator())
    assert shard.tolist() != list(range(50))


@pytest.mark.parametrize(("clients", "client"), [(0, 0), (11, 0), (3, 3), (3, -1)])
def test_clients_that_do_not_exist_are_refused(clients: int, client: int) -> None:
    with pytest.raises(SettingError, match="client"):
        data.by_client(np.zeros(10), clients, client, generator())


def split_of(labels: Array, clients: int, split: str, seed: int = 0) -> list[Array]:
    return [data.by_client(labels, clients, i, generator(seed), split) for i in range(clients)]


@pytest.mark.parametrize("split", ["iid", "dirichlet:0.3", "dirichlet:100", "classes:2"])
def test_every_split_is_a_partition_that_its_seed_decides(split: str) -> None:
    labels = data.load("digits").labels
    parts = split_of(labels, 7, split)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert all((np.diff(part) > 0).all() and part.dtype == np.int64 for part in parts)
    again, other = split_of(labels, 7, split), split_of(labels, 7, split, seed=5)
    assert all(np.array_equal(one, two) for one, two in zip(parts, again, strict=True))
    assert any(not np.array_equal(one, two) for one, two in zip(parts, other, strict=True))


def test_a_small_concentration_makes_clients_differ() -> None:
    labels = data.load("digits").labels
    spread = []
    for concentration in (0.1, 100):
        parts = split_of(labels, 5, f"dirichlet:{concentration}")
        shares = np.array([np.bincount(labels[part], minlength=10) / len(part) for part in parts])
        spread.append(shares.std(axis=0).mean())
    assert spread[0] > 4 * spread[1]


def test_clients_hold_as_many_classes_as_asked() -> None:
    labels = data.load("digits").labels
    for number in (1, 2, 10, 20):
        parts = split_of(labels, 10, f"classes:{number}")
        assert {len(np.unique(labels[part])) for part in parts} == {min(number, 10)}
    few = split_of(labels, 3, "classes:2")  # of ten classes, four belong to nobody
    assert len(np.unique(labels[np.concatenate(few)])) == 6


@pytest.mark.parametrize("split", ["", "dirichlet", "dirichlet:0", "dirichlet:x", "classes:0.5"])
def test_other_splits_are_refused(split: str) -> None:
    with pytest.raises(SettingError, match="expected iid, dirichlet:CONCENTRATION"):
        data.by_client(np.zeros(10), 2, 0, generator(), split)


def test_a_split_that_leaves_a_client_without_samples_is_refused() -> None:
    with pytest.raises(SettingError, match=r"leaves client \d+ of 4 without samples"):
        data.by_client(np.array([0, 1, 1, 1]), 4, 0, generator(), "classes:1")


# --- Paths ----------------------------------------------------------------------------------------


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A folder and a zip of images in a folder for data, seen from its parent."""
    root = tmp_path / "store of data"
    (root / "faces" / "a").mkdir(parents=True)
    for index in range(4):
        pixels = np.full((8, 8), index, np.uint8)
        Image.fromarray(pixels).save(root / "faces" / "a" / f"{index}.png")
    with zipfile.ZipFile(root / "faces.zip", "w") as packed:
        for file in (root / "faces" / "a").iterdir():
            packed.write(file, f"train/a/{file.name}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return root


@pytest.mark.parametrize("name", ["faces", "faces/a", "faces.zip", "faces.zip/train"])
@pytest.mark.parametrize("where", ["store of data", "~/store of data", "./store of data/"])
def test_every_part_finds_a_path_in_the_same_way(beside, tmp_path, monkeypatch, name, where):
    assert len(data.load(name, where)) == 4
    grid = gd.Grid(data=name, data_dir=where, network="small_mlp", batch_size=2)
    grid.check()
    assert grid.training.source["name"] == str(beside / name)
    # what was found once is not looked for anew from another folder
    monkeypatch.chdir("/")
    data.load.cache_clear()
    assert len(grid.training.data) == 4


def test_what_is_kept_goes_by_no_relative_path(beside, tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    shutil.copytree(beside / "faces", tmp_path / "other" / "faces")
    (tmp_path / "other" / "faces" / "a" / "0.png").unlink()
    sizes = []
    for folder in (beside, tmp_path / "other"):
        monkeypatch.chdir(folder)
        sizes.append(len(data.load("faces")))
    assert sizes == [4, 3]


@pytest.mark.parametrize("looks", [1, 2])
def test_files_are_looked_at_once_for_each_load(beside, monkeypatch, looks):
    seen, files = [], caching.files
    monkeypatch.setattr(caching, "files", lambda root: seen.append(root) or files(root))
    for _ in range(looks):
        data.load(str(beside / "faces"), fresh=True)
    assert len(seen) == looks


def test_what_was_loaded_outlives_its_files(beside):
    loaded = data.load(str(beside / "faces"))
    shutil.rmtree(beside / "faces")
    assert data.load(str(beside / "faces")) is loaded


def test_a_path_of_the_name_of_a_set_is_a_path(beside, tmp_path):
    (tmp_path / "digits").mkdir()
    shutil.copytree(beside / "faces" / "a", tmp_path / "digits" / "a")
    for given in (Path("digits"), Path("./digits"), "./digits"):
        source = gd.Grid(data=given, network="small_mlp").training.source
        assert source["name"] == str(tmp_path / "digits")
        assert len(data.load(given)) == 4
    assert gd.Grid(data="digits").data == "digits"


@pytest.mark.parametrize("address", ["https://example.org/faces.zip", Path("s3://bucket/faces")])
def test_an_address_is_no_data_set(address):
    for call in (gd.Grid, lambda data: gd.data.load(data)):
        with pytest.raises(gd.SettingError, match="expected a path, got an address"):
            call(data=address)


@pytest.mark.parametrize("key", ["data_dir", "init", "inception_weights"])
def test_an_address_is_no_path(key):
    with pytest.raises(gd.SettingError, match=f"{key}='s3://a/b': expected a path"):
        gd.Grid(**{key: "s3://a/b"})


@pytest.mark.parametrize("name", ["~nobody-of-this-name/faces", "x" * 300 + ".npy", "a/\0.npy"])
def test_what_cannot_be_looked_at_is_not_there(name):
    with pytest.raises((gd.SettingError, gd.DataError), match="data"):
        gd.Grid(data=name).check()


@pytest.mark.parametrize("address", ["s3://bucket/run", Path("s3://bucket/run")])
def test_an_address_is_no_store(address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (gd.open_run, lambda store: gd.run(gd.Grid(), store=store)):
        with pytest.raises(gd.StoreError, match="expected a folder, got an address"):
            call(address)
    assert {path.name for path in tmp_path.iterdir()} <= {"cache"}


def test_without_a_home_folder_the_cache_is_to_be_named(monkeypatch):
    """Of an account without a passwd entry, say."""
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda name: Path("~nobody-of-that-name"))
    for chosen in ("", "~nobody-of-that-name/cache"):
        monkeypatch.setenv("GANDASK_CACHE", chosen)
        with pytest.raises(DataError, match=r"no such home folder .*; set GANDASK_CACHE"):
            cache_dir()


@pytest.mark.parametrize("name", ["ring8", "digits"])
def test_what_runs_train_on_cannot_be_changed(name, own_cache):
    """Not by whoever is given its arrays: the fingerprint tells what they are, once and for all."""
    loaded = data.load(name)
    before = loaded.batch(np.arange(3))
    for array in (loaded.samples, loaded.labels, *([loaded.modes] if name == "ring8" else [])):
        with pytest.raises(ValueError, match="read-only"):
            array *= 2
    mine = loaded.samples.copy()
    mine[:] = 0
    np.testing.assert_array_equal(loaded.batch(np.arange(3)), before)


def by_torch(loaded):
    torch.from_numpy(loaded.samples).zero_()


def labels_by_torch(loaded):
    torch.as_tensor(loaded.labels).zero_()


def by_shape(loaded):
    loaded.samples.shape = (len(loaded), -1)


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.parametrize("change", [by_torch, labels_by_torch, by_shape])
def test_what_was_changed_all_the_same_is_loaded_anew(change, own_cache):
    """Where a run begins: torch writes to memory that NumPy calls read-only."""
    before = data.load("digits")
    expected, fingerprint = before.samples.copy(), before.fingerprint
    labels = before.labels.copy()
    assert data.load("digits", fresh=True) is before
    change(before)
    with pytest.warns(UserWarning, match="digits: its arrays were changed in this process"):
        after = data.load("digits", fresh=True)
    np.testing.assert_array_equal(after.samples, expected)
    np.testing.assert_array_equal(after.labels, labels)
    assert after.fingerprint == fingerprint
    assert data.load("digits") is after
