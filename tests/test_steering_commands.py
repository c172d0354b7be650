"""Pause, stop, change and resume in the shell, of a run that goes on elsewhere."""

import pytest
from test_cli import call, refused

import gandask as gd
from gandask.methods.testing import Toy
from gandask.store import create
from gandask.store.steering import Command


@pytest.fixture
def live(tmp_path):
    """A run of this process that stands still: nobody heeds what it is asked."""
    store = create(tmp_path / "a run", Toy(nodes=2, rounds=9), {})
    store.describe("running", 3)
    yield store
    store.release()


def asked(store):
    return [*store.commands.read(lambda told: Command(told["name"], told["changes"]))]


@pytest.mark.parametrize("command", ["pause", "stop"])
def test_it_is_asked(live, command):
    result = call(command, live.path)
    assert result.exit_code == 0, result.output
    assert asked(live) == [Command(command)]
    first, then = result.output.splitlines()
    assert first.startswith(f"asked {live.path} to ")
    assert "round 3 of at most 9 is done" in first
    assert then.endswith(f"gandask resume '{live.path}'")


def test_settings_are_changed(live):
    result = call("change", live.path, "--set", "rate=0.25")
    assert result.exit_code == 0, result.output
    assert asked(live) == [Command("change", {"rate": 0.25})]
    assert "to change rate: round 3" in result.output


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("rate=fast", "rate"),
        ("nodes=3", "nodes=3: this cannot be changed while running"),
        ("rate", "--set rate: expected key=value"),
    ],
)
def test_what_cannot_change_is_refused(live, assignment, message):
    assert message in refused("change", live.path, "--set", assignment)
    assert asked(live) == []


def test_change_needs_something_to_change(live):
    assert call("change", live.path).exit_code == 2


def test_a_paused_run_goes_on_where_it_is(live):
    live.describe("paused", 3)
    result = call("resume", live.path)
    assert result.exit_code == 0, result.output
    assert asked(live) == [Command("resume")]
    assert result.output.startswith(f"asked {live.path} to go on: round 3 of at most 9 is done")


def test_a_paused_run_takes_no_other_workers(live):
    live.describe("paused", 3)
    told = refused("resume", live.path, "--workers", 2, "--set", "rate=0.1")
    assert told.startswith("--workers, --set: ")
    assert told.endswith(f"gandask stop '{live.path}'")
    assert asked(live) == []


@pytest.mark.parametrize("command", ["pause", "stop", "change"])
def test_nobody_is_asked_where_nobody_is_at_work(live, command):
    options = ["--set", "rate=0.1"] if command == "change" else []
    live.describe("stopped", 3)
    told = refused(command, live.path, *options)
    assert f"is stopped, so nobody is there to {command} it; to continue it" in told
    assert told.endswith(f"gandask resume '{live.path}'")
    live.describe("finished", 9)
    assert refused(command, live.path, *options).endswith(f"nobody is there to {command} it")
    assert asked(live) == []


def test_a_run_of_another_process_heeds_it(tmp_path):
    run = gd.start(Toy(nodes=2, rounds=4000, sleep=0.02), store=tmp_path / "run")
    call("pause", run.store.path)
    while (state := run.state) != "paused":
        assert state == "running"
    assert call("change", run.store.path, "--set", "rate=0.25").exit_code == 0
    assert call("resume", run.store.path).exit_code == 0
    assert call("stop", run.store.path).exit_code == 0
    ds = run.wait(60)
    assert run.state == "stopped"
    kinds = {"paused", "changed", "resumed"}
    assert kinds <= {str(kind) for kind in ds["event_kind"].values}
