"""What holds for every method: a suite that walks one through a run, and compares its runs."""

from __future__ import annotations

import importlib
import itertools
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cloudpickle
import numpy as np
import pytest
import xarray as xr

from gandask import config
from gandask.core import SHOWN, Array, Method, Plan, Report, slot_of
from gandask.core.journal import encoded
from gandask.engine.kept import KeptSession
from gandask.engine.run import run
from gandask.methods import METHODS
from gandask.methods.testing.walk import Walk, equal, walk
from gandask.results import without_timings
from gandask.store.steering import steered

if TYPE_CHECKING:
    from distributed import Client

SMALL = 20_000  # bytes that a task may take on its way to a worker
WORKERS = (1, 2)
CLIENTS = pytest.StashKey[Mapping[int, "Client"]]()


def clients_of(session: pytest.Config) -> Mapping[int, Client]:
    """Give real clusters of one and of two worker processes, by number of workers.

    They are started once for all tests of a session, and end with it.
    """
    from distributed import Client, LocalCluster

    if CLIENTS not in session.stash:
        made = {}
        for workers in WORKERS:
            cluster = LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=50
            )
            made[workers] = Client(cluster)
            session.add_cleanup(cluster.close)
            session.add_cleanup(made[workers].close)
        session.stash[CLIENTS] = made
    return session.stash[CLIENTS]


def assert_same(one: xr.Dataset, other: xr.Dataset) -> None:
    """Assert that two runs came to the same, bit for bit, but for what the machine took."""
    xr.testing.assert_identical(without_timings(one), without_timings(other))


class InterruptedHereError(Exception):
    """In the place of whatever stops a run."""


def interrupted(method: Method[Any], steps: int) -> Callable[..., Any]:
    """Make an `advance` that raises instead, after so many steps."""
    advance, taken = type(method).advance, itertools.count()

    def interrupting(self: Any, view: Any, reports: Sequence[Report]) -> tuple[Any, Plan]:
        if next(taken) >= steps:
            raise InterruptedHereError
        return advance(self, view, reports)

    return interrupting


