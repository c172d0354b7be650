"""Cellular coevolution on a toroidal grid."""

from gandask.methods.grid.method import Grid

__all__ = ["Grid"]
