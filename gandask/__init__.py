"""Train populations of GANs on Dask, watch them, and analyse them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gandask.version import VERSION

if TYPE_CHECKING:
    from gandask import cluster, data, loggers, plots, results
    from gandask.clients.spending import DPSGD
    from gandask.core import (
        ClusterError,
        DataError,
        MethodError,
        SettingError,
        StoreError,
        TaskError,
    )
    from gandask.engine.auditing import audit
    from gandask.engine.background import start
    from gandask.engine.run import run
    from gandask.execution.heartbeat import Heartbeat
    from gandask.methods import METHODS
    from gandask.methods.grid.method import Grid
    from gandask.methods.mggan.method import MGGAN
    from gandask.methods.perlabel import PerLabel
    from gandask.methods.privacy import PrivacyGAN
    from gandask.methods.split import BPGAN, DataParallel
    from gandask.methods.split.cost import cost
    from gandask.methods.split.crossover import crossover
    from gandask.repurposing import Ensembles, ensembles
    from gandask.results import profile, speedup, to_dataframe, without_timings
    from gandask.runs import Run, open_run, open_runs
    from gandask.scores.metrics import METRICS
    from gandask.training.losses import LOSSES, Loss
    from gandask.training.networks import NETWORKS, Network

__version__ = VERSION

# torch and Dask take a second to import: each name brings its module when it is first used
_HOMES = {
    "engine.auditing": ("audit",),
    "engine.background": ("start",),
    "core": (
        "ClusterError",
        "DataError",
        "MethodError",
        "SettingError",
        "StoreError",
        "TaskError",
    ),
    "engine.run": ("run",),
    "execution.heartbeat": ("Heartbeat",),
    "training.losses": ("LOSSES", "Loss"),
    "methods": ("METHODS",),
    "methods.grid": ("Grid",),
    "methods.mggan": ("MGGAN",),
    "clients.spending": ("DPSGD",),
    "methods.perlabel": ("PerLabel",),
    "methods.privacy": ("PrivacyGAN",),
    "methods.split": ("BPGAN", "DataParallel"),
    "methods.split.cost": ("cost",),
    "methods.split.crossover": ("crossover",),
    "scores.metrics": ("METRICS",),
    "training.networks": ("NETWORKS", "Network"),
    "repurposing": ("Ensembles", "ensembles"),
    "results": ("profile", "speedup", "to_dataframe", "without_timings"),
    "runs": ("Run", "open_run", "open_runs"),
}
_PACKAGES = ("cluster", "data", "loggers", "plots", "results")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "BPGAN",
    "DPSGD",
    "LOSSES",
    "METHODS",
    "METRICS",
    "MGGAN",
    "NETWORKS",
    "ClusterError",
    "DataError",
    "DataParallel",
    "Ensembles",
    "Grid",
    "Heartbeat",
    "Loss",
    "MethodError",
    "Network",
    "PerLabel",
    "PrivacyGAN",
    "Run",
    "SettingError",
    "StoreError",
    "TaskError",
    "audit",
    "cluster",
    "cost",
    "crossover",
    "data",
    "ensembles",
    "loggers",
    "open_run",
    "open_runs",
    "plots",
    "profile",
    "results",
    "run",
    "speedup",
    "start",
    "to_dataframe",
    "without_timings",
]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"gandask.{name}")
    if name not in _HOME_OF:
        raise AttributeError(f"module 'gandask' has no attribute {name!r}")
    return getattr(importlib.import_module(f"gandask.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
