"""PrivacyGAN: the numbers of an ordinary loop, cut where the data must not leave."""

import numpy as np
import pytest
import torch

import gandask as gd
from gandask.clients.held import Held
from gandask.clients.keeping import PrivateStore
from gandask.clients.learning import batch_of
from gandask.clients.spending import epsilon
from gandask.clients.terms import Terms
from gandask.core import torch_seed
from gandask.methods.privacy.students import public_batch
from gandask.methods.testing import walk
from gandask.training import networks
from gandask.training.learner import Learner, fresh_moments, load_module, save_module
from gandask.training.losses import LOSSES
from gandask.training.pair import discriminator_loss
from gandask.training.settings import Noise, real_batch

SMALL = {
    "data": "digits",
    "base": "small_mlp",
    "alpha": 1,
    "clients": 2,
    "iterations": 4,
    "batch_size": 20,
    "local_samples": 70,
    "learning_rate": 1e-3,
    "score_samples": 0,
    "final_samples": 20,
    "audit_samples": 5,
    "features": "coordinates",
    "seed": 3,
}
TAUGHT = {"alpha": 0.7, "teacher_iterations": 2}


def privacy(**changes):
    return gd.PrivacyGAN(**SMALL | changes)


def assert_equal(state, other):
    assert state.keys() == other.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def under(state, kind):
    return {
        name.removeprefix(kind): array for name, array in state.items() if name.startswith(kind)
    }


class Loop:
    """A GAN in one place, written by hand: the discriminator first, then the generator.

    Both see the same fakes, and gradients flow through the discriminator to the generator whole.
    """

    def __init__(self, method, index, teacher, device):
        self.method, self.index, self.device = method, index, device
        training, seed = method.training, method.seed
        self.training, self.loss = training, training.losses[0]
        self.terms = Terms(**method.terms(index))
        self.members = Held.part(training.source, method.part(index)).members
        self.slot, self.client = f"student/{index}", f"client/{index}"
        made = {}
        for kind, slot in (("generator", self.slot), ("discriminator", self.client)):
            build = training.builder(kind)
            made[kind] = save_module(networks.build(build, torch_seed(seed, 0, slot, kind, 0)))
        if method.start_from_teacher:
            made = teacher
        self.generator, self.discriminator = (self._learner(kind, made[kind]) for kind in made)
        self.teacher = self._learner("discriminator", teacher["discriminator"]) if teacher else None

    def _learner(self, kind, weights):
        module = load_module(self.training.builder(kind), weights, self.device)
        moments = fresh_moments(module, self.training.learning_rate)
        return Learner.of(module, moments, self.training.adam_betas)

    def step(self, round, alpha):
        """Take the steps of a round."""
        method, training, module = self.method, self.training, self.discriminator.module
        noise = Noise(training, self.device, round, self.slot, "train")
        steps = method.exchange_every * method.discriminator_steps
        made = [self.generator.module(*noise.draw(20)) for _ in range(steps)]
        penalty = torch_seed(method.seed, round, self.client, "penalty")
        drawn = torch.Generator(self.device).manual_seed(penalty)
        for step, fakes in enumerate(made, 1):
            indices = batch_of(self.members, self.terms, (round - 1) * steps + step)
            real = real_batch(training, indices, self.device)
            given = self.loss, module, real, (fakes.detach(),), drawn
            self.discriminator.step(discriminator_loss(*given), self.loss.clip)
        answered = made[-method.exchange_every :]
        local = [self._slope(self.loss, module, fakes) for fakes in answered]
        if self.teacher and method.teacher_mode == "live":
            self._teach(round, answered)
        parts = []
        for fakes, slope in zip(answered, local, strict=True):
            asked = slope
            if alpha < 1:
                judge = self.teacher.module
                asked = alpha * slope + (1 - alpha) * self._slope(LOSSES["bce"], judge, fakes)
            parts.append(self.generator.gradients(fakes, asked))
        self.generator.apply([sum(each) / len(each) for each in zip(*parts, strict=True)])

    def _teach(self, round, answered):
        places = range((round - 1) * len(answered) + 1, round * len(answered) + 1)
        for place, fakes in zip(places, answered, strict=True):
            indices = public_batch(self.training, self.method.public_fraction, self.slot, place)
            real = real_batch(self.training, indices, self.device)
            given = LOSSES["bce"], self.teacher.module, real, (fakes.detach(),), None
            self.teacher.step(discriminator_loss(*given))

    def _slope(self, loss, judge, fakes):
        (slope,) = torch.autograd.grad(loss.generator(judge(fakes)), fakes, retain_graph=True)
        if self.method.feedback_norm == "none":
            return slope
        return torch.stack([each / each.norm() for each in slope])


@pytest.fixture
def kept(monkeypatch):
    """All states of discriminators, as their clients keep them, in order."""
    found, put = [], PrivateStore.put

    def putting(self, digest, state):
        found.append((id(self), dict(state)))
        put(self, digest, state)

    monkeypatch.setattr(PrivateStore, "put", putting)
    return found


