"""The command line: what it does, and that it says in one line what it refuses."""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from PIL import Image

import gandask as gd
from gandask import cluster, presets
from gandask.__main__ import main
from gandask.cluster import doctor
from gandask.core.files import digest
from gandask.engine import run as engine
from gandask.methods.testing import Toy
from gandask.presets import demo
from gandask.results import Results
from gandask.store import create

TINY = {"nodes": 2, "rounds": 1}
RING = {
    "data": "ring8",
    "network": "small_mlp",
    "shape": [1, 2],
    "rounds": 1,
    "batch_size": 5000,
    "fitness_samples": 100,
    "score_samples": 100,
    "final_samples": 200,
}
DIGITS = {"data": "digits", "batch_size": 1700, "features": "coordinates"}
ON_RING = [f"--set={key}={value}" for key, value in RING.items() if key not in ("data", "network")]


def tiny(**changes):
    return Toy(**TINY | changes)


def call(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def refused(*arguments):
    """Call what must fail, and give the one line it says."""
    result = call(*arguments)
    assert result.exit_code == 1, result.output
    assert isinstance(result.exception, SystemExit), result.exc_info
    (line,) = result.output.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "tiny.toml"
    told = {"method": "toy"} | TINY
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in told.items()))
    return path


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "finished"
    gd.run(tiny(), store=path)
    return path


@pytest.fixture(scope="module")
def pictured(cache, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    gd.run(gd.Grid(**RING | DIGITS), store=path)
    return path


# ---- help


def test_help_lists_every_command():
    result = call("--help")
    assert result.exit_code == 0
    assert "Example: gandask " in result.output
    for name in (
        "train",
        "resume",
        "list",
        "pause",
        "stop",
        "change",
        "doctor",
        "sample",
        "report",
        "show",
        "presets",
        "demo",
        "credentials",
    ):
        assert f"\n  {name} " in result.output
    assert call("-h").output == result.output
    assert gd.__version__ in call("--version").output


@pytest.mark.parametrize("name", main.commands)
def test_help_of_every_command_has_an_example_that_parses(name):
    result = call(name, "--help")
    assert result.exit_code == 0
    assert "Example" in result.output
    text = " ".join(main.commands[name].help.split())
    examples = text.split(f"gandask {name}")[1:]
    assert examples
    for example in examples:
        words = shlex.split(example.split(" Example:")[0].split(" gandask ")[0])
        main.commands[name].make_context(name, words)  # exits where it cannot be read


def test_help_needs_none_of_the_heavy_libraries():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['gandask', '--help']\n"
        "try:\n"
        "    runpy.run_module('gandask', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    heavy = {'torch', 'dask', 'distributed', 'xarray', 'pydantic'} & set(sys.modules)\n"
        "    print('loaded', sorted(heavy), end.code)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: ")
    assert done.stdout.endswith("loaded [] 0\n")


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "gandask", "presets"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\ndemo " in done.stdout
    assert done.stderr == ""


# ---- train


