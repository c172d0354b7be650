"""A client's process: what keeps it from answering is said to its owner, once while it lasts."""

import errno

import numpy as np
import pytest

from gandask.clients import keeping
from gandask.clients.client import Limits
from gandask.clients.held import Held
from gandask.clients.keeping import PrivateStore
from gandask.clients.messages import Message, RefusedError
from gandask.clients.process import Opening
from gandask.core import DataError, StoreError

SOURCE = {"name": "digits", "data_dir": None, "image_size": None, "skip_unreadable": False}
MAKE = Message("make", {"base": "small_mlp", "shape": [1, 8, 8], "batch_size": 20})


def why(opening, message=MAKE):
    with pytest.raises(RefusedError) as caught:
        opening(message)
    return caught.value.answer.values["why"]


@pytest.fixture
def opening(tmp_path):
    with PrivateStore(tmp_path / "own") as store:
        said = []
        made = Opening(
            lambda: Held.own(SOURCE, 0.2, 1), store, Limits(), "cpu", said.append, said.append
        )
        made.said = said
        yield made


def no_room(handle):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_folder_is_said_once_and_there_is_an_answer_when_it_has_room(opening, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(keeping.os, "fsync", no_room)
        assert [why(opening) for _ in range(3)] == ["unready"] * 3
    told = [line for line in opening.said if line.startswith("not ready")]
    assert len(told) == 1 and "No space left" in told[0] and "has space left" in told[0]
    assert opening(MAKE).name == "made"
    with monkeypatch.context() as patch:
        patch.setattr(keeping.os, "fsync", no_room)
        other = Message("make", {**MAKE.values, "seed": 2})
        assert why(opening, other) == "unready"
    assert sum(line.startswith("not ready") for line in opening.said) == 2


def test_what_is_damaged_is_not_waited_for(opening, tmp_path):
    names = dict(opening(MAKE).values)
    fakes = np.zeros((20, 1, 8, 8), np.float32)
    train = Message("train", {**names, "round": 1}, {"samples": fakes})
    after = {**names, "state": opening(train).values["state"], "round": 2}
    (tmp_path / "own" / "states" / after["state"]).write_bytes(b"rubbish")
    with pytest.raises(StoreError, match="is damaged"):
        opening(Message("train", after, {"samples": fakes}))


def test_data_that_cannot_be_opened_are_said_once(tmp_path):
    said, trouble = [], [DataError("the folder is gone")] * 3

    def held():
        if trouble:
            raise trouble.pop()
        return Held.own(SOURCE, 0.2, 1)

    opening = Opening(held, PrivateStore(), Limits(), "cpu", said.append, said.append)
    assert [why(opening) for _ in range(3)] == ["unready"] * 3
    assert said == ["not ready: the folder is gone"]
    assert opening(MAKE).name == "made"
