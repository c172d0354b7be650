"""BPGAN: discriminators with the data on some nodes, generators on others.

Wu: Optimizing GAN for Generating High Quality Samples (PhD thesis, Warwick 2022), chapter 4, and
MD-GAN (Hardy et al., 2019), which differs by settings. A *judge* holds a share of the data and
trains the discriminator on fakes that its generator sends; what comes back is the gradient of the
generator's loss for each number of the fakes. Judges share one discriminator through a server that
averages their gradients, or have one each.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch

from gandask.config import setting, settings
from gandask.core import Event, Layout, Plan, Role, SettingError, Stage, Task, rng
from gandask.methods.split.draws import Rules
from gandask.methods.split.generators import adopt, begin, learn, repeats
from gandask.methods.split.judges import judge, train
from gandask.methods.split.method import SERVER, Split
from gandask.methods.split.pace import Pace, Paced, Place
from gandask.methods.split.servers import average, combine
from gandask.methods.split.states import DISCRIMINATOR, GENERATOR, weights
from gandask.methods.split.view import SplitView, variables
from gandask.methods.split.wire import remembers
from gandask.training.learner import buffer_names


@settings
class BPGAN(Split):
    """Train discriminators and generators on different nodes; its fields are its settings."""

    name: ClassVar[str] = "bpgan"

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
        known = variables("judge", "generator", members, self.score_samples, self.final_samples)
        return Layout(coords, roles, known)

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
        if round > self.iterations:
            return []
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

    # ---- plans

    def _begin(self) -> tuple[SplitView, list[Task]]:
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
            writes = (held, moments, *self._copies(held))
            made.append(self._task(slot, 0, begin, (), writes, kind=DISCRIMINATOR))
        view = SplitView(
            expected=0,
            generators={slot: f"{slot}/generator/0" for slot in self.generator_slots},
            keeps=frozenset(),
            weights=(1 / self.generators,) * self.generators,
            metric=self.score,
        )
        return view, made

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

    def _by_steps(self, round: int, learning: Stage) -> list[Stage]:
        """Let judges train discriminators by themselves: their own, or copies that are averaged."""
        judges = range(self.discriminators)
        training = [self._own_training(index, round) for index in judges]
        own = [weights(slot, DISCRIMINATOR, round)[0] for slot in self.holders]
        shared = self.share == "weights"
        averaging = [[self._averaging(round, DISCRIMINATOR, own)]] if shared else []
        mean = self._sent(f"{SERVER}/discriminator/{round}")
        if self._waits:
            shown = [mean] * self.discriminators if shared else own
            answering = [self._answering(index, round, shown[index]) for index in judges]
            return [training, *averaging, answering, learning]
        shown = [self._taken_up(index, round) for index in judges]
        answering = [self._answering(index, round, shown[index]) for index in judges]
        return [answering, [*training, *learning], *averaging]

    def _taken_up(self, index: int, round: int) -> str:
        """Name the discriminator that a judge begins an exchange with."""
        if self.share == "weights":
            return self._sent(f"{SERVER}/discriminator/{round - 1}")
        other = self._held(round)[index]
        name = f"judge/{other}/discriminator/{round - 1}"
        return name if other == index else self._sent(name)

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
            (held, moments, *self._copies(held)),
            node=index,
            counted=bool(newer),
        )

    def _averaging(self, round: int, kind: str, own: Sequence[str]) -> Task:
        """Let the server average the weights of networks."""
        reads = [self._sent(name) for name in own]
        mean = f"{SERVER}/{kind}/{round}"
        writes = (mean, *self._copies(mean))
        return self._task(SERVER, round, average, reads, writes, f"average_{kind}", kind=kind)

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
        slot, judges = self.generator_slots[index], self._judges(index)
        said = (f"judge/{judge}/feedback/{round}" for judge in judges)
        reads = (*weights(slot, GENERATOR, round - 1), *said)
        made, moments = weights(slot, GENERATOR, round)
        own = f"{made}/own" if self._averages else made
        forged = [] if self._averages else self._forged(index, round + 1)
        copied = self._copies(own) if self._averages else ()
        return self._task(
            slot,
            round,
            learn,
            reads,
            (own, moments, *copied, *forged),
            judges=judges,
            forges=bool(forged),
            scored=self.is_scored(round) and not self._averages,
            copied=self._averages,
        )

    def _adopting(self, index: int, round: int) -> Task:
        """Let a generator go on from the mean of all."""
        slot = self.generator_slots[index]
        forged = self._forged(index, round + 1)
        return self._task(
            slot,
            round,
            adopt,
            (self._sent(f"{SERVER}/generator/{round}"),),
            (weights(slot, GENERATOR, round)[0], *forged),
            judges=self._judges(index),
            forges=bool(forged),
            scored=self.is_scored(round),
        )

    # ---- at the judges' own pace

    @property
    def paced(self) -> Paced | None:
        """Itself, if the server waits for a part of the judges."""
        return self if self.quorum < 1 else None

    @property
    def own_pace(self) -> bool:
        """Whether slots have to go at their own pace."""
        return self.quorum < 1

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

    def teaching(self, slot: str, round: int) -> Task:
        """Make the task of a generator that learns from the feedback of a round."""
        return self._learning(self.generator_slots.index(slot), round)

    def pupils(self) -> Mapping[str, Sequence[str]]:
        """Give the judges whose feedback each generator learns from."""
        return {
            slot: [self.holders[judge] for judge in self._judges(index)]
            for index, slot in enumerate(self.generator_slots)
        }

    def generators_at(self, pace: Pace) -> Mapping[str, str]:
        """Name the generators, each after its last round."""
        return {slot: f"{slot}/generator/{pace.finished.get(slot, 0)}" for slot in self.pupils()}
