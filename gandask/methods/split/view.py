"""What the client knows of a GAN that is trained in parts, and what it writes down."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from gandask.core import Array, Event, Record, Report, Variable
from gandask.methods.best import Best, states_of, with_kept
from gandask.scores.metrics import METRICS

REPORTED = ("fid", "tvd")
"""Scores whose course a report draws."""


@dataclass(frozen=True)
class Place:
    """Where a node is.

    Parameters
    ----------
    round, phase : int
        Of the gradients that it computes, or that wait.
    read : int
        Steps that the server was asked for before it gave the networks that these are of.
    waiting : bool
        Whether its gradients are there, and the server has not taken them.
    over : bool
        Whether all of the round were taken: it goes on with the next when its fakes are there.
    """

    round: int = 1
    phase: int = 0
    read: int = 0
    waiting: bool = False
    over: bool = False


@dataclass(frozen=True)
class Serving:
    """A step of the server that is under way.

    Parameters
    ----------
    kinds : frozenset of str
        Networks of which it has not reported.
    taken : mapping of str to Place
        By node, the gradients it takes.
    scored : int
        The round whose generator it scores; 0: none.
    """

    kinds: frozenset[str]
    taken: Mapping[str, Place]
    scored: int = 0


@dataclass(frozen=True)
class Standing:
    """Where all nodes are, and the server.

    Parameters
    ----------
    places : mapping of str to Place
    steps : mapping of str to int
        By network, steps that the server was asked for so far.
    serving : tuple of Serving
    learnt : mapping of str to int
        By generator that learns by itself, rounds that it was asked for.
    finished : mapping of str to int
        By slot, rounds that are behind it, what it asked of the server as well.
    told : mapping of str to mapping
        By node, the values of its round so far.
    pending : mapping of tuple to tuple of str
        By the key of a task under way, what it will have written.
    scores : tuple of Report
        Of generators of which others have not been scored in that round yet.
    """

    places: Mapping[str, Place]
    steps: Mapping[str, int]
    serving: tuple[Serving, ...] = ()
    learnt: Mapping[str, int] = field(default_factory=dict)
    finished: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    pending: Mapping[tuple[str, int, str], tuple[str, ...]] = field(default_factory=dict)
    scores: tuple[Report, ...] = ()


@dataclass(frozen=True)
class SplitView:
    """What is known between two plans.

    Parameters
    ----------
    round : int
        Exchanges completed.
    expected : int
        Tasks of the plan under way.
    heard : tuple of Report
        Those of them that have reported.
    generators : mapping of str to str
        By slot, the state of each generator.
    keeps : frozenset of str
        States that are shown, or that tasks to come read.
    packed : mapping of str to array
        By slot, statistics of the generator's samples, as they were scored last.
    scores : mapping of str to float
        By slot, the score of each generator.
    weights : tuple of float
        Shares of the generators in the mixture of all.
    phase : {"train", "score", "done"}
    standing : Standing, optional
        Where all nodes are, if a server need not wait for all.
    scored : int
        The round in which generators were scored last, if it need not.
    kept : Best, optional
        The generator that scored best of all exchanges, where it is kept.
    """

    expected: int
    generators: Mapping[str, str]
    keeps: frozenset[str]
    round: int = 0
    heard: tuple[Report, ...] = ()
    packed: Mapping[str, Array] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    weights: tuple[float, ...] = ()
    records: tuple[Record, ...] = ()
    events: tuple[Event, ...] = ()
    metric: str = "fid"
    phase: str = "train"
    standing: Standing | None = None
    scored: int = 0
    kept: Best | None = None

    def keeping(self) -> SplitView:
        """Give the same with what is kept among the states that may still be read."""
        return replace(self, keeps=self.keeps | states_of(self.kept))

    @property
    def best(self) -> str | None:
        """The slot of the generator that scores best."""
        best = None
        for slot in self.generators:
            score = self.scores.get(slot, math.nan)
            if METRICS[self.metric].better(score, self.scores[best] if best else math.nan):
                best = slot
        return best

    @property
    def ensembles(self) -> Mapping[str, Mapping[str, float]]:
        """By slot its generator alone; of several, under ``all`` the mixture."""
        alone = {slot: {name: 1.0} for slot, name in self.generators.items()}
        if len(alone) == 1:
            return alone
        return alone | {"all": dict(zip(self.generators.values(), self.weights, strict=True))}

    @property
    def mixtures(self) -> Mapping[str, Mapping[str, float]]:
        """The same, and what is kept."""
        return with_kept(self.ensembles, self.kept)


def variables(
    judge: str,
    generator: str,
    members: Sequence[str],
    samples: int,
    final_samples: int,
    paced: bool = False,
) -> Mapping[str, Variable]:
    """List what the records of a run may hold.

    Parameters
    ----------
    judge, generator : str
        The roles whose slots tell losses, and have generators.
    members : sequence of str
        The dimension of the generators, where there are several.
    paced : bool
        Whether a server need not wait for all.
    """
    made = {
        "discriminator_loss": Variable("discriminator loss", role=judge, shown=("map", "trace")),
        "generator_loss": Variable("generator loss", role=judge, shown=("map", "trace")),
    }
    if paced:
        made["staleness"] = Variable(
            "steps of the server since it gave the networks that gradients are of",
            role=judge,
            shown=("map", "trace"),
        )
    for name, metric in METRICS.items():
        score = functools.partial(Variable, units=metric.units, better=metric.direction)
        title = metric.long_name
        shown = ("map", "report") if name in REPORTED else ("map",)
        made[name] = score(
            f"{title} of the generator", role=generator, shown=shown, samples=samples
        )
        final = functools.partial(score, by_round=False, samples=final_samples)
        made[f"final_{name}"] = final(
            f"{title} of the final generator", role=generator, final_of=name
        )
        if members:
            made[f"mixture_{name}"] = score(f"{title} of the mixture of all", samples=samples)
            made[f"final_mixture_{name}"] = final(
                f"{title} of the final mixture", final_of=f"mixture_{name}"
            )
    if members:
        shares = tuple(members)
        made["mixture_weight"] = Variable("share in the mixture of all", dims=shares)
        made["final_mixture_weight"] = Variable(
            "share in the final mixture", dims=shares, by_round=False
        )
    return made
