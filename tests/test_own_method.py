"""A method in one file outside the package has everything that the built-in ones have."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import gandask as gd
from gandask import extensions
from gandask.__main__ import main
from gandask.core import SettingError
from gandask.methods.testing import Conformance

FILE = Path(__file__).parents[1] / "docs" / "examples" / "own_method.py"
extensions.load([str(FILE)])
Own = gd.METHODS["own"]


class TestOwn(Conformance):
    method = Own(rounds=3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with settings of it."""
    (tmp_path / "own.toml").write_text('method = "own"\nrounds = 4\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(*arguments):
    result = CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_it_has_two_roles_a_place_and_bytes_by_term(clients):
    ds = gd.run(Own(rounds=2), client=clients[2])
    assert ds.distance.dims == ("round", "node")
    assert ds.centre.dims == ("round", "axis")
    assert ds.worker.dims == ("round", "slot")
    assert ds["slot"].values.tolist() == ["server/0", "node/0", "node/1", "node/2"]
    # a node reads 200 points of two float64, the server two vectors of two from each node
    sent = ds.sent_bytes.sel(round=1)
    assert sent.sel(slot="node/0", term="fakes") == 200 * 2 * 8
    assert sent.sel(slot="server/0", term="feedback") == 3 * 2 * 2 * 8
    assert len({*ds.worker.sel(slot="server/0").values}) == 1


def test_its_generator_finds_the_data():
    ds = gd.run(Own(rounds=20))
    assert float(ds.distance[-1].max()) < 0.3 * float(ds.distance[0].min())
    np.testing.assert_allclose(ds.centre[-1], [3.0, 1.0], atol=0.5)


def test_a_command_line_learns_of_it(folder):
    store = folder / "runs" / "own"
    output = told("train", "own.toml", "--import", FILE, "--store", store)
    assert "best: node" in output
    assert "distance" in output
    with_it = ["--import", FILE]
    assert "finished, round 4" in told("show", store, *with_it)
    told("sample", store, "-n", 8, "-o", folder / "samples.png", *with_it)
    assert (folder / "samples.png").stat().st_size > 0
    told("report", store, *with_it)
    page = (store / "report.html").read_text()
    assert "Where the generator went" in page
    assert "distance of fakes from own data" in page


def test_a_run_of_it_is_resumed_and_steered(tmp_path):
    run = gd.start(Own(rounds=400), store=tmp_path / "run", checkpoint_every=50)
    run.change(rate=0.01)
    run.stop()
    run.wait()
    assert run.method.rate_schedule
    assert set(run.method.rate_schedule.values()) == {0.01}
    ds = gd.run(Own(rounds=400), store=tmp_path / "run", resume=True)
    assert ds.sizes["round"] == 400
    assert "changed" in ds.event_kind.values
    assert run.plot.path() is not None
    assert run.plot.map("distance") is not None


def test_its_run_can_be_read_where_nobody_knows_it(folder):
    # another process, without --import
    told("train", "own.toml", "--import", FILE, "--store", folder / "run")
    script = (
        "import gandask as gd, json, sys\n"
        "run = gd.open_run(sys.argv[1])\n"
        "print(json.dumps([run.state, run.ds.distance.shape]))\n"
        "try:\n    run.best_mixture()\nexcept gd.StoreError as error:\n    print(error)\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", script, str(folder / "run")],
        capture_output=True, text=True, check=True, env={**os.environ, "GANDASK_IMPORT": ""},
    ).stdout.splitlines()  # fmt: skip
    assert json.loads(output[0]) == ["finished", [4, 3]]
    assert "--import" in output[1]


def test_what_is_not_there_is_refused(folder):
    result = CliRunner().invoke(main, ["train", "own.toml", "--import", "own_methd"])
    assert result.exit_code == 1
    assert "--import or GANDASK_IMPORT: own_methd: ModuleNotFoundError" in result.output
    with pytest.raises(SettingError, match="no such file"):
        extensions.load(["nothing.py"])
    (folder / "broken.py").write_text("x = 1\ny = x / 0\n")
    with pytest.raises(SettingError, match=r"ZeroDivisionError.*broken.py, line 2"):
        extensions.load(["broken.py"])
    assert "broken" not in sys.modules
    (folder / "json.py").write_text("")
    with pytest.raises(SettingError, match="there is another module 'json'"):
        extensions.load(["json.py"])


def test_the_environment_names_modules_too(folder, monkeypatch):
    (folder / "named_by_environment.py").write_text("import gandask as gd\nseen = gd.METHODS\n")
    monkeypatch.setenv(extensions.VARIABLE, "named_by_environment.py")
    extensions.load_named()
    assert "named_by_environment" in sys.modules
    assert folder / "named_by_environment.py" in extensions.files()
