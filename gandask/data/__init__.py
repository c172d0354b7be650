"""Data sets: where they come from, how they are kept, and how they are shared out."""

from gandask.data.loading import (
    NAMES,
    Data,
    absolute,
    by_class,
    by_client,
    cache_dir,
    check_name,
    fraction,
    load,
    torchvision,
    whole,
)

__all__ = [
    "NAMES",
    "Data",
    "absolute",
    "by_class",
    "by_client",
    "cache_dir",
    "check_name",
    "fraction",
    "load",
    "torchvision",
    "whole",
]
