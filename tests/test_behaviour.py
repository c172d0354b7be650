"""What no text of a network or loss tells is seen in what it computes: here, later, elsewhere."""

import dataclasses
import os
import pickle
import sys
import types
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import softplus

import gandask as gd
from gandask.core import alike
from gandask.engine.kept import KeptSession
from gandask.engine.resuming import other_facts
from gandask.methods.tasks import initialise
from gandask.training import settings
from gandask.training.losses import LOSSES, Loss
from gandask.training.networks import NETWORKS, Network


def grid(**changes):
    usual = {"data": "ring8", "network": "mine", "loss": "mine", "shape": (1, 1), "rounds": 2}
    sizes = {"batch_size": 500, "score_samples": 50, "final_samples": 50}
    return gd.Grid(**usual | sizes | changes)


def generator(shape, latent, classes, activation):
    return nn.Sequential(nn.Linear(latent, 16), nn.ReLU(), nn.Linear(16, 2))


TABLE, LIST, TENSOR = {"it": 0.0}, [0.0], torch.zeros(())
OBJECT, MODULE = types.SimpleNamespace(it=0.0), types.ModuleType("elsewhere")


def put(value):
    """Put a number wherever networks and losses below may look for it."""
    TABLE["it"] = LIST[0] = OBJECT.it = MODULE.it = value
    TENSOR.fill_(value)
    os.environ["GANDASK_TEST_IT"] = str(value)


def of_environment():
    return float(os.environ.get("GANDASK_TEST_IT", "0"))


WHERE = {
    "a table": lambda: TABLE["it"],
    "a list": lambda: LIST[0],
    "a tensor": lambda: float(TENSOR),
    "an object": lambda: OBJECT.it,
    "another module": lambda: MODULE.it,
    "the environment": of_environment,
}


class Judge(nn.Sequential):
    """A discriminator that looks for a number where it is told to."""

    def __init__(self, find, use):
        super().__init__(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
        self.find, self.use = find, use

    def forward(self, x):
        return self.use(self, x, self.find())


def plainly(judge, x, number):
    return nn.Sequential.forward(judge, x + number)


def in_training(judge, x, number):
    return nn.Sequential.forward(judge, x + number * judge.training)


def in_gradients(judge, x, number):
    logits = nn.Sequential.forward(judge, x)
    return number * logits.detach() + (1 - number) * logits


class Hooked(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(2, 1))
        self[0].register_forward_hook(lambda module, inputs, given: given + TABLE["it"])


class Frozen(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1))
        self[0].requires_grad_(TABLE["it"] == 0)


class Buffered(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(2, 1))
        self.register_buffer("it", torch.tensor(TABLE["it"]))

    def forward(self, x):
        return super().forward(x) + self.it


def judging(make, shape, classes, activation):
    return make()


JUDGES = {where: partial(Judge, find, plainly) for where, find in WHERE.items()} | {
    "in training": partial(Judge, WHERE["a table"], in_training),
    "in gradients": partial(Judge, WHERE["a table"], in_gradients),
    "a hook": Hooked,
    "what is trained": Frozen,
    "a buffer": Buffered,
}


class Weighing:
    __slots__ = ("it",)

    def __init__(self):
        self.it = TABLE["it"]

    def judge(self, real, fake):
        return softplus(-real).mean() + (1 + self.it) * softplus(fake).mean()

    __call__ = judge


