"""A run may be a stranger's: it contacts nothing and imports nothing without the user's word."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import gandask as gd
from gandask import config
from gandask.__main__ import main
from gandask.presets import source
from gandask.store.steering import steered

PAYLOAD = """
from pathlib import Path
Path({mark!r}).touch()
def nearest(view):
    return "ring"
"""
GRID = {
    "data": "ring8",
    "network": "small_mlp",
    "shape": (1, 2),
    "rounds": 1,
    "batch_size": 5000,
    "fitness_samples": 100,
    "score_samples": 100,
    "final_samples": 100,
}


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "finished"
    gd.run(gd.Grid(**GRID), store=path)
    return path


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """A run that was interrupted, in the current folder."""
    path = Path(shutil.copytree(finished, tmp_path / "r"))
    told = json.loads((path / "run.json").read_text())
    (path / "run.json").write_text(json.dumps(told | {"state": "stopped"}))
    shutil.rmtree(path / "dataset.zarr")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return path


@pytest.fixture
def payload(tmp_path, monkeypatch):
    """A module of the user's, and the file that tells that it was imported."""
    monkeypatch.delitem(sys.modules, "given_by_hand", raising=False)
    mark = tmp_path / "imported"
    (tmp_path / "given_by_hand.py").write_text(PAYLOAD.format(mark=str(mark)))
    return mark


def with_cluster(path, kind):
    add(path, lambda text: text + f'\n[cluster]\nkind = "{kind}"\n')


def with_function(path, reference):
    add(path, lambda text: text.replace('"cross"', f'"{reference}"'))


def add(path, change):
    """Change a run's settings as a stranger would, who can also write the digest of them."""
    settings, description = path / "config.toml", path / "run.json"
    before = settings.read_text()
    settings.write_text(change(before))
    assert settings.read_text() != before
    told = json.loads(description.read_text())
    told["settings"] = hashlib.blake2b(settings.read_bytes(), digest_size=8).hexdigest()
    description.write_text(json.dumps(told))


# ---- clusters


@pytest.mark.parametrize(
    "words", [("resume", "r"), ("train", "r"), ("train", "r/config.toml", "--store", "next")]
)
def test_a_run_names_no_cluster(run, words):
    with_cluster(run, "tcp://127.0.0.1:9")
    result = call(*words)
    assert result.exit_code == 0, result.output
    assert "has [cluster], which is not used" in result.output


def test_a_run_that_is_trusted_does(run):
    with_cluster(run, "nonsense")
    result = call("resume", "r", "--trust")
    assert result.exit_code == 1
    assert "nonsense" in result.output


def test_a_folder_is_a_run_whatever_is_left_out(run):
    with_cluster(run, "tcp://127.0.0.1:9")
    (run / "run.json").unlink()
    result = call("train", "r", "--store", "next")
    assert result.exit_code == 0, result.output
    assert "has [cluster], which is not used" in result.output


def test_a_link_into_a_run_is_the_runs(run, tmp_path):
    with_cluster(run, "tcp://127.0.0.1:9")
    (tmp_path / "own.toml").symlink_to(run / "config.toml")
    assert "has [cluster], which is not used" in call("train", "own.toml").output


def test_settings_of_ones_own_name_a_cluster(tmp_path):
    file = tmp_path / "own.toml"
    written = config.to_toml(gd.Grid(**GRID)) + '\n[cluster]\nkind = "nonsense"\n'
    file.write_text(written, encoding="utf-8-sig")  # as editors of Windows do
    assert "nonsense" in call("train", file).output


def test_settings_that_were_taken_out_of_a_run_are_still_the_runs(run, tmp_path):
    with_cluster(run, "tcp://127.0.0.1:9")
    (tmp_path / "taken").mkdir()
    shutil.copy(run / "config.toml", tmp_path / "taken")
    assert "has [cluster], which is not used" in call("train", "taken/config.toml").output


@pytest.mark.parametrize(("more", "expected"), [((), False), (("--trust",), True)])
def test_a_run_does_not_say_that_data_are_fetched(run, more, expected):
    add(run, lambda text: text.replace("download = false", "download = true"))
    read = source.read_run_settings("r", (), {}, bool(more))
    assert read.method.download is expected
    assert source.read_run_settings("r", ("download=true",), {}).method.download


# ---- functions


@pytest.mark.parametrize("words", [("resume", "r"), ("train", "r"), ("train", "r/config.toml")])
def test_a_run_names_no_function(run, payload, words):
    with_function(run, "given_by_hand:nearest")
    result = call(*words)
    assert result.exit_code == 1
    assert "given_by_hand:nearest" in result.output
    assert "--trust" in result.output
    assert not payload.exists()


