"""A plot on a page: its figure stays while what is in it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import holoviews as hv
import panel as pn
from bokeh.core.properties import value
from bokeh.models import Span, TapTool

from gandask.pages.takeaway import TakeAway
from gandask.plots.style import MUTED

CORNER = {"position": "absolute", "top": "0", "right": "0", "z-index": "3"}
FIXED = ("logx", "logy", "invert_axes", "height", "frame_width", "frame_height")
"""Options that a figure cannot change."""

CANVAS = hv.renderer("bokeh").instance(webgl=False)
"""Without WebGL: of so few points it draws nothing faster, and takes a browser that has no GPU, as
over a remote desktop, half a second each time."""


class PlotPane:
    """One plot of a page.

    A new figure takes the browser longest, and old ones stay in its memory: what has the form of
    the plot before it goes into the same figure.

    Parameters
    ----------
    **options
        Of the pane.
    """

    def __init__(self, **options: Any) -> None:
        given = {"linked_axes": False, "sizing_mode": "stretch_width", "renderer": CANVAS} | options
        self.pane = pn.pane.HoloViews(**given)
        self.taken = TakeAway(styles=CORNER, margin=0)
        self.taken.on_msg(lambda event: self.taken.answer(self.element))
        self.view = pn.Column(
            self.pane, self.taken, sizing_mode=given["sizing_mode"], styles={"position": "relative"}
        )
        self.form: Any = None
        self.element: hv.Element
        self.labels: dict[str, str] = {}
        self.pipe: hv.streams.Pipe
        self.touched: hv.streams.Tap

    def show(self, element: hv.Element, touched: Any = None, python: str = "") -> None:
        """Show a plot.

        Parameters
        ----------
        element : Element
        touched : callable, optional
            Called with x and y of a click.
        python : str
            What draws it, for whoever takes it away.
        """
        self.taken.python, self.element = python, element
        form = _form(element)
        for layer in _layers(element):
            layer.opts(framewise=True)  # the axes follow: else they stay as they were at first
        element = self._numbered(element)
        if form == self.form:
            self.pipe.send(element)
            return
        self.form, self.pipe = form, hv.streams.Pipe(data=element)
        drawn = hv.DynamicMap(lambda data: data, streams=[self.pipe])
        if touched is not None:
            # clicks on a plot of many layers are not reported: an empty one takes them
            layer = hv.Points([], _layers(element)[0].kdims).opts(hooks=[_unselected])
            self.touched = hv.streams.Tap(source=layer)  # it lives as long as someone holds it
            self.touched.add_subscriber(touched)
            drawn = drawn * layer
        self.pane.object = drawn

    def _numbered(self, element: hv.Element) -> hv.Element:
        """Number the labels of layers; their legend tells them all the same.

        HoloViews knows layers by their labels: one of another label comes in a new figure.
        """
        numbers = _numbers(element)
        if not numbers or not isinstance(element, hv.Overlay):
            return element
        self.labels = {number: label for label, number in numbers.items()}
        layers = [layer.relabel(numbers.get(layer.label, "")) for layer in element]
        known = _option(element, "hooks") or []
        return element.clone(layers).opts(hooks=[*known, self._label])

    def _label(self, plot: Any, element: hv.Element) -> None:
        for legend in plot.state.legend:
            for item in legend.items:
                # a value or, as older versions have it, a field
                label = getattr(item.label, "value", getattr(item.label, "field", None))
                number = item.tags[0] if item.tags else label
                if number in self.labels:
                    item.update(tags=[number], label=value(self.labels[number]))


def _form(element: hv.Element) -> Any:
    """Tell what of a plot cannot change within its figure: layers, axes and their kind."""
    numbers = _numbers(element)
    return (
        tuple(_option(element, name) for name in FIXED),
        # a legend has as many columns as its longest label leaves room for
        -(-max(map(len, numbers), default=0) // 4),
        tuple(
            (
                type(one),
                numbers.get(one.label),
                tuple(map(str, one.kdims)),
                _bars(one),
                _inks(one),
                _option(one, "logz"),
            )
            for one in _layers(element)
        ),
    )


def _unselected(plot: Any, element: hv.Element) -> None:
    """Let a click leave all as it is drawn: what is not selected would fade."""
    for tool in plot.state.select({"type": TapTool}):
        tool.renderers = []


def _option(element: hv.Element, name: str) -> Any:
    """Give an option of how an element is plotted."""
    return hv.Store.lookup_options("bokeh", element, "plot").kwargs.get(name)


def _bars(layer: hv.Element) -> Any:
    """Name the bars: their legend is by a column of colours.

    While that column grows, Bokeh draws the legend by the old one, fails, and stops for good.
    """
    if not isinstance(layer, hv.Bars):
        return None
    return tuple(tuple(layer.dimension_values(key)) for key in layer.kdims)


def _inks(layer: hv.Element) -> Any:
    """Tell how many labels have colours of their own, where these are not all alike.

    Texts and their colours reach the browser apart: of another number, or of one colour where
    there were several, Bokeh looks for those that are gone.
    """
    if not isinstance(layer, hv.Labels):
        return None
    ink = hv.Store.lookup_options("bokeh", layer, "style").kwargs.get("text_color")
    if ink not in layer.dimensions(label=True):
        return None
    inks = layer.dimension_values(ink)
    return len(inks) if len({*inks}) > 1 else 1


def _numbers(element: hv.Element) -> dict[str, str]:
    """Number the labels of a plot: layers that share one are told together."""
    labels = dict.fromkeys(layer.label for layer in _layers(element) if layer.label)
    return {label: str(number) for number, label in enumerate(labels)}


def _layers(element: hv.Element) -> list[hv.Element]:
    return list(element) if isinstance(element, hv.Overlay) else [element]


class Lines:
    """Lines at the round of the cursor, in every plot whose horizontal axis has rounds."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.places: dict[str, Mapping[int, float]] = {}
        self.round = 1

    def through(
        self, element: hv.Element, view: str, places: Mapping[int, float] | None = None
    ) -> hv.Element:
        """Put a line through the plot of a view.

        Parameters
        ----------
        element : Element
        view : str
            What the plot is known by.
        places : mapping of int to float, optional
            Where each round is on the axis; by default that is its number.
        """
        self.places[view] = places or {}
        if view in self.spans:
            self.spans[view].location = self._place(view)

        def draw(plot: Any, element: hv.Element) -> None:
            figure = plot.state
            if not any(isinstance(model, Span) for model in figure.center):
                span = Span(
                    location=self._place(view),
                    dimension="height",
                    line_color=MUTED,
                    line_dash="dashed",
                    level="overlay",  # when it moves, nothing else of the figure is painted anew
                )
                figure.add_layout(span)
                self.spans[view] = span

        known = _option(element, "hooks") or []
        return element.opts(hooks=[*known, draw], clone=True)

    def move(self, round: int) -> None:
        """Move all lines to a round."""
        self.round = round
        for view, span in self.spans.items():
            span.location = self._place(view)

    def _place(self, view: str) -> float:
        return self.places[view].get(self.round, self.round)
