"""What an exchange costs: bytes as runs count them, seconds of a model, the thesis's figures."""

import json
import math

import numpy as np
import pytest
from torch import nn

import gandask as gd
from gandask import config
from gandask.core import SettingError
from gandask.methods.split.calibration import task_seconds
from gandask.methods.split.cost import published_seconds
from gandask.methods.split.traffic import Volumes, bits_per_second
from gandask.training.wire import size

PLAIN = {"data": "ring8", "base": "small_mlp", "batch_size": 20, "score_samples": 0}
BUFFERED = PLAIN | {"base": "buffered"}
LABELLED = PLAIN | {"data": "digits", "features": "coordinates", "base": "conditional_mlp"}
EXCHANGES = 4


@pytest.fixture(autouse=True)
def buffered(monkeypatch):
    """Add small networks with buffers."""

    def generator(shape, latent, classes=0, activation=None):
        layers = nn.Linear(latent, 5), nn.BatchNorm1d(5), nn.Linear(5, math.prod(shape))
        return nn.Sequential(*layers)

    def discriminator(shape, classes=0, activation=None):
        layers = nn.Linear(math.prod(shape), 7), nn.BatchNorm1d(7), nn.Linear(7, 1)
        return nn.Sequential(*layers)

    monkeypatch.setitem(gd.NETWORKS, "buffered", gd.Network(generator, discriminator, latent=3))


