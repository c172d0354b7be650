"""Tests for methods, anybody's: a conformance suite, and a toy method that passes it.

Three lines of pytest test a method of one's own::

    from gandask.methods.testing import Conformance

    class TestOwn(Conformance):
        method = Own(rounds=2)

It runs what it tests, so nothing else of gandask imports it, and it needs pytest.
"""

import importlib.util

if importlib.util.find_spec("pytest") is None:
    raise ImportError("gandask.methods.testing needs pytest: pip install pytest")

from gandask.methods.testing.conformance import Conformance, assert_same, clients_of
from gandask.methods.testing.toy import Toy
from gandask.methods.testing.walk import walk

__all__ = ["Conformance", "Toy", "assert_same", "clients_of", "walk"]
