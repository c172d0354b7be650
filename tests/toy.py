"""Registers the toy method: imported by the tests, and by the processes that they start."""

from gandask.methods import METHODS
from gandask.methods.testing import Toy

METHODS[Toy.name] = Toy
