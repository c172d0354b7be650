"""What pages show of one unit, and tables of units, of a run that may be anybody's."""

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor

import gandask as gd
from gandask.methods.testing import Toy
from gandask.pages import parts
from gandask.pages.unit import picture
from gandask.runs.following import Followed
from gandask.store import Store


def shown(path):
    followed = Followed(path)
    followed.look()
    # Playwright's event loop may run in the main thread of this process
    with ThreadPoolExecutor(1) as pool:
        return str(pool.submit(asyncio.run, picture(followed)).result(120))


def test_headings_of_tables_are_text():
    table = parts.sortable()
    parts.fill(table, {"<img src=x onerror=alert(1)>": [1.0], "a & b": ["c"]})
    assert "<" not in "".join(table.titles.values())


def test_samples_are_shown_of_a_run_that_was_continued(tmp_path):
    gd.run(Toy(rounds=2), store=tmp_path / "run", checkpoint_every=1)
    store = Store.open(tmp_path / "run")
    store.claim()
    store.describe("stopped", 2)
    store.release()
    shutil.rmtree(tmp_path / "run" / "dataset.zarr")
    shutil.rmtree(sorted(store.checkpoints.path.glob("round-*"))[-1])
    gd.run(Toy(rounds=2), store=tmp_path / "run", resume=True)
    assert any("." in folder.name for folder in store.checkpoints.path.glob("round-*"))
    assert "after round 2" in shown(tmp_path / "run")


def test_samples_are_those_of_the_run_that_is_there(tmp_path):
    found = []
    for seed in (1, 2):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        gd.run(Toy(seed=seed, nodes=2), store=tmp_path / "run")
        found.append(shown(tmp_path / "run"))
    assert "data:image/png" in found[0]
    assert found[0] != found[1]
