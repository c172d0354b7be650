"""BPGAN and data parallelism: the numbers of an ordinary loop, cut where networks live apart."""

import dataclasses

import numpy as np
import pytest
import torch

import gandask as gd
from gandask.core import SettingError
from gandask.methods.split import tasks
from gandask.methods.testing import walk
from gandask.training.learner import Learner, load_module
from gandask.training.pair import discriminator_loss, forged
from gandask.training.settings import real_batch

SMALL = {
    "data": "digits",
    "base": "small_mlp",
    "iterations": 4,
    "batch_size": 40,
    "score_every": 2,
    "score_samples": 100,
    "final_samples": 100,
}


def bpgan(**changes):
    return gd.BPGAN(**SMALL | {"discriminators": 1, "generators": 1} | changes)


def parallel(**changes):
    return gd.DataParallel(**SMALL | {"nodes": 1} | changes)


class Loop:
    """The ordinary loop, written by hand: the discriminator's step, and then the generator's."""

    def __init__(self, method, generator, discriminator, slot, reused=False):
        self.training, self.slot, self.reused = method.training, slot, reused
        training = self.training
        made = tasks.begin(training=training, slot=generator, kind="generator")[0]
        judge = tasks.begin(training=training, slot=discriminator, kind="discriminator")[0]
        self.generator = Learner.of(
            load_module(training.build_generator, made[0], torch.device("cpu")),
            made[1],
            training.adam_betas,
        )
        self.discriminator = Learner.of(
            load_module(training.build_discriminator, judge[0], torch.device("cpu")),
            judge[1],
            training.adam_betas,
        )

    def step(self, number, holder):
        """Take one step of each, on the batch and the noise of an exchange."""
        training, loss = self.training, self.training.losses[0]
        device = torch.device("cpu")
        first, second = tasks.inputs(training, device, self.slot, number, 0, not self.reused)
        fakes = forged(self.generator.module, first)
        real = real_batch(training, tasks.batch(training, 0, 1, number), device)
        seed = tasks.torch_seed(training.seed, number, holder, "penalty")
        epsilon = torch.Generator().manual_seed(seed)
        module = self.discriminator.module
        self.discriminator.step(discriminator_loss(loss, module, real, fakes, epsilon), loss.clip)
        made = self.generator.module(*second)
        self.generator.step(loss.generator(module(made, *second[1:])))


def assert_equal(state, other):
    assert state.keys() == other.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


BASES = ["small_mlp", "dcgan", "wgan", "conditional_mlp", ("dcgan", "wgan")]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("share", ["gradients", "none"])
def test_one_judge_and_one_generator_are_the_ordinary_loop(base, share):
    """Bit for bit: batch normalisation, clipping, labels, hybrids."""
    method = bpgan(base=base, share=share, schedule="alternating", fakes="fresh", seed=3)
    keeper = "server/0" if share == "gradients" else "judge/0"
    states = walk(method).states
    loop = Loop(method, "generator/0", keeper, "generator/0")
    with method.training.settled():
        for number in range(1, 5):
            loop.step(number, "judge/0")
    weights, moments = loop.generator.states()
    assert_equal(states["generator/0/generator/4"], weights)
    assert_equal(states["generator/0/generator/4/moments"], moments)
    weights, moments = loop.discriminator.states()
    found = states[f"{keeper}/discriminator/4"]
    for name, array in weights.items():
        if name in dict(loop.discriminator.module.named_parameters()):
            np.testing.assert_array_equal(found[name], array)
    assert_equal(states[f"{keeper}/discriminator/4/moments"], moments)


@pytest.mark.parametrize("combine", ["server", "all_reduce"])
@pytest.mark.parametrize("base", BASES)
def test_one_node_is_the_ordinary_loop(base, combine):
    method = parallel(base=base, combine=combine, schedule="alternating", seed=3)
    keeper = "server/0" if combine == "server" else "node/0"
    states = walk(method).states
    loop = Loop(method, keeper, keeper, "node/0")
    with method.training.settled():
        for number in range(1, 5):
            loop.step(number, "node/0")
    weights, moments = loop.generator.states()
    assert_equal(states[f"{keeper}/generator/4"], weights)
    assert_equal(states[f"{keeper}/generator/4/moments"], moments)


