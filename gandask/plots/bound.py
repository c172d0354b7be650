"""The plots of one Dataset: ``run.plot.map()`` for ``plots.map(run.ds)``, and the method's own."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gandask.core import Figure
from gandask.display import suggestion
from gandask.plots.charts import profile
from gandask.plots.maps import map
from gandask.plots.timeline import events
from gandask.plots.traces import trace

if TYPE_CHECKING:
    import xarray as xr

DRAWN = {function.__name__: function for function in (events, map, profile, trace)}
"""The plots of any run, by name."""


class Plots:
    """Every plot of one run, as methods; `help` tells what each takes.

    Parameters
    ----------
    ds : Dataset
        What they draw.
    figures : mapping of str to Figure
        The drawings of its method's own, by name.
    """

    def __init__(self, ds: xr.Dataset, figures: Mapping[str, Figure]) -> None:
        self._ds = ds
        self._drawn = DRAWN | {name: figure.draw for name, figure in figures.items()}

    def __getattr__(self, name: str) -> Any:
        if name not in self._drawn:
            raise AttributeError(f"there is no plot {name!r}; {suggestion(name, self._drawn)}")
        function = self._drawn[name]
        return functools.update_wrapper(functools.partial(function, self._ds), function)

    def __dir__(self) -> list[str]:
        return sorted(self._drawn)

    def __repr__(self) -> str:
        return f"Plots({', '.join(sorted(self._drawn))})"