def test_train_from_a_file(settings, tmp_path):
    result = call("train", settings, "--store", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "best: node " in result.output
    assert f"kept in {tmp_path / 'run'}; next: gandask report {tmp_path / 'run'}" in result.output
    opened = gd.open_run(tmp_path / "run")
    assert opened.method == tiny()
    final = opened.ds["final_distance"].values.min()
    assert f"\n  distance         {final:.4g}\n" in result.output
    spent = result.output.split("by routine: ")[1].splitlines()[0]
    assert 97 <= sum(int(part.split()[1].rstrip("%")) for part in spent.split(", ")) <= 103


def test_train_from_a_preset_with_changes(tmp_path):
    result = call("train", "ring8", *ON_RING, "--set", "loss=mustangs", "--store", tmp_path / "run")
    assert result.exit_code == 0, result.output
    made = gd.open_run(tmp_path / "run").method
    expected = presets.read("ring8") | RING | {"loss": "mustangs"}
    expected.pop("method")
    assert made == gd.Grid(**expected)


def test_train_without_a_store_keeps_nothing(settings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("train", settings, "--asynchronous")
    assert result.exit_code == 0, result.output
    assert "kept in" not in result.output
    assert [*tmp_path.iterdir()] == [settings]


def test_train_checkpoints_as_often_as_asked(settings, tmp_path):
    three = ("train", settings, "--set", "rounds=3", "--store", tmp_path / "run")
    assert call(*three, "--checkpoint-every", "1").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["round-000002", "round-000003"]


@pytest.mark.parametrize("how", ["train", "train the run", "resume"])
def test_what_was_stopped_is_resumed(settings, tmp_path, monkeypatch, assert_same, how):
    command = ("train", settings, "--set", "rounds=2", "--store", tmp_path / "run")
    command += ("--checkpoint-every", "1")
    advance, calls = Toy.advance, []

    def interrupted(self, view, reports):
        calls.append(view.round)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return advance(self, view, reports)

    with monkeypatch.context() as patch:
        patch.setattr(Toy, "advance", interrupted)
        stopped = call(*command)
    assert stopped.exit_code == 1
    assert "Aborted!" in stopped.output
    assert gd.open_run(tmp_path / "run").state == "stopped"
    assert "gandask resume DIR" in refused(*command)
    again = {
        "train": (*command, "--resume"),
        "train the run": ("train", tmp_path / "run", "--resume"),
        "resume": ("resume", tmp_path / "run", "--checkpoint-every", 1),
    }[how]
    resumed = call(*again)
    assert resumed.exit_code == 0, resumed.output
    run = gd.open_run(tmp_path / "run")
    assert run.state == "finished"
    assert_same(gd.run(tiny(rounds=2)), run.ds)
    assert "resumed" in run.ds["event_kind"]
    assert call(*again).exit_code == 0  # what is finished stays as it is


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rign8"], "preset 'rign8': there is no such preset; did you mean 'ring8'?"),
        (["ring8", "--set", "batchsize=3"], "batchsize=3: .*did you mean 'batch_size'?"),
        (["ring8", "--set", "batch_size=ten"], "batch_size='ten': expected a whole number"),
        (["ring8", "--set", "rounds=1e3"], "rounds=1000.0: expected a whole number"),
        (
            ["ring8", "--set", "shape=[0, 2]"],
            "shape=[0, 2]: expected .*of at least 1",
        ),
        (["ring8", "--set", "shape=2x2"], "shape='2x2': expected a list of 2"),
        (["ring8", "--set", "rounds"], "--set rounds: expected key=value"),
        (["ring8", "--set", "seed=-1"], "seed=-1: expected a whole number of at least 0"),
        (["ring8", "--set", "learning_rate=nan"], "learning_rate=nan: expected "),
        (["ring8", "--set", "method=gird"], "method='gird': .*did you mean 'grid'?"),
        (["ring8", "--set", "network=mpl"], "network='mpl': .*did you mean 'mlp'?"),
        (["ring8", "--set", "data=ring9"], "data='ring9': .*did you mean 'ring8'?"),
        (["ring8", "--set", "data_fraction=0.001"], "batch_size=500: .* 50 samples"),
        (
            ["demo", "--set", "image_size=9", "--set", "network=dcgan"],
            "network='dcgan' is made for",
        ),
        (["spagan"], "data set 'mnist': .*data_dir"),
        (["spagan", "--set", "data_dir=/nowhere"], "data set 'mnist': .*/nowhere"),
        (["missing.toml"], "missing.toml cannot be read as TOML: .*No such file"),
        (["damaged.toml"], "damaged.toml cannot be read as TOML: .*line 2"),
        (["pickle.toml"], "pickle.toml cannot be read as TOML: .*utf-8"),
        (["folder.toml"], "folder.toml cannot be read as TOML: .*not a regular file"),
    ],
)
def test_train_refuses_before_it_makes_anything(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("damaged.toml").write_text("rounds = 2\nseed = = 1\n")
    Path("pickle.toml").write_bytes(b"\x80\x04N.")
    Path("folder.toml").mkdir()
    before = sorted(tmp_path.iterdir())
    line = refused("train", *arguments, "--store", "run")
    position = 0
    for part in message.split(".*"):
        position = line.index(part, position) + len(part)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "text",
    [f"a = {'[' * 5000}{']' * 5000}", f"a = {'9' * 5000}", f"{'a.' * 200}a = 1"],
    ids=["brackets", "digits", "tables"],
)
def test_train_refuses_a_file_of_any_depth_and_length(tmp_path, text):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    assert refused("train", file).startswith(f"{file} cannot be read as TOML: ")
    os.truncate(file, 1 << 40)
    assert "larger than" in refused("train", file)