LIVE = TAUGHT | {"teacher_mode": "live"}
CASES = {
    "plain": ({}, 1),
    "dcgan": ({"base": "dcgan"}, 1),
    "mlp": ({"base": "mlp", "iterations": 2}, 1),
    "penalty": ({"base": "wgan", "iterations": 2}, 1),
    "clipped": ({"loss": "wgan"}, 1),
    "seldom": ({"exchange_every": 2, "iterations": 8}, 1),
    "more steps": ({"exchange_every": 2, "discriminator_steps": 2, "base": "dcgan"}, 1),
    "frozen": (TAUGHT, 0.7),
    "frozen dcgan": (TAUGHT | {"base": "dcgan", "iterations": 2}, 0.7),
    "live": (LIVE, 0.7),
    "live dcgan, seldom": (LIVE | {"base": "dcgan", "exchange_every": 2}, 0.7),
    "as the teacher": (TAUGHT | {"start_from_teacher": True}, 0.7),
    "warm-up": (TAUGHT | {"warmup": 2}, {1: 1.0, 3: 0.7}),
    "each its own": (TAUGHT | {"alpha": [0.5, 1.0]}, [0.5, 1.0]),
    "schedule": (TAUGHT | {"alpha_schedule": {"3": 0.2}}, {1: 0.7, 3: 0.2}),
    "unit": (TAUGHT | {"feedback_norm": "unit"}, 0.7),
}


def share(told, index, round):
    """What a case says of a client's share in a round."""
    if isinstance(told, dict):
        return told[max(begin for begin in told if begin <= round)]
    return told[index] if isinstance(told, list) else told


SLOW = ("frozen dcgan", "live dcgan, seldom", "more steps", "mlp")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.deep] if case in SLOW else []) for case in CASES]
)
def test_it_is_the_loop_in_one_place(case, kept):
    """Bit for bit, but for norms that are summed otherwise."""
    changes, alpha = CASES[case]
    method = privacy(**changes)
    walked = walk(method)
    written = {
        name: state
        for one in walked.performed
        for name, state in zip(one.task.writes, one.written, strict=True)
    }
    teacher = {
        kind: written[f"teacher/0/{kind}/0"]
        for kind in ("generator", "discriminator")
        if f"teacher/0/{kind}/0" in written
    }
    same = assert_close if method.feedback_norm == "unit" else assert_equal
    trained = [state for _, state in kept if "frame" not in state]
    with method.training.settled() as device:
        for index in range(2):
            loop = Loop(method, index, teacher, device)
            for round in range(1, method.rounds + 1):
                told = share(alpha, index, round)
                loop.step(round, told)
                assert float(walked.dataset["alpha"].sel(round=round, client=index)) == told
                weights, moments = loop.generator.states()
                name = f"student/{index}/generator/{round}"
                same(written[f"{name}/moments"], moments)
                same(parameters(written[name], loop.generator), parameters(weights, loop.generator))
            weights, moments = loop.discriminator.states()
            last = trained[2 * (method.rounds - 1) + index]
            same(under(last, "weights/"), weights)
            same(under(last, "moments/"), moments)


def parameters(state, learner):
    """What of a state is trained: statistics of the fakes to come are in it already."""
    return {name: state[name] for name, _ in learner.module.named_parameters()}


def assert_close(state, other):
    assert state.keys() == other.keys()
    for name, array in state.items():
        np.testing.assert_allclose(array, other[name], rtol=2e-3, atol=1e-6, err_msg=name)


# ---- differential privacy


def test_epsilon_is_the_accountants_and_ends_a_couple_before_its_limit():
    settings = {
        "clients": 1,
        "data": "digits",
        "base": "small_mlp",
        "alpha": 1,
        "batch_size": 20,
        "iterations": 6,
        "local_samples": 80,
        "score_samples": 0,
        "final_samples": 50,
        "audit_samples": 5,
        "privacy": gd.DPSGD(noise=2.0, clip=1.0),
    }
    whole = gd.run(gd.PrivacyGAN(**settings), progress=False)
    counted = [epsilon([(2.0, 20 / 80, steps)], 1e-5) for steps in range(1, 7)]
    assert whole.epsilon.values[:, 0] == pytest.approx(counted, rel=1e-12)
    assert whole.discriminator_loss.isnull().all()
    assert whole.attrs["epsilon_covers_scores"]
    limit = (counted[3] + counted[4]) / 2
    ended = gd.run(gd.PrivacyGAN(**settings, epsilon_limit=limit), progress=False)
    assert ended.epsilon.values[:4, 0] == pytest.approx(counted[:4], rel=1e-12)
    assert np.nanmax(ended.epsilon) <= limit
    told = [*zip(ended.event_round.values, ended.event_kind.values, strict=True)]
    assert [(int(round), str(kind)) for round, kind in told] == [(5, "spent")]
    assert np.isfinite(ended.final_fid).all()
