"""What holds for every method, held up to each: add a class for a new one."""

from conftest import TINY, tiny

from gandask.methods import METHODS
from gandask.methods.testing import Conformance, Toy


class TestGrid(Conformance):
    method = tiny("grid")


class TestMGGAN(Conformance):
    method = tiny("mggan")


class TestToy(Conformance):
    method = Toy(workers={"node/0": "0"}, meeting=2, diverges=2)


class TestToyOfTwoRoles(Conformance):
    method = Toy(server=True, nodes=3, meeting=1, rate_schedule={3: 0.1})


class TestToyAlone(Conformance):
    method = Toy(nodes=1, rounds=2)


def test_every_method_is_held_to_it():
    held = {cls.method.name for cls in Conformance.__subclasses__()}
    assert held == {*METHODS} == {*TINY}
