"""BPGAN: discriminators with the data on some nodes, generators on others.

Wu: Optimizing GAN for Generating High Quality Samples (PhD thesis, Warwick 2022), chapter 4, and
MD-GAN (Hardy et al., 2019), which differs by settings. A *judge* holds a share of the data and
trains the discriminator on fakes that its generator sends; what comes back is the gradient of the
generator's loss for each number of the fakes. Judges share one discriminator through a server that
averages their gradients, or have one each.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from gandask.config import settings
from gandask.core import Event, Layout, Plan, Record, Role, SettingError, Stage, Task, rng
from gandask.methods.mixing import Mixing
from gandask.methods.split.generators import begin, repeats
from gandask.methods.split.judging import Judging
from gandask.methods.split.method import SERVER
from gandask.methods.split.pace import Paced, Pupil, waited_for
from gandask.methods.split.states import DISCRIMINATOR, GENERATOR, weights
from gandask.methods.split.view import Place, SplitView, Standing, variables

logger = logging.getLogger("gandask")


@settings
class BPGAN(Judging, Mixing[SplitView]):
    """Train discriminators and generators on different nodes; its fields are its settings."""

    name: ClassVar[str] = "bpgan"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.quorum < 1 and (
            self.share != "gradients" or self._waits or self.generator_average != "none"
        ):
            raise SettingError(
                f"quorum={self.quorum}: a server waits for a part of the judges where it averages "
                "gradients, and generators neither wait for it nor for each other; choose "
                "share='gradients', schedule='simultaneous' and generator_average='none', or "
                "quorum=1"
            )
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
        if self.generator_steps == "stale" and self.exchange_every == 1:
            raise SettingError(
                "generator_steps='stale': with one batch in an exchange there is one step; choose "
                "exchange_every=2 or more, or 'exact'"
            )
        if self.generator_average == "mean" and self.generators == 1:
            raise SettingError(
                "generator_average='mean': there is a single generator; choose generators=2 or "
                "more, or 'none'"
            )
        if self.buffers == "own" and self.share != "gradients":
            raise SettingError(
                f"buffers='own': by share={self.share!r} what is counted goes with the weights; "
                "choose share='gradients', or buffers='server'"
            )

    def check(self) -> None:
        """Refuse generators, too, that give something else for the same noise; tell of no swap.

        Raises
        ------
        SettingError, DataError
        """
        super().check()
        if self.swap_every >= self.iterations:
            logger.warning(
                "swap_every=%d: discriminators are never swapped in iterations=%d exchanges",
                *(self.swap_every, self.iterations),
            )
        if not repeats(self.training):
            raise SettingError(
                f"base={self.base!r}: its generator gives something else for the same noise the "
                "second time (dropout, spectral norm), but feedback is on the fakes of the first; "
                "choose another, or DataParallel"
            )

    def layout(self) -> Layout:
        """Describe the result: ``(round, judge)`` and ``(round, generator)``."""
        roles = {
            "judge": Role(("judge",), self.holders),
            "generator": Role(("generator",), self.generator_slots),
        }
        if self.share != "none" or self._averages:
            roles["server"] = Role((), (SERVER,))
        coords = {"judge": range(self.discriminators), "generator": range(self.generators)}
        members = ["generator"] if self.generators > 1 else []
        known = variables(
            "judge",
            "generator",
            members,
            self.score_samples,
            self.final_samples,
            paced=self.paced is not None,
        )
        whose = {"generator": "the final generator"}
        whose |= {"": "the final mixture"} if members else {}
        told = {"generator": "the generator"} | ({"": "the mixture of all"} if members else {})
        layout = self.with_best(self.with_modes(Layout(coords, roles, known), told))
        return self.with_final_scores(layout, whose)

    def begin(self) -> tuple[SplitView, list[Task]]:
        """Give the view before the first exchange, and the tasks that make all networks."""
        made = []
        for index, slot in enumerate(self.generator_slots):
            writes = (*weights(slot, GENERATOR, 0), *self._forged(index, 1))
            given = {"kind": GENERATOR, "judges": self._judges(index)}
            made.append(self._task(slot, 0, begin, (), writes, **given))
        keepers = {
            "gradients": (SERVER,),
            "weights": (SERVER, *self.holders),  # these for their moments
            "none": self.holders,
        }
        for slot in keepers[self.share]:
            held, moments = weights(slot, DISCRIMINATOR, 0)
            copied = self.share == "gradients"
            writes = (held, moments, *(self._copies(held) if copied else ()))
            made.append(self._task(slot, 0, begin, (), writes, kind=DISCRIMINATOR, copied=copied))
        view = SplitView(
            expected=0,
            generators={slot: f"{slot}/generator/0" for slot in self.generator_slots},
            keeps=frozenset(),
            weights=(1 / self.generators,) * self.generators,
            metric=self.score,
        )
        return view, made

    def _mixed(self, view: SplitView, prefix: str) -> tuple[SplitView, list[Record]]:
        """Evolve the mixture of all generators that were scored."""
        if self.generators == 1:
            return view, []
        chance = rng(self.seed, view.round, f"{prefix}mixture")
        ordered = [view.packed[slot] for slot in self.generator_slots]
        shares, merged = self._evolved(
            np.array(view.weights), ordered, self.mixture_generations, chance
        )
        assert merged is not None
        values = self.scored(self._real, merged, f"{prefix}mixture_")
        values[f"{prefix}mixture_weight"] = shares
        mixed = replace(view, weights=tuple(shares.tolist()))
        return mixed, [Record("", view.round, values)]

    def exchange(self, round: int) -> Plan:
        """Plan an exchange; the guide shows both schedules."""
        learning = [self._learning(index, round) for index in range(self.generators)]
        by = self._by_gradients if self.share == "gradients" else self._by_steps
        plan = by(round, learning)
        if self._averages:
            adopting = [self._adopting(index, round) for index in range(self.generators)]
            own = [f"{slot}/generator/{round}/own" for slot in self.generator_slots]
            plan += [[self._averaging(round, GENERATOR, own)], adopting]
        return plan

    def _networks(self, round: int) -> list[str]:
        keepers = self.holders if self.share == "none" else (SERVER,)
        kept = [name for slot in self.generator_slots for name in weights(slot, GENERATOR, round)]
        return kept + [name for slot in keepers for name in self._networks_of(slot, round)]

    def _networks_of(self, keeper: str, round: int) -> Sequence[str]:
        """Name a discriminator and its moments: of a mean of weights there are none."""
        names = weights(keeper, DISCRIMINATOR, round)
        return names[:1] if self.share == "weights" else names

    def _by_gradients(self, round: int, learning: Stage) -> list[Stage]:
        """Let judges send gradients, step by step, of the discriminator that a server holds."""
        plan: list[Stage] = []
        judges = range(self.discriminators)
        for step in range(1, self.discriminator_steps + 1):
            beside = learning if step == 1 and not self._waits else ()
            shown = self._sent(self._served(round, step - 1)[0])
            plan.append([self._judging(index, round, step, shown) for index in judges])
            taken = [(index, round, step) for index in judges]
            before, after = self._served(round, step - 1), self._served(round, step)
            plan.append([self._serving(taken, before, after, round), *beside])
        if self._waits:
            shown = self._sent(self._served(round, self.discriminator_steps)[0])
            plan.append([self._answering(index, round, shown) for index in judges])
            plan.append(learning)
        return plan

    def _by_steps(self, round: int, learning: Stage) -> list[Stage]:
        """Let judges train discriminators by themselves: their own, or copies that are averaged."""
        judges = range(self.discriminators)
        training = [self._own_training(index, round) for index in judges]
        own = [weights(slot, DISCRIMINATOR, round)[0] for slot in self.holders]
        shared = self.share == "weights"
        averaging = [[self._averaging(round, DISCRIMINATOR, own)]] if shared else []
        mean = f"{SERVER}/discriminator/{round}"
        if self._waits:
            shown = [mean] * self.discriminators if shared else own
            answering = [self._answering(index, round, shown[index]) for index in judges]
            return [training, *averaging, answering, learning]
        shown = [self._taken_up(index, round) for index in judges]
        answering = [self._answering(index, round, shown[index]) for index in judges]
        return [answering, [*training, *learning], *averaging]

    def _happened(self, round: int) -> list[Event]:
        """Tell of a swap before an exchange."""
        held = [*self._held(round)]
        if held == [*range(self.discriminators)]:
            return []
        met = ", ".join(f"judge {index} takes that of {other}" for index, other in enumerate(held))
        return [Event(round, "swapped", "", f"discriminators: {met}")]

    # ---- at the judges' own pace

    @property
    def paced(self) -> Paced | None:
        """Itself, if the server waits for a part of the judges."""
        return self if self.own_pace else None

    @property
    def own_pace(self) -> bool:
        """Whether slots have to go at their own pace."""
        return waited_for(self.quorum, self.discriminators) < self.discriminators

    @property
    def asked(self) -> Sequence[Sequence[str]]:
        """Of which networks a judge gives gradients, in each phase of a round."""
        return [(DISCRIMINATOR,)] * self.discriminator_steps

    def asking(self, slot: str, place: Place, steps: Mapping[str, int]) -> Task:
        """Make a judge's task, from the server's discriminator after so many steps."""
        shown = self._sent(f"{SERVER}/discriminator/{steps[DISCRIMINATOR]}")
        return self._judging(self.holders.index(slot), place.round, place.phase + 1, shown)

    def taking(
        self, kind: str, taken: Mapping[str, Place], steps: int, round: int, scored: bool
    ) -> Task:
        """Make the server's task: a step of the discriminator from the gradients taken."""
        told = [
            (self.holders.index(slot), place.round, place.phase + 1)
            for slot, place in taken.items()
        ]
        before, after = (weights(SERVER, kind, number) for number in (steps, steps + 1))
        return self._serving(told, before, after, round)

    def pupils(self) -> Mapping[str, Pupil]:
        """Give the generators, each of which learns from its judges' feedback."""
        return {
            slot: Pupil(
                [self.holders[judge] for judge in self._judges(index)],
                functools.partial(self._learning, index),
            )
            for index, slot in enumerate(self.generator_slots)
        }

    def generators_at(self, standing: Standing) -> Mapping[str, str]:
        """Name the generators, each after its last round."""
        return {
            slot: f"{slot}/generator/{standing.finished.get(slot, 0)}" for slot in self.pupils()
        }
