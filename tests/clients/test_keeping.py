"""A client's own folder: for its owner's eyes, for one process, and whole after any kill."""

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from gandask.clients import keeping
from gandask.clients.keeping import KEPT, PrivateStore, is_private, lies_in_private
from gandask.clients.spending import Charge
from gandask.config import RUN_FILE, SETTINGS_FILE
from gandask.core import DataError, SettingError, StoreError
from gandask.core.files import digest

SECRET = bytes(range(32))
STATE = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "rate": np.array(0.1),
    "steps": np.array([1, 2]),
}


def key(index):
    return digest(str(index))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "hospital"


@pytest.fixture(params=["folder", "memory"])
def store(request, folder):
    with PrivateStore(folder if request.param == "folder" else None) as made:
        yield made


def same(one, other):
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name])
        for name in one
    )


def test_states_come_back_exactly(store):
    assert store.get(key(1)) is None
    store.put(key(1), STATE)
    found = store.get(key(1))
    assert same(found, STATE)
    found["weight"].fill(0)
    assert same(store.get(key(1)), STATE)


def test_answers_are_given_again(store):
    assert store.answer(key(1)) is None
    store.remember(key(1), b"frame")
    store.remember(key(2), b"")
    assert (store.answer(key(1)), store.answer(key(2))) == (b"frame", b"")


def test_the_newest_are_kept_and_what_counts_still(store):
    for index in range(KEPT + 4):
        store.put(key(index), {"a": np.array(index)})
        store.remember(key(index), str(index).encode())
    store.put(key(1), {"a": np.array(1)})  # built upon again
    store.keep([key(3), key(99)])
    kept = [index for index in range(KEPT + 4) if store.get(key(index)) is not None]
    assert kept == [1, 3, *range(5, KEPT + 4)]
    answered = [index for index in range(KEPT + 4) if store.answer(key(index)) is not None]
    assert answered == [*range(4, KEPT + 4)]


@pytest.mark.parametrize("name", ["../secret", "", "a" * 129, "A" * 16, "x" * 16, "/etc/passwd"])
@pytest.mark.parametrize("ask", ["get", "answer"])
def test_only_digests_name_anything(store, ask, name):
    with pytest.raises(ValueError, match="expected a digest"):
        getattr(store, ask)(name)
    with pytest.raises(ValueError, match="expected a digest"):
        store.put(name, STATE) if ask == "get" else store.remember(name, b"")


def test_a_folder_is_found_again(folder):
    with PrivateStore(folder) as first:
        first.put(key(1), STATE)
        first.remember(key(1), b"frame")
        first.note({"round": 1, "audit": 0.5})
        first.ledger.charge(Charge(key(1), "r", 1, 10, 2.0, 0.1))
    (folder / "states" / "0123.partial").write_bytes(b"of a write that was killed")
    with PrivateStore(folder, first.secret) as again:
        assert again.secret == first.secret
        assert len(again.secret) == 32
        assert same(again.get(key(1)), STATE)
        assert again.answer(key(1)) == b"frame"
        assert again.scores == first.scores == ({"round": 1, "audit": 0.5},)
        assert again.ledger.charges == first.ledger.charges
    assert not [*folder.rglob("*.partial")]


def test_a_folder_is_for_its_owner_alone(folder):
    mask = os.umask(0)
    try:
        with PrivateStore(folder / "deep" / "er") as store:
            store.put(key(1), STATE)
    finally:
        os.umask(mask)
    within = folder / "deep" / "er"
    assert stat.S_IMODE(within.stat().st_mode) == 0o700
    files = [within / "secret", within / "states" / key(1)]
    assert [stat.S_IMODE(path.stat().st_mode) for path in files] == [0o600, 0o600]
    within.chmod(0o750)
    with pytest.raises(SettingError, match="others may read it; chmod 700"):
        PrivateStore(within)


def test_secrets_are_drawn_unless_given(tmp_path):
    secrets = {PrivateStore(tmp_path / name).secret for name in "ab"} | {PrivateStore().secret}
    assert len(secrets) == 3
    assert PrivateStore(secret=SECRET).secret == SECRET
    with PrivateStore(tmp_path / "c", SECRET) as store:
        assert store.secret == SECRET
    with pytest.raises(SettingError, match=r"secret: .* has another"):
        PrivateStore(tmp_path / "c", SECRET[::-1])
    with pytest.raises(SettingError, match="expected 32 bytes, got 3"):
        PrivateStore(secret=b"abc")
    assert PrivateStore(tmp_path / "c").secret == SECRET  # which nobody holds


