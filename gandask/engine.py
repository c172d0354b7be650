"""The engine: run carries a method's plans to their end."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gandask import config, results
from gandask.checkpoint import SAFE
from gandask.core import SettingError, StoreError
from gandask.distribution import Distributed
from gandask.executors import Serial
from gandask.heartbeat import Heartbeat, Watch
from gandask.methods import METHODS
from gandask.session import Session, logger
from gandask.store import Store

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client


def run(
    method: Any,
    *,
    client: Client | None = None,
    store: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 10,
    synchronous: bool = True,
    resume: bool = False,
    heartbeat: Heartbeat | None = None,
    progress: bool | None = None,
) -> xr.Dataset:
    """Train a population of GANs.

    Parameters
    ----------
    method : Method
        What to do, such as ``gandask.Grid(shape=(2, 2), rounds=20)``.
    client : distributed.Client, optional
        Where to do it; in this process by default, with identical numbers.
    store : path-like, optional
        Folder to keep the run in. It must be one that the workers share. Without one nothing is
        kept, and a lost worker costs recomputing from the start.
    checkpoint_every : int
        Rounds between checkpoints, each of which ends the chain of tasks that Dask remembers.
    synchronous : bool
        Wait for all tasks of a plan before the next. Otherwise each slot goes on at its own pace,
        and the result depends on theirs.
    resume : bool
        Continue the run in `store` after its last checkpoint.
    heartbeat : Heartbeat, optional
        How to watch over slots and workers: when they are delayed or lost, and whether to hedge.
    progress : bool, optional
        Show a progress bar, by default where standard error is a terminal, and a line for each
        thing that the machine does or that diverges, through the logger ``gandask``; False is
        silent unless logging is set up.

    Returns
    -------
    Dataset
        Rounds and units as dimensions, with names and units on every variable.

    Raises
    ------
    SettingError, DataError, StoreError
        Before anything starts.
    TaskError
        When a task fails: with slot, round, seed and the original traceback.
    ClusterError
        When the scheduler is lost. What was checkpointed is kept, as after any error.

    Examples
    --------
    >>> import gandask as gd
    >>> grid = gd.Grid(data="ring8", network="small_mlp", shape=(1, 2), rounds=1, batch_size=500,
    ...                score_samples=100, final_samples=100)
    >>> ds = gd.run(grid)
    >>> dict(ds.fid.sizes)
    {'round': 1, 'row': 1, 'col': 2}
    """
    if checkpoint_every < 1:
        raise SettingError(f"checkpoint_every={checkpoint_every}: expected at least 1")
    method.check()
    kept, facts = _open_store(method, store, resume)
    finished = kept.read_dataset() if kept and kept.state == "finished" else None
    if finished is not None:
        return finished
    session = Session(method, kept, checkpoint_every, synchronous)
    if progress is not False:
        _speak()
    with _writing(kept, session):
        with _progress_bar(method, progress) as bar, _watched(session, client, heartbeat):
            session.begin(resume)
            session.work(bar)
        dataset = session.results.dataset(results.attributes(method, facts))
        if kept:
            kept.write_dataset(dataset)
            kept.describe("finished", session.view.round)
    return dataset


@contextlib.contextmanager
def _writing(kept: Store | None, session: Session) -> Iterator[None]:
    """Write down how a run ends, if it does not end well."""
    if kept:
        kept.describe("running", kept.description["round"])
    try:
        yield
    except BaseException as error:
        state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
        if kept:
            with contextlib.suppress(OSError, StoreError):  # the disk may be full
                kept.describe(state, session.view.round, error=f"{type(error).__name__}: {error}")
        if kept and isinstance(error, OSError):
            raise StoreError(f"{kept.path} cannot be written: {error}; {SAFE}") from error
        raise


@contextlib.contextmanager
def _watched(session: Session, client: Client | None, settings: Heartbeat | None) -> Iterator[None]:
    """Perform a session's tasks with a client, or in process, under the heartbeat's watch."""
    watch = session.watch = Watch(settings or Heartbeat())
    seed = session.method.seed
    session.executor = executor = (
        Distributed(client, seed, watch.tell) if client else Serial(seed, watch.tell)
    )
    try:
        with watch.over(executor, session.store.beat if session.store else None):
            yield
        session.attend()
    finally:
        executor.cancel()


def _open_store(
    method: Any, path: str | os.PathLike[str] | None, resume: bool
) -> tuple[Store | None, dict[str, Any]]:
    """Make or reopen the store, and prepare the method."""
    if path is None:
        if resume:
            raise StoreError("resume=True needs store=, the folder of the run to continue")
        return None, method.prepare()
    if not resume:
        Store(path).refuse_existing()
        facts = method.prepare()
        return Store.create(path, method, facts), facts
    kept = Store.open(path)
    stored, given = config.to_dict(kept.method(METHODS)), config.to_dict(method)
    for key in dict.fromkeys([*given, *stored]):
        if stored.get(key) != given.get(key):
            raise StoreError(
                f"{key}={given.get(key)!r}: the run in {str(path)!r} has {stored.get(key)!r}; "
                "continue it with its own settings, or choose another name"
            )
    facts = method.prepare()
    if kept.state != "finished":
        kept.claim()
    return kept, facts


def _speak() -> None:
    """Let events be seen where no logging is set up."""
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


@contextlib.contextmanager
def _progress_bar(method: Any, shown: bool | None) -> Iterator[Any]:
    hidden = not sys.stderr.isatty() if shown is None else not shown
    if hidden:
        # the bar of notebooks warns where there are no widgets, even if it is never shown
        from tqdm import tqdm

        yield tqdm(disable=True)
        return
    from tqdm.auto import tqdm as shown_tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    total = method.rounds * len(method.layout().slots)
    # lines go above the bar, not through it
    with (
        shown_tqdm(total=total, unit="turn", desc=method.name) as bar,
        logging_redirect_tqdm([logger]),
    ):
        yield bar
