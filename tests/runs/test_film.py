"""The film of a run: what every slot showed, at its place, framed by its score."""

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import gandask as gd
from gandask.__main__ import main
from gandask.core import SettingError, StoreError
from gandask.core.shown import packed
from gandask.methods.testing import Toy
from gandask.plots import mosaic
from gandask.runs.film import FRAMES, Film

BLACK, WHITE = -np.ones((4, 1, 8, 8), np.float32), np.ones((4, 1, 8, 8), np.float32)


def scene(**changes):
    given = {
        "samples": {(0, 0): WHITE, (0, 1): BLACK},
        "colours": {(0, 0): "#ff0000", (0, 1): "#0000ff"},
        "size": (1, 2),
        "title": "round 3",
    }
    return mosaic.Scene(**given | changes)


def colour(picture, at):
    return picture.getpixel(tuple(map(int, at)))


def centre(frame, row, col):
    side = frame.cell
    left, top = mosaic.MARGIN + frame.ghost, mosaic.LINE + mosaic.MARGIN + frame.ghost
    return left + (col + 0.25) * side, top + (row + 0.25) * side


def test_every_unit_is_at_its_place_within_its_colour():
    drawn = mosaic.draw(scene(), 320)
    frame = mosaic.Frame.fitting(scene(), 320)
    for col, inside, border in ((0, (255, 255, 255), (255, 0, 0)), (1, (0, 0, 0), (0, 0, 255))):
        x, y = centre(frame, 0, col)
        assert colour(drawn, (x, y)) == inside
        assert colour(drawn, (x, y - 0.25 * frame.cell + mosaic.GAP + 1)) == border


def test_what_lies_around_the_edges_comes_again_fainter():
    drawn, frame = mosaic.draw(scene(wraps=True), 320), mosaic.Frame.fitting(scene(wraps=True), 320)
    assert frame.ghost > 0
    left, top = mosaic.MARGIN + frame.ghost // 3, centre(frame, 0, 0)[1]
    assert colour(drawn, (left, top)) not in ((0, 0, 0), (255, 255, 255))  # of the black one
    assert frame.at(scene(wraps=True), left, top) == (0, 1)


@pytest.mark.parametrize("wraps", [False, True])
def test_a_point_of_the_picture_tells_its_unit(wraps):
    wide = scene(size=(2, 3), samples={}, wraps=wraps)
    frame = mosaic.Frame.fitting(wide, 500)
    for row in range(2):
        for col in range(3):
            assert frame.at(wide, *centre(frame, row, col)) == (row, col)
    assert frame.at(wide, 0, 0) is None
    assert frame.at(wide, 5000, 200) is None


def test_arrows_lie_between_their_cells_the_short_way_around():
    wide = scene(size=(3, 3), samples={}, colours={}, wraps=True)
    none = np.asarray(mosaic.draw(wide, 500), int)
    turned = mosaic.Scene(**vars(wide) | {"arrows": [((0, 0), (0, 2))]})
    changed = np.abs(np.asarray(mosaic.draw(turned, 500), int) - none).sum(2).nonzero()
    frame = mosaic.Frame.fitting(wide, 500)
    edge = mosaic.MARGIN + frame.ghost + 3 * frame.cell  # beyond it is column 0 again
    assert len(changed[1])
    assert np.abs(changed[1] - edge).max() < frame.cell / 2


def test_points_are_drawn_on_the_plane_of_their_data():
    plane = gd.data.Plane(np.zeros(2), 1.0, np.empty((0, 2)), 0.0)
    points = {(0, 0): np.full((9, 2), 0.5, np.float32)}
    one = scene(samples=points, colours={}, size=(1, 1), plane=plane)
    side = mosaic.Frame.fitting(one, 320).cell
    drawn = np.asarray(mosaic.draw(one, 320).convert("L"))[mosaic.LINE + mosaic.MARGIN :]
    down, across = (
        drawn[10 : side - 10, mosaic.MARGIN + 10 : mosaic.MARGIN + side - 10] < 60
    ).nonzero()
    assert across.mean() + 10 == pytest.approx(0.75 * side, abs=4)
    assert down.mean() + 10 == pytest.approx(0.25 * side, abs=4)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (1, 40)])