def test_a_run_that_is_trusted_names_one(run, payload):
    with_function(run, "given_by_hand:nearest")
    result = call("resume", "r", "--trust")
    assert result.exit_code == 0, result.output
    assert payload.exists()


def test_a_function_that_the_shell_names_is_the_users(run, payload):
    result = call("train", "r", "--set", "neighbourhood=given_by_hand:nearest")
    assert result.exit_code == 0, result.output
    assert payload.exists()


def test_a_function_that_the_shell_names_as_the_run_does_is_the_users(run, payload):
    with_function(run, "given_by_hand:nearest")
    result = call("resume", "r", "--set", "neighbourhood=given_by_hand:nearest")
    assert result.exit_code == 0, result.output
    assert payload.exists()


def test_what_runs_already_is_imported_from_anywhere(tmp_path):
    assert config.load_object("__main__:__name__") == "__main__"
    assert config.load_object("gandask.core:State")


def test_a_run_is_read_and_sampled_though_it_names_one(run, payload):
    with_function(run, "given_by_hand:nearest")
    opened = gd.open_run(run)
    assert opened.settings["neighbourhood"] == "given_by_hand:nearest"
    with pytest.raises(gd.StoreError, match="trust=True"):
        _ = opened.method
    assert gd.open_run(run, trust=True).method.neighbourhood == "given_by_hand:nearest"
    assert opened.mixture("cell/0").sample(3, 0).shape == (3, 2)
    assert not payload.exists()


def test_who_goes_on_with_other_functions_is_refused(run, payload):
    with_function(run, "given_by_hand:nearest")
    with pytest.raises(gd.StoreError, match="given_by_hand:nearest"):
        gd.run(gd.Grid(**GRID), store=run, resume=True)
    assert not payload.exists()
    gd.run(gd.Grid(**GRID, neighbourhood="given_by_hand:nearest"), store=run, resume=True)


def test_a_change_names_none(payload):
    with pytest.raises(gd.SettingError, match="expected one of cross, moore"):
        steered(gd.Grid(rounds=4), {"neighbourhood": "given_by_hand:nearest"}, 1)
    assert not payload.exists()


@pytest.mark.parametrize("reference", ["r.evil.payload:f", "r.evil:f", "r:f"])
def test_nothing_within_a_run_is_imported(run, tmp_path, reference):
    (run / "evil").mkdir()
    mark = tmp_path / "sprung"
    for file in (run / "evil" / "payload.py", run / "evil" / "__init__.py", run / "__init__.py"):
        file.write_text(PAYLOAD.format(mark=str(mark)))
    with pytest.raises(gd.SettingError, match="is within a run, and nothing there is imported"):
        config.load_object(reference)
    assert not mark.exists()


# ---- modules that the user names


def plant(mark, *files):
    """Lay modules that tell when they are imported."""
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(PAYLOAD.format(mark=str(mark)))


@pytest.mark.parametrize("lacking", ["", "run.json", "config.toml"])
@pytest.mark.parametrize("command", ["resume", "show", "report", "sample", "train"])
def test_a_name_means_no_module_of_the_run_in_which_it_is_said(
    run, payload, monkeypatch, command, lacking
):
    """The user means what is installed, and works in a folder that somebody gave away."""
    plant(payload, run / "given_by_hand.py")
    if lacking:
        (run / lacking).unlink()
    monkeypatch.chdir(run)
    told = call(command, ".", "--import", "given_by_hand")
    monkeypatch.setenv("GANDASK_IMPORT", "given_by_hand")
    for result in (told, call(command, ".")):
        assert result.exit_code == 1
        assert f"given_by_hand: {run / 'given_by_hand.py'} is within a run" in result.output
        assert "copy it out" in result.output
    assert not payload.exists()


@pytest.mark.parametrize(
    "reference", ["r/given_by_hand.py", "link/given_by_hand.py", "link.py", "held", "r.held.part"]
)
def test_whatever_leads_into_a_run_is_not_imported(run, tmp_path, payload, monkeypatch, reference):
    plant(payload, run / "given_by_hand.py", run / "held/__init__.py", run / "held/part.py")
    (tmp_path / "link").symlink_to(run)
    (tmp_path / "link.py").symlink_to(run / "given_by_hand.py")
    monkeypatch.syspath_prepend(str(run))
    result = call("show", "r", "--import", reference)
    assert result.exit_code == 1
    assert "is within a run, and nothing there is imported" in result.output
    assert not payload.exists()


@pytest.mark.parametrize(
    ("reference", "more"), [("r/given_by_hand.py", ("--trust",)), ("r/../given_by_hand", ())]
)
def test_what_is_ones_own_is_imported(run, payload, reference, more):
    plant(payload, run / "given_by_hand.py")
    result = call("resume", "r", "--import", reference, *more)
    assert result.exit_code == 0, result.output
    assert payload.exists()
