"""Servers that wait for a part of the nodes: each goes on when its own gradients are taken.

A node computes gradients, and they wait. The server takes those that wait as one step, once they
are enough: a share of all nodes, or all that can still come. The nodes whose gradients were taken
go on from the server's new networks; the others' are taken by the next step, and are *stale* by
then. Where all tasks of a plan are waited for, all gradients are there at once, and none is stale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from gandask.core import NON_FINITE, Event, Plan, Record, Report, Stage, Task
from gandask.methods.split.states import GENERATOR
from gandask.methods.split.view import Place, Serving, SplitView, Standing

CARRIED = ("buffers", "residual")
"""What a node reads of the round before: what it has counted, and what the wire left."""


@dataclass(frozen=True)
class Pupil:
    """A generator that learns by itself: from whose feedback, and its task of a round."""

    judges: Sequence[str]
    learning: Callable[[int], Task]


class Paced(Protocol):
    """What a method tells of itself."""

    @property
    def iterations(self) -> int:
        """Rounds."""

    @property
    def quorum(self) -> float:
        """The share of its nodes that a server waits for."""

    @property
    def holders(self) -> tuple[str, ...]:
        """Its nodes."""

    @property
    def asked(self) -> Sequence[Sequence[str]]:
        """Of which networks a node gives gradients, in each phase of a round."""

    def asking(self, slot: str, place: Place, steps: Mapping[str, int]) -> Task:
        """Make a node's task, from the server's networks after so many steps."""

    def taking(
        self, kind: str, taken: Mapping[str, Place], steps: int, round: int, scored: bool
    ) -> Task:
        """Make the server's task: a step of a network from the gradients taken."""

    def generators_at(self, standing: Standing) -> Mapping[str, str]:
        """Name by slot the state of each generator."""

    def pupils(self) -> Mapping[str, Pupil]:
        """Give by slot the generators that learn by themselves."""

    def is_scored(self, round: int) -> bool:
        """Tell whether generators are scored after a round."""


def waited_for(quorum: float, nodes: int) -> int:
    """Count the nodes that a server waits for: a share of all, one at least.

    Examples
    --------
    >>> waited_for(0.5, 3), waited_for(0.28, 25), waited_for(0, 4)
    (2, 7, 1)
    """
    return max(1, math.ceil(round(quorum * nodes, 9)))


def begin(method: Paced, view: SplitView, born: Stage) -> tuple[SplitView, Plan]:
    """Let all nodes begin, once all networks are made."""
    steps = {kind: 0 for asked in method.asked for kind in asked}
    places = dict.fromkeys(method.holders, Place())
    plan = [born, [method.asking(slot, place, steps) for slot, place in places.items()]]
    pending = {task.key: task.writes for stage in plan for task in stage}
    return replace(view, standing=Standing(places, steps, pending=pending)), plan


def reported(standing: Standing, kind: str) -> int:
    """Count the steps of a network that the server has reported."""
    return standing.steps[kind] - any(kind in one.kinds for one in standing.serving)


def advance(
    method: Paced, view: SplitView, reports: Sequence[Report]
) -> tuple[SplitView, Standing, Plan, Sequence[Report]]:
    """Take reports in, and let the server, generators and nodes go on that can.

    Returns
    -------
    view, standing, plan
        With rounds, records of nodes and events, but for scores.
    sequence of Report
        Those with the statistics of all generators in a round, which are to be scored.
    """
    turn = Turn(method, view)
    for report in reports:
        turn.hear(report)
    turn.serve()
    turn.teach()
    turn.go_on()
    return turn.ended()


def discarded(report: Report) -> list[Event]:
    """Tell of a step that was discarded, or of several that one task took."""
    if report.values.get("finite", True):
        return []
    which = [f" of the {kind}" for kind in report.values.get("discarded", ())] or [""]
    details = (
        f"{report.task}: a gradient{of} is not finite; the step was discarded" for of in which
    )
    return [Event(report.round, NON_FINITE, report.slot, detail) for detail in details]


