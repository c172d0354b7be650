"""Judges and their generators: the settings, what each task reads, and what it writes."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch

from gandask.config import setting, settings
from gandask.core import Task, rng
from gandask.methods.split.draws import Rules
from gandask.methods.split.generators import adopt, learn
from gandask.methods.split.judges import judge, train
from gandask.methods.split.method import SERVER, Split
from gandask.methods.split.servers import combine
from gandask.methods.split.states import DISCRIMINATOR, GENERATOR, weights
from gandask.training.learner import buffer_names
from gandask.training.wire import remembers


@settings
class Judging(Split):
    """Settings of BPGAN, and what its judges, generators and server do in an exchange."""

    discriminators: int = setting(2, "judges: nodes that hold data and a discriminator", minimum=1)
    generators: int = setting(2, "nodes with a generator: judge i serves i mod this", minimum=1)
    share: str = setting(
        "gradients",
        "what judges share: one discriminator, of which a server averages their gradients, or the "
        "weights after each has trained it by itself; or nothing: each trains its own",
        choices=("gradients", "weights", "none"),
    )
    fakes: str = setting(
        "shared",
        "whether one batch of fakes trains discriminator and generator, or each a fresh one",
        choices=("shared", "fresh"),
    )
    swap_every: int = setting(
        0, "exchanges after which judges swap their own discriminators; 0: never", minimum=0
    )
    generator_steps: str = setting(
        "exact",
        "of an exchange of several batches: one step on the mean of all, or, all by the weights of "
        "before and so stale, one for each",
        choices=("exact", "stale"),
    )
    generator_average: str = setting(
        "none",
        "whether generators go on from the mean of all after each exchange",
        choices=("none", "mean"),
    )

    quorum: float = setting(
        1.0,
        "share of the judges whose gradients the server waits for before each step; below 1 slots "
        "have to go at their own pace (synchronous=False)",
        above=0,
        maximum=1,
    )

    @functools.cached_property
    def rules(self) -> Rules:
        """How an exchange goes."""
        return Rules(
            self.discriminators,
            self.exchange_every,
            self.discriminator_steps,
            fresh=self.fakes == "fresh",
            exact=self.generator_steps == "exact",
            wire=self.wire,
        )

    @property
    def holders(self) -> tuple[str, ...]:
        """Slots that hold data: the judges."""
        return tuple(f"judge/{index}" for index in range(self.discriminators))

    @property
    def generator_slots(self) -> tuple[str, ...]:
        """Slots of the generators."""
        return tuple(f"generator/{index}" for index in range(self.generators))

    @functools.cached_property
    def _buffered(self) -> bool:
        """Whether discriminators count statistics."""
        with torch.device("meta"):
            return bool(buffer_names(self.training.build_discriminator()))

    @property
    def _averages(self) -> bool:
        """Whether generators go on from their mean."""
        return self.generator_average == "mean"

    @property
    def _waits(self) -> bool:
        """Whether judges give feedback by the new discriminator, in a task of its own."""
        return self.schedule == "alternating"

    # ---- names of states

    def _judges(self, generator: int) -> tuple[int, ...]:
        """Give the judges that a generator serves."""
        return tuple(range(generator, self.discriminators, self.generators))

    def _fakes(self, index: int, round: int) -> tuple[str, str]:
        """Name the fakes that a judge trains on, and those that it gives feedback on."""
        name = f"generator/{index % self.generators}/fakes/{round}/{index}"
        return (f"{name}/real", name) if self.fakes == "fresh" else (name, name)

    def _forged(self, generator: int, round: int) -> list[str]:
        """Name all fakes of a generator for an exchange, in the order in which they are made."""
        pairs = [self._fakes(index, round) for index in self._judges(generator)]
        return [*dict.fromkeys(name for pair in pairs for name in pair)]

    def _counts(self, index: int, round: int, after: int | str) -> tuple[str, ...]:
        """Name what a judge's discriminator has counted by the end of a task, if anything."""
        return (f"judge/{index}/buffers/{round}/{after}",) if self._buffered else ()

    def _served(self, round: int, step: int) -> tuple[str, str]:
        """Name the server's discriminator, and its moments, after a step of an exchange."""
        if step == 0:
            return weights(SERVER, DISCRIMINATOR, round - 1)
        if step == self.discriminator_steps:
            return weights(SERVER, DISCRIMINATOR, round)
        name = f"{SERVER}/discriminator/{round}/{step}"
        return name, f"{name}/moments"

    # ---- tasks

    def _judging(self, index: int, round: int, step: int, shown: str) -> Task:
        """Let a judge give gradients, and in the first step feedback, if it need not wait."""
        slot = self.holders[index]
        feedback = step == 1 and not self._waits
        for_judge, for_generator = self._fakes(index, round)
        newer = self._newer(index, round, step)
        left = (f"{slot}/residual/{round}/{step}",) if remembers(self.wire) else ()
        last = self._last_left(slot, round, step) if left else ()
        batches = dict.fromkeys((for_judge, for_generator) if feedback else (for_judge,))
        told = (f"{slot}/feedback/{round}",) if feedback else ()
        name = "judge" if step == 1 else f"judge_{step}"
        return self._task(
            slot,
            round,
            judge,
            (shown, *newer, *last, *batches),
            (self._gradients(index, round, step), *left, *told, *self._counts(index, round, step)),
            name,
            node=index,
            counted=bool(newer),
            asked=("gradients", "feedback") if feedback else ("gradients",),
            step=step,
            left=bool(last),
        )

    def _newer(self, index: int, round: int, step: int) -> tuple[str, ...]:
        """Name what a judge has counted before a step, if it goes on from that."""
        if self.buffers == "server" or (round, step) == (1, 1):
            return ()
        if step > 1:
            return self._counts(index, round, step - 1)
        return self._counts(index, round - 1, "answer" if self._waits else self.discriminator_steps)

    def _last_left(self, slot: str, round: int, step: int) -> tuple[str, ...]:
        """Name what the wire left of a judge's gradients of the step before."""
        if step > 1:
            return (f"{slot}/residual/{round}/{step - 1}",)
        return (f"{slot}/residual/{round - 1}/{self.discriminator_steps}",) if round > 1 else ()

    def _gradients(self, index: int, round: int, step: int) -> str:
        return f"judge/{index}/gradients/{round}/{step}"

    def _serving(
        self,
        taken: Sequence[tuple[int, int, int]],
        before: tuple[str, str],
        after: tuple[str, str],
        round: int,
    ) -> Task:
        """Let the server take a step from what judges gave in a round and step of theirs."""
        told = [self._gradients(*one) for one in taken]
        if self.buffers == "server":
            told += [name for one in taken for name in self._counts(*one)]
        step = taken[0][2]
        return self._task(
            SERVER,
            round,
            combine,
            (*before, *told),
            (*after, *self._copies(after[0])),
            "combine" if step == 1 else f"combine_{step}",
            kind=DISCRIMINATOR,
            count=len(taken),
        )

    def _answering(self, index: int, round: int, shown: str) -> Task:
        """Let a judge give feedback by a discriminator."""
        slot = self.holders[index]
        newer: tuple[str, ...] = ()
        if self.buffers == "own":
            newer = self._counts(index, round, self.discriminator_steps)
        _, for_generator = self._fakes(index, round)
        writes = (f"{slot}/feedback/{round}", *self._counts(index, round, "answer"))
        given = {"node": index, "counted": bool(newer), "asked": ("feedback",)}
        reads = (shown, *newer, for_generator)
        return self._task(slot, round, judge, reads, writes, "answer", **given)

    def _taken_up(self, index: int, round: int) -> str:
        """Name the discriminator that a judge begins an exchange with."""
        if self.share == "weights":
            return f"{SERVER}/discriminator/{round - 1}"
        other = self._held(round)[index]
        return f"judge/{other}/discriminator/{round - 1}"

    def _own_training(self, index: int, round: int) -> Task:
        """Let a judge take steps of its own."""
        slot = self.holders[index]
        for_judge, _ = self._fakes(index, round)
        newer: tuple[str, ...] = ()
        if not self._waits:
            newer = self._counts(index, round, "answer")
        elif self.share == "none" and round > 1:
            newer = self._counts(self._held(round)[index], round - 1, "answer")
        held, moments = weights(slot, DISCRIMINATOR, round)
        before = weights(slot, DISCRIMINATOR, round - 1)[1]
        return self._task(
            slot,
            round,
            train,
            (self._taken_up(index, round), *newer, before, for_judge),
            (held, moments),
            node=index,
            counted=bool(newer),
        )

    def _held(self, round: int) -> Sequence[int]:
        """Tell whose discriminator each judge takes up in an exchange: another's after a swap."""
        swaps = self.swap_every and round > 1 and (round - 1) % self.swap_every == 0
        if not swaps:
            return range(self.discriminators)
        order = rng(self.seed, round, "swap").permutation(self.discriminators)
        taken = np.empty(self.discriminators, int)
        taken[order] = np.roll(order, 1)  # one ring through all: nobody keeps his own
        return [int(index) for index in taken]

    def _learning(self, index: int, round: int) -> Task:
        slot, judges = self.generator_slots[index], self._judges(index)
        said = (f"judge/{judge}/feedback/{round}" for judge in judges)
        reads = (*weights(slot, GENERATOR, round - 1), *said)
        made, moments = weights(slot, GENERATOR, round)
        own = f"{made}/own" if self._averages else made
        forged = [] if self._averages else self._forged(index, round + 1)
        return self._task(
            slot,
            round,
            learn,
            reads,
            (own, moments, *forged),
            judges=judges,
            forges=not self._averages,
            scored=self.is_scored(round) and not self._averages,
        )

    def _adopting(self, index: int, round: int) -> Task:
        """Let a generator go on from the mean of all."""
        slot = self.generator_slots[index]
        forged = self._forged(index, round + 1)
        return self._task(
            slot,
            round,
            adopt,
            (f"{SERVER}/generator/{round}",),
            (weights(slot, GENERATOR, round)[0], *forged),
            judges=self._judges(index),
            scored=self.is_scored(round),
        )
