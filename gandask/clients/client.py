"""A client: whoever holds private data, a discriminator, and answers a fixed list of requests.

Fakes come down and feedback goes up: the gradient of the generator's loss for each number of the
fakes (PrivacyGAN: Wu, PhD thesis, Warwick 2022, chapter 5). Called directly it is a simulation;
the same object answers what comes over the wire. Requests are idempotent: each names the state
that it builds on, and the same one is given the same answer, and charged once.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from gandask.clients import auditing
from gandask.clients.held import Held
from gandask.clients.keeping import KEPT, PrivateStore
from gandask.clients.learning import Round, check_private
from gandask.clients.messages import Message, RefusedError, packed, unpacked
from gandask.clients.reading import (
    MADE,
    asked_of,
    digest_of_message,
    fakes_of,
    finite,
    joined,
    made_of,
    part_of,
    round_of,
    samples_of,
    state_name,
    statistics_of,
)
from gandask.clients.spending import DPSGD, Charge
from gandask.clients.terms import Terms
from gandask.core import Array, SettingError, State, rng, torch_seed
from gandask.scores import features, metrics
from gandask.scores.features import CHUNK
from gandask.scores.metrics import Reference
from gandask.training import networks
from gandask.training.learner import fresh_moments, load_module, save_module

LENGTH = 72
NAMED = 8  # digits by which an owner tells runs apart
CHECKPOINTS = 2  # of a run, of which the older serves where the newer is damaged


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a client's owner allows, whatever the server's side asks.

    Parameters
    ----------
    epsilon : float, optional
        At which it answers no more. Then it answers nothing without differential privacy, and no
        scores of private data leave.
    delta : float
        At which that is counted, whatever delta the server's side names.
    """

    epsilon: float | None = None
    delta: float = DPSGD.delta

    def __post_init__(self) -> None:
        """Refuse what is no limit.

        Raises
        ------
        SettingError
        """
        if self.epsilon is not None and not self.epsilon > 0:
            raise SettingError(f"epsilon limit {self.epsilon}: expected a number above 0")


