"""Plans of every shape: several stages, several roles, steps without tasks; bytes that travel."""

import numpy as np
import pytest

import gandask as gd
from gandask.core import Task
from gandask.engine.ledger import Ledger
from gandask.engine.session import Session
from gandask.methods.testing import Toy
from gandask.methods.testing.toy import point, score

BACK = 16  # bytes of a point: two numbers
ROUNDS = 4


class StopError(Exception):
    pass


def stop_at(step, method, monkeypatch, store, **options):
    """Run until so many steps are decided."""
    decide, taken = Session.decide, []

    def stopping(self, reports, elapsed):
        told = decide(self, reports, elapsed)
        taken.append(len(reports))
        if len(taken) == step:
            raise StopError
        return told

    with monkeypatch.context() as patch:
        patch.setattr(Session, "decide", stopping)
        with pytest.raises(StopError):
            gd.run(method, store=store, checkpoint_every=1, **options)
    return taken


# ---- several stages, some of whose tasks have not reported


@pytest.mark.parametrize("step", range(1, 24, 3))
@pytest.mark.parametrize("synchronous", [True, False])
def test_a_plan_of_several_stages_is_taken_up_in_its_middle(
    step, synchronous, tmp_path, monkeypatch, assert_same
):
    """What a later stage reads, an earlier one writes: it was once looked for in a checkpoint."""
    method, store = Toy(server=True, nodes=3, rounds=ROUNDS), tmp_path / "run"
    stop_at(step, method, monkeypatch, store, synchronous=False)
    resumed = gd.run(method, store=store, resume=True, synchronous=synchronous)
    # the server waits for all nodes: whatever the pace, the numbers are the same
    assert_same(gd.run(method), resumed)


def test_what_has_not_reported_is_taken_back_stage_by_stage():
    method = Toy(server=True, nodes=3)
    _, plan = method.start()
    ledger = Ledger(method)
    ledger.plan(plan)
    assert len(plan) > 1
    assert [[*map(id, stage)] for stage in ledger.unfinished()] == [
        [*map(id, stage)] for stage in plan
    ]


@pytest.mark.parametrize("step", [3, 9])
def test_it_is_taken_up_on_workers_too(step, tmp_path, monkeypatch, assert_same, clients):
    method, store = Toy(server=True, nodes=3, rounds=ROUNDS), tmp_path / "run"
    stop_at(step, method, monkeypatch, store, synchronous=False)
    resumed = gd.run(method, store=store, resume=True, client=clients[2])
    assert_same(gd.run(method), resumed)


@pytest.mark.parametrize("step", range(2, 16, 3))
def test_slots_that_went_on_at_their_own_pace_have_tasks_of_several_plans_left(
    step, tmp_path, monkeypatch
):
    method, store = Toy(rounds=ROUNDS), tmp_path / "run"
    stop_at(step, method, monkeypatch, store, synchronous=False)
    ds = gd.run(method, store=store, resume=True)
    assert ds.sizes["round"] == ROUNDS
    assert ds["distance"].notnull().all()


# ---- steps without tasks


@pytest.mark.parametrize("server", [False, True])
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_step_without_tasks_is_decided_at_once(server, workers, clients, assert_same):
    client = clients[workers] if workers else None
    method = Toy(server=server, meeting=2)
    ds = gd.run(method, client=client)
    assert ds.sizes["round"] == method.rounds
    without = gd.run(Toy(server=server))
    without.attrs["settings"] = ds.attrs["settings"]
    assert_same(ds, without)


@pytest.mark.parametrize("synchronous", [True, False])
def test_a_step_without_tasks_is_kept_and_replayed(synchronous, tmp_path, monkeypatch):
    method, store = Toy(server=True, meeting=2), tmp_path / "run"
    decide, taken = Session.decide, []

    def noting(self, reports, elapsed):
        taken.append(len(reports))
        return decide(self, reports, elapsed)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "decide", noting)
        whole = gd.run(method, synchronous=synchronous)
    assert taken.count(0) == 1
    empty = taken.index(0) + 1
    for step in (empty - 1, empty, empty + 1):
        path = store.with_name(f"run{step}")
        stop_at(step, method, monkeypatch, path, synchronous=synchronous)
        resumed = gd.run(method, store=path, resume=True, synchronous=synchronous)
        assert resumed["distance"].equals(whole["distance"])


