"""Training without blocking: start gives a run at once, and a thread carries it out."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gandask.core import Method, StoreError
from gandask.engine import run as engine
from gandask.engine.progress import progress_of
from gandask.engine.session import OnStep, Session, logger
from gandask.runs import Run

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client
    from distributed.deploy import Cluster

    from gandask.execution.heartbeat import Heartbeat


def start(
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
) -> Run:
    """Train a population of GANs without waiting for it.

    The parameters are those of `gandask.run`, and so is what is refused before anything starts.

    Parameters
    ----------
    store : path-like, optional
        Folder to keep the run in; by default one under the system's temporary folder, which stays
        there (``run.store.path``) and is of no use to workers on other machines.

    Returns
    -------
    Run
        With ``ds``, ``wait()``, ``stop()``, ``pause()``, ``dashboard()``.

    Examples
    --------
    >>> import gandask as gd
    >>> grid = gd.Grid(data="ring8", network="small_mlp", shape=(1, 2), rounds=1, batch_size=500,
    ...                score_samples=100, final_samples=100)
    >>> run = gd.start(grid)
    >>> ds = run.wait()
    >>> run.state
    'finished'
    """
    if store is None and (resume or extend):
        raise StoreError(engine.NO_STORE)
    ended: Future[xr.Dataset] = Future()
    with contextlib.ExitStack() as opened:
        reaching = opened.enter_context(engine.reached(client))
        folder = Path(tempfile.mkdtemp(prefix="gandask-"), method.name) if store is None else store
        given: dict[str, Any] = {"checkpoint_every": checkpoint_every, "synchronous": synchronous}
        given |= {"heartbeat": heartbeat, "max_seconds": max_seconds, "patience": patience}
        begun = engine.begin(method, folder, resume, force, extend, **given)
        if not isinstance(begun, Session):
            ended.set_result(begun)
            return Run(folder, ended, trust=True)
        # here, not in the thread: a notebook shows it below this very cell
        shown = opened.enter_context(progress_of(begun.method, progress))
        begun.on_step = on_step
        held = opened.pop_all()

    def carry_out() -> None:
        try:
            with held:
                dataset = engine.carry_out(begun, shown, reaching, strict_places)
            ended.set_result(dataset)
        except BaseException as error:  # whoever waits gets it; perhaps nobody does
            logger.error("%s ended: %s: %s", folder, type(error).__name__, error)
            ended.set_exception(error)

    thread = threading.Thread(target=carry_out, name="gandask-run", daemon=True)
    thread.start()
    # a script that comes to its end waits here, while Dask and zarr still can do their work: Python
    # waits for threads later, and runs functions of atexit last of all
    vars(threading)["_register_atexit"](thread.join)
    return Run(folder, ended, trust=True)