class PrivateClient:
    """Answer requests about data that never leave.

    Parameters
    ----------
    held : Held
    store : PrivateStore
    limits : Limits
    device : str
        As of the settings of every method.
    say : callable
        Takes a line for the client's owner alone.
    """

    def __init__(
        self,
        held: Held,
        store: PrivateStore,
        limits: Limits = Limits(),
        device: str = "auto",
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.held, self.store, self.limits = held, store, limits
        self.device, self.say = device, say
        self._requests: Mapping[str, Callable[[Message], Message]] = {
            "probe": self._probe,
            "make": self._make,
            "train": self._train,
            "measure": self._measure,
            "audit": self._audit,
            "forget": self._forget,
        }
        self._references: dict[str, Reference] = {}
        self._frames: dict[str, Message] = {}
        # one at a time: a checkpoint may be told of meanwhile, or a request be sent again
        self._answering = threading.Lock()

    def answer(self, message: Message) -> Message:
        """Answer one request.

        Raises
        ------
        RefusedError
            With a word for the server's side; what is behind it is said here.
        """
        if message.name not in self._requests:
            raise RefusedError("unknown", f"there is no request called {message.name!r}")
        with self._answering:
            return self._requests[message.name](message)

    # ---- requests

    def _probe(self, message: Message) -> Message:
        """Tell the shape of a sample, and nothing else."""
        return Message("probed", {"shape": [*self.held.data.shape]})

    def _make(self, message: Message) -> Message:
        """Make the discriminator, or take one that the server's side has."""
        terms = self._agreed(message.values)
        made = digest_of_message(message)
        if self.store.get(made) is None:
            first = self._first(message, terms)
            if terms.privacy:
                self._refuse_unbounded(terms, first)
            frame = np.frombuffer(packed(message), np.uint8)
            self.store.put(made, {"frame": frame, "kept": np.empty(0, np.uint8)})
            self._made[made] = []
            told = f"{terms.base}, {terms.loss}, {terms.privacy}"
            self.say(f"made a discriminator for run {made[:NAMED]}: {told}")
        return Message("made", {"made": made, "state": state_name(made, 0, made)})

    def _train(self, message: Message) -> Message:
        """Train the discriminator on fakes and own data, and answer what the fakes lack."""
        made, state, round = asked_of(message)
        if not round:
            raise RefusedError("unfit", "expected a round, from 1 on")
        key = self._key(message)
        known = self.store.answer(key)
        if known is not None:
            return unpacked(known)
        terms = self._terms(made)
        held = self._held(made, state, terms)
        fakes = fakes_of(message, terms)
        self._charge(terms, key, made, round)
        training = terms.training(self.held.source, self.device)
        now = Round(terms, self.held, self.store.secret, key, round)
        trained, slopes, values = now.train(training, held, fakes)
        after = state_name(made, round, key)
        self.store.put(after, trained)
        answer = Message(
            "trained", self._told(terms, key, made, round, values) | {"state": after}, slopes
        )
        self.store.remember(key, packed(answer))
        self.store.keep(self._counted())
        return answer

    def _measure(self, message: Message) -> Message:
        """Compare a generator's statistics with those of the data that are kept apart."""
        made, round = made_of(message), round_of(message)
        terms = self._terms(made)
        arrays = dict(message.arrays)
        fake = statistics_of(arrays.pop("statistics", None))
        real = self._reference(str(message.values.get("features")), arrays)
        if len(fake.feature_sum) != len(real.statistics.feature_sum):
            raise RefusedError("unfit", "expected statistics of the same features")
        values = {"fid_local": metrics.fid(real, fake)}
        return Message("measured", self._private(terms, made, round, values))

    def _audit(self, message: Message) -> Message:
        """Attack the own discriminator, its feedback and the generator's samples."""
        made, state, round = asked_of(message)
        terms = self._terms(made)
        held = self._held(made, state, terms)
        training = terms.training(self.held.source, self.device)
        data, chance = self.held.data, rng(terms.seed, terms.slot, round, "audit")
        with training.settled() as device:
            found = auditing.audit(
                load_module(training.build_discriminator, part_of(held, "weights"), device),
                training.losses[0],
                data.batch(self.held.members).numpy(),
                data.batch(self.held.apart).numpy(),
                samples_of(message, "samples", terms),
                samples_of(message, "calibration", terms)
                if "calibration" in message.arrays
                else None,
                unit=terms.feedback_norm == "unit",
                batch_size=terms.batch_size,
                device=device,
                chance=chance,
            )
        return Message("audited", self._private(terms, made, round, found.values))

    def _forget(self, message: Message) -> Message:
        """Give up states but those that the last checkpoints of the run build on."""
        made, state, _ = asked_of(message)
        record = self.store.get(made)
        if record is None:
            raise RefusedError("lost", "what it builds on was never made here")
        kept = [name for name in _names(record) if name != state]
        self._made[made] = [*kept, state][-CHECKPOINTS:]
        told = "".join(self._made[made]).encode()
        self.store.put(made, {**record, "kept": np.frombuffer(told, np.uint8)})
        self.store.keep(self._counted())
        return Message("forgotten")

    # ---- what they share

    def _agreed(self, values: Mapping[str, Any]) -> Terms:
        """Read terms, and refuse those that do not fit the data or the owner's limits."""
        try:
            terms = Terms(**values)
        except (SettingError, TypeError) as error:
            raise RefusedError("unfit", str(error)) from error
        if terms.shape != self.held.data.shape:
            told = f"expected samples of shape {terms.shape}, here are {self.held.data.shape}"
            raise RefusedError("unfit", told)
        if terms.batch_size > len(self.held.members):
            told = f"batches of {terms.batch_size}: here are {len(self.held.members)} samples"
            raise RefusedError("unfit", told)
        if self.limits.epsilon is not None and not terms.silent:
            told = "the owner's limit of epsilon needs differential privacy, and scores that stay"
            raise RefusedError("unfit", told)
        return terms

    def _terms(self, made: str) -> Terms:
        return self._agreed(self._asked_for(made).values)

    def _asked_for(self, made: str) -> Message:
        """Give the request by which something was made."""
        if made not in self._frames:
            record = self.store.get(made)
            if record is None:
                raise RefusedError("lost", "what it builds on was never made here")
            self._frames = {made: unpacked(record["frame"].tobytes())}  # of one run at a time
        return self._frames[made]

    def _first(self, message: Message, terms: Terms) -> dict[str, Array]:
        """Build the first state: from a seed, or of the weights that came."""
        training = terms.training(self.held.source, self.device)
        with training.settled() as device:
            if message.arrays:
                try:
                    module = load_module(training.build_discriminator, message.arrays, device)
                except (RuntimeError, ValueError, TypeError) as error:
                    raise RefusedError("unfit", f"its weights do not fit: {error}") from error
                usual = save_module(networks.build(training.build_discriminator, seed=0))
                for name, part in save_module(module).items():
                    if part.dtype != usual[name].dtype:
                        told = f"{name}: expected {usual[name].dtype}, got {part.dtype}"
                        raise RefusedError("unfit", f"its weights do not fit: {told}")
            else:
                seed = torch_seed(terms.seed, 0, terms.slot, "discriminator", 0)
                module = networks.build(training.build_discriminator, seed, terms.initial_std)
            return joined(save_module(module), fresh_moments(module, terms.learning_rate))

    def _refuse_unbounded(self, terms: Terms, first: State) -> None:
        """Refuse a discriminator in which no sample's influence can be bounded."""
        training = terms.training(self.held.source, self.device)
        weights = part_of(first, "weights")
        module = load_module(training.build_discriminator, weights, torch.device("cpu"))
        try:
            check_private(training, module)
        except SettingError as error:
            raise RefusedError("unfit", str(error)) from error

    def _held(self, made: str, state: str, terms: Terms) -> State:
        """Give the state that a request builds on; the first can be made again."""
        held = self.store.get(state)
        if held is None and state == state_name(made, 0, made):
            return self._first(self._asked_for(made), terms)
        if held is None:
            raise RefusedError("lost", f"{state} is not kept here, or never was")
        return held

    def _charge(self, terms: Terms, key: str, made: str, round: int) -> None:
        """Enter what an answer spends, before anything of it is computed."""
        if terms.privacy is None:
            return
        rate = terms.batch_size / len(self.held.members)
        charge = Charge(key, made, round, terms.steps, terms.privacy.noise, rate)
        for limit, delta in (
            (terms.epsilon_limit, terms.privacy.delta),
            (self.limits.epsilon, self.limits.delta),
        ):
            if limit is not None:
                after = self.store.ledger.would_spend(charge, delta)
                if not after <= limit:
                    told = f"epsilon {after:.3f} at delta={delta} would be over {limit}"
                    raise RefusedError("spent", told)
        self.store.ledger.charge(charge)

    def _spent(self, terms: Terms, key: str) -> float | None:
        """Give epsilon as it was when a request was charged: the same however often it is asked."""
        if terms.privacy is None:
            return None
        found = self.store.ledger.spent(terms.privacy.delta, key)
        return found if np.isfinite(found) else None

    def _told(
        self, terms: Terms, key: str, made: str, round: int, values: dict[str, Any]
    ) -> dict[str, float | None]:
        """Give what the server's side is told of a round; the rest is noted here."""
        spent = self._spent(terms, key)
        self._note(made, round, {"epsilon": spent, **finite(values)})
        told = {} if terms.silent else finite(values)
        return told | {"epsilon": spent}

    def _key(self, message: Message) -> str:
        """Give the key of a request about these very data: of others the same request is new.

        The server's side sees it, so it tells of the data only to who knows the secret.
        """
        held = self.held
        known = hashlib.blake2b(key=self.store.secret, digest_size=16)
        for part in (digest_of_message(message), held.data.fingerprint):
            known.update(part.encode())
        for indices in (held.members, held.apart):
            known.update(np.ascontiguousarray(indices).data)
        return known.hexdigest()

    def _private(
        self, terms: Terms, made: str, round: int, values: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Note scores, and give them if they may leave."""
        told = finite(values)
        self._note(made, round, told)
        return {} if terms.silent else told

    def _note(self, made: str, round: int, scores: Mapping[str, Any]) -> None:
        """Note scores, by the run, which is named by what was made for it."""
        self.store.note({"run": made[:NAMED], "round": round, **scores})

    def _reference(self, kind: str, weights: State) -> Reference:
        """Measure the data that are kept apart, once by each extractor."""
        known = digest_of_message(Message("extractor", {"kind": kind}, weights))
        if known not in self._references:
            data = self.held.data
            try:
                extractor = (
                    features.classifying(data.shape, len(weights["9.bias"]), weights)
                    if kind == "classifier"
                    else features.pixels()
                )
            except (RuntimeError, KeyError, TypeError, ValueError) as error:
                raise RefusedError("unfit", f"what is measured by: {error}") from error
            count = max(1, -(-len(self.held.apart) // CHUNK))
            chunks = np.array_split(self.held.apart, count)
            found = extractor.statistics(data.batch(chunk) for chunk in chunks)
            self._references = {known: Reference.of(found)}
        return self._references[known]

    @functools.cached_property
    def _made(self) -> dict[str, list[str]]:
        """By what was made, the states that checkpoints build on."""
        found = [name for name in self.store.digests if MADE.fullmatch(name)]
        return {made: _names(self.store.get(made) or {}) for made in found}

    def _counted(self) -> list[str]:
        """Name all that may still be built on, besides the newest."""
        newest = [*self._made.items()][-KEPT:]
        return [name for made, kept in newest for name in (made, *kept)]


def _names(record: State) -> list[str]:
    """Name the states that checkpoints build on, of what was made."""
    text = record["kept"].tobytes().decode() if "kept" in record else ""
    return [text[begin : begin + LENGTH] for begin in range(0, len(text), LENGTH)]
