"""Messages in fewer bits: what rounding costs, and that what it takes comes later."""

import numpy as np
import pytest

from gandask.training import wire

STATE = {
    "weight": np.linspace(-3, 2, 60, dtype=np.float32).reshape(3, 20),
    "bias": np.array([1e-9, -2e-9], np.float32),
    "zero": np.zeros(4, np.float32),
    "seen": np.array(7, np.int64),
}


def shapes(state):
    return {name: (array.shape, str(array.dtype)) for name, array in state.items()}


ERRORS = {"float32": 0, "float16": 2**-11, "int8": 1 / 254}


@pytest.mark.parametrize("kind", wire.WIRES)
@pytest.mark.parametrize("by_sample", [False, True])
def test_what_comes_is_what_was_sent_but_for_rounding(kind, by_sample):
    state = {name: array for name, array in STATE.items() if array.ndim or not by_sample}
    sent = wire.packed(state, kind, by_sample)
    came = wire.unpacked(sent)
    assert came.keys() == state.keys()
    for name, array in state.items():
        assert came[name].dtype == array.dtype
        axis = tuple(range(1, array.ndim)) if by_sample else None
        largest = np.abs(array).max(axis=axis, keepdims=True)
        assert (np.abs(came[name] - array) <= 1.01 * ERRORS[kind] * largest).all(), name
    assert sum(array.nbytes for array in sent.values()) == wire.size(shapes(state), kind, by_sample)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_what_is_not_finite_does_not_come_as_a_number(kind, wrong):
    state = {"slope": np.array([1.0, wrong, 2.0], np.float32)}
    assert not np.isfinite(wire.unpacked(wire.packed(state, kind))["slope"]).any()


def test_what_rounding_takes_comes_later():
    """Over many messages all that was to be sent has come, but for what is left."""
    chance = np.random.default_rng(1)
    left, whole, came = {}, np.zeros(50, np.float32), np.zeros(50, np.float32)
    for _ in range(40):
        gradient = {"weight": chance.normal(size=50).astype(np.float32) * 1e-3 + 1e-5}
        sent, left = wire.remembered(gradient, left, "int8")
        whole, came = whole + gradient["weight"], came + wire.unpacked(sent)["weight"]
    np.testing.assert_allclose(came + left["weight"], whole, rtol=1e-4, atol=1e-7)
    assert np.abs(left["weight"]).max() < 1e-3 * 4 / 127


def test_a_gradient_that_is_not_finite_leaves_nothing_behind():
    sent, left = wire.remembered({"weight": np.array([1.0, np.nan], np.float32)}, {}, "int8")
    assert np.isnan(wire.unpacked(sent)["weight"]).all()
    np.testing.assert_array_equal(left["weight"], [0.0, 0.0])
    before = {"weight": np.array([1e-3, 2e-3], np.float32)}
    _, left = wire.remembered({"weight": np.array([1.0, np.inf], np.float32)}, before, "int8")
    assert left is before, "what was there is sent later"
