"""A client, request by request: the same answer to the same, once charged, and none to nonsense."""

import threading
import time

import numpy as np
import pytest
import torch

from gandask.clients.client import Limits, PrivateClient
from gandask.clients.held import Held, Part
from gandask.clients.keeping import KEPT, PrivateStore
from gandask.clients.messages import Message, RefusedError
from gandask.clients.spending import DPSGD, epsilon
from gandask.core import SettingError, rng
from gandask.scores.features import pixels
from gandask.training import networks

SOURCE = {"name": "digits", "data_dir": None, "image_size": None, "skip_unreadable": False}
HELD = Held.part(SOURCE, Part(2, 0, "iid", 0.5, 80, 1))
SECRET = bytes(range(32))
TERMS = {
    "base": "small_mlp",
    "shape": [1, 8, 8],
    "batch_size": 20,
    "learning_rate": 1e-3,
}
NOISED = {"privacy": {"noise": 2.0, "clip": 1.0, "delta": 1e-5}}
RATE = 20 / 80


def fakes(seed=0, count=20):
    return rng(seed).uniform(-1, 1, (count, 1, 8, 8)).astype(np.float32)


def client(store=None, limits=None):
    return PrivateClient(HELD, store or PrivateStore(None, SECRET), limits or Limits(), "cpu")


def made(asked, arrays=(), **changes):
    return dict(asked.answer(Message("make", TERMS | changes, dict(arrays))).values)


def training(names, round=1, samples=None):
    samples = fakes(round) if samples is None else samples
    return Message("train", {**names, "round": round}, {"samples": samples})


def trained(asked, names, rounds, first=1):
    """Train for rounds, and give the answers."""
    answers = []
    for round in range(first, first + rounds):
        answers.append(asked.answer(training(names, round)))
        names = {**names, "state": answers[-1].values["state"]}
    return answers


def after(names, answers):
    return {**names, "state": answers[-1].values["state"]}


def same(one, other):
    return one.values == other.values and all(
        np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays | other.arrays
    )


def why(asked, message):
    with pytest.raises(RefusedError) as caught:
        asked.answer(message)
    return caught.value.answer.values["why"]


# ---- the same again


@pytest.mark.parametrize("privacy", [{}, NOISED], ids=["plain", "noised"])
def test_the_same_request_is_given_the_same_answer_and_charged_once(privacy):
    asked = client()
    names = made(asked, **privacy)
    assert made(asked, **privacy) == names
    first, second = trained(asked, names, 2)
    assert same(asked.answer(training(names)), first)
    assert same(asked.answer(training(after(names, [first]), 2)), second)
    assert len(asked.store.ledger.charges) == (2 if privacy else 0)


def test_an_answer_that_was_given_up_comes_to_the_same():
    asked = client()
    names = made(asked, **NOISED)
    answers = trained(asked, names, 3)
    asked.store._answers.clear()
    assert same(asked.answer(training(after(names, answers[:1]), 2)), answers[1])
    assert len(asked.store.ledger.charges) == 3


def test_other_fakes_are_charged_and_noised_anew():
    asked = client()
    names = made(asked, **NOISED)
    one, other = (asked.answer(training(names, samples=fakes(seed))) for seed in (1, 2))
    assert one.values["state"] != other.values["state"]
    assert other.values["epsilon"] > one.values["epsilon"]
    charges = asked.store.ledger.charges
    assert [charge.steps for charge in charges] == [1, 1]
    assert other.values["epsilon"] == epsilon([(2.0, RATE, 2)], 1e-5)


def test_a_secret_is_what_noise_hangs_on():
    answers = []
    for secret in (SECRET, SECRET, bytes(32)):
        asked = client(PrivateStore(None, secret))
        answers += trained(asked, made(asked, **NOISED), 2)[1:]
    assert same(answers[0], answers[1])
    assert not np.array_equal(answers[0].arrays["slope"], answers[2].arrays["slope"])


