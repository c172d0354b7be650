"""A run under way: plans out, reports in, and what the heartbeat noticed."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from gandask.core import (
    NON_FINITE,
    SHOWN,
    Event,
    Hosted,
    Method,
    Plan,
    Record,
    Report,
    Signal,
    Stage,
    Task,
    View,
)
from gandask.engine import budgets
from gandask.engine.ledger import Ledger
from gandask.engine.options import Options
from gandask.engine.progress import HowFar, Progress
from gandask.execution.executor import Executor
from gandask.execution.heartbeat import Watch
from gandask.results import Results
from gandask.results.columns import Columns

logger = logging.getLogger("gandask")


OnStep = Callable[[View, Sequence[Record]], None]
"""Called after each step with what the method knows, and the rounds of slots that it recorded."""


class Ended(SystemExit):
    """A signal asked the process to end: its status says which one."""


class Session:
    """One run under way: the view, the plan, and what to do with each report.

    Parameters
    ----------
    method : Method
    facts : mapping
        What the method's preparation found.
    options : Options
        Whether to wait for all reports of a plan, among others.
    """

    executor: Executor
    watch: Watch
    hosted: Hosted

    def __init__(self, method: Method[Any], facts: Mapping[str, Any], options: Options) -> None:
        self.method, self.facts, self.options = method, facts, options
        self.synchronous = options.synchronous
        self.results = Results(method.layout(), method.rounds)
        self.ledger = Ledger(method)
        self.view: View
        self.plan: Plan
        self.view, self.plan = method.start()
        self.under_way: dict[int, Task] = {}
        self.early: dict[int, Report] = {}  # arrived while others were waited for alone
        self.origin = time.monotonic()
        self.turns = 0  # rounds of single slots that are done
        self.on_step: OnStep | None = None
        self.ending = 0  # the number of a signal that asked for it

    def begin(self) -> None:
        """Do what comes before the first plan."""
        self.origin = time.monotonic()

    def work(self, progress: Progress) -> bool:
        """Carry plans out until there is none, or until asked to stop.

        Returns
        -------
        bool
            Whether the run is finished.
        """
        stopped, over = False, self.over
        self.turns = self.view.round * len(self.results.layout.slots)
        progress.begin(self._how_far(over))
        while not (stopped or over):
            reports = self.exhibited(self.carried_out())
            stopped = self.step(reports, time.monotonic() - self.origin)
            if self.on_step is not None:
                self.on_step(self.view, self.view.records)
            self.executor.keep(self.ledger.keep(self.view.keeps - self.parted()))
            over = self.over
            if not over:  # what is told last is of no round
                self._count()
            progress.tell(self._how_far(over))
            self.rest(last=stopped or over)
        return over

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return not (self.plan or self.under_way)

    @property
    def score(self) -> tuple[str, float] | None:
        """The run's score by name, and its best value in the last round that has one."""
        name = str(self.facts.get("score", ""))
        best = self.results.latest(name)
        return None if best is None else (name, best)

    def carried_out(self) -> list[Report]:
        """Send the plan, and wait for its reports, or for the next few: in order of submission.

        A plan without tasks has none, where no others are under way.

        Raises
        ------
        Ended
            If a signal asked for it. Nothing of these reports is decided yet.
        """
        self.ledger.plan(self.plan)
        tasks = (task for stage in self.plan for task in stage)
        self.under_way |= dict(zip(self.executor.submit(*self.plan), tasks, strict=True))
        if not self.under_way:
            return []
        arrived, self.early = self.early, {}
        while not arrived or (self.synchronous and len(arrived) < len(self.under_way)):
            if self.ending:
                raise Ended(128 + self.ending)
            arrived |= self.executor.next_reports()
            self.attend()
        for number in arrived:
            self.under_way.pop(number)
        return [arrived[number] for number in sorted(arrived)]

    def exhibited(self, reports: Sequence[Report]) -> list[Report]:
        """Give reports without the samples to look at, which nobody looks at here."""
        return [
            replace(one, values={key: v for key, v in one.values.items() if key != SHOWN})
            if SHOWN in one.values
            else one
            for one in reports
        ]

    def step(self, reports: Sequence[Report], elapsed: float) -> bool:
        """Let the method decide; tell whether to stop there."""
        before = self.view
        self.decide(reports, elapsed)
        self.end_early(before, reports, elapsed)
        return False

    def decide(self, reports: Sequence[Report], elapsed: float) -> Columns:
        """Let the method decide, and note what it decided."""
        sent = self.ledger.report(reports)
        self.view, self.plan = self.method.advance(self.view, reports)
        self.ledger.check_records(self.view.records)
        for line in lines(event for event in self.view.events if event.kind == NON_FINITE):
            logger.warning(line)
        return self.results.add(self.view, reports, elapsed, sent)

    def end_early(self, before: View, reports: Sequence[Report], elapsed: float) -> None:
        """End the run with the rounds that are begun, if a budget is spent.

        What follows from the last step is decided again, as by a run of no more rounds.
        """
        reason = budgets.spent(
            self.options, str(self.facts.get("score", "")), self.results, elapsed
        )
        begun = self.begun(before, reports)
        if not reason or begun >= self.method.rounds:
            return
        shorter = self.method.ended(begun)
        if shorter.rounds < self.method.rounds:
            detail = f"{reason}: after round {shorter.rounds}, of {self.method.rounds}"
            self.go_on_with(shorter, *shorter.advance(before, reports))
            self.note([Event(begun, "ended early", "", detail, machine=True)])

    def begun(self, before: View, reports: Sequence[Report]) -> int:
        """Give the last round that any slot has begun, before the next plan is sent."""
        under_way = [task.round for task in self.under_way.values()]
        return max([report.round for report in reports] + under_way, default=before.round)

    def go_on_with(self, method: Method[Any], view: View, plan: Plan) -> None:
        """Go on with other settings, by which the last step was decided again."""
        self.method, self.view, self.plan = method, view, plan
        self.ledger.steer(method)
        self.results.relay(method.layout(), method.rounds)

    def parted(self) -> frozenset[str]:
        """Name the states, of those that its view keeps, that need be nowhere any more."""
        retired = self.view.keeps & self.method.retired(self.view)
        return retired.difference(*(task.reads for task in self._to_come()))

    def rest(self, last: bool) -> None:
        """Do what there is to do between two steps, or after the last."""

    def needed(self) -> frozenset[str]:
        """Name the states that the run cannot go on without: of its view, and of tasks to come."""
        tasks = self._to_come()
        written = {name for task in tasks for name in task.writes}
        return self.view.keeps.union(*(task.reads for task in tasks)) - written

    def _to_come(self) -> list[Task]:
        """Give the tasks that have not reported: those under way, and those planned next."""
        return [*self.under_way.values(), *(task for stage in self.plan for task in stage)]

    def perform(self, stage: Stage) -> None:
        """Carry out tasks beside the method's own, and wait for them alone."""
        numbers = set(self.executor.submit(stage))
        while not numbers <= self.early.keys():
            self.early |= self.executor.next_reports()
            self.attend()
        self.early = {n: report for n, report in self.early.items() if n not in numbers}

    def attend(self) -> None:
        """Note what the heartbeat noticed, and hedge delayed tasks."""
        delayed = self.take_note()
        for signal in delayed if self.watch.settings.hedge else ():
            elsewhere = self.executor.hedge(signal)
            if elsewhere:
                detail = f"{signal.task} a second time, on worker {elsewhere}"
                self.note([Event(signal.round, "hedged", signal.slot, detail, machine=True)])

    def take_note(self) -> list[Signal]:
        """Note what the heartbeat noticed, and give the tasks that are delayed."""
        delayed: list[Signal] = []
        while not self.watch.noticed.empty():
            noticed = self.watch.noticed.get()
            self.note(noticed.events)
            delayed += noticed.delayed
        return delayed

    def note(self, events: Sequence[Event]) -> None:
        """Keep what the machine did, in the result and on the console."""
        self.results.events += events
        for line in lines(events):
            logger.info(line)

    def _count(self) -> None:
        """Count the rounds of single slots that are done."""
        turns = {(record.slot, record.round) for record in self.view.records if record.slot}
        # some slots have nothing to record in a round that all have completed
        complete = self.view.round * len(self.results.layout.slots)
        self.turns = max(self.turns + len(turns), complete)

    def _how_far(self, over: bool) -> HowFar:
        done, rounds = self.view.round, self.results.rounds
        return HowFar(self.turns, done, done if over else rounds, self.score, over)


def lines(events: Iterable[Event], most: int = 3) -> list[str]:
    """Say on one line each what happened, or on one for all of a kind when there are many.

    Examples
    --------
    >>> lines([Event(7, "moved", "cell/1", "a to b"), Event(7, "checkpoint", "", "round-000007")])
    ['round 7: cell/1 moved: a to b', 'round 7: checkpoint: round-000007']
    >>> lines([Event(round, "recomputed", "cell/1", "train") for round in (3, 4, 5, 6)])
    ['round 6: 4 × recomputed, since round 3']
    """
    said = []
    for kind, found in itertools.groupby(events, key=lambda event: event.kind):
        same = list(found)
        if len(same) > most:
            rounds = [event.round for event in same]
            since = f", since round {min(rounds)}" if min(rounds) < max(rounds) else ""
            said.append(f"round {max(rounds)}: {len(same)} × {kind}{since}")
        else:
            said += [
                f"round {e.round}: {e.slot + ' ' if e.slot else ''}{kind}: {e.detail}" for e in same
            ]
    return said
