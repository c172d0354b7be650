"""Data sets: where they come from, how they are kept, and how they are shared out."""

from gandask.data.cache import cache_dir
from gandask.data.loading import Data, check_name, load, resolved
from gandask.data.plane import Plane
from gandask.data.sequences import Bands
from gandask.data.shares import by_class, by_client, fraction, held_out, of_each_class, whole
from gandask.data.sources import NAMES, TESTED, torchvision

__all__ = [
    "NAMES",
    "TESTED",
    "Bands",
    "Data",
    "Plane",
    "by_class",
    "by_client",
    "cache_dir",
    "check_name",
    "fraction",
    "held_out",
    "load",
    "of_each_class",
    "resolved",
    "torchvision",
    "whole",
]
