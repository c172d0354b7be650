"""What gandask refuses, and what goes wrong: each with a message that says what to do."""

from __future__ import annotations


class SettingError(ValueError):
    """A setting that cannot work; the message names key, value and remedy."""


class DataError(ValueError):
    """Data that is missing, unreadable or of the wrong form."""


class MethodError(TypeError):
    """A method that breaks its contract; the message names the method and what it did."""


class StoreError(RuntimeError):
    """A store that cannot be created, read or continued."""


class TaskError(RuntimeError):
    """A task that failed; the message names slot, round and seed and holds the traceback."""


class ClusterError(RuntimeError):
    """A cluster that cannot be started or reached, or that was lost."""
