"""What a method is: a pure state machine that reads reports and answers with plans."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

from gandask.core.errors import SettingError, StoreError
from gandask.core.hosting import Hosted, Hosting, Nothing
from gandask.core.layout import Figure, Layout
from gandask.core.tasks import Array, Event, Plan, Record, Report, State

if TYPE_CHECKING:
    import xarray as xr

IDENTITY: Mapping[str, str] = {
    "fingerprint": "data",
    "extractor": "what samples are scored by",
    "held_out_digest": "held-out data",
    "networks_digest": "networks",
    "networks_behaviour": "networks",
    "losses_digest": "losses",
    "losses_behaviour": "losses",
    "functions_digest": "functions that settings name",
    "init_digest": "networks to start from",
}
"""Facts that tell what the names in settings stand for, and what they stand for."""

WHERE: Mapping[str, tuple[str, ...]] = {
    "fingerprint": ("data", "data_dir", "download"),
    "extractor": ("inception_weights",),
    "held_out_digest": ("data", "data_dir", "download"),
    "init_digest": ("init",),
}
"""By the fact that tells what it is, the settings that tell where it is: elsewhere on another
machine."""

BEST = "best"
"""Among a view's mixtures, the ensemble of the best round, where a method keeps it."""

TOLERANCE = 1e-3
"""Of numbers among such facts, relative to the larger of a pair: kinds of processors differ by
about 1e-6."""


def alike(then: Any, now: Any) -> bool:
    """Tell whether two facts of `IDENTITY` say the same: numbers, which come in pairs, nearly.

    Examples
    --------
    >>> alike([1.0, 0.0], [1.0, 1e-6]), alike([1.0, 0.0], [1.0, 0.1]), alike("a", "b")
    (True, False, False)
    """
    if not (isinstance(then, list) and isinstance(now, list)):
        return bool(then == now)
    if len(then) != len(now) or not all(isinstance(number, float) for number in then + now):
        return False
    for at in range(0, len(then), 2):
        before, after = then[at : at + 2], now[at : at + 2]
        allowed = TOLERANCE * max(map(abs, before + after))
        if not all(abs(b - a) <= allowed for b, a in zip(before, after, strict=True)):
            return False
    return True


def nearest_multiple(length: int, stride: int) -> int:
    """Give the multiple of a number that is nearest to a length, and above 0.

    Examples
    --------
    >>> nearest_multiple(1990, 500), nearest_multiple(3, 500)
    (2000, 500)
    """
    return max(1, round(length / stride)) * stride


class View(Protocol):
    """What a method knows between two plans: numbers and names, never weights."""

    @property
    def round(self) -> int:
        """Number of rounds that every slot has completed."""

    @property
    def records(self) -> Sequence[Record]:
        """Rounds completed by the last step."""

    @property
    def events(self) -> Sequence[Event]:
        """What happened in the last step."""

    @property
    def keeps(self) -> frozenset[str]:
        """Names of the states that a later plan may still read."""

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """By slot, the weights of the generator states that make up its ensemble; see `BEST`."""

    @property
    def best(self) -> str | None:
        """The slot whose ensemble scores best so far."""


V = TypeVar("V", bound=View)


