"""What holds for every method, held up to each: add a class for a new one."""

import dataclasses
import itertools
import subprocess
import sys
from typing import ClassVar

import pytest
from conftest import TINY, tiny

from gandask.core import MethodError, SettingError, StoreError, Task
from gandask.methods import METHODS
from gandask.methods.testing import Conformance, Toy, walk
from gandask.methods.testing.toy import step


class TestGrid(Conformance):
    method = tiny("grid", final_scores=("precision", "recall", "kid"))


class TestSequences(Conformance):
    """With recurrent networks, and slopes of slopes."""

    method = tiny(
        "grid", data="sines", network="lstm", loss="wgan_gp", shape=(1, 2), rounds=2,
        batch_size=20, data_fraction=0.01, fitness_samples=20,
        final_scores=("autocorrelation_distance", "prediction_error", "recall"),
    )  # fmt: skip


class TestGridPractised(Conformance):
    """With an average beside the weights, in parts of batches, at rates that fall."""

    method = tiny(
        "grid", ema=0.9, gradient_accumulation=2, learning_rate_half_life=3, keep_best=True
    )


class TestSemiSupervised(Conformance):
    method = tiny("grid", labelled=16, score="accuracy")


class TestMGGAN(Conformance):
    method = tiny("mggan", final_scores=("coverage", "fid_by_class"), keep_best=True)


class TestBPGAN(Conformance):
    method = tiny("bpgan", final_scores=("density",), keep_best=True)


class TestMDGAN(Conformance):
    method = tiny(
        "bpgan", share="none", generators=1, swap_every=2, schedule="alternating", fakes="fresh"
    )


class TestDataParallel(Conformance):
    method = tiny("data_parallel", schedule="alternating", keep_best=True)


class TestAllReduce(Conformance):
    """With batch normalisation, whose buffers are apart from the weights."""

    method = tiny(
        "data_parallel", combine="all_reduce", schedule="alternating", data="digits", base="dcgan",
        batch_size=20,
    )  # fmt: skip


class TestBPGANByWeights(Conformance):
    """Judges and generators that train by themselves and are averaged, in fewer bits."""

    method = tiny(
        "bpgan", share="weights", generator_average="mean", wire="int8", exchange_every=2,
        discriminator_steps=2, generator_steps="stale",
    )  # fmt: skip


class TestFederated(Conformance):
    method = tiny("data_parallel", combine="local", exchange_every=2)


class TestPerLabel(Conformance):
    method = tiny("per_label", final_scores=("precision", "fid_by_class"))
    shorter: ClassVar = {"budget": "iterations:4", "labels": (0, 7)}


class TestPerLabelInTurn(Conformance):
    """One label after the other, with a critic that takes several steps."""

    method = tiny("per_label", at_once=1, loss="wgan_gp", labels=None, score_samples=0)
    shorter: ClassVar = {"labels": (0, 1, 2)}


class TestPrivacy(Conformance):
    method = tiny("privacy", final_scores=("recall", "fid_by_class"))


class TestToy(Conformance):
    method = Toy(workers={"node/0": "0"}, meeting=2, diverges=2)


class TestToyOfTwoRoles(Conformance):
    method = Toy(server=True, nodes=3, meeting=1, rate_schedule={3: 0.1})


class TestToyAlone(Conformance):
    method = Toy(nodes=1, rounds=2)


def test_every_method_is_held_to_it():
    parts = [TestBPGAN, TestMDGAN, TestBPGANByWeights, TestDataParallel, TestAllReduce]
    labels = [TestPerLabel, TestPerLabelInTurn]
    gans = [TestGrid, TestGridPractised, TestSemiSupervised, TestMGGAN, TestFederated, TestPrivacy]
    suites = [*gans, *parts, *labels, TestToy, TestToyOfTwoRoles, TestToyAlone]
    ours = {name for name, cls in METHODS.items() if cls.__module__.startswith("gandask.")}
    assert {suite.method.name for suite in suites} == ours == {*TINY}


@pytest.mark.parametrize("key", ["mixture_sigma", "mixture_generations"])
@pytest.mark.parametrize("name", TINY)
def test_methods_that_evolve_no_mixture_have_no_settings_of_it(name, key):
    if name in ("grid", "mggan", "bpgan"):
        assert getattr(tiny(name, **{key: 2}), key) == 2
    else:
        with pytest.raises(SettingError, match=f"has no setting '{key}'"):
            tiny(name, **{key: 2})


# ---- what the suite finds


def in_place(own, left, **arguments):
    own["point"] += 1
    return step(own, left, **arguments)


def forgetful(own, left, **arguments):
    """A step whose chance is nobody's seed."""
    states, values = step(own, left, **arguments)
    return ({"point": states[0]["point"] + next(drawn)},), values


def of_lists(own, left, **arguments):
    return ({"point": [1.0, 2.0]},), {"distance": 0.0, "finite": True}


def full_of_objects(own, left, **arguments):
    states, values = step(own, left, **arguments)
    return states, values | {"why": object()}


drawn = itertools.count(1.0)


def stepping(function):
    """Make a toy whose steps are another function, under the same name."""

    class Bad(Toy):
        def _step(self, slot, done, writes):
            return dataclasses.replace(super()._step(slot, done, writes), function=function)

    return Bad(nodes=2, rounds=2)


@pytest.mark.parametrize(
    ("function", "test", "message"),
    [
        (in_place, "test_inputs_are_never_changed", "step changes .* in place"),
        (forgetful, "test_a_task_comes_to_the_same_a_second_time", "depends on more than its"),
        (of_lists, "test_states_are_flat_arrays_written_once", "point of .* is no array"),
    ],
)
def test_a_bad_step_is_found(function, test, message):
    bad = stepping(function)
    suite = type("Suite", (Conformance,), {"method": bad})()
    with pytest.raises(AssertionError, match=message):
        getattr(suite, test)(walk(bad))


def test_a_report_that_does_not_fit_the_log_is_found():
    bad = stepping(full_of_objects)
    with pytest.raises(StoreError, match="expected numbers or text"):
        type("Suite", (Conformance,), {"method": bad})().test_reports_fit_the_log(walk(bad))


def test_an_advance_that_remembers_is_found(monkeypatch):
    calls, advance = itertools.count(), Toy.advance

    def remembering(self, view, reports):
        after, plan = advance(self, view, reports)
        return after, plan if next(calls) % 2 == 0 else []

    monkeypatch.setattr(Toy, "advance", remembering)
    walked = walk(Toy(rounds=2))
    with pytest.raises(AssertionError):
        type("Suite", (Conformance,), {"method": Toy(rounds=2)})().test_advance_is_pure(walked)


def test_a_plan_that_breaks_the_contract_is_not_walked(monkeypatch):
    monkeypatch.setattr(Toy, "_round", lambda self, ready, done: [[Task("edge/0", 1, step)]])
    with pytest.raises(MethodError, match="its layout has no such slot"):
        walk(Toy())


def test_it_says_that_it_needs_pytest():
    code = "import sys; sys.modules['pytest'] = None; import gandask.methods.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: gandask.methods.testing needs pytest: pip install pytest" in done.stderr


def test_the_methods_are_there_without_it():
    code = "import sys; import gandask.methods; sys.exit('gandask.methods.testing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
