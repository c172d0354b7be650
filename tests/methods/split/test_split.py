"""BPGAN and data parallelism: the numbers of an ordinary loop, cut where networks live apart."""

import dataclasses

import numpy as np
import pytest
import torch

import gandask as gd
from gandask.core import Report, SettingError
from gandask.engine.options import Options
from gandask.engine.session import Session
from gandask.execution.heartbeat import Heartbeat, Watch
from gandask.execution.serial import Serial
from gandask.methods.split import draws
from gandask.methods.split.generators import begin
from gandask.methods.split.judges import judge, penalties
from gandask.methods.split.pace import discarded
from gandask.methods.split.servers import combine
from gandask.methods.split.states import buffers_of
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
    """The ordinary loop, written by hand: the discriminator's steps, and then the generator's."""

    def __init__(self, method, generator, discriminator, slot, reused=False):
        self.training, self.slot = method.training, slot
        self.rules = dataclasses.replace(method.rules, fresh=not reused, batches=1)
        training = self.training
        with training.settled() as self.device:
            pass
        made = begin(training=training, rules=method.rules, slot=generator, kind="generator")[0]
        judge = begin(
            training=training, rules=method.rules, slot=discriminator, kind="discriminator"
        )[0]
        self.generator = Learner.of(
            load_module(training.build_generator, made[0], self.device),
            made[1],
            training.adam_betas,
        )
        self.discriminator = Learner.of(
            load_module(training.build_discriminator, judge[0], self.device),
            judge[1],
            training.adam_betas,
        )

    def step(self, number, holder):
        """Take the steps of an exchange, on its batches and noise."""
        training, loss, device = self.training, self.training.losses[0], self.device
        module, steps = self.discriminator.module, self.rules.steps
        given = draws.inputs(training, self.rules, device, self.slot, number, 0)
        for step, first in enumerate(given[0], 1):
            fakes = forged(self.generator.module, first)
            indices = draws.batch(training, 0, 1, (number - 1) * steps + step)
            real = real_batch(training, indices, device)
            epsilon = penalties(training, holder, number, step, device)
            value = discriminator_loss(loss, module, real, fakes, epsilon)
            self.discriminator.step(value, loss.clip)
        (second,) = given[1]
        made = self.generator.module(*second)
        self.generator.step(loss.generator(module(made, *second[1:])))

    def forge(self, number):
        """Make the fakes of an exchange, which batch normalisation counts."""
        given = draws.inputs(self.training, self.rules, self.device, self.slot, number, 0)
        for batch in (*given[0], *given[1]):
            forged(self.generator.module, batch)


def assert_equal(state, other):
    assert state.keys() == other.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def assert_trained(state, learner):
    """Compare weights, and not what was counted of how many batches."""
    weights, _ = learner.states()
    names = [name for name, _ in learner.module.named_parameters()]
    assert_equal({name: state[name] for name in names}, {name: weights[name] for name in names})


BASES = ["small_mlp", "dcgan", "wgan", "conditional_mlp", ("dcgan", "wgan")]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("share", ["gradients", "none"])
def test_one_judge_and_one_generator_are_the_ordinary_loop(base, share):
    """Bit for bit: batch normalisation, gradient penalty, clipping, labels, hybrids."""
    loss = "wgan" if base == "small_mlp" else None
    method = bpgan(base=base, loss=loss, share=share, schedule="alternating", fakes="fresh", seed=3)
    keeper = "server/0" if share == "gradients" else "judge/0"
    states = walk(method).states
    loop = Loop(method, "generator/0", keeper, "generator/0")
    with method.training.settled():
        for number in range(1, 5):
            loop.step(number, "judge/0")
        loop.forge(5)  # they are there when a longer run goes on
    weights, moments = loop.generator.states()
    assert_equal(states["generator/0/generator/4"], weights)
    assert_equal(states["generator/0/generator/4/moments"], moments)
    weights, moments = loop.discriminator.states()
    found = states[f"{keeper}/discriminator/4"]
    assert_trained(found, loop.discriminator)
    assert_equal(states[f"{keeper}/discriminator/4/moments"], moments)