def test_train_refuses_what_a_store_cannot_do(settings, finished):
    before = (finished / "config.toml").read_text()
    assert "exists already" in refused("train", settings, "--store", finished)
    assert "resume=True and extend=True need store=" in refused("train", settings, "--resume")
    other = ("train", settings, "--store", finished, "--resume", "--set", "seed=5")
    assert refused(*other).startswith("seed=5: the run in ")
    assert (finished / "config.toml").read_text() == before


@pytest.fixture
def asked(monkeypatch):
    """Stand in for clusters: list what was asked for."""
    options = []

    @contextlib.contextmanager
    def start(**table):
        options.append(table)
        yield SimpleNamespace(dashboard_link="http://127.0.0.1:1/status")

    monkeypatch.setattr(cluster, "start", start)
    return options


@pytest.fixture
def told(monkeypatch):
    """Stand in for training: note what it was told."""
    options = {}

    def run(method, **more):
        options.update(more, method=method)
        return Results(method.layout(), 1).dataset({})

    monkeypatch.setattr(engine, "run", run)
    return options


def test_an_interrupted_train_says_how_to_go_on(settings, monkeypatch, tmp_path):
    def run(method, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run", run)
    result = call("train", settings, "--store", tmp_path / "run")
    assert result.exit_code != 0
    assert f"stopped; continue with: gandask resume {tmp_path / 'run'}\n" in result.output


def test_train_checks_before_workers_start(asked):
    refused("train", "spagan", "--workers", 2)
    assert asked == []


@pytest.fixture
def stopped(tmp_path):
    """A run that has something left to do."""
    store = create(tmp_path / "run", tiny(), {})
    store.describe("stopped", 0)
    store.release()
    return store.path


def test_train_passes_on_its_options(settings, asked, told, stopped):
    command = ("train", settings, "--workers", 2, "--asynchronous", "--resume")
    command += ("--strict-places", "--checkpoint-every", 7, "--max-seconds", 50, "--patience", 3)
    result = call(*command, "--store", stopped)
    assert result.exit_code == 0, result.output
    assert "http://127.0.0.1:1/status" in result.output
    assert asked == [{"workers": 2}]
    assert told.pop("client").dashboard_link
    assert told == {
        "method": tiny(),
        "synchronous": False,
        "resume": True,
        "checkpoint_every": 7,
        "strict_places": True,
        "max_seconds": 50,
        "patience": 3,
        "store": stopped,
        "heartbeat": None,
    }

    told.clear()
    call("train", settings)
    assert (told["client"], told["synchronous"], told["resume"]) == (None, None, False)
    assert told["store"] is None
    assert len(asked) == 1


def test_resume_passes_on_its_options(stopped, asked, told):
    command = ("resume", stopped, "--cluster", "slurm", "--workers", 3, "--asynchronous")
    result = call(*command, "--checkpoint-every", 7, "--set", "heartbeat.hedge=true")
    assert result.exit_code == 0, result.output
    assert asked == [{"kind": "slurm", "workers": 3}]
    told.pop("client")
    assert told == {
        "method": tiny(),
        "synchronous": False,
        "resume": True,
        "checkpoint_every": 7,
        "strict_places": False,
        "max_seconds": None,
        "patience": None,
        "force": False,
        "store": stopped,
        "heartbeat": gd.Heartbeat(hedge=True),
    }


TABLES = """
[cluster]
kind = "slurm"
workers = 16
job_extra_directives = ["--gres=gpu:1"]

[heartbeat]
lost_after = 30.0
"""


@pytest.mark.parametrize(
    ("options", "cluster_of", "heartbeat"),
    [
        ([], {}, {}),
        (["--workers", 2], {"workers": 2}, {}),
        (["--set", "cluster.workers=3"], {"workers": 3}, {}),
        (["--workers", 2, "--set", "cluster.workers=3"], {"workers": 2}, {}),
        (["--cluster", "pbs"], {"kind": "pbs"}, {}),
        (["--walltime", "01:00:00"], {"walltime": "01:00:00"}, {}),
        (["--partition", "gpu"], {"partition": "gpu"}, {}),
        (["--set", "cluster.interface=ib0"], {"interface": "ib0"}, {}),
        (["--set", "cluster.walltime=24:00:00"], {"walltime": "24:00:00"}, {}),
        (["--set", "heartbeat.hedge=true"], {}, {"hedge": True}),
        (["--set", "heartbeat.lost_after=5"], {}, {"lost_after": 5.0}),
    ],
)
def test_where_to_train_comes_from_tables_and_options(
    settings, asked, told, options, cluster_of, heartbeat
):
    settings.write_text(settings.read_text() + TABLES)
    result = call("train", settings, *options)
    assert result.exit_code == 0, result.output
    table = {"kind": "slurm", "workers": 16, "job_extra_directives": ["--gres=gpu:1"]}
    assert asked == [table | cluster_of]
    assert told["heartbeat"] == gd.Heartbeat(**{"lost_after": 30.0} | heartbeat)
    assert told["method"] == tiny()  # what is trained does not depend on where


@pytest.mark.parametrize(
    ("options", "cluster_of"),
    [
        (["--cluster", "local"], {"kind": "local"}),
        (["--cluster", "slurm", "--workers", 4], {"kind": "slurm", "workers": 4}),
        (["--cluster", "tls://n1:8786"], {"kind": "tls://n1:8786"}),
        (["--cluster", "scheduler.json"], {"kind": "scheduler.json"}),
        (["--set", "cluster.cores=2"], {"cores": 2}),
    ],
)
def test_where_to_train_comes_from_options_alone(settings, asked, told, options, cluster_of):
    result = call("train", settings, *options)
    assert result.exit_code == 0, result.output
    assert asked == [cluster_of]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cluster", "slrum"], "cluster 'slrum': .*did you mean 'slurm'"),
        (["--cluster", "slurm"], "cluster 'slurm' needs a number of workers"),
        (["--walltime", "01:00:00"], "walltime='01:00:00': cluster 'local' has no option"),
        (["--set", "cluster.wrokers=2"], "wrokers=2: .*did you mean 'workers'"),
        (["--set", "cluster.kind=slrum"], "cluster 'slrum': .*did you mean 'slurm'"),
        (["--cluster", "missing.json"], "no scheduler answers at 'missing.json'"),
        (["--cluster", "srun"], "at least three tasks .*srun -n "),
        (["--set", "heartbeat.hegde=true"], "hegde=True: .*did you mean 'hedge'"),
        (["--set", "heartbeat.interval=-1"], "interval=-1: expected a"),
        (["--set", "heartbeat.interval=soon"], "interval='soon': expected"),
    ],
)
def test_train_refuses_where_it_cannot(settings, monkeypatch, tmp_path, options, message):
    monkeypatch.delenv("SLURM_PROCID", raising=False)
    monkeypatch.chdir(tmp_path)
    line = refused("train", settings, *options, "--store", "run")
    position = 0
    for part in message.split(".*"):
        position = line.index(part, position) + len(part)
    assert [*tmp_path.iterdir()] == [settings]