class Conformance:
    """Test a method: subclass this in a test module, and say which.

    Attributes
    ----------
    method : Method
        With the smallest settings that exercise all of it: a few rounds, seconds at most. Its
        module has to be importable by workers.
    shorter : mapping
        Settings of a run that is extended to it; by default half of the first in `Method.extends`,
        or the nearest that can be extended exactly.

    Examples
    --------
    >>> from gandask.methods.testing import Conformance, Toy
    >>> class TestToy(Conformance):
    ...     method = Toy(rounds=2)
    """

    method: ClassVar[Method[Any]]
    shorter: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture(autouse=True)
    def _registered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(METHODS, self.method.name, type(self.method))

    @pytest.fixture(scope="class")
    @classmethod
    def clients(cls, request: pytest.FixtureRequest) -> Mapping[int, Client]:
        """Real clusters, by number of workers."""
        return clients_of(request.config)

    @pytest.fixture(scope="class")
    @classmethod
    def walk(cls) -> Walk:
        """The run in process that all tests look at."""
        return walk(cls.method)

    # ---- one run in process

    def test_a_run_completes_its_rounds(self, walk: Walk) -> None:
        """It ends with rounds, of which there are at most as many as it says."""
        rounds = [step.after.round for step in walk.steps]
        assert rounds == sorted(rounds)
        assert 1 <= rounds[-1] <= self.method.rounds
        assert walk.dataset.sizes["round"] == rounds[-1]

    def test_states_are_flat_arrays_written_once(self, walk: Walk) -> None:
        """They begin with their slot; nothing but arrays of numbers is in them."""
        written: set[str] = set()
        for one in walk.performed:
            for name, state in zip(one.task.writes, one.written, strict=True):
                assert slot_of(name) == one.task.slot, f"{name} is not of {one.task.slot}"
                assert name not in written, f"{name} is written twice"
                written.add(name)
                for key, array in state.items():
                    assert isinstance(array, np.ndarray), f"{key} of {name} is no array"
                    assert array.dtype.kind in "biufc", f"{key} of {name} is of {array.dtype}"

    def test_inputs_are_never_changed(self, walk: Walk) -> None:
        """Two tasks on a worker get the same states."""
        for one in walk.performed:
            assert not one.changed, f"{one.task.name} changes {one.changed} in place"

    def test_a_task_comes_to_the_same_a_second_time(self, walk: Walk) -> None:
        """As when its worker is lost: the first of each name is tried."""
        for one, written in walk.repeated:
            for state, other in zip(one.written, written, strict=True):
                assert equal(state, other), f"{one.task.name} depends on more than its inputs"

    def test_tasks_are_small_and_travel(self, walk: Walk) -> None:
        """States stay where they are; a task is sent every time."""
        for one in walk.performed:
            data = cloudpickle.dumps(one.task)
            assert len(data) < SMALL, f"{one.task.name} takes {len(data)} bytes"
            assert pickle.loads(data).key == one.task.key

    def test_reports_fit_the_log(self, walk: Walk) -> None:
        """They are numbers, text and arrays, and lists and tables of these."""
        for one in walk.performed:
            _check_plain(one.report.values, one.task.name)

    def test_advance_is_pure(self, walk: Walk) -> None:
        """The same view and reports give the same again: a log replays a run."""
        for step in walk.steps:
            view, plan = step.again
            assert _keys(plan) == _keys(step.following)
            for told in ("round", "keeps", "best", "mixtures", "records", "events"):
                assert repr(getattr(view, told)) == repr(getattr(step.after, told)), told

    def test_every_variable_is_labelled(self, walk: Walk) -> None:
        """By a name for people and by units."""
        for name, variable in walk.dataset.variables.items():
            assert variable.attrs.get("long_name"), f"{name} has no long_name"
            assert "units" in variable.attrs, f"{name} has no units"
        assert {"method", "settings", "seed", "gandask_version"} <= walk.dataset.attrs.keys()

    def test_settings_round_trip_through_toml(self) -> None:
        """What a store keeps can be run again."""
        assert config.from_toml(config.to_toml(self.method), METHODS) == self.method

    def test_what_may_be_steered_has_a_schedule(self) -> None:
        """Both are settings, and the value in force is accepted as a change."""
        known = {f.name: getattr(self.method, f.name) for f in config.fields(self.method)}
        for key, scheduled in self.method.schedules.items():
            assert {key, scheduled} <= known.keys()
            if self.method.rounds > 1:
                changed = steered(self.method, {key: known[key]}, 1)
                assert "2" in getattr(changed, scheduled)

    def test_places_are_of_its_slots(self) -> None:
        """The label of a slot that there is not would never be heeded."""
        assert self.method.places().keys() <= self.method.layout().slots.keys()

    def test_its_mixtures_can_be_sampled(self, walk: Walk) -> None:
        """Samples are finite, as many as asked for, and the same for a seed."""
        for weights in walk.steps[-1].after.mixtures.values():
            assert sum(weights.values()) == pytest.approx(1)
            for name in weights:
                samples = self._samples(walk, name, 0)
                assert len(samples) == 3
                assert np.isfinite(samples).all()
                if "sample_shape" in walk.facts:
                    assert [*samples.shape[1:]] == [*walk.facts["sample_shape"]]
                assert np.array_equal(samples, self._samples(walk, name, 0))
                assert not np.array_equal(samples, self._samples(walk, name, 1))

    def test_what_it_shows_is_small_and_of_one_form(self, walk: Walk) -> None:
        """Samples to look at are packed, and those of one slot and round come once."""
        reports = [one.report for one in walk.performed if SHOWN in one.report.values]
        if getattr(self.method, "shown_samples", 0) and getattr(self.method, "score_samples", 0):
            assert reports, "shown_samples is a setting, and none were shown"
        assert len({(told.slot, told.round) for told in reports}) == len(reports)
        assert {told.slot for told in reports} <= self.method.layout().slots.keys()
        forms = {(told.values[SHOWN].dtype.name, told.values[SHOWN].shape) for told in reports}
        assert len(forms) <= 1, forms
        assert all(kind in ("uint8", "float16") for kind, _ in forms), forms

    def test_its_figures_can_be_drawn(self, walk: Walk) -> None:
        """Those that need no choice, of what this run came to."""
        importlib.import_module("gandask.plots")  # which gives HoloViews its backend
        for name, figure in self.method.figures().items():
            if not figure.takes and all(needed in walk.dataset for needed in figure.needs):
                assert figure.draw(walk.dataset) is not None, name

    # ---- the same run in other ways

    def test_another_seed_comes_to_something_else(self, walk: Walk) -> None:
        """The seed is used."""
        given = {f.name: getattr(self.method, f.name) for f in config.fields(self.method)}
        other = run(type(self.method)(**given | {"seed": self.method.seed + 1}), progress=False)
        assert any(
            not array.equals(walk.dataset[name])
            for name, array in other.data_vars.items()
            if array.dtype.kind == "f" and "timing" not in array.attrs
        )

    def test_a_run_with_checkpoints_comes_to_the_same(self, walk: Walk, tmp_path: Path) -> None:
        """So does the same seed, a second time."""
        dataset = run(self.method, store=tmp_path / "run", checkpoint_every=1, progress=False)
        assert_same(walk.dataset, dataset)

    def test_a_run_that_is_resumed_comes_to_the_same(
        self, walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stopped in its middle."""
        self._interrupt(tmp_path / "run", monkeypatch, len(walk.steps) // 2)
        dataset = run(self.method, store=tmp_path / "run", resume=True, progress=False)
        assert_same(walk.dataset, dataset)

    def test_a_run_that_is_extended_comes_to_the_same(self, walk: Walk, tmp_path: Path) -> None:
        """As the one that was asked for so much from its start."""
        self._run_shorter(tmp_path / "run")
        dataset = run(self.method, store=tmp_path / "run", extend=True, progress=False)
        assert_same(walk.dataset, dataset)

    def test_an_extension_that_is_resumed_comes_to_the_same(
        self, walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Stopped after its first step."""
        self._run_shorter(tmp_path / "run")
        with monkeypatch.context() as patch:
            patch.setattr(KeptSession, "rest", _interrupt_here)
            with pytest.raises(InterruptedHereError):
                run(self.method, store=tmp_path / "run", extend=True, progress=False)
        dataset = run(self.method, store=tmp_path / "run", resume=True, progress=False)
        assert_same(walk.dataset, dataset)

    @pytest.mark.parametrize("workers", WORKERS)
    def test_workers_come_to_the_same(
        self, workers: int, walk: Walk, clients: Mapping[int, Client]
    ) -> None:
        """As one task after the other in process."""
        dataset = run(self.method, client=clients[workers], progress=False)
        assert_same(walk.dataset, dataset)

    @pytest.mark.parametrize("workers", [0, WORKERS[-1]])
    def test_slots_may_go_on_at_their_own_pace(
        self, workers: int, walk: Walk, clients: Mapping[int, Client]
    ) -> None:
        """An asynchronous run ends, with all its rounds."""
        client = clients[workers] if workers else None
        dataset = run(self.method, client=client, synchronous=False, progress=False)
        assert dataset.sizes["round"] == walk.dataset.sizes["round"]

    def test_a_run_at_its_slots_own_pace_is_finished_by_a_synchronous_one(
        self, walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Some slots are ahead of others when it stops: each has work left."""
        half = sum(1 for _ in walk.performed) // 2
        self._interrupt(tmp_path / "run", monkeypatch, half, synchronous=False)
        again: dict[str, Any] = {"resume": True, "synchronous": True, "progress": False}
        dataset = run(self.method, store=tmp_path / "run", **again)
        assert dataset.sizes["round"] == walk.dataset.sizes["round"]

    def _run_shorter(self, store: Path) -> None:
        """Run what is then extended."""
        less = dict(self.shorter)
        if not less:
            (key, *_), whole = self.method.extends, self.method
            length = getattr(whole, key)
            if length < 2:
                pytest.skip(f"{key} is the least that there is")
            less = {key: length // 2}
            nearest = config.replace(whole, less).nearest()
            less |= nearest if nearest.get(key, length) < length else {}
        shorter = config.replace(self.method, less)
        run(shorter, store=store, checkpoint_every=1, progress=False)

    def _samples(self, walk: Walk, name: str, seed: int) -> Array:
        return self.method.generate(name, walk.states[name], 3, seed, walk.facts)

    def _interrupt(
        self, store: Path, monkeypatch: pytest.MonkeyPatch, steps: int, synchronous: bool = True
    ) -> None:
        """Run for so many steps."""
        with monkeypatch.context() as patch:
            patch.setattr(type(self.method), "advance", interrupted(self.method, steps))
            with pytest.raises(InterruptedHereError):
                run(
                    self.method,
                    store=store,
                    checkpoint_every=1,
                    synchronous=synchronous,
                    progress=False,
                )


def _interrupt_here(self: KeptSession, last: bool) -> None:
    raise InterruptedHereError


def _keys(plan: Plan) -> list[list[Any]]:
    return [[(task.key, task.reads, task.writes) for task in stage] for stage in plan]


def _leaves(value: Any) -> Iterator[Any]:
    """Give what is in tables and lists, however deep."""
    if isinstance(value, Mapping):
        yield from itertools.chain.from_iterable(map(_leaves, value.values()))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_leaves, value))
    else:
        yield value


def _check_plain(values: Mapping[str, Any], task: str) -> None:
    """Assert that what a task reports can be written down exactly."""
    for value in _leaves(values):
        if value is not None and not isinstance(value, str | bool | int | float):
            assert encoded(value) is not None, task