@pytest.mark.parametrize("combine", ["server", "all_reduce"])
@pytest.mark.parametrize("base", BASES)
def test_one_node_is_the_ordinary_loop(base, combine):
    method = parallel(base=base, combine=combine, schedule="alternating", seed=3)
    keeper = "server/0" if combine == "server" else "node/0"
    states = walk(method).states
    loop = Loop(method, "node/0", "node/0", "node/0")
    with method.training.settled():
        for number in range(1, 5):
            loop.step(number, "node/0")
    for kind in ("generator", "discriminator"):
        assert_equal(states[f"{keeper}/{kind}/4/moments"], getattr(loop, kind).moments())
        assert_trained(states[f"{keeper}/{kind}/4"], getattr(loop, kind))


class Seen:
    """Takes down how far a run is said to be."""

    def __init__(self):
        self.seen = []

    def begin(self, how_far):
        assert how_far.turns == 0

    def tell(self, how_far):
        self.seen.append(how_far.turns)


@pytest.mark.parametrize("method", [bpgan(discriminators=3), parallel(nodes=2)])
def test_progress_counts_slots_that_have_nothing_to_record(method):
    slots = len(method.layout().slots)
    session = Session(method, method.prepare(), Options())
    session.watch = Watch(Heartbeat())
    session.executor = Serial(method.seed)
    session.begin()
    bar = Seen()
    assert session.work(bar)
    seen = [*dict.fromkeys(bar.seen)]
    assert seen == sorted(seen)
    whole = {slots * number for number in range(1, 5)}
    # nodes tell of their losses before the server's step is done
    assert whole == {*seen} if method.paced is None else whole >= {seen[-1]}


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
    rules = method.rules
    given = {"training": training, "rules": rules}
    (weights, moments), _ = begin(slot="server/0", kind="discriminator", **given)
    (made, *_), _ = begin(slot="generator/0", kind="generator", **given)
    whole = dataclasses.replace(training, batch_size=40)
    generator = load_module(training.build_generator, made, torch.device("cpu"))
    noise = torch.randn(40, training.latent, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        fakes = generator(noise).numpy()
    given = {"rules": rules, "slot": "judge/0", "node": 0, "counted": False, "round": 1}
    asked = {"asked": ("gradients", "feedback")}
    (one, slope), _ = judge(weights, {"samples": fakes}, training=whole, **given, **asked)
    halves = [
        # the second batch of 20 follows the first in the same order
        judge(weights, {"samples": part}, training=training, **given | {"round": number}, **asked)[
            0
        ]
        for number, part in ((1, fakes[:20]), (2, fakes[20:]))
    ]
    given = {"rules": rules, "slot": "server/0", "round": 1, "kind": "discriminator"}
    mean, alone = (
        combine(weights, moments, *sent, training=training, count=len(sent), **given)[0]
        for sent in ([half[0] for half in halves], [one])
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


@pytest.mark.parametrize(
    ("schedule", "steps"), [("simultaneous", 1), ("simultaneous", 2), ("alternating", 1)]
)
@pytest.mark.parametrize("base", ["small_mlp", "wgan", "dcgan"])
def test_all_reduce_is_the_server(base, schedule, steps):
    """Bit for bit, on every node: slices are averaged in the order in which the server averages."""
    given = {"nodes": 3, "base": base, "schedule": schedule, "discriminator_steps": steps}
    served, reduced = (walk(parallel(combine=by, **given)) for by in ("server", "all_reduce"))
    for kind in ("discriminator", "generator"):
        # a server of gradients counts steps, not exchanges
        number = 4 * steps if kind == "discriminator" else 4
        for end in ("", "/moments"):
            expected = served.states[f"server/0/{kind}/{number}{end}"]
            for node in range(3):
                assert_equal(reduced.states[f"node/{node}/{kind}/4{end}"], expected)
    for name in ("discriminator_loss", "generator_loss"):
        np.testing.assert_array_equal(reduced.dataset[name], served.dataset[name])
        assert np.isfinite(served.dataset[name]).all()


@pytest.mark.parametrize("schedule", ["simultaneous", "alternating"])
def test_nodes_average_all_that_was_asked_at_once(schedule):
    """In as few tasks as there are: each costs a message, and so does each state that it writes."""
    method = parallel(nodes=4, combine="all_reduce", schedule=schedule)
    tasks = [task for stage in method.exchange(2) for task in stage if task.slot == "node/1"]
    phases = ["both"] if schedule == "simultaneous" else ["discriminator", "generator"]
    steps = ("differentiate", "reduce", "apply")
    assert [task.name for task in tasks] == [f"{one}_{after}" for after in phases for one in steps]
    written = {"both": [4, 1, 4], "discriminator": [4, 1, 2], "generator": [4, 1, 2]}
    assert [len(task.writes) for task in tasks] == [n for after in phases for n in written[after]]


@pytest.mark.parametrize("kind", ["discriminator", "generator"])
def test_of_both_networks_the_one_whose_gradient_is_not_finite_stays(kind):
    found = walk(parallel(nodes=2, combine="all_reduce", iterations=1))
    one = next(one for one in found.performed if one.task.name == "apply_both")
    given = dict(zip(one.task.reads, one.reads, strict=True))
    wrong = next(name for name in given if "/mean/" in name)
    given[wrong] = given[wrong] | {kind: np.full_like(given[wrong][kind], np.nan)}
    written, values = one.task.function(*given.values(), **one.task.arguments)
    made, before = dict(zip(one.task.writes, written, strict=True)), [*given.values()]
    for at, (name, state) in enumerate(made.items()):
        expected = before[at] if f"/{kind}/" in name else one.written[at]
        assert_equal(state, expected)
    assert not values["finite"]
    (event,) = discarded(Report("node/0", 1, "apply_both", values))
    assert (
        event.detail
        == f"apply_both: a gradient of the {kind} is not finite; the step was discarded"
    )


def test_nodes_share_the_data_out():
    training = parallel().training
    shares = [draws.share(training, node, 3) for node in range(3)]
    assert sorted(np.concatenate(shares).tolist()) == [*range(len(training.data))]
    assert {len(share) for share in shares} == {599}
    first, second = (draws.batch(training, 1, 3, number) for number in (1, 2))
    assert not {*first} & {*second}
    assert {*first, *second} <= {*shares[1]}
    epoch = [draws.batch(training, 1, 3, 1 + number) for number in range(599 // 40)]
    again = [draws.batch(training, 1, 3, 15 + number) for number in range(599 // 40)]
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


@pytest.mark.parametrize("wrong", ["gradients", "buffers"])
@pytest.mark.parametrize("kind", ["discriminator", "generator"])
def test_what_is_not_finite_is_discarded_with_its_step(kind, wrong):
    """What batch normalisation counted as well: a NaN in it would stay."""
    method = bpgan(base="dcgan")
    training, rules = method.training, method.rules
    given = {"training": training, "rules": rules, "slot": "server/0", "kind": kind}
    (held, moments), _ = begin(**given)
    module = load_module(training.builder(kind), held, torch.device("cpu"))
    sent = [{name: np.ones_like(held[name]) for name in dict(module.named_parameters())}]
    counts = buffers_of(module)
    counts = [{name: array + 1 for name, array in counts.items()}] if counts else []
    given |= {"round": 1, "count": 1}
    (taken, _), values = combine(held, moments, *sent, *counts, **given)
    assert values == {"finite": True}
    assert all((taken[name] != array).any() for name, array in held.items())
    if wrong == "buffers" and not counts:
        return
    bad = (counts if wrong == "buffers" else sent)[0]
    name = next(iter(bad))
    bad[name] = np.full_like(bad[name], np.nan)
    (kept, same), values = combine(held, moments, *sent, *counts, **given)
    assert values == {"finite": False}
    assert_equal(kept, held)
    assert_equal(same, moments)


def simultaneous(method):
    """Train as the thesis's schedule says, written by hand: judges of before for all."""
    training = method.training
    with training.settled() as device:
        pass
    loss, judges, makers = training.losses[0], method.discriminators, method.generators
    own = method.share == "none"

    def learner(slot, kind):
        state, moments = begin(training=training, rules=method.rules, slot=slot, kind=kind)[0]
        module = load_module(training.builder(kind), state, device)
        return Learner.of(module, moments, training.adam_betas)

    generators = [learner(f"generator/{j}", "generator") for j in range(makers)]
    slots = [f"judge/{i}" for i in range(judges)] if own else ["server/0"]
    critics = [learner(slot, "discriminator") for slot in slots]
    with training.settled():
        for number in range(1, method.iterations + 1):
            if own:
                taken = [*method._held(number)]
                weights = [[p.detach().clone() for p in critic.parameters] for critic in critics]
                for critic, other in zip(critics, taken, strict=True):
                    for parameter, value in zip(critic.parameters, weights[other], strict=True):
                        parameter.data = value
            asked = [[] for _ in generators]
            learnt = []
            for i in range(judges):
                generator, critic = generators[i % makers], critics[i if own else 0]
                slot = f"generator/{i % makers}"
                drawn = draws.inputs(training, method.rules, device, slot, number, i)
                drawn = [batches[0] for batches in drawn]
                real = real_batch(training, draws.batch(training, i, judges, number), device)
                fakes = forged(generator.module, drawn[0])
                epsilon = penalties(training, f"judge/{i}", number, 1, device)
                value = discriminator_loss(loss, critic.module, real, fakes, epsilon)
                learnt.append(critic.gradients(value))
                value = loss.generator(critic.module(generator.module(*drawn[1])))
                asked[i % makers].append(generator.gradients(value))
            for generator, parts in zip(generators, asked, strict=True):
                generator.apply([sum(each) / len(parts) for each in zip(*parts, strict=True)])
            if own:
                for critic, found in zip(critics, learnt, strict=True):
                    critic.apply(found, loss.clip)
            else:
                mean = [sum(each) / len(learnt) for each in zip(*learnt, strict=True)]
                critics[0].apply(mean, loss.clip)
    return generators, dict(zip(slots, critics, strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"discriminators": 3, "generators": 2},
        {"discriminators": 3, "generators": 1, "fakes": "fresh"},
        {"discriminators": 3, "generators": 1, "share": "none", "swap_every": 2},
        {"discriminators": 2, "generators": 2, "share": "none", "swap_every": 1},
    ],
    ids=["three judges", "one generator", "swaps", "swaps every time"],
)
def test_several_judges_at_once_are_a_loop_by_hand(changes):
    method = bpgan(base="wgan", seed=5, **changes)
    states = walk(method).states
    generators, critics = simultaneous(method)
    for index, generator in enumerate(generators):
        assert_trained(states[f"generator/{index}/generator/4"], generator)
    for slot, critic in critics.items():
        assert_trained(states[f"{slot}/discriminator/4"], critic)


def test_swaps_that_never_come_are_told(caplog):
    for iterations, told in ((3, True), (4, False)):
        caplog.clear()
        bpgan(discriminators=2, share="none", swap_every=3, iterations=iterations).check()
        assert ("never swapped in iterations=3" in caplog.text) == told


def test_a_generator_that_draws_is_refused(monkeypatch):
    def drawing(shape, latent, classes, activation):
        made = gd.NETWORKS["small_mlp"].generator(shape, latent, classes, activation)
        return torch.nn.Sequential(torch.nn.Dropout(0.5), made)

    monkeypatch.setitem(
        gd.NETWORKS, "drawing", dataclasses.replace(gd.NETWORKS["small_mlp"], generator=drawing)
    )
    with pytest.raises(SettingError, match="something else for the same noise"):
        bpgan(base="drawing").check()
    parallel(base="drawing").check()


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (bpgan, {"generators": 2}, "would have no judge"),
        (bpgan, {"discriminators": 0}, "at least 1"),
        (bpgan, {"swap_every": 3}, "nothing to swap"),
        (bpgan, {"swap_every": 3, "share": "none"}, "nobody to swap with"),
        (bpgan, {"base": ("mlp", "conditional_mlp")}, "one takes labels"),
        (bpgan, {"base": "no_such"}, "base"),
        (bpgan, {"base": None}, "base=None: expected names"),
        (bpgan, {"base": ("mlp",)}, r"base=\('mlp',\): expected names"),
        (parallel, {"base": ""}, "base"),
        (bpgan, {"generator_average": "mean"}, "there is a single generator"),
        (bpgan, {"buffers": "own", "share": "none"}, "goes with the weights"),
        (parallel, {"buffers": "own", "combine": "local"}, "goes with the weights"),
        (bpgan, {"wire": "int4"}, "one of float32, float16, int8"),
        (parallel, {"exchange_every": 0}, "at least 1"),
        (bpgan, {"discriminators": 60}, "a node's share of digits is 29 samples"),
        (parallel, {"nodes": 0}, "at least 1"),
        (parallel, {"combine": "ring"}, "one of server, all_reduce"),
        (parallel, {"swap_every": 1}, "swap_every"),
    ],
)
def test_what_cannot_work_is_refused(make, changes, message):
    with pytest.raises(SettingError, match=message):
        make(**changes).check()