class Method(abc.ABC, Generic[V]):
    """A way of training a population of GANs; its fields are its settings.

    `start` gives the first view and plan; `advance` the next ones from the reports of the tasks
    that came back: all of a plan when synchronous, those that have arrived when not. Both are pure,
    so a log of reports replays a run exactly.
    """

    name: ClassVar[str]
    schedules: ClassVar[Mapping[str, str]] = {}
    """Settings that may change while running, with the setting that says from which round on."""
    extends: ClassVar[tuple[str, ...]] = ("rounds",)
    """Settings that may be larger when a run is extended."""
    seed: int

    @property
    @abc.abstractmethod
    def rounds(self) -> int:
        """Number of rounds, or the most there can be."""

    @abc.abstractmethod
    def layout(self) -> Layout:
        """Describe the result."""

    @abc.abstractmethod
    def start(self) -> tuple[V, Plan]:
        """Give the first view and plan."""

    @abc.abstractmethod
    def advance(self, view: V, reports: Sequence[Report]) -> tuple[V, Plan]:
        """Give the next view and plan."""

    @property
    def own_pace(self) -> bool:
        """Whether slots have to go on at their own pace, and not wait for all."""
        return False

    def nearest(self) -> Mapping[str, Any]:
        """Give the settings of the nearest length, if it is another, that can be extended exactly.

        A run of another length ends with tasks that are not those of a longer one, such as scores
        that only the last round has: it is extended from a checkpoint before these, if it has one.
        """
        return {}

    def grows(self, key: str, longer: Self) -> bool:
        """Tell whether a run may be extended to another value of a setting of `extends`.

        Raises
        ------
        SettingError
            If it may not, and there is more to say about it than both values.
        """
        return bool(getattr(longer, key) > getattr(self, key))

    def ended(self, begun: int) -> Self:
        """Give the same settings for a run that ends as soon as it can, once rounds were begun.

        What was performed by then is what it performs, too.

        Parameters
        ----------
        begun : int
            The last round of which any slot has performed anything.

        Raises
        ------
        SettingError
            If no such length is known.
        """
        known: Any = self
        if "rounds" not in {field.name for field in dataclasses.fields(known)}:
            raise SettingError(f"method {self.name!r} has no setting rounds that could be smaller")
        made: Self = dataclasses.replace(known, rounds=min(begun, self.rounds))
        return made

    def resolved(self) -> Self:
        """Give the same settings with all paths spelt out: every run begins so."""
        return self

    def identity(self) -> Mapping[str, Any]:
        """Tell what the names in its settings stand for here and now: facts of `IDENTITY`.

        What is performed elsewhere from now on is performed with these, or refused.
        """
        return {}

    def check(self) -> None:
        """Raise SettingError or DataError for what could not work, before anything starts."""
        self.layout()

    def prepare(self) -> Mapping[str, Any]:
        """Compute in the client what every task needs; answer with facts worth recording.

        ``score`` among them names the variable that tells the best. Those of
        `identity` are among them: a run is continued with nothing else.
        """
        return {}

    def hosted(self, hosting: Hosting) -> contextlib.AbstractContextManager[Hosted]:
        """Keep up, while a run goes on, what its tasks need beside states: nothing as a rule."""
        return contextlib.nullcontext(Nothing())

    def real_samples(self) -> Array | None:
        """Give real samples to look at beside those of slots, as packed as these: none as a rule.

        A run keeps them: what is private is none of them.
        """
        return None

    def examination(self, names: Collection[str]) -> Plan:
        """Plan the audit of a finished run, on states that its last checkpoint holds."""
        raise StoreError(f"method {self.name!r} has nothing to audit: it asks no clients")

    def examined(self, reports: Sequence[Report]) -> Sequence[Record]:
        """Give what an audit found, from the reports of `examination`."""
        return ()

    def retired(self, view: V) -> frozenset[str]:
        """Name the states, of those that a view keeps, that no later plan reads: none as a rule.

        Once a checkpoint holds them, and the tasks under way and of the plan beside the view are
        done that read them, they are nowhere else: they stay retired as long as they are kept.
        """
        return frozenset()

    def places(self) -> Mapping[str, str]:
        """Give the label of each slot that has a place: the worker of that name is its own."""
        return {}

    def term(self, state: str) -> str:
        """Say what kind of thing a state is, for who counts the bytes that travel."""
        return "states"

    def generate(
        self, name: str, state: State, count: int, seed: int, facts: Mapping[str, Any]
    ) -> Array:
        """Draw samples from a generator: neither data nor a run are at hand.

        Parameters
        ----------
        name : str
            That of its state.
        state : State
        count, seed : int
            How many, and of which draw.
        facts : mapping
            What `prepare` found.

        Returns
        -------
        (count, ...) array
            Images (channels, height, width) in [-1, 1], points (2,), or sequences
            (steps, channels).
        """
        raise StoreError(f"method {self.name!r} has no samples")

    def module(
        self, name: str, state: State, facts: Mapping[str, Any]
    ) -> tuple[Any, Mapping[str, Any]]:
        """Build the generator of a state: neither data nor a run are at hand.

        Parameters
        ----------
        name : str
            That of its state.
        state : State
        facts : mapping
            What `prepare` found.

        Returns
        -------
        torch.nn.Module
            Ready to be sampled.
        mapping of str to Tensor
            By name, what it takes: for three samples.
        """
        raise StoreError(f"method {self.name!r} has no networks")

    def makers(self, facts: Mapping[str, Any]) -> Mapping[int, tuple[str, float]]:
        """Tell who makes samples of a label alone: nobody as a rule.

        Parameters
        ----------
        facts : mapping
            What `prepare` found.

        Returns
        -------
        mapping of int to (str, float)
            By label, the slot whose ensemble makes its samples, and how often the data have it.
        """
        return {}

    def figures(self) -> Mapping[str, Figure]:
        """Give the drawings of its own, by name."""
        return {}

    def sentences(self, dataset: xr.Dataset) -> Sequence[str]:
        """Tell what is its own of a result, of rounds done so far: for the run in one paragraph."""
        return ()
