"""What pages show of a run's units, as its layout and its variables say it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import holoviews as hv

from gandask import plots
from gandask.core import Figure, Layout
from gandask.plots.maps import MOST

if TYPE_CHECKING:
    import xarray as xr

logger = logging.getLogger("gandask")


def shown(ds: xr.Dataset, where: str) -> list[str]:
    """Name the variables by round that say they are shown in some place."""
    return [
        str(name)
        for name, values in ds.data_vars.items()
        if where in str(values.attrs.get("shown", "")).split() and "round" in values.dims
    ]


def mapped(ds: xr.Dataset, layout: Layout) -> dict[str, list[str]]:
    """Name what can be drawn over the units of each role: of roles that have a map, no others."""
    made: dict[str, list[str]] = {}
    for name in shown(ds, "map"):
        role = layout.roles.get(ds[name].attrs.get("role", ""))
        if role and 1 <= len(role.unit) <= MOST and set(ds[name].dims) == {"round", *role.unit}:
            made.setdefault(ds[name].attrs["role"], []).append(name)
    return made


def places(layout: Layout, role: str) -> dict[str, dict[str, Any]]:
    """Give the place of every unit of a role, by slot."""
    unit = layout.roles[role].unit
    labels = itertools.product(*(layout.coords[dim] for dim in unit))
    slots = layout.roles[role].slots
    return {
        slot: dict(zip(unit, place, strict=True)) for slot, place in zip(slots, labels, strict=True)
    }


def drawable(ds: xr.Dataset, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Give the figures that there is something to draw of."""
    return {name: figure for name, figure in figures.items() if set(figure.needs) <= set(ds)}


def draw(figure: Figure, ds: xr.Dataset, marked: Mapping[str, Any] | None, round: int) -> Any:
    """Draw a figure of a method's own; what goes wrong in it is told in its place."""
    given = {"marked": marked, "round": round}
    try:
        made = figure.draw(ds, **{key: given[key] for key in figure.takes})
    except Exception as error:  # whatever a user's drawing raises, the page goes on
        logger.debug("figure %r cannot be drawn", figure.title, exc_info=error)
        told = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        return plots.message(f"{told}{error}")
    if not isinstance(made, hv.Element | hv.Overlay):
        return plots.message(f"expected an element of HoloViews, not {type(made).__name__}")
    return made


def ends(ds: xr.Dataset, along: str) -> dict[int, float]:
    """Give where each round ends on the axis of a figure that is along a variable."""
    if along not in ds.data_vars:
        return {}
    values = ds[along]
    last = values.max([dim for dim in values.dims if dim != "round"]).values.tolist()
    return dict(zip(ds["round"].values.tolist(), last, strict=True))


def sized(element: Any) -> int:
    """Give the width of a drawing that has one of its own, in pixels, or 0."""
    layers = [element, *(element if isinstance(element, hv.Overlay) else [])]
    found = (hv.Store.lookup_options("bokeh", layer, "plot").kwargs for layer in layers)
    return max(int(options.get("frame_width") or 0) for options in found)