def test_of_asynchronous_slots_all_meet_for_it(clients):
    for client in (None, clients[2]):
        ds = gd.run(Toy(meeting=2), client=client, synchronous=False)
        assert ds["final_distance"].notnull().all()


# ---- several roles in the Dataset


def test_what_the_machine_took_lies_along_all_slots():
    method = Toy(server=True, nodes=3, diverges=2)
    ds = gd.run(method)
    assert ds["slot"].values.tolist() == ["server/0", "node/0", "node/1", "node/2"]
    for name in ("worker", "started", "elapsed", "gathered"):
        assert ds[name].dims == ("round", "slot")
        assert ds[name].attrs["timing"]
    assert (ds["started"] > 0).all(), "every slot works in every round"
    assert ds["seconds"].dims == ("round", "slot", "routine")
    assert (ds["seconds"].sel(routine="train", slot="server/0") == 0).all()
    assert (ds["seconds"].sel(routine="train", slot="node/1") > 0).all()
    assert ds["distance"].dims == ("round", "node")
    assert ds["average_distance"].dims == ("round",)
    assert ds["spread"].dims == ("round",)
    assert [ds[name].attrs.get("role", "") for name in ("distance", "average_distance")] == [
        "node",
        "server",
    ]
    assert ds["event_slot"].values.tolist() == ["node/0"]
    assert ds["event_kind"].values.tolist() == ["non_finite"]


def test_what_the_machine_took_lies_along_the_unit_of_the_only_role():
    ds = gd.run(Toy())
    assert ds["worker"].dims == ("round", "node")
    assert ds["sent_bytes"].dims == ("round", "node", "term")
    assert "slot" not in ds.dims


# ---- bytes that would travel, had every slot a machine of its own


def sent(ds, term):
    return ds["sent_bytes"].sel(term=term).values


def test_a_slot_is_sent_what_it_reads_of_others_once():
    ds = gd.run(Toy(rounds=ROUNDS))
    # its left neighbour's point in each round: the first was made in the preparation; the last
    # point of the neighbour is read to be scored
    expected = np.full((ROUNDS, 4), BACK)
    expected[-1] += BACK
    assert (sent(ds, "points") == expected).all()


def test_every_role_is_sent_its_own():
    ds = gd.run(Toy(server=True, nodes=3, rounds=ROUNDS))
    assert (ds["sent_bytes"].sel(term="points", slot="server/0") == 3 * BACK).all()
    assert (ds["sent_bytes"].sel(term="averages", slot="server/0") == 0).all()
    for node in ("node/0", "node/1", "node/2"):
        assert (ds["sent_bytes"].sel(term="averages", slot=node) == BACK).all()


@pytest.mark.parametrize("server", [False, True])
def test_bytes_are_counted_alike_wherever_tasks_are_performed(server, clients):
    method = Toy(server=server, rounds=ROUNDS)
    expected = gd.run(method)["sent_bytes"]
    for workers in (1, 2):
        assert gd.run(method, client=clients[workers])["sent_bytes"].identical(expected)


@pytest.mark.parametrize("step", [1, 2, 4])
@pytest.mark.parametrize("server", [False, True])
def test_bytes_are_counted_alike_when_a_run_is_resumed(server, step, tmp_path, monkeypatch):
    method = Toy(server=server, rounds=ROUNDS)
    stop_at(step, method, monkeypatch, tmp_path / "run")
    resumed = gd.run(method, store=tmp_path / "run", resume=True)
    assert resumed["sent_bytes"].identical(gd.run(method)["sent_bytes"])


def test_what_two_tasks_of_a_slot_read_is_sent_once(monkeypatch):
    """A slot that has a state keeps it."""
    scores = Toy._scores

    def reading_twice(self, view):
        left = point("node/3", self.rounds)
        again = Task("node/0", self.rounds, score, (left,), (), {"weights": (1,)}, name="again")
        return [*scores(self, view), again]

    expected = gd.run(Toy())["sent_bytes"]
    monkeypatch.setattr(Toy, "_scores", reading_twice)
    assert gd.run(Toy())["sent_bytes"].identical(expected)
