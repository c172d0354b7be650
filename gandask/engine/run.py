"""The engine: run carries a method's plans to their end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from gandask import results
from gandask.core import WHERE, Event, Hosting, Method, SettingError, StoreError
from gandask.engine import budgets, extending, resuming
from gandask.engine.ending import heeded
from gandask.engine.kept import KeptSession
from gandask.engine.options import Options, of
from gandask.engine.progress import Progress, progress_of
from gandask.engine.session import Ended, OnStep, Session
from gandask.execution.dask import Distributed
from gandask.execution.heartbeat import Heartbeat, Watch
from gandask.execution.perform import Around
from gandask.execution.places import Places
from gandask.execution.serial import Serial
from gandask.store import Store, create, layouts, refuse_existing, scored
from gandask.store.checkpoint import SAFE

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client
    from distributed.deploy import Cluster

NO_STORE = "resume=True and extend=True need store=, the folder of the run to continue"


def run(
    method: Method[Any],
    *,
    client: Client | Cluster | str | os.PathLike[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    synchronous: bool | None = None,
    resume: bool = False,
    extend: bool = False,
    force: bool = False,
    heartbeat: Heartbeat | None = None,
    max_seconds: float | None = None,
    patience: int | None = None,
    strict_places: bool = False,
    progress: bool | None = None,
    on_step: OnStep | None = None,
) -> xr.Dataset:
    """Train a population of GANs.

    Parameters
    ----------
    method : Method
        What to do, such as ``gandask.Grid(shape=(2, 2), rounds=20)``.
    client : distributed.Client, cluster, str or path-like, optional
        Where to do it: a client, a cluster, or a scheduler's address or its scheduler file; in this
        process by default, with identical numbers.
    store : path-like, optional
        Folder to keep the run in. It must be one that the workers share. Without one nothing is
        kept, and a lost worker costs recomputing from the start.
    checkpoint_every : int, optional
        Rounds between checkpoints, each of which ends the chain of tasks that Dask remembers: 10,
        or those of the run that is resumed.
    synchronous : bool, optional
        Wait for all tasks of a plan before the next, as by default, or as the run that is resumed.
        Otherwise each slot goes on at its own pace, and the result depends on theirs.
    resume : bool
        Continue the run in `store` after its last checkpoint.
    extend : bool
        Let the run in `store`, which has ended, go on with a larger setting of `Method.extends`,
        such as ``rounds``: to what it would have come to with it from its start, bit for bit. With
        settings that are the run's own it is continued.
    force : bool
        Continue it though another process seems to write it; that one is refused from then on.
    heartbeat : Heartbeat, optional
        How to watch over slots and workers: when they are delayed or lost, and whether to hedge.
        By default as the run that is resumed.
    max_seconds : float, optional
        Seconds, without pauses, after which the run ends early: with the rounds that are begun and
        the last scores, as if it had been asked for no more. Its settings say so from then on. One
        that is resumed keeps its budget, of which the seconds before are a part; one that is
        extended has none unless it is given.
    patience : int, optional
        Rounds without a better score after which it ends early.
    strict_places : bool
        Refuse to run, or to go on, where a slot of the method has a place and no worker is named
        like it. Otherwise such slots share the other workers.
    progress : bool, optional
        Show a progress bar, by default in a terminal and in a notebook, and elsewhere a line every
        half minute; and a line for each thing that the machine does or that diverges, through the
        logger ``gandask``: in a notebook only for the latter. False is silent unless logging is
        set up.
    on_step : callable, optional
        Called in this process after each step with the method's view and the records of the step:
        each has `slot`, `round` and `values`. Of a run that is resumed, with new ones alone. What
        it raises ends the run, which can be resumed.

    Returns
    -------
    Dataset
        Rounds and units as dimensions, with names and units on every variable.

    Raises
    ------
    SettingError, DataError, StoreError, MethodError
        Before anything starts; MethodError also when a method breaks its contract later. What a
        run that ends before its first step leaves in `store` is in nobody's way.
    TaskError
        When a task fails: with slot, round, seed and the original traceback.
    ClusterError
        When the scheduler is lost. What was checkpointed is kept, as after any error.
    SystemExit
        After SIGTERM or SIGHUP, with a checkpoint, where a run is kept and the process has no
        handler of its own for them.

    Examples
    --------
    >>> import gandask as gd
    >>> grid = gd.Grid(data="ring8", network="small_mlp", shape=(1, 2), rounds=1, batch_size=500,
    ...                score_samples=100, final_samples=100)
    >>> ds = gd.run(grid)
    >>> dict(ds.fid.sizes)
    {'round': 1, 'row': 1, 'col': 2}
    """
    with reached(client) as reaching:
        given: dict[str, Any] = {"checkpoint_every": checkpoint_every, "synchronous": synchronous}
        given |= {"heartbeat": heartbeat, "max_seconds": max_seconds, "patience": patience}
        begun = begin(method, store, resume, force, extend, **given)
        if not isinstance(begun, Session):
            return begun
        with progress_of(begun.method, progress) as shown:
            begun.on_step = on_step
            return carry_out(begun, shown, reaching, strict_places)


def reached(
    client: Client | Cluster | str | os.PathLike[str] | None,
) -> contextlib.AbstractContextManager[Client | None]:
    """Give the client to what `run` is given, before anything else: refusing it leaves nothing."""
    if client is None:
        return contextlib.nullcontext()
    from gandask import cluster

    return cluster.reached(client)


def begin(
    method: Method[Any],
    store: str | os.PathLike[str] | None,
    resume: bool = False,
    force: bool = False,
    extend: bool = False,
    **given: Any,
) -> Session | xr.Dataset:
    """Do all that can be refused: give a run that is ready to go, or what a finished one came to.

    Parameters, and what is raised, are those of `run`.
    """
    options = Options().given(given)
    method = method.resolved()
    if store is not None and (resume or extend):
        return _take_up(method, Store.open(store), force, extend, given)
    _refuse_waiting(method, options)
    method.check()
    if store is None:
        if resume or extend:
            raise StoreError(NO_STORE)
        layouts.refuse_larger(method.layout(), method.rounds)
        facts = method.prepare()
        budgets.check(method, options, facts)
        return Session(method, facts, options)
    refuse_existing(Store(store))
    facts = method.prepare()
    budgets.check(method, options, facts)
    kept = create(store, method, facts)
    with _failing(kept):
        return KeptSession(method, facts, options, kept)


def _take_up(
    method: Method[Any], kept: Store, force: bool, extend: bool, given: Mapping[str, Any]
) -> Session | xr.Dataset:
    """Continue a stored run, or extend it first; see `begin`."""
    kept.described.refuse_older()
    extending.complete(kept, force)
    longer = extending.asked(kept, method, force) if extend else None
    method = longer or resuming.stored(kept, method)
    finished = kept.read_dataset() if kept.state == "finished" else None
    if finished is not None and longer is None:
        return finished
    method.check()
    facts = method.prepare()
    resuming.refuse_others(kept, facts)
    before = of(kept)
    options = (before.unlimited() if longer else before).given(given)
    budgets.check(method, options, facts)
    _refuse_waiting(method, options)
    planned = extending.planned(kept, method, facts, options) if longer else None
    extending.claim(kept, planned, force)
    with _failing(kept):
        return KeptSession(method, facts, options, kept, resumed=True)


def _refuse_waiting(method: Method[Any], options: Options) -> None:
    """Refuse to wait for all slots where settings say that nobody does."""
    if method.own_pace and options.synchronous:
        raise SettingError(
            f"method {method.name!r}: by its settings nobody waits for all slots, and synchronous="
            "True does; choose synchronous=False (--asynchronous), or settings that wait for all"
        )


@contextlib.contextmanager
def _failing(kept: Store) -> Iterator[None]:
    """Write down what keeps a run from beginning, and let others claim it."""
    try:
        yield
    except BaseException as error:
        with contextlib.suppress(OSError, StoreError):
            told = f"{type(error).__name__}: {error}"
            kept.describe("failed", kept.description["round"], error=told)
        kept.release()
        raise


def carry_out(
    session: Session,
    progress: Progress,
    client: Client | None,
    strict_places: bool = False,
) -> xr.Dataset:
    """Carry a run to its end, or until it is asked to stop; see `run`."""
    kept = session.store if isinstance(session, KeptSession) else None
    link = client.dashboard_link if client else None
    with _writing(kept, session, link):
        with _watched(session, kept, client, strict_places):
            session.begin()
            with heeded(session) if kept else contextlib.nullcontext():
                finished = session.work(progress)
            attest(session)
        dataset = session.results.dataset(results.attributes(session.method, session.facts))
        if kept and finished:
            kept.described.refuse_stranger()
            told = {"dataset": kept.write_dataset(dataset), "best": _final(dataset)}
            kept.describe("finished", session.view.round, **told)
        elif kept:
            kept.describe("stopped", session.view.round)
    return dataset


def _final(dataset: xr.Dataset) -> dict[str, Any] | None:
    """Give the score that a run came to, for lists of runs."""
    found, name = results.outcome(dataset), str(dataset.attrs.get("score", ""))
    if found is None:
        return None
    return scored((name, float(found[name])), final="round" not in found.coords)


def attest(session: Session) -> None:
    """Tell by an event if code was changed in this process while the run went on.

    A cell of a notebook that defines a network anew is one way: later rounds train the new one.
    """
    try:
        now = session.method.identity()
    except Exception as error:  # whatever became of that code, the run itself is done
        others = f"networks or losses fail by now: {type(error).__name__}: {error}"
    else:
        code = {key: told for key, told in now.items() if key not in WHERE}
        others = resuming.other_facts(session.facts, {**session.facts, **code}, True)
    if others:
        detail = f"{others}; which rounds are of which code is not known"
        session.note([Event(session.view.round, "versions", "", detail, machine=True)])


@contextlib.contextmanager
def _writing(kept: Store | None, session: Session, link: str | None) -> Iterator[None]:
    """Write down that a run is going on, and how it ends, if it does not end well."""
    try:
        if kept:
            told: dict[str, Any] = {"dask_dashboard": link, "options": session.options.told()}
            if not session.synchronous:
                told["own_pace"] = True  # from then on: whoever continues it may wait for all
            kept.describe("running", kept.description["round"], **told)
            kept.described.busy[kept.path] = kept.described.writer
        yield
    except BaseException as error:
        state = "stopped" if isinstance(error, KeyboardInterrupt | Ended) else "failed"
        if kept:
            with contextlib.suppress(OSError, StoreError):  # the disk may be full
                kept.describe(state, session.view.round, error=f"{type(error).__name__}: {error}")
        if kept and isinstance(error, OSError):
            raise StoreError(f"{kept.path} cannot be written: {error}; {SAFE}") from error
        raise
    finally:
        if kept:
            kept.release()


@contextlib.contextmanager
def _watched(
    session: Session,
    kept: Store | None,
    client: Client | None,
    strict_places: bool,
) -> Iterator[None]:
    """Perform a session's tasks with a client, or in process, under the heartbeat's watch."""
    method, settings = session.method, session.options.heartbeat
    watch = Watch(settings)
    session.watch, session.ledger.travels = watch, client is not None
    places = Places(method.places(), strict_places, settings.lost_after)
    hosting = Hosting(client is not None, kept.path if kept else None, watch.happened)
    with method.hosted(hosting) as session.hosted:
        reach = session.hosted.reach
        session.executor = executor = (
            Distributed(client, method.seed, watch.tell, places, reach)
            if client
            else Serial(method.seed, watch.tell, Around(reach))
        )
        try:
            with watch.over(executor, kept.beat if kept else None):
                yield
            session.attend()
        except BaseException:
            with contextlib.suppress(OSError, StoreError):
                session.take_note()  # of what may be the reason
            raise
        finally:
            executor.cancel()
