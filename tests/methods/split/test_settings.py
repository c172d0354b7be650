"""What each setting of split training means, in numbers."""

import dataclasses

import numpy as np
import pytest
import torch
from test_split import Loop, assert_equal, assert_trained, bpgan, parallel

import gandask as gd
from gandask.core import SettingError
from gandask.methods.split import draws
from gandask.methods.split.states import averaged, by_name
from gandask.methods.testing import walk
from gandask.methods.testing.conformance import assert_same
from gandask.training.learner import Learner, load_module
from gandask.training.pair import feedback, forged
from gandask.training.wire import unpacked

KINDS = ("discriminator", "generator")
ALTERNATING = {"schedule": "alternating", "seed": 3}


def looped(method, generator, discriminator, slot, holder, steps=1):
    """Train by a loop of the discriminator's steps and then the generator's, written by hand."""
    loop = Loop(method, generator, discriminator, slot)
    with method.training.settled():
        for number in range(1, steps * method.iterations + 1):
            loop.step(number, holder)
    return loop


@pytest.mark.parametrize("base", ["small_mlp", "wgan"])
def test_steps_of_the_discriminator_are_those_of_the_ordinary_loop(base):
    """Each on a batch and on fakes of its own, whoever holds it."""
    given = ALTERNATING | {"base": base, "discriminator_steps": 3}
    for share, keeper in (("gradients", "server/0"), ("none", "judge/0"), ("weights", "server/0")):
        method = bpgan(share=share, fakes="fresh", **given)
        states = walk(method).states
        loop = looped(method, "generator/0", keeper, "generator/0", "judge/0")
        assert_trained(states["generator/0/generator/4"], loop.generator)
        assert_trained(states[f"{keeper}/discriminator/4"], loop.discriminator)
    for combine in ("server", "all_reduce", "local"):
        keeper = "node/0" if combine == "all_reduce" else "server/0"
        method = parallel(combine=combine, **given)
        states = walk(method).states
        loop = looped(method, "node/0", "node/0", "node/0", "node/0")
        for kind in KINDS:
            # a server of gradients counts steps, not exchanges
            number = 12 if combine == "server" and kind == "discriminator" else 4
            assert_trained(states[f"{keeper}/{kind}/{number}"], getattr(loop, kind))


def test_a_node_that_trains_by_itself_goes_through_the_ordinary_loop():
    """A step of each network on each batch, so that two exchanges of three are six of one."""
    method = parallel(combine="local", exchange_every=3, iterations=2, base="dcgan", **ALTERNATING)
    states = walk(method).states
    loop = looped(method, "node/0", "node/0", "node/0", "node/0", steps=3)
    for kind in KINDS:
        assert_trained(states[f"server/0/{kind}/2"], getattr(loop, kind))


def test_simultaneous_steps_of_a_node_by_itself_are_those_of_its_gradients():
    given = {"base": "dcgan", "seed": 3}
    local, served = (walk(parallel(combine=combine, **given)) for combine in ("local", "server"))
    for kind in KINDS:
        assert_equal(local.states[f"server/0/{kind}/4"], served.states[f"server/0/{kind}/4"])


def test_servers_average_the_weights_that_nodes_have_trained():
    method = bpgan(discriminators=3, share="weights", base="dcgan", iterations=2)
    found = walk(method)
    written = {
        name: state
        for one in found.performed
        for name, state in zip(one.task.writes, one.written, strict=True)
    }
    own = [written[f"judge/{index}/discriminator/1"] for index in range(3)]
    assert_equal(written["server/0/discriminator/1"], averaged(own))
    kernel = next(name for name in own[0] if own[0][name].ndim > 1)
    assert not np.array_equal(own[0][kernel], own[1][kernel])
    begun = [one for one in found.performed if one.task.name == "train" and one.task.round == 2]
    assert {one.task.reads[0] for one in begun} == {"server/0/discriminator/1"}


@pytest.mark.parametrize("schedule", ["simultaneous", "alternating"])
def test_generators_go_on_from_the_mean_of_all(schedule):
    method = bpgan(
        discriminators=2, generators=2, generator_average="mean", iterations=2, schedule=schedule
    )
    found = walk(method)
    written = {
        name: state
        for one in found.performed
        for name, state in zip(one.task.writes, one.written, strict=True)
    }
    for round in (1, 2):
        own = [written[f"generator/{index}/generator/{round}/own"] for index in range(2)]
        for index in range(2):
            assert_equal(written[f"generator/{index}/generator/{round}"], averaged(own))
    assert len({float(value) for value in found.dataset.fid.sel(round=2).values}) == 2
    reads = [one.task.reads[0] for one in found.performed if one.task.name == "learn"]
    assert "generator/1/generator/1" in reads