def bpgan(nodes=4, given=PLAIN, **changes):
    halves = {"discriminators": nodes // 2, "generators": nodes // 2}
    return gd.BPGAN(**given | {"iterations": EXCHANGES} | halves | changes)


def md_gan(nodes=4, given=PLAIN, **changes):
    own = {"discriminators": nodes - 1, "generators": 1, "share": "none", "fakes": "fresh"}
    return gd.BPGAN(**given | {"iterations": EXCHANGES} | own | changes)


def parallel(nodes=4, given=PLAIN, **changes):
    return gd.DataParallel(**given | {"iterations": EXCHANGES, "nodes": nodes} | changes)


def seconds_of(*methods):
    """Give seconds for each task of an exchange: 1, 2, 4, ..., so that every sum is another."""
    stages = [stage for method in methods for stage in method.exchange(2)]
    names = dict.fromkeys(task.name for stage in stages for task in stage)
    return {name: 2.0**index for index, name in enumerate(names)}


def bytes_of(method):
    """Give the bytes of both networks, which are those of their gradients."""
    return {kind: size(held, "float32") for kind, held in Volumes.of(method).weights.items()}


def cost(method, *given, **named):
    return gd.cost(method, *given, seconds=seconds_of(method), **named)


# ---- bytes


ALTERNATING = {"schedule": "alternating"}
ALL = [
    (bpgan, {}),
    (bpgan, ALTERNATING),
    (bpgan, {"fakes": "fresh"}),
    (bpgan, {"fakes": "fresh"} | ALTERNATING),
    (bpgan, {"generators": 1}),
    (md_gan, {}),
    (md_gan, ALTERNATING),
    (parallel, {}),
    (parallel, ALTERNATING),
    (parallel, {"combine": "all_reduce"}),
    (parallel, {"combine": "all_reduce"} | ALTERNATING),
]
FULL = {"discriminator_steps": 2, "exchange_every": 3, "wire": "int8"}
FURTHER = [
    (bpgan, FULL | {"fakes": "fresh"}),
    (bpgan, FULL | {"buffers": "own", "generator_average": "mean"} | ALTERNATING),
    (bpgan, FULL | {"share": "weights"}),
    (bpgan, {"share": "weights", "wire": "float16"} | ALTERNATING),
    (md_gan, FULL | {"swap_every": 1}),
    (parallel, FULL),
    (parallel, FULL | {"combine": "all_reduce", "buffers": "own"}),
    (parallel, FULL | {"combine": "local", "wire": "float32"}),
    (parallel, FULL | ALTERNATING | {"combine": "all_reduce"}),
]
BY_SETTING = [
    (made, 4, data, changes) for made, changes in FURTHER for data in (BUFFERED, LABELLED)
]
BY_NODES = [(made, 2 * pairs, PLAIN, changes) for made, changes in ALL for pairs in (1, 2, 3)]
BY_DATA = [(made, 4, data, changes) for made, changes in ALL for data in (BUFFERED, LABELLED)]
SWAPPED = [(md_gan, 4, BUFFERED, {"swap_every": every}) for every in (1, 2, 3, EXCHANGES)]


@pytest.mark.parametrize(
    ("made", "nodes", "data", "changes"), [*BY_NODES, *BY_DATA, *BY_SETTING, *SWAPPED]
)
def test_bytes_are_those_that_a_run_counts(made, nodes, data, changes):
    method = made(nodes, data, **changes)
    sent = gd.run(config.replace(method, {"final_samples": 20})).sent_bytes
    # nothing of the exchange before is there in the first; one in `swap_every` has a swap
    period = changes.get("swap_every", 0) % EXCHANGES
    rounds = range(2, 2 + (period or EXCHANGES - 1))
    measured = sent.sel(round=rounds).to_series().groupby("term").sum() / len(rounds)
    told = cost(method)["bytes"].to_series()
    assert told[told > 0].to_dict() == measured[measured > 0].to_dict()


def test_bytes_are_those_of_the_closed_form():
    for nodes in (2, 4, 6):
        of_discriminator = 2 * bytes_of(bpgan(nodes))["discriminator"]
        of_both = 2 * sum(bytes_of(bpgan(nodes)).values())
        fakes = 20 * 2 * 4
        expected = {
            bpgan(nodes): nodes / 2 * (of_discriminator + 2 * fakes),
            bpgan(nodes, fakes="fresh"): nodes / 2 * (of_discriminator + 3 * fakes),
            md_gan(nodes): (nodes - 1) * 3 * fakes,
            parallel(nodes): nodes * of_both,
            parallel(nodes, combine="all_reduce"): (nodes - 1) * of_both,
        }
        assert {method: cost(method)["bytes"].sum() for method in expected} == expected


# ---- seconds


@pytest.mark.parametrize(
    ("method", "computing"),
    [
        (bpgan(), 1 + max(2, 4)),
        (bpgan(**ALTERNATING), 1 + 2 + 4 + 8),
        (md_gan(), 1 + max(2, 4)),
        (parallel(), 1 + (2 + 4)),  # the server's two tasks, one after the other
        (parallel(combine="all_reduce"), 1 + 2 + 4),
        (parallel(**ALTERNATING), 1 + 2 + 4 + 8),
    ],
)
def test_stages_follow_one_another_and_in_each_the_longest_counts(method, computing):
    assert cost(method, None)["seconds"].sum() == computing
    assert cost(method, "1Gbit")["seconds"].sel(term="computing") == computing


def test_on_a_shared_link_all_adds_up():
    found = cost(bpgan(), "2Mbit")
    travelling = found["seconds"].drop_sel(term="computing")
    np.testing.assert_allclose(travelling, 8 * found["bytes"].drop_sel(term="computing") / 2e6)
    assert found["link_speed"] == 2e6 and found["samples"] == 2 * 20
    assert found["seconds"].attrs["units"] == "s" and found["bytes"].attrs["units"] == "B"


def test_on_links_of_their_own_the_busiest_end_counts():
    network, fakes = bytes_of(bpgan())["discriminator"], 20 * 2 * 4
    found = cost(bpgan(), "8Mbit", shared=False)["seconds"]
    # stage one: the server sends to both judges; stage two: it receives from both
    assert found.sel(term="weights") == pytest.approx(2 * network / 1e6)
    assert found.sel(term="gradients") == pytest.approx(2 * network / 1e6)
    assert found.sel(term=["fakes", "feedback"]).sum() == 0
    # both ways at once: of four nodes, each sends three quarters, and receives as many
    found = cost(parallel(combine="all_reduce"), "8Mbit", shared=False)["seconds"]
    both = sum(bytes_of(parallel()).values())
    assert found.sel(term="gradients") == pytest.approx(2 * 3 / 4 * both / 1e6, rel=1e-3)
    found = cost(md_gan(fakes="shared", **ALTERNATING), "8Mbit", shared=False)["seconds"]
    # the generator sends to each of three judges, and hears from them
    assert found.sel(term="fakes") == found.sel(term="feedback") == pytest.approx(3 * fakes / 1e6)


def test_seconds_are_measured_once_and_can_be_given():
    method = parallel(2, iterations=1)  # whatever the iterations
    found = gd.cost(method)
    taken = json.loads(found.attrs["task_seconds"])
    assert {*taken} == {*seconds_of(method)} and min(taken.values()) > 0
    again = gd.cost(method, seconds=taken)
    assert found.identical(again.assign_attrs(task_seconds_of=found.attrs["task_seconds_of"]))
    assert (
        "exchanges" in found.attrs["task_seconds_of"] and again.attrs["task_seconds_of"] == "given"
    )


@pytest.mark.parametrize(("made", "changes"), [*ALL, (md_gan, {"swap_every": 2})])
def test_every_task_of_an_exchange_is_timed(made, changes):
    method = made(4, BUFFERED, **changes)
    assert {*task_seconds(method, 2)} == {*seconds_of(method)}


# ---- as published


def test_equations_of_the_thesis_to_the_digit():
    # D = 1,200 B, v = 10 B/s, t_D = 1/100 s, t_G = 1/50 s, t_S = 1/1000 s; F, L, ω, g in B
    found = published_seconds(3, 10.0, 1200.0, 0.01, 0.02, 0.001, 60.0, 20.0, 500.0, 400.0)
    parallel_time = 120 + 150 + 120 + 12 + 2.7
    split_time = 120 + 150 + 120 + 12 + 8 + 1.35
    assert found == pytest.approx((parallel_time, split_time, 0.3 * (900 - 40) + 1.35))


@pytest.mark.parametrize(
    ("method", "nodes", "server", "halves"),
    [
        (bpgan(6), 6, 2, (1, 4)),
        (bpgan(4, **ALTERNATING), 4, 2, (1 + 4, 8)),
        (bpgan(discriminators=2, generators=1), 3, 2, (1, 4 / 2)),
        (parallel(5), 5, 2 + 4, (1 / 2, 1 / 2)),
        (parallel(4, **ALTERNATING), 4, 2 + 8, (1, 4)),
    ],
)
def test_symbols_are_those_of_the_method(method, nodes, server, halves):
    found = cost(method, "8kbit", published=True)
    weights = bytes_of(method)
    assert (found["M"], found["v"], found.attrs["odd_nodes"]) == (nodes, 1000, nodes % 2)
    assert found["D"] == len(method.training.data) * 8
    assert (found["F"], found["L"]) == (20 * 8, 20 * 4)
    assert found["omega"] == found["g"] == sum(weights.values()) / 2
    assert (found["t_D"] * 160, found["t_G"] * 160) == pytest.approx(halves)
    kinds = ["discriminator"] if method.name == "bpgan" else ["discriminator", "generator"]
    received = 2 * sum(weights[kind] for kind in kinds) * len(method.holders)
    assert found["t_S"] * received == pytest.approx(server)
    symbols = ("M", "v", "D", "t_D", "t_G", "t_S", "F", "L", "omega", "g")
    expected = published_seconds(*(float(found[name]) for name in symbols))
    assert tuple(float(found[name]) for name in ("T_DP", "T_BP", "difference")) == expected


# ---- when it pays


@pytest.mark.parametrize("counts", [(1, 1), (2, 2), (4, 1), (3, 2)])
@pytest.mark.parametrize(
    ("changes", "fakes", "schedule"),
    [({}, 2, {}), ({"fakes": "fresh"}, 3, {}), (ALTERNATING, 2, ALTERNATING)],
)
def test_batches_of_the_crossover_move_as_many_bytes(counts, changes, fakes, schedule):
    """Of as many real samples: whatever the numbers of judges and generators."""
    judges, generators = counts
    method = bpgan(discriminators=judges, generators=generators, **changes)
    other = parallel(judges + generators, **schedule)
    found = gd.crossover(method, seconds=seconds_of(method, other))
    traffic = (3 if "fakes" in changes else 2) * 8  # F + L of a sample
    assert found["batch_size"] == pytest.approx(2 * bytes_of(method)["generator"] / traffic)
    assert found["nodes"].values.tolist() == [judges + generators] * 2
    moved, usual = cost(method)["bytes"].sum(), cost(other)["bytes"].sum()
    np.testing.assert_allclose(
        found["bytes"], [moved / (20 * judges), usual / (20 * (judges + generators))]
    )


@pytest.mark.parametrize(
    ("batch_size", "learn", "pays"),
    [(20, 1.0, "below"), (20, 0.0, "always"), (20_000, 1.0, "never"), (20_000, 0.0, "above")],
)
def test_links_of_the_crossover_take_as_long(batch_size, learn, pays, monkeypatch):
    monkeypatch.setattr(gd.BPGAN, "check", lambda self: None)  # no data hold such a batch
    monkeypatch.setattr(gd.DataParallel, "check", lambda self: None)
    method, other = bpgan(batch_size=batch_size), parallel(batch_size=batch_size)
    seconds = dict.fromkeys(seconds_of(method, other), 0.1) | {"learn": learn, "combine": 0.0}
    seconds |= {"judge": 0.0, "differentiate_both": 0.2}
    found = gd.crossover(method, seconds=seconds)
    assert found["pays"] == pays
    if pays in ("always", "never"):
        assert found["link_speed"] == (math.inf if pays == "always" else 0)
        return
    per_sample = [
        float(gd.cost(one, f"{float(found['link_speed']):.9f}bit", seconds=part)["seconds"].sum())
        / (batch_size * len(one.holders))
        for one, part in (
            (one, {name: seconds[name] for name in seconds_of(one)}) for one in (method, other)
        )
    ]
    assert per_sample[0] == pytest.approx(per_sample[1])


def test_a_crossover_measures_both_methods():
    found = gd.crossover(bpgan(2))
    assert {*json.loads(found.attrs["task_seconds"])} == {*seconds_of(bpgan(), parallel())}
    assert all("long_name" in found[name].attrs for name in found)


# ---- what bad input gets


@pytest.mark.parametrize(
    ("text", "speed"),
    [
        ("10Mbit", 1e7), ("1Gbit", 1e9), ("1.5 Mbit/s", 1.5e6), ("100kbit", 1e5), (" 7 bit ", 7),
        ("inf", math.inf), (None, math.inf),
    ],
)  # fmt: skip
def test_links_are_read(text, speed):
    assert bits_per_second(text) == speed


@pytest.mark.parametrize(
    "text", ["10MB", "10mbit", "10", "Mbit", "-1Mbit", "0kbit", "1e400Mbit", "", "1,5Mbit", 10.0]
)
def test_links_of_no_known_unit_are_refused(text):
    with pytest.raises(SettingError, match=r"link=.*10Mbit.*bit, kbit, Mbit, Gbit"):
        gd.cost(bpgan(), text)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: gd.cost(gd.Grid()), "'grid': .*expected gandask.BPGAN"),
        (lambda: gd.crossover(parallel()), "'data_parallel': only BPGAN"),
        (lambda: gd.crossover(md_gan()), "share='none': .*choose share='gradients'"),
        (lambda: gd.cost(md_gan(), published=True), "server.*share='gradients'"),
        (lambda: cost(parallel(combine="all_reduce"), published=True), "combine='server'"),
        (lambda: gd.cost(bpgan(), shared=False, published=True), "shared=False: .*one link"),
        (lambda: gd.cost(bpgan(), seconds={"judge": 1}), r"lacking or unknown: \['combine', 'lea"),
        (lambda: gd.cost(bpgan(), seconds=seconds_of(bpgan()) | {"j": 1}), r"unknown: \['j'\]"),
        (lambda: gd.cost(bpgan(), seconds=seconds_of(bpgan()) | {"learn": -1}), "learn=-1: expe"),
        (lambda: gd.cost(bpgan(batch_size=10**6)), "batch_size=1000000: .*share"),
    ],
)
def test_what_has_no_cost_is_refused(call, told):
    with pytest.raises(SettingError, match=told):
        call()
