"""BPGAN: discriminators with the data on some nodes, generators on others.

Wu: Optimizing GAN for Generating High Quality Samples (PhD thesis, Warwick 2022), chapter 4, and
MD-GAN (Hardy et al., 2019), which differs by settings. A *judge* holds a share of the data and
trains the discriminator on fakes that its generator sends; what comes back is the gradient of the
generator's loss for each number of the fakes. Judges share one discriminator through a server that
averages their gradients, or have one each.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch

from gandask.config import setting, settings
from gandask.core import Event, Layout, Plan, Role, SettingError, Task, rng
from gandask.methods.split.method import SERVER, Split, weights
from gandask.methods.split.tasks import (
    DISCRIMINATOR,
    GENERATOR,
    begin,
    combine,
    judge,
    learn,
    repeats,
    train,
)
from gandask.methods.split.view import SplitView, variables
from gandask.training.learner import buffer_names


@settings
class BPGAN(Split):
    """Train discriminators and generators on different nodes; its fields are its settings."""

    name: ClassVar[str] = "bpgan"

    discriminators: int = setting(2, "judges: nodes that hold data and a discriminator", minimum=1)
    generators: int = setting(2, "nodes with a generator: judge i serves i mod this", minimum=1)
    share: str = setting(
        "gradients",
        "what judges share: one discriminator, of which a server averages their gradients, or "
        "nothing: each trains its own",
        choices=("gradients", "none"),
    )
    fakes: str = setting(
        "shared",
        "whether one batch of fakes trains discriminator and generator, or each a fresh one",
        choices=("shared", "fresh"),
    )
    swap_every: int = setting(
        0, "exchanges after which judges swap their own discriminators; 0: never", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.generators > self.discriminators:
            raise SettingError(
                f"generators={self.generators}: with {self.discriminators} discriminators some "
                "would have no judge; choose at most as many"
            )
        if self.swap_every and self.share != "none":
            raise SettingError(
                f"swap_every={self.swap_every}: judges that share a discriminator have nothing to "
                "swap; choose share='none' or swap_every=0"
            )
        if self.swap_every and self.discriminators == 1:
            raise SettingError(
                f"swap_every={self.swap_every}: a single judge has nobody to swap with; choose "
                "discriminators=2 or more, or swap_every=0"
            )

    def check(self) -> None:
        """Refuse generators, too, that give something else for the same noise.

        Raises
        ------
        SettingError, DataError
        """
        super().check()
        if not repeats(self.training):
            raise SettingError(
                f"base={self.base!r}: its generator gives something else for the same noise the "
                "second time (dropout, spectral norm), but feedback is on the fakes of the first; "
                "choose another, or DataParallel"
            )

    @property
    def holders(self) -> tuple[str, ...]:
        """Slots that hold data: the judges."""
        return tuple(f"judge/{index}" for index in range(self.discriminators))

    @property
    def generator_slots(self) -> tuple[str, ...]:
        """Slots of the generators."""
        return tuple(f"generator/{index}" for index in range(self.generators))

    def layout(self) -> Layout:
        """Describe the result: ``(round, judge)`` and ``(round, generator)``."""
        roles = {
            "judge": Role(("judge",), self.holders),
            "generator": Role(("generator",), self.generator_slots),
        }
        if self.share == "gradients":
            roles["server"] = Role((), (SERVER,))
        coords = {"judge": range(self.discriminators), "generator": range(self.generators)}
        members = ["generator"] if self.generators > 1 else []
        known = variables("judge", "generator", members, self.score_samples, self.final_samples)
        return Layout(coords, roles, known)

    @functools.cached_property
    def _buffered(self) -> bool:
        """Whether discriminators count statistics."""
        with torch.device("meta"):
            return bool(buffer_names(self.training.build_discriminator()))

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

    def _begin(self) -> tuple[SplitView, list[Task]]:
        fresh, shared = self.fakes == "fresh", self.share == "gradients"
        made = []
        for index, slot in enumerate(self.generator_slots):
            given = {"kind": GENERATOR, "judges": self._judges(index), "fresh": fresh}
            writes = (*weights(slot, GENERATOR, 0), *self._forged(index, 1))
            made.append(self._task(slot, 0, begin, (), writes, given))
        for slot in (SERVER,) if shared else self.holders:
            writes = weights(slot, DISCRIMINATOR, 0)
            made.append(self._task(slot, 0, begin, (), writes, {"kind": DISCRIMINATOR}))
        view = SplitView(
            expected=0,
            generators={slot: f"{slot}/generator/0" for slot in self.generator_slots},
            keeps=frozenset(),
            weights=(1 / self.generators,) * self.generators,
            metric=self.score,
        )
        return view, made

    def _counted(self, index: int, round: int) -> tuple[str, ...]:
        """Name what a judge's discriminator has counted by the end of its part in an exchange."""
        return (f"judge/{index}/buffers/{round}",) if self._buffered else ()

    def exchange(self, round: int) -> Plan:
        """Plan an exchange; the guide shows both schedules."""
        judging, training, answering = (
            self._shared(round) if self.share == "gradients" else self._own(round)
        )
        learning = [self._learning(index, round) for index in range(self.generators)]
        if self._answers_apart:
            plan = [judging, training, answering, learning]
        elif self.share == "gradients":
            plan = [judging, [*training, *learning]]
        else:
            plan = [answering, [*training, *learning]]
        return [stage for stage in plan if stage]

    def _kept(self, round: int) -> tuple[dict[str, str], list[str]]:
        kept: list[str] = []
        for index, slot in enumerate(self.generator_slots):
            kept += weights(slot, GENERATOR, round)
            kept += self._forged(index, round + 1) if round < self.iterations else []
        for slot in (SERVER,) if self.share == "gradients" else self.holders:
            kept += weights(slot, DISCRIMINATOR, round)
        if self._answers_apart or self.share == "gradients":
            kept += [name for i in range(self.discriminators) for name in self._counted(i, round)]
        return {slot: f"{slot}/generator/{round}" for slot in self.generator_slots}, kept

    @property
    def _answers_apart(self) -> bool:
        """Whether judges give feedback by the new discriminator, in a task of its own."""
        return self.schedule == "alternating"

    def _shared(self, round: int) -> tuple[list[Task], list[Task], list[Task]]:
        """Make the tasks of judges with one discriminator, of their server, and their answers."""
        before, apart = round - 1, self._answers_apart
        judging: list[Task] = []
        answering: list[Task] = []
        sent: list[str] = []
        counts: list[str] = []
        for index, slot in enumerate(self.holders):
            for_judge, for_generator = self._fakes(index, round)
            # each goes on from what it has counted itself; the server keeps the average
            newer = self._counted(index, before) if before else ()
            counted = self._counted(index, round)
            judged = tuple(f"{name}/judged" for name in counted) if apart else counted
            feedback, gradients = f"{slot}/feedback/{round}", f"{slot}/gradients/{round}"
            both = () if apart else (feedback,)
            batches = dict.fromkeys((for_judge,) if apart else (for_judge, for_generator))
            reads = (f"{SERVER}/discriminator/{before}", *newer, *batches)
            given = self._node(index) | {"counted": bool(newer)}
            given |= {"asked": ("gradients",) if apart else ("gradients", "feedback")}
            writes = (gradients, *both, *judged)
            judging.append(self._task(slot, round, judge, reads, writes, given))
            reads = (f"{SERVER}/discriminator/{round}", *judged, for_generator)
            given = self._node(index) | {"counted": bool(judged), "asked": ("feedback",)}
            writes = (feedback, *counted)
            answer = self._task(slot, round, judge, reads, writes, given)
            answering.append(replace(answer, name="answer"))
            sent.append(gradients)
            counts += judged
        given = {"kind": DISCRIMINATOR, "nodes": self.discriminators, "counted": self._buffered}
        reads = (*weights(SERVER, DISCRIMINATOR, before), *sent, *counts)
        trained = weights(SERVER, DISCRIMINATOR, round)
        serving = [self._task(SERVER, round, combine, reads, trained, given)]
        return judging, serving, answering

    def _own(self, round: int) -> tuple[list[Task], list[Task], list[Task]]:
        """Make the tasks of judges with discriminators of their own, and their answers."""
        before, apart = round - 1, self._answers_apart
        training: list[Task] = []
        answering: list[Task] = []
        held = self._held(round)
        for index, slot in enumerate(self.holders):
            for_judge, for_generator = self._fakes(index, round)
            old, moments = (
                f"judge/{held[index]}/discriminator/{before}",
                f"{slot}/discriminator/{before}/moments",
            )
            counts = self._counted(index, round)
            newer = self._counted(held[index], before) if apart and before else ()
            newer = newer if apart else counts
            trained = weights(slot, DISCRIMINATOR, round)
            given = self._node(index) | {"counted": bool(newer)}
            reads = (old, *newer, moments, for_judge)
            training.append(self._task(slot, round, train, reads, trained, given))
            given = self._node(index) | {"counted": False, "asked": ("feedback",)}
            shown = (trained[0] if apart else old), for_generator
            told = (f"{slot}/feedback/{round}", *counts)
            answer = self._task(slot, round, judge, shown, told, given)
            answering.append(replace(answer, name="answer"))
        return [], training, answering

    def _happened(self, round: int) -> list[Event]:
        """Tell of a swap before an exchange."""
        held = [*self._held(round)]
        if held == [*range(self.discriminators)]:
            return []
        met = ", ".join(f"judge {index} takes that of {other}" for index, other in enumerate(held))
        return [Event(round, "swapped", "", f"discriminators: {met}")]

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
        slot, judges = f"generator/{index}", self._judges(index)
        reads = (
            *weights(slot, GENERATOR, round - 1),
            *(f"judge/{i}/feedback/{round}" for i in judges),
        )
        goes_on = round < self.iterations
        forged = self._forged(index, round + 1) if goes_on else []
        given = {"judges": judges, "fresh": self.fakes == "fresh", "goes_on": goes_on}
        given |= {"scored": self._is_scored(round)}
        writes = (*weights(slot, GENERATOR, round), *forged)
        return self._task(slot, round, learn, reads, writes, given)

    def _node(self, index: int) -> dict[str, Any]:
        return {"node": index, "nodes": self.discriminators}

    def _task(
        self,
        slot: str,
        round: int,
        function: Any,
        reads: tuple[str, ...],
        writes: tuple[str, ...],
        given: dict[str, Any],
    ) -> Task:
        arguments = {"training": self.training, "slot": slot, **given}
        if round:
            arguments["round"] = round
        return Task(slot, round, function, reads, writes, arguments)