def test_one_store_at_a_time_has_a_folder(folder):
    with PrivateStore(folder), pytest.raises(StoreError, match=f"held by process {os.getpid()}"):
        PrivateStore(folder)
    PrivateStore(folder).close()


def run_at(folder):
    folder.mkdir(parents=True)
    for name in (RUN_FILE, SETTINGS_FILE):
        (folder / name).touch()
    return folder


def test_a_run_and_a_clients_folder_lie_apart(tmp_path, folder):
    run = run_at(tmp_path / "run")
    (tmp_path / "link").symlink_to(run)
    for within in (run, run / "a" / "b", tmp_path / "link" / "a"):
        with pytest.raises(SettingError, match="lies within a run"):
            PrivateStore(within)
    assert sorted(path.name for path in run.iterdir()) == sorted([RUN_FILE, SETTINGS_FILE])
    run_at(folder / "run").parent.chmod(0o700)
    with pytest.raises(SettingError, match="holds other things, such as 'run'"):
        PrivateStore(folder)


def test_where_a_server_may_not_store_is_known(tmp_path, folder):
    PrivateStore(folder).close()
    (tmp_path / "link").symlink_to(folder)
    assert is_private(folder)
    assert all(map(lies_in_private, (folder, folder / "run", tmp_path / "link" / "a" / "b")))
    assert not any(map(lies_in_private, (tmp_path, tmp_path / "hospital2", tmp_path / "a" / "b")))


def test_what_can_be_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingError, match="got a file"):
        PrivateStore(tmp_path / "file")
    with pytest.raises(SettingError, match="got an address"):
        PrivateStore(Path("s3://bucket/a"))


def lost_state(folder):
    (folder / "states" / key(1)).write_bytes(b"\0" * 100)


def flipped_state(folder):
    path = folder / "states" / key(1)
    path.write_bytes(path.read_bytes()[:-1] + b"\7")


@pytest.mark.parametrize("damage", [lost_state, flipped_state])
def test_a_damaged_state_is_told(folder, damage):
    with PrivateStore(folder) as store:
        store.put(key(1), STATE)
        damage(folder)
        with pytest.raises(StoreError, match="a state is damaged"):
            store.get(key(1))


@pytest.mark.parametrize(
    ("damage", "error", "said"),
    [
        (lambda folder: (folder / "secret").unlink(), StoreError, "secret is lost"),
        (lambda folder: (folder / "ledger.jsonl").unlink(), StoreError, "ledger.jsonl is lost"),
        (
            lambda folder: [(folder / name).unlink() for name in ("secret", "ledger.jsonl")],
            StoreError,
            "ledger.jsonl is lost",
        ),
        (lambda folder: (folder / "secret").write_bytes(b"1"), StoreError, "secret is damaged"),
        (
            lambda folder: (folder / "secret").write_bytes(bytes(33)),
            StoreError,
            "secret is damaged",
        ),
        (lambda folder: (folder / "ledger.jsonl").write_text("x\n"), DataError, "is damaged"),
        (lambda folder: (folder / "scores.jsonl").write_text("x\n"), StoreError, "is damaged"),
    ],
)
def test_a_folder_that_lost_something_is_told(folder, damage, error, said):
    with PrivateStore(folder) as store:
        store.note({"round": 1})
        store.ledger.charge(Charge(key(1), "r", 1, 10, 2.0, 0.1))
    damage(folder)
    for _ in range(2):  # and it lets go of its lock
        with pytest.raises(error, match=said):
            PrivateStore(folder)


@pytest.mark.parametrize("left", [("lock",), ("lock", "holder"), ("lock", "ledger.jsonl")])
def test_a_folder_that_was_being_made_is_made(folder, left):
    folder.mkdir(mode=0o700)
    for name in left:
        (folder / name).touch()
    assert len(PrivateStore(folder).secret) == 32


def test_a_full_disk_is_told_and_changes_nothing(folder, monkeypatch):
    with PrivateStore(folder) as store:
        store.put(key(1), STATE)

        def full(handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(keeping.os, "fsync", full)
            for write in (
                lambda: store.put(key(1), {}),
                lambda: store.remember(key(2), b"frame"),
                lambda: store.note({"round": 1}),
            ):
                with pytest.raises(StoreError, match=r"No space left.*has space left"):
                    write()
        assert same(store.get(key(1)), STATE)
        assert (store.answer(key(2)), store.scores) == (None, ())
        assert not [*folder.rglob("*.partial")]
