"""What the tasks of a client's slot perform: they ask the client, and look at its answers.

To Dask they are tasks like any other. Their states are names of what the client keeps, and what
came up; nothing of the client's own is among them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from gandask.clients.auditing import Audit
from gandask.clients.messages import Message, MessageError
from gandask.clients.reading import MADE, STATE
from gandask.core import Array, Made, State, StoreError, apart, reach, routine
from gandask.scores import features
from gandask.training import wire
from gandask.training.settings import Training

PARTS = ("slope", f"{wire.SCALE}slope")  # arrays of feedback
LONGEST = 200  # characters of what is wrong
HUGE = 1e300
PAUSE = 2.0  # seconds until a client that is not ready is asked again
REMEDY: Mapping[str, str] = {
    "spent": "epsilon would pass its limit",
    "lost": (
        "it no longer keeps what the run builds on: see that it was started with the same "
        "--private-store, or begin the run anew"
    ),
    "unfit": "what was asked does not fit it: its owner is told why on its own machine",
    "unknown": "it does not know what was asked: let both sides run one version of gandask",
    "unreadable": "it cannot read what was sent: let both sides run one version of gandask",
    "failed": "something went wrong there: its owner is told what on its own machine",
}


def ask(client: str, message: Message) -> Message:
    """Ask a client, and wait for it.

    Returns
    -------
    Message
        Its answer; ``refused`` if it refuses, ``nonsense`` if it is none.
    """
    waited = False
    with routine("client"), apart():
        while True:
            try:
                answer: Message = reach()(client, message)
            except MessageError as error:
                return Message("nonsense", {"why": str(error)[:LONGEST]})
            if answer.name != "refused" or answer.values.get("why") != "unready":
                return answer
            if not waited:
                reach().waits(client)
                waited = True
            time.sleep(PAUSE)


def meet(*teacher: State, client: str, terms: Mapping[str, Any]) -> Made:
    """Have a client make its discriminator, or take the teacher's.

    Returns
    -------
    states
        The name of its state.

    Raises
    ------
    StoreError
        If it refuses.
    """
    answer = ask(client, Message("make", terms, dict(teacher[0]) if teacher else {}))
    made, state = answer.values.get("made"), answer.values.get("state")
    if not _is_digest(made, MADE) or not _is_digest(state, STATE):
        raise StoreError(f"client {client!r} does not begin: {_refusal(answer)}")
    return (_token(str(made), str(state)),), {}


def exchange(
    token: State, fakes: State, *, client: str, round: int, shape: tuple[int, ...]
) -> Made:
    """Send fakes to a client, and take its feedback.

    Parameters
    ----------
    shape : tuple of int
        That of the fakes which are answered.

    Returns
    -------
    states
        The name of the client's state, and the feedback: NaN where there is none to use.
    values
        Losses and ``epsilon``, as far as the client tells them; ``ended``: why it answers no more;
        ``nonsense``: what was wrong with its answer, after which its state is the one before.
    """
    names = named(token)
    answer = ask(client, Message("train", {**names, "round": round}, fakes))
    nothing = {"slope": np.full(shape, np.nan, np.float32)}
    if answer.name == "refused":
        return (token, nothing), {"ended": _refusal(answer)}
    wrong = _wrong(answer, names["made"], shape)
    if wrong:
        return (token, nothing), {"nonsense": wrong}
    known = ("discriminator_loss", "generator_loss", "epsilon")
    values = {name: value for name in known if (value := _number(answer, name)) is not None}
    feedback = {name: answer.arrays[name] for name in PARTS if name in answer.arrays}
    return (_token(names["made"], str(answer.values["state"])), feedback), values


def examine(
    token: State,
    *states: State,
    client: str,
    training: Training,
    round: int,
    measured: bool,
    audited: bool,
) -> Made:
    """Have a client compare its student with its own data, and attack what it trained.

    Parameters
    ----------
    *states
        Statistics of the student's samples, if it is `measured`; samples, and the teacher's if
        there is one, if it is `audited`.

    Returns
    -------
    values
        ``fid_local`` and ``audit``, as far as the client tells them; ``nonsense``: what was wrong.
    """
    rest = [*states]
    values: dict[str, Any] = {}
    asked = {**named(token), "round": round}
    if measured:
        kind, weights = features.parts(training.data, training.features)
        arrays = {**weights, "statistics": rest.pop(0)["statistics"]}
        answer = ask(client, Message("measure", {**asked, "features": kind}, arrays))
        found = _number(answer, "fid_local")
        values |= {} if found is None else {"fid_local": found}
    if audited:
        arrays = {"samples": rest.pop(0)["samples"]}
        arrays |= {"calibration": rest.pop(0)["samples"]} if rest else {}
        answer = ask(client, Message("audit", asked, arrays))
        if answer.name == "audited" and answer.values:
            try:
                values["audit"] = Audit.of(dict(answer.values)).values
            except ValueError as error:
                values["nonsense"] = f"its audit cannot be read: {error}"[:LONGEST]
    return (), values


def _wrong(answer: Message, made: str, shape: tuple[int, ...]) -> str:
    """Say what is wrong with an answer to fakes; "" if nothing is."""
    state = answer.values.get("state")
    if answer.name == "nonsense":
        return str(answer.values["why"])
    if answer.name != "trained" or not _is_digest(state, STATE) or not state.startswith(made):
        return "it names no state"
    try:
        slope = wire.unpacked(answer.arrays).get("slope")
    except (ValueError, TypeError) as error:
        return f"its feedback cannot be read: {error}"
    if slope is None or slope.shape != shape or slope.dtype != np.float32:
        told = None if slope is None else (slope.shape, str(slope.dtype))
        return f"expected feedback of shape {shape}, got {told}"
    return ""


def _refusal(answer: Message) -> str:
    """Say why a client refuses, in words of our own."""
    why = answer.values.get("why")
    return REMEDY.get(why, "no reason that is known") if isinstance(why, str) else "no reason"


def _is_digest(text: Any, form: re.Pattern[str]) -> TypeGuard[str]:
    return isinstance(text, str) and form.fullmatch(text) is not None


def _number(answer: Message, name: str) -> float | None:
    """Read a number that a client tells, if it is one."""
    value = answer.values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < HUGE else None


def _token(made: str, state: str) -> dict[str, Array]:
    """Write down names of a client's state as a state of Dask's."""
    return {
        name: np.frombuffer(text.encode(), np.uint8)
        for name, text in (("made", made), ("state", state))
    }


def named(token: State) -> dict[str, str]:
    """Read the names of what a client made, and of its state."""
    return {name: array.tobytes().decode() for name, array in token.items()}
