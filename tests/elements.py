"""Read what is drawn off an element of HoloViews."""

import holoviews as hv


def columns(element, *names):
    """Give the rows of some columns, of all layers."""
    layers = element if isinstance(element, hv.Overlay) else [element]
    return [
        row
        for layer in layers
        for row in zip(*(layer.dimension_values(name).tolist() for name in names), strict=True)
    ]
