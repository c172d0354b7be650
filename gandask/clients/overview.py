"""What the owner of private data sees of a client that answers: lines now and then, and a page."""

from __future__ import annotations

import threading
from collections.abc import Callable

from gandask.clients.dialling import Answer
from gandask.clients.keeping import PrivateStore
from gandask.clients.messages import Message, RefusedError
from gandask.core import Array

EVERY = 10.0
"""Seconds between two lines."""


class Overview:
    """Answer requests, and count them for their owner alone.

    Parameters
    ----------
    answer : callable
        Answers them.
    store : PrivateStore
        Where scores are noted.
    say : callable
        Takes a line.

    Attributes
    ----------
    answered, refused : int
        Requests since it was made.
    round : int
        The last one that a request was about.
    samples : (n, ...) array, optional
        Of the student, as they were audited last.
    """

    def __init__(self, answer: Answer, store: PrivateStore, say: Callable[[str], None]) -> None:
        self._answer, self.store, self._say = answer, store, say
        self.answered = self.refused = self.round = 0
        self.samples: Array | None = None
        self._told = ""

    def __call__(self, message: Message) -> Message:
        """Answer a request.

        Raises
        ------
        RefusedError
            As what answers it does.
        """
        try:
            answer = self._answer(message)
        except RefusedError:
            self.refused += 1
            raise
        self.answered += 1
        # who answered it has looked whether it is a round, and whether these are samples
        if message.name in ("train", "audit"):
            self.round = message.values["round"]
        if message.name == "audit":
            self.samples = message.arrays["samples"]
        return answer

    @property
    def epsilon(self) -> float | None:
        """What was spent, as the last answer that cost something told it; None if none did."""
        told = (scores.get("epsilon") for scores in reversed(self.store.scores))
        return next((float(spent) for spent in told if spent is not None), None)

    @property
    def line(self) -> str:
        """All of it on one line."""
        spent = "" if self.epsilon is None else f"; epsilon spent: {self.epsilon:.3f}"
        refused = f", {self.refused} refused" if self.refused else ""
        return f"{self.answered} requests answered{refused}, up to round {self.round}{spent}"

    def tell(self) -> None:
        """Say how it stands, if that is news."""
        if self.answered + self.refused and self.line != self._told:
            self._told = self.line
            self._say(self.line)

    def keep_telling(self, stop: threading.Event) -> None:
        """Say it again and again, until told to stop."""
        while not stop.wait(EVERY):
            self.tell()
