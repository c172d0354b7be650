"""The plots of one Dataset: ``run.plot.grid()`` for ``plots.grid(run.ds)``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from gandask.config import suggestion
from gandask.plots.ancestry import lineage
from gandask.plots.cells import grid, mixture
from gandask.plots.charts import events, profile
from gandask.plots.groups import density, partners, regroupings
from gandask.plots.traces import trace

if TYPE_CHECKING:
    import xarray as xr

DRAWN = {
    function.__name__: function
    for function in (
        density, events, grid, lineage, mixture, partners, profile, regroupings, trace,
    )
}  # fmt: skip
"""The plots of one run, by name."""


class Plots:
    """Every plot of one run, as methods; `help` tells what each takes.

    Parameters
    ----------
    ds : Dataset
        What they draw.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def __getattr__(self, name: str) -> Any:
        if name not in DRAWN:
            raise AttributeError(f"there is no plot {name!r}; {suggestion(name, DRAWN)}")
        function = DRAWN[name]
        return functools.update_wrapper(functools.partial(function, self._ds), function)

    def __dir__(self) -> list[str]:
        return sorted(DRAWN)

    def __repr__(self) -> str:
        return f"Plots({', '.join(DRAWN)})"