def test_one_batch_of_fakes_may_serve_both():
    """As a loop does that trains the generator on the fakes that the discriminator has seen."""
    method = bpgan(schedule="alternating", fakes="shared", seed=3)
    states = walk(method).states
    loop = Loop(method, "generator/0", "server/0", "generator/0", reused=True)
    with method.training.settled():
        for number in range(1, 5):
            loop.step(number, "judge/0")
    assert_equal(states["generator/0/generator/4"], loop.generator.states()[0])


def test_judges_of_half_a_batch_are_one_of_a_whole():
    """But for rounding: gradients and feedback are means over the batch."""
    method = bpgan(batch_size=20)
    training = method.training
    (weights, moments), _ = tasks.begin(training=training, slot="server/0", kind="discriminator")
    (made, *_), _ = tasks.begin(training=training, slot="generator/0", kind="generator")
    whole = dataclasses.replace(training, batch_size=40)
    generator = load_module(training.build_generator, made, torch.device("cpu"))
    noise = torch.randn(40, training.latent, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        fakes = generator(noise).numpy()
    given = {"slot": "judge/0", "node": 0, "nodes": 1, "counted": False, "round": 1}
    asked = {"asked": ("gradients", "feedback")}
    (one, slope), _ = tasks.judge(weights, {"samples": fakes}, training=whole, **given, **asked)
    halves = [
        # the second batch of 20 follows the first in the same order
        tasks.judge(
            weights, {"samples": part}, training=training, **given | {"round": number}, **asked
        )[0]
        for number, part in ((1, fakes[:20]), (2, fakes[20:]))
    ]
    mean, _ = tasks.combine(
        weights,
        moments,
        *(half[0] for half in halves),
        training=training,
        slot="server/0",
        round=1,
        kind="discriminator",
        nodes=2,
        counted=False,
    )
    alone, _ = tasks.combine(
        weights,
        moments,
        one,
        training=whole,
        slot="server/0",
        round=1,
        kind="discriminator",
        nodes=1,
        counted=False,
    )
    for name in one:
        both = (halves[0][0][name] + halves[1][0][name]) / 2
        np.testing.assert_allclose(both, one[name], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        np.concatenate([half[1]["slope"] for half in halves]) / 2,
        slope["slope"],
        rtol=1e-4,
        atol=1e-9,
    )
    for name, array in alone[1].items():
        np.testing.assert_allclose(mean[1][name], array, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("schedule", ["simultaneous", "alternating"])
@pytest.mark.parametrize("base", ["small_mlp", "wgan"])
def test_all_reduce_is_the_server(base, schedule):
    """Bit for bit: slices are averaged in the order of the nodes, as the server averages."""
    served = walk(parallel(nodes=3, base=base, schedule=schedule))
    reduced = walk(parallel(nodes=3, base=base, schedule=schedule, combine="all_reduce"))
    expected, found = (one.states for one in (served, reduced))
    for node in range(3):
        for kind in ("discriminator", "generator"):
            for name, array in found[f"node/{node}/{kind}/4/moments"].items():
                np.testing.assert_array_equal(array, found[f"node/0/{kind}/4/moments"][name])
    losses = [one.dataset.discriminator_loss.values for one in (served, reduced)]
    assert losses[0].shape == losses[1].shape == (4, 3)
    assert expected.keys() != found.keys()


def test_nodes_share_the_data_out():
    training = parallel().training
    shares = [tasks.share(training, node, 3) for node in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == [*range(len(training.data))]
    assert {len(share) for share in shares} == {599}
    first, second = (tasks.batch(training, 1, 3, number) for number in (1, 2))
    assert not {*first} & {*second}
    assert {*first, *second} <= {*shares[1]}
    epoch = [tasks.batch(training, 1, 3, 1 + number) for number in range(599 // 40)]
    again = [tasks.batch(training, 1, 3, 15 + number) for number in range(599 // 40)]
    assert len({*np.concatenate(epoch)}) == 599 // 40 * 40
    assert not np.array_equal(epoch, again), "shuffled anew"


def sent(method, round=2):
    """Give the bytes of an exchange by term."""
    dataset = walk(method).dataset
    found = dataset.sent_bytes.sel(round=round)
    by_term = {str(term): float(found.sel(term=term).sum()) for term in found.term.values}
    return {term: count for term, count in by_term.items() if count}


@pytest.mark.parametrize("judges", [2, 4])
@pytest.mark.parametrize("fakes", ["shared", "fresh"])
@pytest.mark.parametrize("schedule", ["simultaneous", "alternating"])
def test_bytes_of_bpgan(judges, fakes, schedule):
    """m_D ω down, m_D g up; of the pairs m_D F, twice if fresh, and m_D F back."""
    method = bpgan(discriminators=judges, generators=judges // 2, fakes=fakes, schedule=schedule)
    with torch.device("meta"):
        weights = 4 * sum(p.numel() for p in method.training.build_discriminator().parameters())
    batch = 4 * 40 * 64
    assert sent(method) == {
        "weights": judges * weights,
        "gradients": judges * weights,
        "fakes": judges * batch * (2 if fakes == "fresh" else 1),
        "feedback": judges * batch,
    }


@pytest.mark.parametrize("nodes", [2, 4])
def test_bytes_of_data_parallelism(nodes):
    """M (ω_D + ω_G) each way by a server; 2 (M − 1) (ω_D + ω_G) in all among the nodes."""
    with torch.device("meta"):
        training = parallel().training
        both = training.build_discriminator(), training.build_generator()
    weights = 4 * sum(p.numel() for module in both for p in module.parameters())
    assert sent(parallel(nodes=nodes)) == {
        "weights": nodes * weights,
        "gradients": nodes * weights,
    }
    reduced = sent(parallel(nodes=nodes, combine="all_reduce"))
    assert reduced == {"gradients": 2 * (nodes - 1) * weights}


def test_md_gan_sends_discriminators_when_they_are_swapped():
    method = bpgan(discriminators=3, share="none", swap_every=2, fakes="fresh")
    with torch.device("meta"):
        weights = 4 * sum(p.numel() for p in method.training.build_discriminator().parameters())
    batch = 3 * 4 * 40 * 64
    usual = {"fakes": 2 * batch, "feedback": batch}
    found = walk(method).dataset
    assert sent(method, 2) == usual
    assert sent(method, 3) == usual | {"weights": 3 * weights}
    assert found.event_kind.values.tolist() == ["swapped"]
    assert found.event_round.values.tolist() == [3]


def test_gradients_that_are_not_finite_are_discarded():
    method = bpgan(iterations=1)
    training = method.training
    (weights, moments), _ = tasks.begin(training=training, slot="server/0", kind="discriminator")
    bad = {name: np.full_like(array, np.nan) for name, array in weights.items()}
    given = {"slot": "server/0", "round": 1, "kind": "discriminator", "nodes": 1, "counted": False}
    (kept, same), values = tasks.combine(weights, moments, bad, training=training, **given)
    assert values == {"finite": False}
    assert_equal(kept, weights)
    assert_equal(same, moments)


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (bpgan, {"generators": 2}, "would have no judge"),
        (bpgan, {"discriminators": 0}, "at least 1"),
        (bpgan, {"swap_every": 3}, "nothing to swap"),
        (bpgan, {"swap_every": 3, "share": "none"}, "nobody to swap with"),
        (bpgan, {"base": ("mlp", "conditional_mlp")}, "one takes labels"),
        (bpgan, {"base": "no_such"}, "base"),
        (bpgan, {"discriminator_steps": 5}, "choose 1"),
        (bpgan, {"discriminators": 60}, "a node's share of digits is 29 samples"),
        (parallel, {"nodes": 0}, "at least 1"),
        (parallel, {"combine": "ring"}, "one of server, all_reduce"),
        (parallel, {"swap_every": 1}, "swap_every"),
    ],
)
def test_what_cannot_work_is_refused(make, changes, message):
    with pytest.raises(SettingError, match=message):
        make(**changes).check()
