"""A figure of a page taken away: a picture, the numbers in it, and the Python that draws it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import holoviews as hv
import pandas as pd
import panel as pn
import param

from gandask.pages.frame import STYLE

PYTHON = """\
import holoviews as hv

import gandask as gd

run = gd.open_run({path!r})
figure = run.plot.{name}({arguments})
hv.save(figure, {file!r})  # in a notebook the figure alone shows it
"""
SEVERAL = """\
import holoviews as hv

import gandask as gd
{imports}
paths = {{
{paths}}}
runs = {{name: gd.open_run(path).ds for name, path in paths.items()}}
figure = {figure}
hv.save(figure, {file!r})  # in a notebook the figure alone shows it
"""


class TakeAway(pn.custom.JSComponent):
    """A small menu over a figure: PNG, SVG, CSV, and Python where it is known how it was drawn."""

    python = param.String("", doc="What draws the figure.")

    _esm = Path(__file__).with_name("takeaway.js").read_text(encoding="utf-8")
    stylesheets = param.List([STYLE])

    def answer(self, element: hv.Element) -> None:
        """Give the browser the numbers of what is drawn."""
        self._send_msg({"csv": table(element)})


def python(path: Path, name: str, **arguments: Any) -> str:
    """Write the Python that draws a figure of a run.

    Parameters
    ----------
    path : Path
        Of the run.
    name : str
        Of the plot: ``run.plot.NAME``.
    **arguments
        What it takes.

    Examples
    --------
    >>> print(python(Path("/runs/first"), "trace", variable="fid"), end="")
    import holoviews as hv
    <BLANKLINE>
    import gandask as gd
    <BLANKLINE>
    run = gd.open_run('/runs/first')
    figure = run.plot.trace(variable='fid')
    hv.save(figure, 'trace.html')  # in a notebook the figure alone shows it
    """
    told = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return PYTHON.format(path=str(path), name=name, arguments=told, file=f"{name}.html")


def python_of_several(paths: Mapping[str, Path], figure: str, file: str, imports: str = "") -> str:
    """Write the Python that draws a figure of several runs.

    Parameters
    ----------
    paths : mapping of str to Path
        Of the runs, by name.
    figure : str
        The expression that draws it, from ``runs``: Datasets by name.
    file : str
        Name of the file that it is saved in, without its ending.
    imports : str
        Lines for what else the expression calls.

    Examples
    --------
    >>> paths = {"first": Path("/runs/first")}
    >>> print(python_of_several(paths, "gd.plots.routines(runs)", "routines"), end="")
    import holoviews as hv
    <BLANKLINE>
    import gandask as gd
    <BLANKLINE>
    paths = {
        'first': '/runs/first',
    }
    runs = {name: gd.open_run(path).ds for name, path in paths.items()}
    figure = gd.plots.routines(runs)
    hv.save(figure, 'routines.html')  # in a notebook the figure alone shows it
    """
    told = "".join(f"    {name!r}: {str(path)!r},\n" for name, path in paths.items())
    return SEVERAL.format(paths=told, figure=figure, file=f"{file}.html", imports=imports)


def table(element: hv.Element) -> str:
    """Write the numbers of a drawing as CSV, layer by layer where it has several."""
    layers = [*element] if isinstance(element, hv.Overlay) else [element]
    frames = []
    for place, layer in enumerate(layers, start=1):
        if isinstance(layer, hv.Labels) or not isinstance(layer, hv.Dataset):
            continue  # written over what another layer has
        frame = layer.dframe()
        if len(layers) > 1:
            frame.insert(0, "layer", layer.label or f"{type(layer).__name__} {place}")
        frames.append(frame)
    return pd.concat(frames).to_csv(index=False) if frames else ""