@pytest.mark.parametrize("privacy", [{}, NOISED], ids=["plain", "noised"])
def test_a_client_that_was_killed_goes_on_to_the_same_numbers(tmp_path, privacy):
    whole = client()
    expected = trained(whole, made(whole, **privacy), 4)
    with PrivateStore(tmp_path / "own", SECRET) as store:
        names = made(client(store), **privacy)
        first = trained(client(store), names, 2)
    with PrivateStore(tmp_path / "own") as store:
        again = trained(client(store), after(names, first[:1]), 1, first=2)  # never heard
        rest = trained(client(store), after(names, first), 2, first=3)
        assert all(same(*pair) for pair in zip([*first, *rest], expected, strict=True))
        assert same(again[0], expected[1])
        assert len(store.ledger.charges) == (4 if privacy else 0)


def test_checkpoints_keep_what_they_build_on():
    asked = client()
    names = made(asked)
    answers = trained(asked, names, 3)
    states = [answer.values["state"] for answer in answers]
    for state in states[1:]:
        told = {"made": names["made"], "state": state, "round": 0}
        assert asked.answer(Message("forget", told)).name == "forgotten"
    trained(asked, after(names, answers), KEPT + 1, first=4)
    kept = asked.store.digests
    assert states[0] not in kept
    assert {names["made"], *states[1:]} <= {*kept}
    assert why(asked, training({**names, "state": states[0]}, 2)) == "lost"
    assert asked.answer(training({**names, "state": states[1]}, 3)).values == answers[2].values


def test_requests_are_answered_one_at_a_time():
    asked, busy, alone = client(), threading.Lock(), []

    def slow(message):
        alone.append(busy.acquire(blocking=False))
        time.sleep(0.02)
        if alone[-1]:
            busy.release()
        return Message("probed")

    asked._requests = {"probe": slow}
    others = [threading.Thread(target=asked.answer, args=(Message("probe"),)) for _ in range(4)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert alone == [True] * 4


# ---- what is refused

ELSE = "0" * 32


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"base": "unheard"}, "unfit"),
        ({"base": "conditional_mlp"}, "unfit"),
        ({"loss": "os:system"}, "unfit"),
        ({"shape": [1, 9, 9]}, "unfit"),
        ({"shape": "1"}, "unfit"),
        ({"batch_size": 81}, "unfit"),
        ({"batch_size": 0}, "unfit"),
        ({"answered": 2}, "unfit"),
        ({"path": "/etc"}, "unfit"),
        ({"privacy": {"noise": "much"}}, "unfit"),
        ({"base": "wgan", "loss": "wgan_gp"} | NOISED, "unfit"),
    ],
)
def test_terms_that_do_not_fit_are_refused(changes, expected):
    asked = client()
    assert why(asked, Message("make", TERMS | changes)) == expected
    assert asked.store.digests == ()


@pytest.mark.parametrize(
    ("changes", "arrays", "expected"),
    [
        ({"made": ELSE, "state": ELSE + "00000000" + ELSE}, {}, "lost"),
        ({"state": None}, {}, "unfit"),
        ({"state": "../secret"}, {}, "unfit"),
        ({"made": "../secret"}, {}, "unfit"),
        ({"made": ELSE}, {}, "unfit"),
        ({"round": -1}, {}, "unfit"),
        ({"round": 0}, {}, "unfit"),
        ({"round": True}, {}, "unfit"),
        ({"round": 1 << 40}, {}, "unfit"),
        ({}, {"samples": fakes(count=19)}, "unfit"),
        ({}, {"samples": fakes().reshape(20, 64)}, "unfit"),
        ({}, {"samples": fakes() * np.float32(np.nan)}, "unfit"),
        ({}, {"samples": fakes().astype(np.float64)}, "unfit"),
        ({}, {"samples": fakes(), "more": fakes()}, "unfit"),
        ({}, {"others": fakes()}, "unfit"),
    ],
)
def test_requests_that_do_not_fit_are_refused_and_not_charged(changes, arrays, expected):
    asked = client()
    names = made(asked, **NOISED)
    values = {**names, "round": 1} | changes
    message = Message("train", values, arrays or {"samples": fakes()})
    assert why(asked, message) == expected
    assert asked.store.ledger.charges == ()
    assert asked.answer(training(names)).name == "trained"


def test_what_nobody_knows_is_refused():
    assert why(client(), Message("pickle")) == "unknown"
    names = made(client())
    unknown = {**names, "state": names["made"] + "00000001" + ELSE}
    assert why(client(), training(names)) == "lost"
    asked = client()
    assert why(asked, training(made(asked) | unknown)) == "lost"
    audit = Message("audit", {**names, "round": 1}, {"samples": fakes(count=0)})
    assert why(asked, audit) == "unfit"


