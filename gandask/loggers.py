"""Numbers of a run, written where a user keeps those of others: MLflow, TensorBoard, W&B.

Each logger is what `gandask.run` takes as ``on_step``: it is called in the client, and sees what
the Dataset will hold. A number of a slot is called ``fid/cell/3``, one of the whole population
``fid``; its step is the round. A round that was written by a process that was killed is not written
again.
"""

from __future__ import annotations

import abc
import importlib.util
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from gandask import config
from gandask.core import Method, Record, SettingError, Variable, View

MOST = 1000  # metrics that MLflow takes at once
LONGEST = 500  # characters of a parameter that every MLflow server takes


class Point(NamedTuple):
    """One number of a run: its name and slot, and the round."""

    name: str
    slot: str
    round: int
    value: float


def points(records: Sequence[Record], variables: Mapping[str, Variable]) -> Iterator[Point]:
    """Give the numbers that records hold: neither arrays nor texts, nor whole numbers for none.

    Examples
    --------
    >>> known = {"fid": Variable("FID"), "loss": Variable("loss", "", dtype="str")}
    >>> [*points([Record("cell/3", 2, {"fid": 1.5, "loss": "bce"})], known)]
    [Point(name='fid/cell/3', slot='cell/3', round=2, value=1.5)]
    """
    for record in records:
        for name, value in record.values.items():
            kind = np.asarray(value).dtype.kind
            nothing = np.dtype(variables[name].dtype).kind == "i" and np.all(value == -1)
            if np.ndim(value) == 0 and kind in "bif" and not nothing:
                told = _named(name, record.slot)
                yield Point(told, record.slot, record.round, float(value))


class Logger(abc.ABC):
    """Write the numbers of a run as they are recorded; used as a context, it says how it ended.

    Parameters
    ----------
    method : Method
        What the run carries out: its settings are written once, at the start.
    """

    def __init__(self, method: Method[Any]) -> None:
        self.method = method
        self.variables = method.layout().variables
        self.last: dict[str, int] = {}  # by name, the round that was written last

    def __call__(self, view: View, records: Sequence[Record]) -> None:
        """Write what a step added: it is what ``on_step`` is."""
        found = points(records, self.variables)
        new = [point for point in found if point.round > self.last.get(point.name, 0)]
        if new:
            self.write(new)
        self.last |= {point.name: point.round for point in new}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        self.close(failed=kind is not None)

    @abc.abstractmethod
    def write(self, new: Sequence[Point]) -> None:
        """Write numbers of rounds that were not written before."""

    @abc.abstractmethod
    def close(self, failed: bool = False) -> None:
        """Say that the run has ended, and how."""


