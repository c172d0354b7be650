"""What leaves a client, either way, and what comes of answers that are nonsense."""

import dataclasses
import errno

import numpy as np
import pytest

import gandask as gd
from gandask.clients import keeping
from gandask.clients.asking import Directly
from gandask.clients.held import Held
from gandask.clients.keeping import PrivateStore
from gandask.clients.messages import packed, refused
from gandask.clients.spending import PrivacyLedger
from gandask.methods.privacy import proxies

SMALL = {
    "data": "digits",
    "base": "small_mlp",
    "alpha": 1,
    "clients": 1,
    "iterations": 3,
    "batch_size": 20,
    "local_samples": 70,
    "learning_rate": 1e-3,
    "score_samples": 50,
    "score_every": 2,
    "final_samples": 50,
    "audit_samples": 5,
    "features": "coordinates",
}


def privacy(**changes):
    return gd.PrivacyGAN(**SMALL | changes)


def told(monkeypatch, changed=lambda request, answer: answer):
    """List all requests and answers of runs in process, which may be changed on their way."""
    heard, asking = [], Directly.__call__

    def tapped(self, client, message):
        answer = changed(message, asking(self, client, message))
        heard.append((message, answer))
        return answer

    monkeypatch.setattr(Directly, "__call__", tapped)
    return heard


def private(method, states):
    """All that must not leave, as bytes."""
    held = Held.part(method.training.source, method.part(0))
    found = {}
    for kind, indices in (("member", held.members), ("held-out", held.apart)):
        rows = held.data.batch(indices).numpy()
        whole = np.rint((rows + 1) * 127.5).astype(np.uint8)
        for place in range(len(rows)):
            found[f"{kind} {place}"] = rows[place].tobytes()
            found[f"{kind} {place} in bytes"] = whole[place].tobytes()
        for number in (np.int64, np.int32):
            found[f"{kind}s {number.__name__}"] = indices[:8].astype(number).tobytes()
    for number, state in enumerate(states):
        for name, array in state.items():
            if array.size >= 8 and array.any():
                found[f"state {number} {name}"] = array.tobytes()
    return found


def test_nothing_private_leaves_or_lies_on_the_servers_disk(monkeypatch, tmp_path):
    heard, states, put = told(monkeypatch), [], PrivateStore.put

    def putting(self, digest, state):
        if "frame" not in state:
            states.append(state)
        put(self, digest, state)

    monkeypatch.setattr(PrivateStore, "put", putting)
    method, store = privacy(private_store=str(tmp_path / "private")), tmp_path / "run"
    gd.run(method, store=store, checkpoint_every=1, progress=False)
    kept = [path.read_bytes() for path in store.rglob("*") if path.is_file()]
    frames = [packed(message) for pair in heard for message in pair]
    everything = b"\n".join([*frames, *kept])
    needles = private(method, states)
    assert len(states) == 3
    assert [name for name, needle in needles.items() if needle in everything] == []
    own = b"".join(p.read_bytes() for p in (tmp_path / "private").rglob("*") if p.is_file())
    assert sum(needle in own for needle in needles.values()) > 10  # where they are, they are found
    (secret,) = (path.read_bytes() for path in (tmp_path / "private").rglob("secret"))
    assert secret not in everything and secret.hex().encode() not in everything
    for request, answer in heard:
        assert {*answer.arrays} <= ({"slope"} if request.name == "train" else set())


NAN = np.full((20, 1, 8, 8), np.nan, np.float32)


@pytest.mark.parametrize(
    ("arrays", "values", "kind"),
    [
        ({"slope": NAN[:3]}, {}, "nonsense"),
        ({}, {}, "nonsense"),
        ({"slope": NAN, "more": NAN}, {}, "non_finite"),
        ({"slope": NAN}, {"state": "0" * 72}, "nonsense"),
        ({"slope": NAN}, {"state": 3}, "nonsense"),
        ({"slope": NAN}, {"generator_loss": 10**400}, "non_finite"),
    ],
)
def test_nonsense_changes_no_student_and_the_run_goes_on(
    monkeypatch, tmp_path, arrays, values, kind
):
    def changed(request, answer):
        if request.name != "train" or request.values["round"] != 2:
            return answer
        return dataclasses.replace(answer, arrays=arrays, values={**answer.values, **values})

    told(monkeypatch, changed)
    dataset = gd.run(privacy(), progress=False)
    assert dataset.sizes["round"] == 3
    events = [*zip(dataset.event_round.values, dataset.event_kind.values, strict=True)]
    assert [(int(round), str(what)) for round, what in events] == [(2, kind)]


def test_an_audit_that_is_nonsense_is_left_out(monkeypatch):
    told(
        monkeypatch,
        lambda request, answer: (
            dataclasses.replace(answer, values={"auc": 2}) if request.name == "audit" else answer
        ),
    )
    dataset = gd.run(privacy(), progress=False)
    assert dataset.sizes["round"] == 3
    assert dataset.final_audit_auc.isnull().all()
    wrong = dataset.event_detail.values[dataset.event_kind.values == "nonsense"]
    assert len(wrong) == 1
    assert "its audit cannot be read" in wrong[0]


# ---- clients that are not ready


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(proxies, "PAUSE", 0.01)


def waits(dataset):
    return [*dataset.event_detail.values[dataset.event_kind.values == "client waiting"]]


def test_a_client_that_is_not_ready_is_waited_for_and_told_once(
    monkeypatch, impatient, assert_same
):
    tries = []

    def changed(request, answer):
        tries.append(request.name)
        return refused("unready") if tries.count("make") < 4 else answer

    told(monkeypatch, changed)
    dataset = gd.run(privacy(), progress=False)
    assert tries.count("make") == 4
    assert waits(dataset) == ["client-0: it is asked, and not ready: its owner is told why"]
    monkeypatch.undo()
    assert_same(dataset, gd.run(privacy(), progress=False))


def test_a_full_private_folder_is_waited_for(monkeypatch, impatient, tmp_path, assert_same, caplog):
    """At each state and each charge, until there is room again."""
    noised = {"privacy": gd.DPSGD(noise=2.0), "private_store": str(tmp_path / "private")}
    whole = gd.run(privacy(**noised), store=tmp_path / "whole", progress=False)
    tries = []

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    def filled(method):
        def write(self, what, *more):
            tries.append((method.__name__, str(what)))
            with monkeypatch.context() as patch:
                if tries.count(tries[-1]) < 3:
                    patch.setattr(keeping.os, "fsync", full)
                return method(self, what, *more)

        return write

    monkeypatch.setattr(PrivateStore, "put", filled(PrivateStore.put))
    monkeypatch.setattr(PrivacyLedger, "charge", filled(PrivacyLedger.charge))
    dataset = gd.run(privacy(**noised), store=tmp_path / "full", progress=False)
    assert_same(dataset, whole)
    assert {name for name, _ in tries} == {"put", "charge"} and len(tries) > 8
    assert set(waits(dataset)) == {"client-0: it is asked, and not ready: its owner is told why"}
    ledgers = [path.read_text() for path in (tmp_path / "private").rglob("ledger.jsonl")]
    assert [text.count("\n") for text in ledgers] == [3, 3]
    assert "not ready" in caplog.text and "No space left" in caplog.text