def test_weights_that_come_are_taken_or_refused():
    network = networks.NETWORKS["small_mlp"]
    module = networks.build(lambda: network.discriminator((1, 8, 8), 0, None), seed=9)
    weights = {name: part.detach().numpy() for name, part in module.state_dict().items()}
    one, other = client(), client()
    (answer,) = trained(one, made(one, weights), 1)
    (own,) = trained(other, made(other), 1)
    assert not np.array_equal(answer.arrays["slope"], own.arrays["slope"])
    part = dict([*weights.items()][1:])
    assert why(one, Message("make", TERMS, part)) == "unfit"
    for name, array in weights.items():
        other_type = {**weights, name: array.astype(np.float64)}
        assert why(one, Message("make", TERMS, other_type)) == "unfit"


# ---- budgets


def test_it_stops_before_the_limit_is_passed():
    costs = [epsilon([(2.0, RATE, steps)], 1e-5) for steps in range(1, 6)]
    asked = client()
    names = made(asked, **NOISED, epsilon_limit=costs[2] + 1e-9)
    answers = trained(asked, names, 3)
    assert [answer.values["epsilon"] for answer in answers] == costs[:3]
    assert why(asked, training(after(names, answers), 4)) == "spent"
    assert len(asked.store.ledger.charges) == 3
    assert same(asked.answer(training(names)), answers[0])


@pytest.mark.parametrize("delta", [1e-5, 0.9])
def test_its_owner_sets_a_limit_whatever_delta_is_named(delta):
    privacy = NOISED["privacy"] | {"delta": delta}
    asked = client(limits=Limits(epsilon([(2.0, RATE, 2)], DPSGD.delta) + 1e-9))
    names = made(asked, privacy=privacy)
    answers = trained(asked, names, 2)
    assert why(asked, training(after(names, answers), 3)) == "spent"


def test_an_owner_who_limits_epsilon_answers_nothing_without_privacy(tmp_path):
    assert why(client(limits=Limits(5.0)), Message("make", TERMS)) == "unfit"
    with PrivateStore(tmp_path / "own", SECRET) as store:
        names = made(client(store))
        assert why(client(store, Limits(5.0)), training(names)) == "unfit"  # limited since
        noised = made(client(store), **NOISED)
        assert why(client(store, Limits(1e-9)), training(noised)) == "spent"


SCORES = {"discriminator_loss", "generator_loss"}


@pytest.mark.parametrize("reports", [False, True])
def test_private_scores_stay_unless_they_are_asked_for(reports):
    asked = client()
    names = made(asked, **NOISED, report_private_scores=reports)
    (answer,) = trained(asked, names, 1)
    found = {**after(names, [answer]), "round": 1}
    with_statistics = {
        "statistics": pixels().statistics([torch.tensor(fakes(count=50))]).to_array()
    }
    measured = asked.answer(Message("measure", {**found, "features": "none"}, with_statistics))
    audited = asked.answer(Message("audit", found, {"samples": fakes()}))
    assert {*answer.values} == {"state", "epsilon"} | (SCORES if reports else set())
    assert {*measured.values} == ({"fid_local"} if reports else set())
    assert bool(audited.values) == reports
    noted = {key: value for line in asked.store.scores for key, value in line.items()}
    assert SCORES | {"epsilon", "fid_local", "auc", "memorised"} <= noted.keys()
    assert {(line["run"], line["round"]) for line in asked.store.scores} == {(names["made"][:8], 1)}


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_none_is_refused(epsilon):
    with pytest.raises(SettingError, match="expected a number above 0"):
        Limits(epsilon)


def test_the_same_request_about_other_data_is_another_one():
    """Its noise is another, and it is charged anew."""
    store = PrivateStore(None, SECRET)
    names = made(client(store), **NOISED)
    first = client(store).answer(training(names))
    other = Held.part(SOURCE, Part(2, 1, "iid", 0.5, 80, 1))
    second = PrivateClient(other, store, Limits(), "cpu").answer(training(names))
    assert first.values["state"] != second.values["state"]
    assert len(store.ledger.charges) == 2