class MLflow(Logger):
    """Write a run to an MLflow server.

    Parameters
    ----------
    method : Method
        What the run carries out.
    tracking_uri : str, optional
        Address of the server; by default what MLflow takes, such as ``MLFLOW_TRACKING_URI``.
    experiment : str
        It is made if there is none of that name.
    run_id : str, optional
        A run to go on with, as the `run_id` of one before; by default a new one.

    Raises
    ------
    SettingError
        If MLflow is not installed, or does not have such a run.

    Examples
    --------
    >>> import gandask as gd
    >>> grid = gd.Grid(data="ring8")
    >>> with gd.loggers.MLflow(grid, tracking_uri="http://127.0.0.1:5000") as log:  # doctest: +SKIP
    ...     ds = gd.run(grid, on_step=log)
    """

    def __init__(
        self,
        method: Method[Any],
        *,
        tracking_uri: str | None = None,
        experiment: str = "gandask",
        run_id: str | None = None,
    ) -> None:
        super().__init__(method)
        _need("mlflow", "MLflow")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            self.client = MlflowClient(tracking_uri)
            self.run_id = self._taken_up(run_id) if run_id else self._begun(experiment)
        except MlflowException as error:
            told = f"run_id={run_id!r}" if run_id else f"experiment={experiment!r}"
            raise SettingError(f"{told}: MLflow refuses it: {error.message}") from error

    def _begun(self, experiment: str) -> str:
        """Begin a run with the settings as its parameters."""
        from mlflow.entities import Param

        found = self.client.get_experiment_by_name(experiment)
        known = found.experiment_id if found else self.client.create_experiment(experiment)
        run_id = str(self.client.create_run(known).info.run_id)
        told = {"method": self.method.name, **config.to_dict(self.method, strict=False)}
        params = [Param(key, str(value)[:LONGEST]) for key, value in told.items()]
        self.client.log_batch(run_id, params=params)
        return run_id

    def _taken_up(self, run_id: str) -> str:
        """Go on with a run: what it has of each metric is not written again."""
        for name in self.client.get_run(run_id).data.metrics:
            self.last[name] = max(one.step for one in self.client.get_metric_history(run_id, name))
        self.client.update_run(run_id, status="RUNNING")
        return run_id

    def write(self, new: Sequence[Point]) -> None:
        """Write numbers of rounds that were not written before."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [Metric(point.name, point.value, now, point.round) for point in new]
        for at in range(0, len(metrics), MOST):
            self.client.log_batch(self.run_id, metrics=metrics[at : at + MOST])

    def close(self, failed: bool = False) -> None:
        """Say that the run has ended, and how."""
        self.client.set_terminated(self.run_id, status="FAILED" if failed else "FINISHED")


class TensorBoard(Logger):
    """Write a run to event files, which ``tensorboard --logdir`` shows.

    Parameters
    ----------
    method : Method
        What the run carries out.
    folder : path-like
        Where to; a folder that has events of the run already is gone on with.

    Raises
    ------
    SettingError
        If TensorBoard is not installed, or the folder cannot be written.

    Examples
    --------
    >>> import gandask as gd
    >>> grid = gd.Grid(data="ring8")
    >>> with gd.loggers.TensorBoard(grid, "events/first") as log:  # doctest: +SKIP
    ...     ds = gd.run(grid, on_step=log)
    """

    def __init__(self, method: Method[Any], folder: str | os.PathLike[str]) -> None:
        super().__init__(method)
        _need("tensorboard", "TensorBoard")
        from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(folder)
        begun = any(folder.glob("events.out.tfevents.*"))
        try:
            self.writer = SummaryWriter(folder)
        except OSError as error:
            raise SettingError(f"folder={str(folder)!r} cannot be written: {error}") from error
        if begun:
            read = EventAccumulator(str(folder), size_guidance={SCALARS: 1})  # the last of each
            read.Reload()
            self.last = {tag: read.Scalars(tag)[-1].step for tag in read.Tags()[SCALARS]}
            return
        toml = config.to_toml(method, strict=False)
        self.writer.add_text("settings", f"```toml\n{toml}```")

    def write(self, new: Sequence[Point]) -> None:
        """Write numbers of rounds that were not written before."""
        for point in new:
            self.writer.add_scalar(point.name, point.value, point.round)
        self.writer.flush()

    def close(self, failed: bool = False) -> None:
        """Close the file of events, which has no word for how a run ended."""
        self.writer.close()


class WandB(Logger):
    """Write a run to Weights & Biases.

    Parameters
    ----------
    method : Method
        What the run carries out.
    project : str
        Where it belongs.
    run_id : str, optional
        A name of your own, under which a run is gone on with; by default a new one. What was
        written before is known online alone: with ``WANDB_MODE=offline`` rounds since the last
        checkpoint are written a second time, with the same values.

    Raises
    ------
    SettingError
        If wandb is not installed.

    Examples
    --------
    >>> import gandask as gd
    >>> grid = gd.Grid(data="ring8")
    >>> with gd.loggers.WandB(grid, project="rings") as log:  # doctest: +SKIP
    ...     ds = gd.run(grid, on_step=log)
    """

    def __init__(
        self, method: Method[Any], *, project: str = "gandask", run_id: str | None = None
    ) -> None:
        super().__init__(method)
        _need("wandb", "WandB")
        import wandb

        told = {"method": method.name, **config.to_dict(method, strict=False)}
        resume = "allow" if run_id else None
        self.run = wandb.init(project=project, id=run_id, resume=resume, config=told)
        self.run_id = str(self.run.id)
        self.defined: set[str] = set()
        for slot in ("", *method.layout().slots):
            self._take_up(slot)

    def _take_up(self, slot: str) -> None:
        """Learn which rounds of a slot were written before, of all that it has."""
        self.run.define_metric(_round_of(slot), hidden=True)
        last = self.run.summary.get(_round_of(slot), 0)
        for name in self.variables:
            told = _named(name, slot)
            if self.run.summary.get(told) is not None:
                self.last[told] = int(last)

    def write(self, new: Sequence[Point]) -> None:
        """Write numbers of rounds that were not written before."""
        rows: dict[tuple[str, int], dict[str, float]] = {}
        for point in new:
            rows.setdefault((point.slot, point.round), {})[point.name] = point.value
            if point.name not in self.defined:
                self.run.define_metric(point.name, step_metric=_round_of(point.slot))
                self.defined.add(point.name)
        for (slot, round), row in rows.items():
            self.run.log({_round_of(slot): round, **row})

    def close(self, failed: bool = False) -> None:
        """Say that the run has ended, and how."""
        self.run.finish(exit_code=int(failed))


def _named(name: str, slot: str) -> str:
    return f"{name}/{slot}" if slot else name


def _round_of(slot: str) -> str:
    """Name the metric that counts a slot's rounds: W&B's own steps count calls."""
    return _named("round", slot)


def _need(package: str, logger: str) -> None:
    """Refuse a logger whose package is not installed.

    Raises
    ------
    SettingError
    """
    if importlib.util.find_spec(package) is None:
        raise SettingError(
            f"loggers.{logger} needs the package {package}: pip install 'gandask[{package}]'"
        )