@pytest.mark.parametrize("table", ["cluster", "heartbeat"])
def test_what_should_be_a_table_and_is_not_is_refused(settings, table):
    settings.write_text(settings.read_text() + f"{table} = 3\n")
    assert f"{table}=3: expected a table, [{table}]" in refused("train", settings)


@pytest.mark.parametrize("table", ["cluster", "heartbeat"])
def test_a_whole_table_is_not_set_in_the_shell(settings, told, table):
    assert f"{table}=3: expected" in refused("train", settings, "--set", f"{table}=3")


def test_train_on_workers_of_this_machine(settings, tmp_path, assert_same):
    result = call("train", settings, "--workers", 2, "--store", tmp_path / "run")
    assert result.exit_code == 0, result.output
    assert "Dask's dashboard: http://127.0.0.1:" in result.output
    run = gd.open_run(tmp_path / "run")
    assert_same(gd.run(tiny()), run.ds)
    assert len({*run.ds.worker.values.ravel()}) == 2
    assert [*run.ds["event_kind"].values].count("worker joined") == 2


def test_resume_refuses_what_is_no_run(settings, tmp_path):
    assert "is not a run" in refused("resume", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()
    assert "is not a run" in refused("resume", settings)


# ---- doctor


def test_doctor_finds_nothing_here(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = call("doctor")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) >= 7
    assert all(line.startswith("ok   ") for line in lines)


def test_doctor_fails_with_a_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    result = call("doctor", "--cluster", "slurm", "--partition", "gpu")
    assert result.exit_code == 1
    first, second = result.output.splitlines()
    assert first.startswith("BAD  start: cluster 'slurm': the command 'sbatch'")
    assert second.startswith("     remedy: ")


def test_doctor_examines_one_worker_of_what_it_is_told(monkeypatch):
    given = []

    def examine(table, timeout):
        given.append((table, timeout))
        return [doctor.Finding("all", True, "seen")]

    monkeypatch.setattr(doctor, "examine", examine)
    command = ("doctor", "--cluster", "slurm", "--workers", 16, "--partition", "gpu")
    done = call(*command, "--set", "cluster.interface=ib0", "--timeout", 5)
    assert done.output == "ok   all: seen\n"
    table = {"kind": "slurm", "workers": 1, "partition": "gpu", "interface": "ib0"}
    assert given == [(table, 5.0)]
    call("doctor")
    assert given[1:] == [({"kind": "local", "workers": 1}, 120.0)]


def test_doctor_refuses_what_is_misspelt():
    assert "did you mean 'slurm'" in refused("doctor", "--cluster", "slrum")
    told = refused("doctor", "--cluster", "slurm", "--set", "interface=ib0")
    assert "--set interface=...: expected a setting of the cluster" in told


# ---- more of train


@pytest.mark.parametrize("option", [["--workers", "0"], ["--checkpoint-every", "0"], ["--sotre"]])
def test_options_are_checked(option):
    result = call("train", "demo", *option)
    assert result.exit_code == 2
    assert "Error: " in result.output


def test_a_task_that_fails_tells_where(settings):
    result = call("train", settings, "--set", "fails=1", "--set", "seed=23")
    assert result.exit_code == 1
    first, *_, last = result.output.strip().splitlines()
    assert first.startswith("Error: step failed in node/0, round 1, seed 23: ArithmeticError")
    assert last == "ArithmeticError: no such number"


# ---- what comes after


def test_show(finished):
    result = call("show", finished)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == f"Run({str(finished)!r}, finished, round 1)"
    summary = next(place for place, line in enumerate(lines) if line.startswith("best: node "))
    told = " ".join(lines[1:summary])
    assert told.startswith("The best distance to the target was ")
    assert "It finished after 1 round in " in told
    chosen = lines.index("settings that are not at their defaults:")
    usual = lines.index("settings at their defaults:")
    assert lines[chosen + 1 : usual] == ["  nodes = 2", "  rounds = 1"]
    assert "  rate = 0.5" in lines[usual:]
    assert not any("gandask resume" in line for line in lines)


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_show_a_run_that_has_just_begun(finished, tmp_path, state):
    begun = Path(shutil.copytree(finished, tmp_path / "begun"))
    (begun / "steps.jsonl").write_text("")
    told = json.loads((begun / "run.json").read_text())
    told |= {"state": state, "round": 0, "error": "TaskError: no such number"}
    (begun / "run.json").write_text(json.dumps(told))
    result = call("show", begun)
    assert result.exit_code == 0, result.output
    first, error, then, result, *_ = result.output.splitlines()
    assert first == f"Run({str(begun)!r}, {state}, round 0)"
    assert error == "  error: TaskError: no such number"
    assert then.endswith(f"continued from its last checkpoint: gandask resume {begun}") or (
        then == f"  to continue it from its last checkpoint: gandask resume {begun}"
    )
    assert result == "no round is done yet"


@pytest.mark.parametrize("command", ["show", "sample", "report"])
def test_what_is_no_run_is_refused(tmp_path, command):
    assert "is not a run" in refused(command, tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_sample_points(finished, tmp_path):
    output = tmp_path / "points.png"
    result = call("sample", finished, "-n", 5, "-o", output)
    assert result.output == f"5 samples in {output}\n"
    with Image.open(output) as picture:
        assert (picture.format, picture.size) == ("PNG", (512, 512))


def test_sample_images(pictured, tmp_path):
    output = tmp_path / "images.png"
    assert call("sample", pictured, "-n", 20, "-o", output).exit_code == 0
    with Image.open(output) as picture:
        # 8 × 3 tiles of 8 × 8 pixels enlarged eight times, 2 pixels apart
        assert (picture.format, picture.size) == ("PNG", (8 * 66 - 2, 3 * 66 - 2))


def test_sample_repeats_itself(pictured, tmp_path):
    def drawn(name, *options):
        assert call("sample", pictured, "-n", 4, "-o", tmp_path / name, *options).exit_code == 0
        return (tmp_path / name).read_bytes()

    first = drawn("a.png")
    assert drawn("b.png", "--seed", 0) == first
    assert drawn("c.png", "--seed", 1) != first
    best = int(gd.open_run(pictured).ds["final_fid"].values.argmin())
    assert drawn("d.png", "--slot", f"cell/{best}") == first


def test_sample_refuses(finished, tmp_path):
    assert refused("sample", finished, "--slot", "node/9").startswith("slot 'node/9': expected")
    missing = tmp_path / "nowhere" / "a.png"
    assert refused("sample", finished, "-o", missing) == f"{missing}: No such file or directory"
    assert refused("sample", finished, "-o", tmp_path) == f"{tmp_path}: Is a directory"
    assert call("sample", finished, "-n", 0).exit_code == 2
    other = tmp_path / "a.jpg"
    assert refused("sample", finished, "-o", other).startswith(
        f"{other}: expected a name that ends"
    )
    assert not other.exists()


def test_report(pictured, tmp_path):
    output = tmp_path / "report.html"
    result = call("report", pictured, "-o", output)
    assert result.exit_code == 0, result.output
    assert result.output == f"{output}\n"
    assert "<html" in output.read_text(encoding="utf-8")[:500]


def test_report_names_a_way_out_where_it_cannot_write(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "report.html").mkdir()  # as little can be written as on a read-only disk
    assert refused("report", run).endswith("name another file: gandask report RUN -o FILE.html")
    assert call("report", run, "-o", tmp_path / "report.html").exit_code == 0


def test_resume_says_that_a_run_is_finished(finished, monkeypatch):
    monkeypatch.setattr("gandask.cluster.start", None)  # and starts no worker for it
    result = call("resume", finished, "--workers", 2)
    assert result.exit_code == 0
    assert result.output.startswith(f"{finished} is finished: nothing is left to do\n")


def test_what_the_locale_does_not_know_is_spelt(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "Ω")
    result = CliRunner(charset="latin-1").invoke(main, ["show", str(run)])
    assert result.exit_code == 0
    assert r"\u03a9', finished" in result.output
    assert "events: 1 × checkpoint" in result.output
    assert refused("show", "d_\udcff").startswith(r"'d_\udcff' is not a run")


EVIL = "\x1b]0;title\x07\ud800\u202e"


@pytest.mark.parametrize(
    ("command", "code", "changes"),
    [
        ("show", 0, {"state": "failed", "error": EVIL}),
        ("report", 0, {"state": "failed", "error": EVIL}),
        ("resume", 1, {"state": "stopped", "settings": EVIL, "error": EVIL}),
        ("show", 1, {"state": EVIL}),
        ("show", 0, {"facts": {"method": EVIL, "score": EVIL}}),
    ],
)
def test_a_terminal_is_told_nothing_that_it_obeys(finished, tmp_path, command, code, changes):
    """Whoever made the run wrote its texts."""
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    shutil.rmtree(run / "dataset.zarr")
    told = json.loads((run / "run.json").read_text())
    settings = (run / "config.toml").read_text() + '"\\u001b[31m" = "\\u001b[32m"\n'
    (run / "config.toml").write_text(settings)
    told["settings"] = digest(settings)
    (run / "run.json").write_text(json.dumps(told | changes))
    result = call(command, run)
    assert result.exit_code == code, result.output
    assert all(line.isprintable() for line in result.output.split("\n"))
    assert command != "show" or r"\x1b" in result.output


def test_a_run_is_shown_whatever_its_texts_are(finished, tmp_path):
    run = Path(shutil.copytree(finished, tmp_path / f"run{EVIL[:-2]}"))
    told = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(told | {"state": "failed", "error": EVIL}))
    opened = gd.open_run(run)
    assert repr(opened).isprintable()
    assert r"\ud800" in opened._repr_html_()
    opened._repr_html_().encode()


def test_presets_lists_them_all():
    result = call("presets")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines] == [*presets.names()]
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in lines)


# ---- the demonstration


def test_demo_passes_on_what_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "run", lambda store, workers, seed: f"{workers}, {seed} in {store}")
    done = call("demo", "--store", tmp_path / "d", "--workers", 3, "--seed", 4)
    assert done.output == f"3, 4 in {tmp_path}/d\n"