def test_it_keeps_to_its_width(size, dark):
    everywhere = dict.fromkeys(np.ndindex(*size), BLACK)
    one = scene(samples=everywhere, colours={}, size=size, wraps=True, real=WHITE)
    assert mosaic.draw(one, 640, dark).width <= max(640, (size[1] + 4) * mosaic.LEAST)


# ---- of runs


@pytest.fixture(scope="module")
def grid(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "grid"
    given = {"data": "ring8", "network": "small_mlp", "batch_size": 500, "shown_samples": 2}
    method = gd.Grid(**given, shape=(2, 2), rounds=3, score_samples=100, final_samples=100)
    gd.run(method, store=path)
    return path


def test_a_frame_tells_where_generators_came_from(grid):
    run = gd.open_run(grid)
    film = Film(run.ds, run.layout, run.shown)
    assert film.rounds == [0, 1, 2, 3]
    scene = film.scene(2)
    assert sorted(scene.samples) == sorted(scene.colours) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    parents = run.ds.generator_parent.sel(round=2).values.ravel()
    accepted = run.ds.generator_replaced.values.reshape(3, 4)
    moved = [
        (divmod(int(parent), 2), divmod(own, 2))
        for own, parent in enumerate(parents)
        if parent != own and accepted[1, own]
    ]
    assert [*scene.arrows] == moved
    assert moved, "choose a seed of which some came from elsewhere"
    for cell in range(4):  # what was made and not accepted was never its own
        last = max((now for now in (1, 2) if accepted[now - 1, cell]), default=0)
        expected = run.shown.at(f"cell/{cell}", last)
        assert np.array_equal(scene.samples.get(divmod(cell, 2), expected), expected)
    assert not accepted[:2].all(), "choose a seed of which some were refused"
    assert scene.wraps
    assert scene.done == pytest.approx(2 / 3)
    best = float(run.ds.fid.sel(round=2).min())
    assert f"{best:.3g}"[:3] in scene.title.replace(",", "")
    worst = run.ds.fid.sel(round=2).argmax(...)
    brightest = max(scene.colours.values(), key=lambda told: int(told[1:3], 16))
    assert scene.colours[int(worst["row"]), int(worst["col"])] == brightest


@pytest.mark.parametrize("ending", [".gif", ".webp", ".mp4"])
def test_a_film_has_a_frame_for_each_round(grid, tmp_path, ending):
    target = tmp_path / f"film{ending}"
    found = CliRunner().invoke(main, ["film", str(grid), "-o", str(target)])
    assert found.exit_code == 0, found.output
    assert "MB" in found.output
    if ending == ".mp4":
        from imageio_ffmpeg import count_frames_and_secs

        assert count_frames_and_secs(str(target))[0] > 4  # and the last one stays
    else:
        assert Image.open(target).n_frames == 4


def test_long_runs_are_thinned_but_for_the_last_round(tmp_path, monkeypatch, grid):
    monkeypatch.setitem(FRAMES, ".webp", 2)
    run = gd.open_run(grid)
    film = Film(run.ds, run.layout, run.shown)
    drawn = []
    monkeypatch.setattr(
        Film, "frame", lambda self, now, width: drawn.append(now) or Image.new("RGB", (8, 8))
    )
    film.write(tmp_path / "film.webp")
    assert drawn == [0, 3]


def test_what_cannot_be_filmed_says_so(grid, tmp_path):
    with pytest.raises(SettingError, match=r"ends in \.gif, \.webp, \.mp4"):
        gd.open_run(grid).film(tmp_path / "film.avi")
    gd.run(Toy(nodes=2), store=tmp_path / "toy")
    with pytest.raises(StoreError, match="no slot has shown samples"):
        gd.open_run(tmp_path / "toy").film()


def test_a_run_without_scores_is_filmed_too(tmp_path):
    gd.run(Toy(nodes=3), store=tmp_path / "toy")
    run = gd.open_run(tmp_path / "toy")
    for node in range(3):
        run.shown.append(f"node/{node}", 1, packed(BLACK))
    film = Film(run.ds, run.layout, run.shown)
    assert film.size == (2, 2)
    assert film.scene(1).arrows == []
    assert run.film().name == "film.gif"