class Turn:
    """What becomes of some reports: a view and a plan in the making."""

    def __init__(self, method: Paced, view: SplitView) -> None:
        assert view.standing is not None
        self.method, self.view, standing = method, view, view.standing
        self.places, self.steps = dict(standing.places), dict(standing.steps)
        self.serving, self.scores = [*standing.serving], [*standing.scores]
        self.learnt, self.finished = dict(standing.learnt), dict(standing.finished)
        self.told = {slot: dict(values) for slot, values in standing.told.items()}
        self.pending = dict(standing.pending)
        self.written = {*view.keeps}
        self.records: list[Record] = []
        self.events: list[Event] = []
        self.first: list[Task] = []  # the server's and generators'
        self.then: list[Task] = []  # nodes'

    # ---- reports

    def hear(self, report: Report) -> None:
        """Take one report in."""
        written = self.pending.pop(report.key)
        self.written.update(written)
        if report.round == 0:
            return
        self.events += discarded(report)
        if report.slot in self.places:
            self._computed(report)
        elif report.slot in self.method.pupils():
            self.finished[report.slot] = report.round
            if "statistics" in report.values:
                self.scores.append(report)
        else:
            self._served(report, written[0].split("/")[2])

    def _computed(self, report: Report) -> None:
        """Let a node's gradients wait, and note its losses."""
        self.places[report.slot] = replace(self.places[report.slot], waiting=True)
        known = self.told.setdefault(report.slot, {})
        for name, value in report.values.items():
            if name.endswith("_loss"):
                known[name] = (*known.get(name, ()), value)

    def _served(self, report: Report, kind: str) -> None:
        """Note a step of the server's network, and what it has finished."""
        at = next(index for index, one in enumerate(self.serving) if kind in one.kinds)
        left = replace(self.serving[at], kinds=self.serving[at].kinds - {kind})
        if "statistics" in report.values:
            self.scores.append(replace(report, round=left.scored))
        self.serving[at] = left
        if not left.kinds:
            del self.serving[at]
            for slot, place in left.taken.items():
                if self._is_last(place):
                    self.finished[slot] = place.round

    def _is_last(self, place: Place) -> bool:
        return place.phase == len(self.method.asked) - 1

    # ---- plans

    def serve(self) -> None:
        """Let the server take what waits, where it is enough, or all that can come."""
        enough = waited_for(self.method.quorum, len(self.places))
        for asked in dict.fromkeys(map(tuple, self.method.asked)):
            busy = frozenset[str]().union(*(one.kinds for one in self.serving))
            taken = {
                slot: place
                for slot, place in self.places.items()
                if place.waiting and tuple(self.method.asked[place.phase]) == asked
            }
            alone = taken and not any(map(self._comes, self.places))
            if busy.isdisjoint(asked) and (len(taken) >= enough or alone):
                self._take(asked, taken)

    def _comes(self, slot: str) -> bool:
        """Tell whether a node will have gradients that it has not now, whatever the server does."""
        place = self.places[slot]
        if place.waiting or not place.over:
            return not place.waiting
        # a generator that waits for feedback of one who waits for the server does not go on
        fellows = (p.judges for p in self.method.pupils().values() if slot in p.judges)
        answered = (self._answered(judge, place.round) for judges in fellows for judge in judges)
        return place.round < self.method.iterations and all(answered)

    def _take(self, asked: Sequence[str], taken: Mapping[str, Place]) -> None:
        """Let the server take a step of each network that was asked for."""
        for slot, place in taken.items():
            self._passed(slot, place, self.steps[asked[0]] - place.read)
        scored = self._scored(asked, taken)
        latest = max(place.round for place in taken.values())
        for kind in asked:
            self.first.append(
                self.method.taking(
                    kind, taken, self.steps[kind], latest, bool(scored) and kind == GENERATOR
                )
            )
            self.steps[kind] += 1
        self.serving.append(Serving(frozenset(asked), dict(taken), scored))

    def _passed(self, slot: str, place: Place, stale: int) -> None:
        """Let a node pass on to its next phase, or finish its round, and record that."""
        known = self.told.setdefault(slot, {})
        known["staleness"] = (*known.get("staleness", ()), float(stale))
        if not self._is_last(place):
            self.places[slot] = Place(place.round, place.phase + 1, over=False)
            return
        values = {
            name: max(found) if name == "staleness" else math.fsum(found) / len(found)
            for name, found in self.told.pop(slot).items()
        }
        self.records.append(Record(slot, place.round, values))
        self.places[slot] = replace(place, waiting=False, over=True)

    def _scored(self, asked: Sequence[str], taken: Mapping[str, Place]) -> int:
        """Tell which round all generators' gradients are behind, if that is to be scored."""
        if GENERATOR not in asked:
            return 0
        last = max(at for at, kinds in enumerate(self.method.asked) if GENERATOR in kinds)

        def behind(slot: str, place: Place) -> int:
            """Count the rounds whose generator's gradients were taken."""
            passed = place.over or place.phase > last
            return place.round if passed or slot in taken else place.round - 1

        now = min(behind(slot, place) for slot, place in self.places.items())
        return now if now and self._is_new(now) and self.method.is_scored(now) else 0

    def _is_new(self, round: int) -> bool:
        known = [one.scored for one in self.serving] + [one.round for one in self.scores]
        return round > max([self.view.scored, *known])

    def teach(self) -> None:
        """Let generators learn that have all feedback of their round."""
        for slot, pupil in self.method.pupils().items():
            round = self.learnt.get(slot, 0) + 1
            answered = (self._answered(judge, round) for judge in pupil.judges)
            if round <= self.method.iterations and all(answered):
                self.first.append(pupil.learning(round))
                self.learnt[slot] = round

    def _answered(self, slot: str, round: int) -> bool:
        """Tell whether a judge has given feedback in a round, which is in its first phase."""
        place = self.places[slot]
        return place.round > round or (
            place.round == round and (place.waiting or place.over or place.phase > 0)
        )

    def go_on(self) -> None:
        """Let nodes go on whose gradients are taken, and whose fakes are there."""
        teachers = {
            judge: slot for slot, pupil in self.method.pupils().items() for judge in pupil.judges
        }
        under_way = {slot for slot, *_ in self.pending}
        for slot, place in self.places.items():
            if place.over and place.round < self.method.iterations:
                teacher = teachers.get(slot)
                if teacher is None or self.learnt.get(teacher, 0) >= place.round:
                    place = Place(place.round + 1)
            if not (place.waiting or place.over or slot in under_way):
                kinds = self.method.asked[place.phase]
                place = replace(place, read=self.steps[kinds[0]])
                self.then.append(self.method.asking(slot, place, self.steps))
            self.places[slot] = place

    # ---- the end

    def ended(self) -> tuple[SplitView, Standing, Plan, Sequence[Report]]:
        """Give the next view, with where all are, the plan, and what is to be scored."""
        plan = [stage for stage in (self.first, self.then) if stage]
        self.pending |= {task.key: task.writes for stage in plan for task in stage}
        slots = (*self.places, *self.method.pupils())
        round = min(self.finished.get(slot, 0) for slot in slots)
        count = max(1, len(self.method.pupils()))
        rounds = [report.round for report in self.scores]
        due = {at for at in rounds if rounds.count(at) >= count}
        scored = max([self.view.scored, *due])
        standing = Standing(
            self.places,
            self.steps,
            tuple(self.serving),
            self.learnt,
            self.finished,
            self.told,
            self.pending,
            tuple(report for report in self.scores if report.round not in due),
        )
        view = replace(
            self.view,
            standing=standing,
            round=round,
            scored=scored,
            keeps=self._kept(plan),
            records=tuple(self.records),
            events=tuple(self.events),
        )
        return view, standing, plan, [one for one in self.scores if one.round in due]

    def _kept(self, plan: Plan) -> frozenset[str]:
        """Leave out what nobody will read: states of rounds and of steps gone by."""
        read = {name for stage in plan for task in stage for name in task.reads}
        return frozenset(n for n in self.written if n in read or self._is_needed(n))

    def _is_needed(self, name: str) -> bool:
        role, number, kind, at, *_ = name.split("/")
        slot = f"{role}/{number}"
        if slot in self.places:
            return self._is_ahead(slot, kind, int(at))
        if slot in self.method.pupils():
            return int(at) >= self.finished.get(slot, 0)
        busy = any(kind in one.kinds for one in self.serving)
        return int(at) >= self.steps[kind] - busy

    def _is_ahead(self, slot: str, kind: str, round: int) -> bool:
        """Tell whether a node's state of a round will be read."""
        place = self.places[slot]
        if kind in CARRIED:
            return round >= place.round - 1 and not (
                place.over and place.round == self.method.iterations
            )
        if kind == "feedback":
            taught = (name for name, p in self.method.pupils().items() if slot in p.judges)
            return any(self.learnt.get(teacher, 0) < round for teacher in taught)
        return place.waiting and round == place.round
