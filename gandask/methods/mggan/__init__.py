"""Groups of GANs that are regrouped."""

from gandask.methods.mggan.method import MGGAN

__all__ = ["MGGAN"]