class Weighed(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("it", torch.tensor(TABLE["it"]))

    forward = Weighing.judge


def slope(real, fake):
    """Give the same values, whatever the number, but other gradients."""
    whole = real.mean() - fake.mean()
    return TABLE["it"] * whole.detach() + (1 - TABLE["it"]) * whole


LOSS_OF = {
    "a table": lambda: lambda real, fake: fake.mean() * (1 + TABLE["it"]) - real.mean(),
    "a bound method": lambda: Weighing().judge,
    "an object with slots": Weighing,
    "a buffer": Weighed,
    "gradients": lambda: slope,
}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    make = partial(Judge, WHERE["the environment"], plainly)
    monkeypatch.setitem(NETWORKS, "mine", Network(generator, partial(judging, make), latent=4))
    monkeypatch.setitem(LOSSES, "mine", LOSSES["bce"])
    put(0.0)
    yield
    put(0.0)
    del os.environ["GANDASK_TEST_IT"]


@pytest.mark.parametrize(
    ("meant", "where"),
    [*[("networks", where) for where in JUDGES], *[("losses", where) for where in LOSS_OF]],
)
def test_what_is_hidden_is_seen_in_what_is_computed(monkeypatch, meant, where):
    def found():
        if meant == "networks":
            made = Network(generator, partial(judging, JUDGES[where]), latent=4)
            monkeypatch.setitem(NETWORKS, "mine", made)
        else:
            made = Loss(LOSSES["bce"].generator, LOSS_OF[where]())
            monkeypatch.setitem(LOSSES, "mine", made)
        return grid(network="mine" if meant == "networks" else "small_mlp").identity()

    state = torch.get_rng_state()
    before = found()
    assert torch.equal(state, torch.get_rng_state())
    put(1e-5)
    assert not other_facts(before, found(), begun=True) or where == "what is trained"
    put(0.5)
    told = f"{meant} were others when it began"
    assert other_facts(before, found(), begun=True).startswith(told)


NOISE = np.random.default_rng()


def noisily(judge, x, number):
    return nn.Sequential.forward(judge, x + NOISE.normal())


def test_nothing_is_said_of_what_is_never_the_same(monkeypatch):
    make = partial(Judge, WHERE["a table"], noisily)
    monkeypatch.setitem(NETWORKS, "mine", Network(generator, partial(judging, make), latent=4))
    assert {*grid().identity()} == {*grid(network="small_mlp").identity()} - {"networks_behaviour"}


@pytest.mark.parametrize(
    ("now", "same"),
    [
        ([1000.0, 0.0, 1e-9, 1e-9], True),
        ([1000.5, 0.5, 1e-9, 1e-9], True),
        ([1002.0, 0.0, 1e-9, 1e-9], False),
        ([1000.0, 0.0, 1e-9, 2e-9], False),  # each pair by itself
        ([1000.0, float("nan"), 1e-9, 1e-9], False),
        ([1000.0, 0.0], False),
        (["a", 0.0, 1e-9, 1e-9], False),
        (None, False),
    ],
)
def test_numbers_of_two_machines_are_nearly_the_same(now, same):
    assert alike([1000.0, 0.0, 1e-9, 1e-9], now) is same


def test_numbers_do_not_depend_on_seeds_or_on_what_torch_was_told(cache):
    first = grid().identity()
    torch.set_default_dtype(torch.float64)
    try:
        assert grid(seed=2).identity() == first
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_run_whose_networks_stand_on_other_values_is_not_resumed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(KeptSession, "heed", lambda *_: True)
        gd.run(grid(), store=tmp_path / "run", checkpoint_every=1)
    put(0.5)
    with pytest.raises(gd.StoreError, match=r"networks were others .* compute something else now"):
        gd.run(grid(), store=tmp_path / "run", resume=True)
    put(0.0)
    ds = gd.run(grid(), store=tmp_path / "run", resume=True)
    assert ds.sizes["round"] == 2
    assert len(ds.networks_behaviour) == 16 and len(ds.losses_behaviour) == 4


def test_a_worker_whose_networks_stand_on_other_values_is_refused(clients):
    client = clients[1]
    expected = gd.run(grid())
    assert gd.run(grid(), client=client).fid.equals(expected.fid)
    put(0.25)  # here alone: what workers do with it is up to their own
    with pytest.raises(gd.TaskError, match="networks compute something else here than where"):
        gd.run(grid(), client=client)
    client.run(put, 0.25)
    try:
        gd.run(grid(), client=client)
    finally:
        client.run(put, 0.0)


@pytest.mark.parametrize(
    "key",
    ["networks_behaviour", "losses_behaviour", "extractor", "networks_digest", "losses_digest"],
)
def test_who_performs_a_task_looks_once_for_what_is_another(monkeypatch, key):
    method = grid()
    method.prepare()
    training = method.training
    sent = pickle.loads(pickle.dumps(training))
    assert sent.identity == training.identity
    monkeypatch.setattr(settings, "_compared", set())  # as in another process
    for told in ("networks_behaviour", "losses_behaviour"):  # as on another kind of processor
        training.identity[told] = [number * (1 + 1e-6) for number in training.identity[told]]
    looks, look = [], settings.Training._behaviour

    def counted(self):
        looks.append(self)
        return look(self)

    monkeypatch.setattr(settings.Training, "_behaviour", counted)
    arguments = {"slot": "cell/0", "population_size": 1}
    for _ in range(3):
        initialise(training=pickle.loads(pickle.dumps(training)), **arguments)
    assert len(looks) == 1
    told = training.identity[key]
    other = told + "b" if isinstance(told, str) else [2 * number for number in told]
    training.identity[key] = other
    kind = "of other code" if key.endswith("digest") else "something else"
    with pytest.raises(gd.DataError, match=f"{kind} here than where the run was begun"):
        initialise(training=pickle.loads(pickle.dumps(training)), **arguments)
    if key.endswith("digest"):  # code that was typed in has no text elsewhere, and travels itself
        monkeypatch.setattr(settings, "is_imported", lambda thing: False)
        initialise(training=pickle.loads(pickle.dumps(training)), **arguments)


def test_networks_to_start_from_are_those_of_when_the_run_was_begun(tmp_path):
    for seed in (1, 2):
        gd.run(grid(rounds=1, seed=seed), store=tmp_path / str(seed))
    (tmp_path / "teacher").symlink_to("1")
    method = grid(init=tmp_path / "teacher")
    method.prepare()
    (tmp_path / "teacher").unlink()
    (tmp_path / "teacher").symlink_to("2")
    with pytest.raises(gd.DataError, match="networks to start from are others than when the run"):
        initialise(training=method.training, slot="cell/0", population_size=1)


def test_pairs_that_meet_later_are_compared_as_well(cache):
    method = gd.MGGAN(
        data="ring8", groups=2, base=("mine", "small_mlp"), interval=10, loss="bce", iterations=20
    )
    assert len(method.identity()["networks_behaviour"]) == 2 * 16
    assert all(method.pair(one, other).identity for one in range(2) for other in range(2))
    first = dataclasses.replace(method.pair(0, 1), score_samples=0)
    assert first.identity == method.pair(0, 1).identity


def test_a_function_that_settings_name_is_compared(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def found(answer):
        sys.modules.pop("fields_of_mine", None)
        (tmp_path / "fields_of_mine.py").write_text(f"def f(view):\n    return {answer!r}\n")
        return grid(neighbourhood="fields_of_mine:f").identity()

    before = found("cross")
    assert not other_facts(before, found("cross"), begun=True)
    assert other_facts(before, found("isolated"), begun=True).startswith("functions that settings")
    assert "functions_digest" not in grid().identity()


def test_code_that_changed_while_a_run_went_on_is_told(tmp_path, monkeypatch):
    """In the same process, as a cell of a notebook that is run again does it."""
    quiet = gd.run(grid(), store=tmp_path / "quiet")
    assert "versions" not in quiet.event_kind.values
    advance, seen = gd.Grid.advance, []

    def changing(self, view, reports):
        if not seen:
            put(0.25)
        seen.append(view.round)
        return advance(self, view, reports)

    monkeypatch.setattr(gd.Grid, "advance", changing)
    ds = gd.run(grid(), store=tmp_path / "run")
    kinds = [*ds.event_kind.values]
    assert kinds.count("versions") == 1
    detail = str(ds.event_detail.values[kinds.index("versions")])
    assert detail.startswith("networks were others when it began: they compute something else now")
    assert gd.open_run(tmp_path / "run").ds.identical(ds)