def by_hand(method, exact):
    """Take a generator's steps of one exchange of several batches, written by hand."""
    training, loss = method.training, method.training.losses[0]
    written = {
        name: state
        for one in walk(method).performed
        for name, state in zip(one.task.writes, one.written, strict=True)
    }
    with training.settled() as device:
        critic = load_module(
            training.build_discriminator, written["server/0/discriminator/0"], device
        ).train()
        state, moments = (written[f"generator/0/generator/0{end}"] for end in ("", "/moments"))
        module = load_module(training.build_generator, state, device)
        generator = Learner.of(module, moments, training.adam_betas)
        _, batches = draws.inputs(training, method.rules, device, "generator/0", 1, 0)
        found = []
        for batch in batches:
            _, slope = feedback(loss, critic, forged(module, batch))
            found.append(generator.gradients(module(*batch), slope))
        mean = [sum(parts) / len(found) for parts in zip(*found, strict=True)]
        for parts in [mean] if exact else found:
            generator.apply(parts)
    return written["generator/0/generator/1"], generator


@pytest.mark.parametrize("reading", ["exact", "stale"])
def test_a_generator_takes_a_step_on_the_mean_of_all_batches_or_one_on_each(reading):
    """All by the weights of before."""
    method = bpgan(exchange_every=3, generator_steps=reading, iterations=1)
    state, generator = by_hand(method, reading == "exact")
    assert_trained(state, generator)


@pytest.mark.parametrize("make", [bpgan, parallel])
def test_gradients_of_several_batches_are_their_mean(make):
    """Of the first two exchanges of one batch each, by networks that do not change."""
    method = make(batch_size=20, exchange_every=2, iterations=1)
    (both,) = gradients_of(walk(method), 1)
    found = []
    with method.training.settled() as device:
        real = draws.real_batches(method.training, method.rules, 0, 1, 1, device)
    whole = [draws.batch(method.training, 0, 1, number) for number in (1, 2)]
    assert torch.equal(
        torch.cat([batch[0] for batch in real]),
        method.training.data.batch(np.concatenate(whole), device),
    )
    for first in (0, 1):
        one = parts_of(method, first)
        found.append(one)
    mean = averaged(found)
    for name, array in both.items():
        np.testing.assert_allclose(array, mean[name], rtol=1e-5, atol=1e-8)


def gradients_of(found, round):
    """Give the discriminator's gradients of an exchange, of each node."""
    return [
        state
        for one in found.performed
        for name, state in zip(one.task.writes, one.written, strict=True)
        if f"/gradients/{round}" in name and not name.endswith("generator")
    ]


def parts_of(method, index):
    """Compute the discriminator's gradients of one batch of the first exchange, by hand."""
    training, rules = method.training, method.rules
    slot = "generator/0" if method.name == "bpgan" else "node/0"
    keeper = "server/0" if method.name == "bpgan" else "node/0"
    loop = Loop(method, slot, keeper, slot, reused=not rules.fresh)
    with training.settled() as device:
        first, _ = draws.inputs(training, rules, device, slot, 1, 0)
        real = draws.real_batches(training, rules, 0, 1, 1, device)[index]
        fakes = forged(loop.generator.module, first[index])
        value = training.losses[0].discriminator(
            loop.discriminator.module(*real), loop.discriminator.module(*fakes)
        )
        return by_name(loop.discriminator.module, loop.discriminator.gradients(value))


@pytest.mark.parametrize("schedule", ["simultaneous", "alternating"])
@pytest.mark.parametrize("combine", ["server", "all_reduce"])
def test_what_is_counted_decides_nothing_in_training(schedule, combine):
    """Whether it is averaged or each node's own; what is scored differs."""
    given = {"base": "dcgan", "schedule": schedule}
    for make, changes in (
        (parallel, {"nodes": 2, "combine": combine}),
        (bpgan, {"discriminators": 2, "discriminator_steps": 2}),
    ):
        mean, own = (
            walk(make(buffers=kept, **given, **changes)).dataset for kept in ("server", "own")
        )
        for name in ("discriminator_loss", "generator_loss"):
            np.testing.assert_array_equal(mean[name], own[name])
        if make is parallel:
            assert not np.array_equal(mean.final_fid, own.final_fid)


@pytest.mark.parametrize("wire", ["float16", "int8"])
def test_fewer_bits_come_to_nearly_the_same(wire):
    """After a few steps; to the same, they would not be fewer."""
    for make, changes in (
        (parallel, {"nodes": 2, "combine": "all_reduce"}),
        (parallel, {"nodes": 2}),
        (bpgan, {"discriminators": 2}),
    ):
        changes |= {"learning_rate": 1e-2}
        whole, fewer = (walk(make(wire=kind, **changes)).dataset for kind in ("float32", wire))
        for name in ("discriminator_loss", "generator_loss"):
            assert not np.array_equal(whole[name], fewer[name])
            np.testing.assert_allclose(whole[name], fewer[name], atol=0.05)


