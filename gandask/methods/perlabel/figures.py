"""What is drawn of labels alone."""

from __future__ import annotations

from collections.abc import Mapping

from gandask.core import Figure

FIGURES: Mapping[str, Figure] = {}
"""What pages and reports show of labels beside what they show of every run."""
