"""Which worker a label has: claimed by name, shared, lost and back, lost for good."""

import pytest

from gandask.core import ClusterError
from gandask.execution.places import Places

LABELS = {"server/0": "server", "node/0": "left", "node/1": "right"}
FOUR = {"a": "0", "b": "server", "c": "left", "d": "right"}


def kinds(events):
    return [(event.kind, event.slot) for event in events]


def test_a_worker_claims_the_label_of_its_name():
    places = Places(LABELS)
    assert places.meet(FOUR, 0.0) == ({}, [])
    assert [places.home(slot) for slot in LABELS] == ["b", "c", "d"]
    assert places.unclaimed == []


def test_slots_without_a_label_leave_claimed_workers_alone_if_there_are_others():
    places = Places(LABELS)
    places.meet(FOUR, 0.0)
    assert places.home("node/7") == ""
    assert places.free(dict.fromkeys(FOUR, 2)) == {"a": 2}
    assert places.free({"b": 1, "c": 1}) == {"b": 1, "c": 1}


def test_labels_that_nobody_claims_have_a_worker_each_as_long_as_there_are_enough():
    places = Places(LABELS)
    places.meet({"a": "0", "b": "1", "c": "2", "d": "3"}, 0.0)
    assert len({places.home(slot) for slot in LABELS}) == 3
    assert places.unclaimed == ["server", "left", "right"]
    shared = Places(LABELS)
    shared.meet({"a": "0", "b": "1"}, 0.0)
    assert {shared.home(slot) for slot in LABELS} == {"a", "b"}


def test_unclaimed_labels_share_the_workers_that_are_not_claimed():
    places = Places(LABELS)
    places.meet({"a": "server", "b": "0", "c": "1"}, 0.0)
    assert places.home("server/0") == "a"
    assert {places.home("node/0"), places.home("node/1")} == {"b", "c"}


def test_a_slot_stays_where_it_is_while_workers_come():
    places = Places(LABELS)
    places.meet({"a": "0", "b": "1", "c": "2"}, 0.0)
    before = [places.home(slot) for slot in LABELS]
    assert places.meet({"a": "0", "b": "1", "c": "2", "d": "3"}, 1.0) == ({}, [])
    assert [places.home(slot) for slot in LABELS] == before


def test_a_worker_that_comes_late_claims_its_label_all_the_same():
    places = Places({"server/0": "server"})
    places.meet({"a": "0"}, 0.0)
    assert places.home("server/0") == "a"
    places.meet({"a": "0", "b": "server"}, 1.0)
    assert places.home("server/0") == "b"


def test_a_claimed_worker_that_is_gone_is_waited_for_and_said_for_whom():
    places = Places(LABELS, patience=60.0)
    places.meet(FOUR, 0.0)
    others = {address: name for address, name in FOUR.items() if address != "c"}
    moved, events = places.meet(others, 1.0)
    assert moved == {}
    assert kinds(events) == [("waiting", "node/0")]
    assert "'left'" in events[0].detail
    assert places.meet(others, 30.0) == ({}, [])  # said once
    assert places.home("node/0") == "c"
    moved, events = places.meet({**others, "e": "left"}, 31.0)
    assert moved == {"c": "e"}  # what waits is bound to the address it had
    assert kinds(events) == [("back", "node/0")]
    assert places.home("node/0") == "e"


def test_a_claimed_worker_that_is_lost_for_good_is_replaced():
    places = Places(LABELS, patience=60.0)
    places.meet(FOUR, 0.0)
    others = {address: name for address, name in FOUR.items() if address != "c"}
    places.meet(others, 1.0)
    moved, events = places.meet(others, 61.0)
    assert moved == {"c": "a"}
    assert kinds(events) == [("moved", "node/0")]
    assert places.unclaimed == ["left"]


def test_the_worker_of_an_unclaimed_label_is_replaced_at_once():
    places = Places({"server/0": "server"}, patience=60.0)
    places.meet({"a": "0", "b": "1"}, 0.0)
    home = places.home("server/0")
    other = {"a": "b", "b": "a"}[home]
    assert places.meet({other: "9"}, 1.0) == ({home: other}, [])


def test_without_any_worker_nothing_changes():
    places = Places(LABELS)
    places.meet(FOUR, 0.0)
    assert places.meet({}, 1.0) == ({}, [])
    assert places.home("server/0") == "b"


def test_strict_places_are_claimed_or_refused():
    with pytest.raises(ClusterError, match="no worker is named 'left', where node/0 has its place"):
        Places(LABELS, strict=True).meet({"b": "server", "d": "right"}, 0.0)
    places = Places(LABELS, strict=True, patience=60.0)
    places.meet(FOUR, 0.0)
    others = {address: name for address, name in FOUR.items() if address != "c"}
    places.meet(others, 1.0)
    places.meet(others, 60.0)
    with pytest.raises(ClusterError, match="dask worker --name left"):
        places.meet(others, 61.0)