@pytest.mark.parametrize(
    "method",
    [
        bpgan(wire="int8", discriminator_steps=2),
        parallel(wire="int8", schedule="alternating"),
        parallel(wire="int8", combine="all_reduce"),
    ],
    ids=["judge", "node", "slices"],
)
def test_what_rounding_took_is_sent_with_the_next_gradients(method):
    """What is left of a network's gradients is read by the task that computes the next ones."""
    found = [one for one in walk(method).performed if one.task.round > 1]
    read = [one for one in found if any("/residual/" in name for name in one.task.writes)]
    assert len(read) == 3 * (1 if "all_reduce" in str(method) else 2)
    for one in read:
        task, given = one.task, dict(zip(one.task.reads, one.reads, strict=True))
        before = [name for name in given if "/residual/" in name]
        assert len(before) == sum("/residual/" in name for name in task.writes)
        assert any(np.abs(array).any() for name in before for array in given[name].values())
        states = [
            {key: np.zeros_like(array) for key, array in state.items()} if name in before else state
            for name, state in given.items()
        ]
        other, _ = task.function(*states, **task.arguments)
        changed = [
            not np.array_equal(unpacked(new)[key], unpacked(old)[key])
            for name, new, old in zip(task.writes, other, one.written, strict=True)
            if "/gradients/" in name
            for key in unpacked(old)
        ]
        assert any(changed)


# ---- at their own pace


@pytest.mark.parametrize(
    "changes",
    [{}, {"schedule": "alternating"}, {"discriminator_steps": 2, "wire": "int8", "base": "dcgan"}],
    ids=["simultaneous", "alternating", "in full"],
)
def test_a_server_that_waits_for_all_takes_what_a_synchronous_one_takes(changes):
    method = parallel(nodes=3, **changes)
    waiting = dataclasses.replace(method, quorum=1.0)
    waited = gd.run(waiting, synchronous=False)
    told = walk(method).dataset
    assert_same(told.assign_attrs(settings=""), waited.assign_attrs(settings=""))
    assert not told.staleness.any()


@pytest.mark.parametrize(
    "method",
    [
        parallel(nodes=3),
        parallel(nodes=3, quorum=0.5, schedule="alternating", wire="int8"),
        bpgan(discriminators=3, generators=1, quorum=0.3),
        bpgan(discriminators=4, generators=2, quorum=0.5, base="dcgan", discriminator_steps=2),
    ],
    ids=["each by itself", "two of three", "one judge", "two judges"],
)
def test_late_gradients_are_taken_and_their_age_is_told(method):
    """Every node's, once: with what came last no other will come."""
    ds = gd.run(method, synchronous=False)
    nodes = len(method.holders)
    assert ds.staleness.shape == (method.iterations, nodes)
    assert np.isfinite(ds.staleness).all()
    assert ds.staleness.max() > 0
    assert np.isfinite(ds.generator_loss).all()
    assert np.isfinite(ds.fid.sel(round=[2, 4])).all()
    assert np.isfinite(ds.final_fid).all()


def test_a_part_of_the_judges_makes_more_steps_of_the_server(monkeypatch):
    """And every gradient is taken, however many at a time."""
    counts, taking = [], gd.BPGAN.taking

    def counted(self, kind, taken, *given):
        counts.append(len(taken))
        return taking(self, kind, taken, *given)

    monkeypatch.setattr(gd.BPGAN, "taking", counted)
    gd.run(bpgan(discriminators=4, generators=4, quorum=0.25), synchronous=False)
    assert sum(counts) == 4 * 4
    assert len(counts) > 4


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (parallel, {"combine": "all_reduce", "quorum": 0.5}, "all nodes wait for all"),
        (bpgan, {"quorum": 0}, "more than 0"),
        (bpgan, {"generator_steps": "stale"}, "there is one step"),
        (parallel, {"combine": "local", "wire": "int8"}, "weights alone travel"),
        (bpgan, {"quorum": 0.5, "schedule": "alternating"}, "waits for a part of the judges"),
        (bpgan, {"quorum": 0.5, "share": "none"}, "waits for a part of the judges"),
    ],
)
def test_a_quorum_without_meaning_is_refused(make, changes, message):
    with pytest.raises(SettingError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    "method", [bpgan(discriminators=2, quorum=0.5), parallel(nodes=2, quorum=0.5)]
)
def test_a_quorum_needs_slots_at_their_own_pace(method):
    with pytest.raises(SettingError, match=r"nobody waits for all slots.*synchronous=False"):
        gd.run(method)
